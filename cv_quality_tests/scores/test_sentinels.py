"""Values that stand for "no score" are found by where they lie, set apart aloud, and left in on request."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.scores.reading import read_scores
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.sentinels import extremes
from cv_quality_tests.scores.score_files import matrix_text, write


def two_column(folder: Path, genuine: list[float], impostor: list[float], name: str = "x.txt") -> Path:
    lines = [*(f"1 {score!r}\n" for score in genuine), *(f"0 {score!r}\n" for score in impostor)]
    return write(folder, name, "".join(lines))


def spread(low: float, high: float, n: int) -> list[float]:
    return [float(value) for value in np.linspace(low, high, n)]


def read_far_floor(folder: Path, **how: object) -> ScoreSet:
    path = two_column(folder, [-1.0, *spread(0.6, 0.9, 30)], [-1.0, -1.0, *spread(0.4, 0.7, 60)])
    return read_scores(path, **how)  # type: ignore[arg-type]


def test_a_repeated_far_floor_is_set_apart_with_its_counts(tmp_path: Path) -> None:
    found = read_far_floor(tmp_path)
    assert (found.n_genuine, found.n_impostor) == (30, 60)
    assert found.excluded_by_reason() == {"sentinel": 3}
    assert set(found.excluded["score"]) == {-1.0}
    assert any("3 comparisons (1 genuine, 2 impostor) with the sentinel -1" in warning for warning in found.warnings)
    assert found.n_failed_enrolments is None


@pytest.mark.parametrize("sentinel", ["keep", None])
def test_a_sentinel_stays_a_score_on_request(tmp_path: Path, sentinel: str | None) -> None:
    found = read_far_floor(tmp_path, sentinel=sentinel)
    assert (found.n_genuine, found.n_impostor, found.n_excluded()) == (31, 62, 0)


def test_a_declared_sentinel_is_set_apart_wherever_it_lies(tmp_path: Path) -> None:
    found = read_scores(two_column(tmp_path, [0.5, 0.9], [0.1, 0.5, 0.2]), sentinel=0.5)
    assert (sorted(found.genuine), sorted(found.impostor)) == ([0.9], [0.1, 0.2])


def test_worst_distance_is_a_sentinel_and_the_best_one_only_a_suspicion(tmp_path: Path) -> None:
    worst = two_column(tmp_path, spread(0.1, 0.4, 30), [*spread(0.3, 0.6, 60), 99.0, 99.0])
    assert read_scores(worst).excluded["score"].to_list() == [99.0, 99.0]
    best = two_column(tmp_path, spread(0.1, 0.4, 30), [*spread(0.3, 0.6, 60), -1.0, -1.0], "y.txt")
    found = read_scores(best, polarity="distance")
    assert found.n_excluded() == 0
    assert any("a sentinel? They count as scores; sentinel=-1 sets them apart" in text for text in found.warnings)


def test_one_far_score_is_an_outlier_and_two_values_are_a_scale(tmp_path: Path) -> None:
    outlier = two_column(tmp_path, spread(0.6, 0.9, 30), [-5.0, *spread(0.4, 0.7, 60)])
    assert read_scores(outlier).n_excluded() == 0
    yes_no = two_column(tmp_path, [1.0, 1.0, 0.0], [0.0] * 9 + [1.0], "y.txt")
    assert read_scores(yes_no).n_excluded() == 0


@given(
    rest=st.lists(st.floats(0, 1), min_size=12, max_size=40, unique=True),
    value=st.floats(-3, -1.5),
    n=st.integers(2, 12),
    seed=st.integers(0, 9),
)
def test_far_repeated_value_is_found_in_any_order_and_never_within_the_range(
    rest: list[float], value: float, n: int, seed: int
) -> None:
    import polars as pl

    mixed = np.random.default_rng(seed).permutation([value] * n + rest)
    assert extremes(pl.Series(mixed)).lowest == value
    assert extremes(pl.Series(-mixed)).highest == -value
    assert extremes(pl.Series([min(rest)] * 2 + rest)).lowest is None


def test_a_column_that_holds_one_value_throughout_is_a_failed_enrolment(tmp_path: Path) -> None:
    values = [[0.9, 0.2, -1], [0.3, 0.8, -1], [0.25, 0.15, -1]]
    path = write(tmp_path, "m.csv", matrix_text(["a", "b", "c"], ["a", "b", "c"], values))
    found = read_scores(path)
    assert (found.n_genuine, found.n_impostor) == (2, 4)
    assert found.failed_subjects == ("c",)
    assert found.excluded_by_reason() == {"failed_enrolment": 3}
    kept = read_scores(path, sentinel="keep")
    assert (kept.n_genuine, kept.n_impostor, kept.failed_subjects) == (3, 6, None)


def test_row_within_the_range_of_others_or_minus_infinity_is_no_sentinel(tmp_path: Path) -> None:
    flat = [[0.5, 0.5, 0.5], [0.1, 0.8, 0.2], [0.3, 0.2, 0.9]]
    assert read_scores(write(tmp_path, "m.csv", matrix_text("abc", "abc", flat))).n_excluded() == 0
    infinite: list[list[object]] = [["-inf"] * 3, [0.1, 0.8, 0.2], [0.3, 0.2, 0.9]]
    found = read_scores(write(tmp_path, "n.csv", matrix_text("abc", "abc", infinite)))
    assert (found.n_excluded(), found.genuine.tolist()) == (0, [-np.inf, 0.8, 0.9])


def test_subjects_whose_every_comparison_is_the_sentinel_failed_to_enrol(tmp_path: Path) -> None:
    rows = [f"{0.9 if a == b else 0.1 + i / 100} {int(a == b)} {a} {b}" for i, (a, b) in enumerate(pairs("abcdefg"))]
    rows += [f"-9 0 z {other}" for other in "abc"]
    path = write(tmp_path, "x.txt", "score is_genuine subject_a subject_b\n" + "\n".join(rows))
    found = read_scores(path)
    assert found.failed_subjects == ("z",)
    assert found.excluded_by_reason() == {"sentinel": 3}


def pairs(names: str) -> list[tuple[str, str]]:
    return [(a, b) for a in names for b in names if a <= b]
