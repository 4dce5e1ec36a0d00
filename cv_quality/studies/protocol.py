"""A study's protocol: what is asked, of whom, how it is measured, how large a deterioration is tolerated, how it ends.

Read strictly from YAML: an unknown key, a unit that does not fit, a margin of 0 or of the wrong sign is refused under
the path of its key. What each field means is at the dataclasses; how a protocol is made binding is in
`cv_quality.studies.locking`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, cast, get_args

from cv_quality.errors import ProtocolError, near
from cv_quality.studies.strict_yaml import PERCENT, StrictFields, read_fields

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
NAME = r"[A-Za-z0-9_][A-Za-z0-9_ .-]{0,127}"
MAX_BLOCK = 40
MAX_SUBJECTS = 10_000_000
MAX_ATTEMPTS = 100_000
MAX_LOOKS = 20
MAX_SEED = 2**63 - 1

PurposeKind = Literal["non_inferiority", "superiority"]
Arms = Literal["paired", "parallel"]
Role = Literal["primary", "secondary", "exploratory"]
ThresholdRule = Literal["re_estimated", "fixed"]
ConditionOrder = Literal["williams", "fixed"]
AssignmentMethod = Literal["permuted_blocks", "minimisation"]
AnalysisSet = Literal["intention_to_treat", "per_protocol"]
LookRule = Literal["fixed", "lan_demets_obf", "lan_demets_pocock", "confidence_sequence"]
Sides = Literal["one", "two"]
SampledUnit = Literal["subject", "clip"]
Kind = Literal["rate", "time", "value"]


@dataclass(frozen=True, slots=True)
class StudyMetric:
    """A metric that endpoints may be of.

    Attributes:
        name: as protocols and tables write it.
        kind: a rate lies in 0 to 1; of a time in ms a quantile is compared; a value has a unit of its own.
        unit: that margins are written in; empty for a rate.
        is_higher_better: which way a deterioration goes; margins are positive either way.
        needs: keys that an endpoint of it must have.
    """

    name: str
    kind: Kind
    unit: str = ""
    is_higher_better: bool = False
    needs: frozenset[str] = frozenset()


def _known(*metrics: StudyMetric) -> dict[str, StudyMetric]:
    return {metric.name: metric for metric in metrics}


METRICS: Mapping[str, StudyMetric] = _known(
    StudyMetric("fnmr_at_fmr", "rate", needs=frozenset({"fmr"})),
    *(StudyMetric(name, "rate") for name in ("fnmr", "fmr", "frr", "far", "fta", "apcer", "bpcer")),
    StudyMetric("latency_ms", "time", unit="ms", needs=frozenset({"quantile"})),
)
"""Those of verification and liveness; of video, the caller adds what it measures."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What the study is to show: that `candidate` is no worse (by the margins) or better than `reference`."""

    kind: PurposeKind
    candidate: str
    reference: str


@dataclass(frozen=True, slots=True)
class StudyPopulation:
    """Whom the study speaks of.

    Attributes:
        unit: what is sampled and assigned; a clip only of video.
        strata: columns of the subjects that the sample is to be balanced over.
        expected_attrition: share of the subjects that will not complete.
    """

    unit: SampledUnit
    strata: tuple[str, ...] = ()
    expected_attrition: float = 0.0


@dataclass(frozen=True, slots=True)
class ConditionPlan:
    """Conditions under which every subject makes attempts: the levels of one factor, and in which order."""

    factor: str
    levels: tuple[str, ...]
    order: ConditionOrder = "williams"


@dataclass(frozen=True, slots=True)
class AssignmentPlan:
    """How subjects come to their arm, or to the order of their conditions.

    Attributes:
        method: permuted blocks within strata, or minimisation over the margins of the strata.
        block_sizes: sizes of which each block takes one by chance; multiples of the number of arms.
        stratified_by: columns of the subjects, among the population's strata.
    """

    method: AssignmentMethod = "permuted_blocks"
    block_sizes: tuple[int, ...] = (4, 6)
    stratified_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyDesign:
    """How it is measured.

    Attributes:
        arms: `paired` where both builds judge the same attempts, `parallel` where a subject meets one of them.
        attempts_per_subject: over all conditions.
        devices: that every subject meets, in an order of his own; None where that is not planned.
        conditions: None where attempts are not made under planned conditions.
        assignment: of arms, and of the orders of devices and conditions.
    """

    arms: Arms
    attempts_per_subject: int
    devices: ConditionPlan | None = None
    conditions: ConditionPlan | None = None
    assignment: AssignmentPlan = field(default_factory=AssignmentPlan)


