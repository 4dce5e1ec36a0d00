"""Scores of two builds on the same subjects with a known truth, for studies of planning and comparison.

A genuine score is m + a_i + e, an impostor score b_i + b_j + e, all normal with variance 1 in total: so the FNMR at an
FMR is known in closed form, subjects differ in both, and what two builds share is a correlation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.trials import CrossTrials

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """How scores of two builds come about.

    Attributes:
        subjects: each compared with every other once.
        attempts: genuine comparisons of each.
        fnmr: of both builds at `fmr`, the candidate's that of the reference plus `difference`.
        fmr: where the FNMR is meant.
        difference: candidate less reference.
        genuine_sd, impostor_sd: of what subjects add; their squares, the second one's doubled, are below 1.
        correlation: of the two builds, in all that is random.
    """

    subjects: int = 250
    attempts: int = 10
    fnmr: float = 0.035
    fmr: float = 1e-3
    difference: float = 0.0
    genuine_sd: float = 0.5
    impostor_sd: float = 0.45
    correlation: float = 0.7

    def __post_init__(self) -> None:
        if self.genuine_sd**2 >= 1 or 2 * self.impostor_sd**2 >= 1:
            raise MetricError("expected subjects to add less than the whole variance of the scores")

    def draw(self, rng: np.random.Generator) -> "tuple[SimulatedScores, SimulatedScores]":
        """Draw the reference's and the candidate's scores."""
        from scipy import special

        one, other = np.triu_indices(self.subjects, 1)
        people = np.repeat(np.arange(self.subjects), self.attempts)
        threshold = -float(special.ndtri(self.fmr))

        def pair(size: int) -> Floats:
            values: Floats = rng.standard_normal((2, size))
            values[1] = self.correlation * values[0] + np.sqrt(1 - self.correlation**2) * values[1]
            return values

        own, alike = pair(self.subjects), pair(self.subjects)
        genuine = self.genuine_sd * own[:, people] + np.sqrt(1 - self.genuine_sd**2) * pair(len(people))
        impostor = self.impostor_sd * (alike[:, one] + alike[:, other])
        impostor = impostor + np.sqrt(1 - 2 * self.impostor_sd**2) * pair(len(one))
        rates = (self.fnmr, self.fnmr + self.difference)
        means = [threshold - float(special.ndtri(rate)) for rate in rates]
        sides = [SimulatedScores(genuine[k] + means[k], people, impostor[k], one, other) for k in (0, 1)]
        return sides[0], sides[1]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedScores:
    """Scores of one build, every pair of subjects once.

    Attributes:
        genuine, people: scores and subject of each, shape (n,).
        impostor, one, other: scores and both subjects of each, shape (pairs,).
    """

    genuine: Floats
    people: Codes
    impostor: Floats
    one: Codes
    other: Codes

    @property
    def n_subjects(self) -> int:
        return int(self.people[-1]) + 1

    def clustered(self, *, listed: int = 5_000) -> ClusteredScores:
        """Sort and count the scores, the highest so many impostor scores one by one."""
        tail = np.argpartition(-self.impostor, min(listed, len(self.impostor)) - 1)[:listed]
        trials = CrossTrials.all_pairs(np.ones(self.n_subjects, np.int64))
        return ClusteredScores.of(
            self.genuine, self.people, (self.one[tail], self.other[tail], self.impostor[tail]), trials
        )
