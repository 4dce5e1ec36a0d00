"""Counterfactuals: failing attempts scored again with one thing changed and all else as it was.

Real images can only be processed again (gamma, noise, crop); simulated attempts can be rendered again under another
condition, by a function that the caller hands in (`Rerender`), since no simulator is known here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFilter

from cv_quality.inference.preprocessing import Frame
from cv_quality.metrics.rates import NO_TRIAL, Rate, clustered_rate
from cv_quality.modality import Dimension, Setting

if TYPE_CHECKING:
    import polars as pl

Source = Literal["rerendered", "reprocessed"]
Scores = NDArray[np.float64]
Score = Callable[["pl.DataFrame", Sequence[Frame]], Scores]
"""Scores attempts by other frames, under their conditions; NaN where there is no score."""
Accepts = Callable[[Scores, Scores], NDArray[np.bool_]]
"""Tells whether scores reach thresholds."""
Process = tuple[str, Callable[[Frame], Frame]]
"""A way to process a frame again, and the words for it."""


@dataclass(frozen=True, slots=True)
class Rerendered:
    """Frames of attempts, in their order, and what the device would log of each.

    Attributes:
        frames: None where an attempt cannot be rendered.
        conditions: values by name of the condition; None where an attempt cannot be rendered.
    """

    frames: tuple[Frame | None, ...]
    conditions: Mapping[str, tuple[Setting | None, ...]]


class Rerender(Protocol):
    """Renders attempts of a drop again with conditions set to other values; none gives the drop's own pixels."""

    def __call__(self, drop: str, attempts: Sequence[str], *, change: Mapping[str, Setting]) -> Rerendered: ...


@dataclass(frozen=True, slots=True)
class CounterfactualResult:
    """What one change did to failing attempts.

    Attributes:
        score_before, score_after: mean score over those that have one after it; None where none has.
        accepted: share now at or above the threshold, with its interval clustered by subject.
    """

    change: str
    source: Source
    score_before: float | None
    score_after: float | None
    accepted: Rate


@dataclass(frozen=True, slots=True)
class _Trial:
    """Attempts to score again: with their conditions, and their frames, after the change."""

    change: str
    source: Source
    attempts: "pl.DataFrame"
    frames: tuple[Frame, ...]


def counterfactuals(
    failures: "pl.DataFrame",
    *,
    originals: Sequence[Frame],
    score: Score,
    processes: Sequence[Process],
    dimensions: Sequence[Dimension] = (),
    withheld: Sequence[tuple[str, str]] = (),
    rerender: Rerender | None = None,
    accepts: Accepts = np.greater_equal,
) -> list[CounterfactualResult]:
    """Score failing attempts again, once for each change, against the threshold that they failed at.

    Only attempts that the change touches are counted: taking glasses off is tried on those that wear them.

    Args:
        failures: with `drop_id`, `attempt_id`, `subject_id`, `score`, `decision_threshold` and the conditions.
        originals, score: their frames, and what gives their scores after a change.
        processes: what is done to these frames.
        dimensions: conditions, of which those with a benign value are set to it, where attempts can be rendered again.
        withheld: words and column of conditions that preprocessing reads, and is tried without.
        rerender: renders attempts again; None for real images.
        accepts: the decision; by default higher scores are more alike.
    """
    trials = list(_reprocessed(failures, originals, withheld=withheld, processes=processes))
    if rerender is not None:
        trials += _rerendered(failures, originals, dimensions=dimensions, rerender=rerender)
    return [_outcome(trial, score=score, accepts=accepts) for trial in trials]


def gamma(frame: Frame, *, exponent: float) -> Frame:
    """Correct the gamma of a frame, `255 (x / 255) ** exponent`: below 1 brightens, above 1 darkens."""
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return np.asarray(table[frame])


def stretch(frame: Frame, *, share: float = 0.02) -> Frame:
    """Stretch the contrast of a frame linearly until a share of the pixels at each end is black or white."""
    low, high = np.quantile(frame, (share, 1 - share))
    if high <= low:
        return frame
    return np.asarray(np.rint(255 * np.clip((frame - low) / (high - low), 0, 1)), dtype=np.uint8)


def denoise(frame: Frame) -> Frame:
    """Filter the noise of a frame by the median of 3 x 3 pixels."""
    return np.asarray(Pillow.fromarray(frame).filter(ImageFilter.MedianFilter(3)), dtype=np.uint8)


def smooth(frame: Frame, *, radius_px: float = 1.0) -> Frame:
    """Blur a frame by a Gaussian."""
    return np.asarray(Pillow.fromarray(frame).filter(ImageFilter.GaussianBlur(radius_px)), dtype=np.uint8)


def zoom(frame: Frame, *, share: float = 0.85) -> Frame:
    """Enlarge the middle of a frame to its size."""
    height, width = frame.shape[:2]
    left, top = width * (1 - share) / 2, height * (1 - share) / 2
    box = (left, top, width - left, height - top)
    resized = Pillow.fromarray(frame).resize((width, height), Pillow.Resampling.BILINEAR, box=box)
    return np.asarray(resized, dtype=np.uint8)