@dataclass(frozen=True, slots=True)
class StudyEndpoint:
    """One question with its answer's tolerance.

    Attributes:
        id: within the protocol.
        metric: its name.
        role: all primary ones must pass; secondary ones are opened after them; exploratory ones decide nothing.
        margin: largest deterioration tolerated, as a difference: of rates in 0 to 1, of times in ms; always positive.
        margin_ratio: the same as a ratio of the candidate's value to the reference's, above 1.
        fmr: at which FNMR is compared.
        threshold: whether the threshold of that FMR is estimated from each sample anew, or is the registry's.
        quantile: of a time that is compared.
        scope: conditions that attempts must meet, as (column, level).
    """

    id: str
    metric: str
    role: Role
    margin: float | None = None
    margin_ratio: float | None = None
    fmr: float | None = None
    threshold: ThresholdRule = "re_estimated"
    quantile: float | None = None
    scope: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AnalysisPlan:
    """How it is judged: level of the test, its sides, and the sets of attempts that must agree."""

    alpha: float
    sides: Sides = "one"
    primary_set: AnalysisSet = "intention_to_treat"
    sensitivity_set: AnalysisSet | None = "per_protocol"


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the size of the sample is computed from, as far as no pilot says it.

    Attributes:
        icc: intraclass correlation of the attempts of a subject.
        fmr_cv: coefficient of variation of the subjects' FMR.
        agreement: correlation of the two builds' outcomes on one attempt; 0 where nothing is known.
        values: of the reference, by endpoint: a rate in 0 to 1, a time in ms.
        log_sd: standard deviation of the logarithm of a time, by endpoint.
    """

    icc: float = 0.0
    fmr_cv: float = 0.0
    agreement: float = 0.0
    values: tuple[tuple[str, float], ...] = ()
    log_sd: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SampleSizePlan:
    """How many subjects are asked for.

    Attributes:
        power: that a build without any difference passes.
        pilot: drops that say what to expect.
        assume: what to expect otherwise.
        precision: half-width of the interval asked for, by endpoint.
        cost_per_subject, cost_per_attempt: in any one currency.
    """

    power: float
    pilot: tuple[str, ...] = ()
    assume: Assumptions = field(default_factory=Assumptions)
    precision: tuple[tuple[str, float], ...] = ()
    cost_per_subject: float = 0.0
    cost_per_attempt: float = 0.0


@dataclass(frozen=True, slots=True)
class LookPlan:
    """When the data may be looked at, and by which bounds.

    Attributes:
        rule: fixed for one look at the end.
        at_information: parts of the information at the end, rising to 1; none where looks are not counted, as a
            confidence sequence holds at every one of them.
    """

    rule: LookRule = "fixed"
    at_information: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True)
class TopUpPlan:
    """Whether subjects may be added after an insufficient result, and up to how many in all."""

    allowed: bool = False
    max_subjects: int | None = None


@dataclass(frozen=True, slots=True)
class StudyProtocol:
    """All that is declared of a study before its data.

    Attributes:
        study: its name; one protocol of a name.
        seed: of everything random; None where it is drawn when the protocol is locked.
    """

    study: str
    purpose: Purpose
    population: StudyPopulation
    design: StudyDesign
    endpoints: tuple[StudyEndpoint, ...]
    analysis: AnalysisPlan
    sample_size: SampleSizePlan
    looks: LookPlan = field(default_factory=LookPlan)
    top_up: TopUpPlan = field(default_factory=TopUpPlan)
    seed: int | None = None

    def endpoint(self, id: str) -> StudyEndpoint:
        """Find an endpoint.

        Raises:
            ProtocolError: there is none; the near ones are named.
        """
        found = next((item for item in self.endpoints if item.id == id), None)
        if found is None:
            raise ProtocolError(f"{self.study}: no endpoint {id!r}; {near(id, (item.id for item in self.endpoints))}")
        return found

    def of_role(self, role: Role) -> tuple[StudyEndpoint, ...]:
        return tuple(item for item in self.endpoints if item.role == role)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that subjects are assigned to; a paired study has none."""
        return (self.purpose.candidate, self.purpose.reference) if self.design.arms == "parallel" else ()


