"""A release policy: what a build must show before it ships, declared before its data, and held against its numbers.

Requirements are margins against the baseline, limits of the rate itself, or profiles that are answered elsewhere
(`cv_quality.studies.pad_profiles`). All primary ones must pass (an
intersection-union test, which needs no correction); secondary ones are adjusted by Holm, opened only where all primary
ones pass, and decide nothing. How one requirement is judged is in `cv_quality.studies.decisions`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from cv_quality.errors import PolicyError, near
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import Result
from cv_quality.studies.comparison import Difference, undefined_difference
from cv_quality.studies.decisions import ALPHA, Judgement, Verdict, judge, judge_bounds, judge_limit, overall
from cv_quality.studies.multiplicity import holm
from cv_quality.studies.pad_profiles import ProfileAnswer, load_profile
from cv_quality.studies.strict_yaml import StrictFields, read_fields

DEFAULT = Path(__file__).with_name("release_policy.yaml")
WHOLE = "all"

DECLARED = "declared"
"""A requirement of every profile that a build's entry declares."""

Role = Literal["primary", "secondary"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a build must show.

    Attributes:
        id: its name in the policy.
        metric: what is measured, such as fnmr_at_fmr, fta or miss_rate; empty of a profile.
        fmr: the highest FMR allowed, of fnmr_at_fmr.
        dimension, level: the condition and its level, such as illuminance_lux and "<10"; "all" of the whole. A level of
            None asks for every level of the dimension.
        margin: the largest loss against the baseline, above 0; None of a limit.
        limit: the highest rate, between 0 and 1; None of a margin.
        profile: of liveness: the profile that must pass, or "declared": every one that the build's entry declares.
        role: a secondary requirement is shown and decides nothing.
    """

    id: str
    metric: str
    fmr: float | None = None
    dimension: str = WHOLE
    level: str | None = WHOLE
    margin: float | None = None
    limit: float | None = None
    profile: str | None = None
    role: Role = "primary"


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """What builds of each task must show.

    Attributes:
        name: of the policy.
        alpha: one-sided, of every margin.
        requirements: by task.
        sha256: of the file.
    """

    name: str
    alpha: float
    requirements: Mapping[str, tuple[Requirement, ...]]
    sha256: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one metric of a build.

    Attributes:
        metric, fmr, dimension, level: as a requirement has them.
        rate: of the build; None where there is none to hold against a limit.
        difference: from the baseline; None without one, and where only `bounds` are known.
        bounds: value of the difference with its two-sided bounds at `level_of_bounds`.
        is_higher_better: whether a fall is a loss.
        reason: why there is too little data.
    """

    metric: str
    fmr: float | None
    dimension: str
    level: str
    rate: Rate | None = None
    difference: Difference | None = None
    bounds: tuple[float | None, float | None, float | None] | None = None
    level_of_bounds: float = 0.95
    is_higher_better: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Answer(Result):
    """A requirement with its verdict.

    Attributes:
        level: of the dimension, where the requirement asks for every one.
        adjusted: p-value after Holm, of a secondary requirement with a margin.
    """

    requirement: Requirement
    level: str
    judgement: Judgement
    adjusted: float | None = None

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict


@dataclass(frozen=True, slots=True)
class Release(Result):
    """Whether a build may ship.

    Attributes:
        verdict: pass only where every primary requirement passes; a build of which nothing is required never does.
        answers: in the order of the policy.
    """

    policy: str
    verdict: Verdict
    answers: tuple[Answer, ...]


def load_policy(path: Path | None) -> ReleasePolicy:
    """Read the policy of a file, or the one that comes with the package.

    Raises:
        PolicyError: it cannot be read, or asks for something impossible.
    """
    return read_policy(policy_bytes(path), file=(path or DEFAULT).name)


def policy_bytes(path: Path | None) -> bytes:
    """Read the bytes of a policy's file, or of the one that comes with the package.

    Raises:
        PolicyError: it cannot be read.
    """
    file = path or DEFAULT
    try:
        return file.read_bytes()
    except OSError as error:
        raise PolicyError(f"{file}: the release policy cannot be read: {error.strerror}") from error


def read_policy(data: bytes, *, file: str) -> ReleasePolicy:
    """Read a policy from YAML, strictly.

    Args:
        data: its bytes.
        file: its name, as errors give it.

    Raises:
        PolicyError: a key is unknown, a margin or limit is one that no build could pass, or two requirements have one
            name.

    >>> text = b"{policy: strict, verification: [{id: fnmr, metric: fnmr_at_fmr, fmr: 1e-3, margin: 0.01}]}"
    >>> read_policy(text, file="policy.yaml").requirements["verification"][0].margin
    0.01
    """
    fields = read_fields(data, file=file, error=PolicyError)
    tasks = [name for name in fields.names() if name not in ("policy", "alpha")]
    if not tasks:
        raise fields.error("expected the requirements of a task, such as verification, found none")
    for name in tasks:
        if name not in TASKS:
            raise fields.error(f"unknown key {name!r}; {near(name, ('policy', 'alpha', *TASKS))}")
    name = fields.text("policy", "the policy's name", r"[A-Za-z0-9][A-Za-z0-9._ -]{0,127}")
    alpha = (
        fields.number("alpha", "a level above 0 and below 0.5", lambda x: 0 < x < 0.5) if "alpha" in fields else ALPHA
    )
    requirements = {task: fields.each(task, _requirement) for task in tasks}
    for task, asked in requirements.items():
        if task != "liveness" and any(item.profile for item in asked):
            raise fields.error("profiles are of liveness: expected a margin or a limit", task)
        ids = [item.id for item in asked]
        twice = next((item for number, item in enumerate(ids) if item in ids[:number]), None)
        if twice is not None:
            raise fields.error(f"two requirements are called {twice!r}", task)
    return ReleasePolicy(name, alpha, requirements, hashlib.sha256(data).hexdigest())


TASKS = ("verification", "video", "liveness")


def _requirement(fields: StrictFields) -> Requirement:
    if "profile" in fields:
        return _profile_requirement(fields)
    fields.check(required={"id", "metric"}, optional={"fmr", "by", "at", "margin", "limit", "role"})
    if ("margin" in fields) == ("limit" in fields):
        raise fields.error("expected a margin (against the baseline) or a limit (of the rate itself), and not both")
    metric = fields.text("metric", "a metric", r"[a-z][a-z0-9_]*")
    if (metric == "fnmr_at_fmr") != ("fmr" in fields):
        raise fields.error("fnmr_at_fmr, and nothing else, is asked at an fmr")
    if "by" in fields and "at" in fields:
        raise fields.error("by asks for every level of a condition, at for one: name one of them")
    dimension, level = WHOLE, cast(str | None, WHOLE)
    if "by" in fields:
        dimension, level = fields.text("by", "a condition", r"[a-z][a-z0-9_]*"), None
    if "at" in fields:
        at = fields.within("at")
        if len(at.names()) != 1:
            raise at.error("expected one condition with its level")
        (dimension,) = at.names()
        level = at.text(dimension, "a level of the condition")
    return Requirement(
        id=fields.text("id", "a name", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"),
        metric=metric,
        fmr=fields.number("fmr", "an FMR above 0 and at most 1", lambda x: 0 < x <= 1) if "fmr" in fields else None,
        dimension=dimension,
        level=level,
        margin=(
            fields.number("margin", "the largest loss accepted, above 0: no build could pass another", lambda x: x > 0)
            if "margin" in fields
            else None
        ),
        limit=(
            fields.number("limit", "a rate above 0, as no build could pass another, and below 1", lambda x: 0 < x < 1)
            if "limit" in fields
            else None
        ),
        role=cast(Role, fields.choice("role", ("primary", "secondary"), default="primary")),
    )


def _profile_requirement(fields: StrictFields) -> Requirement:
    fields.check(required={"id", "profile"}, optional={"role"})
    profile = fields.text("profile", "the name of a profile, its file, or 'declared'")
    if profile != DECLARED:
        load_profile(profile)
    return Requirement(
        id=fields.text("id", "a name", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"),
        metric="",
        profile=profile,
        role=cast(Role, fields.choice("role", ("primary", "secondary"), default="primary")),
    )


def profiles_asked(policy: ReleasePolicy, declared: Iterable[str]) -> tuple[str, ...]:
    """List the profiles that a build is held against: those that it declares, and those that the policy names.

    Args:
        policy: what is required.
        declared: by the build's entry.
    """
    named = (item.profile for item in policy.requirements.get("liveness", ()))
    return tuple(dict.fromkeys((*declared, *(name for name in named if name and name != DECLARED))))


def judge_release(
    policy: ReleasePolicy,
    task: str,
    evidence: Iterable[Evidence],
    *,
    has_baseline: bool,
    profiles: Mapping[str, ProfileAnswer] | None = None,
    declared: Sequence[str] = (),
) -> Release:
    """Hold a build's numbers against the policy.

    Args:
        policy: what is required.
        task: of the build.
        evidence: everything that was measured.
        has_baseline: whether there is a build to hold margins against.
        profiles: answered, by the names that the policy or the build's entry has for them.
        declared: those of the build's entry.
    """
    known = {(item.metric, item.fmr, item.dimension, item.level): item for item in evidence}
    answers = [
        answer
        for requirement in policy.requirements.get(task, ())
        for answer in (
            _answers(requirement, known, policy.alpha, has_baseline=has_baseline)
            if requirement.profile is None
            else _of_profiles(requirement, profiles or {}, declared)
        )
    ]
    primary = [answer.verdict for answer in answers if answer.requirement.role == "primary"]
    verdict = overall(primary)
    return Release(policy.name, verdict, tuple(_adjusted(answers, policy.alpha, is_open=verdict == "pass")))


def _of_profiles(
    requirement: Requirement, profiles: Mapping[str, ProfileAnswer], declared: Sequence[str]
) -> Sequence[Answer]:
    """The answers of a profile, or of all that are declared, each by its own name then."""
    if requirement.profile == DECLARED:
        named = [(replace(requirement, id=Path(name).stem), name) for name in declared]
    else:
        named = [(requirement, str(requirement.profile))]
    return [
        Answer(
            replace(asked, metric=item.metric, dimension=item.requirement),
            item.name,
            Judgement(
                metric=item.metric,
                verdict=item.verdict,
                margin=item.limit,
                alpha=1 - item.level,
                value=None if item.rate is None else item.rate.value,
                low=None if item.rate is None else item.rate.low,
                high=None if item.rate is None else item.rate.high,
                p_value=None,
                subjects_needed=None,
                reason=item.reason,
            ),
        )
        for asked, name in named
        for item in profiles[name].answers
    ]


def _answers(
    requirement: Requirement,
    known: Mapping[tuple[str, float | None, str, str], Evidence],
    alpha: float,
    *,
    has_baseline: bool,
) -> Sequence[Answer]:
    key = requirement.metric, requirement.fmr, requirement.dimension
    if known and not any(metric == requirement.metric for metric, *_ in known):
        why = f"it was not measured; {near(requirement.metric, {metric for metric, *_ in known})}"
        return [Answer(requirement, requirement.level or WHOLE, _missing(requirement, alpha, why))]
    levels = (
        [requirement.level]
        if requirement.level is not None
        else sorted(level for *head, level in known if tuple(head) == key and level != "unknown")
    )
    if not levels:
        return [Answer(requirement, WHOLE, _missing(requirement, alpha, "no level of it was measured"))]
    return [
        Answer(requirement, level, _judge(requirement, known.get((*key, level)), alpha, has_baseline=has_baseline))
        for level in levels
    ]


def _judge(requirement: Requirement, found: Evidence | None, alpha: float, *, has_baseline: bool) -> Judgement:
    if requirement.limit is not None:
        if found is None or found.rate is None:
            return _missing(requirement, alpha, "it was not measured")
        return judge_limit(requirement.metric, found.rate, limit=requirement.limit)
    assert requirement.margin is not None
    if not has_baseline:
        return _missing(requirement, alpha, "there is no baseline build to hold it against")
    if found is None:
        return _missing(requirement, alpha, "it was not measured")
    if found.difference is not None:
        return judge(found.difference, margin=requirement.margin, alpha=alpha, is_higher_better=found.is_higher_better)
    return judge_bounds(
        requirement.metric,
        found.bounds or (None, None, None),
        margin=requirement.margin,
        alpha=(1 - found.level_of_bounds) / 2,
        is_higher_better=found.is_higher_better,
        reason=found.reason,
    )


def _missing(requirement: Requirement, alpha: float, reason: str) -> Judgement:
    margin = requirement.margin if requirement.margin is not None else requirement.limit
    assert margin is not None
    return judge(undefined_difference(requirement.metric, reason), margin=margin, alpha=alpha)


def _adjusted(answers: Sequence[Answer], alpha: float, *, is_open: bool) -> Sequence[Answer]:
    """Secondary answers: p-values after Holm; none passes while a primary one is open."""
    places = [
        place
        for place, answer in enumerate(answers)
        if answer.requirement.role == "secondary" and answer.judgement.p_value is not None
    ]
    found = list(answers)
    p_values = holm([answers[place].judgement.p_value or 0.0 for place in places])
    for place, p_value in zip(places, p_values.tolist(), strict=True):
        judgement = answers[place].judgement
        if judgement.verdict == "pass" and (p_value >= alpha or not is_open):
            why = "a primary requirement is open" if not is_open else f"after Holm p = {p_value:.3g}"
            judgement = replace(judgement, verdict="insufficient", reason=f"{judgement.reason}; not opened: {why}")
        found[place] = replace(answers[place], judgement=judgement, adjusted=p_value)
    return found
