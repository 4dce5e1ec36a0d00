"""APCER by PAI species and its worst, BPCER, and the rates of non-response: at a threshold, and at an APCER target.

ISO/IEC 30107-3 reports each species apart and forbids to average them; nothing here pools species but the equal error
rate, which exists to be held against published figures. Bounds are in `cv_quality.metrics.liveness.artefacts`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.artefacts import ARTEFACTS_NEEDED, artefact_rate, intraclass_correlation
from cv_quality.metrics.liveness.presentations import Presentations, Unit, require_both
from cv_quality.metrics.rates import LEVEL, NO_TRIAL, Rate, binomial_rate, clustered_rate, percent
from cv_quality.metrics.results import Result
from cv_quality.text import figures

APCER_TARGETS = (0.10, 0.05, 0.01)
"""Highest APCER of the worst species at which BPCER is given; BPCER10, 20 and 100 in the words of the standard."""
NO_RESPONSE = "no response to any presentation"
DET_POINTS = 120
GAP = 0.1
"""Share of the middle 90 % of all scores that is a wide gap when no score lies in it."""


@dataclass(frozen=True, slots=True)
class SpeciesRate(Result):
    """The errors of one PAI species.

    Attributes:
        rate: attack presentations of the species that were taken for bona fide, over those with a response.
        upper: the same with its one-sided 95 % bound, which requirements are held against.
        simultaneous_low, simultaneous_high: bounds that hold for every species together, by Bonferroni.
        non_response: attack presentations without a response, over all of the species.
        n_artefacts: distinct units with a response, artefacts or what stands in for them.
        icc: how alike presentations of one unit are; None where it cannot be told.
    """

    species: str
    rate: Rate
    upper: Rate
    simultaneous_low: float | None
    simultaneous_high: float | None
    non_response: Rate
    n_artefacts: int
    unit: Unit
    icc: float | None


@dataclass(frozen=True, slots=True)
class WorstSpecies(Result):
    """The highest APCER over species: the headline.

    Attributes:
        low: the largest of the lower bounds, each at a level that makes all of them hold together.
        high: the largest of the upper bounds: that of the species that is truly worst is among them, so it holds at the
            level of one.
        method: how the bounds were made.
        is_sufficient: whether every species has enough artefacts.
    """

    species: str
    value: float
    low: float
    high: float
    method: str
    n_species: int
    is_sufficient: bool


@dataclass(frozen=True, slots=True)
class LivenessRates(Result):
    """Every rate at one threshold.

    Attributes:
        threshold: a presentation is bona fide at this score and above.
        species: APCER and APNRR of each species, in the order of their names.
        worst: None where no attack got a response.
        bpcer: bona fide presentations taken for attacks, over those with a response.
        bpnrr: bona fide presentations without a response, over all.
    """

    threshold: float
    species: tuple[SpeciesRate, ...]
    worst: WorstSpecies | None
    bpcer: Rate
    bpnrr: Rate


@dataclass(frozen=True, slots=True)
class BpcerAtApcer(Result):
    """BPCER at the threshold that holds the APCER of every species to a target.

    Attributes:
        target: highest APCER, of every species.
        status: "undefined" where a species has fewer than 1 / target presentations with a response.
        threshold: the lowest that holds the target on these presentations; None when undefined.
        bpcer: at that threshold, its interval as if that had been given; None when undefined.
        worst: the species with the highest APCER there.
        threshold_as_seen, bpcer_as_seen: where no species exceeds the target on these presentations, defined or not.
        reason: why it is undefined.
    """

    target: float
    status: Literal["ok", "undefined"]
    threshold: float | None
    bpcer: Rate | None
    worst: WorstSpecies | None
    threshold_as_seen: float
    bpcer_as_seen: float
    reason: str | None


@dataclass(frozen=True, slots=True, eq=False)
class LivenessCurve(Result):
    """Error rates along the threshold; all arrays of shape (points,), thresholds ascending.

    Attributes:
        apcer: of the worst species.
        by_species: APCER of each.
    """

    thresholds: NDArray[np.float64]
    bpcer: NDArray[np.float64]
    apcer: NDArray[np.float64]
    by_species: dict[str, NDArray[np.float64]]


def liveness_rates(presentations: Presentations, *, threshold: float, level: float = LEVEL) -> LivenessRates:
    """Compute every rate at a threshold; lower is better for all.

    A presentation without a response is neither right nor wrong: it is in APNRR and BPNRR, not in APCER and BPCER.

    Args:
        presentations: of either class; rates of a class that is absent have no trial.
        threshold: chosen on other presentations than these, or the intervals are optimistic.
        level: of the intervals.

    Raises:
        MetricError: the threshold is NaN.

    >>> from cv_quality.metrics.liveness.presentations import check_presentations
    >>> shown = check_presentations([0.9, 0.4, 0.5, 0.2], [False, False, True, True], species=["", "", "mask", "print"])
    >>> found = liveness_rates(shown, threshold=0.5)
    >>> found.bpcer.value, found.worst.species, found.worst.value
    (0.5, 'mask', 1.0)
    """
    if np.isnan(threshold):
        raise MetricError("a threshold is a number, found NaN")
    names = presentations.species_names
    species = tuple(_species(presentations, name, threshold, level, len(names)) for name in names)
    bona_fide = ~presentations.is_attack
    return LivenessRates(
        threshold=threshold,
        species=species,
        worst=worst_species(species, level=level),
        bpcer=_bona_fide_rate(
            presentations, bona_fide & presentations.has_response, presentations.scores < threshold, level
        ),
        bpnrr=_bona_fide_rate(presentations, bona_fide, ~presentations.has_response, level),
    )


def _species(presentations: Presentations, name: str, threshold: float, level: float, n_species: int) -> SpeciesRate:
    of = presentations.is_attack & (presentations.species == name)
    unit = presentations.attack_unit
    errors, shown = presentations.counts(of & presentations.has_response, presentations.scores >= threshold)
    silent, presented = presentations.counts(of, ~presentations.has_response)
    together = artefact_rate(errors, shown, level=1 - (1 - level) / n_species, unit=unit)
    rate = artefact_rate(errors, shown, level=level, unit=unit)
    if rate is NO_TRIAL:
        rate = Rate(None, 0, 0, None, None, None, 0, NO_RESPONSE, None)
    return SpeciesRate(
        species=name,
        rate=rate,
        upper=artefact_rate(errors, shown, side="upper", unit=unit),
        simultaneous_low=together.low,
        simultaneous_high=together.high,
        non_response=artefact_rate(silent, presented, level=level, unit=unit),
        n_artefacts=len(shown),
        unit=unit,
        icc=intraclass_correlation(errors, shown),
    )


def _bona_fide_rate(
    presentations: Presentations, mask: NDArray[np.bool_], is_error: NDArray[np.bool_], level: float
) -> Rate:
    if presentations.bona_fide_unit == "subject":
        return clustered_rate(*presentations.counts(mask, is_error), level=level)
    return binomial_rate(int(np.count_nonzero(is_error & mask)), int(np.count_nonzero(mask)), level=level)


def worst_species(species: tuple[SpeciesRate, ...], *, level: float = LEVEL) -> WorstSpecies | None:
    """Find the species with the highest APCER, with bounds of the highest.

    Args:
        species: with their rates at one threshold; those without a response are passed over.
        level: at which their intervals were made.

    Returns:
        None where no species got a response.
    """
    known = [(one.rate.value, one) for one in species if one.rate.value is not None]
    if not known:
        return None
    value, worst = max(known, key=lambda pair: (pair[0], pair[1].rate.denominator))
    lows = [one.simultaneous_low for _, one in known if one.simultaneous_low is not None]
    highs = [one.rate.high for _, one in known if one.rate.high is not None]
    return WorstSpecies(
        species=worst.species,
        value=value,
        low=max(lows),
        high=max(highs),
        method=f"largest bounds of {len(known)} species, {percent(level)}, lower ones by Bonferroni",
        n_species=len(known),
        is_sufficient=all(one.n_artefacts >= ARTEFACTS_NEEDED for one in species),
    )


def bpcer_at_apcer(presentations: Presentations, *, target: float, level: float = LEVEL) -> BpcerAtApcer:
    """Compute BPCER at the lowest threshold at which the APCER of no species exceeds a target; lower is better.

    Strict: the realised APCER is at most the target, never the nearest to it, and equal scores move together.

    Args:
        presentations: of both classes.
        target: highest APCER of every species, above 0 and at most 1.
        level: of the interval.

    Raises:
        MetricError: a class has no response, or the target is out of range.

    >>> from cv_quality.metrics.liveness.presentations import check_presentations
    >>> attack, kinds = [False] * 2 + [True] * 4, ["", "", "mask", "mask", "print", "print"]
    >>> found = bpcer_at_apcer(check_presentations([3, 5, 4, 1, 2, 0], attack, species=kinds), target=0.5)
    >>> found.bpcer.value, found.threshold
    (0.0, 2.0)
    """
    require_both(presentations)
    if not 0 < target <= 1:
        raise MetricError(f"an APCER target lies above 0 and up to 1, found {target:g}: 0.05 means one in twenty")
    sizes = {name: len(presentations.attacks(name)) for name in presentations.species_names}
    threshold = _threshold_at(presentations, target)
    rates = liveness_rates(presentations, threshold=threshold, level=level)
    assert rates.bpcer.value is not None
    short = [f"{name} has {n:,}" for name, n in sizes.items() if n * target < 1 - 1e-9]
    if not short:
        seen = rates.bpcer.value
        return BpcerAtApcer(target, "ok", threshold, rates.bpcer, rates.worst, threshold, seen, None)
    needed = int(np.ceil(1 / target - 1e-9))
    reason = f"needs {needed:,} presentations of every species with a response: {', '.join(short)}"
    return BpcerAtApcer(target, "undefined", None, None, None, threshold, rates.bpcer.value, reason)


def threshold_caution(presentations: Presentations, margins: NDArray[np.float64]) -> str | None:
    """Say where the scores cannot tell what happens near a threshold: beyond all of a class, or in a wide gap.

    Args:
        presentations: of either class.
        margins: how far each lies above the threshold, NaN without a response; shape (n,).

    Returns:
        None where the gap between the scores around the threshold is at most a tenth of their middle 90 %.

    >>> from cv_quality.metrics.liveness.presentations import check_presentations
    >>> shown = check_presentations([0.9, 0.8, 0.1, 0.2], [False, False, True, True], species=["", "", "mask", "mask"])
    >>> print(threshold_caution(shown, shown.scores - 0.5))
    no score was seen near the threshold: the nearest lie 0.3 below and 0.3 above it, where rates are the same
    """
    known = margins[~np.isnan(margins)]
    sides = ~presentations.is_attack, presentations.is_attack
    bona_fide, attacks = (margins[of & ~np.isnan(margins)] for of in sides)
    if bona_fide.size and bona_fide.max() < 0:
        return f"the threshold lies beyond the scores of all {bona_fide.size:,} bona fide presentations"
    if attacks.size and attacks.min() >= 0:
        return f"the threshold lies beyond the scores of all {attacks.size:,} attacks"
    below, above = known[known < 0], known[known >= 0]
    if not below.size or not above.size:
        return None
    spread = float(np.subtract(*np.percentile(known, [95, 5])))
    gap = float(above.min() - below.max())
    if gap <= GAP * spread:
        return None
    return (
        f"no score was seen near the threshold: the nearest lie {figures(-below.max())} below and "
        f"{figures(above.min())} above it, where rates are the same"
    )


def _threshold_at(presentations: Presentations, target: float) -> float:
    """The lowest score of any presentation, or just above all, at which no species exceeds the target."""
    lowest = -np.inf
    for name in presentations.species_names:
        scores = np.sort(presentations.attacks(name))
        if scores.size == 0:
            continue
        allowed = int(np.floor(target * scores.size * (1 + 1e-12)))
        if allowed < scores.size:
            lowest = max(lowest, float(np.nextafter(scores[scores.size - allowed - 1], np.inf)))
    every = np.unique(presentations.scores[presentations.has_response])
    above = every[np.searchsorted(every, lowest) :]
    return float(above[0]) if above.size else float(np.inf)


def liveness_curve(presentations: Presentations, *, points: int = DET_POINTS) -> LivenessCurve:
    """Compute APCER, worst and by species, against BPCER along the threshold: a DET curve.

    Args:
        presentations: of both classes.
        points: at most so many thresholds, evenly spread over the ranks of all scores.

    Raises:
        MetricError: a class has no response.
    """
    require_both(presentations)
    every = np.unique(presentations.scores[presentations.has_response])
    chosen = np.unique(np.linspace(0, len(every) - 1, min(points - 1, len(every))).round().astype(int))
    thresholds = np.append(every[chosen], np.inf)
    by_species = {
        name: 1 - np.searchsorted(np.sort(scores), thresholds) / scores.size
        for name in presentations.species_names
        if (scores := presentations.attacks(name)).size
    }
    bona_fide = np.sort(presentations.bona_fide)
    return LivenessCurve(
        thresholds=thresholds,
        bpcer=np.searchsorted(bona_fide, thresholds) / bona_fide.size,
        apcer=np.max(list(by_species.values()), axis=0),
        by_species=by_species,
    )
