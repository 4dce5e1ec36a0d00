"""Masked Hamming distances of listed pairs of iris codes: the smallest over rotations, with everything it rests on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.iris.codes import check_templates
from cv_quality.metrics.iris.rules import NORMS, HammingRule
from cv_quality.metrics.pairs import Rows


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
        MetricError: the templates are no codes of the rule's bits.
    """
    from cv_quality.metrics.iris import hamming_kernels as kernels

    sides = check_templates(references, rule, name="references"), check_templates(probes, rule, name="probes")
    pairs = len(rows[0])
    differing, compared, best, valid = (np.zeros(pairs, np.int64) for _ in range(4))
    scores, rotations = np.full(pairs, np.nan), rule.rotations
    compiled(kernels.compare_pairs)(
        sides,
        (np.asarray(rows[0], np.int64), np.asarray(rows[1], np.int64)),
        turns_of(rule),
        (rule.bits, NORMS.index(rule.norm), rule.minimum_bits),
        np.empty((2, 2 * rule.words + 2), np.uint64),
        (differing, compared, best, valid),
        scores,
    )
    is_compared = best >= 0
    with np.errstate(invalid="ignore"):
        raw = np.where(is_compared, differing / np.maximum(compared, 1), np.nan)
    return Comparisons(raw, compared, np.where(is_compared, rotations[best], 0), valid, scores)


def turns_of(rule: HammingRule) -> NDArray[np.int64]:
    """Turn each rotation of a rule into bits to higher places, from 0 to its bits - 1."""
    return rule.rotations * rule.step % rule.bits
