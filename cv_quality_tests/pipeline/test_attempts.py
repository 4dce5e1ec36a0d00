"""How often work is requested: only failures in a row use up attempts, a tick asks for little and looks once."""

from pathlib import Path

import dagster as dg
import pytest

from cv_quality.definitions import build_definitions
from cv_quality.lake.store import LocalStore
from cv_quality.pipeline.sensors import MAX_ATTEMPTS, MAX_REQUESTS
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SENSORS,
    Orchestra,
    deliver,
    do,
    due_keys,
    redeliver,
    with_garbage,
)

SENSOR = "completed_drop_sensor"
QUERIES_A_TICK = 3
"""For runs under way that make some of the same, for work that is given up, and for attempts."""
SUCCESS, FAILURE, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED


def request(orchestra: Orchestra) -> dg.RunRequest:
    (only,) = orchestra.tick(SENSOR).run_requests or ()
    return only


def is_requested(orchestra: Orchestra) -> bool:
    return bool(orchestra.tick(SENSOR).run_requests)


def record(orchestra: Orchestra, asked: dg.RunRequest, *statuses: dg.DagsterRunStatus) -> None:
    """Runs of a request that ended so, one after the other, without having done anything."""
    job = build_definitions(orchestra.workspace.settings).resolve_job_def("verification_ingest_drop")
    tags = dict(asked.tags) | {"dagster/run_key": str(asked.run_key)}
    for status in statuses:
        orchestra.instance.create_run_for_job(job, status=status, tags=tags)


@pytest.fixture
def delivered(orchestra: Orchestra, tiny_landing: Path) -> Orchestra:
    """A deployment in which a drop has arrived."""
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    return orchestra


def test_runs_that_succeeded_use_up_no_attempts(delivered: Orchestra) -> None:
    keys = []
    for _ in range(2 * MAX_ATTEMPTS):
        asked = request(delivered)
        keys.append(asked.run_key)
        record(delivered, asked, SUCCESS)
    assert is_requested(delivered)
    assert len({*keys}) == len(keys), "Dagster never repeats a key"


def test_failures_count_from_the_last_success_on(delivered: Orchestra) -> None:
    record(delivered, request(delivered), *[FAILURE] * (MAX_ATTEMPTS - 1), SUCCESS)
    for _ in range(MAX_ATTEMPTS):
        record(delivered, request(delivered), FAILURE)
    assert not is_requested(delivered)


def test_a_run_key_is_new_also_where_old_runs_were_deleted(delivered: Orchestra) -> None:
    for _ in range(MAX_ATTEMPTS):
        record(delivered, request(delivered), SUCCESS)
    runs = delivered.instance.get_runs()
    for run in runs[1:]:
        delivered.instance.delete_run(run.run_id)
    assert str(request(delivered).run_key).endswith(f":attempt{MAX_ATTEMPTS + 1}")


def test_nothing_is_requested_of_a_key_whose_run_has_done_a_part(delivered: Orchestra) -> None:
    asked = request(delivered)
    job = build_definitions(delivered.workspace.settings).resolve_job_def("verification_ingest_drop")
    tags = dict(asked.tags) | {"dagster/run_key": str(asked.run_key), "dagster/partition": str(asked.partition_key)}
    run = delivered.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    do(delivered.workspace, "parse", drop=FIRST_DROP)
    assert due_keys(delivered.workspace, "ingest_drop") == [FIRST_DROP], "what is left is other work"
    assert not is_requested(delivered)
    delivered.instance.report_run_failed(run)
    assert is_requested(delivered)


def test_a_terminated_run_is_not_requested_again(delivered: Orchestra) -> None:
    record(delivered, request(delivered), CANCELED)
    assert not is_requested(delivered)


def test_a_terminated_run_is_requested_again_once_something_changed(delivered: Orchestra) -> None:
    record(delivered, request(delivered), CANCELED)
    redeliver(delivered.workspace, FIRST_DROP, with_garbage)
    assert str(request(delivered).run_key).endswith(":attempt1")


def test_a_terminated_run_that_was_launched_again_counts_no_more(delivered: Orchestra) -> None:
    record(delivered, request(delivered), CANCELED, SUCCESS)
    assert is_requested(delivered)


def test_a_tick_requests_a_bounded_number_of_runs_in_order(orchestra: Orchestra) -> None:
    names = [f"2026-01-01_face-1.0_{number:04d}" for number in range(MAX_REQUESTS + 3)]
    for name in names:
        (Path(orchestra.workspace.settings.landing) / name).mkdir(parents=True)
        (Path(orchestra.workspace.settings.landing) / name / "manifest.json").write_text("{}")
    first = orchestra.tick(SENSOR).run_requests or ()
    assert [asked.partition_key for asked in first] == names[:MAX_REQUESTS]
    for asked in first:
        record(orchestra, asked, dg.DagsterRunStatus.STARTED)
    assert [asked.partition_key for asked in orchestra.tick(SENSOR).run_requests or ()] == names[MAX_REQUESTS:]


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_tick_lists_no_folder_twice_and_asks_for_runs_in_bulk(
    evaluated: Orchestra, monkeypatch: pytest.MonkeyPatch, sensor: str
) -> None:
    evaluated.workspace.report_path("face-1.2").unlink()
    listed: list[str] = []
    asked: list[object] = []
    walk, runs = LocalStore.list, evaluated.instance.get_run_records

    def list_and_note(store: LocalStore, prefix: str = "") -> object:
        listed.append(f"{store.uri} {prefix}")
        return walk(store, prefix)

    def ask_and_note(*args: object, **options: object) -> object:
        asked.append(args)
        return runs(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalStore, "list", list_and_note)
    monkeypatch.setattr(evaluated.instance, "get_run_records", ask_and_note)
    evaluated.tick(sensor)
    of_data = [name for name in listed if not name.startswith(evaluated.workspace.registry.uri)]
    assert of_data
    assert len(of_data) == len({*of_data})
    assert len(asked) <= QUERIES_A_TICK
