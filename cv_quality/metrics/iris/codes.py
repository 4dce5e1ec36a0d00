"""Iris templates as packed bits: a code and a mask of valid bits, in words of 64, in which a rotation is a roll.

Bit `column * step + k` of a code is bit k of that angular column (row by row, the planes of one row together): turning
the eye by one column turns the whole string by `step` bits. A bit under a mask of 0 is 0.
"""

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.iris.rules import HammingRule

Codes = NDArray[np.uint64]
"""Templates, shape (n, 2, words): codes and their masks."""
Bits = NDArray[np.bool_]


def pack(codes: NDArray[np.generic], masks: NDArray[np.generic]) -> Codes:
    """Pack bits into templates.

    Args:
        codes, masks: shape (n, rows, columns, planes), of bool, or of 0 and 1; a mask of 1 is a valid bit.

    Raises:
        MetricError: the shapes differ or are others, or there are other values.

    >>> pack(np.ones((1, 1, 8, 1), bool), np.array([1, 1, 1, 1, 0, 0, 0, 0]).reshape(1, 1, 8, 1)).tolist()
    [[[15], [15]]]
    """
    sides = [_bits(values, name=name) for values, name in ((codes, "codes"), (masks, "masks"))]
    if sides[0].shape != sides[1].shape:
        raise MetricError(f"codes have the shape {sides[0].shape}, their masks {sides[1].shape}")
    n, rows, columns, planes = sides[0].shape
    strings = [side.transpose(0, 2, 1, 3).reshape(n, columns * rows * planes) for side in sides]
    return np.stack([_packed(strings[0] & strings[1]), _packed(strings[1])], axis=1)


def unpack(templates: Codes, *, rows: int, columns: int, planes: int) -> tuple[Bits, Bits]:
    """Unpack templates into codes and masks, shape (n, rows, columns, planes).

    Args:
        templates: shape (n, 2, words).
        rows, columns, planes: of a code.

    Raises:
        MetricError: templates of that many bits have other words.
    """
    bits = rows * columns * planes
    if templates.shape[-1] != -(-bits // 64):
        raise MetricError(f"templates of {templates.shape[-1]} words are no codes of {bits} bits")
    octets = np.ascontiguousarray(templates.astype("<u8")).view(np.uint8)
    strings = np.unpackbits(octets, axis=-1, bitorder="little")[..., :bits].astype(np.bool_)
    sides = strings.reshape(len(templates), 2, columns, rows, planes).transpose(1, 0, 3, 2, 4)
    return sides[0], sides[1]


def check_templates(templates: NDArray[np.generic], rule: HammingRule, *, name: str) -> Codes:
    """Give templates as they are compared, if a rule can compare them.

    Args:
        templates: shape (n, 2, words), uint64.
        rule: how they are compared.
        name: what they are called in the error.

    Raises:
        MetricError: they are no packed codes of that many bits, or bits are set beyond them.
    """
    if templates.dtype != np.uint64 or templates.ndim != 3 or templates.shape[1:] != (2, rule.words):
        raise MetricError(
            f"{name}: expected codes and masks of {rule.bits} bits, uint64 of shape (n, 2, {rule.words}), found "
            f"{templates.dtype} of shape {templates.shape}: encode them with one build"
        )
    found: Codes = np.ascontiguousarray(templates)
    beyond = rule.bits % 64
    if beyond and (found[:, :, -1] >> np.uint64(beyond)).any():
        raise MetricError(f"{name}: bits are set beyond the {rule.bits} of a code")
    return found


def _bits(values: NDArray[np.generic], *, name: str) -> Bits:
    found = np.asarray(values)
    if found.ndim != 4:
        raise MetricError(f"{name}: expected the shape (n, rows, columns, planes), found {found.shape}")
    if found.dtype != np.bool_ and not np.isin(found, (0, 1)).all():
        raise MetricError(f"{name}: expected bits, found other numbers than 0 and 1")
    return found.astype(np.bool_)


def _packed(strings: Bits) -> Codes:
    missing = -strings.shape[-1] % 64
    padded = np.concatenate([strings, np.zeros((*strings.shape[:-1], missing), np.bool_)], axis=-1)
    words: Codes = np.ascontiguousarray(np.packbits(padded, axis=-1, bitorder="little")).view("<u8").astype(np.uint64)
    return words
