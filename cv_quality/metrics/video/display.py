"""Loss at display time: what was on the screen at each refresh, scored against the truth of that moment.

The last result is held over late and dropped frames, so latency costs accuracy in one number, which splits exactly
into the loss of the algorithm and that of lateness. The times themselves are measured in
`cv_quality.metrics.video.timing`; intervals over clips are in `cv_quality.metrics.video.clips`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.resampling import seeded
from cv_quality.metrics.results import Result
from cv_quality.metrics.video.tracks import Detections, TrackScore, count_tracks

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Loss = Callable[[Rows, Rows], ArrayLike]
"""The loss of the results of some frames against the truth of others, such as 1 - J or NME, pair by pair, shape
(pairs,): NaN where a result or a truth is missing. It is asked once for all pairs that occur."""

NOTHING = -1
"""The frame that is shown before the first result."""
DRAWS = 50
BLOCK = 30
"""Frames whose latencies are drawn in a row: those of a hot device come in runs."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldResults:
    """What each refresh of the screen shows; frames are numbered in the order of capture.

    Attributes:
        shown: the frame whose result is on, -1 before the first one; shape (refreshes,).
        moment: the last frame captured by then, whose truth counts; shape (refreshes,).
    """

    shown: Rows
    moment: Rows


@dataclass(frozen=True, slots=True)
class DisplayLoss(Result):
    """Loss at display time, a mean over refreshes; lower is better.

    Attributes:
        loss: of what was shown, against the truth of the moment: `algorithm` + `lateness`.
        algorithm: loss without any latency, each frame's own result at its moment.
        lateness: what holding older results adds; below 0 where they happen to fit better.
        n_refreshes: refreshes that count.
        n_nothing: those of them before the first result.
        n_held: those of them that show an older frame than that of the moment.
        n_estimated: those whose frame has no result of its own: the algorithm is taken to lose as much there as on the
            last frame before with one, or else the next.
        n_unscored: refreshes left out, as what is shown has no loss there.
        reason: why there is no loss.
    """

    loss: float | None
    algorithm: float | None
    lateness: float | None
    n_refreshes: int
    n_nothing: int
    n_held: int
    n_estimated: int
    n_unscored: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class ReplayedLoss(Result):
    """Loss at display time under other latencies, means over draws; lower is better.

    Attributes:
        loss, algorithm, lateness: as of `DisplayLoss`; the algorithm's does not depend on the latencies.
        lateness_low, lateness_high: 2.5th and 97.5th percentile of the draws: chance of the latencies, not of the clip.
        dropped: share of frames without a result, mean over draws.
        n_unscored: refreshes left out, over all draws.
        method: how latencies were drawn.
        reason: why there is no loss.
    """

    loss: float | None
    algorithm: float | None
    lateness: float | None
    lateness_low: float | None
    lateness_high: float | None
    dropped: float
    n_unscored: int
    method: str
    reason: str | None


class _Parts(NamedTuple):
    """Losses at each refresh, NaN where unknown, and whether the algorithm's was estimated; shape (refreshes,)."""

    shown: Floats
    own: Floats
    is_estimated: NDArray[np.bool_]


