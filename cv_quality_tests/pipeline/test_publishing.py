"""A build is published by a run of its job, with links and a picture; what is due fails in words."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from cv_quality import tasks
from cv_quality.definitions import build_definitions
from cv_quality.pipeline import running
from cv_quality.pipeline.publishing import ASSET, picture_of, publishing_job
from cv_quality.publishing.products import chosen_products
from cv_quality.settings import Settings
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import open_workspace
from cv_quality_tests.servers import CREDENTIALS, free_port
from cv_quality_tests.tasks.liveness.presented import deliver, open_lab, presentations, run_all

BUILD = "face-1.2"


def run_job(
    home: Path, instance: dg.DagsterInstance, environment: Mapping[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    from cv_quality.pipeline.partitions import builds_of

    named = {"CVQ_HOME": str(home), "CVQ_THREADS": "1", **(environment or {})}
    workspace = tasks.open_workspace(Settings.from_environment(named))
    instance.add_dynamic_partitions(str(builds_of(VERIFICATION.name).name), [BUILD])
    job = build_definitions(workspace.settings).resolve_job_def(publishing_job(VERIFICATION).name)
    return job.execute_in_process(partition_key=BUILD, instance=instance, raise_on_error=False)


def test_a_run_publishes_every_product_with_links_and_a_picture(history: History, tmp_path: Path) -> None:
    shutil.copytree(history.home, tmp_path / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        done = run_job(tmp_path / "home", instance)
    assert done.success
    (event,) = done.asset_materializations_for_node(f"{VERIFICATION.name}__{ASSET}")
    links = {name: str(value.value) for name, value in event.metadata.items() if "/" in name}
    assert {name.split("/")[0] for name in links} == {product.name for product in chosen_products(())}
    assert all(Path(path).is_file() for path in links.values())
    assert str(event.metadata["picture"].value).startswith("![](data:image/png;base64,")
    assert BUILD in str(event.metadata["headline"].value)


def test_a_build_whose_report_is_due_is_not_published(history: History, tmp_path: Path) -> None:
    shutil.copytree(history.home, tmp_path / "home")
    open_workspace(tmp_path / "home").report_path(BUILD).unlink()
    with dg.DagsterInstance.ephemeral() as instance:
        done = run_job(tmp_path / "home", instance)
    assert not done.success
    (failure,) = [event for event in done.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "cvq run" in str(failure.event_specific_data)


def test_a_store_that_cannot_be_reached_is_asked_again_and_then_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "STORE_RETRY_SECONDS", 0.01)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    nowhere = {"CVQ_LAKE": "s3://nowhere/lake", "CVQ_S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    with dg.DagsterInstance.ephemeral() as instance:
        done = run_job(tmp_path / "home", instance, nowhere)
    kinds = [event.event_type_value for event in done.all_events]
    assert not done.success
    assert kinds.count("STEP_UP_FOR_RETRY") == kinds.count("STEP_RESTARTED") == running.STORE_RETRIES
    assert kinds.count("STEP_FAILURE") == 1


def test_the_picture_is_of_the_builds_of_its_task_alone(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path)
    deliver(workspace, list(presentations()))
    assert all(result.passed for result in run_all(workspace))
    of_liveness = str(picture_of(workspace, LIVENESS).value)
    assert of_liveness.count("![](data:image/png;base64,iVBOR") == 1
    assert picture_of(workspace, VERIFICATION).value == ""
