"""Intervals by clip: replicates drawn by hand, coverage, comparisons in both directions, and too few clips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cv_quality.errors import MetricError
from cv_quality.metrics.resampling import seeded
from cv_quality.metrics.video.clips import clip_interval, clip_mean, clip_rate, compare_clips, ratio_of_sums
from cv_quality.metrics.video.tracks import TrackCounts, TrackScore, count_tracks, detections, track_interval

FULL = {"dog": 0.585, "car-shadow": 0.877, "breakdance": 0.144}
SMALL = {"dog": 0.148, "car-shadow": 0.837, "breakdance": 0.153}


def clip_counts(seed: int, *, noise: float) -> TrackCounts:
    rng = np.random.default_rng(seed)
    frame, track = np.repeat(np.arange(20), 3), np.tile(np.arange(3), 20)
    places = np.column_stack([np.tile([0.0, 50, 100], 20) + frame, np.full(60, 5.0)])
    size = np.full((60, 2), 20.0)
    truth = detections(frame, track, np.hstack([places, size]))
    return count_tracks(truth, detections(frame, track, np.hstack([places + rng.normal(0, noise, places.shape), size])))


def test_a_replicate_is_the_mean_of_clips_drawn_with_replacement() -> None:
    values, rng = np.array([0.1, 0.5, 0.6, 0.9, 0.2, 0.7]), seeded(3)
    means = np.sort(values[rng.integers(0, 6, (1_000, 6))].mean(axis=1))
    found = clip_mean(values, seed=3)
    # t of 5 degrees of freedom is 2.5706; times sqrt(6 / 5), as a normal tail: 0.00243.
    half = 2.5706 * means.std() * (6 / 5) ** 0.5
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(min(means[2], values.mean() - half), abs=1e-5)
    assert found.high == pytest.approx(max(means[997], values.mean() + half), abs=1e-5)
    assert found.method == "bootstrap of clips, the outer of percentile and t, 95 %, 1000 replicates, seed 3"
    assert found.high == clip_mean(values, seed=3, limits=(0, 1)).high
    assert clip_mean([1.0, 0.9, 1.0, 0.2, 1.0], limits=(0, 1)).high == 1.0


def test_the_symmetric_bounds_are_those_of_students_t() -> None:
    values = np.random.default_rng(9).normal(0, 1, 40)
    low, high = stats.t.interval(0.95, 39, values.mean(), values.std(ddof=1) / 40**0.5)
    found = clip_mean(values, replicates=20_000)
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


@pytest.mark.parametrize("n_clips", [5, 12])
def test_intervals_by_clip_cover_the_mean_of_few_clips(n_clips: int) -> None:
    rng, covered = np.random.default_rng(n_clips), 0
    for run in range(300):
        found = clip_mean(np.clip(rng.normal(0.7, 0.12, n_clips), 0, 1), seed=run)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.7 <= found.high
    assert covered / 300 >= 0.925


def test_clips_of_one_device_are_drawn_together() -> None:
    rng = np.random.default_rng(5)
    device = np.repeat(np.arange(8), 6)
    values = rng.normal(0, 1, 8)[device] + rng.normal(0, 0.1, 48)
    alone, together = clip_mean(values, seed=1), clip_mean(values, blocks=device, seed=1)
    assert together.n_blocks == 8
    assert None not in (alone.low, alone.high, together.low, together.high)
    assert together.high - together.low > 2 * (alone.high - alone.low)  # type: ignore[operator]


def test_below_five_clips_there_is_a_value_and_no_bound() -> None:
    found = clip_mean([0.5, 0.6, 0.7, 0.8])
    assert found.value == pytest.approx(0.65)
    assert (found.low, found.high) == (None, None)
    assert found.reason == "insufficient: 4 clips, 5 needed"
    many = clip_mean(np.linspace(0, 1, 20), blocks=["a", "b"] * 10)
    assert many.reason == "insufficient: 2 blocks of clips, 5 needed"
    assert clip_rate([1, 0, 2], [30, 30, 30]).reason == "insufficient: 3 clips, 5 needed"
    rate = clip_rate([3, 1, 2, 3, 4], [30] * 5)
    assert rate.reason is None
    assert rate.method is not None
    assert rate.method.startswith("Korn-Graubard by clip")


def test_clips_without_a_value_are_left_out_and_counted() -> None:
    found = clip_mean([0.5, np.nan, 0.7, 0.8, 0.9, 0.4])
    assert (found.n_clips, found.n_left_out) == (5, 1)
    assert found.value == pytest.approx(0.66)
    assert clip_mean([np.nan]).reason == "no clip with a value"
    rare = clip_interval([[1.0, 1.0]] + [[0.0, 0.0]] * 5, ratio_of_sums)
    assert rare.value == 1.0
    assert rare.low is None
    assert rare.reason is not None
    assert rare.reason.startswith("insufficient: undefined in")


def test_a_comparison_lists_regressions_and_improvements() -> None:
    found = compare_clips(FULL | {"cow": 0.9, "bear": None}, SMALL | {"goat": 0.1, "bear": 0.5})
    assert [(change.clip, round(change.change, 3)) for change in found.regressions] == [
        ("dog", -0.437),
        ("car-shadow", -0.04),
    ]
    assert [(change.clip, round(change.change, 3)) for change in found.improvements] == [("breakdance", 0.009)]
    assert (found.unpaired, found.undefined, found.verdict) == (("cow", "goat"), ("bear",), "insufficient")
    calm = compare_clips(FULL, SMALL, tolerance=0.05)
    assert (len(calm.regressions), len(calm.improvements), calm.n_unchanged) == (1, 0, 2)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12), st.floats(0, 0.3))
def test_swapped_builds_swap_regressions_and_improvements(pairs: list[tuple[float, float]], tolerance: float) -> None:
    one = {f"clip {index}": pair[0] for index, pair in enumerate(pairs)}
    other = {f"clip {index}": pair[1] for index, pair in enumerate(pairs)}
    forth, back = compare_clips(one, other, tolerance=tolerance), compare_clips(other, one, tolerance=tolerance)
    assert {change.clip for change in forth.regressions} == {change.clip for change in back.improvements}
    assert len(forth.regressions) + len(forth.improvements) + forth.n_unchanged == len(pairs)
    errors = compare_clips(one, other, tolerance=tolerance, is_higher_better=False)
    assert errors.regressions == forth.improvements


def test_pairing_finds_a_small_change_between_clips_that_differ() -> None:
    rng = np.random.default_rng(7)
    level = rng.random(20)
    one = {str(index): value for index, value in enumerate(level)}
    other = {str(index): value - 0.02 + rng.normal(0, 0.005) for index, value in enumerate(level)}
    assert compare_clips(one, other).verdict == "regressed"
    assert compare_clips(one, other, is_higher_better=False).verdict == "improved"
    assert compare_clips(one, one).verdict == "not settled"


@pytest.mark.parametrize("score", ["hota", "mota", "idf1"])
def test_track_intervals_hold_the_score_of_the_summed_counts(score: TrackScore) -> None:
    counts = [clip_counts(seed, noise=5.0) for seed in range(8)]
    whole = sum(counts[1:], start=counts[0]).scores()
    found = track_interval(counts, score=score)
    assert found.value == pytest.approx(getattr(whole, score))
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert found.low < found.value < found.high
    better = [clip_counts(seed, noise=2.0) for seed in range(8)]
    change = track_interval(better, score=score, baseline=counts)
    assert change.low is not None
    assert change.low > 0
    with pytest.raises(MetricError, match="same clips"):
        track_interval(better, score=score, baseline=counts[:7])


def test_input_that_is_no_set_of_clips_is_refused() -> None:
    with pytest.raises(MetricError, match="same clips"):
        compare_clips({"a": 1.0}, {"b": 1.0})
    with pytest.raises(MetricError, match="shape"):
        clip_interval([1.0, 2.0], ratio_of_sums)
    with pytest.raises(MetricError, match="replicates"):
        clip_mean([1.0] * 6, replicates=10)
