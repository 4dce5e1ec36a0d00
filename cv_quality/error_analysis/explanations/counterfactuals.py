"""What the score does when one thing is changed and all else stays: failing attempts processed or photographed anew.

Real images can only be processed again (gamma, noise, crop); simulated attempts can be rendered again with another
light or without glasses, by a function that the caller hands in (`Rerender`), since this room knows no simulator.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFilter

from cv_quality.inference.embedder import Embedder
from cv_quality.inference.preprocessing import Frame, ToneCurve
from cv_quality.metrics.rates import NO_TRIAL, Rate, clustered_rate
from cv_quality.tasks.verification.explained_pairs import frames_of, partners

if TYPE_CHECKING:
    import polars as pl

Source = Literal["rerendered", "reprocessed"]
Setting: TypeAlias = float | str
Lux: TypeAlias = float | None

BENIGN: tuple[tuple[str, str, Setting], ...] = (
    ("illuminance 200 lux", "illuminance_lux", 200.0),
    ("no eyewear", "eyewear", "none"),
    ("nothing covers the face", "covering", "none"),
    ("yaw 0 degrees", "yaw_deg", 0.0),
    ("pitch 0 degrees", "pitch_deg", 0.0),
    ("no motion blur", "motion_blur_px", 0.0),
    ("distance 40 cm", "distance_cm", 40.0),
)
"""Conditions and the value under which attempts are expected to pass, with the words for it."""
TONE_CURVE_OFF = "illuminance unknown to the preprocessing, which switches its tone curve off"


@dataclass(frozen=True, slots=True)
class Rerendered:
    """Frames of attempts, in their order, and the illuminance that the device would log of each.

    Both are None where an attempt cannot be rendered.
    """

    frames: tuple[Frame | None, ...]
    illuminance_lux: tuple[Lux, ...]


class Rerender(Protocol):
    """Renders attempts of a drop again with conditions set to other values; none gives the drop's own pixels."""

    def __call__(self, drop: str, attempts: Sequence[str], *, change: Mapping[str, Setting]) -> Rerendered: ...


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """What one change did to failing attempts.

    Attributes:
        score_before, score_after: mean cosine over those that have a score after it; None where none has.
        accepted: share now at or above the threshold, with its interval clustered by subject.
    """

    change: str
    source: Source
    score_before: float | None
    score_after: float | None
    accepted: Rate


@dataclass(frozen=True, slots=True)
class _Trial:
    """Attempts to run again: their rows, and frames and illuminance after the change."""

    change: str
    source: Source
    rows: tuple[int, ...]
    frames: tuple[Frame, ...]
    lux: tuple[Lux, ...]


def counterfactuals(
    failures: "pl.DataFrame",
    *,
    frames: Mapping[tuple[str, str], Frame],
    embedder: Embedder,
    rerender: Rerender | None = None,
) -> list[Counterfactual]:
    """Run failing attempts again, once for each change, against the template that they failed against.

    Only attempts that the change touches are counted: taking glasses off is tried on those that wear them. The
    threshold is the one that they failed at.

    Args:
        failures: rows as `scored_attempts` gives them.
        frames: their decoded frames, by (drop, frame).
    """
    originals, lux = frames_of(failures, frames), failures["illuminance_lux"].to_list()
    trials = list(_reprocessed(originals, lux, has_tone_curve=_has_tone_curve(embedder)))
    if rerender is not None:
        trials += _rerendered(failures, originals, rerender=rerender)
    return [_outcome(trial, failures=failures, embedder=embedder) for trial in trials]


def gamma(frame: Frame, *, exponent: float) -> Frame:
    """`255 (x / 255) ** exponent`: below 1 brightens, above 1 darkens."""
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return np.asarray(table[frame])


def stretch(frame: Frame, *, share: float = 0.02) -> Frame:
    """Contrast spread linearly until a share of the pixels at each end is black or white."""
    low, high = np.quantile(frame, (share, 1 - share))
    if high <= low:
        return frame
    return np.asarray(np.rint(255 * np.clip((frame - low) / (high - low), 0, 1)), dtype=np.uint8)


def denoise(frame: Frame) -> Frame:
    """The median of 3 x 3 pixels."""
    return np.asarray(Pillow.fromarray(frame).filter(ImageFilter.MedianFilter(3)), dtype=np.uint8)


def smooth(frame: Frame, *, radius_px: float = 1.0) -> Frame:
    """Gaussian blur of one pixel."""
    return np.asarray(Pillow.fromarray(frame).filter(ImageFilter.GaussianBlur(radius_px)), dtype=np.uint8)


def zoom(frame: Frame, *, share: float = 0.85) -> Frame:
    """The middle of the frame, enlarged to its size."""
    height, width = frame.shape[:2]
    left, top = width * (1 - share) / 2, height * (1 - share) / 2
    box = (left, top, width - left, height - top)
    resized = Pillow.fromarray(frame).resize((width, height), Pillow.Resampling.BILINEAR, box=box)
    return np.asarray(resized, dtype=np.uint8)


