"""Commands that decide: two builds compared, a build held against the release policy."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import JSON, open_deployment, print_document, print_rows, say

if TYPE_CHECKING:
    from cv_quality.stage import Task
    from cv_quality.studies.policy import Answer, Evidence, Release, ReleasePolicy
    from cv_quality.tasks.comparing import ComparedBuilds
    from cv_quality.workspace import Workspace

EXIT_CODES = {"pass": 0, "fail": 3, "insufficient": 4}
POLICY = click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A release policy (YAML). [that of CVQ_POLICY, else the package's]",
)


@click.command()
@click.argument("reference")
@click.argument("candidate")
@click.option(
    "--margin",
    "margins",
    multiple=True,
    metavar="METRIC[@FMR]=LOSS",
    help="The largest loss accepted, such as fnmr_at_fmr@1e-3=0.01; repeatable, in place of a policy.",
)
@POLICY
@click.option("--levels", is_flag=True, help="Show the differences at every level of every condition too.")
@JSON
def compare(
    reference: str, candidate: str, margins: Sequence[str], policy_file: Path | None, levels: bool, as_json: bool
) -> None:
    """Compare build CANDIDATE with build REFERENCE: differences with intervals, and pass, fail or insufficient.

    Where the candidate follows the reference, both models scored the same attempts (or clips) and what subjects share
    cancels; else each build is taken on its own drops, and subjects that both met are paired. FNMR at a fixed FMR takes
    each build at its own estimated threshold. A loss is judged by one-sided bounds: below the margin passes, above it
    fails, and where the data cannot tell, the subjects that would settle it are said.

    Exit code: 0 where every primary requirement passes, 3 where one fails, 4 where the data do not suffice.

    \b
      cvq compare face-1.1 face-1.2
      cvq compare face-1.1 face-1.2 --margin fnmr_at_fmr@1e-4=0.005 --margin fta=0.01
      cvq compare face-1.0 face-1.2 --policy release.yaml --json
    """
    from cv_quality.studies.policy import judge_release
    from cv_quality.tasks.comparing import compare_builds

    workspace = open_deployment()
    task = task_of(workspace, reference, candidate)
    policy = _policy(workspace, policy_file, margins, task.name)
    found = compare_builds(workspace, task, reference, candidate)
    release = judge_release(policy, task.name, found.measured.evidence, has_baseline=True)
    if as_json:
        print_document(_document(found, release, levels=levels))
    else:
        say(f"{candidate} less {reference}, {found.on}")
        rows = [_row(item) for item in found.measured.evidence if _is_shown(item, levels=levels)]
        print_rows(rows, as_json=False, title="differences (95 % intervals)")
        print_rows([_answer_row(item) for item in release.answers], as_json=False, title=f"policy {policy.name!r}")
        say(release.verdict.upper())
    sys.exit(EXIT_CODES[release.verdict])


@click.command()
@click.argument("build")
@JSON
def release(build: str, as_json: bool) -> None:
    """Say whether BUILD may ship, by the release policy: pass, fail, or insufficient, which is no pass.

    The policy is that of CVQ_POLICY, else the one that comes with the package; the verdict is part of the build's page
    and of the metric tables, and due again when numbers or policy change. For a pipeline of builds the exit code tells:
    0 pass, 3 fail, 4 insufficient.

    \b
      cvq release face-1.2 || echo "not shipped"
      CVQ_POLICY=release.yaml cvq run && cvq release face-1.2 --json
    """
    from cv_quality.tasks.comparing import read_release

    whole, rows = read_release(open_deployment(), build)
    if as_json:
        print_document({"build": build, "verdict": whole["verdict"], "reason": whole["reason"], "requirements": rows})
    else:
        shown = ("requirement", "metric", "fmr_target", "level", "value", "low", "high", "allowed", "verdict", "reason")
        print_rows(
            [{name: row[name] for name in shown} for row in rows], as_json=False, title=f"policy {whole['policy']!r}"
        )
        say(f"{str(whole['verdict']).upper()}: {whole['reason']}")
    sys.exit(EXIT_CODES[str(whole["verdict"])])


def task_of(workspace: "Workspace", *builds: str) -> "Task":
    """Find the one task that evaluates some builds."""
    from cv_quality.tasks import TASKS

    names = {build: workspace.registry.entry(build).task for build in builds}
    if len(set(names.values())) > 1:
        raise click.UsageError(f"builds of one task are compared, found {names}")
    (task,) = (task for task in TASKS if task.name in names.values())
    return task


def _policy(workspace: "Workspace", file: Path | None, margins: Sequence[str], task: str) -> "ReleasePolicy":
    from cv_quality.studies.policy import Requirement, load_policy

    if file is not None and margins:
        raise click.UsageError("name a --policy or margins, not both")
    policy = load_policy(file or workspace.settings.policy)
    if not margins:
        return policy
    requirements = []
    for text in margins:
        named, _, value = text.partition("=")
        metric, _, fmr = named.partition("@")
        try:
            margin, target = float(value), float(fmr) if fmr else None
        except ValueError:
            raise click.BadParameter(f"expected METRIC[@FMR]=LOSS, found {text!r}", param_hint="'--margin'") from None
        if not margin > 0 or (target is not None and not 0 < target <= 1):
            raise click.BadParameter(
                f"expected a loss above 0 and an FMR above 0 and at most 1, found {text!r}", param_hint="'--margin'"
            )
        requirements.append(Requirement(named, metric, target, margin=margin))
    return replace(policy, name="margins", requirements={task: tuple(requirements)})


def _is_shown(item: "Evidence", *, levels: bool) -> bool:
    return (levels or item.level == "all") and (item.difference is not None or item.bounds is not None)


def _row(item: "Evidence") -> dict[str, object]:
    head: dict[str, object] = {"metric": item.metric, "fmr": item.fmr, "dimension": item.dimension, "level": item.level}
    if item.level == "all":
        del head["dimension"], head["level"]
    found = item.difference
    if found is None:
        value, low, high = item.bounds or (None, None, None)
        return head | {"difference": value, "low": low, "high": high, "reason": item.reason}
    return head | {
        "reference": found.reference,
        "candidate": found.candidate,
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "subjects": found.n_subjects,
        "shared": found.n_shared,
        "reason": found.reason,
    }


def _answer_row(answer: "Answer") -> dict[str, object]:
    judged = answer.judgement
    return {
        "requirement": answer.requirement.id,
        "role": answer.requirement.role,
        "level": answer.level,
        "loss": judged.value,
        "at most": judged.high,
        "allowed": judged.margin,
        "verdict": judged.verdict,
        "why": judged.reason,
    }


def _document(found: "ComparedBuilds", release: "Release", *, levels: bool) -> dict[str, object]:
    shown = [item for item in found.measured.evidence if _is_shown(item, levels=levels)]
    return {
        "reference": found.reference,
        "candidate": found.candidate,
        "task": found.task,
        "on": found.on,
        "differences": [
            _row(item) | ({} if item.difference is None else {"method": item.difference.method}) for item in shown
        ],
        **release.to_dict(),
    }
