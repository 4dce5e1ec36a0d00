"""Loss at display time: against a screen walked refresh by refresh, an exact split, replays, and the edges."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.video.display import (
    NOTHING,
    HeldResults,
    display_loss,
    held_results,
    objects_at,
    refresh_times,
    replay_display,
    track_display_loss,
)
from cv_quality.metrics.video.tracks import Detections, count_tracks, detections

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
LATENCIES = st.lists(st.one_of(st.none(), st.integers(0, 80)), min_size=1, max_size=20)


def clip(latencies: list[int | None]) -> tuple[Floats, Floats]:
    """Captures 10 ms apart, and their results."""
    capture = np.arange(0, 10 * len(latencies), 10, dtype=np.float64)
    waits = np.array([math.nan if wait is None else wait for wait in latencies], dtype=np.float64)
    return capture, np.add(capture, waits, dtype=np.float64)


def table_of(seed: int, n: int) -> Floats:
    """Losses of each result against each truth: eighths, so that their sums are exact."""
    table: Floats = np.random.default_rng(seed).integers(0, 9, (n, n)) / 8
    return table


def moving(result: Rows, truth: Rows) -> Floats:
    """Truth that moves on by a loss of 0.1 a frame, and an algorithm that loses 0.2."""
    loss: Floats = np.minimum(0.2 + 0.1 * (truth - result), 1.0)
    return loss


@given(latencies=LATENCIES, period=st.integers(3, 17))
def test_what_is_on_is_that_of_a_screen_walked_refresh_by_refresh(latencies: list[int | None], period: int) -> None:
    capture, result = clip(latencies)
    refresh = refresh_times(capture, period_ms=period)
    held = held_results(capture, result, refresh)
    for index, now in enumerate(refresh.tolist()):
        arrived = [frame for frame in range(len(capture)) if result[frame] <= now]
        assert held.shown[index] == (max(arrived) if arrived else NOTHING)
        assert held.moment[index] == max(frame for frame in range(len(capture)) if capture[frame] <= now)
    assert np.all(held.shown <= held.moment)


@given(latencies=LATENCIES, period=st.integers(3, 17), seed=st.integers(0, 999))
def test_algorithm_and_lateness_add_up_to_the_loss_of_what_was_shown(
    latencies: list[int | None], period: int, seed: int
) -> None:
    capture, result = clip(latencies)
    held, table = held_results(capture, result, refresh_times(capture, period_ms=period)), table_of(seed, len(capture))
    found = display_loss(held, lambda results, truths: table[results, truths])
    pairs = list(zip(held.shown.tolist(), held.moment.tolist(), strict=True))
    shown = sum(Fraction(float(table[s, m])) if s != NOTHING else Fraction(1) for s, m in pairs)
    own = sum(Fraction(float(table[m, m])) for _, m in pairs)
    assert found.algorithm is not None
    assert found.lateness is not None
    assert found.loss == found.algorithm + found.lateness
    assert found.algorithm == float(own / len(pairs))
    assert found.lateness == float((shown - own) / len(pairs))
    assert found.loss == pytest.approx(float(shown / len(pairs)), abs=1e-15)


@given(latencies=LATENCIES, seed=st.integers(0, 999))
def test_without_latency_the_loss_is_that_of_the_algorithm(latencies: list[int | None], seed: int) -> None:
    capture, table = clip(latencies)[0], table_of(seed, len(latencies))
    found = display_loss(held_results(capture, capture, capture), lambda results, truths: table[results, truths])
    assert found.lateness == 0
    assert found.loss == np.diag(table).mean()
    assert (found.n_held, found.n_nothing) == (0, 0)


@given(latencies=LATENCIES, more=st.integers(0, 50))
def test_longer_latency_never_lowers_the_loss_of_a_scene_that_moves_on(latencies: list[int | None], more: int) -> None:
    capture, result = clip(latencies)
    sooner, later = (display_loss(held_results(capture, times, capture), moving) for times in (result, result + more))
    assert sooner.lateness is not None
    assert later.lateness is not None
    assert later.lateness >= sooner.lateness
    assert sooner.algorithm == later.algorithm


def test_a_frame_without_a_result_takes_the_loss_of_the_last_one_with_one() -> None:
    table = np.array([[0.1, 0.3, 0.5], [math.nan] * 3, [0.9, 0.9, 0.2]])
    held = held_results([0, 10, 20], [0, math.nan, 20], [0, 10, 20])
    found = display_loss(held, lambda results, truths: table[results, truths])
    assert found.algorithm == pytest.approx((0.1 + 0.1 + 0.2) / 3)
    assert found.lateness == pytest.approx((0.3 - 0.1) / 3)
    assert (found.n_estimated, found.n_held, found.n_unscored) == (1, 1, 0)


def test_a_refresh_whose_truth_is_missing_is_left_out_and_counted() -> None:
    table = np.array([[0.1, math.nan], [0.4, math.nan]])
    found = display_loss(held_results([0, 10], [0, 10], [0, 5, 10]), lambda results, truths: table[results, truths])
    assert (found.n_refreshes, found.n_unscored, found.loss) == (2, 1, 0.1)
    nothing = display_loss(held_results([0], [0], [0]), lambda results, _: np.full(results.size, math.nan))
    assert (nothing.loss, nothing.reason) == (None, "no refresh with a loss")


def test_before_the_first_result_all_loss_beyond_the_algorithm_is_lateness() -> None:
    found = display_loss(held_results([0, 10], [10, 10], [0, 10]), moving)
    assert (found.n_nothing, found.algorithm) == (1, 0.2)
    assert found.lateness == pytest.approx(0.4)


def test_each_pair_of_frames_is_scored_once() -> None:
    asked: list[tuple[int, int]] = []

    def loss(results: Rows, truths: Rows) -> Floats:
        asked.extend(zip(results.tolist(), truths.tolist(), strict=True))
        return moving(results, truths)

    times = 10.0 * np.arange(40)
    replay_display(times, np.repeat(times, 3), loss, latency_ms=[5, 15, 25, math.inf], seed=1)
    assert len(asked) == len(set(asked))


def test_a_replay_of_constant_latencies_is_the_clip_itself() -> None:
    times = 10.0 * np.arange(60)
    found = replay_display(times, times, moving, latency_ms=[25.0, 25.0], draws=3)
    direct = display_loss(held_results(times, times + 25, times), moving)
    assert found.loss == pytest.approx(direct.loss)
    assert found.algorithm == pytest.approx(direct.algorithm)
    assert found.lateness_low == pytest.approx(direct.lateness)
    assert found.lateness_high == pytest.approx(direct.lateness)


def test_replays_repeat_and_a_faster_chip_only_lowers_lateness() -> None:
    times, slow = 10.0 * np.arange(300), np.random.default_rng(1).gamma(4, 12, 500)
    slow[::20] = math.inf
    hot, again = (replay_display(times, times, moving, latency_ms=slow, seed=2) for _ in range(2))
    assert hot == again
    fast = replay_display(times, times, moving, latency_ms=slow / 4, seed=2)
    assert hot.algorithm == fast.algorithm
    assert None not in (hot.lateness, fast.lateness, hot.lateness_low, fast.lateness_high)
    assert fast.lateness_high < hot.lateness_low  # type: ignore[operator]
    assert hot.dropped == fast.dropped == pytest.approx(0.05, abs=0.01)
    assert hot.loss == (hot.algorithm or 0) + (hot.lateness or 0)


def test_runs_of_drops_stay_runs_in_a_replay() -> None:
    times, latency = 10.0 * np.arange(400), np.zeros(400)
    latency[:40] = math.inf
    runs = replay_display(times, times, moving, latency_ms=latency, block=100, seed=3)
    single = replay_display(times, times, moving, latency_ms=latency, block=1, seed=3)
    assert runs.dropped == pytest.approx(single.dropped, abs=0.03)
    assert None not in (runs.lateness, single.lateness)
    assert runs.lateness > 2 * single.lateness  # type: ignore[operator]


def test_tracks_at_display_time_lose_to_lateness_what_the_object_moved() -> None:
    frame, size = np.arange(30), np.full((30, 2), 20.0)
    truth = detections(frame, np.zeros(30, dtype=int), np.column_stack([4.0 * frame, 0 * frame, size]))
    capture = 10.0 * frame
    held = held_results(capture, capture + 10, capture)
    late = track_display_loss(truth, truth, held, has_result=np.ones(30, dtype=bool))
    assert late.algorithm == 0
    assert late.loss == late.lateness
    shifted = detections(
        frame[1:], np.zeros(29, dtype=int), np.column_stack([4.0 * frame[:-1], 0 * frame[1:], size[1:]])
    )
    assert late.loss == pytest.approx(1 - (count_tracks(truth, shifted).scores().hota or 0))
    prompt = track_display_loss(
        truth, truth, held_results(capture, capture, capture), has_result=np.ones(30, dtype=bool)
    )
    assert (prompt.loss, prompt.n_held, late.n_nothing) == (0.0, 0, 1)


def test_a_frame_that_the_device_dropped_is_no_error_of_the_tracker() -> None:
    frame = np.arange(10)
    truth = detections(
        frame, np.zeros(10, dtype=int), np.column_stack([9.0 * frame, 0 * frame, frame * 0 + 20, 0 * frame + 20])
    )
    has_result = frame % 2 == 0
    assert truth.boxes is not None
    seen = Detections(truth.frame[has_result], truth.track[has_result], truth.boxes[has_result])
    times = 10.0 * frame
    held = held_results(times, np.where(has_result, times, np.inf), times)
    found = track_display_loss(truth, seen, held, has_result=has_result, score="mota")
    assert (found.algorithm, found.n_estimated, found.n_held) == (0.0, 5, 5)
    assert found.lateness == 1.0  # Each held box overlaps less than half: a miss and a false positive.


def test_objects_of_refreshes_repeat_those_of_their_frames() -> None:
    objects = detections([0, 0, 2], ["a", "b", "a"])
    held = objects_at(objects, [NOTHING, 0, 0, 1, 2])
    assert held.frame.tolist() == [1, 1, 2, 2, 4]
    assert held.track.tolist() == ["a", "b", "a", "b", "a"]


def test_refreshes_cover_the_clip_at_the_rate_of_the_screen() -> None:
    times = refresh_times(1000 / 30 * np.arange(30), period_ms=1000 / 60)
    assert len(times) == 60
    assert refresh_times([5.0], period_ms=10, phase_ms=2.0).tolist() == [7.0]


def test_times_that_make_no_clip_are_refused() -> None:
    with pytest.raises(MetricError, match="ascend"):
        held_results([0, 0], [1, 1], [2])
    with pytest.raises(MetricError, match="after its capture"):
        held_results([10], [5], [10])
    with pytest.raises(MetricError, match="from the first capture on"):
        held_results([10], [15], [5])
    with pytest.raises(MetricError, match="negative"):
        replay_display([0], [0], moving, latency_ms=[-1.0])
    with pytest.raises(MetricError, match="a loss for each"):
        display_loss(HeldResults(np.array([0]), np.array([0])), lambda results, _: np.zeros(results.size + 1))
