"""Requirements on liveness as data: what a standard or a customer asks of every PAI species, and the answers.

A profile is a YAML file, one of those in `liveness_profiles/` or one's own. It is answered from errors by artefact, so
that the bound can be made at the level that the profile asks for. Too few artefacts, or artefacts that are unknown, are
insufficient, which never passes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import PolicyError, near
from cv_quality.metrics.liveness.artefacts import artefact_rate
from cv_quality.metrics.liveness.presentations import Presentations, Unit
from cv_quality.metrics.rates import LEVEL, Rate, clustered_rate
from cv_quality.metrics.results import Result, percent
from cv_quality.metrics.validation import truth
from cv_quality.studies.decisions import Verdict, overall
from cv_quality.studies.strict_yaml import PERCENT, StrictFields, read_fields
from cv_quality.text import told_apart

PROFILES = Path(__file__).with_name("liveness_profiles")
PadMetric = Literal["apcer", "apnrr", "bpcer", "bpnrr", "iapar", "frr", "far"]
ATTACK_METRICS: tuple[PadMetric, ...] = ("apcer", "apnrr", "iapar")
"""Asked of every PAI species; the others of all bona fide presentations."""
WHOLE = "all"
STAND_IN = "by APCER, which IAPAR cannot exceed"
UNKNOWN_UNITS = "insufficient: neither artefacts nor subjects known"


@dataclass(frozen=True, slots=True)
class PadRequirement:
    """One thing that a profile asks for.

    Attributes:
        id: its name in the profile.
        metric: a rate of errors.
        limit: the highest rate that is accepted; None where `ratio` is asked for.
        ratio: how much worse than all together a group may be, as a factor above 1; None of a limit.
        level: of the one-sided bound that must lie within the limit.
        by: "group" where every group must hold it; None else.
    """

    id: str
    metric: PadMetric
    limit: float | None
    ratio: float | None
    level: float
    by: str | None


@dataclass(frozen=True, slots=True)
class PadProfile:
    """What is asked of a liveness detector, and where that stands.

    Attributes:
        sha256: of the file.
    """

    name: str
    source: str
    requirements: tuple[PadRequirement, ...]
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class CountedErrors:
    """Errors of one metric, of one PAI species or one group.

    Attributes:
        name: of the species or the group; "all" of all bona fide presentations.
        errors, trials: of each artefact or subject, shape (units,).
    """

    metric: PadMetric
    name: str
    errors: NDArray[np.int64]
    trials: NDArray[np.int64]
    unit: Unit


@dataclass(frozen=True, slots=True)
class PadAnswer(Result):
    """A requirement with its verdict for one species or group.

    Attributes:
        verdict: "pass" where the one-sided bound lies within the limit, "fail" where the opposite bound lies beyond it.
        rate: None where nothing was measured.
        level: of the one-sided bound.
        bound: the upper bound that must lie within the limit; of a failure the lower one.
        limit: the highest rate accepted, of a ratio already times the rate of all.
        reason: what the verdict rests on.
    """

    requirement: str
    metric: PadMetric
    name: str
    verdict: Verdict
    rate: Rate | None
    level: float
    bound: float | None
    limit: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class ProfileAnswer(Result):
    """A profile answered: pass only where every requirement passes for every species and group."""

    profile: str
    source: str
    verdict: Verdict
    answers: tuple[PadAnswer, ...]


def known_profiles() -> tuple[str, ...]:
    """Name the profiles that come with the package."""
    return tuple(sorted(path.stem for path in PROFILES.glob("*.yaml")))


def load_profile(name: str) -> PadProfile:
    """Read a profile of the package by its name, or any by its file.

    Raises:
        PolicyError: there is none, or it asks for something impossible.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if path.parent == PROFILES and path.stem not in known_profiles():
        raise PolicyError(f"no profile is called {name!r}; {near(name, known_profiles())}; or name a YAML file")
    try:
        return read_profile(path.read_bytes(), file=path.name)
    except OSError as error:
        raise PolicyError(f"{path}: the profile cannot be read: {error.strerror}") from error


