"""Whole deployments in temporary folders: drops of the tiny scenario, runs of the real jobs, and what lies there after.

Nothing is simulated but the devices: the stores, gates, models, the Dagster instance and dbt are the real ones.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa

from cv_quality import tasks
from cv_quality.definitions import build_definitions
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.pipeline.instance import QUIET
from cv_quality.pipeline.partitions import builds_of, drops_of
from cv_quality.planning import Work, due
from cv_quality.runner import run_stage
from cv_quality.settings import Settings
from cv_quality.stage import StageResult
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.drops.small_drops import compressed

FIRST_DROP = "2026-08-03_face-1.1_site-a"
SECOND_DROP = "2026-08-31_face-1.2_site-a"
SENSORS = {
    "completed_drop_sensor": "ingest_drop",
    "validated_drop_sensor": "evaluate_build_on_drop",
    "measured_build_sensor": "report_build",
    "reported_build_sensor": "draw_maps",
}
"""Sensors of verification with the jobs that they launch, without the task's name, in the order of the data."""
Lines = list[bytes]
Tick = dg.SensorResult


def open_workspace(home: Path, *, registry: Path | None = None) -> Workspace:
    """The deployment whose everything lies below `home`."""
    environment = {"CVQ_HOME": str(home), "CVQ_THREADS": "1"} | ({"CVQ_REGISTRY": str(registry)} if registry else {})
    return tasks.open_workspace(Settings.from_environment(environment))


def do(workspace: Workspace, *stages: str, build: str | None = None, drop: str | None = None) -> StageResult:
    """Run stages of verification for one key; returns what the last one did."""
    task = VERIFICATION
    return [run_stage(workspace, task, task.stage(name), TableKey(build=build, drop=drop)) for name in stages][-1]


def take_in(workspace: Workspace, drop: str) -> None:
    """Parse and validate a drop."""
    do(workspace, "parse", "validate", drop=drop)


def score(workspace: Workspace, build: str, drop: str) -> None:
    """Run a build's model over a drop and count what came out."""
    do(workspace, "infer", "compare", "measure", build=build, drop=drop)


def due_keys(workspace: Workspace, job: str) -> list[str]:
    """What a job of verification has to do."""
    task = VERIFICATION
    return [str(item.key) for item in due(workspace, task, job)]


def deliver(landing: Path, drop: str, *, to: Workspace) -> None:
    """Copy one drop to the landing area of a deployment."""
    shutil.copytree(landing / drop, Path(to.settings.landing) / drop, dirs_exist_ok=True)


def deliver_as(landing: Path, drop: str, name: str, *, to: Workspace) -> None:
    """Deliver a drop under another name."""
    folder = Path(to.settings.landing) / name
    shutil.copytree(landing / drop, folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(drop, name))


def redeliver(workspace: Workspace, drop: str, correct: Callable[[Lines], Lines]) -> None:
    """Correct the lines of a drop's log and vouch for them with a new manifest."""
    folder = Path(workspace.settings.landing) / drop
    manifest = json.loads((folder / "manifest.json").read_bytes())
    entry = next(item for item in manifest["files"] if item["name"].startswith("events-"))
    path = folder / entry["name"]
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        lines = correct(stream.read().splitlines())
    data = compressed(*lines)
    path.write_bytes(data)
    entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": len(lines)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def without_transactions_of_one_subject(lines: Lines) -> Lines:
    """The log as corrected after one participant withdrew: their attempts are gone."""
    events = [json.loads(line) for line in lines]
    subject = max(event["subject_id"] for event in events if event["kind"] == "attempt")
    return [
        line
        for line, event in zip(lines, events, strict=True)
        if not (event["kind"] == "attempt" and subject in (event["subject_id"], event["claimed_subject_id"]))
    ]


