"""The rule of a masked Hamming distance: how many bits, rotated how far, normalised how.

At one threshold more rotations mean more false matches, and normalised distances are other numbers: the rule belongs to
every claim about a system.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError

Norm = Literal["raw", "linear", "daugman"]
NORMS: tuple[Norm, ...] = get_args(Norm)
MEAN, GRADIENT, OFFSET = 0.45, 5e-5, 0.5
"""Of "linear": max(0, m - (m - HD) (g n + .5)), n the bits compared (Worldcoin, open-iris)."""
TYPICAL_BITS = 911.0
"""Of "daugman": .5 - (.5 - HD) sqrt(n / 911) (Daugman, 2007)."""
RANGES: dict[Norm, tuple[float, float]] = {"raw": (0.0, 1.0), "linear": (0.0, 2.0), "daugman": (-math.inf, math.inf)}
"""The closed range of the scores of each normalisation."""


MOST_BITS = 32_768
"""Up to here "linear" distances stay in their range, and different shares of bits are different numbers in float64."""


MINIMUM_SHARE = 0.1
"""Of a code's bits, that must be valid in both where nothing else is said: two bits that agree prove nothing."""


def default_minimum(bits: int) -> int:
    """Choose how many bits must be valid in both of two codes, where nothing else is said.

    >>> default_minimum(2_592)
    259
    """
    return max(1, int(MINIMUM_SHARE * bits))


@dataclass(frozen=True, slots=True)
class HammingRule:
    """How two iris codes are compared.

    Attributes:
        bits: of a code.
        step: bits by which a rotation of one column turns a code; divides `bits`.
        shifts: rotations tried, an odd number: as many columns to either side of none.
        norm: how the distance is normalised by the bits compared: "raw" not at all.
        minimum_bits: a rotation at which fewer bits are valid in both codes is none; where none is left, the two cannot
            be compared.

    >>> HammingRule(bits=2048, step=8, shifts=15).reach
    7
    """

    bits: int
    step: int
    shifts: int = 15
    norm: Norm = "raw"
    minimum_bits: int = 1

    def __post_init__(self) -> None:
        """Check that the numbers go together.

        Raises:
            MetricError: names what was expected and found.
        """
        if self.bits < 1 or self.step < 1 or self.bits % self.step:
            raise MetricError(f"expected bits that columns of equal size hold, found {self.bits} bits by {self.step}")
        if self.bits > MOST_BITS:
            raise MetricError(f"expected a code of at most {MOST_BITS:,} bits, found {self.bits:,}")
        if self.shifts < 1 or self.shifts % 2 == 0:
            raise MetricError(f"expected an odd number of shifts, as many to either side, found {self.shifts}")
        if self.shifts > self.columns:
            raise MetricError(f"a code of {self.columns} columns has no {self.shifts} different shifts")
        if self.norm not in NORMS:
            raise MetricError(f"expected a normalisation of {', '.join(NORMS)}, found {self.norm!r}")
        if not 1 <= self.minimum_bits <= self.bits:
            raise MetricError(f"expected from 1 to {self.bits} minimum bits, found {self.minimum_bits}")

    @property
    def columns(self) -> int:
        """Angular positions of a code."""
        return self.bits // self.step

    @property
    def words(self) -> int:
        """Words of 64 bits that hold a code."""
        return -(-self.bits // 64)

    @property
    def reach(self) -> int:
        """Columns of the farthest rotation to either side."""
        return self.shifts // 2

    @property
    def rotations(self) -> NDArray[np.int64]:
        """The rotations in columns, in the order in which they are tried: the first best one counts.

        >>> HammingRule(bits=2048, step=8, shifts=5).rotations.tolist()
        [0, -1, 1, -2, 2]
        """
        sides = np.arange(1, self.reach + 1)
        return np.concatenate([[0], np.stack([-sides, sides], axis=1).ravel()]).astype(np.int64)

    @property
    def score_range(self) -> tuple[float, float]:
        """The closed range of scores; smaller is more alike."""
        return RANGES[self.norm]

    def normalised(self, differing: NDArray[np.int64], compared: NDArray[np.int64]) -> NDArray[np.float64]:
        """Normalise distances at one rotation; NaN where fewer than the minimum of bits are compared.

        Args:
            differing: bits that differ among those compared.
            compared: bits valid in both codes.
        """
        n = np.where(compared >= self.minimum_bits, compared, 1).astype(np.float64)
        raw = differing / n
        scores = raw
        if self.norm == "linear":
            scores = np.maximum(0.0, MEAN - (MEAN - raw) * (GRADIENT * n + OFFSET))
        elif self.norm == "daugman":
            scores = 0.5 - (0.5 - raw) * np.sqrt(n / TYPICAL_BITS)
        return np.where(compared >= self.minimum_bits, scores, np.nan)
