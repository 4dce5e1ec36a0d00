"""Masked Hamming distances of all pairs in plain NumPy, and random templates: what the kernels are held against."""

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.iris.codes import Codes, pack, unpack
from cv_quality.metrics.iris.rules import HammingRule

Shape = tuple[int, int, int]


def random_templates(n: int, shape: Shape, *, seed: int, valid: float = 0.8) -> Codes:
    rng = np.random.default_rng(seed)
    return pack(rng.random((n, *shape)) < 0.5, rng.random((n, *shape)) < valid)


def rule_of(shape: Shape, **settings: object) -> HammingRule:
    rows, columns, planes = shape
    return HammingRule(bits=rows * columns * planes, step=rows * planes, **settings)  # type: ignore[arg-type]


def rotate(templates: Codes, *, rule: HammingRule, shift: int) -> Codes:
    """Turn templates by `shift` columns, to higher ones where it is positive."""
    codes, masks = unpack(templates, rows=rule.step, columns=rule.columns, planes=1)
    return pack(np.roll(codes, shift, axis=2), np.roll(masks, shift, axis=2))


def plain_distances(references: Codes, probes: Codes, rule: HammingRule) -> NDArray[np.float64]:
    """Every reference against every probe turned by every rotation, by NumPy's count of bits."""
    best = np.full((len(references), len(probes)), np.nan)
    for shift in rule.rotations.tolist():
        turned = rotate(probes, rule=rule, shift=shift)
        both = references[:, None, 1] & turned[None, :, 1]
        compared = np.bitwise_count(both).sum(axis=-1, dtype=np.int64)
        wrong = (references[:, None, 0] ^ turned[None, :, 0]) & both
        differing = np.bitwise_count(wrong).sum(axis=-1, dtype=np.int64)
        best = np.fmin(best, rule.normalised(differing, compared))
    return best
