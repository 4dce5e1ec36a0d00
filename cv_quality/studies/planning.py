"""The plan of a study: how many subjects its margins, power and looks ask for, and what hangs on each assumption.

Variances are in `cv_quality.studies.planned_variance`, formulas in `sample_size`, looks in `sequential`. Nothing here
is a verdict: a plan says what a study of a size can tell, and under which assumptions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result
from cv_quality.studies.confidence_sequence import sequence_bound
from cv_quality.studies.planned_variance import ExpectedVariance, PilotRate, expected_variance, with_pilot
from cv_quality.studies.power import SimulatedPower
from cv_quality.studies.protocol import METRICS, LookRule, StudyEndpoint, StudyMetric, StudyProtocol
from cv_quality.studies.sample_size import (
    detectable_difference,
    enrolled,
    power_of,
    subjects_for_power,
    subjects_for_precision,
)
from cv_quality.studies.sequential import SequentialDesign, Spending, sequential_design, spending_bounds
from cv_quality.text import figures

FEWEST = 10
"""Subjects below which no normal approximation is trusted; no plan asks for fewer."""
MOST = 10_000_000
MOST_LOG = 700.0
"""Beyond which a logarithm is of no double."""
STEPS = 60
PART_STEP = 1e-4
"""Of the most subjects after a top-up, to which the planned ones are solved for."""
CURVE_POINTS = 25
SPENDING: Mapping[LookRule, Spending] = {"lan_demets_obf": "obrien_fleming", "lan_demets_pocock": "pocock"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEndpoint(Result):
    """What an endpoint asks for.

    Attributes:
        id, role: of the endpoint.
        margin: in words.
        is_ratio: whether half-width and tolerated are parts of the value, not differences.
        subjects: that must complete; None where it cannot be sized or decides nothing.
        enrolled: of them, those lost on the way included.
        for_precision: subjects that must complete for the interval asked for.
        half_width: of the 95 % interval of the difference with the subjects of the plan; of a ratio, as a part of it.
        tolerated: largest true deterioration that still passes with the power, with the subjects of the plan.
        power: with the subjects of the plan, where there is no difference.
        assumptions: what this rests on.
        reason: why it cannot be sized.
        simulated: power of resampled studies of the plan's size, judged at one look; None where none was simulated.
    """

    id: str
    role: str
    margin: str
    is_ratio: bool = False
    subjects: int | None = None
    enrolled: int | None = None
    for_precision: int | None = None
    half_width: float | None = None
    tolerated: float | None = None
    power: float | None = None
    assumptions: tuple[str, ...] = ()
    reason: str | None = None
    simulated: SimulatedPower | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPoint(Result):
    """A place on a curve: the power of an endpoint with so many subjects completing."""

    endpoint: str
    subjects: int
    power: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPoint(Result):
    """What the plan costs with another number of attempts of a subject.

    Attributes:
        cost: in the protocol's currency; where it states none, the attempts.
    """

    attempts_per_subject: int
    enrolled: int
    attempts: int
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityPoint(Result):
    """How many subjects another assumption asks for."""

    assumption: str
    value: float
    enrolled: int | None
    is_assumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan(Result):
    """What a study asks for.

    Attributes:
        subjects: that must complete, as the most demanding primary endpoint has it; None where none can be sized.
        enrolled: of them, those lost on the way included.
        power_of_all: that all primary endpoints pass, at least.
        bounds, information, spent: of the looks, on the scale of Z.
        inflation: by which the looks raise the size.
        expected_subjects: completing when the study stops, without a difference and at the margin.
        notes: what the plan rests on beside what its endpoints say.
    """

    study: str
    subjects: int | None
    enrolled: int | None
    endpoints: tuple[PlannedEndpoint, ...]
    power_of_all: float | None
    information: tuple[float, ...] = ()
    bounds: tuple[float, ...] = ()
    spent: tuple[float, ...] = ()
    inflation: float = 1.0
    expected_subjects: tuple[float, float] | None = None
    curve: tuple[PlanPoint, ...] = ()
    costs: tuple[CostPoint, ...] = ()
    sensitivity: tuple[SensitivityPoint, ...] = ()
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Planner:
    """What sizes of a protocol are computed from."""

    protocol: StudyProtocol
    metrics: Mapping[str, StudyMetric]
    pilot: Mapping[str, PilotRate]
    inflation: float

    @property
    def alpha(self) -> float:
        analysis = self.protocol.analysis
        return analysis.alpha / (2 if analysis.sides == "two" else 1)

    def variance(self, endpoint: StudyEndpoint, subjects: float) -> ExpectedVariance:
        assume = with_pilot(self.protocol.sample_size.assume, endpoint, self.pilot)
        metric = self.metrics[endpoint.metric]
        return expected_variance(endpoint, metric, protocol=self.protocol, assume=assume, subjects=subjects)

    def completing(self, endpoint: StudyEndpoint) -> int:
        """Subjects that an endpoint's power asks for; the variance hangs on their number, so it is a fixed point."""
        power, n = self.protocol.sample_size.power, float(FEWEST)
        for _ in range(STEPS):
            expected = self.variance(endpoint, n)
            if expected.distance is None:
                raise MetricError("without a margin nothing is asked for")
            asked = self.inflation * subjects_for_power(
                expected.variance, distance=expected.distance, alpha=self.alpha, power=power
            )
            if abs(asked - n) < 1e-6 * n:
                break
            n = min(max(asked, FEWEST), MOST)
        if n >= MOST:
            raise MetricError(f"more than {MOST:,} subjects would be needed")
        return self.whole(n)

    def most_completing(self) -> int | None:
        """Subjects that the most demanding primary endpoint asks for; None where none can be sized."""
        found = []
        for endpoint in self.protocol.of_role("primary"):
            try:
                found.append(self.completing(endpoint))
            except MetricError:
                continue
        return max(found, default=None)

    def whole(self, subjects: float) -> int:
        """Round up to whole subjects, of arms of one size."""
        n = math.ceil(round(max(subjects, FEWEST), 6))
        return n + n % 2 if self.protocol.arms else n

    def enrolled(self, subjects: int) -> int:
        return self.whole(enrolled(subjects, attrition=self.protocol.population.expected_attrition))


