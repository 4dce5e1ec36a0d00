"""Stores, in a folder and on a real S3 server over the wire: the same behaviour, and no byte short."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cv_quality.errors import ObjectNotFound, StoreError, UnsafeObject
from cv_quality.lake.store import READ_ATTEMPTS, LocalStore, ObjectInfo, S3Store, Store, atomic_path, open_store
from cv_quality.settings import S3Options
from cv_quality_tests.servers import cutting_proxy, free_port, s3_client, wire

MANY = 1_005
"""More keys than the 1,000 that one page of an S3 listing holds."""

BODY = bytes(range(256)) * 4_096
"""A megabyte whose every cut is visible."""

UNSAFE_KEYS = ["", "/etc/passwd", "../outside", "a/../../outside", "..", "a\\b", "a\0b", "a//b", "./a"]

OpenS3 = Callable[..., S3Store]


@pytest.fixture
def open_s3(bucket: str, s3_endpoint: str, tmp_path: Path) -> OpenS3:
    """Opens the test's bucket, by default directly and under a prefix."""

    def opened(*, endpoint: str = s3_endpoint, name: str = bucket, cache: str = "cache") -> S3Store:
        store = open_store(f"s3://{name}/a/prefix", s3=S3Options(endpoint_url=endpoint), cache=tmp_path / cache)
        assert isinstance(store, S3Store)
        return store

    return opened


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    opened: S3Store = request.getfixturevalue("open_s3")()
    return opened


def new_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_what_is_written_is_read_again(store: Store) -> None:
    store.write_bytes("t/one.bin", BODY)
    assert store.read_bytes("t/one.bin") == store.local("t/one.bin").read_bytes() == BODY
    store.write_bytes("t/one.bin", b"")
    assert store.read_bytes("t/one.bin") == store.local("t/one.bin").read_bytes() == b""


@pytest.mark.parametrize(("start", "size"), [(0, 1), (255, 3), (1_048_576 - 4, 4), (7, 0)])
def test_a_range_is_exactly_those_bytes(store: Store, start: int, size: int) -> None:
    store.write_bytes("one.bin", BODY)
    assert store.read_range("one.bin", start=start, size=size) == BODY[start : start + size]


def test_of_several_writers_of_a_new_object_the_first_one_counts(store: Store) -> None:
    assert store.write_new("a/new.json", b"first")
    assert not store.write_new("a/new.json", b"second")
    assert store.read_bytes("a/new.json") == b"first"
    assert [item.key for item in store.list("a")] == ["a/new.json"]


def test_a_range_past_the_end_is_refused_and_never_short(store: Store) -> None:
    store.write_bytes("one.bin", b"0123456789")
    with pytest.raises(StoreError, match=r"one\.bin"):
        store.read_range("one.bin", start=8, size=4)
    with pytest.raises(StoreError, match=r"one\.bin"):
        store.read_range("one.bin", start=20, size=4)


def test_a_listing_has_every_key_once_beyond_one_page(store: Store) -> None:
    for number in range(MANY):
        store.write_bytes(f"many/{number:05d}.txt", b"x" * (number % 3))
    store.write_bytes("many-others/1.txt", b"")
    assert list(store.list("many/")) == [ObjectInfo(f"many/{n:05d}.txt", n % 3) for n in range(MANY)]
    assert len(store.list()) == MANY + 1


def test_a_listing_is_of_a_folder_with_or_without_its_slash(store: Store) -> None:
    for key in ("raw/a.txt", "raw/deep/b.txt", "raw_events/c.txt"):
        store.write_bytes(key, b"")
    expected = ["raw/a.txt", "raw/deep/b.txt"]
    assert [info.key for info in store.list("raw")] == [info.key for info in store.list("raw/")] == expected
    assert list(store.list("absent/")) == []