def refresh_times(capture_ms: ArrayLike, *, period_ms: float, phase_ms: float = 0.0) -> Floats:
    """Compute the refreshes of a screen from the first capture until one period of the frames after the last.

    Args:
        capture_ms: ascending, shape (frames,); of one frame alone, only its own time is covered.
        period_ms: of the screen, such as 1000 / 60.
        phase_ms: of the first refresh after the first capture, from 0.

    Raises:
        MetricError: no frame, captures that do not ascend, or a period that is not above 0.

    >>> refresh_times([0, 40, 80], period_ms=20).tolist()
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    capture = _ascending(capture_ms)
    if not (0 < period_ms < math.inf and 0 <= phase_ms < math.inf):
        raise MetricError(f"expected a period above 0 ms and a phase from 0, found {period_ms} and {phase_ms}")
    last = capture[-1] + (float(np.median(np.diff(capture))) if len(capture) > 1 else period_ms)
    n = math.ceil(round((last - capture[0] - phase_ms) / period_ms, 9))
    times: Floats = capture[0] + phase_ms + period_ms * np.arange(max(n, 0))
    return times


def held_results(capture_ms: ArrayLike, result_ms: ArrayLike, refresh_ms: ArrayLike) -> HeldResults:
    """Find what is on at each refresh: the newest frame whose result has come, held until a newer one comes.

    Args:
        capture_ms: ascending, milliseconds, shape (frames,).
        result_ms: when each result came, on the same clock; NaN or +inf where it never did.
        refresh_ms: from the first capture on, shape (refreshes,).

    Raises:
        MetricError: captures do not ascend, a result comes before its capture, or a refresh before the first capture.

    >>> held = held_results([0, 10, 20, 30], [15, 18, np.nan, 50], [10, 20, 30, 40, 50])
    >>> held.shown.tolist(), held.moment.tolist()
    ([-1, 1, 1, 1, 3], [1, 2, 3, 3, 3])
    """
    capture, refresh = _ascending(capture_ms), np.asarray(refresh_ms, dtype=np.float64)
    result = np.asarray(result_ms, dtype=np.float64)
    result = np.where(np.isnan(result), np.inf, result)
    if result.shape != capture.shape or np.any(result < capture):
        raise MetricError(
            f"expected {len(capture)} results, each after its capture, found {result.size}, "
            f"{np.count_nonzero(result < capture) if result.shape == capture.shape else 0} of them before it"
        )
    if refresh.ndim != 1 or not np.all(np.isfinite(refresh) & (refresh >= capture[0])):
        raise MetricError(f"expected refreshes from the first capture on, {capture[0]:g} ms, found others")
    order = np.argsort(result, kind="stable")
    newest = np.append(NOTHING, np.maximum.accumulate(order))
    shown = newest[np.searchsorted(result[order], refresh, side="right")]
    return HeldResults(shown, np.searchsorted(capture, refresh, side="right") - 1)


def display_loss(held: HeldResults, loss: Loss, *, nothing: float = 1.0) -> DisplayLoss:
    """Score what was shown and split its loss into those of the algorithm and of lateness.

    At each refresh, the algorithm loses loss(m, m), with m the frame of the moment, and lateness loss(s, m) -
    loss(m, m), with s the frame that is shown. So each sum is exact: nothing is left over, nothing counted twice.

    Args:
        held: what is on at each refresh.
        loss: of results against truths.
        nothing: loss while nothing is on.

    >>> held = held_results([0, 10, 20], [0, 10, np.nan], [0, 10, 20])
    >>> found = display_loss(held, lambda result, truth: 0.25 + 0.5 * (truth - result))
    >>> found.algorithm, round(found.lateness, 4), round(found.loss, 4), found.n_held
    (0.25, 0.1667, 0.4167, 1)
    """
    parts = _parts(held.shown, held.moment, loss, nothing)
    counts = ~np.isnan(parts.shown) & ~np.isnan(parts.own)
    n = int(np.count_nonzero(counts))
    algorithm = math.fsum(parts.own[counts]) / n if n else None
    lateness = math.fsum(parts.shown[counts] - parts.own[counts]) / n if n else None
    return DisplayLoss(
        loss=None if algorithm is None or lateness is None else algorithm + lateness,
        algorithm=algorithm,
        lateness=lateness,
        n_refreshes=n,
        n_nothing=int(np.count_nonzero(counts & (held.shown == NOTHING))),
        n_held=int(np.count_nonzero(counts & (held.shown != NOTHING) & (held.shown < held.moment))),
        n_estimated=int(np.count_nonzero(counts & parts.is_estimated)),
        n_unscored=len(counts) - n,
        reason=None if n else "no refresh with a loss",
    )


def replay_display(
    capture_ms: ArrayLike,
    refresh_ms: ArrayLike,
    loss: Loss,
    *,
    latency_ms: ArrayLike,
    nothing: float = 1.0,
    draws: int = DRAWS,
    block: int = BLOCK,
    seed: int = 0,
) -> ReplayedLoss:
    """Replay a clip under other latencies, such as those of a faster chip or of a hotter phone.

    Latencies are drawn in blocks of consecutive frames, from a random start and around the end, so that runs of slow
    frames stay runs (circular block bootstrap; Politis and Romano, 1992). A result that is needed must exist: infer
    all frames again before, else refreshes that would show a missing one are left out and counted.

    Args:
        capture_ms, refresh_ms: as for `held_results`.
        loss, nothing: as for `display_loss`.
        latency_ms: of consecutive frames elsewhere, from 0; NaN or +inf for a dropped one; shape (n,).
        draws: replays that are averaged.
        block: frames drawn in a row.
        seed: of the draws.

    Raises:
        MetricError: no latency or a negative one, no draw, no block, or times as for `held_results`.

    >>> moving = lambda result, truth: np.minimum(0.1 + 0.2 * (truth - result), 1)
    >>> times = np.arange(100) * 10.0
    >>> fast = replay_display(times, times, moving, latency_ms=[0.0])
    >>> slow = replay_display(times, times, moving, latency_ms=[20.0])
    >>> round(fast.lateness, 3), round(slow.lateness, 3), round(slow.algorithm, 3)
    (0.0, 0.41, 0.1)
    """
    capture, waits = _ascending(capture_ms), np.asarray(latency_ms, dtype=np.float64)
    waits = np.where(np.isnan(waits), np.inf, waits)
    if waits.ndim != 1 or not waits.size or np.any(waits < 0) or draws < 1 or block < 1:
        raise MetricError(
            f"expected latencies from 0, a draw and a block of 1 or more, found {waits.size} latencies, "
            f"{np.count_nonzero(waits < 0)} negative, {draws} draws, blocks of {block}"
        )
    drawn = _drawn(waits, len(capture), draws=draws, block=block, seed=seed)
    held = [held_results(capture, capture + wait, refresh_ms) for wait in drawn]
    parts = _parts(
        np.concatenate([one.shown for one in held]), np.concatenate([one.moment for one in held]), loss, nothing
    )
    return _replayed(
        parts.shown.reshape(draws, -1),
        parts.own.reshape(draws, -1),
        dropped=float(np.isinf(drawn).mean()),
        method=f"circular blocks of {block} frames from {waits.size} latencies, {draws} draws, seed {seed}",
    )


def objects_at(objects: Detections, frames: ArrayLike) -> Detections:
    """Gather the objects of a frame for each refresh, numbered by refresh; a negative frame has none.

    Args:
        objects: true or predicted, of one clip.
        frames: the frame of each refresh, shape (refreshes,).
    """
    wanted = np.asarray(frames, dtype=np.int64)
    first = np.searchsorted(objects.frame, wanted)
    sizes = np.where(wanted < 0, 0, np.searchsorted(objects.frame, wanted, side="right") - first)
    rows = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(first, sizes)
    boxes = None if objects.boxes is None else objects.boxes[rows]
    return Detections(np.repeat(np.arange(len(wanted)), sizes), objects.track[rows], boxes)


def track_display_loss(
    truth: Detections,
    predicted: Detections,
    held: HeldResults,
    *,
    has_result: ArrayLike,
    score: TrackScore = "hota",
) -> DisplayLoss:
    """Score tracks at display time: 1 - HOTA (or MOTA, IDF1) of what was shown, split as by `display_loss`.

    Such a score is no mean over refreshes, so both parts are differences of scores of the whole clip: that of each
    frame's own objects at its moment, and that of the objects shown.

    Args:
        truth, predicted: objects of one clip; frames are numbered in the order of capture, from 0.
        held: what is on at each refresh.
        has_result: whether each frame has a result, of the device or inferred again, shape (frames,), bool.
        score: "hota", "mota" or "idf1".

    Raises:
        MetricError: a frame of the moment is not in `has_result`.
    """
    known = np.asarray(has_result, dtype=np.bool_)
    if held.moment.size and held.moment.max() >= len(known):
        raise MetricError(f"expected `has_result` for {held.moment.max() + 1} frames, found {len(known)}")
    source = _known_frames(known)[held.moment] if known.any() else held.moment
    now = objects_at(truth, held.moment)
    shown = getattr(count_tracks(now, objects_at(predicted, held.shown)).scores(), score)
    own = getattr(count_tracks(objects_at(truth, source), objects_at(predicted, source)).scores(), score)
    n = len(held.moment) if shown is not None and own is not None else 0
    return DisplayLoss(
        loss=(1 - own) + (own - shown) if n else None,
        algorithm=1 - own if n else None,
        lateness=own - shown if n else None,
        n_refreshes=n,
        n_nothing=int(np.count_nonzero(held.shown == NOTHING)),
        n_held=int(np.count_nonzero((held.shown != NOTHING) & (held.shown < held.moment))),
        n_estimated=int(np.count_nonzero(source != held.moment)),
        n_unscored=len(held.moment) - n,
        reason=None if n else "no true object",
    )


def _ascending(capture_ms: ArrayLike) -> Floats:
    capture = np.asarray(capture_ms, dtype=np.float64)
    if capture.ndim != 1 or not capture.size or not np.isfinite(capture).all() or np.any(np.diff(capture) <= 0):
        raise MetricError(
            f"expected capture times that ascend, each frame once, shape (frames,), found shape {capture.shape}: sort "
            f"them and leave duplicates out"
        )
    return capture


def _parts(shown: Rows, moment: Rows, loss: Loss, nothing: float) -> _Parts:
    """Score all pairs that occur, each once.

    Args:
        shown, moment: as of `HeldResults`.
        loss, nothing: as for `display_loss`.
    """
    n, is_on = int(moment.max(initial=0)) + 1, shown != NOTHING
    results, truths = np.append(shown[is_on], moment), np.append(moment[is_on], moment)
    pairs, index = np.unique(results * n + truths, return_inverse=True)
    losses = np.asarray(loss(pairs // n, pairs % n), dtype=np.float64) if pairs.size else np.zeros(0)
    if losses.shape != pairs.shape:
        raise MetricError(f"expected a loss for each of {pairs.size} pairs of frames, found shape {losses.shape}")
    each = losses[index]
    at_refresh = np.full(len(shown), nothing)
    at_refresh[is_on] = each[: np.count_nonzero(is_on)]
    own = np.full(n, np.nan)
    own[moment] = each[np.count_nonzero(is_on) :]
    source = _known_frames(~np.isnan(own))[moment] if np.any(~np.isnan(own)) else moment
    return _Parts(at_refresh, own[source], source != moment)


def _replayed(shown: Floats, own: Floats, *, dropped: float, method: str) -> ReplayedLoss:
    """Average losses over refreshes, then over draws.

    Args:
        shown, own: of what was shown, and of each frame's own result, shape (draws, refreshes).
        dropped, method: as of `ReplayedLoss`.
    """
    counts = ~np.isnan(shown) & ~np.isnan(own)
    n = counts.sum(axis=1)
    unscored = int(np.count_nonzero(~counts))
    if not n.all():
        return ReplayedLoss(
            None, None, None, None, None, dropped, unscored, method, "a draw has no refresh with a loss"
        )
    late = np.where(counts, shown - own, 0.0).sum(axis=1) / n
    algorithm, lateness = float((np.where(counts, own, 0.0).sum(axis=1) / n).mean()), float(late.mean())
    low, high = np.quantile(late, [0.025, 0.975]).tolist()
    return ReplayedLoss(algorithm + lateness, algorithm, lateness, low, high, dropped, unscored, method, None)


def _known_frames(known: NDArray[np.bool_]) -> Rows:
    """The last known frame up to each frame, or else the first one after it; shape (frames,)."""
    found = np.flatnonzero(known)
    last = np.searchsorted(found, np.arange(len(known)), side="right") - 1
    return found[np.maximum(last, 0)]


def _drawn(waits: Floats, n_frames: int, *, draws: int, block: int, seed: int) -> Floats:
    """Draw latencies of a clip in blocks; shape (draws, frames)."""
    n_blocks = -(-n_frames // block)
    starts = seeded(seed).integers(0, len(waits), (draws, n_blocks))
    places = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :n_frames]
    drawn: Floats = waits[places % len(waits)]
    return drawn
