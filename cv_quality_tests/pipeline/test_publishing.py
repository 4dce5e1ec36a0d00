"""A build is published by a run of its job, with links and a picture; what is due fails in words."""

import shutil
from pathlib import Path

import dagster as dg

from cv_quality.definitions import build_definitions
from cv_quality.pipeline.publishing import ASSET, publishing_job
from cv_quality.publishing.products import chosen_products
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import open_workspace

BUILD = "face-1.2"


def run_job(home: Path, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    from cv_quality.pipeline.partitions import builds_of

    workspace = open_workspace(home)
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
