"""The same way of a drop when landing area and lake are buckets."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.manifest import completed_drops
from cv_quality.drops.tables import FRAME_INDEX, QUARANTINE_VALIDATE, VALIDATED_ATTEMPTS
from cv_quality.errors import DropError
from cv_quality.lake.lake import Lake
from cv_quality.lake.store import S3Store, open_store
from cv_quality.planning import due
from cv_quality.settings import S3Options, Settings
from cv_quality.stage import INGEST_JOB
from cv_quality.tasks import open_workspace
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality_tests.drops.small_drops import (
    DEVICE,
    DROP_ID,
    Site,
    attempt,
    background,
    compressed,
    drop_writer,
    png,
    tar,
)
from cv_quality_tests.servers import cutting_proxy


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site on an S3 server of its own."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")
    name = tmp_path.name.replace("_", "-")  # servers of one process share their buckets
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = S3Options(endpoint_url=f"http://{host}:{port}", region="us-east-1")
    boto3.client("s3", endpoint_url=options.endpoint_url, region_name="us-east-1").create_bucket(Bucket=name)
    landing = open_store(f"s3://{name}/landing", s3=options, cache=tmp_path / "cache")
    lake = Lake(open_store(f"s3://{name}/lake", s3=options, cache=tmp_path / "cache"))
    yield Site(landing, lake, tmp_path)
    server.stop()


def test_a_drop_goes_the_same_way_through_an_object_store(bucket: Site) -> None:
    lines = (*background(), attempt(frame="a.png"), attempt(event_id="a2", subject_id="p9"))
    shard = tar(*((f"{name}.png", png()) for name in "abc"))
    bucket.deliver_files({"events-0.jsonl.zst": compressed(*lines), "frames-0.tar": shard})
    assert [drop.drop_id for drop in completed_drops(bucket.landing)] == [DROP_ID]
    assert bucket.ingest().rows_quarantined == 0
    bucket.validate()
    assert bucket.rows(VALIDATED_ATTEMPTS)["event_id"].to_list() == ["a1"]
    assert bucket.rows(QUARANTINE_VALIDATE)["raw"].to_list() == [lines[-1].decode()]
    frames = FrameReader(bucket.landing, DROP_ID, bucket.rows(FRAME_INDEX))
    assert dict(frames.read(["c.png", "a.png"])) == {"a.png": png(), "c.png": png()}


def test_a_corrected_object_is_not_taken_for_the_cached_one(bucket: Site) -> None:
    bucket.deliver(*background(), attempt(event_id="old"))
    bucket.ingest()
    bucket.deliver(*background(), attempt(event_id="new"))
    bucket.ingest()
    bucket.validate()
    assert bucket.rows(VALIDATED_ATTEMPTS)["event_id"].to_list() == ["new"]
    bucket.landing.write_bytes(f"{DROP_ID}/events-9.jsonl.zst", b"stray")
    with pytest.raises(DropError, match="files without a manifest entry"):
        bucket.ingest()


def test_a_key_that_climbs_is_no_drop_and_hides_none(bucket: Site) -> None:
    bucket.deliver(*background())
    assert isinstance(bucket.landing, S3Store)
    client = bucket.landing._client
    for key in ("landing/../other/manifest.json", "landing/..", "landing//manifest.json", "landing/./manifest.json"):
        client.put_object(Bucket=bucket.landing.uri.split("/")[2], Key=key, Body=b"{}")
    assert [drop.drop_id for drop in completed_drops(bucket.landing)] == [DROP_ID]


def test_a_plan_asks_for_no_object_of_a_drop_that_it_has_seen(bucket: Site, tmp_path: Path) -> None:
    endpoint = str(bucket.landing._client.meta.endpoint_url)  # type: ignore[attr-defined]
    with cutting_proxy(endpoint) as (near, asked):
        places = {"CVQ_LANDING": bucket.landing.uri, "CVQ_LAKE": bucket.lake.store.uri, "CVQ_S3_ENDPOINT_URL": near}
        workspace = open_workspace(Settings.from_environment({"CVQ_HOME": str(tmp_path / "home"), **places}))
        requests = []
        for number in range(1, 7):
            with drop_writer(bucket.landing, drop_id=f"2026-09-0{number}_face-1.2_site-a") as writer:
                writer.add_event("device", **DEVICE)
            n_before = len(asked.gets)
            assert len(due(workspace, VERIFICATION, INGEST_JOB)) == number
            requests.append(len(asked.gets) - n_before)
        assert requests[1:] == [requests[1]] * 5, "a new drop's manifest, and listings"
        n_before = len(asked.gets)
        due(workspace, VERIFICATION, INGEST_JOB)
        assert len(asked.gets) - n_before < requests[1]
        assert not any("manifest.json" in path for path in asked.gets[n_before:])
