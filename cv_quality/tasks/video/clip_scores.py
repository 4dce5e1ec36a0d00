"""What is known of one stream under one model once it is scored: values of its frames, values of the clip.

`cv_quality.tasks.video.quality` fills it from pictures and truth, `.latency` from the log of the device; rows of the
lake are made of it in `.frame_scores`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.held import HeldLosses
from cv_quality.metrics.video.tracks import Detections, TrackCounts

WHOLE = "all"
OK = "ok"


@dataclass(frozen=True, slots=True)
class ClipValue:
    """A metric of a clip: a row of `clip_scores` without its key.

    Attributes:
        metric: its name, of `metric_names`.
        value: None where it is undefined.
        class_name: class or object; 'all' of the clip as a whole.
        numerator, denominator: of a pooled ratio.
        reason: why it is undefined, or what is to be said of it.
    """

    metric: str
    value: float | None
    class_name: str = WHOLE
    numerator: float | None = None
    denominator: float | None = None
    reason: str | None = None


@dataclass(slots=True)
class StreamQuality:
    """The quality of one stream's frames.

    Attributes:
        kind: what the loss is of.
        values: by column of `frame_scores`, then by number of the frame.
        status: by number: "ok", or why there is no quality; frames that are not in it have no truth.
        clip: metrics of the clip.
        held: losses of held results.
        tracks: true and predicted objects, where tracks are scored.
        counts: what scores of tracks are made of.
    """

    kind: str
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    status: dict[int, str] = field(default_factory=dict)
    clip: list[ClipValue] = field(default_factory=list)
    held: "HeldLosses[object, object] | None" = None
    tracks: tuple[Detections, Detections] | None = None
    counts: TrackCounts | None = None

    def put(self, column: str, values: Iterable[tuple[int, float]]) -> None:
        """Add values of frames; NaN and infinity are left out."""
        known = ((int(number), float(value)) for number, value in values)
        self.values.setdefault(column, {}).update({n: value for n, value in known if math.isfinite(value)})

    def mean(self, column: str, metric: str | None = None, *, nothing: str = "no frame has a value") -> None:
        """Add the mean over frames of a column as a metric of the clip.

        Args:
            column: of the frames.
            metric: its name; the column's by default.
            nothing: why there is none, where no frame has a value.
        """
        found = self.values.get(column, {})
        value = math.fsum(found.values()) / len(found) if found else None
        self.clip.append(ClipValue(metric or column, value, reason=None if found else nothing))


def rate(metric: str, numerator: float, denominator: float, *, nothing: str) -> ClipValue:
    """Make a rate of a clip.

    Args:
        metric: its name.
        numerator, denominator: its counts.
        nothing: why it is undefined where the denominator is 0.
    """
    value = numerator / denominator if denominator else None
    return ClipValue(
        metric, value, numerator=numerator, denominator=denominator, reason=None if denominator else nothing
    )


def mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each row over its known values; NaN where it has none.

    Args:
        values: shape (rows, columns); NaN is unknown.
    """
    known = ~np.isnan(values)
    n = known.sum(axis=1)
    return np.asarray(np.where(n > 0, np.where(known, values, 0.0).sum(axis=1) / np.maximum(n, 1), np.nan))


def finite(value: float | None) -> float | None:
    """None in place of NaN and infinity, which no table holds."""
    return value if value is not None and math.isfinite(value) else None
