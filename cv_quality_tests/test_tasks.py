"""A second task beside verification: a folder of stages, whose partitions, assets and jobs are its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from cv_quality.definitions import build_definitions
from cv_quality.drops.tables import BIOMETRIC_KINDS, VALIDATED_STREAMS
from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.freshness import StageContext
from cv_quality.inference.registry import BuildEntry, EntryFields
from cv_quality.lake.columns import BUILD_ID
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Bounds, Column, Table
from cv_quality.modality import Dimension
from cv_quality.pipeline.instance import materialize_due
from cv_quality.planning import due
from cv_quality.runner import run_due
from cv_quality.settings import Settings
from cv_quality.stage import JOBS, Numbers, Stage, Task
from cv_quality.tasks import open_workspace
from cv_quality.tasks.ingest import INGEST
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import FIRST_DROP, deliver, quietly
from cv_quality_tests.drops.small_drops import BACKGROUND, START, STREAM_FRAME, UNTIL

DROP = "2026-09-01_segmenter-1_lab"
BUILD = "segmenter-1"


@dataclass(frozen=True, slots=True)
class SegmenterEntry:
    """A build of the second task: nothing but what every build says."""

    build_id: str
    task: str
    modality: str
    follows: str | None
    sha256: str = "0" * 64
    decision_threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamModality:
    """Streams of frames without conditions."""

    name: str = "stream"
    task: str = "streams"
    conditions: tuple[Dimension, ...] = ()
    measured: tuple[Dimension, ...] = ()
    instance: None = None
    failure_statuses: tuple[str, ...] = ()
    event_kinds: tuple[str, ...] = BIOMETRIC_KINDS
    bounds: Mapping[Bounds, tuple[float | None, float | None]] = field(default_factory=dict)

    def of_build(self, entry: BuildEntry) -> "StreamModality":
        assert entry.modality == self.name
        return self

    def parse_entry(self, fields: EntryFields) -> BuildEntry:
        fields.check(required=frozenset())
        return SegmenterEntry(fields.build_id, self.task, self.name, fields.follows)

    def parse_recorded_entry(self, fields: EntryFields) -> BuildEntry:
        return self.parse_entry(fields)


LATE_FRAMES = Table(
    "late_frames",
    "build",
    "build with its frames and those that came too late",
    (BUILD_ID, Column("n_frames", "integer", "frames", low=0), Column("n_late", "integer", "too late", low=0)),
    unique=("build_id",),
    mart=True,
)


def count_late_frames(context: StageContext) -> Numbers:
    frames = context.lake.scan(VALIDATED_STREAMS, [TableKey(drop=drop) for drop in context.drops]).collect()
    late = frames.filter(pl.col("latency_ms") > pl.col("deadline_ms")).height
    row = pl.DataFrame({"build_id": [context.build], "n_frames": [frames.height], "n_late": [late]})
    return {"frames": frames.height, "rows": context.lake.write(LATE_FRAMES, context.key, row)}


COUNT = Stage(
    name="count_late",
    phase="measure",
    reads=(VALIDATED_STREAMS,),
    writes=(LATE_FRAMES,),
    run=count_late_frames,
    description="Counts the frames of a build that came too late.",
    gate="every build has its counts",
)
STREAMS = Task("streams", "Streams", (StreamModality(),), (*INGEST, COUNT))
BOTH = (VERIFICATION, STREAMS)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A deployment of both tasks with a drop of streams of which one frame in three is late."""
    registry = tmp_path / "registry"
    registry.mkdir()
    (registry / f"{BUILD}.yaml").write_text(f"build_id: {BUILD}\ntask: streams\nmodality: stream\nfollows: null\n")
    environment = {"CVQ_HOME": str(tmp_path / "home"), "CVQ_REGISTRY": str(registry), "CVQ_THREADS": "1"}
    opened = open_workspace(Settings.from_environment(environment), BOTH)
    (modality,) = STREAMS.modalities
    writer = DropWriter(
        opened.landing,
        modality=modality,
        drop_id=DROP,
        build_id=BUILD,
        site="lab",
        protocol="enrolled",
        captured_from=START,
        captured_until=UNTIL,
    )
    with writer as drop:
        for kind, fields in BACKGROUND:
            drop.add_event(kind, **fields)
        for number in range(9):
            own: dict[str, Scalar] = {
                "event_id": f"f{number}",
                "frame_number": number,
                "latency_ms": 40.0 if number % 3 == 0 else 20.0,
            }
            drop.add_event("stream_frame", **STREAM_FRAME | own)
    return opened


def late_frames(workspace: Workspace) -> dict[str, object]:
    return workspace.lake.read(LATE_FRAMES, TableKey(build=BUILD)).row(0, named=True)


def test_a_second_task_runs_from_its_drops_to_its_metric_table(workspace: Workspace) -> None:
    done = run_due(workspace, track=quietly, tasks=BOTH)
    assert done.succeeded, done.refused
    assert [result.stage for result in done.results] == ["parse", "validate", "count_late", "marts"]
    assert late_frames(workspace) == {"build_id": BUILD, "n_frames": 9, "n_late": 3}
    assert run_due(workspace, track=quietly, tasks=BOTH).results == []


def test_a_build_of_one_task_is_no_missing_partition_of_another(workspace: Workspace) -> None:
    runs = materialize_due(workspace, track=quietly, tasks=BOTH)
    assert all(run.success for run in runs)
    home = workspace.settings.dagster_home
    with dg.DagsterInstance.from_config(str(home)) as instance:
        known = {name: instance.get_dynamic_partitions(name) for name in ("streams_drop", "streams_build")}
        others = [instance.get_dynamic_partitions(f"verification_{name}") for name in ("drop", "build")]
    assert known == {"streams_drop": [DROP], "streams_build": [BUILD]}
    assert others == [[], []]


def test_each_task_has_assets_jobs_and_sensors_of_its_own(workspace: Workspace) -> None:
    definitions = build_definitions(workspace.settings, BOTH)
    graph = definitions.resolve_asset_graph()
    own = {key.to_user_string() for key in graph.get_all_asset_keys() if key.path[0] == "streams"}
    assert {"streams/raw_events", "streams/validated_streams", "streams/late_frames"} <= own
    assert graph.get(dg.AssetKey(["marts", "fct_late_frames"])).parent_keys == {dg.AssetKey(["streams", "late_frames"])}
    assert {job.name for job in definitions.jobs or () if job.name.startswith("streams")} == {
        "streams_ingest_drop",
        "streams_report_build",
    }


def test_drops_go_to_the_task_of_their_modality(workspace: Workspace, tiny_landing: Path) -> None:
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    found = {task.name: [str(work.key) for job in JOBS for work in due(workspace, task, job)] for task in BOTH}
    assert found == {"verification": [FIRST_DROP], "streams": [DROP]}
