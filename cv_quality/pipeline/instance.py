"""Runs of the jobs in this process, recorded in the deployment's own Dagster instance.

For the demo and for backfills from the command line: the same assets, checks and records as under the daemon, without
a process per run.
"""

from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile

import dagster as dg

from cv_quality import planning
from cv_quality.chain import Track
from cv_quality.definitions import build_definitions
from cv_quality.gates.verdicts import drop_gates, state_of
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.jobs import EVALUATE_BUILD_ON_DROP, INGEST_DROP, REPORT_BUILD
from cv_quality.pipeline.partitions import partition_of
from cv_quality.pipeline.sensors import identity_tags, partitions_of
from cv_quality.planning import Work
from cv_quality.stages import Workspace, drop_builds

QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def prepare_home(home: Path) -> Path:
    """The instance folder, with its configuration unless one lies there already."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        copyfile(Path(__file__).parent / "dagster.yaml", home / "dagster.yaml")
    return home


def materialize_all(workspace: Workspace, *, track: Track) -> list[dg.ExecuteInProcessResult]:
    """Run every job for everything that is due, in the order of the data."""
    results = []
    plans = (
        ("take drops in", planning.drops_to_ingest, INGEST_DROP),
        ("score builds on drops", planning.cells_to_score, EVALUATE_BUILD_ON_DROP),
        ("report builds", planning.builds_to_report, REPORT_BUILD),
    )
    with dg.DagsterInstance.from_config(str(prepare_home(workspace.settings.dagster_home))) as instance:
        definitions = build_definitions(workspace.settings)
        for label, plan, job in plans:
            work = plan(workspace)
            _add_partitions(instance, work)
            runner = definitions.resolve_job_def(job.name)
            results += [_execute(runner, item, instance) for item in track(work, description=label)]
    return results


def backfill_grid(
    workspace: Workspace, *, builds: Sequence[str], drops: Sequence[str], track: Track
) -> list[dict[str, object]]:
    """Score each of `builds` on each of `drops`, whether or not it was done before; all of them when none is named."""
    chosen_drops = drops or [drop for drop in drop_builds(workspace) if _is_validated(workspace, drop)]
    chosen_builds = builds or workspace.registry.build_ids()
    work = [
        Work(TableKey(build=build, drop=drop), f"backfill {build}|{drop}")
        for build in sorted(chosen_builds)
        for drop in sorted(chosen_drops)
    ]
    with dg.DagsterInstance.from_config(str(prepare_home(workspace.settings.dagster_home))) as instance:
        _add_partitions(instance, work)
        runner = build_definitions(workspace.settings).resolve_job_def(EVALUATE_BUILD_ON_DROP.name)
        runs = [(item, _execute(runner, item, instance)) for item in track(work, description="score the grid")]
    return [
        {"build": item.key.build, "drop": item.key.drop, "run": run.run_id, "succeeded": run.success}
        for item, run in runs
    ]


def _execute(job: dg.JobDefinition, work: Work, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return job.execute_in_process(
        partition_key=partition_of(work.key),
        instance=instance,
        tags=identity_tags(work),
        run_config=QUIET,
        raise_on_error=False,
    )


def _add_partitions(instance: dg.DagsterInstance, work: Sequence[Work]) -> None:
    for definition, keys in partitions_of(work).items():
        instance.add_dynamic_partitions(str(definition.name), keys)


def _is_validated(workspace: Workspace, drop: str) -> bool:
    return state_of(workspace.lake, drop_gates(drop)) == "passed"
