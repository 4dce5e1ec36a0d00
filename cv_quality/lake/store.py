"""Objects by key, in a local folder or under an S3 prefix, behind one small interface.

Engines (DuckDB, Polars, pyarrow) always work on local files: `local` fetches an object once and `put_file` publishes
one. Every write is atomic: a temporary name and a rename, or a single object put. Tables live one level up, in
`cv_quality.lake.lake`.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from cv_quality.errors import ObjectNotFound, StoreError
from cv_quality.settings import S3Options

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

READ_ATTEMPTS = 4
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing: its key relative to the store, and its size in bytes."""

    key: str
    size: int


class Store(Protocol):
    """A flat namespace of immutable objects; keys are relative POSIX paths without `..`."""

    uri: str

    def read_bytes(self, key: str) -> bytes: ...
    def read_range(self, key: str, *, start: int, size: int) -> bytes: ...
    def write_bytes(self, key: str, data: bytes) -> None: ...
    def put_file(self, key: str, path: Path) -> None: ...
    def local(self, key: str) -> Path: ...
    def exists(self, key: str) -> bool: ...
    def list(self, prefix: str = "") -> Sequence[ObjectInfo]: ...
    def folders(self, prefix: str = "") -> Sequence[str]: ...
    def delete(self, key: str) -> None: ...


def open_store(uri: str, *, s3: S3Options | None = None, cache: Path | None = None) -> Store:
    """The store at `uri`: a local folder, or `s3://bucket/prefix`.

    Args:
        s3: endpoint options, used for `s3://` only.
        cache: folder for local copies of S3 objects; a private temporary folder by default.

    Raises:
        StoreError: the scheme is neither a path nor `s3`.
    """
    if uri.startswith("s3://"):
        return S3Store(uri, options=s3 or S3Options(), cache=cache)
    if "://" in uri:
        raise StoreError(f"cannot open {uri!r}: expected a folder or s3://bucket/prefix")
    return LocalStore(uri)


def checked_key(key: str) -> str:
    """`key` itself, when it is a relative path that stays inside the store.

    Raises:
        StoreError: the key is empty, absolute, or climbs with `..`.
    """
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts or "\\" in key or "\x00" in key:
        raise StoreError(f"unsafe object key {key!r}: expected a relative path without '..'")
    return key


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that is renamed over it when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


class LocalStore:
    """A folder."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.uri = str(self.root)

    def read_bytes(self, key: str) -> bytes:
        return self.local(key).read_bytes()

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        with self.local(key).open("rb") as file:
            file.seek(start)
            data = file.read(size)
        return _complete(data, size=size, key=key)

    def write_bytes(self, key: str, data: bytes) -> None:
        with atomic_path(self._path(key)) as temporary:
            temporary.write_bytes(data)

    def put_file(self, key: str, path: Path) -> None:
        """Take over `path`: it is moved when on the same file system, else copied."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.replace(target)
        except OSError:
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)

    def local(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise ObjectNotFound(f"no object {key!r} in {self.uri}")
        return path

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Sequence[ObjectInfo]:
        base = self.root / prefix
        if not base.is_dir():
            return []
        files = (path for path in base.rglob("*") if path.is_file() and not path.name.endswith(".part"))
        return sorted(
            (ObjectInfo(path.relative_to(self.root).as_posix(), path.stat().st_size) for path in files),
            key=lambda info: info.key,
        )

    def folders(self, prefix: str = "") -> Sequence[str]:
        base = self.root / prefix
        return sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)


