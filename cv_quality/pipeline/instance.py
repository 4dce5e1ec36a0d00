"""Runs of the jobs in this process, recorded in the deployment's own Dagster instance.

For the demo and for backfills from the command line: the same assets, checks and records as under the daemon, without
a process per run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import dagster as dg

from cv_quality import planning
from cv_quality.chain import Track
from cv_quality.definitions import build_definitions
from cv_quality.errors import DropError, near
from cv_quality.gates.verdicts import drop_gates, state_of
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.assets.failures import EXPLAINED
from cv_quality.pipeline.assets.marts import MODELS
from cv_quality.pipeline.jobs import EVALUATE_BUILD_ON_DROP, INGEST_DROP, REPORT_BUILD
from cv_quality.pipeline.partitions import partition_of
from cv_quality.pipeline.sensors import identity_tags, partitions_of
from cv_quality.planning import Work
from cv_quality.stages import Workspace, drop_builds

MEASURED = ("impostor_counts", "intervals")
PUBLISHED = tuple(f"marts/{model}" for model in MODELS)
REPORTED = ("failure_report",)
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def prepare_home(home: Path) -> Path:
    """The instance folder, with its configuration unless one lies there already."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        copyfile(Path(__file__).parent / "dagster.yaml", home / "dagster.yaml")
    return home


def materialize_all(workspace: Workspace, *, track: Track) -> list[dg.ExecuteInProcessResult]:
    """Run the jobs for everything that is due, in the order of the data; the metric tables once for all builds."""
    with _instance(workspace) as instance:
        jobs = _Jobs(build_definitions(workspace.settings), instance)
        results = jobs.run(INGEST_DROP.name, planning.drops_to_ingest(workspace), track=track, label="take drops in")
        cells = planning.cells_to_score(workspace)
        results += jobs.run(EVALUATE_BUILD_ON_DROP.name, cells, track=track, label="score builds on drops")
        builds = planning.builds_to_report(workspace)
        results += jobs.run(REPORT_BUILD.name, builds, track=track, label="measure builds", only=MEASURED)
        results += jobs.run(REPORT_BUILD.name, builds, track=track, label="explain failures", only=EXPLAINED)
        published = jobs.run(REPORT_BUILD.name, builds[:1], track=track, label="publish metric tables", only=PUBLISHED)
        results += published
        if all(run.success for run in published):
            results += jobs.run(REPORT_BUILD.name, builds, track=track, label="report builds", only=REPORTED)
    return results


def backfill_grid(
    workspace: Workspace, *, builds: Sequence[str], drops: Sequence[str], track: Track
) -> list[dict[str, object]]:
    """Score each of `builds` on each of `drops`, whether or not it was done before; all of them when none is named.

    Raises:
        DropError: a drop is not validated in the lake; the near ones are named.
        RegistryError: a build is not in the registry; the near ones are named.
    """
    validated = [drop for drop in drop_builds(workspace) if _is_validated(workspace, drop)]
    for drop in drops:
        if drop not in validated:
            raise DropError(f"drop {drop!r} is not validated in the lake: {near(drop, validated)}")
    for build in builds:
        workspace.registry.entry(build)
    chosen_drops, chosen_builds = drops or validated, builds or workspace.registry.build_ids()
    work = [
        Work(TableKey(build=build, drop=drop), f"backfill {build}|{drop}")
        for build in sorted(chosen_builds)
        for drop in sorted(chosen_drops)
    ]
    with _instance(workspace) as instance:
        jobs = _Jobs(build_definitions(workspace.settings), instance)
        runs = jobs.run(EVALUATE_BUILD_ON_DROP.name, work, track=track, label="score the grid")
    return [
        {"build": item.key.build, "drop": item.key.drop, "run": run.run_id, "succeeded": run.success}
        for item, run in zip(work, runs, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Jobs:
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def run(
        self,
        job: str,
        work: Sequence[Work],
        *,
        track: Track,
        label: str,
        only: Sequence[str] | None = None,
    ) -> list[dg.ExecuteInProcessResult]:
        """One run of `job`, or of `only` these of its assets, for each piece of work."""
        for definition, keys in partitions_of(work).items():
            self.instance.add_dynamic_partitions(str(definition.name), keys)
        resolved = self.definitions.resolve_job_def(job)
        selection = None if only is None else [dg.AssetKey(name.split("/")) for name in only]
        return [
            resolved.execute_in_process(
                partition_key=partition_of(item.key),
                instance=self.instance,
                asset_selection=selection,
                # A part of a job is no attempt at the work; its last part is.
                tags=identity_tags(item) if only in (None, REPORTED) else {},
                run_config=QUIET,
                raise_on_error=False,
            )
            for item in track(work, description=label)
        ]


def _instance(workspace: Workspace) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(prepare_home(workspace.settings.dagster_home)))


def _is_validated(workspace: Workspace, drop: str) -> bool:
    return state_of(workspace.lake, drop_gates(drop)) == "passed"