def canonical(protocol: StudyProtocol) -> bytes:
    """Write what a protocol means in one way only: JSON with sorted keys, without spaces, defaults written out."""
    said = dataclasses.asdict(protocol)
    return json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def parse_protocol(data: bytes, *, file: str, metrics: Mapping[str, StudyMetric] = METRICS) -> StudyProtocol:
    """Read a protocol.

    Args:
        data: bytes of the YAML.
        file: its name, ending in `.yaml`, as errors give it.
        metrics: those that endpoints may be of, by name.

    Raises:
        ProtocolError: names the path of the key, what was expected and what was found.
    """
    top = read_fields(data, file=file, error=ProtocolError)
    optional = {"looks", "top_up", "seed"}
    top.check(required={item.name for item in dataclasses.fields(StudyProtocol)} - optional, optional=optional)
    protocol = StudyProtocol(
        study=top.text("study", "a name of [A-Za-z0-9._-]", IDENTIFIER),
        purpose=_purpose(top.within("purpose")),
        population=_population(top.within("population")),
        design=_design(top.within("design")),
        endpoints=top.each("endpoints", lambda item: _endpoint(item, metrics)),
        analysis=_analysis(top.within("analysis")),
        sample_size=_sample_size(top.within("sample_size")),
        looks=_looks(top.within("looks")) if "looks" in top else LookPlan(),
        top_up=_top_up(top.within("top_up")) if "top_up" in top else TopUpPlan(),
        seed=top.whole("seed", low=0, high=MAX_SEED) if "seed" in top else None,
    )
    _check_endpoints(protocol, top)
    _check_scopes(protocol, top)
    _check_design(protocol, top)
    _check_sizes(protocol, metrics, top.within("sample_size"))
    return protocol


def _purpose(fields: StrictFields) -> Purpose:
    fields.check(required={"kind", "candidate", "reference"})
    names = [fields.text(key, "a build id [A-Za-z0-9._-]", IDENTIFIER) for key in ("candidate", "reference")]
    if names[0] == names[1]:
        raise fields.error(f"expected another build than the candidate, found {names[1]!r} twice", "reference")
    return Purpose(cast(PurposeKind, fields.choice("kind", get_args(PurposeKind))), *names)


def _population(fields: StrictFields) -> StudyPopulation:
    fields.check(required={"unit"}, optional={"strata", "expected_attrition"})
    unit = cast(SampledUnit, fields.choice("unit", get_args(SampledUnit)))
    attrition = _share(fields, "expected_attrition", is_below_one=True) if "expected_attrition" in fields else 0.0
    return StudyPopulation(unit, fields.texts("strata", "the name of a column", NAME), attrition)


def _design(fields: StrictFields) -> StudyDesign:
    fields.check(required={"arms", "attempts_per_subject"}, optional={"devices", "conditions", "assignment"})
    return StudyDesign(
        arms=cast(Arms, fields.choice("arms", get_args(Arms))),
        attempts_per_subject=fields.whole("attempts_per_subject", low=1, high=MAX_ATTEMPTS),
        devices=_conditions(fields.within("devices")) if "devices" in fields else None,
        conditions=_conditions(fields.within("conditions")) if "conditions" in fields else None,
        assignment=_assignment(fields.within("assignment")) if "assignment" in fields else AssignmentPlan(),
    )


def _conditions(fields: StrictFields) -> ConditionPlan:
    fields.check(required={"factor", "levels"}, optional={"order"})
    levels = fields.texts("levels", "the name of a level", NAME)
    if len(levels) < 2:
        raise fields.unexpected("levels", "at least two levels")
    order = cast(ConditionOrder, fields.choice("order", get_args(ConditionOrder), default="williams"))
    return ConditionPlan(fields.text("factor", "the name of a condition", NAME), levels, order)


