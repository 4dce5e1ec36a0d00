"""A backfill through the real daemon: each key stands for itself, a refused one takes nothing from the others."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cv_quality.freshness import Freshness
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.instance import prepare_home
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality_tests.deployment import FIRST_DROP, deliver_as, open_workspace
from cv_quality_tests.end_to_end.serving import LAUNCH_BACKFILL, MATERIALIZED, SLOW, Answer, Ui, serving
from cv_quality_tests.servers import wait_until

DROPS = [f"2026-08-{day:02d}_face-1.1_site-a" for day in (10, 11, 12, 13)]
BAD = DROPS[1]
STOP = """
mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }
"""
SENSORS = """
query Sensors($repository: RepositorySelector!) {
  sensorsOrError(repositorySelector: $repository) { ... on Sensors { results { name sensorState { id } } } }
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


@pytest.fixture
def served(tmp_path: Path, tiny_landing: Path) -> Iterator[Ui]:
    """Dagster, served as `cvq ui` does, over four drops that nobody has taken in, one with a broken manifest."""
    home = tmp_path / "home"
    workspace = open_workspace(home)
    for drop in DROPS:
        deliver_as(tiny_landing, FIRST_DROP, drop, to=workspace)
    (home / "landing" / BAD / "manifest.json").write_text('{"modality": "face"}')
    with dg.DagsterInstance.from_config(str(prepare_home(workspace.settings.dagster_home))) as instance:
        instance.add_dynamic_partitions("verification_drop", DROPS)
    (home / "landing").rename(home / "not_yet")
    with serving(home, log=tmp_path / "ui.log") as (ui, _):
        yield ui


@pytest.mark.nightly
def test_a_refused_drop_of_a_backfill_fails_alone(served: Ui) -> None:
    home, ask = served.home, served.ask
    location = {"repositoryName": "__repository__", "repositoryLocationName": "cv_quality.definitions"}
    for sensor in ask(SENSORS, {"repository": location})["sensorsOrError"]["results"]:
        ask(STOP, {"id": sensor["sensorState"]["id"]})
    (home / "not_yet").rename(home / "landing")
    task = VERIFICATION
    assets = [asset for stage in task.of_phase("ingest") for asset in stage.assets]
    params = {"assetSelection": [{"path": ["verification", name]} for name in assets], "partitionNames": DROPS}
    launched = ask(LAUNCH_BACKFILL, {"params": params})["launchPartitionBackfill"]
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
