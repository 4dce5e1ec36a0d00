"""Dropped, repeated and frozen frames are counted from timestamps and changes, exactly and without repair."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.video.clip_timing import ClipTiming, clip_timing, measured_period, repeated_pictures

TICK = Fraction(1, 30)
MOVED = 20.0


def timing(pts: Sequence[int | None], changes: Sequence[float | None] | None = None, **options: Fraction) -> ClipTiming:
    given_changes = [MOVED] * len(pts) if changes is None else changes
    return clip_timing(pts, given_changes, **{"time_base": TICK, **options})


@st.composite
def planted(draw: st.DrawFn) -> tuple[list[int], list[float | None], dict[str, int]]:
    """Slots of 1/30 s that move, with runs of dropped, repeated or frozen frames apart from each other."""
    pts: list[int] = []
    changes: list[float | None] = []
    planted = {"dropped": 0, "gaps": 0, "repeats": 0, "frozen": 0, "freezes": 0}
    slot = 0

    def show(change: float | None, count: int = 1) -> None:
        nonlocal slot
        for _ in range(count):
            pts.append(slot)
            changes.append(change)
            slot += 1

    show(None)
    show(MOVED, 5)
    for _ in range(draw(st.integers(0, 6))):
        kind, length = draw(st.sampled_from(["drop", "repeat"])), draw(st.integers(1, 40))
        if kind == "drop":
            slot += length
            planted["dropped"] += length
            planted["gaps"] += 1
        else:
            show(draw(st.floats(0, 1)), length)
            is_freeze = length + 1 > 3
            planted["frozen" if is_freeze else "repeats"] += length
            planted["freezes"] += is_freeze
        show(MOVED, draw(st.integers(max(8, length + 1), 60)))
    return pts, changes, planted


@given(planted(), st.sampled_from([Fraction(1, 30), Fraction(1001, 30000), Fraction(1, 240), Fraction(7, 3)]))
def test_planted_frames_are_counted_exactly(
    clip: tuple[list[int], list[float | None], dict[str, int]], period: Fraction
) -> None:
    pts, changes, planted = clip
    found = clip_timing(pts, changes, time_base=period)
    assert found.dropped == planted["dropped"]
    assert (len(found.gaps), len(found.freezes)) == (planted["gaps"], planted["freezes"])
    assert (found.repeats, found.frozen) == (planted["repeats"], planted["frozen"])
    assert (found.period_s, found.off_grid, found.backward, found.untimed) == (period, 0, 0, 0)
    assert found.rate_hz == pytest.approx(float(1 / period))


@given(planted())
def test_timestamps_in_milliseconds_lose_no_frame(
    clip: tuple[list[int], list[float | None], dict[str, int]],
) -> None:
    pts, changes, planted = clip
    found = clip_timing([round(Fraction(slot * 1000, 30)) for slot in pts], changes, time_base=Fraction(1, 1000))
    assert (found.dropped, found.repeats, found.frozen) == (planted["dropped"], planted["repeats"], planted["frozen"])
    assert found.off_grid == 0


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63)), max_size=60), st.fractions(Fraction(1, 10**6), 10))
def test_every_frame_of_any_clip_is_accounted_for(pts: list[int | None], time_base: Fraction) -> None:
    found = timing(pts, [None] * len(pts), time_base=time_base)
    advancing = found.steps + 1 if found.period_s else len(pts) - found.untimed - found.backward
    assert found.frames == found.untimed + found.backward + advancing
    assert all(gap.dropped > 0 and gap.start_s < gap.end_s for gap in found.gaps)
    assert (found.period_s is None) == (found.rate_hz is None)
    assert found.drift is not None or found.reason is not None


def test_gap_says_where_it_lies() -> None:
    (gap,) = timing([0, 1, 2, 6, 7]).gaps
    assert (gap.after, gap.start_s, gap.end_s, gap.dropped) == (2, 2 * TICK, 6 * TICK, 3)


def test_frame_without_a_timestamp_fills_a_gap() -> None:
    found = timing([0, 1, None, 4, 5, 6])
    assert (found.untimed, found.dropped) == (1, 1)


def test_backward_and_equal_timestamps_are_counted_and_kept_out() -> None:
    found = timing([0, 1, 1, 2, 1, 3, 4])
    assert (found.frames, found.backward, found.steps, found.dropped) == (7, 2, 4, 0)


def test_freeze_ends_a_period_after_its_last_frame() -> None:
    changes: list[float | None] = [None, MOVED, 0.0, 0.0, 0.0, MOVED, 0.0, 0.0, 0.0]
    first, last = timing([0, 1, 2, 3, 4, 9, 10, 11, 12], changes).freezes
    assert (first.first, first.last, first.start_s, first.duration_s) == (1, 4, TICK, 4 * TICK)
    assert (last.first, last.last, last.end_s) == (5, 8, 13 * TICK)


def test_three_periods_of_one_picture_are_no_freeze() -> None:
    found = timing(list(range(6)), [None, MOVED, 0.0, 0.0, MOVED, MOVED])
    assert (found.repeats, found.freezes) == (2, ())


def test_frames_dropped_while_a_picture_stood_lengthen_its_freeze() -> None:
    (freeze,) = timing([0, 1, 2, 8, 9, 10], [None, MOVED, 0.0, 0.0, MOVED, MOVED]).freezes
    assert (freeze.repeats, freeze.duration_s) == (2, 8 * TICK)


def test_repeats_are_judged_by_the_moving_pictures_around_them() -> None:
    assert repeated_pictures([None, 40.0, 4.9, 40.0]) == [False, False, True, False]
    assert repeated_pictures([None, 40.0, 4.9, 10.0]) == [False, False, False, False]
    assert repeated_pictures([None, 3.0, 0.9, 3.0]) == [False, False, True, False]
    assert repeated_pictures([None, None, 0.0]) == [False, False, True]


def test_lamp_that_is_switched_or_motion_that_begins_freezes_nothing() -> None:
    slow, fast = [2.0] * 20, [30.0] * 20
    assert not any(repeated_pictures([None, *slow, 100.0, *slow]))
    assert not any(repeated_pictures([None, *slow, 100.0, *slow, 100.0, *slow]))
    assert not any(repeated_pictures([None, *slow, *fast]))
    assert not any(repeated_pictures([None, *fast, 100.0, *slow]))
    assert sum(repeated_pictures([None, *fast, *slow, *fast])) == 20


def test_period_is_the_mean_of_single_steps() -> None:
    times = [Fraction(value, 1000) for value in (0, 33, 67, 100, 133, 2133)]
    assert measured_period(times) == Fraction(133, 4000)
    assert measured_period(times[:1]) is None


def test_given_period_finds_gaps_that_are_in_most_steps() -> None:
    assert timing([0, 2, 4, 6]).dropped == 0
    assert timing([0, 2, 4, 6], period_s=TICK).dropped == 3


def test_variable_rate_shows_as_steps_off_the_grid() -> None:
    found = timing([0, 100, 240, 300, 450, 520, 600], time_base=Fraction(1, 3000))
    assert found.period_s == Fraction(90, 3000)  # the mean of all steps but 150, which is nearer to two of the median
    assert found.off_grid == 3  # 140, 60 and 150


def test_rate_that_falls_is_drift() -> None:
    """30 frames at 30 a second, then 30 at 27, then 30 at 24: the last third has 24/30 of the first one's rate."""
    ticks = [0]
    for step in (36, 40, 45):
        for _ in range(30):
            ticks.append(ticks[-1] + step)
    found = timing(ticks, time_base=Fraction(1, 1080))
    assert found.drift == pytest.approx(24 / 30 - 1)
    assert found.dropped == 0
    assert found.reason is None
    steady = timing([*range(40), *range(45, 90)])
    assert (steady.drift, steady.dropped) == (0.0, 5)


def test_short_clips_have_no_drift_and_say_why() -> None:
    found = timing(list(range(10)))
    assert (found.drift, found.rate_hz) == (None, 30.0)
    assert found.reason == "insufficient: drift needs 30 timed frames, found 10"
    empty = timing([])
    assert (empty.frames, empty.period_s, empty.rate_hz) == (0, None, None)


def test_malformed_input_is_refused() -> None:
    with pytest.raises(MetricError):
        timing([0, 1], [None])
    with pytest.raises(MetricError):
        timing([0, 1], time_base=Fraction(0))
    with pytest.raises(MetricError):
        timing([0, 1], period_s=Fraction(-1))
