"""What a failed run sets off: a message to a real webhook, in words, without a row of a subject."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from cv_quality.pipeline.failures import NAME, failed_run_sensor
from cv_quality.settings import Recipients
from cv_quality_tests.deployment import FIRST_DROP, Orchestra, deliver
from cv_quality_tests.publishing.webhooks import webhook
from cv_quality_tests.servers import free_port


def tell_of_a_failure(orchestra: Orchestra, landing: Path, recipients: Recipients) -> None:
    """Take a drop in whose manifest is none, and evaluate the sensor on the failed run as the daemon does."""
    deliver(landing, FIRST_DROP, to=orchestra.workspace)
    (Path(orchestra.workspace.settings.landing) / FIRST_DROP / "manifest.json").write_text("{}")
    (request,) = orchestra.tick("completed_drop_sensor").run_requests or ()
    result = orchestra.launch("ingest_drop", request)
    assert not result.success
    context = dg.build_run_status_sensor_context(
        sensor_name=NAME,
        dagster_event=result.get_run_failure_event(),
        dagster_instance=orchestra.instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()
    settings = replace(orchestra.workspace.settings, recipients=recipients)
    failed_run_sensor(context, workspace=replace(orchestra.workspace, settings=settings))


def test_failed_run_is_told_to_the_webhook_with_its_key_and_reason(orchestra: Orchestra, tiny_landing: Path) -> None:
    received = list[Any]()
    with webhook(received) as address:
        tell_of_a_failure(orchestra, tiny_landing, Recipients(slack=address))
    ((heading, said),) = [message["blocks"] for message in received]
    assert heading["text"]["text"] == f"Failed: verification_ingest_drop for {FIRST_DROP}"
    assert "manifest" in said["elements"][0]["text"]
    assert said["elements"][1]["text"] == f"cvq why {FIRST_DROP}"
    assert "Traceback" not in json.dumps(received)


def test_failed_run_is_still_logged_where_nobody_can_be_reached(orchestra: Orchestra, tiny_landing: Path) -> None:
    tell_of_a_failure(orchestra, tiny_landing, Recipients(slack=f"http://127.0.0.1:{free_port()}/services/SECRET"))
