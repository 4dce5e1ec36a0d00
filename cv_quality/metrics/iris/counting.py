"""Counts of all pairs of iris codes: exact by bin, with an exact tail; for every number of rotations, or two eyes.

What a count is, is told in `cv_quality.metrics.pairs`; scores are oriented, minus the distance, higher more alike.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.iris.code_counters import CodeCounting, CodePairs, Fuse, scale_of
from cv_quality.metrics.iris.codes import Codes, check_templates
from cv_quality.metrics.iris.hamming import compared
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.pair_engine import tally, tally_above
from cv_quality.metrics.pairs import (
    KEEP_ALL_PAIRS,
    KEEP_PAIRS,
    PairCounts,
    Rows,
    Side,
    block_counts,
    kept_pairs,
    paired,
)
from cv_quality.metrics.score_bins import BINS, histogram_of

Fusion = Literal["minimum", "maximum", "mean"]
FUSIONS: tuple[Fusion, ...] = ("minimum", "maximum", "mean")
"""Of the distances of two eyes: the smaller one accepts where either eye does (OR), the larger where both do (AND)."""
EYES = 2


def count_codes(
    references: Side,
    probes: Side,
    *,
    rule: HammingRule,
    threshold: float | None = None,
    keep_all: int = KEEP_ALL_PAIRS,
    keep: int = KEEP_PAIRS,
    threads: int | None = None,
) -> PairCounts:
    """Count the pairs of different subjects between two sides of iris codes.

    Every score is bit for bit that of `compare`; a pair that cannot be compared is in `n_incomparable`.

    Args:
        references, probes: templates, uint64, shape (n, 2, words).
        rule: how they are compared.
        threshold, keep_all, keep, threads: as of `count_block`; the threshold is oriented.

    Raises:
        MetricError: the templates are no codes of the rule's bits, or subjects or ranks do not fit.
    """
    eyes = (_templates(references, probes, rule),)
    kept = (keep_all, keep)
    return _counted((references, probes), eyes, rule, None, threshold=threshold, kept=kept, threads=threads)


def count_fused(
    references: Side,
    probes: Side,
    *,
    rule: HammingRule,
    fusion: Fusion,
    threshold: float | None = None,
    keep_all: int = KEEP_ALL_PAIRS,
    keep: int = KEEP_PAIRS,
    threads: int | None = None,
) -> PairCounts:
    """Count the pairs of different subjects between two sides of captures, each of both eyes.

    Where one eye cannot be compared, "minimum" and "mean" take the other, and "maximum" has no score.

    Args:
        references, probes: templates of captures, uint64, shape (n, 2, 2, words): left eye, right eye.
        rule: how two eyes are compared.
        fusion: of the distances of the left and the right eyes.
        threshold, keep_all, keep, threads: as of `count_block`; the threshold is oriented.

    Raises:
        MetricError: the templates are no codes of the rule's bits, or subjects or ranks do not fit.
    """
    fuse, kept = fuse_by(fusion), (keep_all, keep)
    for side, name in ((references, "references"), (probes, "probes")):
        if len(side) and side.vectors.shape[1:] != (EYES, 2, rule.words):
            raise MetricError(
                f"{name}: expected the left and the right template of each capture, uint64 of shape (n, {EYES}, 2, "
                f"{rule.words}), found {side.vectors.dtype} of shape {side.vectors.shape}"
            )
    eyes = tuple(_templates(references, probes, rule, eye) for eye in range(EYES))
    return _counted((references, probes), eyes, rule, fuse, threshold=threshold, kept=kept, threads=threads)


def fuse_by(fusion: Fusion) -> Fuse:
    """Choose how the oriented scores of two eyes, shape (2, ...), become one.

    Raises:
        MetricError: there is no such fusion.
    """
    if fusion == "minimum":
        return lambda scores: np.fmax(scores[0], scores[1])
    if fusion == "maximum":
        return lambda scores: np.minimum(scores[0], scores[1])
    if fusion == "mean":
        return lambda scores: np.where(
            np.isnan(scores).any(axis=0), np.fmax(scores[0], scores[1]), (scores[0] + scores[1]) / 2
        )
    raise MetricError(f"expected a fusion of {', '.join(FUSIONS)}, found {fusion!r}")


def shift_curves(
    references: Side, probes: Side, *, rule: HammingRule, rows: Rows | None = None, threads: int | None = None
) -> NDArray[np.int64]:
    """Count pairs by score after 1, 3, 5, ... rotations, in one pass; those that cannot be compared are in no bin.

    Args:
        references, probes: templates, uint64, shape (n, 2, words).
        rule: with the most rotations.
        rows: listed pairs, such as genuine ones, by the rows of both sides; by default all of different subjects.
        threads: for all pairs, by default as many as the machine has.

    Returns:
        Histograms on `scale_of`, shape ((shifts + 1) / 2, BINS); the last is that of `count_codes`.

    Raises:
        MetricError: the templates are no codes of the rule's bits, or subjects, ranks or listed rows do not fit.
    """
    if len(references) == 0 or len(probes) == 0:
        return np.zeros((rule.reach + 1, BINS), np.int64)
    eye = _templates(references, probes, rule)
    if rows is not None:
        scores = 0.0 - compared(*eye, rows, rule, steps=rule.reach + 1).scores
        return np.stack([histogram_of(found[~np.isnan(found)], scale_of(rule)) for found in scores])
    block = paired(references, probes)
    counting = CodeCounting.of(CodePairs((eye,), block.orders, rule), block.pairing, kept="shifts")
    found = tally_above(counting, block.pairing, floor=np.inf, threads=threads).histogram
    assert found is not None
    return found


def _templates(references: Side, probes: Side, rule: HammingRule, eye: int | None = None) -> tuple[Codes, Codes]:
    """The templates of both sides, of one of two eyes where it is given; none of an empty side."""
    none = np.empty((0, 2, rule.words), np.uint64)
    sides = (side.vectors if eye is None or not len(side) else side.vectors[:, eye] for side in (references, probes))
    left, right = (
        check_templates(vectors, rule, name=name) if len(vectors) else none
        for vectors, name in zip(sides, ("references", "probes"), strict=True)
    )
    return left, right


def _counted(
    sides: tuple[Side, Side],
    eyes: tuple[tuple[Codes, Codes], ...],
    rule: HammingRule,
    fuse: Fuse | None,
    *,
    threshold: float | None,
    kept: tuple[int, int],
    threads: int | None,
) -> PairCounts:
    scale = scale_of(rule)
    if len(sides[0]) == 0 or len(sides[1]) == 0:
        return PairCounts.empty(scale)
    block = paired(*sides)
    pairs = CodePairs(eyes, block.orders, rule, fuse)
    counting = CodeCounting.of(pairs, block.pairing, threshold=threshold)
    wanted = kept_pairs(block.pairing, keep_all=kept[0], keep=kept[1])
    done = tally(counting, block.pairing, pairs, wanted=wanted, scale=scale, threads=threads)
    return block_counts(done, block, scale, threshold)