def _assignment(fields: StrictFields) -> AssignmentPlan:
    fields.check(required={"method"}, optional={"block_sizes", "stratified_by"})
    method = cast(AssignmentMethod, fields.choice("method", get_args(AssignmentMethod)))
    sizes = AssignmentPlan().block_sizes
    if "block_sizes" in fields:
        if method == "minimisation":
            raise fields.error("minimisation has no blocks; take the key out", "block_sizes")
        expected = f"a whole number from 2 to {MAX_BLOCK}"
        sized = fields.numbers("block_sizes", expected, lambda size: isinstance(size, int) and 2 <= size <= MAX_BLOCK)
        sizes = tuple(map(int, sized))
    return AssignmentPlan(method, sizes, fields.texts("stratified_by", "the name of a column", NAME))


def _endpoint(fields: StrictFields, metrics: Mapping[str, StudyMetric]) -> StudyEndpoint:
    optional = {"margin", "margin_ratio", "fmr", "threshold", "quantile", "scope"}
    fields.check(required={"id", "metric", "role"}, optional=optional)
    metric = metrics[fields.choice("metric", tuple(metrics))]
    for key in sorted(metric.needs):
        if key not in fields:
            raise fields.error(f"an endpoint of {metric.name} needs the key {key!r}")
    for key, needed_by in (("fmr", "fmr"), ("threshold", "fmr"), ("quantile", "quantile")):
        if key in fields and needed_by not in metric.needs:
            raise fields.error(f"an endpoint of {metric.name} has no {key}; take the key out", key)
    return StudyEndpoint(
        id=fields.text("id", "a name of [A-Za-z0-9._-]", IDENTIFIER),
        metric=metric.name,
        role=cast(Role, fields.choice("role", get_args(Role))),
        margin=_margin(fields, metric) if "margin" in fields else None,
        margin_ratio=_margin_ratio(fields) if "margin_ratio" in fields else None,
        fmr=_rate_above_zero(fields, "fmr") if "fmr" in fields else None,
        threshold=cast(ThresholdRule, fields.choice("threshold", get_args(ThresholdRule), default="re_estimated")),
        quantile=_rate_above_zero(fields, "quantile") if "quantile" in fields else None,
        scope=tuple(sorted((key, _level(fields.within("scope"), key)) for key in fields.within("scope").names())),
    )


def _level(fields: StrictFields, key: str) -> str:
    return fields.text(key, "the name of a level")


def _margin(fields: StrictFields, metric: StudyMetric) -> float:
    """The margin in the metric's own unit."""
    value = quantity(fields, "margin", metric)
    if value == 0:
        raise fields.error(
            "expected more than 0: with a margin of 0 no build of the same quality passes; state the largest "
            "deterioration that is tolerated",
            "margin",
        )
    if value < 0:
        raise fields.error(
            f"expected a positive number, found {value:g}: a margin is how much worse is tolerated, whichever way "
            f"{metric.name} is better",
            "margin",
        )
    if metric.kind == "rate" and value >= 1:
        raise fields.error(f"expected a difference of rates below 1, found {value:g}; 5 % is 0.05 or '5 %'", "margin")
    return value


_ALPHA = "a level above 0 and below 0.5; 5 % is 0.05"
_POWER = "a probability above 0.5 and below 1; 90 % is 0.90"
_UNITS: Mapping[Kind, Mapping[str, float]] = {"rate": PERCENT, "time": {"us": 1e-3, "ms": 1.0, "s": 1e3}}
_SHOWN: Mapping[Kind, str] = {"rate": "a rate as 0.005 or '0.5 %'", "time": "a time in ms, as 20 or '20 ms'"}


def quantity(fields: StrictFields, key: str, metric: StudyMetric) -> float:
    """Read a number, or a number with a unit such as `0.5 %` or `20 ms`, in the metric's own unit."""
    units = _UNITS.get(metric.kind, {metric.unit: 1.0})
    return fields.number(key, _SHOWN.get(metric.kind, f"a number in {metric.unit}"), lambda _: True, units=units)


def _margin_ratio(fields: StrictFields) -> float:
    expected = "a ratio above 1 and at most 100, as 1.05 for 5 % worse"
    return fields.number("margin_ratio", expected, lambda value: 1 < value <= 100)


def _rate_above_zero(fields: StrictFields, key: str) -> float:
    return fields.number(key, "a number above 0 and below 1", lambda value: 0 < value < 1, units=PERCENT)