def plan_study(
    protocol: StudyProtocol,
    *,
    metrics: Mapping[str, StudyMetric] = METRICS,
    pilot: Mapping[str, PilotRate] | None = None,
) -> StudyPlan:
    """Plan a study: sizes, power, precision, looks, cost, and what hangs on each assumption.

    Args:
        protocol: of the study.
        metrics: those that endpoints may be of.
        pilot: rates that a pilot shows, by endpoint; what it does not show is assumed as the protocol says.
    """
    part = _planned_part(protocol, _Planner(protocol, metrics, pilot or {}, 1.0))
    design, inflation, notes = _looks(protocol, part=part)
    planner = _Planner(protocol, metrics, pilot or {}, inflation)
    subjects = planner.most_completing()
    endpoints = tuple(_endpoint(planner, item, subjects) for item in protocol.endpoints)
    primary = [item.power for item in endpoints if item.role == "primary"]
    known = [power for power in primary if power is not None]
    return StudyPlan(
        study=protocol.study,
        subjects=subjects,
        enrolled=None if subjects is None else planner.enrolled(subjects),
        endpoints=endpoints,
        power_of_all=max(0.0, 1 - sum(1 - power for power in known)) if len(known) == len(primary) else None,
        information=design.information if design else (1.0,),
        bounds=design.bounds if design else (),
        spent=design.spent if design else (),
        inflation=inflation,
        expected_subjects=_expected(design, subjects),
        curve=_curve(planner, subjects),
        costs=_costs(planner, subjects),
        sensitivity=_sensitivity(planner),
        notes=(*notes, *_notes(planner, subjects)),
    )