def test_folders_are_the_next_level_only(store: Store) -> None:
    for key in ("b/1.txt", "a/deep/2.txt", "top.txt"):
        store.write_bytes(key, b"")
    assert list(store.folders()) == ["a", "b"]
    assert [list(store.folders(name)) for name in ("a", "a/")] == [["deep"], ["deep"]]
    assert list(store.folders("absent")) == []


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert [*store.list(), *store.folders()] == []
    assert not store.exists("a.txt")


def test_a_missing_object_is_named(store: Store) -> None:
    store.write_bytes("there.txt", b"")
    assert store.exists("there.txt")
    assert not store.exists("absent.txt")
    for read in (store.read_bytes, store.local, lambda key: store.read_range(key, start=0, size=1)):
        with pytest.raises(ObjectNotFound, match=r"absent\.txt"):
            read("absent.txt")


def test_a_folder_is_no_object(store: Store) -> None:
    store.write_bytes("folder/a.txt", b"")
    assert not store.exists("folder")
    with pytest.raises(ObjectNotFound):
        store.read_bytes("folder")


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../outside", "a/../../outside", "..", "a\\b", "a\0b", "a//b", "./a"]
)
def test_an_unsafe_key_is_refused_by_every_method(store: Store, key: str, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.read_bytes(key),
        lambda: store.read_range(key, start=0, size=1),
        lambda: store.write_bytes(key, b"x"),
        lambda: store.write_new(key, b"x"),
        lambda: store.put_file(key, new_file(tmp_path / "file", b"x")),
        lambda: store.local(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
    ]
    if key:
        calls += [lambda: store.list(key), lambda: store.folders(key)]
    for call in calls:
        with pytest.raises(StoreError, match="unsafe object key"):
            call()
    assert not (tmp_path / "outside").exists()


def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(store: Store) -> None:
    store.write_bytes("one.txt", b"1")
    store.delete("one.txt")
    store.delete("one.txt")
    assert not store.exists("one.txt")
    assert list(store.list()) == []


def test_putting_a_file_takes_it_over(store: Store, tmp_path: Path) -> None:
    path = new_file(tmp_path / "file", BODY)
    store.put_file("deep/one.bin", path)
    assert not path.exists()
    assert store.read_bytes("deep/one.bin") == BODY


def test_putting_a_file_over_an_object_replaces_it(store: Store, tmp_path: Path) -> None:
    store.write_bytes("one.bin", b"old")
    assert store.local("one.bin").read_bytes() == b"old"
    store.put_file("one.bin", new_file(tmp_path / "file", b"new"))
    assert store.local("one.bin").read_bytes() == store.read_bytes("one.bin") == b"new"


def test_a_file_from_another_file_system_is_copied_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path, replace = LocalStore(str(tmp_path / "store")), new_file(tmp_path / "file", BODY), Path.replace

    def refuse_to_cross(source: Path, target: Path) -> Path:
        if source == path:
            raise OSError(18, "Invalid cross-device link")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", refuse_to_cross)
    store.put_file("one.bin", path)
    assert store.read_bytes("one.bin") == BODY
    assert not path.exists()


def test_a_write_that_fails_leaves_the_old_object_and_no_litter(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.write_bytes("one.txt", b"old")
    with suppress(RuntimeError), atomic_path(tmp_path / "one.txt") as temporary:
        temporary.write_bytes(b"new")
        raise RuntimeError("half way")
    assert store.read_bytes("one.txt") == b"old"
    assert os.listdir(tmp_path) == ["one.txt"]


def test_a_half_written_object_is_not_listed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    with atomic_path(tmp_path / "t" / "one.txt") as temporary:
        temporary.write_bytes(b"half")
        assert list(store.list()) == []


def test_a_file_in_the_place_of_the_folder_says_what_to_check(tmp_path: Path) -> None:
    store = LocalStore(str(new_file(tmp_path / "lake", b"")))
    calls: list[Callable[[], object]] = [
        lambda: store.write_bytes("t/one.txt", b"x"),
        lambda: store.put_file("t/one.txt", new_file(tmp_path / "file", b"x")),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="is a folder that may be read and written"):
            call()


def test_only_a_folder_or_s3_can_be_opened() -> None:
    for uri in ("gs://bucket/prefix", "s3://", "s3:///prefix"):
        with pytest.raises(StoreError, match="expected"):
            open_store(uri)


def test_a_proxy_of_the_environment_is_not_asked_for_a_store_on_this_machine(
    open_s3: OpenS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    store = open_s3()
    store.write_bytes("key", b"data")
    assert store.read_bytes("key") == b"data"


def test_a_large_file_arrives_in_parts(open_s3: OpenS3, s3_endpoint: str, bucket: str, tmp_path: Path) -> None:
    data = os.urandom(1_048_576) * 21
    store = open_s3()
    store.put_file("big.bin", new_file(tmp_path / "file", data))
    etag = s3_client(s3_endpoint).head_object(Bucket=bucket, Key="a/prefix/big.bin")["ETag"]
    assert "-" in etag, "an ETag with a dash marks a multipart upload"
    assert store.local("big.bin").read_bytes() == data


def test_an_unchanged_object_is_fetched_once_and_a_changed_one_anew(open_s3: OpenS3, s3_endpoint: str) -> None:
    with cutting_proxy(s3_endpoint) as (endpoint, cuts):
        near, far = open_s3(), open_s3(endpoint=endpoint)
        near.write_bytes("one.txt", b"first")
        assert [far.local("one.txt").read_bytes() for _ in range(3)] == [b"first"] * 3
        assert len(cuts.gets) == 1
        near.write_bytes("one.txt", b"second")
        assert far.local("one.txt").read_bytes() == b"second"
        assert len(cuts.gets) == 2


def test_two_prefixes_and_two_keys_never_share_a_local_copy(open_s3: OpenS3, bucket: str, s3_endpoint: str) -> None:
    store = open_s3()
    for key in ("a.txt", "b.txt"):
        store.write_bytes(key, b"same")
    assert store.local("a.txt") != store.local("b.txt")
    assert [item["Key"] for item in s3_client(s3_endpoint).list_objects_v2(Bucket=bucket)["Contents"]] == [
        "a/prefix/a.txt",
        "a/prefix/b.txt",
    ]


@pytest.mark.parametrize("n_cuts", [1, READ_ATTEMPTS - 1])
def test_a_body_that_breaks_off_is_read_again(open_s3: OpenS3, s3_endpoint: str, n_cuts: int) -> None:
    open_s3().write_bytes("one.bin", BODY)
    with cutting_proxy(s3_endpoint) as (endpoint, cuts):
        store = open_s3(endpoint=endpoint)
        reads: list[tuple[Callable[[], bytes], bytes]] = [
            (lambda: store.read_bytes("one.bin"), BODY),
            (lambda: store.read_bytes("one.bin", limit=2 * len(BODY)), BODY),
            (lambda: store.read_range("one.bin", start=100, size=5_000), BODY[100:5_100]),
            (lambda: store.local("one.bin").read_bytes(), BODY),
        ]
        for read, expected in reads:
            cuts.left = n_cuts
            assert read() == expected
            assert cuts.left == 0
        assert cuts.made == len(reads) * n_cuts


def test_a_body_that_always_breaks_off_is_a_typed_error_and_leaves_no_copy(
    open_s3: OpenS3, s3_endpoint: str, tmp_path: Path
) -> None:
    open_s3().write_bytes("one.bin", BODY)
    with cutting_proxy(s3_endpoint) as (endpoint, cuts):
        store = open_s3(endpoint=endpoint, cache="fresh")
        cuts.left = 1_000
        for read in (store.read_bytes, store.local, lambda key: store.read_range(key, start=0, size=9_000)):
            with pytest.raises(StoreError, match=r"one\.bin.*broke off"):
                read("one.bin")
    assert [path for path in (tmp_path / "fresh").rglob("*") if path.is_file()] == []


def test_a_copy_is_of_the_object_that_was_looked_at(
    open_s3: OpenS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, writer = open_s3(), open_s3()
    first, second = b"1" * 9_000_000, b"2" * 9_000_000
    for old, new in ((b"first", b"second"), (first, second)):
        writer.put_file("one.bin", new_file(tmp_path / "file", old))
        looked = store._head

        def look_and_be_overtaken(key: str, new: bytes = new, looked: Callable[[str], object] = looked) -> object:
            head = looked(key)
            monkeypatch.setattr(store, "_head", looked)
            writer.write_bytes(key, new)
            return head

        monkeypatch.setattr(store, "_head", look_and_be_overtaken)
        assert store.local("one.bin").read_bytes() == new
        writer.put_file("one.bin", new_file(tmp_path / "file", old))
        assert store.local("one.bin").read_bytes() == old


def test_the_first_writer_is_the_first_though_the_answer_was_lost(open_s3: OpenS3, s3_endpoint: str) -> None:
    with wire(s3_endpoint) as (endpoint, weather):
        store = open_s3(endpoint=endpoint)
        weather.answers_lost = 1
        assert store.write_new("one.json", b"same")
        assert weather.n_lost == 1
        assert not open_s3().write_new("one.json", b"same")


def test_a_conflict_of_writers_is_asked_again_until_one_has_won(
    open_s3: OpenS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = open_s3(), list[str]()
    client = store._client
    put = client.put_object

    def conflicting(**request: Any) -> object:
        asked.append(request["Key"])
        if len(asked) < READ_ATTEMPTS:
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")
        return put(**request)

    monkeypatch.setattr(client, "put_object", conflicting)
    assert store.write_new("one.json", b"mine")
    assert len(asked) == READ_ATTEMPTS
    assert store.read_bytes("one.json") == b"mine"


def every_call(store: Store, path: Path) -> dict[str, Callable[[], object]]:
    return {
        "read_bytes": lambda: store.read_bytes("one.txt"),
        "read_range": lambda: store.read_range("one.txt", start=0, size=1),
        "write_bytes": lambda: store.write_bytes("one.txt", b"x"),
        "write_new": lambda: store.write_new("two.txt", b"x"),
        "put_file": lambda: store.put_file("one.txt", new_file(path, b"x")),
        "local": lambda: store.local("one.txt"),
        "exists": lambda: store.exists("one.txt"),
        "list": store.list,
        "folders": store.folders,
        "delete": lambda: store.delete("one.txt"),
    }


def test_a_wrong_bucket_is_named_and_never_taken_for_a_missing_object(open_s3: OpenS3, tmp_path: Path) -> None:
    for name, call in every_call(open_s3(name="no-such-bucket"), tmp_path / "file").items():
        with pytest.raises(StoreError, match="no-such-bucket") as caught:
            call()
        assert not isinstance(caught.value, ObjectNotFound), name


def test_an_endpoint_that_nobody_answers_says_what_to_check(open_s3: OpenS3, tmp_path: Path) -> None:
    store = open_s3(endpoint=f"http://127.0.0.1:{free_port()}")
    for call in every_call(store, tmp_path / "file").values():
        with pytest.raises(StoreError, match="CVQ_S3_ENDPOINT_URL"):
            call()


def test_an_endpoint_that_is_no_url_says_what_to_check(open_s3: OpenS3) -> None:
    with pytest.raises(StoreError, match="CVQ_S3_ENDPOINT_URL"):
        open_s3(endpoint="127.0.0.1:9").list()


def test_missing_credentials_say_what_to_check(open_s3: OpenS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(StoreError, match="credentials"):
        open_s3().read_bytes("one.txt")


def test_an_object_beyond_the_limit_is_refused(store: Store) -> None:
    store.write_bytes("one.bin", BODY)
    assert store.read_bytes("one.bin", limit=len(BODY)) == BODY
    with pytest.raises(UnsafeObject, match=r"one\.bin: expected at most 1,048,575 bytes, found more"):
        store.read_bytes("one.bin", limit=len(BODY) - 1)