def with_garbage(lines: Lines) -> Lines:
    """A log of which a tenth is no JSON."""
    return lines + [b"\x00 not json"] * (len(lines) // 9)


def with_shifted_scores(lines: Lines) -> Lines:
    """A log whose devices report other scores than their model gives."""
    events = [json.loads(line) for line in lines]
    for event in events:
        if event.get("device_score") is not None:
            event["device_score"] -= 0.1
    return [json.dumps(event).encode() for event in events]


def with_shifted_scores_of(device_model: str) -> Callable[[Lines], Lines]:
    """A log in which the devices of one model report other scores than the build's model gives, and decide by them."""

    def shifted(lines: Lines) -> Lines:
        events = [json.loads(line) for line in lines]
        devices = {event["device_id"] for event in events if event.get("device_model") == device_model}
        for event in events:
            if event.get("device_score") is not None and event["device_id"] in devices:
                event |= {"device_score": event["device_score"] - 0.4, "is_device_accepted": False}
        return [json.dumps(event).encode() for event in events]

    return shifted


def quietly(sequence: Sequence[Work], /, *, description: str) -> Sequence[Work]:
    """A `Track` that shows nothing."""
    assert description
    return sequence


@dataclass(slots=True)
class Run:
    """One run that a sensor asked for."""

    job: str
    partition: str
    result: dg.ExecuteInProcessResult


@dataclass(slots=True)
class Orchestra:
    """The sensors and jobs of a deployment on an instance of its own, driven tick by tick as the daemon does."""

    workspace: Workspace
    instance: dg.DagsterInstance
    runs: list[Run] = field(default_factory=list)

    def tick(self, name: str) -> Tick:
        """One evaluation of a sensor of verification; the partitions that it asks for are added."""
        sensor, context = self._sensor(name)
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return result

    def resolve(self, name: str) -> Sequence[dg.RunRequest]:
        """The requests of a sensor of verification, as the daemon makes runs of them."""
        sensor, context = self._sensor(name)
        return sensor.evaluate_tick(context).run_requests or ()

    def _sensor(self, name: str) -> tuple[dg.SensorDefinition, dg.SensorEvaluationContext]:
        definitions = build_definitions(self.workspace.settings)
        (sensor,) = [item for item in definitions.sensors or () if item.name == f"verification_{name}"]
        assert isinstance(sensor, dg.SensorDefinition)
        context = dg.build_sensor_context(
            instance=self.instance,
            resources={"workspace": self.workspace},
            repository_def=definitions.get_repository_def(),
        )
        return sensor, context

    def launch(self, job: str, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run of one request."""
        only = [key.path[-1] for key in request.asset_selection] if request.asset_selection else None
        group = "marts" if only else "verification"
        return self.execute(job, request.partition_key, tags=dict(request.tags), only=only, group=group)

    def execute(
        self,
        job: str,
        partition: str | None,
        *,
        tags: dict[str, str] | None = None,
        only: Sequence[str] | None = None,
        group: str = "verification",
    ) -> dg.ExecuteInProcessResult:
        definition = build_definitions(self.workspace.settings).resolve_job_def(f"verification_{job}")
        result = definition.execute_in_process(
            partition_key=partition,
            instance=self.instance,
            tags=tags,
            asset_selection=[dg.AssetKey([group, name]) for name in only] if only else None,
            run_config=QUIET,
            raise_on_error=False,
        )
        self.runs.append(Run(job, partition or "", result))
        return result

    def work_off(self) -> None:
        """Tick every sensor and launch what it requests, in the order of the data."""
        for sensor, job in SENSORS.items():
            for request in self.tick(sensor).run_requests or ():
                self.launch(job, request)

    def work_off_as_the_daemon(self) -> None:
        """Tick every sensor before each run, and do what the last one asks for: the worst order that there is."""
        while requests := [
            (job, request) for sensor, job in SENSORS.items() for request in self.tick(sensor).run_requests or ()
        ]:
            self.launch(*requests[-1])

    def partitions(self) -> tuple[list[str], list[str]]:
        """The builds and drops that the instance knows."""
        definitions = builds_of("verification"), drops_of("verification")
        builds, drops = (sorted(self.instance.get_dynamic_partitions(str(item.name))) for item in definitions)
        return builds, drops


def fingerprints(workspace: Workspace) -> dict[str, str]:
    """sha256 of every object of the lake, by key."""
    lake = workspace.lake.store
    keys = [info.key for info in lake.list() if not info.key.startswith("impostor_blocks/")]
    return {key: hashlib.sha256(lake.read_bytes(key)).hexdigest() for key in keys}


def reports(workspace: Workspace) -> dict[str, str]:
    """sha256 of every report, by name."""
    pages = sorted(workspace.settings.reports.glob("*"))
    return {page.name: hashlib.sha256(page.read_bytes()).hexdigest() for page in pages}


def warehouse_tables(workspace: Workspace) -> dict[str, list[str]]:
    """The rows of every table of the warehouse, in one order."""
    with duckdb.connect(str(workspace.settings.warehouse), read_only=True) as connection:
        names = [str(name) for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {name: sorted(map(repr, connection.table(name).fetchall())) for name in sorted(names)}


def digest_of(lake: Lake, table: Table, key: TableKey) -> str:
    """sha256 of the file of a table."""
    return hashlib.sha256(lake.path(table, key).read_bytes()).hexdigest()


def leftovers(workspace: Workspace) -> list[str]:
    """Files of unfinished writes anywhere below the deployment's home."""
    home = workspace.settings.home
    found = [*home.rglob("*.part"), *home.glob("lake/.staging/*"), *home.glob(".*")]
    return sorted(path.relative_to(home).as_posix() for path in found)