LIGHT_PROCESSES: tuple[Process, ...] = (
    ("brightened (gamma 0.5)", lambda frame: gamma(frame, exponent=0.5)),
    ("darkened (gamma 2)", lambda frame: gamma(frame, exponent=2.0)),
    ("contrast stretched", stretch),
    ("noise filtered (median of 3 x 3)", denoise),
)
PROCESSES: tuple[Process, ...] = (
    *LIGHT_PROCESSES,
    ("blurred (Gaussian, 1 pixel)", smooth),
    ("zoomed to the middle 85 %", zoom),
)
"""What is done to frames of faces; the illuminance in the log stays what it was."""


def _reprocessed(
    failures: "pl.DataFrame",
    originals: Sequence[Frame],
    *,
    withheld: Sequence[tuple[str, str]],
    processes: Sequence[Process],
) -> Iterator[_Trial]:
    import polars as pl

    for words, column in withheld:
        known = failures[column].is_not_null().arg_true()
        unknown = failures[known].with_columns(pl.lit(None, failures.schema[column]).alias(column))
        yield _Trial(words, "reprocessed", unknown, tuple(originals[row] for row in known))
    for words, process in processes:
        yield _Trial(words, "reprocessed", failures, tuple(process(frame) for frame in originals))


def _rerendered(
    failures: "pl.DataFrame", originals: Sequence[Frame], *, dimensions: Sequence[Dimension], rerender: Rerender
) -> Iterator[_Trial]:
    """One trial a condition, over the attempts that are not benign in it and that can be rendered at all."""
    import polars as pl

    again = _by_drop(failures, np.arange(len(failures)), rerender=rerender, change={}).frames
    both = zip(originals, again, strict=True)
    # A renderer is believed where it gives the attempt's own pixels when nothing is changed.
    usable = np.array([other is not None and np.array_equal(one, other) for one, other in both], dtype=bool)
    benign = [(item.name, item.benign) for item in dimensions if item.benign is not None and usable.any()]
    for name, (words, value) in benign:
        column = failures[name]
        rows = np.flatnonzero(usable & (column.is_not_null() & (column != value)).to_numpy())
        done = _by_drop(failures, rows, rerender=rerender, change={name: value})
        logged = [pl.Series(key, values, failures.schema[key]) for key, values in done.conditions.items()]
        frames = tuple(frame for frame in done.frames if frame is not None)
        yield _Trial(words, "rerendered", failures[rows.tolist()].with_columns(logged), frames)


def _by_drop(
    failures: "pl.DataFrame", rows: NDArray[np.intp], *, rerender: Rerender, change: Mapping[str, Setting]
) -> Rerendered:
    """The chosen rows rendered drop by drop, back in their order."""
    frames, logged = dict[int, Frame | None](), dict[str, dict[int, Setting | None]]()
    drops = failures["drop_id"].to_numpy()[rows]
    for drop in np.unique(drops):
        here = rows[drops == drop]
        done = rerender(str(drop), failures["attempt_id"][here].to_list(), change=change)
        frames.update(zip(here.tolist(), done.frames, strict=True))
        for name, values in done.conditions.items():
            logged.setdefault(name, {}).update(zip(here.tolist(), values, strict=True))
    return Rerendered(
        tuple(frames[row] for row in rows.tolist()),
        {name: tuple(values.get(row) for row in rows.tolist()) for name, values in logged.items()},
    )


def _outcome(trial: _Trial, *, score: Score, accepts: Accepts) -> CounterfactualResult:
    rows = trial.attempts
    scores = np.empty(0) if rows.is_empty() else score(rows, trial.frames)
    return scored_again(rows, scores, change=trial.change, source=trial.source, accepts=accepts)


def scored_again(
    attempts: "pl.DataFrame",
    scores: Scores,
    *,
    change: str,
    source: Source = "reprocessed",
    accepts: Accepts = np.greater_equal,
) -> CounterfactualResult:
    """Sum up what a change did to failing attempts.

    Args:
        attempts: those that it touches, as of `counterfactuals`.
        scores: with the change, shape (attempts,); NaN where there is none.
        change, source: in words, and how it was made.
        accepts: the decision.
    """
    if attempts.is_empty():
        untouched = replace(NO_TRIAL, reason="no failing attempt is touched by the change")
        return CounterfactualResult(change, source, None, None, untouched)
    has_score = np.isfinite(scores)
    is_accepted = has_score & accepts(scores, attempts["decision_threshold"].to_numpy())
    _, codes = np.unique(attempts["subject_id"].to_numpy(), return_inverse=True)
    # Its reason says whether errors are enough to rank a cell by, which attempts let in are not.
    rate = replace(clustered_rate(np.bincount(codes, weights=is_accepted), np.bincount(codes)), reason=None)
    if not has_score.any():
        return CounterfactualResult(change, source, None, None, rate)
    before, after = (float(values[has_score].mean()) for values in (attempts["score"].to_numpy(), scores))
    return CounterfactualResult(change, source, before, after, rate)
