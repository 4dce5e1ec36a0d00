"""Pictures are numbered by timestamps: every hole of a steady clip is found, and no picture has another's number."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.tasks.video.numbering import LoggedFrames, number_pictures

PERIOD = Fraction(1, 30)


def on_grid(slots: list[int]) -> list[Fraction]:
    return [slot * PERIOD for slot in slots]


@given(st.sets(st.integers(0, 120), min_size=2), st.randoms(use_true_random=False))
def test_holes_of_a_steady_clip_are_found_under_jitter(slots: set[int], draw: object) -> None:
    first = min(slots)
    kept = sorted(slots)
    jittered = [slot * PERIOD + PERIOD * Fraction(draw.randint(-10, 10), 100) for slot in kept]  # type: ignore[attr-defined]
    numbering = number_pictures(jittered, LoggedFrames(), period_s=PERIOD)
    assert numbering.rule == "constant rate"
    assert numbering.numbers == [slot - first for slot in kept]
    assert numbering.holes == set(range(kept[-1] - first)) - {slot - first for slot in kept}


def test_a_rate_that_drifts_loses_no_number() -> None:
    times = [Fraction(0)]
    for index in range(3000):
        times.append(times[-1] + PERIOD * (1 + Fraction(index, 30_000)))
    numbering = number_pictures(times, LoggedFrames())
    assert (numbering.rule, numbering.numbers) == ("constant rate", list(range(3001)))


def test_a_picture_that_came_late_keeps_its_own_number() -> None:
    times = on_grid(list(range(60)))
    times[20] += PERIOD * Fraction(6, 10)
    assert number_pictures(times, LoggedFrames()).numbers == list(range(60))


def test_a_gap_of_ages_is_not_filled_frame_by_frame() -> None:
    times = [*on_grid(list(range(50))), Fraction(10**6)]
    numbering = number_pictures(times, LoggedFrames())
    assert (numbering.rule, numbering.numbers, numbering.holes) == ("order", list(range(51)), set())


@given(
    st.lists(st.fractions(0, 3, max_denominator=1000), unique=True, max_size=30).map(sorted),
    st.lists(st.floats(0, 3), max_size=30),
)
def test_numbers_rise_whatever_was_logged(times: list[Fraction], logged: list[float]) -> None:
    frames = LoggedFrames(list(range(len(logged))), logged, [None] * len(logged))
    numbers = [number for number in number_pictures(times, frames).numbers if number is not None]
    assert all(before < after for before, after in pairwise(numbers))
    assert all(number >= 0 for number in numbers)


@pytest.mark.parametrize(("late_ms", "expected"), [(16, [0, 1, 2]), (17, [0, None, 2])])
def test_logged_times_hold_for_half_a_period(late_ms: int, expected: list[int | None]) -> None:
    frames = LoggedFrames([0, 1, 2], [0.0, 0.033, 0.066], [None] * 3)
    times = [Fraction(0), Fraction(33 + late_ms, 1000), Fraction(66, 1000)]
    assert number_pictures(times, frames).numbers == expected


def test_a_logged_frame_has_one_picture_the_nearest() -> None:
    frames = LoggedFrames([0, 1, 2], [0.0, 0.1, 0.2], [None] * 3)
    times = [Fraction(0), Fraction(9, 100), Fraction(11, 100) - Fraction(1, 200), Fraction(2, 10)]
    assert number_pictures(times, frames).numbers == [0, None, 1, 2]


def test_no_pictures_have_no_numbers() -> None:
    assert number_pictures([], LoggedFrames([0], [None], [5.0])).numbers == []
