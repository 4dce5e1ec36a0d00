"""Stores on Ceph's gateway, which refuses what the server of the other tests lets pass.

Not run where Ceph is not installed.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cv_quality.errors import ObjectNotFound, StoreError
from cv_quality.lake.store import S3Store, open_store
from cv_quality.settings import S3Options
from cv_quality_tests.ceph import PROGRAMS, Gateway, ceph_gateway, is_installed
from cv_quality_tests.lake.test_store import BODY, every_call, new_file
from cv_quality_tests.servers import CREDENTIALS, cutting_proxy, s3_client, wire

pytestmark = pytest.mark.nightly
OWNED, FOREIGN = "study-of-owner", "study-of-stranger"
PART_BYTES = 5 << 20
Open = Callable[..., S3Store]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    if not is_installed():
        pytest.skip(f"not run: {', '.join(PROGRAMS)} are not installed (Debian: ceph-mon ceph-osd radosgw ceph-common)")
    with ceph_gateway() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        for user, bucket in (("stranger", FOREIGN), ("owner", OWNED)):
            for name, value in running.credentials[user].items():
                patch.setenv(name, value)
            s3_client(running.endpoint).create_bucket(Bucket=bucket)
        yield running


@pytest.fixture
def opened(gateway: Gateway, tmp_path: Path, request: pytest.FixtureRequest) -> Open:
    """Opens a prefix of the test's own, as the owner."""

    def store(*, endpoint: str = gateway.endpoint, bucket: str = OWNED) -> S3Store:
        uri = f"s3://{bucket}/{request.node.name}"
        found = open_store(uri, s3=S3Options(endpoint_url=endpoint, region="us-east-1"), cache=tmp_path / "cache")
        assert isinstance(found, S3Store)
        return found

    return store


def test_a_wrong_secret_is_refused_by_every_call(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for name, call in every_call(opened(), tmp_path / "file").items():
        with pytest.raises(StoreError, match=r"403|SignatureDoesNotMatch") as caught:
            call()
        assert not isinstance(caught.value, ObjectNotFound), name
    monkeypatch.undo()
    assert list(opened().list()) == []


def test_the_bucket_of_another_owner_is_refused_and_not_taken_for_empty(opened: Open, tmp_path: Path) -> None:
    for name, call in every_call(opened(bucket=FOREIGN), tmp_path / "file").items():
        with pytest.raises(StoreError, match=r"403|AccessDenied") as caught:
            call()
        assert not isinstance(caught.value, ObjectNotFound), name


def test_of_writers_at_once_exactly_one_is_the_first(opened: Open) -> None:
    stores, start = [opened() for _ in range(4)], threading.Barrier(4)
    keys = [f"new/{number}.json" for number in range(25)]

    def write(writer: int) -> list[str]:
        start.wait()
        return [key for key in keys if stores[writer].write_new(key, f"{writer}".encode())]

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(write, range(4)))
    assert Counter(key for mine in won for key in mine) == Counter(keys)
    reader = opened()
    assert {key: reader.read_bytes(key) for key in keys} == {
        key: f"{writer}".encode() for writer, mine in enumerate(won) for key in mine
    }


def test_the_first_writer_is_the_first_though_the_answer_was_lost(gateway: Gateway, opened: Open) -> None:
    with wire(gateway.endpoint) as (endpoint, weather):
        weather.answers_lost = 1
        assert opened(endpoint=endpoint).write_new("one.json", b"same")
        assert weather.n_lost == 1
    assert not opened().write_new("one.json", b"same")


def test_bodies_that_break_off_are_read_whole_in_the_end(gateway: Gateway, opened: Open, tmp_path: Path) -> None:
    near, large = opened(), BODY * 20
    near.write_bytes("one.bin", BODY)
    near.put_file("large.bin", new_file(tmp_path / "file", large))
    with cutting_proxy(gateway.endpoint) as (endpoint, cuts):
        far = opened(endpoint=endpoint)
        reads: list[tuple[Callable[[], bytes], bytes]] = [
            (lambda: far.read_bytes("one.bin"), BODY),
            (lambda: far.read_bytes("one.bin", limit=len(BODY)), BODY),
            (lambda: far.read_range("one.bin", start=7, size=9_000), BODY[7:9_007]),
            (lambda: far.local("large.bin").read_bytes(), large),
        ]
        for read, expected in reads:
            cuts.left = 3
            assert read() == expected
            assert cuts.left == 0


def test_of_a_versioned_bucket_only_what_counts_is_seen(gateway: Gateway, opened: Open) -> None:
    bucket = "versioned-study"
    client, store = s3_client(gateway.endpoint), opened(bucket=bucket)
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for data in (b"first", b"second", b"first"):
        store.write_bytes("one.txt", data)
        assert store.local("one.txt").read_bytes() == store.read_bytes("one.txt") == data
    assert [info.key for info in store.list()] == ["one.txt"]
    store.delete("one.txt")
    assert list(store.list()) == []
    assert not store.exists("one.txt")
    assert store.write_new("one.txt", b"new")
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 4, "what is replaced is kept by the bucket"


def test_an_upload_that_broke_off_is_listed_and_given_up(gateway: Gateway, opened: Open) -> None:
    store, client = opened(), s3_client(gateway.endpoint)
    place = {"Bucket": OWNED, "Key": f"{store.uri.rpartition('/')[2]}/big"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"x" * PART_BYTES)
    (found,) = store.unfinished()
    assert (found.key, found.upload) == ("big", upload)
    assert abs(found.begun - time.time()) < 60
    store.give_up(found)
    store.give_up(found)
    assert list(store.unfinished()) == list(store.list()) == []
