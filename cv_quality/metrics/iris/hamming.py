"""Masked Hamming distances of listed pairs of iris codes: the smallest over rotations, with everything it rests on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.iris.codes import Codes, check_templates
from cv_quality.metrics.iris.hamming_kernels import BitRule, Listed, compare_pairs, rotate_rows
from cv_quality.metrics.iris.popcount import compiled_bits
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.pairs import Rows

PROBES_AT_ONCE = 64
"""Probes that are kept at all rotations: 8 MB at 16,384 bits and 31 shifts."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Listed pairs, compared; shape (pairs,) each.

    Attributes:
        hd_raw: share of the bits compared that differ, at the best rotation; NaN where no rotation can be compared.
        bits_compared: bits valid in both codes there; 0 without one.
        best_shift: columns by which the probe is turned there, to higher ones where positive; 0 without one.
        shifts_valid: rotations at which enough bits can be compared.
        hd_norm: the distance by the rule, the smallest over the rotations: the score; NaN without one.
    """

    hd_raw: NDArray[np.float64]
    bits_compared: NDArray[np.int64]
    best_shift: NDArray[np.int64]
    shifts_valid: NDArray[np.int64]
    hd_norm: NDArray[np.float64]


def compare(references: NDArray[np.generic], probes: NDArray[np.generic], rows: Rows, rule: HammingRule) -> Comparisons:
    """Compare listed pairs of templates.

    Of rotations that are equally good the one with the smaller turn counts, of two the one to lower columns.

    Args:
        references, probes: templates, uint64, shapes (n, 2, words) and (m, 2, words).
        rows: the reference and the probe of each pair, by row.
        rule: how they are compared.

    Raises:
        MetricError: the templates are no codes of the rule's bits, or rows lie outside of them.
    """
    found = compared(references, probes, rows, rule, steps=1)
    return Comparisons(found.distances, found.compared, found.shifts, found.valid, found.scores[0])


def compared(
    references: NDArray[np.generic], probes: NDArray[np.generic], rows: Rows, rule: HammingRule, *, steps: int
) -> Listed:
    """Compare as `compare`, with the scores after 1, 3, 5, ... rotations where there are as many steps.

    Args:
        references, probes, rows, rule: as of `compare`.
        steps: 1, or one for each odd number of rotations up to the rule's.

    Raises:
        MetricError: as `compare`.
    """
    sides = check_templates(references, rule, name="references"), check_templates(probes, rule, name="probes")
    left, right = _places(rows, (len(sides[0]), len(sides[1])))
    order = np.argsort(right, kind="stable")
    kinds, which = np.unique(right[order], return_inverse=True)
    n, bit_rule = len(order), BitRule.of(rule)
    numbers = np.empty((3, n), np.int64)
    found = Listed(np.empty((steps, n)), np.empty(n), numbers[0], numbers[1], numbers[2])
    for first in range(0, len(kinds), PROBES_AT_ONCE):
        turned = rotations(sides[1][kinds[first : first + PROBES_AT_ONCE]], rule)
        begin, end = np.searchsorted(which, (first, first + PROBES_AT_ONCE))
        part = found.taken(slice(begin, end))
        compiled_bits(compare_pairs)(
            sides[0], turned, left[order[begin:end]], which[begin:end] - first, bit_rule, rule.rotations, part
        )
    return found.taken(np.argsort(order))


def rotations(templates: Codes, rule: HammingRule) -> Codes:
    """Templates at all rotations of the rule, shape (shifts, n, 2, words)."""
    flat = templates.reshape(-1, rule.words)
    found = np.empty((rule.shifts, *templates.shape), np.uint64)
    for turn, rotated in zip(BitRule.of(rule).turns.tolist(), found, strict=True):
        compiled_bits(rotate_rows)(flat, rotated.reshape(-1, rule.words), turn, rule.bits)
    return found


def _places(rows: Rows, sizes: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    left, right = (np.asarray(side) for side in rows)
    if left.ndim != 1 or left.shape != right.shape:
        raise MetricError(f"expected a reference and a probe for each pair, found {left.shape} and {right.shape} rows")
    for side, size, name in zip((left, right), sizes, ("references", "probes"), strict=True):
        if side.size and (side.dtype.kind not in "iu" or side.min() < 0 or side.max() >= size):
            raise MetricError(f"{name}: expected rows from 0 to {size - 1}, found {side.min()} to {side.max()}")
    return left.astype(np.int64), right.astype(np.int64)
