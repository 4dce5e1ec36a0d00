"""Commands over the chain from drops to reports, without an orchestrator: what there is, what is left, and doing it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import (
    CLUSTER,
    JSON,
    chosen_engine,
    open_deployment,
    print_document,
    print_rows,
    progress_bars,
    say,
    stage_rows,
)

if TYPE_CHECKING:
    from cv_quality.refusals import Standing


@click.command()
@JSON
def status(as_json: bool) -> None:
    """Show what has arrived, what passed its gates, what is left to do, and what is in the way.

    Exit code 1 while anything is refused or cannot be done.
    """
    from cv_quality.refusals import Overview
    from cv_quality.tasks import TASKS

    workspace = open_deployment()
    overviews = [Overview(workspace, task) for task in TASKS]
    reasons: dict[str | None, list[str]] = {}
    for item in (item for overview in overviews for item in overview.hindrances()):
        reasons.setdefault(item.key.drop or item.key.build, []).append(f"{item.stage}: {item.headline}")
    rows = [
        {
            "drop": state.drop,
            "build": state.build or "",
            "validated": state.validated,
            "scored": ", ".join(f"{build}: {scored}" for build, scored in state.scored.items()),
            "why": "; ".join([*reasons.get(state.drop, ()), *reasons.get(state.build, ())]),
            "report": str(state.report or ""),
        }
        for overview in overviews
        for state in overview.states
    ]
    print_rows(rows, as_json=as_json, title="drops")
    if reasons:
        say(f"refused or not to be done: {len(reasons)} drops or builds; `cvq why KEY` says more", err=True)
        sys.exit(1)


@click.command()
@CLUSTER
@JSON
def run(cluster: str | None, as_json: bool) -> None:
    """Do everything that is left to do: take drops in, score them, report builds.

    Work that a gate refused is left alone until a corrected drop arrives. Exit code 1 while anything is refused or
    cannot be done.
    """
    from cv_quality.refusals import hindrances
    from cv_quality.runner import run_due

    workspace = open_deployment(cluster=cluster)
    with chosen_engine(workspace) as engine, progress_bars() as progress:
        done = run_due(workspace, track=progress.track, engine=engine)
    found = hindrances(workspace)
    if as_json or done.results:
        print_rows(stage_rows(done.results, as_json=as_json), as_json=as_json, title="stages run")
    elif not done.refused:
        say("nothing could be done" if found else "nothing is left to do")
    for item in found:
        say(f"{'refused' if item.state == 'refused' else 'not done'}: {_in_short(item)}", err=True)
    told = {f"{item.key}: {item.headline}" for item in found}
    for message in done.refused:
        if message not in told:
            say(f"not done: {message}", err=True)
    if found or not done.succeeded:
        sys.exit(1)


def _in_short(item: "Standing") -> str:
    return f"{item.key}: {item.headline}; `cvq why {item.key}` says more"


@click.command()
@click.argument("key", nargs=-1, required=True)
@JSON
def why(key: Sequence[str], as_json: bool) -> None:
    """Say why something is not done: what refused it, by which rule, which rows, and what to do.

    KEY is a drop, a build, or a build and a drop. Exit code 1 while anything of it is refused or cannot be done.

    \b
      cvq why 2026-08-03_face-1.1_site-a
      cvq why face-1.2
      cvq why face-1.2 2026-08-03_face-1.1_site-a
    """
    from cv_quality.refusals import standings

    found = standings(open_deployment(), "/".join(key))
    if as_json:
        print_document([_standing_document(item) for item in found])
    else:
        _say_standings(found, name="/".join(key))
    if any(item.headline for item in found):
        sys.exit(1)


def _standing_document(item: "Standing") -> dict[str, object]:
    return {
        "stage": item.stage,
        "key": str(item.key),
        "state": item.state,
        "reasons": list(item.reasons),
        "n_rejected": dict(item.n_rejected),
        "rejected": [asdict(row) for row in item.rejected],
        "remedy": item.remedy,
    }


def _say_standings(found: "Sequence[Standing]", *, name: str) -> None:
    """Print what has not passed: refusals with their rows and remedy, then what is due, then what waits, in short."""
    if not any(item.headline for item in found):
        passed = [item for item in found if item.state == "passed"]
        last = f"; the last stage that passed is {passed[-1].stage} of {passed[-1].key}" if passed else ""
        say(f"nothing of {name} is refused{last}")
    for item in sorted(found, key=lambda item: _ORDER[item.state]):
        if item.remedy:
            _say_standing(item)
    waiting: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for item in found:
        if item.state == "waiting" and not item.remedy:
            waiting.setdefault((str(item.key), item.reasons), []).append(item.stage)
    for (key, reasons), stages in waiting.items():
        more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        say(f"waiting: {', '.join(stages)} of {key}\n  for {', '.join(reasons[:3])}{more}")


def _say_standing(item: "Standing") -> None:
    say(f"{item.state}: {item.stage} of {item.key}")
    for reason in item.reasons:
        say(f"  {reason}")
    if item.n_rejected:
        say(f"  rejected rows: {', '.join(f'{n:,} {reason}' for reason, n in item.n_rejected)}")
    for row in item.rejected:
        say(f"    {row.file} line {row.line}: {row.reason}: {row.detail}")
    say(f"  what to do: {item.remedy}")


_ORDER = {"refused": 0, "due": 1, "waiting": 2, "passed": 3}


@click.command()
@click.argument("drop")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Rows to show.")
@JSON
def quarantine(drop: str, limit: int, as_json: bool) -> None:
    """Show the rows of a DROP that were rejected: file, line, reason and what was found."""
    import polars as pl

    from cv_quality.drops.tables import QUARANTINE_PARSE, QUARANTINE_VALIDATE
    from cv_quality.lake.lake import TableKey
    from cv_quality.refusals import standings

    workspace = open_deployment()
    lake, key = workspace.lake, TableKey(drop=drop)
    refused = [item for item in standings(workspace, drop) if item.state == "refused" and item.key == key]
    tables = [table for table in (QUARANTINE_PARSE, QUARANTINE_VALIDATE) if lake.has(table, key)]
    for item in refused:
        say(f"refused: {_in_short(item)}", err=True)
    if not tables:
        raise click.ClickException(f"no row of drop {drop} has been taken in, so none is quarantined")
    columns = ("stage", "source_file", "source_line", "event_kind", "reason", "detail")
    rows = pl.concat([lake.read(table, key, columns=columns) for table in tables])
    shown = f", the first {limit}" if rows.height > limit else ""
    print_rows(
        rows.head(limit).to_dicts(), as_json=as_json, title=f"quarantined rows of {drop}: {rows.height:,}{shown}"
    )


@click.command()
@JSON
def models(as_json: bool) -> None:
    """List the builds of the model registry."""
    registry = open_deployment().registry
    rows = [
        {
            "build": entry.build_id,
            "follows": entry.follows or "",
            "modality": entry.modality,
            "format": "as recorded" if registry.is_recorded(entry.build_id) else getattr(entry, "format", ""),
            "file": getattr(entry, "file", ""),
            "threshold": entry.decision_threshold,
            "sha256": entry.sha256 and entry.sha256[:12],
        }
        for entry in map(registry.entry, registry.build_ids())
    ]
    print_rows(rows, as_json=as_json, title=f"registry {registry.uri}")


@click.command()
@click.argument("build")
@JSON
def report(build: str, as_json: bool) -> None:
    """Write the failure report of one BUILD against its baseline again."""
    from cv_quality.lake.lake import TableKey
    from cv_quality.runner import run_stage
    from cv_quality.tasks import TASKS

    workspace = open_deployment()
    entry = workspace.registry.entry(build)
    (task,) = (task for task in TASKS if task.name == entry.task)
    (stage,) = task.of_phase("report")
    result = run_stage(workspace, task, stage, TableKey(build=build))
    print_rows(stage_rows([result], as_json=as_json), as_json=as_json, title="report")
