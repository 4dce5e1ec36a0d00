"""Sensors on a real instance: what is requested, how often, and what is left alone."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from cv_quality.definitions import build_definitions
from cv_quality.gates.verdicts import object_key, read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.sensors import MAX_ATTEMPTS
from cv_quality.settings import REFERENCE_MODELS
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    SENSORS,
    Orchestra,
    deliver,
    deliver_as,
    open_workspace,
    redeliver,
    with_garbage,
    without_transactions_of_one_subject,
)

UNDER_WAY = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)


def requested(result: dg.SensorResult) -> list[str]:
    return sorted(str(request.partition_key) for request in result.run_requests or ())


def only_request(result: dg.SensorResult) -> dg.RunRequest:
    (request,) = result.run_requests or ()
    return request


def record_run(orchestra: Orchestra, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    """A run of the request as the daemon records it, in the given status."""
    job = build_definitions(orchestra.workspace.settings).resolve_job_def("verification_ingest_drop")
    tags = dict(request.tags) | {"dagster/run_key": str(request.run_key)}
    orchestra.instance.create_run_for_job(job, status=status, tags=tags)


def test_a_drop_without_its_manifest_requests_nothing(orchestra: Orchestra, tiny_landing: Path) -> None:
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    (Path(orchestra.workspace.settings.landing) / FIRST_DROP / "manifest.json").unlink()
    result = orchestra.tick("completed_drop_sensor")
    assert requested(result) == []
    assert orchestra.partitions() == ([], [])


def test_a_completed_drop_requests_exactly_one_run_and_its_partition(orchestra: Orchestra, tiny_landing: Path) -> None:
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    request = only_request(orchestra.tick("completed_drop_sensor"))
    assert request.partition_key == FIRST_DROP
    assert str(request.run_key).startswith(f"{FIRST_DROP}@")
    assert str(request.run_key).endswith(":attempt1")
    assert orchestra.partitions() == ([], [FIRST_DROP])


@pytest.mark.parametrize("status", UNDER_WAY)
def test_a_drop_is_not_requested_again_while_its_run_is_under_way(
    orchestra: Orchestra, tiny_landing: Path, status: dg.DagsterRunStatus
) -> None:
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    record_run(orchestra, only_request(orchestra.tick("completed_drop_sensor")), status)
    assert requested(orchestra.tick("completed_drop_sensor")) == []


def test_each_drop_was_taken_in_scored_and_reported_by_one_run_each(history: History) -> None:
    assert [(run.job, run.partition, run.result.success) for run in history.orchestra.runs] == [
        ("ingest_drop", FIRST_DROP, True),
        ("evaluate_build_on_drop", f"face-1.1|{FIRST_DROP}", True),
        ("evaluate_build_on_drop", f"face-1.0|{FIRST_DROP}", True),
        ("report_build", "face-1.1", True),
        ("draw_maps", "face-1.1", True),
        ("ingest_drop", SECOND_DROP, True),
        ("evaluate_build_on_drop", f"face-1.2|{SECOND_DROP}", True),
        ("evaluate_build_on_drop", f"face-1.1|{SECOND_DROP}", True),
        ("report_build", "face-1.2", True),
        ("draw_maps", "face-1.2", True),
    ]


def idle_words(tick: dg.SensorResult) -> str:
    assert isinstance(tick.skip_reason, dg.SkipReason)
    return tick.skip_reason.skip_message or ""


def test_a_sensor_without_work_says_so(history: History) -> None:
    assert {idle_words(history.orchestra.tick(sensor)) for sensor in SENSORS} == {
        "nothing is due that is not under way"
    }


def test_nothing_is_requested_when_all_is_done(history: History) -> None:
    assert [requested(history.orchestra.tick(sensor)) for sensor in SENSORS] == [[]] * len(SENSORS)


def test_nothing_is_requested_when_all_is_done_though_the_instance_forgot_the_runs(evaluated: Orchestra) -> None:
    assert [requested(evaluated.tick(sensor)) for sensor in SENSORS] == [[]] * len(SENSORS)


def test_a_failed_run_is_requested_again_until_the_attempts_are_used_up(history: History, tmp_path: Path) -> None:
    shutil.copytree(history.home, tmp_path / "home")
    shutil.copytree(REFERENCE_MODELS, tmp_path / "models")
    workspace = open_workspace(tmp_path / "home", registry=tmp_path / "models")
    workspace.lake.store.delete(object_key("infer", TableKey(build="face-1.2", drop=SECOND_DROP)))
    model = Path(workspace.registry.model_entry("face-1.2").file)
    (tmp_path / "models" / model.name).write_bytes(b"not a model")
    with dg.DagsterInstance.ephemeral() as instance:
        orchestra = Orchestra(workspace, instance)
        keys = []
        for _ in range(MAX_ATTEMPTS):
            request = only_request(orchestra.tick("validated_drop_sensor"))
            keys.append(str(request.run_key))
            assert not orchestra.launch("evaluate_build_on_drop", request).success
        assert requested(orchestra.tick("validated_drop_sensor")) == []
    assert [key.rsplit(":", 1)[1] for key in keys] == ["attempt1", "attempt2", "attempt3"]
    assert len({key.rsplit(":", 1)[0] for key in keys}) == 1


def test_a_step_that_a_typed_error_ended_is_not_retried_within_its_run(
    orchestra: Orchestra, tiny_landing: Path
) -> None:
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    (Path(orchestra.workspace.settings.landing) / FIRST_DROP / "manifest.json").write_text("{}")
    result = orchestra.launch("ingest_drop", only_request(orchestra.tick("completed_drop_sensor")))
    kinds = [event.event_type for event in result.all_events]
    assert kinds.count(dg.DagsterEventType.STEP_START) == 1
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds


def test_a_drop_that_cannot_be_trusted_is_requested_once_and_again_when_corrected(
    orchestra: Orchestra, tiny_landing: Path
) -> None:
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    events = Path(orchestra.workspace.settings.landing) / FIRST_DROP / "events-00000.jsonl.zst"
    events.write_bytes(events.read_bytes()[:-1] + b"\x00")
    refused = only_request(orchestra.tick("completed_drop_sensor"))
    assert not orchestra.launch("ingest_drop", refused).success
    verdict = read_verdict(orchestra.workspace.lake, "parse", TableKey(drop=FIRST_DROP))
    assert verdict is not None
    assert [item.expectation for item in verdict.failures] == ["DropError"]
    assert requested(orchestra.tick("completed_drop_sensor")) == []
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    manifest = events.parent / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    again = only_request(orchestra.tick("completed_drop_sensor"))
    assert str(again.run_key).endswith(":attempt1")
    assert again.run_key != refused.run_key


def test_a_drop_that_a_gate_refuses_is_requested_once_and_again_when_corrected(
    orchestra: Orchestra, tiny_landing: Path
) -> None:
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    redeliver(orchestra.workspace, FIRST_DROP, with_garbage)
    assert not orchestra.launch("ingest_drop", only_request(orchestra.tick("completed_drop_sensor"))).success
    assert requested(orchestra.tick("completed_drop_sensor")) == []
    assert requested(orchestra.tick("validated_drop_sensor")) == []
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    assert orchestra.launch("ingest_drop", only_request(orchestra.tick("completed_drop_sensor"))).success
    assert requested(orchestra.tick("validated_drop_sensor")) == [f"face-1.0|{FIRST_DROP}", f"face-1.1|{FIRST_DROP}"]


def test_a_corrected_drop_is_requested_again_and_so_is_a_correction_taken_back(evaluated: Orchestra) -> None:
    landing = Path(evaluated.workspace.settings.landing)
    shutil.copytree(landing / FIRST_DROP, landing.parent / "as_first_delivered")
    for _ in range(2):
        redeliver(evaluated.workspace, FIRST_DROP, without_transactions_of_one_subject)
        assert evaluated.launch("ingest_drop", only_request(evaluated.tick("completed_drop_sensor"))).success
        shutil.rmtree(landing / FIRST_DROP)
        shutil.copytree(landing.parent / "as_first_delivered", landing / FIRST_DROP)
        assert evaluated.launch("ingest_drop", only_request(evaluated.tick("completed_drop_sensor"))).success
        assert requested(evaluated.tick("completed_drop_sensor")) == []


def test_a_validated_drop_is_scored_by_its_build_and_baseline_as_partitions(evaluated: Orchestra) -> None:
    for build in ("face-1.2", "face-1.1"):
        evaluated.workspace.lake.store.delete(object_key("measure", TableKey(build=build, drop=SECOND_DROP)))
    result = evaluated.tick("validated_drop_sensor")
    assert requested(result) == [f"face-1.1|{SECOND_DROP}", f"face-1.2|{SECOND_DROP}"]
    assert evaluated.partitions() == (["face-1.1", "face-1.2"], [SECOND_DROP])


def test_a_build_waits_for_its_report_until_every_cell_is_scored(evaluated: Orchestra) -> None:
    missing = object_key("measure", TableKey(build="face-1.1", drop=SECOND_DROP))
    verdict = evaluated.workspace.lake.store.read_bytes(missing)
    for build in ("face-1.1", "face-1.2"):
        evaluated.workspace.report_path(build).unlink()
    evaluated.workspace.lake.store.delete(missing)
    assert requested(evaluated.tick("measured_build_sensor")) == ["face-1.1"]
    evaluated.workspace.lake.store.write_bytes(missing, verdict)
    assert requested(evaluated.tick("measured_build_sensor")) == ["face-1.1", "face-1.2"]


def test_after_one_new_drop_each_build_that_reads_it_is_reported_once(evaluated: Orchestra, tiny_landing: Path) -> None:
    deliver_as(tiny_landing, FIRST_DROP, "2026-08-10_face-1.1_site-a", to=evaluated.workspace)
    evaluated.work_off_as_the_daemon()
    assert all(run.result.success for run in evaluated.runs)
    reports = [run.partition for run in evaluated.runs if run.job == "report_build"]
    assert sorted(reports) == ["face-1.1", "face-1.2"]


def test_a_report_waits_for_drops_of_its_history_and_not_for_work_given_up(
    evaluated: Orchestra, tiny_landing: Path
) -> None:
    evaluated.workspace.report_path("face-1.2").unlink()
    assert requested(evaluated.tick("measured_build_sensor")) == ["face-1.2"]
    deliver_as(tiny_landing, FIRST_DROP, "2026-08-10_face-1.1_site-a", to=evaluated.workspace)
    assert requested(evaluated.tick("measured_build_sensor")) == []
    for _ in range(MAX_ATTEMPTS):
        record_run(evaluated, only_request(evaluated.tick("completed_drop_sensor")), dg.DagsterRunStatus.FAILURE)
    assert requested(evaluated.tick("measured_build_sensor")) == ["face-1.2"]


def test_a_page_is_there_before_its_maps_and_made_once_more_with_them(evaluated: Orchestra) -> None:
    build, page = TableKey(build="face-1.2"), evaluated.workspace.report_path("face-1.2")
    with_maps = page.read_bytes()
    for gate in ("clusters", "explanations"):
        evaluated.workspace.lake.store.delete(object_key(gate, build))
    assert requested(evaluated.tick("reported_build_sensor")) == [], "no maps for a page that is not there"
    assert evaluated.launch("report_build", only_request(evaluated.tick("measured_build_sensor"))).success
    assert page.read_bytes() != with_maps
    assert requested(evaluated.tick("measured_build_sensor")) == []
    request = only_request(evaluated.tick("reported_build_sensor"))
    assert evaluated.launch("draw_maps", request).success
    assert page.read_bytes() == with_maps
    assert [requested(evaluated.tick(sensor)) for sensor in SENSORS] == [[]] * len(SENSORS)


def test_a_page_is_not_requested_while_a_run_that_ends_in_it_is_under_way(evaluated: Orchestra) -> None:
    evaluated.workspace.report_path("face-1.2").unlink()
    assert requested(evaluated.tick("measured_build_sensor")) == ["face-1.2"]
    job = build_definitions(evaluated.workspace.settings).resolve_job_def("verification_draw_maps")
    tags = {"dagster/partition": "face-1.2"}
    run = evaluated.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert requested(evaluated.tick("measured_build_sensor")) == []
    evaluated.instance.report_run_canceled(run)
    assert requested(evaluated.tick("measured_build_sensor")) == ["face-1.2"]


def test_a_warehouse_that_is_gone_is_requested_alone(evaluated: Orchestra) -> None:
    evaluated.workspace.settings.warehouse.unlink()
    request = only_request(evaluated.tick("measured_build_sensor"))
    (resolved,) = evaluated.resolve("measured_build_sensor")
    assert (resolved.run_key, resolved.asset_selection) == (request.run_key, request.asset_selection)
    assert evaluated.launch("report_build", request).success
    assert {key.path[0] for key in request.asset_selection or ()} == {"marts"}
    assert evaluated.workspace.settings.warehouse.is_file()
    assert [requested(evaluated.tick(sensor)) for sensor in SENSORS] == [[]] * len(SENSORS)


def test_files_delivered_again_under_one_manifest_are_requested_again(orchestra: Orchestra, tiny_landing: Path) -> None:
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    events = Path(orchestra.workspace.settings.landing) / FIRST_DROP / "events-00000.jsonl.zst"
    events.write_bytes(events.read_bytes()[:-1] + b"\x00")
    assert not orchestra.launch("ingest_drop", only_request(orchestra.tick("completed_drop_sensor"))).success
    assert requested(orchestra.tick("completed_drop_sensor")) == []
    shutil.copy2(tiny_landing / FIRST_DROP / events.name, events)
    again = only_request(orchestra.tick("completed_drop_sensor"))
    assert str(again.run_key).endswith(":attempt1")
    assert orchestra.launch("ingest_drop", again).success
    assert requested(orchestra.tick("completed_drop_sensor")) == []