def _share(fields: StrictFields, key: str, *, is_below_one: bool = False) -> float:
    most = "below 1" if is_below_one else "at most 1"
    expected = f"a share from 0, {most}; 10 % is 0.10"
    return fields.number(
        key, expected, lambda value: 0 <= value < 1 or (value == 1 and not is_below_one), units=PERCENT
    )


def _analysis(fields: StrictFields) -> AnalysisPlan:
    fields.check(required={"alpha"}, optional={"sides", "sets"})
    sets = fields.within("sets")
    sets.check(required=set(), optional={"primary", "sensitivity"})
    plan = AnalysisPlan(
        alpha=fields.number("alpha", _ALPHA, lambda value: 0 < value < 0.5, units=PERCENT),
        sides=cast(Sides, fields.choice("sides", get_args(Sides), default="one")),
        primary_set=_set(sets, "primary", "intention_to_treat"),
        sensitivity_set=_set(sets, "sensitivity", "per_protocol"),
    )
    if plan.primary_set == plan.sensitivity_set:
        raise sets.error(f"expected another set than the primary one, found {plan.primary_set!r} twice", "sensitivity")
    return plan


def _set(fields: StrictFields, key: str, default: AnalysisSet) -> AnalysisSet:
    return cast(AnalysisSet, fields.choice(key, get_args(AnalysisSet), default=default))


def _sample_size(fields: StrictFields) -> SampleSizePlan:
    fields.check(required={"power"}, optional={"pilot", "assume", "precision", "cost"})
    cost = fields.within("cost")
    cost.check(required=set(), optional={"per_subject", "per_attempt"})
    return SampleSizePlan(
        power=fields.number("power", _POWER, lambda value: 0.5 < value < 1, units=PERCENT),
        pilot=fields.texts("pilot", "the id of a drop", IDENTIFIER),
        assume=_assumptions(fields.within("assume")),
        precision=_by_endpoint(fields.within("precision")),
        cost_per_subject=_amount(cost, "per_subject"),
        cost_per_attempt=_amount(cost, "per_attempt"),
    )


def _amount(fields: StrictFields, key: str) -> float:
    return fields.number(key, "an amount from 0", lambda value: value >= 0) if key in fields else 0.0


def _assumptions(fields: StrictFields) -> Assumptions:
    fields.check(required=set(), optional={item.name for item in dataclasses.fields(Assumptions)})
    return Assumptions(
        icc=_share(fields, "icc", is_below_one=True) if "icc" in fields else 0.0,
        fmr_cv=fields.number("fmr_cv", "a number from 0 to 10", lambda value: 0 <= value <= 10)
        if "fmr_cv" in fields
        else 0.0,
        agreement=_share(fields, "agreement", is_below_one=True) if "agreement" in fields else 0.0,
        values=_by_endpoint(fields.within("values")),
        log_sd=_by_endpoint(fields.within("log_sd")),
    )


def _by_endpoint(fields: StrictFields) -> tuple[tuple[str, float], ...]:
    keys = fields.names()
    return tuple(sorted((key, fields.number(key, "a number above 0", lambda value: value > 0)) for key in keys))


def _looks(fields: StrictFields) -> LookPlan:
    fields.check(required={"rule"}, optional={"at_information"})
    rule = cast(LookRule, fields.choice("rule", get_args(LookRule)))
    if rule == "confidence_sequence":
        if "at_information" in fields:
            raise fields.error("a confidence sequence holds at every look; take the key out", "at_information")
        return LookPlan(rule, ())
    if "at_information" not in fields:
        if rule != "fixed":
            raise fields.error(f"{rule} needs the key 'at_information': when the data are looked at, ending in 1.0")
        return LookPlan()
    at = fields.numbers("at_information", "a part above 0 and up to 1", lambda part: 0 < part <= 1)
    if list(at) != sorted(at) or at[-1] != 1 or len(at) > MAX_LOOKS:
        raise fields.unexpected("at_information", f"at most {MAX_LOOKS} rising parts, the last of them 1.0")
    if rule == "fixed" and len(at) > 1:
        raise fields.unexpected("at_information", "one look at 1.0, as the rule is fixed")
    return LookPlan(rule, at)


