"""How many artefacts of a PAI species, shown how often, settle a limit of its APCER with what chance.

A study settles a limit where the one-sided upper bound that it will be judged by lies within it; how often that comes
to pass is simulated with the bound itself. More presentations of the same artefact help little where they are alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.artefacts import ARTEFACTS_NEEDED, artefact_rate, artefacts_without_error
from cv_quality.metrics.rates import ASSUMED_ICC, LEVEL, require_level
from cv_quality.metrics.results import Result

PRESENTATIONS = (1, 5, 10, 20)
"""Of each artefact, that a plan compares."""
STUDIES = 1_000
MOST_ARTEFACTS = 5_000


@dataclass(frozen=True, slots=True)
class ArtefactPlan(Result):
    """A size of a study of one PAI species.

    Attributes:
        presentations: of each artefact.
        artefacts: fewest with which the limit is settled with the power; None where `MOST_ARTEFACTS` are too few.
        in_all: presentations in all.
        chance: simulated, that so many settle it.
        reason: why there is no size.
    """

    presentations: int
    artefacts: int | None
    in_all: int | None
    chance: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ArtefactPlans(Result):
    """Sizes of a study for one limit, and what they rest on.

    Attributes:
        limit: highest APCER of the species.
        apcer: that is expected.
        icc: assumed, of presentations of one artefact.
        level: of the one-sided bound.
        power: chance of settling that is asked for.
        fewest: artefacts that settle the limit where no presentation is an error; no plan has fewer.
    """

    limit: float
    apcer: float
    icc: float
    level: float
    power: float
    fewest: int
    studies: int
    seed: int
    plans: tuple[ArtefactPlan, ...]


def plan_artefacts(
    limit: float,
    *,
    apcer: float,
    icc: float = ASSUMED_ICC,
    level: float = LEVEL,
    power: float = 0.8,
    presentations: Sequence[int] = PRESENTATIONS,
    studies: int = STUDIES,
    seed: int = 0,
) -> ArtefactPlans:
    """Plan the artefacts of one PAI species.

    Args:
        limit: highest APCER, above 0 and below 1.
        apcer: that is expected, from 0 to below the limit.
        icc: how alike presentations of one artefact are, from 0 to below 1.
        level: of the one-sided bound, between 0 and 1.
        power: chance that the bound lies within the limit, between 0 and 1.
        presentations: of each artefact, one plan for each.
        studies: simulated for each size.
        seed: of the simulation.

    Raises:
        MetricError: a number is out of range.

    >>> plan_artefacts(0.07, apcer=0.0, presentations=[10]).plans[0].artefacts
    42
    """
    require_level(level)
    if not 0 <= apcer < limit < 1:
        raise MetricError(f"expected 0 <= APCER < limit < 1, found {apcer:g} and {limit:g}: no study settles another")
    if not 0 <= icc < 1 or not 0 < power < 1:
        raise MetricError(f"expected an ICC from 0 to below 1 and a power between 0 and 1, found {icc:g} and {power:g}")
    if not presentations or min(presentations) < 1:
        raise MetricError("expected 1 presentation of each artefact, or more")
    fewest = max(ARTEFACTS_NEEDED, artefacts_without_error(limit, level=level))
    plans = []
    for shown in presentations:
        trial = _Trial(shown, limit, apcer, icc, level, studies, seed)
        found = _fewest(trial, power, start=fewest)
        chance = None if found is None else trial.chance(found)
        reason = f"more than {MOST_ARTEFACTS:,} artefacts would be needed" if found is None else None
        plans.append(ArtefactPlan(shown, found, None if found is None else found * shown, chance, reason))
    return ArtefactPlans(limit, apcer, icc, level, power, fewest, studies, seed, tuple(plans))


@dataclass(frozen=True, slots=True)
class _Trial:
    """Studies of one PAI species in which each artefact is shown so often."""

    shown: int
    limit: float
    apcer: float
    icc: float
    level: float
    studies: int
    seed: int

    def chance(self, artefacts: int) -> float:
        """Simulate how often so many artefacts settle the limit; errors of an artefact are beta-binomial."""
        rng = np.random.default_rng(self.seed)
        own: float | np.ndarray[tuple[int, ...], np.dtype[np.float64]] = self.apcer
        if self.icc > 0 and self.apcer > 0 and self.shown > 1:
            size = (1 - self.icc) / self.icc
            own = rng.beta(self.apcer * size, (1 - self.apcer) * size, (self.studies, artefacts))
        errors = np.sort(rng.binomial(self.shown, own, (self.studies, artefacts)), axis=1)
        different, counts = np.unique(errors, axis=0, return_counts=True)
        shown = np.full(artefacts, self.shown)
        settled = [self._settles(row, shown) for row in different]
        return float(counts[settled].sum() / self.studies)

    def _settles(self, errors: np.ndarray[tuple[int, ...], np.dtype[np.int64]], shown: object) -> bool:
        high = artefact_rate(errors, np.asarray(shown), level=self.level, side="upper").high
        return high is not None and high <= self.limit


def _fewest(trial: _Trial, power: float, *, start: int) -> int | None:
    """The fewest artefacts with the power; the chance rises with them but for the grain of whole errors."""
    low, high = start - 1, start
    while trial.chance(high) < power:
        low, high = high, math.ceil(high * 1.5)
        if high > MOST_ARTEFACTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if trial.chance(middle) >= power else (middle, high)
    return high
