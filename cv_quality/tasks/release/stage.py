"""The stage that holds a build's numbers against the release policy, for any task: it says what was measured."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from cv_quality.freshness import Freshness, StageContext
from cv_quality.gates.rules import query_rule, rows_rule
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.stage import Numbers, Stage
from cv_quality.studies.pad_profiles import ProfileAnswer
from cv_quality.studies.policy import (
    Answer,
    Evidence,
    Release,
    ReleasePolicy,
    Requirement,
    judge_release,
    load_policy,
    policy_bytes,
)
from cv_quality.tasks.release.tables import OVERALL, RELEASE_VERDICTS
from cv_quality.tasks.root_causes.tables import write_rows

RULES = (
    query_rule(
        RELEASE_VERDICTS,
        "the whole passes only where every primary requirement does, and there is one",
        "SELECT verdict FROM release_verdicts WHERE requirement = 'overall' AND verdict <> (SELECT CASE "
        "WHEN count_if(verdict = 'fail') > 0 THEN 'fail' WHEN count(*) > 0 AND count_if(verdict = 'pass') = count(*) "
        "THEN 'pass' ELSE 'insufficient' END FROM release_verdicts WHERE role = 'primary' AND kind <> 'overall')",
    ),
    rows_rule(
        RELEASE_VERDICTS,
        "what passes has its upper bound within what is allowed",
        "kind <> 'overall' AND verdict = 'pass' AND (high IS NULL OR high > allowed)",
    ),
    rows_rule(
        RELEASE_VERDICTS,
        "what fails has its lower bound above what is allowed",
        "kind <> 'overall' AND verdict = 'fail' AND (low IS NULL OR low <= allowed)",
    ),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a build, and the build that its changes are held against.

    Attributes:
        profiles: answered, by name; declared: those that the build's entry asks for.
    """

    baseline: str | None
    evidence: Sequence[Evidence]
    profiles: Mapping[str, ProfileAnswer] = field(default_factory=dict)
    declared: Sequence[str] = ()


def release_stage(task: str, *, reads: tuple[Table, ...], measured: Callable[[StageContext], Measured]) -> Stage:
    """Make the stage of a task.

    Args:
        task: whose requirements.
        reads: tables that the evidence is made of.
        measured: everything that was measured of a build.
    """
    return Stage(
        name="release",
        phase="measure",
        reads=reads,
        writes=(RELEASE_VERDICTS,),
        run=partial(_judge, task, measured),
        elsewhere=_policy_identity,
        rules=RULES,
        description="Whether the build may ship: each requirement of the release policy passes, fails, or has too "
        "little data, which is no pass.",
        gate="the whole passes only where every primary requirement does; bounds and verdicts fit",
    )


def _policy_identity(freshness: Freshness, key: TableKey) -> str:  # noqa: ARG001 - as the stage calls it
    """Which policy: another one makes the verdicts due."""
    return hashlib.sha256(policy_bytes(freshness.workspace.settings.policy)).hexdigest()


def _judge(task: str, measured: Callable[[StageContext], Measured], context: StageContext) -> Numbers:
    policy = load_policy(context.workspace.settings.policy)
    found = write_verdicts(context.lake, context.build, task, measured(context), policy)
    numbers: dict[str, int | float | str] = {"verdict": found.verdict, "policy": policy.name}
    for verdict in ("fail", "insufficient", "pass"):
        named = [f"{_name(item)}: {item.judgement.reason}" for item in found.answers if item.verdict == verdict]
        if named:
            numbers[verdict] = "; ".join(named)
    return numbers


def write_verdicts(lake: Lake, build: str, task: str, measured: Measured, policy: ReleasePolicy) -> Release:
    """Judge a build by a policy and write its verdicts."""
    found = judge_release(
        policy,
        task,
        measured.evidence,
        has_baseline=measured.baseline is not None,
        profiles=measured.profiles,
        declared=measured.declared,
    )
    write_rows(lake, RELEASE_VERDICTS, build, rows_of(found, policy, measured.baseline))
    return found


def rows_of(release: Release, policy: ReleasePolicy, baseline: str | None) -> list[dict[str, object]]:
    """Give the rows of a release's verdicts, that of the whole first."""
    head: dict[str, object] = {"baseline_build_id": baseline, "policy": policy.name, "policy_sha256": policy.sha256}
    whole: dict[str, object] = {
        "requirement": OVERALL,
        "role": "primary",
        "kind": "overall",
        "dimension": "all",
        "level": "all",
    }
    rows: list[dict[str, object]] = [head | whole | {"verdict": release.verdict, "reason": summary(release)}]
    for answer in release.answers:
        asked, judged = answer.requirement, answer.judgement
        rows.append(
            head
            | {
                "requirement": asked.id,
                "role": asked.role,
                "kind": _kind(asked),
                "metric": asked.metric,
                "fmr_target": asked.fmr,
                "dimension": asked.dimension,
                "level": answer.level,
                "allowed": judged.margin,
                "alpha": judged.alpha,
                "adjusted": answer.adjusted,
            }
            | {name: getattr(judged, name) for name in ("value", "low", "high", "p_value", "subjects_needed")}
            | {"verdict": judged.verdict, "reason": judged.reason}
        )
    return rows


def summary(release: Release) -> str:
    """Say in one line why the verdict of the whole is what it is."""
    primary = [item for item in release.answers if item.requirement.role == "primary"]
    if not primary:
        return "the policy requires nothing of this task, and nothing passes by default"
    if release.verdict == "pass":
        return f"all {len(primary)} primary requirements pass"
    reasons: dict[str, list[str]] = {}
    for item in primary:
        if item.verdict == release.verdict:
            reasons.setdefault(item.judgement.reason, []).append(_name(item))
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def _kind(asked: Requirement) -> str:
    if asked.profile is not None:
        return "profile"
    return "margin" if asked.margin is not None else "limit"


def _name(answer: Answer) -> str:
    if answer.requirement.profile is not None:
        return f"{answer.requirement.id} ({answer.requirement.dimension}, {answer.level})"
    level = "" if answer.level == "all" else f" ({answer.requirement.dimension} {answer.level})"
    return f"{answer.requirement.id}{level}"
