"""The loss on the screen under other latencies than were logged: none, half of them, or those of a hot phone.

Only numbers are needed: how much each result loses against later truths was collected when the frames were scored.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.clips import clip_mean
from cv_quality.metrics.video.display import ReplayedLoss, refresh_times, replay_display
from cv_quality.metrics.video.held import look_up_held
from cv_quality.tasks.video.clip_scores import WHOLE
from cv_quality.tasks.video.latency import frame_period_ms

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Row = dict[str, object]
AS_LOGGED = "as logged"
NO_LATENCY = "no latency"
TWICE_AS_FAST = "twice as fast"
HOT_PHONE = "latencies of a hot phone"
HOT = ("serious", "critical")
DRAWS = 20
"""Replays of each clip that are averaged."""


@dataclass(frozen=True, slots=True, eq=False)
class _Clip:
    """What a replay of one clip needs: its captures, refreshes, held losses, and its own latencies."""

    capture: Floats
    refresh: Floats
    numbers: NDArray[np.int64]
    losses: Floats
    latency: Floats

    def replayed(self, latency: Floats) -> ReplayedLoss:
        loss = look_up_held(self.losses, numbers=self.numbers)
        return replay_display(self.capture, self.refresh, loss, latency_ms=latency, draws=DRAWS)


def replay_rows(scores: "pl.DataFrame", frames: "pl.DataFrame", clips: "pl.DataFrame") -> Iterator[Row]:
    """Replay the clips of one model; rows of `display_replays` without the build and the model.

    Args:
        scores, frames: of the clips, with `clip_key`.
        clips: with their rates.
    """
    as_logged = _as_logged(scores)
    if not as_logged["loss"].size:
        return
    yield _row(AS_LOGGED, method="as the devices logged it", **as_logged)
    still = {**as_logged, "loss": as_logged["algorithm"], "lateness": 0 * as_logged["lateness"]}
    yield _row(NO_LATENCY, method="every result at its capture", **still | {"dropped": 0 * as_logged["dropped"]})
    made = [clip for clip in _clips(frames, clips) if np.isfinite(clip.losses).any()]
    halved = [clip.replayed(clip.latency / 2) for clip in made if clip.latency.size]
    yield _replayed_row(TWICE_AS_FAST, halved, "half of the logged latencies of the clip; dropped frames stay so")
    hot = _hot_latencies(frames)
    if not hot.size:
        yield {
            "replay": HOT_PHONE,
            "n_clips": 0,
            "reason": f"no frame was logged under thermal state {' or '.join(HOT)}",
        }
        return
    yield _replayed_row(
        HOT_PHONE, [clip.replayed(hot) for clip in made], f"{hot.size} latencies under {' or '.join(HOT)}"
    )


def _as_logged(scores: "pl.DataFrame") -> dict[str, Floats]:
    """The losses of the clips that have both parts, and the share of frames that were dropped in them."""
    names = {"display_loss": "loss", "display_algorithm": "algorithm", "display_lateness": "lateness"}
    rows = scores.filter(class_name=WHOLE).select("clip_key", "metric", "value")
    wide = rows.filter(rows["metric"].is_in([*names, "dropped"])).pivot("metric", index="clip_key", values="value")
    for name in (*names, "dropped"):
        if name not in wide.columns:
            wide = wide.with_columns(**{name: None})
    wide = wide.drop_nulls(list(names)).sort("clip_key")
    columns = {short: wide[name].cast(float).to_numpy() for name, short in names.items()}
    return columns | {"dropped": wide["dropped"].cast(float).fill_null(math.nan).to_numpy()}


def _clips(frames: "pl.DataFrame", clips: "pl.DataFrame") -> Iterator[_Clip]:
    import polars as pl

    about = {str(row["clip_key"]): row for row in clips.iter_rows(named=True)}
    timed = frames.filter(pl.col("capture_ms").is_not_null() & pl.col("held_losses").is_not_null())
    for (name,), rows in timed.sort("clip_key", "capture_ms").group_by("clip_key", maintain_order=True):
        numbers, capture = rows["frame_number"].to_numpy(), rows["capture_ms"].to_numpy()
        rises = np.diff(capture, prepend=-np.inf) > 0
        rises &= numbers > np.maximum.accumulate(np.concatenate([[-1], numbers[:-1]]))
        rows = rows.filter(pl.Series(rises))
        row = about.get(str(name), {})
        hertz = row.get("refresh_hz")
        period = 1_000 / hertz if hertz else frame_period_ms(row, row, rows)
        if period is None:
            continue
        width = max(len(losses) for losses in rows["held_losses"].to_list())
        table = np.full((rows.height, width), np.nan)
        for place, losses in enumerate(rows["held_losses"].to_list()):
            table[place, : len(losses)] = [np.nan if loss is None else loss for loss in losses]
        capture = rows["capture_ms"].to_numpy()
        yield _Clip(
            capture, refresh_times(capture, period_ms=period), rows["frame_number"].to_numpy(), table, _latencies(rows)
        )


def _latencies(rows: "pl.DataFrame") -> Floats:
    """Latencies in turn, infinite where a frame was dropped; those that are not known are left out."""
    values = rows["latency_ms"].cast(float).fill_null(math.nan).to_numpy()
    values = np.where(rows["is_dropped"].fill_null(value=False).to_numpy(), np.inf, values)
    return np.asarray(values[~np.isnan(values)])


def _hot_latencies(frames: "pl.DataFrame") -> Floats:
    import polars as pl

    if "thermal_state" not in frames.columns:
        return np.zeros(0)
    return _latencies(frames.filter(pl.col("thermal_state").is_in(HOT)).sort("clip_key", "frame_number"))


def _replayed_row(replay: str, found: list[ReplayedLoss], method: str) -> Row:
    known = [one for one in found if one.loss is not None]
    columns = {
        name: np.array([getattr(one, name) for one in known], np.float64)
        for name in ("loss", "algorithm", "lateness", "dropped")
    }
    if not known:
        return {"replay": replay, "n_clips": 0, "reason": "no clip with a loss of held results"}
    return _row(replay, method=f"{method}; {known[0].method}", **columns)


def _row(replay: str, *, loss: Floats, algorithm: Floats, lateness: Floats, dropped: Floats, method: str) -> Row:
    """Average clips, each counting once, with the interval of the lateness.

    Args:
        replay: its name.
        loss, algorithm, lateness, dropped: of each clip.
        method: how latencies came about.
    """
    interval = clip_mean(lateness, limits=(-1.0, 1.0))
    known = dropped[~np.isnan(dropped)]
    parts = [math.fsum(values) / len(values) for values in (algorithm, lateness)]
    return {
        "replay": replay,
        "loss": math.fsum(loss) / len(loss),
        "algorithm": parts[0],
        "lateness": parts[1],
        "lateness_low": interval.low,
        "lateness_high": interval.high,
        "dropped": float(known.mean()) if known.size else None,
        "n_clips": len(loss),
        "method": method,
        "reason": interval.reason,
    }
