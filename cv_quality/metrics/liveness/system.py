"""What a user and an attacker meet: capture, liveness and matcher together.

IAPAR and RIAPAR are rates of the whole system (ISO/IEC 30107-3, in its manner): an attack succeeds only if its capture
answers, liveness takes it for bona fide and the matcher takes it for the target. The waterfall says for every kind of
presentation which stage decided it, and adds up to the last presentation.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.artefacts import artefact_rate
from cv_quality.metrics.liveness.presentations import Presentations
from cv_quality.metrics.rates import LEVEL, Rate, clustered_rate
from cv_quality.metrics.results import Result
from cv_quality.metrics.validation import column, truth

Stage = Literal["capture", "liveness", "matcher", "accepted"]
STAGES: tuple[Stage, ...] = ("capture", "liveness", "matcher", "accepted")
GENUINE, IMPOSTOR = "bona fide", "zero-effort impostor"


@dataclass(frozen=True, slots=True)
class SystemAttackRate(Result):
    """What one PAI species makes of the whole system.

    Attributes:
        iapar: attack presentations that match their target through the whole system, over all, non-responses included.
        riapar: IAPAR + FRR: what an attacker gains and what keeping him out costs, in one number.
        frr: of bona fide users, that RIAPAR holds.
    """

    species: str
    iapar: Rate
    riapar: float | None
    frr: float


@dataclass(frozen=True, slots=True)
class Fate(Result):
    """What became of the presentations of one kind.

    Attributes:
        kind: "bona fide", "zero-effort impostor", or the PAI species.
        presented: all of them.
        capture, liveness, matcher: rejected by that stage; the first one that rejects decides.
        accepted: what passed them all.
        undecided: presentations whose fate is not known; the five add up to `presented`.
    """

    kind: str
    presented: int
    capture: int
    liveness: int
    matcher: int
    accepted: int
    undecided: int = 0


@dataclass(frozen=True, slots=True)
class Waterfall(Result):
    """Capture, liveness and matcher for every kind of presentation, one after the other."""

    fates: tuple[Fate, ...]

    @property
    def presented(self) -> int:
        return sum(fate.presented for fate in self.fates)


def system_attack_rates(
    presentations: Presentations, is_match: ArrayLike, *, frr: float, level: float = LEVEL
) -> tuple[SystemAttackRate, ...]:
    """Compute IAPAR and RIAPAR of each PAI species; lower is better.

    Args:
        presentations: of attacks; bona fide ones are passed over.
        is_match: whether each presentation passed the whole system as its target; bool, shape (n,). One without a
            response did not.
        frr: false reject rate of bona fide users in the same system, failures to acquire included, 0 to 1.
        level: of the intervals.

    Raises:
        MetricError: shapes differ, the FRR is out of range, or a presentation without a response is called a match.

    >>> from cv_quality.metrics.liveness.presentations import check_presentations
    >>> shown = check_presentations([0.9, 0.8, 0.1], [True] * 3, species=["mask"] * 3, artefact=["1", "1", "2"])
    >>> found = system_attack_rates(shown, [True, False, False], frr=0.02)[0]
    >>> round(found.iapar.value, 3), round(found.riapar, 3)
    (0.333, 0.353)
    """
    matched = truth(is_match, name="is_match", size=len(presentations.scores))
    if not 0 <= frr <= 1:
        raise MetricError(f"the FRR is a share in [0, 1], found {frr:g}")
    if silent := int(np.count_nonzero(matched & ~presentations.has_response)):
        raise MetricError(f"{silent} presentations without a response are called matches: a match needs a response")
    found = []
    for name in presentations.species_names:
        of = presentations.is_attack & (presentations.species == name)
        iapar = artefact_rate(*presentations.counts(of, matched), level=level, unit=presentations.attack_unit)
        riapar = None if iapar.value is None else iapar.value + frr
        found.append(SystemAttackRate(name, iapar, riapar, frr))
    return tuple(found)


def waterfall(
    kind: ArrayLike, *, captured: ArrayLike, live: ArrayLike, matched: ArrayLike, known: ArrayLike | None = None
) -> Waterfall:
    """Count for every kind of presentation which stage rejected it; the first one that does decides.

    Args:
        kind: "bona fide", "zero-effort impostor" or a PAI species, of each presentation; shape (n,).
        captured: whether a sample was acquired; bool, shape (n,).
        live: whether liveness took it for bona fide; passed over where nothing was captured.
        matched: whether the matcher took it for the target; passed over where an earlier stage rejected.
        known: whether what became of it is known; None where all is.

    Raises:
        MetricError: shapes differ, or a decision is missing or no bool.

    >>> found = waterfall(["mask"] * 3, captured=[True, True, False], live=[True, False, True], matched=[True] * 3)
    >>> found.fates[0]
    Fate(kind='mask', presented=3, capture=1, liveness=1, matcher=0, accepted=1, undecided=0)
    """
    kinds = column(kind, name="kind").astype(str)
    decided = _decided(len(kinds), captured, live, matched)
    if known is not None:
        decided[~truth(known, name="known", size=len(kinds))] = len(STAGES)
    names = [name for name in (GENUINE, IMPOSTOR) if name in kinds]
    names += [name for name in np.unique(kinds).tolist() if name not in (GENUINE, IMPOSTOR)]
    return Waterfall(
        tuple(
            Fate(name, int(np.count_nonzero(of)), *np.bincount(decided[of], minlength=len(STAGES) + 1).tolist())
            for name in names
            for of in [kinds == name]
        )
    )


def _decided(n: int, captured: ArrayLike, live: ArrayLike, matched: ArrayLike) -> NDArray[np.int64]:
    """The number of the stage in STAGES that decided each presentation."""
    passed = [truth(values, name=name, size=n) for values, name in zip((captured, live, matched), STAGES, strict=False)]
    decided = np.full(n, len(STAGES) - 1, dtype=np.int64)
    for number in reversed(range(len(passed))):
        decided[~passed[number]] = number
    return decided


def false_rejects(presentations: Presentations, is_match: ArrayLike, *, level: float = LEVEL) -> Rate:
    """Estimate the FRR of bona fide presentations through the whole system, non-responses rejected; lower is better.

    Args:
        presentations: of bona fide users; attacks are passed over.
        is_match: whether each presentation passed the whole system as its target; bool, shape (n,).
        level: of the interval.

    Raises:
        MetricError: shapes differ.
    """
    matched = truth(is_match, name="is_match", size=len(presentations.scores))
    return clustered_rate(
        *presentations.counts(~presentations.is_attack, ~matched), level=level, unit=presentations.bona_fide_unit
    )
