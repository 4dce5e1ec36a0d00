"""What is asked of a liveness build, and the answers: the stage `profiles`, and what a release policy may ask of it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from cv_quality.errors import PolicyError, RegistryError
from cv_quality.freshness import Freshness, StageContext
from cv_quality.inference.registry import BuildEntry
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.reports.rates import read_rate
from cv_quality.studies.pad_profiles import (
    ATTACK_METRICS,
    CountedErrors,
    PadAnswer,
    PadProfile,
    ProfileAnswer,
    answer_profile,
    load_profile,
)
from cv_quality.studies.policy import Evidence, load_policy, profiles_asked
from cv_quality.tasks.liveness.build_metrics import WHOLE, count_rows, read_outcomes
from cv_quality.tasks.liveness.tables import LIVENESS_PROFILES, LIVENESS_RATES
from cv_quality.tasks.release.stage import Measured
from cv_quality.tasks.release.tables import OVERALL
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.dimensions import SUBJECT

if TYPE_CHECKING:
    import polars as pl

BY_SPECIES = "pai_species"
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """How many profiles a build was held against, and how many of each verdict there were."""

    build: str
    profiles: int
    passed: int
    failed: int
    insufficient: int


def declared_profiles(entry: BuildEntry) -> tuple[str, ...]:
    """List the profiles that an entry declares, by name or file; entries of some kinds declare none."""
    found: tuple[str, ...] = getattr(entry, "profiles", ())
    return found


def asked_profiles(freshness: Freshness, entry: BuildEntry) -> tuple[str, ...]:
    """List the profiles that a build is held against: those of its entry, and those of the release policy.

    Raises:
        PolicyError: the policy cannot be read.
    """
    return profiles_asked(load_policy(freshness.workspace.settings.policy), declared_profiles(entry))


def profile_identity(freshness: Freshness, key: TableKey) -> str:
    """Which profiles are asked, and their files: others make the answers due."""
    try:
        asked = asked_profiles(freshness, freshness.workspace.registry.entry(str(key.build)))
        told = [(name, load_profile(name).sha256) for name in asked]
    except (PolicyError, RegistryError) as error:
        told = [("", str(error))]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def answer_profiles(context: StageContext) -> ProfileSummary:
    """Answer every profile that is asked of a build, and write `liveness_profiles`.

    Raises:
        MissingTable: a drop was not judged.
        PolicyError: a profile cannot be read.
    """
    asked = asked_profiles(context.freshness, context.entry)
    outcomes = read_outcomes(context.lake, context.build, context.drops, context.modality)
    counted, groups = count_groups(outcomes)
    rows: list[Row] = []
    answers: list[ProfileAnswer] = []
    for name in asked:
        profile = load_profile(name)
        answers.append(answer_profile(profile, counted))
        rows += _rows(name, profile, answers[-1], groups)
    write_rows(context.lake, LIVENESS_PROFILES, context.build, rows)
    verdicts = [item.verdict for item in answers]
    return ProfileSummary(
        context.build,
        profiles=len(asked),
        passed=verdicts.count("pass"),
        failed=verdicts.count("fail"),
        insufficient=verdicts.count("insufficient"),
    )


def count_groups(rows: "pl.DataFrame") -> tuple[list[CountedErrors], dict[str, tuple[str, str]]]:
    """Count errors over all and for every group of people.

    Args:
        rows: of outcomes.

    Returns:
        What was counted, and the dimension and level of the group behind each name.
    """
    counted, groups = list(count_rows(rows)), dict[str, tuple[str, str]]()
    for item in SUBJECT:
        for one in count_rows(rows, by=item.level_column):
            if one.metric not in ATTACK_METRICS and one.name != WHOLE:
                name = f"{item.level_column} {one.name}"
                groups[name] = item.level_column, one.name
                counted.append(replace(one, name=name))
    return counted, groups


def _rows(file: str, profile: PadProfile, found: ProfileAnswer, groups: dict[str, tuple[str, str]]) -> Iterator[Row]:
    head: Row = {"profile": profile.name, "profile_file": file, "source": profile.source}
    head["profile_sha256"] = profile.sha256
    whole: Row = {"requirement": OVERALL, "dimension": WHOLE, "level": WHOLE, "verdict": found.verdict}
    yield head | whole | {"answer": _in_short(found)}
    for answer in found.answers:
        dimension, level = _place(answer, groups)
        rate = {} if answer.rate is None else asdict(answer.rate)
        yield (
            head
            | rate
            | {
                "requirement": answer.requirement,
                "metric": answer.metric,
                "dimension": dimension,
                "level": level,
                "confidence": answer.level,
                "bound": answer.bound,
                "allowed": answer.limit,
                "verdict": answer.verdict,
                "answer": answer.reason,
            }
        )


def _place(answer: PadAnswer, groups: dict[str, tuple[str, str]]) -> tuple[str, str]:
    if answer.metric in ATTACK_METRICS and answer.rate is not None:
        return BY_SPECIES, answer.name
    return groups.get(answer.name, (WHOLE, WHOLE))


def _in_short(found: ProfileAnswer) -> str:
    """Name what decides: every answer of the whole's own verdict."""
    if found.verdict == "pass":
        return "every requirement passes"
    deciding = [item for item in found.answers if item.verdict == found.verdict]
    return "; ".join(f"{item.requirement} of {item.name}: {item.reason}" for item in deciding)


