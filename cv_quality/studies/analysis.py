"""The analysis of a locked study: who came, whether arms are as assigned, each endpoint at its look, the verdict.

What the subjects did and how the builds differ on any set of subjects comes from the caller; looks and their ledger are
in `cv_quality.studies.looks`, differences in `cv_quality.studies.comparison`.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cv_quality.errors import LookError
from cv_quality.metrics.results import Result
from cv_quality.studies.assignment import AssignedSubject
from cv_quality.studies.comparison import Difference
from cv_quality.studies.confidence_sequence import LEAST_SAMPLES, sequence_bound
from cv_quality.studies.decisions import Judgement, Verdict, judge, judge_bounds, overall
from cv_quality.studies.looks import LookRecord
from cv_quality.studies.multiplicity import holm
from cv_quality.studies.planning import SPENDING, top_up_part
from cv_quality.studies.protocol import AnalysisSet, SampledUnit, StudyEndpoint, StudyProtocol
from cv_quality.studies.sequential import alpha_spent, spending_bounds

RATIO_ALARM = 0.001
"""P value of the sample-ratio test below which arms are not as they were assigned."""
FUTILE = 0.1
"""Chance of a pass at the end, were the trend to go on, below which a look is called futile; it decides nothing."""


@dataclass(frozen=True, slots=True)
class Participation:
    """What one subject did.

    Attributes:
        attempts: by build under test, whose device made them.
        conditions: levels of the planned factor in the order in which he met them, where there is one.
    """

    attempts: Mapping[str, int]
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyFlow(Result):
    """Who came how far.

    Attributes:
        assigned: subjects on the sheet; None where nobody was assigned.
        enrolled: subjects with an attempt.
        completed: subjects with every planned attempt.
        dropped: subjects on the sheet without an attempt.
        deviations: subjects by code: "not_assigned", "wrong_arm", "too_few_attempts", "wrong_order".
        arms: subjects with an attempt, by arm.
        ratio_p_value: of the arms being as unequal as they are, were they filled as assigned; None of a paired study.
    """

    assigned: int | None
    enrolled: int
    completed: int
    dropped: int
    deviations: Mapping[str, int]
    arms: Mapping[str, int]
    ratio_p_value: float | None

    @property
    def is_ratio_broken(self) -> bool:
        return self.ratio_p_value is not None and self.ratio_p_value < RATIO_ALARM


@dataclass(frozen=True, slots=True)
class Look(Result):
    """A look at the data and its bound.

    Attributes:
        number: from 1.
        is_last: whether the protocol has no later one.
        may_be_topped_up: whether it is the planned end, and subjects may be added.
        information: part of the information at the end.
        bound: of Z, one-sided.
        alpha: of that bound, by itself.
        alpha_spent: up to this look.
    """

    number: int
    is_last: bool
    may_be_topped_up: bool
    information: float
    bound: float
    alpha: float
    alpha_spent: float


@dataclass(frozen=True, slots=True)
class AnalysedEndpoint(Result):
    """An endpoint on every analysis set.

    Attributes:
        judgements: by set, in the order of the protocol.
        verdict: that of the sets where they agree, else insufficient.
        adjusted: p-value after Holm, of a secondary endpoint.
        chance_of_a_pass: at the end, were the trend to go on; None at the last look.
        reason: what the verdict rests on.
    """

    endpoint: StudyEndpoint
    judgements: Mapping[AnalysisSet, Judgement]
    differences: Mapping[AnalysisSet, Difference]
    verdict: Verdict
    reason: str
    adjusted: float | None = None
    chance_of_a_pass: float | None = None


@dataclass(frozen=True, slots=True)
class StudyAnalysis(Result):
    """A study at one look.

    Attributes:
        unit: what was sampled.
        verdict: pass only where every primary endpoint passes on every set.
        notes: what a reader must know.
    """

    study: str
    unit: SampledUnit
    look: Look
    flow: StudyFlow
    endpoints: tuple[AnalysedEndpoint, ...]
    verdict: Verdict
    reason: str
    notes: tuple[str, ...]


def study_flow(
    protocol: StudyProtocol, sheet: Sequence[AssignedSubject], came: Mapping[str, Participation]
) -> tuple[StudyFlow, frozenset[str]]:
    """Follow the subjects from the sheet to their last attempt; the second value are those without a deviation.

    Args:
        protocol: of the study.
        sheet: who was assigned; empty where nobody was.
        came: every subject with an attempt.
    """
    rows = {row.subject_id: row for row in sheet}
    codes: dict[str, list[str]] = {}
    for name, did in came.items():
        found, row = [], rows.get(name)
        if sheet and row is None:
            found.append("not_assigned")
        if row is not None and row.arm and any(count and build != row.arm for build, count in did.attempts.items()):
            found.append("wrong_arm")
        if sum(did.attempts.values()) < protocol.design.attempts_per_subject:
            found.append("too_few_attempts")
        if row is not None and row.conditions and did.conditions and _order(did.conditions) != row.conditions:
            found.append("wrong_order")
        codes[name] = found
    arms = Counter(rows[name].arm for name in came if name in rows and rows[name].arm)
    met = {arm: arms.get(arm, 0) for arm in protocol.arms}
    flow = StudyFlow(
        assigned=len(sheet) if sheet else None,
        enrolled=len(came),
        completed=sum("too_few_attempts" not in found for found in codes.values()),
        dropped=sum(row.subject_id not in came for row in sheet),
        deviations=dict(sorted(Counter(code for found in codes.values() for code in found).items())),
        arms=met,
        ratio_p_value=ratio_p_value(list(met.values())) if met and sum(met.values()) else None,
    )
    return flow, frozenset(name for name, found in codes.items() if not found)


def ratio_p_value(counts: Sequence[int]) -> float:
    """Compute the p value of arms that were to be equal: Pearson's chi-squared test of the sample ratio.

    >>> round(ratio_p_value([500, 500]), 3), ratio_p_value([400, 600]) < RATIO_ALARM
    (1.0, True)
    """
    from scipy import special

    expected = sum(counts) / len(counts)
    statistic = sum((count - expected) ** 2 for count in counts) / expected
    return float(special.chdtrc(len(counts) - 1, statistic))


def plan_look(
    protocol: StudyProtocol,
    looks: Sequence[LookRecord],
    *,
    number: int,
    information: float,
    planned_subjects: int | None = None,
) -> Look:
    """Find the bound of a look, given those that were taken.

    Where a top-up is allowed, it is one more look that is paid for: parts of the information are then of the most
    subjects that it may have, and a study with one planned look spends by Pocock's function. A top-up after a look at
    the full level would pass .088 of the builds at a margin of 5 % (`benchmarks/studies.py`).

    Args:
        protocol: of the study.
        looks: the ledger.
        number: of the look, from 1.
        information: part of the planned information that the data have.
        planned_subjects: that complete by the plan; None where it has no number, and a top-up no scale.

    Raises:
        LookError: it is a top-up of a study that planned no fewer subjects than that may have, or a sequence that has
            not begun.
    """
    from scipy import special

    alpha = protocol.analysis.alpha / (2 if protocol.analysis.sides == "two" else 1)
    rule, planned = protocol.looks.rule, protocol.looks.at_information
    if rule == "confidence_sequence":
        if planned_subjects and information * planned_subjects < LEAST_SAMPLES:
            raise LookError(f"{protocol.study}: a confidence sequence begins with {LEAST_SAMPLES} subjects")
        bound = sequence_bound(min(information, 1.0), alpha=alpha)
        return Look(number, False, False, information, bound, float(special.ndtr(-bound)), alpha)
    part = top_up_part(protocol, planned_subjects)
    if number > len(planned) and part == 1:
        raise LookError(
            f"{protocol.study}: a top-up to {protocol.top_up.max_subjects} subjects is none: as many were planned"
        )
    is_end = number == len(planned) or (number < len(planned) and information >= 1)
    is_last = number > len(planned) or (is_end and part == 1)
    if rule not in SPENDING and part == 1:
        bound = float(special.ndtri(1 - alpha))
        return Look(number, True, False, information, bound, alpha, alpha)
    times = [min(look.information, 1.0) * part for look in looks[: number - 1]]
    times.append(1.0 if is_last else part if is_end else min(information, 1.0) * part)
    spending = SPENDING.get(rule, "pocock")
    bounds = spending_bounds(times, alpha=alpha, spending=spending)
    spent = alpha_spent(times, alpha=alpha, spending=spending)
    level = float(special.ndtr(-bounds[-1]))
    return Look(number, is_last, is_end and not is_last, information, bounds[-1], level, spent[-1])


def analyse_study(
    protocol: StudyProtocol,
    *,
    look: Look,
    flow: StudyFlow,
    sets: Mapping[AnalysisSet, frozenset[str]],
    difference: Callable[[StudyEndpoint, frozenset[str]], Difference],
    is_higher_better: Callable[[StudyEndpoint], bool] = lambda _: False,
) -> StudyAnalysis:
    """Judge every endpoint of a study at a look.

    Args:
        protocol: of the study.
        look: with its bound.
        flow: of the subjects.
        sets: subjects of each analysis set.
        difference: of an endpoint's metric on a set of subjects; with `margin_ratio` the reference's values scaled.
        is_higher_better: whether a fall of an endpoint's metric is a loss.

    Raises:
        LookError: an analysis set of the protocol has no subject.
    """
    names = [protocol.analysis.primary_set, protocol.analysis.sensitivity_set]
    used = [name for name in dict.fromkeys(names) if name is not None]
    for name in used:
        if not sets.get(name):
            raise LookError(f"{protocol.study}: no subject is in the set {name}: there is nothing to analyse yet")
    found = []
    for endpoint in protocol.endpoints:
        differences = {name: difference(endpoint, sets[name]) for name in used}
        higher = is_higher_better(endpoint)
        judged = {
            name: _judged(protocol, endpoint, item, look, is_higher_better=higher) for name, item in differences.items()
        }
        verdict, reason = _agreed(judged)
        chance = (
            None
            if look.is_last or look.may_be_topped_up
            else _chance_of_a_pass(protocol, judged[used[0]], differences[used[0]], look)
        )
        found.append(AnalysedEndpoint(endpoint, judged, differences, verdict, reason, chance_of_a_pass=chance))
    primary = [item for item in found if item.endpoint.role == "primary"]
    verdict = overall(item.verdict for item in primary)
    endpoints = _opened(found, look.alpha, first=used[0], is_open=verdict == "pass")
    notes = list(_notes(protocol, flow, look, primary))
    if flow.is_ratio_broken:
        verdict = "insufficient"
    return StudyAnalysis(
        study=protocol.study,
        unit=protocol.population.unit,
        look=look,
        flow=flow,
        endpoints=tuple(endpoints),
        verdict=verdict,
        reason=_reason(primary, verdict, flow),
        notes=tuple(notes),
    )


def _order(conditions: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(conditions))


def _judged(
    protocol: StudyProtocol, endpoint: StudyEndpoint, difference: Difference, look: Look, *, is_higher_better: bool
) -> Judgement:
    margin = endpoint.margin
    if endpoint.margin_ratio is not None:
        margin = (endpoint.margin_ratio - 1) * difference.reference if difference.reference else None
    if margin is None:
        return judge_bounds(
            endpoint.metric, (None, None, None), margin=1.0, alpha=look.alpha, reason=difference.reason or "no margin"
        )
    found = judge(difference, margin=margin, alpha=look.alpha, is_higher_better=is_higher_better)
    if protocol.purpose.kind == "superiority" and not difference.reason and found.high is not None:
        assert found.low is not None
        verdict: Verdict = "pass" if found.high < 0 else "fail" if found.low > 0 else "insufficient"
        told = {"pass": "better", "fail": "worse", "insufficient": "neither better nor worse"}[verdict]
        return replace(found, verdict=verdict, reason=f"{told}, at this level of confidence")
    return found


def _agreed(judged: Mapping[AnalysisSet, Judgement]) -> tuple[Verdict, str]:
    """The verdict of all sets, insufficient where they disagree."""
    verdicts = {item.verdict for item in judged.values()}
    first = next(iter(judged.values()))
    if len(verdicts) == 1:
        return first.verdict, first.reason
    told = "; ".join(f"{name.replace('_', ' ')}: {item.verdict}" for name, item in judged.items())
    return "insufficient", f"the sets disagree ({told})"


def _chance_of_a_pass(protocol: StudyProtocol, judged: Judgement, difference: Difference, look: Look) -> float | None:
    """Conditional power under the trend seen (Lan and Wittes 1988), against the bound of one look at the end."""
    from scipy import special

    if judged.value is None or judged.margin is None or difference.standard_error is None:
        return None
    if not 0 < look.information < 1:
        return None
    t = look.information
    z = (judged.margin - judged.value) / difference.standard_error
    final = float(special.ndtri(1 - protocol.analysis.alpha))
    return float(special.ndtr((z / math.sqrt(t) - final) / math.sqrt(1 - t)))


def _opened(
    found: Sequence[AnalysedEndpoint], alpha: float, *, first: AnalysisSet, is_open: bool
) -> Sequence[AnalysedEndpoint]:
    """Secondary endpoints by Holm, behind the primary ones; exploratory ones decide nothing."""
    places = [
        place
        for place, item in enumerate(found)
        if item.endpoint.role == "secondary" and item.judgements[first].p_value is not None
    ]
    result = list(found)
    adjusted = holm([found[place].judgements[first].p_value or 0.0 for place in places])
    for place, p_value in zip(places, adjusted.tolist(), strict=True):
        item = replace(found[place], adjusted=p_value)
        if item.verdict == "pass" and (not is_open or p_value >= alpha):
            why = "a primary endpoint is open" if not is_open else f"p = {p_value:.3g} after Holm"
            item = replace(item, verdict="insufficient", reason=f"not opened: {why}")
        result[place] = item
    return result


def _notes(protocol: StudyProtocol, flow: StudyFlow, look: Look, primary: Sequence[AnalysedEndpoint]) -> Sequence[str]:
    notes: list[str] = []
    if flow.is_ratio_broken:
        counts = ", ".join(f"{arm} {count:,}" for arm, count in flow.arms.items())
        notes.append(f"arms are not as they were assigned ({counts}; p = {flow.ratio_p_value:.2g}): nothing is decided")
    if flow.assigned is None:
        notes.append(f"nobody was assigned: all {protocol.population.unit}s with an attempt are analysed")
    notes += [
        f"{item.endpoint.id}: futile, were the trend to go on: a pass at the end has a chance of "
        f"{item.chance_of_a_pass:.2g}; stopping is the study's own decision"
        for item in primary
        if item.chance_of_a_pass is not None and item.chance_of_a_pass < FUTILE and item.verdict == "insufficient"
    ]
    needed = [item.judgements[name].subjects_needed for item in primary for name in item.judgements]
    known = [count for count in needed if count is not None]
    if look.may_be_topped_up and known:
        most = protocol.top_up.max_subjects
        told = f"about {max(known):,} subjects in all would settle it"
        beyond = most is not None and max(known) > most
        notes.append(f"{told}, more than the {most:,} that the protocol allows" if beyond else f"{told}: top up")
    return notes


def _reason(primary: Sequence[AnalysedEndpoint], verdict: Verdict, flow: StudyFlow) -> str:
    if flow.is_ratio_broken:
        return "arms are not as they were assigned"
    if verdict == "pass":
        return f"all {len(primary)} primary endpoints pass"
    return "; ".join(f"{item.endpoint.id}: {item.reason}" for item in primary if item.verdict == verdict)
