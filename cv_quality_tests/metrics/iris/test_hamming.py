"""Distances of listed pairs: the facts of a public matcher's tests, symmetry, rotation, and what has none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.iris.codes import Codes, pack
from cv_quality.metrics.iris.hamming import Comparisons, compare
from cv_quality.metrics.iris.rules import NORMS, HammingRule, Norm
from cv_quality_tests.metrics.iris.plain import Shape, plain_distances, random_templates, rotate, rule_of

SHAPES: list[tuple[Shape, int]] = [((8, 64, 2), 15), ((3, 7, 1), 5), ((1, 8, 1), 3), ((5, 50, 2), 7)]

Four = tuple[str, str, str, str]


def of_bits(code: str, mask: str = "") -> Codes:
    """One row of single columns; the mask is all ones unless it is told."""
    bits, valid = ([int(bit) for bit in text] for text in (code, mask or "1" * len(code)))
    return pack(np.array(bits).reshape(1, 1, -1, 1), np.array(valid).reshape(1, 1, -1, 1))


def one(reference: Codes, probe: Codes, rule: HammingRule) -> Comparisons:
    return compare(reference, probe, (np.zeros(1, np.int64), np.zeros(1, np.int64)), rule)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("shape", "shifts"), SHAPES)
def test_distances_are_those_of_plain_numpy(shape: Shape, shifts: int, norm: Norm) -> None:
    left, right = random_templates(6, shape, seed=1), random_templates(9, shape, seed=2)
    rule = rule_of(shape, shifts=shifts, norm=norm, minimum_bits=max(1, shape[0] * shape[1] * shape[2] // 4))
    left[2] = 0
    expected = plain_distances(left, right, rule)
    rows, columns = (part.ravel() for part in np.indices(expected.shape))
    found = compare(left, right, (rows, columns), rule)
    assert np.array_equal(found.hd_norm.reshape(expected.shape), expected, equal_nan=True)
    other_way = compare(right, left, (columns, rows), rule)
    assert np.array_equal(other_way.hd_norm, found.hd_norm, equal_nan=True)
    is_other = ~np.isnan(found.hd_norm) & (found.best_shift != -other_way.best_shift)
    assert np.array_equal(found.hd_norm[is_other], other_way.hd_norm[is_other])


def test_a_perfect_match_of_eight_bits_is_far_from_0_when_it_is_normalised() -> None:
    code = of_bits("10110010")
    found = one(code, code, HammingRule(bits=8, step=1, shifts=1, norm="linear"))
    assert found.hd_norm[0] == pytest.approx(0.22482, abs=1e-9)
    assert found.hd_raw[0] == 0.0


def of_wavelets(*wavelets: str, repeats: int = 1) -> NDArray[np.bool_]:
    """Bits of one code, a wavelet a text, rows apart by a slash; `repeats` times the columns, in a row."""
    planes = [[[bit == "1" for bit in row * repeats] for row in wavelet.split("/")] for wavelet in wavelets]
    return np.moveaxis(np.array(planes), 0, -1)[None]


def of_four(texts: tuple[str, str, str, str], *, repeats: int = 1) -> Codes:
    """A template of two wavelets' codes and of their masks."""
    return pack(of_wavelets(*texts[:2], repeats=repeats), of_wavelets(*texts[2:], repeats=repeats))


ONES, ZEROS = ("11/11", "11/11", "11/11", "11/11"), ("00/00", "00/00", "11/11", "11/11")
GENUINE = ("11/01", "11/10", "10/10", "01/01"), ("11/10", "11/11", "11/11", "10/11")
IMPOSTOR = ("11/11", "11/11", "11/11", "10/11"), ("00/10", "01/00", "10/01", "11/11")
HALF_BLIND = ("11/11", "11/11", "01/01", "00/00"), ("00/10", "01/00", "11/11", "10/11")
"""Probes and references of open-iris's own tests of its matcher, with two columns."""


@pytest.mark.parametrize(
    ("probe", "reference", "shifts", "distance", "shift"),
    [
        (ONES, ONES, 3, 0.0, 0),
        (*GENUINE, 3, 0.25, -1),
        (ONES, ZEROS, 3, 1.0, 0),
        (*IMPOSTOR, 3, 0.8, -1),
        (*IMPOSTOR, 1, 1.0, 0),
    ],
)
def test_distance_and_shift_are_those_that_open_iris_tests_for(
    probe: Four, reference: Four, shifts: int, distance: float, shift: int
) -> None:
    # Three shifts need more than two columns: the same code twice has the same distances at each.
    rule = HammingRule(bits=16, step=4, shifts=shifts)
    found = one(of_four(reference, repeats=2), of_four(probe, repeats=2), rule)
    assert (found.hd_norm[0], found.best_shift[0]) == (distance, shift)