def read_measured(context: StageContext) -> Measured:
    """Read everything that a release policy may ask of a build: its rates, and its answers to profiles.

    Raises:
        MissingTable: the build is not measured.
    """
    return Measured(
        baseline=None,
        evidence=list(_evidence(context.lake, context.build)),
        profiles=read_answers(context.lake, context.build),
        declared=declared_profiles(context.entry),
    )


def read_answers(lake: Lake, build: str) -> dict[str, ProfileAnswer]:
    """Read the answers to a build's profiles, by the names under which they are asked.

    Raises:
        MissingTable: they are not answered.
    """
    rows = lake.read(LIVENESS_PROFILES, TableKey(build=build)).to_dicts()
    return {
        whole["profile_file"]: ProfileAnswer(
            whole["profile"],
            whole["source"],
            whole["verdict"],
            tuple(
                _answer(row)
                for row in rows
                if row["profile_file"] == whole["profile_file"] and row["requirement"] != OVERALL
            ),
        )
        for whole in rows
        if whole["requirement"] == OVERALL
    }


def _answer(row: dict[str, Any]) -> PadAnswer:
    is_group = row["dimension"] not in (WHOLE, BY_SPECIES)
    name = f"{row['dimension']} {row['level']}" if is_group else row["level"]
    rate = None if row["value"] is None and row["reason"] is None else read_rate(row)
    return PadAnswer(
        row["requirement"],
        row["metric"],
        name,
        row["verdict"],
        rate,
        row["confidence"],
        row["bound"],
        row["allowed"],
        row["answer"],
    )


def _evidence(lake: Lake, build: str) -> Iterator[Evidence]:
    rows = lake.read(LIVENESS_RATES, TableKey(build=build)).to_dicts()
    for row in rows:
        if row["metric"] not in ATTACK_METRICS:
            yield Evidence(row["metric"], None, row["dimension"], row["level"], rate=read_rate(row))
        elif row["dimension"] == WHOLE:
            yield Evidence(row["metric"], None, BY_SPECIES, row["species"], rate=read_rate(row))
    for metric in ATTACK_METRICS:
        known = [read_rate(row) for row in rows if row["metric"] == metric and row["dimension"] == WHOLE]
        if known:
            yield Evidence(metric, None, WHOLE, WHOLE, rate=_worst(known))


def _worst(rates: Iterable[Rate]) -> Rate:
    """The highest rate, bounded from above by the highest bound of all: no species may exceed a limit."""
    ordered = sorted(rates, key=lambda rate: -1.0 if rate.value is None else rate.value)
    highs = [rate.high for rate in ordered if rate.high is not None]
    reason = next((rate.reason for rate in ordered if rate.reason), None)
    return replace(ordered[-1], high=max(highs, default=None), reason=reason)