PROCESSES: tuple[tuple[str, Callable[[Frame], Frame]], ...] = (
    ("brightened (gamma 0.5)", lambda frame: gamma(frame, exponent=0.5)),
    ("darkened (gamma 2)", lambda frame: gamma(frame, exponent=2.0)),
    ("contrast stretched", stretch),
    ("noise filtered (median of 3 x 3)", denoise),
    ("blurred (Gaussian, 1 pixel)", smooth),
    ("zoomed to the middle 85 %", zoom),
)
"""Ways to process a frame again, with the words for each; the illuminance in the log stays what it was."""


def _has_tone_curve(embedder: Embedder) -> bool:
    return any(isinstance(step, ToneCurve) for step in embedder.entry.preprocessing)


def _reprocessed(originals: Sequence[Frame], lux: Sequence[Lux], *, has_tone_curve: bool) -> Iterator[_Trial]:
    if has_tone_curve:
        known = tuple(row for row, value in enumerate(lux) if value is not None)
        yield _Trial(TONE_CURVE_OFF, "reprocessed", known, tuple(originals[i] for i in known), (None,) * len(known))
    for words, process in PROCESSES:
        frames = tuple(process(frame) for frame in originals)
        yield _Trial(words, "reprocessed", tuple(range(len(frames))), frames, tuple(lux))


def _rerendered(failures: "pl.DataFrame", originals: Sequence[Frame], *, rerender: Rerender) -> Iterator[_Trial]:
    """One trial a condition, over the attempts that are not benign in it and that can be rendered at all."""
    usable = _reproducible(failures, originals, rerender=rerender)
    for words, column, value in BENIGN if usable.any() else ():
        rows = np.flatnonzero(usable & (failures[column].is_not_null() & (failures[column] != value)).to_numpy())
        done = _by_drop(failures, rows, rerender=rerender, change={column: value})
        frames = tuple(frame for frame in done.frames if frame is not None)
        yield _Trial(words, "rerendered", tuple(rows.tolist()), frames, done.illuminance_lux)


def _reproducible(failures: "pl.DataFrame", originals: Sequence[Frame], *, rerender: Rerender) -> NDArray[np.bool_]:
    """Which attempts come out pixel by pixel as they were, when nothing is changed."""
    again = _by_drop(failures, np.arange(len(failures)), rerender=rerender, change={}).frames
    both = zip(originals, again, strict=True)
    return np.array([other is not None and np.array_equal(one, other) for one, other in both], dtype=bool)


def _by_drop(
    failures: "pl.DataFrame", rows: NDArray[np.intp], *, rerender: Rerender, change: Mapping[str, Setting]
) -> Rerendered:
    """The chosen rows rendered drop by drop, back in their order."""
    frames: dict[int, Frame | None] = {}
    lux: dict[int, Lux] = {}
    drops = failures["drop_id"].to_numpy()[rows]
    for drop in np.unique(drops):
        here = rows[drops == drop]
        done = rerender(str(drop), failures["attempt_id"][here].to_list(), change=change)
        frames.update(zip(here.tolist(), done.frames, strict=True))
        lux.update(zip(here.tolist(), done.illuminance_lux, strict=True))
    return Rerendered(tuple(frames[row] for row in rows.tolist()), tuple(lux[row] for row in rows.tolist()))


def _outcome(trial: _Trial, *, failures: "pl.DataFrame", embedder: Embedder) -> Counterfactual:
    if not trial.rows:
        untouched = replace(NO_TRIAL, reason="no failing attempt is touched by the change")
        return Counterfactual(trial.change, trial.source, None, None, untouched)
    rows = failures[list(trial.rows)]
    vectors = embedder.embed(list(trial.frames), illuminance_lux=list(trial.lux)).embeddings
    scores = np.einsum("ij,ij->i", vectors.astype(np.float64), partners(rows).astype(np.float64))
    has_score = np.isfinite(scores)
    is_accepted = np.where(has_score, scores, -2.0) >= rows["decision_threshold"].to_numpy()
    _, codes = np.unique(rows["subject_id"].to_numpy(), return_inverse=True)
    # Its reason says whether errors are enough to rank a cell by, which attempts let in are not.
    rate = replace(clustered_rate(np.bincount(codes, weights=is_accepted), np.bincount(codes)), reason=None)
    if not has_score.any():
        return Counterfactual(trial.change, trial.source, None, None, rate)
    before = float(rows["score"].to_numpy()[has_score].mean())
    after = float(np.clip(scores[has_score].mean(), -1.0, 1.0))
    return Counterfactual(trial.change, trial.source, before, after, rate)
