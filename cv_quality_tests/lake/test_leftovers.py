"""What broken writes leave in an object store and beside it, and what `cvq gc` makes of that."""

import json
import os
import signal
import time
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Column, Table
from cv_quality.lake.store import LocalStore, S3Store, Store, open_store
from cv_quality.settings import S3Options
from cv_quality_tests.servers import s3_client

NUMBERS = Table("numbers", "drop", "a number", (Column("number", "integer", "a number"),))
PART_BYTES = 5 << 20
DAY = 86_400


@pytest.fixture
def deployment(
    s3_endpoint: str,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    credentials: None,  # noqa: ARG001
) -> S3Store:
    """The lake of a deployment whose stores all lie in the bucket; the commands use it."""
    for name in ("landing", "lake", "published"):
        monkeypatch.setenv(f"CVQ_{name.upper()}", f"s3://{bucket}/{name}")
    monkeypatch.setenv("CVQ_HOME", str(tmp_path))
    monkeypatch.setenv("CVQ_S3_ENDPOINT_URL", s3_endpoint)
    lake = open_store(f"s3://{bucket}/lake", s3=S3Options(endpoint_url=s3_endpoint), cache=tmp_path / "cache")
    assert isinstance(lake, S3Store)
    return lake


def freed(monkeypatch: pytest.MonkeyPatch, *, after_days: int) -> list[str]:
    """The kinds of what `cvq gc` frees some days from now."""
    later = time.time() + after_days * DAY
    with monkeypatch.context() as patch:
        patch.setattr("cv_quality.cli.housekeeping.time.time", lambda: later)
        done = CliRunner().invoke(main, ["gc", "--json"], catch_exceptions=False)
    return [row["kind"] for row in json.loads(done.stdout)]


def test_an_upload_that_broke_off_goes_and_objects_stay(
    deployment: S3Store, s3_endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, places = s3_client(s3_endpoint), [{"Bucket": bucket, "Key": key} for key in ("lake/big", "others/big")]
    for place in places:
        upload = client.create_multipart_upload(**place)["UploadId"]
        client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"x" * PART_BYTES)
    deployment.write_bytes("big", b"whole")
    assert [item.key for item in deployment.unfinished()] == ["big"]
    assert freed(monkeypatch, after_days=31) == ["unfinished uploads"]
    assert deployment.unfinished() == []
    assert deployment.read_bytes("big") == b"whole"
    left = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [item["Key"] for item in left] == ["others/big"], "another's prefix is none of ours"


def test_a_copy_goes_a_month_after_its_last_use(deployment: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("used.bin", "unused.bin"):
        deployment.write_bytes(key, key.encode())
        os.utime(deployment.local(key), (time.time() - 40 * DAY,) * 2)
    used = deployment.local("used.bin")
    assert freed(monkeypatch, after_days=0) == ["local copies"]
    assert list(deployment.staging.parent.rglob("*.bin")) == [used]
    assert deployment.local("unused.bin").read_bytes() == b"unused.bin"


def write_and_die(store: Store) -> int:
    """Begin to write a table in a process that is killed; the signal that ended it."""
    process = os.fork()
    if not process:
        with Lake(store).writing(NUMBERS, TableKey(drop="d")) as path:
            path.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_writer_that_was_killed_leaves_nothing_once_another_has_written(
    is_remote: bool, deployment: S3Store, tmp_path: Path
) -> None:
    store = deployment if is_remote else LocalStore(str(tmp_path / "lake"))
    assert write_and_die(store) == signal.SIGKILL
    assert [path.name for path in store.staging.rglob("*") if path.is_file()] == ["part.parquet"]
    Lake(store).write(NUMBERS, TableKey(drop="d"), pl.DataFrame({"number": [1]}))
    assert list(store.staging.iterdir()) == []