def with_simulation(plan: StudyPlan, found: Mapping[str, SimulatedPower], missing: Mapping[str, str]) -> StudyPlan:
    """Add simulated powers to a plan, and why the other endpoints have none.

    Args:
        found: by endpoint.
        missing: reasons by endpoint.
    """
    endpoints = tuple(replace(item, simulated=found.get(item.id)) for item in plan.endpoints)
    notes = tuple(f"{id} is not resampled: {reason}" for id, reason in missing.items())
    return replace(plan, endpoints=endpoints, notes=(*plan.notes, *notes))


def top_up_part(protocol: StudyProtocol, subjects: int | None) -> float:
    """Compute which part of the most subjects that a top-up may bring the planned ones are; 1 where it brings none.

    Args:
        protocol: of the study.
        subjects: that complete by the plan; None where it has no number.
    """
    most = protocol.top_up.max_subjects
    return min(subjects / most, 1.0) if protocol.top_up.allowed and most and subjects else 1.0


def _planned_part(protocol: StudyProtocol, planner: _Planner) -> float:
    """The part that the planned subjects are of those after a top-up: the larger it is, the fewer are asked for."""
    from scipy import optimize

    def beyond(part: float) -> float:
        _, inflation, _ = _looks(protocol, part=part)
        return top_up_part(protocol, replace(planner, inflation=inflation).most_completing()) - part

    least = top_up_part(protocol, planner.most_completing())
    if protocol.looks.rule == "confidence_sequence" or least == 1 or beyond(1.0) == 0:
        return 1.0
    return float(optimize.brentq(beyond, min(least, 1.0), 1.0, xtol=PART_STEP)) if beyond(least) > 0 else least


def _looks(protocol: StudyProtocol, *, part: float = 1.0) -> tuple[SequentialDesign | None, float, list[str]]:
    """The bounds of the looks, by how much they raise the size, and in words.

    Args:
        protocol: of the study.
        part: that the planned subjects are of those after a top-up, which is a look that is paid for.
    """
    rule, power = protocol.looks.rule, protocol.sample_size.power
    alpha = protocol.analysis.alpha / (2 if protocol.analysis.sides == "two" else 1)
    if rule in SPENDING or (rule == "fixed" and part < 1):
        times = protocol.looks.at_information
        bounds = spending_bounds([time * part for time in times], alpha=alpha, spending=SPENDING.get(rule, "pocock"))
        design = sequential_design(times, bounds, alpha=alpha, power=power)
        told = f"{len(times)} looks by {rule}" if len(times) > 1 else "one look, at the end,"
        if part < 1:
            told += f" and the right to a top-up to {protocol.top_up.max_subjects:,} subjects"
        return design, design.inflation, [f"{told} need {figures(design.inflation)} times the subjects of one look"]
    if rule == "confidence_sequence":
        inflation = sequence_inflation(alpha=alpha, power=power)
        told = (
            f"a confidence sequence, tuned to the end of the study, needs {figures(inflation)} times the subjects of "
            "one look; it holds however often the data are looked at"
        )
        return None, inflation, [told]
    return None, 1.0, ["one look, at the end"]


def sequence_inflation(*, alpha: float, power: float) -> float:
    """Compute how many times the subjects of one look a confidence sequence needs at the end, where it is tuned to it.

    The bound is that of the normal mixture (Howard et al. 2021), of which a one-sided level is half of the two-sided.

    Args:
        alpha, power: one-sided; alpha < power.

    >>> round(sequence_inflation(alpha=0.025, power=0.8), 2)
    1.91
    """
    from scipy import special

    z = sequence_bound(1.0, alpha=alpha)
    z_alpha, z_power = float(special.ndtri(1 - alpha)), float(special.ndtri(power))
    return ((z + z_power) / (z_alpha + z_power)) ** 2


def _expected(design: SequentialDesign | None, subjects: int | None) -> tuple[float, float] | None:
    if design is None or subjects is None:
        return None
    no_difference, at_margin = design.expected_information
    return no_difference * subjects, at_margin * subjects