def read_profile(data: bytes, *, file: str) -> PadProfile:
    """Read a profile from YAML, strictly.

    Args:
        data: its bytes.
        file: its name, as errors give it.

    Raises:
        PolicyError: a key is unknown, a limit or level is one that nothing could pass, or two requirements have one
            name.

    >>> text = b"{profile: ours, source: contract, requirements: [{id: a, metric: apcer, limit: 5 %}]}"
    >>> read_profile(text, file="ours.yaml").requirements[0].limit
    0.05
    """
    fields = read_fields(data, file=file, error=PolicyError)
    fields.check(required={"profile", "source", "requirements"})
    requirements = fields.each("requirements", _requirement)
    ids = [item.id for item in requirements]
    if len(set(ids)) < len(ids):
        raise fields.error("two requirements have one id", "requirements")
    return PadProfile(
        fields.text("profile", "the profile's name"),
        fields.text("source", "where it stands"),
        requirements,
        hashlib.sha256(data).hexdigest(),
    )


def _requirement(fields: StrictFields) -> PadRequirement:
    fields.check(required={"id", "metric"}, optional={"limit", "ratio", "level", "by"})
    if ("limit" in fields) == ("ratio" in fields):
        raise fields.error("expected a limit of the rate, or a ratio to the rate of all, and not both")
    is_ratio = "ratio" in fields
    if is_ratio != ("by" in fields):
        raise fields.error("a ratio, and nothing else, is asked by group")
    metric = cast(PadMetric, fields.choice("metric", get_args(PadMetric)))
    if is_ratio and metric in ATTACK_METRICS:
        raise fields.error("groups are of bona fide presentations: expected bpcer, bpnrr or frr", "metric")
    level = (
        fields.number("level", "a level above 0.5 and below 1", lambda x: 0.5 < x < 1, units=PERCENT)
        if "level" in fields
        else LEVEL
    )
    limit = (
        None if is_ratio else fields.number("limit", "a rate above 0 and below 1", lambda x: 0 < x < 1, units=PERCENT)
    )
    ratio = fields.number("ratio", "a factor above 1", lambda x: x > 1) if is_ratio else None
    by = fields.choice("by", ("group",)) if is_ratio else None
    return PadRequirement(fields.text("id", "a name"), metric, limit, ratio, level, by)


def count_errors(
    presentations: Presentations,
    *,
    threshold: float,
    is_match: ArrayLike | None = None,
    is_impostor: ArrayLike | None = None,
) -> tuple[CountedErrors, ...]:
    """Count the errors of every metric that presentations show.

    Args:
        presentations: of both classes.
        threshold: a presentation is bona fide at this score and above.
        is_match: whether each presentation passed the whole system as its target; bool, shape (n,). None where only
            liveness was tried, and IAPAR, FRR and FAR are unknown.
        is_impostor: whether a bona fide presentation claimed somebody else (zero effort), so that it counts to FAR and
            not to FRR; bool, shape (n,). None where nobody did.

    Raises:
        MetricError: shapes differ.
    """
    responded, live = presentations.has_response, presentations.scores >= threshold
    matched = None if is_match is None else truth(is_match, name="is_match", size=len(live))
    of_attacks: list[tuple[PadMetric, NDArray[np.bool_], NDArray[np.bool_]]] = [
        ("apcer", responded, live),
        ("apnrr", np.ones_like(live), ~responded),
    ]
    of_users: list[tuple[PadMetric, NDArray[np.bool_], NDArray[np.bool_]]] = [
        ("bpcer", responded, ~live),
        ("bpnrr", np.ones_like(live), ~responded),
    ]
    if matched is not None:
        of_attacks.append(("iapar", np.ones_like(live), matched))
        others = np.zeros_like(live) if is_impostor is None else truth(is_impostor, name="is_impostor", size=len(live))
        of_users.append(("frr", ~others, ~matched))
        if others.any():
            of_users.append(("far", others, matched))
    species = [
        CountedErrors(
            metric,
            name,
            *presentations.counts(mask & presentations.is_attack & (presentations.species == name), errs),
            presentations.attack_unit,
        )
        for name in presentations.species_names
        for metric, mask, errs in of_attacks
    ]
    users = [
        CountedErrors(
            metric,
            name,
            *presentations.counts(mask & ~presentations.is_attack & of, errs),
            presentations.bona_fide_unit,
        )
        for name in (WHOLE, *presentations.groups)
        for of in [np.ones_like(live) if name == WHOLE else presentations.group == name]
        for metric, mask, errs in of_users
    ]
    return (*species, *users)