def _top_up(fields: StrictFields) -> TopUpPlan:
    fields.check(required={"allowed"}, optional={"max_subjects"})
    allowed = fields.flag("allowed")
    if allowed and "max_subjects" not in fields:
        raise fields.error("a top-up needs the key 'max_subjects', or it could go on until the build passes")
    most = fields.whole("max_subjects", low=2, high=MAX_SUBJECTS) if "max_subjects" in fields else None
    return TopUpPlan(allowed, most)


def _check_endpoints(protocol: StudyProtocol, top: StrictFields) -> None:
    """An id stands once, one endpoint at least is primary, and those that decide have one margin."""
    seen = set[str]()
    for number, item in enumerate(protocol.endpoints):
        at = f"endpoints[{number}]"
        if item.id in seen:
            raise top.error(f"id {item.id!r} stands twice", at)
        seen.add(item.id)
        if item.margin is not None and item.margin_ratio is not None:
            raise top.error("expected margin or margin_ratio, found both", at)
        has_none = item.margin is None and item.margin_ratio is None
        if has_none and item.role != "exploratory" and protocol.purpose.kind == "non_inferiority":
            raise top.error(f"a {item.role} endpoint of a non-inferiority study needs a margin or a margin_ratio", at)
    if not protocol.of_role("primary"):
        raise top.error("expected at least one endpoint of role primary, found none", "endpoints")


def _check_scopes(protocol: StudyProtocol, top: StrictFields) -> None:
    """A scope's level is one of the planned ones, and its column no misspelt one."""
    plans = {plan.factor: plan for plan in (protocol.design.devices, protocol.design.conditions) if plan}
    planned = {*protocol.population.strata, *plans}
    for number, item in enumerate(protocol.endpoints):
        for column, level in item.scope:
            at = f"endpoints[{number}].scope"
            if column not in planned and get_close_matches(column, planned):
                raise top.error(f"no condition and no stratum {column!r} is planned; {near(column, planned)}", at)
            if column in plans and level not in plans[column].levels:
                known = plans[column].levels
                raise top.error(f"{level!r} is no level of {column}; {near(level, known)}", f"{at}.{column}")


def _check_design(protocol: StudyProtocol, top: StrictFields) -> None:
    """What subjects are assigned by is a stratum, blocks hold every arm alike, conditions have attempts enough."""
    design, strata = protocol.design, protocol.population.strata
    for column in design.assignment.stratified_by:
        if column not in strata:
            raise top.error(
                f"{column!r} is no stratum of the population; {near(column, strata)}", "design.assignment.stratified_by"
            )
    odd = [size for size in design.assignment.block_sizes if size % 2]
    if protocol.arms and odd:
        raise top.error(f"expected even sizes, as there are two arms, found {odd[0]}", "design.assignment.block_sizes")
    plans = [plan for plan in (design.devices, design.conditions) if plan]
    cells = math.prod(len(plan.levels) for plan in plans)
    if design.attempts_per_subject < cells:
        raise top.error(
            f"expected at least one attempt for each of {cells} levels of {' x '.join(plan.factor for plan in plans)}, "
            f"found {design.attempts_per_subject}",
            "design.attempts_per_subject",
        )


def _check_sizes(protocol: StudyProtocol, metrics: Mapping[str, StudyMetric], fields: StrictFields) -> None:
    """What is said by endpoint is said of one that is there, and a rate is one."""
    assume, known = fields.within("assume"), {item.id: item for item in protocol.endpoints}
    size = protocol.sample_size
    for within, key, pairs in (
        (assume, "values", size.assume.values),
        (assume, "log_sd", size.assume.log_sd),
        (fields, "precision", size.precision),
    ):
        for id, value in pairs:
            if id not in known:
                raise within.error(f"no endpoint {id!r}; {near(id, known)}", key)
            kind = metrics[known[id].metric].kind
            if kind == "rate" and key != "log_sd" and not value < 1:
                raise within.error(f"expected a rate below 1, found {value:g}", f"{key}.{id}")
            if kind != "time" and key == "log_sd":
                raise within.error(f"{known[id].metric} is no time", f"{key}.{id}")
    if size.power <= protocol.analysis.alpha or not math.isfinite(size.power):
        raise fields.unexpected("power", "a probability above alpha")
