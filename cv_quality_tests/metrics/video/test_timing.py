"""Timing of frames: against a log walked line by line, planted drops and freezes, and the edges."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.video.timing import FrameTiming, frame_timing, rate_drift

PERIOD = 1000 / 30
LINES = st.lists(
    st.tuples(st.integers(0, 25), st.one_of(st.none(), st.integers(0, 90)), st.sampled_from("ab")),
    min_size=1,
    max_size=30,
)


def walked(lines: list[tuple[int, int | None, str]], deadline: float) -> dict[str, dict[str, float]]:
    """Counts of each clip from its lines (capture in periods of 10 ms, latency, clip), one after the other."""
    found = {}
    for clip in sorted({line[2] for line in lines}):
        first: dict[float, float] = {}
        n_lines = 0
        for place, latency, _ in (line for line in lines if line[2] == clip):
            n_lines += 1
            result = math.inf if latency is None else 10.0 * place + latency
            first[10.0 * place] = min(result, first.get(10.0 * place, math.inf))
        due = int((max(first) - min(first)) / 10) + 1
        shown: list[float] = []
        newest = -1.0
        for result, capture in sorted((result, capture) for capture, result in first.items() if result < math.inf):
            if capture > newest:
                newest = capture
                shown += [result] if [result] != shown[-1:] else []
        if shown and max(first) > shown[-1]:
            shown.append(max(first))
        stays = [later - earlier for earlier, later in itertools.pairwise(shown)]
        found[clip] = {
            "n_frames": due,
            "n_duplicated": n_lines - len(first),
            "n_dropped": due - sum(result < math.inf for result in first.values()),
            "n_late": sum(deadline < result - capture < math.inf for capture, result in first.items()),
            "n_jank": sum(stay > 20 for stay in stays),
            "n_freezes": sum(stay > 30 for stay in stays),
            "frozen_ms": sum(stay for stay in stays if stay > 30),
        }
    return found


def steady(n: int = 300, *, latency: float = 20.0, clip: str = "a") -> tuple[np.ndarray, np.ndarray, list[str]]:
    capture = np.arange(n) * PERIOD
    return capture, capture + latency, [clip] * n


@given(lines=LINES, deadline=st.integers(1, 60))
def test_counts_are_those_of_the_log_walked_line_by_line(
    lines: list[tuple[int, int | None, str]], deadline: int
) -> None:
    capture = [10.0 * line[0] for line in lines]
    result = [math.nan if line[1] is None else 10.0 * line[0] + line[1] for line in lines]
    timing = frame_timing(capture, result, [line[2] for line in lines], period_ms=10, deadline_ms=deadline)
    expected = walked(lines, deadline)
    for clip in timing.clips:
        assert {name: getattr(clip, name) for name in expected[clip.clip]} == expected[clip.clip]
    assert timing.deadline_misses.numerator == timing.late.numerator + timing.dropped.numerator
    assert timing.latency[0].n == sum(counts["n_frames"] for counts in expected.values())


def test_five_dropped_three_duplicated_and_a_frozen_second_are_counted() -> None:
    """Two drops were captured, three never logged; the results of the frozen second all come at its end."""
    capture, result, _ = steady()
    result[[50, 60]] = np.nan
    result[100:130] = result[130]
    keep = np.setdiff1d(np.arange(300), [10, 20, 21])
    lines = np.sort(np.append(keep, [30, 31, 200]))
    timing = frame_timing(capture[lines], result[lines], ["a"] * len(lines), period_ms=PERIOD, deadline_ms=100)
    (clip,) = timing.clips
    assert (clip.n_frames, clip.n_dropped, clip.n_unlogged, clip.n_duplicated) == (300, 5, 3, 3)
    assert clip.n_freezes == 1
    assert clip.frozen_ms == pytest.approx(31 * PERIOD)
    # 30 results of the frozen second; the last two are in time.
    assert clip.n_late == 28
    assert (clip.n_jank, timing.frozen_ms) == (2, clip.frozen_ms)


def test_a_dropped_frame_is_an_infinite_latency() -> None:
    capture, result, clip = steady(100)
    result[:6] = np.nan
    p50, p95, p99 = frame_timing(capture, result, clip, period_ms=PERIOD, deadline_ms=50).latency
    assert p50.value == pytest.approx(20)
    assert (p95.value, p99.value, p99.n) == (math.inf, math.inf, 100)


def test_a_clip_that_ends_in_drops_freezes_until_its_last_capture() -> None:
    capture, result, clip = steady(100)
    result[40:] = np.nan
    (counts,) = frame_timing(capture, result, clip, period_ms=PERIOD, deadline_ms=50).clips
    assert counts.n_freezes == 1
    assert counts.frozen_ms == pytest.approx(60 * PERIOD - 20)


def test_a_result_older_than_the_one_that_is_on_does_not_unfreeze() -> None:
    (clip,) = frame_timing([0, 10, 20, 60], [5, 48, 15 + 10, 65], ["a"] * 4, period_ms=10, deadline_ms=99).clips
    assert (clip.n_shown, clip.n_freezes, clip.longest_ms) == (3, 1, 40.0)


def test_exactly_two_and_three_periods_are_neither_jank_nor_freeze() -> None:
    capture, result, clip = steady(100)
    result[[50, 51]] = np.nan
    result[20] = np.nan
    (counts,) = frame_timing(capture, result, clip, period_ms=PERIOD, deadline_ms=50).clips
    assert (counts.n_jank, counts.n_freezes) == (1, 0)


def test_intervals_are_by_clip_and_insufficient_below_five() -> None:
    rng = np.random.default_rng(1)

    def timing(n_clips: int) -> FrameTiming:
        logs = [steady(clip=str(index)) for index in range(n_clips)]
        capture, result = (np.concatenate([log[place] for log in logs]) for place in (0, 1))
        result = np.where(rng.random(result.size) < 0.1, capture + 90, result)
        return frame_timing(
            capture, result, [name for log in logs for name in log[2]], period_ms=PERIOD, deadline_ms=50
        )

    few, more = timing(4), timing(8)
    assert few.deadline_misses.reason == "insufficient: 4 clips, 5 needed"
    assert more.deadline_misses.reason is None
    assert more.deadline_misses.method is not None
    assert "by clip" in more.deadline_misses.method
    assert [latency.method is not None and "by clip" in latency.method for latency in more.latency] == [True] * 3
    assert more.deadline_misses.denominator == 8 * 300


def test_no_result_at_all_is_dropped_and_has_no_interval() -> None:
    timing = frame_timing([0.0, 10.0], [math.nan, math.inf], ["a", "a"], period_ms=10, deadline_ms=10)
    assert (timing.dropped.numerator, timing.jank.value, timing.clips[0].longest_ms) == (2, None, None)
    assert timing.to_dict()["latency"][0]["value"] == "inf"  # type: ignore[index, call-overload]
    assert frame_timing([], [], [], period_ms=10, deadline_ms=10).deadline_misses.reason == "no trial"


def test_drift_is_the_slope_within_clips_and_not_between_them() -> None:
    """Both clips lose 6 frames/s a minute and 0.5 a degree, at levels of their own."""
    times, clips, heat = [], [], []
    for index in range(6):
        now = 0.0
        while now < 60_000:
            now += 1000 / (40 + 5 * index - 6 * now / 60_000)
            times.append(now)
            clips.append(index)
            heat.append(50 - 3 * index + 12 * now / 60_000)
    drift = rate_drift(times, clips, temperature_c=heat)
    assert drift.per_minute.value == pytest.approx(-6, abs=0.4)
    assert drift.per_degree is not None
    assert drift.per_degree.value == pytest.approx(-0.5, abs=0.04)
    assert drift.per_minute.high is not None
    assert drift.per_minute.high < 0
    assert rate_drift(times, clips).per_degree is None
    assert rate_drift([], []).per_minute.reason == "no clip with a value"


def test_logs_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(MetricError, match="before their capture"):
        frame_timing([10.0], [5.0], ["a"], period_ms=10, deadline_ms=10)
    with pytest.raises(MetricError, match="missing"):
        frame_timing([math.nan], [5.0], ["a"], period_ms=10, deadline_ms=10)
    with pytest.raises(MetricError, match="period"):
        frame_timing([0.0], [5.0], ["a"], period_ms=0, deadline_ms=10)
    with pytest.raises(MetricError, match="a result time for each"):
        frame_timing([0.0], [5.0, 6.0], ["a"], period_ms=1, deadline_ms=10)