@pytest.mark.parametrize(
    ("probe", "reference", "turn", "distance"),
    [
        (ONES, ONES, 0, 0.22482),
        (*IMPOSTOR, -1, 0.6250875),
        (*IMPOSTOR, 0, 0.7251375),
        (*HALF_BLIND, -1, 0.475005),
    ],
)
def test_normalised_distances_are_those_that_open_iris_tests_for(
    probe: Four, reference: Four, turn: int, distance: float
) -> None:
    rule = HammingRule(bits=8, step=4, shifts=1, norm="linear")
    found = one(of_four(reference), rotate(of_four(probe), rule=rule, shift=turn), rule)
    assert found.hd_norm[0] == pytest.approx(distance, abs=1e-9)


@pytest.mark.parametrize(
    ("reference", "probe", "shifts", "distance", "shift"),
    [
        ("11110000", "11100001", 3, 0.0, 1),
        ("11110000", "01111000", 3, 0.0, -1),
        ("11110000", "00001111", 1, 1.0, 0),
        ("11110000", "11110000", 3, 0.0, 0),
        ("11110000", "10111000", 3, 0.25, 0),
    ],
)
def test_the_probe_is_turned_to_the_best_rotation(
    reference: str, probe: str, shifts: int, distance: float, shift: int
) -> None:
    found = one(of_bits(reference), of_bits(probe), HammingRule(bits=8, step=1, shifts=shifts))
    assert (found.hd_norm[0], found.best_shift[0], found.shifts_valid[0]) == (distance, shift, shifts)


def test_a_roll_within_the_shifts_changes_nothing() -> None:
    shape = (8, 64, 2)
    left, right, rule = random_templates(5, shape, seed=6), random_templates(5, shape, seed=7), rule_of(shape, shifts=9)
    rows = (np.arange(5), np.arange(5))
    turned = compare(left, rotate(left, rule=rule, shift=3), rows, rule)
    assert turned.hd_norm.tolist() == [0.0] * 5
    assert turned.best_shift.tolist() == [-3] * 5
    best = compare(left, right, rows, rule)
    inside = np.abs(best.best_shift) <= 2
    again = compare(left, rotate(right, rule=rule, shift=1), rows, rule)
    assert np.all(again.hd_norm[inside] <= best.hd_norm[inside])


def test_too_few_common_bits_are_no_distance() -> None:
    left, right = of_bits("11111111", "11110000"), of_bits("11111111", "00001111")
    assert np.isnan(one(left, right, HammingRule(bits=8, step=1, shifts=1)).hd_norm[0])
    found = one(left, right, HammingRule(bits=8, step=1, shifts=3, minimum_bits=1))
    assert (found.hd_norm[0], found.bits_compared[0], found.shifts_valid[0]) == (0.0, 1, 2)
    none = one(left, right, HammingRule(bits=8, step=1, shifts=3, minimum_bits=2))
    assert np.isnan(none.hd_norm[0])
    assert (none.bits_compared[0], none.best_shift[0], none.shifts_valid[0]) == (0, 0, 0)


def test_daugmans_normalisation_moves_a_distance_away_from_a_half_with_more_bits() -> None:
    code, other = of_bits("1" * 1024), of_bits("1" * 768 + "0" * 256)
    found = one(code, other, HammingRule(bits=1024, step=1, shifts=1, norm="daugman"))
    assert found.hd_raw[0] == 0.25
    assert found.hd_norm[0] == pytest.approx(0.5 - 0.25 * np.sqrt(1024 / 911), abs=1e-15)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([0], [3]), "probes: expected rows from 0 to 2, found 3 to 3"),
        (([-1], [0]), "references: expected rows from 0 to 1, found -1 to -1"),
        (([0.0], [0]), "references: expected rows from 0 to 1"),
        (([0, 1], [0]), r"a reference and a probe for each pair, found \(2,\) and \(1,\) rows"),
    ],
)
def test_pairs_of_templates_that_are_not_there_are_refused(rows: tuple[list[int], list[int]], message: str) -> None:
    left, right = random_templates(2, (1, 8, 1), seed=1), random_templates(3, (1, 8, 1), seed=2)
    with pytest.raises(MetricError, match=message):
        compare(left, right, (np.array(rows[0]), np.array(rows[1])), HammingRule(bits=8, step=1, shifts=3))


def test_no_pair_is_no_comparison() -> None:
    templates, none = random_templates(2, (1, 8, 1), seed=1), np.empty(0, np.int64)
    assert compare(templates, templates, (none, none), HammingRule(bits=8, step=1, shifts=3)).hd_norm.size == 0


def test_many_probes_in_any_order_are_compared_as_one_at_a_time() -> None:
    rng = np.random.default_rng(8)
    left, right = random_templates(20, (2, 9, 1), seed=9), random_templates(200, (2, 9, 1), seed=10)
    rule, rows = rule_of((2, 9, 1), shifts=5), (rng.integers(0, 20, 900), rng.integers(0, 200, 900))
    found = compare(left, right, rows, rule)
    for pair in range(0, 900, 90):
        alone = one(left[rows[0][pair], None], right[rows[1][pair], None], rule)
        assert alone.hd_norm[0] == found.hd_norm[pair]
        assert alone.best_shift[0] == found.best_shift[pair]
        assert alone.bits_compared[0] == found.bits_compared[pair]