def answer_profile(profile: PadProfile, counted: Sequence[CountedErrors]) -> ProfileAnswer:
    """Answer every requirement of a profile, for every species or group.

    Args:
        profile: what is asked.
        counted: errors of every metric that was measured; a requirement of another one is insufficient.
    """
    answers = tuple(answer for requirement in profile.requirements for answer in _answers(requirement, counted))
    return ProfileAnswer(profile.name, profile.source, overall(answer.verdict for answer in answers), answers)


def _answers(requirement: PadRequirement, counted: Sequence[CountedErrors]) -> tuple[PadAnswer, ...]:
    of = [item for item in counted if item.metric == requirement.metric]
    limit, metric, stand_in = requirement.limit, requirement.metric, False
    if metric == "iapar" and not of:
        of, stand_in = [item for item in counted if item.metric == "apcer"], True
    if requirement.ratio is not None:
        whole = next((item for item in of if item.name == WHOLE), None)
        of = [item for item in of if item.name != WHOLE]
        limit = None if whole is None else requirement.ratio * float(whole.errors.sum() / max(whole.trials.sum(), 1))
    elif metric not in ATTACK_METRICS:
        of = [item for item in of if item.name == WHOLE]
    if not of or limit is None:
        reason = f"insufficient: {metric.upper()} was not measured{' by group' if requirement.by else ''}"
        return (PadAnswer(requirement.id, metric, WHOLE, "insufficient", None, requirement.level, None, limit, reason),)
    return tuple(_answer(requirement, item, limit, stand_in=stand_in) for item in of)


def _answer(requirement: PadRequirement, item: CountedErrors, limit: float, *, stand_in: bool) -> PadAnswer:
    is_attack = item.metric in ATTACK_METRICS
    if is_attack:
        rate = artefact_rate(item.errors, item.trials, level=2 * requirement.level - 1, unit=item.unit)
    else:
        rate = clustered_rate(item.errors, item.trials, level=2 * requirement.level - 1, unit=item.unit)
    verdict: Verdict = "insufficient"
    missing = rate.reason if is_attack or rate.value is None else None
    if is_attack and item.unit == "presentation":
        missing = UNKNOWN_UNITS
    bound, reason = rate.high, missing or "no interval"
    if missing is None and rate.low is not None and rate.high is not None:
        verdict = "pass" if rate.high <= limit else "fail" if rate.low > limit and not stand_in else "insufficient"
        bound = rate.low if verdict == "fail" else rate.high
        shown, allowed = told_apart([bound, limit], words=percent)
        reason = {
            "pass": f"at most {shown}, {allowed} allowed",
            "fail": f"at least {shown}, {allowed} allowed",
            "insufficient": f"the bound reaches {shown}, {allowed} allowed",
        }[verdict]
    told = f"{reason}{f', {STAND_IN}' if stand_in else ''} (one-sided bound of {percent(requirement.level)})"
    level = requirement.level
    return PadAnswer(requirement.id, requirement.metric, item.name, verdict, rate, level, bound, limit, told)
