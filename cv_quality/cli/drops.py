"""Commands that make drops: simulated ones, and logs of devices; folders of images are in `cv_quality.cli.samples`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import (
    JSON,
    endless_bar,
    open_deployment,
    print_document,
    print_rows,
    progress_bars,
    say,
)
from cv_quality.errors import MappingError
from cv_quality.text import visible, visible_lines

if TYPE_CHECKING:
    from cv_quality.drops.importers.logs import ImportedLogs
    from cv_quality.drops.importers.mapping import LogMapping
    from cv_quality.workspace import Workspace

SHOWN_KINDS = ("attempt", "stream_frame", "enrol", "subject", "device")


@click.command()
@click.argument("scenario", default="demo")
@click.option("--seed", type=click.IntRange(min=0), help="In place of the scenario's own seed.")
@click.option(
    "--next", "is_next", is_flag=True, help="Only one more drop of its last build, under a new name each time."
)
@JSON
def simulate(scenario: str, seed: int | None, is_next: bool, as_json: bool) -> None:
    """Render a fleet's drops into the landing area.

    SCENARIO is the name of a packaged scenario (demo, tiny, video-demo) or a YAML file. Failures come out of running
    each build's own model on the rendered pixels; what was planted is written beside the drops as
    truth-<scenario>.json. The same scenario and seed give the same drops again; `--next` adds one that is not there
    yet, of the same people or scenes at its first site, so with the same seed.
    """
    drops = simulate_drops(open_deployment(), scenario, seed=seed, is_next=is_next)
    print_rows([{"drop": drop} for drop in drops], as_json=as_json, title="simulated drops")


def simulate_drops(workspace: "Workspace", scenario: str, *, seed: int | None, is_next: bool = False) -> list[str]:
    """Write a scenario's drops, or the one after those that are there, under a progress bar, and return their names.

    Args:
        workspace: where the landing area and the registry are.
        scenario: a packaged scenario or a YAML file.
        seed: in place of the scenario's own; None keeps that.
        is_next: write only the next drop.
    """
    from cv_quality.simulation.load import load_any_scenario, write_drops
    from cv_quality.simulation.studies import drop_ids

    plan = load_any_scenario(scenario)
    with progress_bars() as progress:
        task = progress.add_task(f"render {visible(plan.name)}", total=1 if is_next else len(drop_ids(plan)))
        return write_drops(
            plan,
            landing=workspace.landing,
            registry=workspace.registry,
            seed=seed,
            is_next=is_next,
            progress=lambda *_: progress.advance(task),
        )


@click.group(name="import")
def import_() -> None:
    """Turn foreign data into drops."""


@import_.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--map", "mapping_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The mapping."
)
@click.option("--sketch", "is_sketch", is_flag=True, help="Propose a mapping from the data instead.")
@click.option(
    "--preset",
    metavar="NAME",
    help="How the lines of a system's log are taken apart: apple-log, logcat, chrome-trace or gnss-logger.",
)
@click.option("--sql", metavar="SELECT", help="Rows of a database in place of FILES; with --database.")
@click.option("--database", metavar="FILE|URL", help="A DuckDB file, or postgresql://user@host/name.")
@click.option("--pseudonyms", is_flag=True, help="Replace names by pseudonyms, also those that would do as ids.")
@click.option(
    "--keep",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Folder for the key of pseudonyms; by default that of the mapping.",
)
@JSON
def logs(
    files: tuple[Path, ...],
    mapping_file: Path | None,
    is_sketch: bool,
    preset: str | None,
    sql: str | None,
    database: str | None,
    pseudonyms: bool,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Turn logs of devices into drops: FILES of JSON lines, CSV, TSV or Parquet, compressed or not, or a query.

    The mapping says which column is which field of an event. Rows that do not fit it are listed beside the drop.
    """
    from cv_quality.drops.importers.queries import LogQuery

    if is_sketch == (mapping_file is not None):
        raise click.UsageError("give either --map MAP.yaml, or --sketch to have one proposed")
    if (sql is None) != (database is None):
        raise click.UsageError("--sql and --database belong together: the question, and whom to ask")
    queries = (LogQuery(sql, database),) if sql is not None and database is not None else ()
    if not files and not queries:
        raise click.UsageError("give FILES, or --sql with --database")
    if mapping_file is None:
        from cv_quality.drops.importers.sketch import sketch_mapping

        click.echo(visible_lines(sketch_mapping([*files, *queries], preset=preset)))
        return
    from cv_quality.drops.importers.logs import import_logs
    from cv_quality.drops.importers.mapping import read_mapping

    workspace, mapping = open_deployment(), read_mapping(mapping_file, preset=preset)
    modality, builds = modality_and_builds(workspace, mapping)
    with endless_bar("import logs"):
        found = import_logs(
            [*files, *queries],
            mapping=mapping,
            landing=workspace.landing,
            modality=workspace.modality(modality),
            builds=builds,
            kept=keep,
            has_pseudonyms=pseudonyms,
        )
    if as_json:
        print_document(asdict(found))
    else:
        print_imported(found, workspace, has_frames=mapping.frames is not None)