class S3Store:
    """The objects under one prefix of an S3 bucket; downloads are cached by ETag."""

    def __init__(self, uri: str, *, options: S3Options, cache: Path | None) -> None:
        match = re.fullmatch(r"s3://([^/]+)/?(.*)", uri)
        if match is None:
            raise StoreError(f"cannot open {uri!r}: expected s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        self._bucket = match[1]
        self._prefix = f"{match[2].strip('/')}/" if match[2].strip("/") else ""
        self._options = options
        self._cache = cache or Path(tempfile.mkdtemp(prefix="cvq-cache-"))
        self._client_or_none: S3Client | None = None

    @property
    def _client(self) -> "S3Client":
        if self._client_or_none is None:
            import boto3
            from botocore.config import Config

            self._client_or_none = boto3.client(
                "s3",
                endpoint_url=self._options.endpoint_url,
                region_name=self._options.region,
                config=Config(
                    retries={"max_attempts": READ_ATTEMPTS, "mode": "standard"},
                    request_checksum_calculation="when_required",
                ),
            )
        return self._client_or_none

    def read_bytes(self, key: str) -> bytes:
        return self._read(key, byte_range=None)

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        if size == 0:
            return b""
        return _complete(self._read(key, byte_range=f"bytes={start}-{start + size - 1}"), size=size, key=key)

    def write_bytes(self, key: str, data: bytes) -> None:
        self._call(key, lambda: self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=data))

    def put_file(self, key: str, path: Path) -> None:
        """Upload `path` (in parts when large) and remove it; the object appears only when complete."""
        self._call(key, lambda: self._client.upload_file(str(path), self._bucket, self._full(key)))
        path.unlink()

    def local(self, key: str) -> Path:
        head = self._call(key, lambda: self._client.head_object(Bucket=self._bucket, Key=self._full(key)))
        identity = hashlib.sha256(f"{self.uri}/{key}@{head['ETag']}".encode()).hexdigest()
        path = self._cache / identity[:2] / f"{identity}{PurePosixPath(key).suffix}"
        if not path.is_file():
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                self._download(key, into=file)
        return path

    def exists(self, key: str) -> bool:
        try:
            self._call(key, lambda: self._client.head_object(Bucket=self._bucket, Key=self._full(key)))
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str = "") -> Sequence[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        listed = self._call(prefix, lambda: [item for page in pages for item in page.get("Contents", [])])
        return [ObjectInfo(item["Key"][len(self._prefix) :], item["Size"]) for item in listed]

    def folders(self, prefix: str = "") -> Sequence[str]:
        base = self._prefix + (f"{prefix.strip('/')}/" if prefix else "")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=base, Delimiter="/")
        listed = self._call(prefix, lambda: [item for page in pages for item in page.get("CommonPrefixes", [])])
        return sorted(item["Prefix"][len(base) :].strip("/") for item in listed)

    def delete(self, key: str) -> None:
        self._call(key, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._full(key)))

    def _full(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _download(self, key: str, *, into: BinaryIO) -> None:
        self._call(key, lambda: self._client.download_fileobj(self._bucket, self._full(key), into))

    def _read(self, key: str, *, byte_range: str | None) -> bytes:
        """Read a body whole; botocore does not retry a body that breaks off half way, so this does."""
        from botocore.exceptions import HTTPClientError, ResponseStreamingError

        extra = {"Range": byte_range} if byte_range else {}
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                answer = self._call(
                    key, lambda: self._client.get_object(Bucket=self._bucket, Key=self._full(key), **extra)
                )
                return bytes(answer["Body"].read())
            except (HTTPClientError, ResponseStreamingError) as error:
                if attempt == READ_ATTEMPTS:
                    raise StoreError(f"{self.uri}/{key}: body broke off {attempt} times: {error}") from error
        raise AssertionError("unreachable")

    def _call(self, key: str, request: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return request()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in {"404", "NoSuchKey", "NotFound"}:
                raise ObjectNotFound(f"no object {key!r} in {self.uri}") from error
            raise StoreError(f"{self.uri}/{key}: the object store answered {code}: {error}") from error
        except BotoCoreError as error:
            raise StoreError(
                f"{self.uri}/{key}: the object store cannot be reached ({error}); "
                "check CVQ_S3_ENDPOINT_URL and the AWS credentials"
            ) from error


def _complete(data: bytes, *, size: int, key: str) -> bytes:
    if len(data) != size:
        raise StoreError(f"{key}: expected {size} bytes of the range, found {len(data)}")
    return data
