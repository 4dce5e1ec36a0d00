"""A backfill through the real daemon: each key stands for itself, a refused one takes nothing from the others."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cv_quality.freshness import Freshness
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.instance import prepare_home
from cv_quality.tasks import TASKS
from cv_quality_tests.deployment import FIRST_DROP, deliver_as, open_workspace
from cv_quality_tests.servers import answers, free_port, wait_until

DROPS = [f"2026-08-{day:02d}_face-1.1_site-a" for day in (10, 11, 12, 13)]
BAD = DROPS[1]
SLOW = 400
Answer = dict[str, Any]
Ask = Callable[[str, Answer], Answer]

STOP = """
mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }
"""
SENSORS = """
query Sensors($repository: RepositorySelector!) {
  sensorsOrError(repositorySelector: $repository) { ... on Sensors { results { name sensorState { id } } } }
}
"""
LAUNCH = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
STATUS = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill {
      status
      assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
        assetKey { path } numPartitionsMaterialized numPartitionsFailed
      } } }
    }
  }
}
"""
MATERIALIZED = """
query Materialized($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { assetMaterializations(limit: 100) { partition } } }
}
"""


@pytest.fixture
def served(tmp_path: Path, tiny_landing: Path) -> Iterator[tuple[Path, Ask]]:
    """Dagster, served as `cvq ui` does, over four drops that nobody has taken in, one with a broken manifest."""
    home = tmp_path / "home"
    workspace = open_workspace(home)
    for drop in DROPS:
        deliver_as(tiny_landing, FIRST_DROP, drop, to=workspace)
    (home / "landing" / BAD / "manifest.json").write_text('{"modality": "face"}')
    with dg.DagsterInstance.from_config(str(prepare_home(workspace.settings.dagster_home))) as instance:
        instance.add_dynamic_partitions("verification_drop", DROPS)
    (home / "landing").rename(home / "not_yet")
    port = free_port()
    command = [str(Path(sys.executable).parent / "cvq"), "ui", "--port", str(port)]
    environment = {**os.environ, "CVQ_HOME": str(home), "CVQ_THREADS": "1"}

    def ask(query: str, variables: Answer) -> Answer:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            decoded: Answer = json.load(answer)
        assert "errors" not in decoded, decoded["errors"]
        return dict(decoded["data"])

    with (tmp_path / "ui.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path)
        try:
            wait_until(lambda: answers(port, "/server_info"), what="the UI", seconds=SLOW)
            yield home, ask
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.mark.nightly
def test_a_refused_drop_of_a_backfill_fails_alone(served: tuple[Path, Ask]) -> None:
    home, ask = served
    location = {"repositoryName": "__repository__", "repositoryLocationName": "cv_quality.definitions"}
    for sensor in ask(SENSORS, {"repository": location})["sensorsOrError"]["results"]:
        ask(STOP, {"id": sensor["sensorState"]["id"]})
    (home / "not_yet").rename(home / "landing")
    (task,) = TASKS
    assets = [asset for stage in task.of_phase("ingest") for asset in stage.assets]
    params = {"assetSelection": [{"path": ["verification", name]} for name in assets], "partitionNames": DROPS}
    launched = ask(LAUNCH, {"params": params})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def backfill() -> Answer:
        return dict(ask(STATUS, {"id": launched["backfillId"]})["partitionBackfillOrError"])

    wait_until(lambda: backfill()["status"].startswith("COMPLETED"), what="the backfill", seconds=SLOW, every=1)
    found = backfill()
    assert found["status"] == "COMPLETED_FAILED"
    counts = {
        item["assetKey"]["path"][-1]: (item["numPartitionsMaterialized"], item["numPartitionsFailed"])
        for item in found["assetBackfillData"]["assetBackfillStatuses"]
    }
    assert counts == dict.fromkeys(assets, (3, 1))
    node = ask(MATERIALIZED, {"key": {"path": ["verification", "validated_attempts"]}})["assetNodeOrError"]
    good = [drop for drop in DROPS if drop != BAD]
    assert sorted(item["partition"] for item in node["assetMaterializations"]) == good
    freshness = Freshness(open_workspace(home), task)
    states = {drop: freshness.furthest(task.of_phase("ingest"), TableKey(drop=drop)) for drop in DROPS}
    assert states == dict.fromkeys(good, "passed") | {BAD: "refused"}