def modality_and_builds(workspace: "Workspace", mapping: "LogMapping") -> tuple[str, list[str]]:
    """The modality of a mapping's events, and the builds that a column of the log may name."""
    if mapping.build.constant is not None:
        return mapping.modality or workspace.registry.entry(mapping.build.constant).modality, []
    entries = [workspace.registry.entry(build) for build in workspace.registry.build_ids()]
    named = set(mapping.build.levels.values())
    known = sorted({entry.modality for entry in entries if not named or entry.build_id in named})
    fitting = [name for name in known if set(mapping.kinds) <= set(workspace.modality(name).event_kinds)]
    known = fitting or known
    if mapping.modality is None and len(known) != 1:
        told = f"the registry has builds of {', '.join(known)}" if known else "the registry has no build"
        raise MappingError(f"build: a column names them, and {told}; say the 'modality'")
    modality = mapping.modality or known[0]
    builds = [entry.build_id for entry in entries if entry.modality == modality]
    if not builds:
        raise MappingError(f"build: a column names them, and the registry has none of modality {modality!r}")
    return modality, builds


def print_imported(found: "ImportedLogs", workspace: "Workspace", *, has_frames: bool) -> None:
    """Say what became of the rows of some logs, and what comes next.

    Args:
        found: by an import.
        workspace: whose registry is asked.
        has_frames: whether the drops have images.
    """
    n_set_aside = sum(found.reasons.values())
    of = next(iter(found.drops)) if len(found.drops) == 1 else f"{len(found.drops)} drops"
    context = f", {found.context:,} context" if found.context else ""
    say(f"{of}: {found.rows:,} rows, {found.written:,} written{context}, {n_set_aside:,} set aside")
    for note in found.notes:
        say(note)
    kinds = [kind for kind in SHOWN_KINDS if any(kind in events for events in found.drops.values())]
    several = len(found.drops) > 1
    rows = [
        {**({"drop": drop} if several else {}), **{kind: events.get(kind, 0) for kind in kinds}}
        for drop, events in found.drops.items()
    ]
    print_rows(rows, as_json=False, title="events by drop" if several else "events of the drop")
    if found.quarantine:
        reasons = [{"reason": reason, "rows": n} for reason, n in found.reasons.items()]
        listed = Path(found.quarantine)
        listed = listed.relative_to(Path.cwd()) if listed.is_relative_to(Path.cwd()) else listed
        place = found.quarantine if "://" in found.quarantine else listed
        print_rows(reasons, as_json=False, title=f"rows set aside, each in {place}")
    for build in dict.fromkeys(found.builds):
        say(next_step(workspace, build, has_frames=has_frames))


def next_step(workspace: "Workspace", build: str, *, has_frames: bool) -> str:
    """Say what to do with a new drop: run it, after its build has an entry that can evaluate it.

    Args:
        workspace: whose registry is asked.
        build, has_frames: of the drop.
    """
    entry = f"{workspace.settings.registry}/{build}.yaml"
    if build not in workspace.registry.build_ids():
        return f"next: write {entry}, then `cvq run`"
    if workspace.registry.is_recorded(build):
        return f"next: `cvq run` evaluates {build} as recorded on its devices"
    if has_frames:
        return f"next: `cvq run` evaluates {build} by its model"
    return (
        f"next: the drop has no frames to run a model on; let {entry} have 'recorded: true' in place of the keys of a "
        "model, or name another registry by CVQ_REGISTRY, then `cvq run` evaluates what the devices decided"
    )