def _endpoint(planner: _Planner, endpoint: StudyEndpoint, subjects: int | None) -> PlannedEndpoint:
    """What an endpoint asks for, and what the study's subjects tell of it."""
    named = PlannedEndpoint(id=endpoint.id, role=endpoint.role, margin=_margin_words(endpoint, planner.metrics))
    try:
        asked = planner.completing(endpoint) if endpoint.role != "exploratory" else None
        expected = planner.variance(endpoint, subjects or asked or FEWEST)
    except MetricError as error:
        return replace(named, reason=str(error))
    named = replace(
        named,
        subjects=asked,
        enrolled=None if asked is None else planner.enrolled(asked),
        for_precision=_for_precision(planner, endpoint),
        assumptions=expected.assumptions,
        is_ratio=expected.is_log,
    )
    if subjects is None or expected.distance is None:
        return named
    worth = subjects / planner.inflation
    power = planner.protocol.sample_size.power
    told = detectable_difference(expected.variance, subjects=worth, alpha=planner.alpha, power=power)
    half = 1.959963984540054 * math.sqrt(expected.variance / subjects)
    left = expected.distance - told
    return replace(
        named,
        half_width=_as_ratio(half) if expected.is_log else half,
        tolerated=_as_ratio(left) if expected.is_log else left,
        power=power_of(expected.variance, subjects=worth, distance=expected.distance, alpha=planner.alpha),
    )


def _as_ratio(logarithm: float) -> float:
    """A difference of logarithms as a part of the value; infinite beyond every number."""
    return math.expm1(logarithm) if logarithm < MOST_LOG else math.inf


def _for_precision(planner: _Planner, endpoint: StudyEndpoint) -> int | None:
    half_width = dict(planner.protocol.sample_size.precision).get(endpoint.id)
    if half_width is None:
        return None
    n = float(FEWEST)
    for _ in range(STEPS):
        expected = planner.variance(endpoint, n)
        width = math.log1p(half_width) if expected.is_log else half_width
        n = min(max(subjects_for_precision(expected.variance, half_width=width), FEWEST), MOST)
    return planner.whole(n)


def _margin_words(endpoint: StudyEndpoint, metrics: Mapping[str, StudyMetric]) -> str:
    if endpoint.margin_ratio is not None:
        return f"{figures(endpoint.margin_ratio)} times"
    if endpoint.margin is None:
        return "none"
    metric = metrics[endpoint.metric]
    return (
        f"{figures(100 * endpoint.margin)} pp" if metric.kind == "rate" else f"{figures(endpoint.margin)} {metric.unit}"
    )


def _curve(planner: _Planner, subjects: int | None) -> tuple[PlanPoint, ...]:
    """Power of every endpoint that can be sized, around the plan's size."""
    points: list[PlanPoint] = []
    if subjects is None:
        return ()
    sizes = sorted({planner.whole(subjects * 2 ** (step / 6 - 2)) for step in range(CURVE_POINTS)})
    for endpoint in planner.protocol.endpoints:
        for n in sizes:
            try:
                expected = planner.variance(endpoint, n)
            except MetricError:
                break
            if expected.distance is None:
                break
            worth = n / planner.inflation
            power = power_of(expected.variance, subjects=worth, distance=expected.distance, alpha=planner.alpha)
            points.append(PlanPoint(endpoint=endpoint.id, subjects=n, power=power))
    return tuple(points)


def _costs(planner: _Planner, subjects: int | None) -> tuple[CostPoint, ...]:
    """What other numbers of attempts of a subject ask for and cost."""
    if subjects is None:
        return ()
    design, size, points = planner.protocol.design, planner.protocol.sample_size, list[CostPoint]()
    cells = math.prod(len(plan.levels) for plan in (design.devices, design.conditions) if plan)
    tried = {max(cells, round(design.attempts_per_subject * part)) for part in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)}
    for attempts in sorted(tried):
        other = replace(planner.protocol, design=replace(design, attempts_per_subject=attempts))
        needed = replace(planner, protocol=other).most_completing()
        if needed is not None:
            people = planner.enrolled(needed)
            stated = size.cost_per_subject or size.cost_per_attempt
            each = size.cost_per_subject + attempts * size.cost_per_attempt if stated else float(attempts)
            points.append(
                CostPoint(
                    attempts_per_subject=attempts, enrolled=people, attempts=people * attempts, cost=people * each
                )
            )
    return tuple(points)


