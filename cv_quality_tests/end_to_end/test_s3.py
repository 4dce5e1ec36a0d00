"""The whole chain with landing area, lake and model registry in an object store: the same answers as in folders."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import polars as pl
import pytest

from cv_quality.lake.store import Store, open_store
from cv_quality.settings import REFERENCE_MODELS, S3Options
from cv_quality.workspace import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.servers import CREDENTIALS, moto_server, s3_client

BUCKET = "studies"
DROPS = ["2026-08-03_face-1.1_site-a", "2026-08-31_face-1.2_site-a"]
CVQ = str(Path(sys.executable).parent / "cvq")


@dataclass(frozen=True, slots=True)
class Remote:
    """A deployment whose data lie in a bucket; only the warehouse, the reports and a cache are in `home`."""

    endpoint: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        places = {f"CVQ_{name.upper()}": f"s3://{BUCKET}/{name}" for name in ("landing", "lake", "registry")}
        settings = {"CVQ_HOME": str(self.home), "CVQ_S3_ENDPOINT_URL": self.endpoint, "CVQ_THREADS": "1", **places}
        return {**os.environ, **CREDENTIALS, **settings}

    def cvq(self, *arguments: str, expected: int = 0) -> list[dict[str, object]]:
        """The rows that a command prints with `--json`."""
        command = [CVQ, *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=300, check=False)
        assert done.returncode == expected, done.stderr.decode()
        return cast(list[dict[str, object]], json.loads(done.stdout))

    def store(self, name: str) -> Store:
        options = S3Options(endpoint_url=self.endpoint, region="us-east-1")
        return open_store(f"s3://{BUCKET}/{name}", s3=options, cache=self.home / "test-cache")


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """The tiny scenario, simulated into the bucket and worked off from there by the commands."""
    root = tmp_path_factory.mktemp("s3")
    with pytest.MonkeyPatch.context() as patch, moto_server(root / "moto.log") as endpoint:
        patch.delenv("AWS_PROFILE", raising=False)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        for file in Path(REFERENCE_MODELS).iterdir():
            client.upload_file(str(file), BUCKET, f"registry/{file.name}")
        deployment = Remote(endpoint, root / "home")
        assert [row["drop"] for row in deployment.cvq("simulate", "tiny")] == DROPS
        assert all(row["gate"] == "passed" for row in deployment.cvq("run"))
        yield deployment


@pytest.fixture(scope="module")
def in_folders(history: History) -> Workspace:
    """The same scenario in local folders."""
    return history.orchestra.workspace


def contents(store: Store) -> dict[str, bytes]:
    return {info.key: store.read_bytes(info.key) for info in store.list()}


def digests(objects: Mapping[str, bytes]) -> dict[str, str]:
    return {key: hashlib.sha256(data).hexdigest() for key, data in objects.items()}


def test_drops_simulated_into_the_bucket_are_the_same_bytes(remote: Remote, tiny_landing: Path) -> None:
    there, here = contents(remote.store("landing")), contents(open_store(str(tiny_landing)))
    assert sorted(key for key in there if key.endswith("manifest.json")) == [f"{drop}/manifest.json" for drop in DROPS]
    assert digests(there) == digests(here)


def test_every_table_has_the_same_rows_as_in_folders(remote: Remote, in_folders: Workspace) -> None:
    there, here = contents(remote.store("lake")), contents(in_folders.lake.store)
    assert there.keys() == here.keys()
    tables = [key for key in here if key.endswith(".parquet")]
    assert len({key.partition("/")[0] for key in tables}) >= 15
    for key in tables:
        assert pl.read_parquet(io.BytesIO(there[key])).equals(pl.read_parquet(io.BytesIO(here[key]))), key


def test_every_verdict_is_the_same_as_in_folders(remote: Remote, in_folders: Workspace) -> None:
    there, here = contents(remote.store("lake")), contents(in_folders.lake.store)
    verdicts = [key for key in here if key.startswith("verdicts/")]
    assert len(verdicts) == 2 * 2 + 4 * 3 + 2 * 8
    for key in verdicts:
        assert json.loads(there[key]) == json.loads(here[key]), key


def test_reports_and_metric_tables_are_written_beside_the_bucket(remote: Remote) -> None:
    assert sorted(page.name for page in (remote.home / "reports").glob("*.html")) == ["face-1.1.html", "face-1.2.html"]
    assert (remote.home / "warehouse.duckdb").is_file()
    assert not (remote.home / "lake").exists()
    assert not (remote.home / "landing").exists()


def test_work_that_is_done_is_not_done_again(remote: Remote) -> None:
    rows = remote.cvq("status")
    assert [row["drop"] for row in rows] == DROPS
    assert [row["scored"] for row in rows] == [
        "face-1.1: passed, face-1.0: passed",
        "face-1.2: passed, face-1.1: passed",
    ]
    assert remote.cvq("run") == []


def test_models_are_listed_from_the_bucket(remote: Remote) -> None:
    assert [row["build"] for row in remote.cvq("models")] == [
        *("face-1.0", "face-1.1", "face-1.2"),
        *("iris-1.0", "iris-1.1"),
        *("pad-1.0", "pad-1.1"),
        *("segment-1.0", "segment-1.1"),
    ]


def test_a_bucket_that_is_not_there_ends_in_one_sentence(remote: Remote) -> None:
    environment = {**remote.environment, "CVQ_LANDING": "s3://no-such-bucket/landing"}
    done = subprocess.run([CVQ, "run"], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "StoreError" in done.stderr
    assert "no-such-bucket" in done.stderr
    assert "Traceback" not in done.stderr