def _sensitivity(planner: _Planner) -> tuple[SensitivityPoint, ...]:
    """How many subjects other assumptions ask for, one changed at a time."""
    protocol = planner.protocol
    assume, population = protocol.sample_size.assume, protocol.population
    own = {name: _assumed(planner, name) for name in ("icc", "agreement")}
    points: list[SensitivityPoint] = []
    for name, said, tried in (
        ("icc", own["icc"], (0.0, 0.05, 0.1, 0.2, 0.4)),
        ("fmr_cv", assume.fmr_cv, (0.0, 0.5, 1.0, 1.5, 2.0)),
        ("agreement", own["agreement"], (0.0, 0.3, 0.6, 0.9)),
        ("expected_attrition", population.expected_attrition, (0.0, 0.1, 0.2, 0.3)),
    ):
        if name == "agreement" and protocol.arms:
            continue
        for value in sorted({said, *tried}):
            changed = planner if value == said else _assuming(planner, name, value)
            needed = changed.most_completing()
            points.append(
                SensitivityPoint(
                    assumption=name,
                    value=value,
                    enrolled=None if needed is None else changed.enrolled(needed),
                    is_assumed=value == said,
                )
            )
    return tuple(points)


def _assumed(planner: _Planner, name: str) -> float:
    """What the plan assumes: as the pilot shows it of the first endpoint, else as the protocol says."""
    shown = [getattr(rate, name) for rate in planner.pilot.values()]
    stated = float(getattr(planner.protocol.sample_size.assume, name))
    return next((float(value) for value in shown if value is not None), stated)


def _assuming(planner: _Planner, name: str, value: float) -> _Planner:
    """The planner with one assumption changed, against the pilot too."""
    protocol = planner.protocol
    if name == "expected_attrition":
        population = replace(protocol.population, expected_attrition=value)
        return replace(planner, protocol=replace(protocol, population=population))
    assume, pilot = protocol.sample_size.assume, planner.pilot
    if name == "icc":
        assume = replace(assume, icc=value)
        pilot = {id: replace(rate, icc=None) for id, rate in pilot.items()}
    elif name == "agreement":
        assume = replace(assume, agreement=value)
        pilot = {id: replace(rate, agreement=None) for id, rate in pilot.items()}
    else:
        assume = replace(assume, fmr_cv=value)
    size = replace(protocol.sample_size, assume=assume)
    return replace(planner, protocol=replace(protocol, sample_size=size), pilot=pilot)


def _notes(planner: _Planner, subjects: int | None) -> list[str]:
    """What the whole plan rests on."""
    protocol = planner.protocol
    size, most = protocol.sample_size, protocol.top_up.max_subjects
    notes = [
        f"one-sided alpha {figures(planner.alpha)}, power {figures(size.power)} where the builds do not differ",
        f"attrition {figures(protocol.population.expected_attrition)}, unrelated to the outcome",
        "estimates are normal; below some 50 subjects, or with fewer than some 10 errors, simulate instead",
    ]
    notes += [
        f"pilot: {id} {figures(rate.value)} of {rate.n_subjects:,} subjects, ICC {_or_not(rate.icc)}, agreement of two "
        f"builds {_or_not(rate.agreement)}"
        for id, rate in sorted(planner.pilot.items())
    ]
    if subjects is not None and most is not None and planner.enrolled(subjects) > most:
        notes.append(f"insufficient: more than the {most:,} subjects that the top-up allows are asked for")
    return notes


def _or_not(value: float | None) -> str:
    return "not told" if value is None else figures(value)
