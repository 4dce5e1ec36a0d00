"""Objects by key, in a local folder or under an S3 prefix, behind one small interface.

Engines (DuckDB, Polars, pyarrow) always work on local files: `local` fetches an object once and `put_file` publishes
one. Every write is atomic: a temporary name and a rename, or a single object put. What is written is its owner's
alone, whatever the umask: biometric data lies there. Tables live one level up, in `cv_quality.lake.lake`.
"""

import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from errno import EDQUOT, EFBIG, EMFILE, ENFILE, ENOSPC, EROFS
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from cv_quality.errors import CvQualityError, ObjectNotFound, ObjectUnusable, StoreError, UnsafeObject
from cv_quality.settings import S3Options

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from s3transfer.futures import TransferFuture
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import HeadObjectOutputTypeDef, ListObjectsV2OutputTypeDef

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
_STORE_FAULTS = frozenset({EDQUOT, EFBIG, EMFILE, ENFILE, ENOSPC, EROFS})
READ_ATTEMPTS = 4
STAGING = ".staging"
FETCHED_WHOLE_BYTES = 8 << 20
"""Size up to which an object is fetched in one request; a larger one in parts, several at a time."""
_PRECONDITION_FAILED = frozenset({"412", "PreconditionFailed"})
_CONFLICT = frozenset({"409", "ConditionalRequestConflict"})
"""What S3 answers while another write of the object is under way, whatever becomes of that: to be asked again."""
_WRITER = "cvq-writer"
_WRITTEN_AGAIN = "written again while it was read; read it again"
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 20
"""Without a byte; a store that stays silent is given up after four times that."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that no proxy reaches, whatever HTTP_PROXY says."""
T = TypeVar("T")


class ObjectInfo(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One object: its key relative to the store, its size in bytes, and what tells it from another of that key.

    Equal ones have the same key and size. A look at a lake makes hundreds of thousands: a struct that Python's garbage
    collector passes over takes a third of the time.

    Attributes:
        modified_ns: when it was written, since 1970; the store's own clock, and from S3 to the second.
        changed_ns: when it came to lie there, which a copy that keeps its times does not hide.
        version: the ETag of an object in S3.
    """

    key: str
    size: int
    modified_ns: int = 0
    changed_ns: int = 0
    version: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectInfo) and (self.key, self.size) == (other.key, other.size)

    def __hash__(self) -> int:
        return hash((self.key, self.size))

    @property
    def mark(self) -> tuple[int, int, str]:
        """What is another once the object has been written again."""
        return self.size, self.modified_ns, self.version


class FormerVersion(NamedTuple):
    """A version of an object that another one followed, or the mark of its deletion, as a bucket with versions keeps.

    Attributes:
        key: of the object.
        id: the bucket's name for the version.
        is_marker: whether it only says that the object was deleted.
    """

    key: str
    id: str
    is_marker: bool


class Store(Protocol):
    """A flat namespace of immutable objects; keys are relative POSIX paths without `..`.

    Attributes:
        staging: local folder in which a file is made before it is put.
    """

    uri: str
    staging: Path

    def read_bytes(self, key: str, *, limit: int | None = None) -> bytes: ...
    def read_range(self, key: str, *, start: int, size: int) -> bytes: ...
    def write_bytes(self, key: str, data: bytes) -> None: ...
    def write_new(self, key: str, data: bytes) -> bool: ...
    def put_file(self, key: str, path: Path) -> ObjectInfo: ...
    def local(self, key: str) -> Path: ...
    def exists(self, key: str) -> bool: ...
    def info(self, key: str) -> ObjectInfo | None: ...
    def list(self, prefix: str = "") -> Sequence[ObjectInfo]: ...
    def folders(self, prefix: str = "") -> Sequence[str]: ...
    def delete(self, key: str) -> None: ...
    def former(self) -> Iterator[FormerVersion]: ...
    def read_former(self, version: FormerVersion) -> bytes: ...
    def delete_former(self, version: FormerVersion) -> None: ...


def open_store(uri: str, *, s3: S3Options | None = None, cache: Path | None = None, is_confined: bool = False) -> Store:
    """Open the store at `uri`: a local folder, or `s3://bucket/prefix`.

    Args:
        uri: where it is.
        s3: endpoint options, used for `s3://` only.
        cache: folder for local copies of S3 objects; a private temporary folder by default.
        is_confined: whether others write to it, so that a link that leads out of the folder is refused.

    Raises:
        StoreError: the scheme is neither a path nor `s3`.
    """
    if uri.startswith("s3://"):
        return S3Store(uri, options=s3 or S3Options(), cache=cache)
    if "://" in uri:
        raise StoreError(f"cannot open {uri!r}: expected a folder or s3://bucket/prefix")
    return LocalStore(uri, is_confined=is_confined)


def checked_key(key: str) -> str:
    """Check that an object key is a relative path that stays inside the store, and return it.

    Raises:
        ObjectUnusable: the key is empty, absolute, climbs with `..`, or is one of several spellings of a path
            (`a//b`).
    """
    path = PurePosixPath(key)
    is_plain = path.parts and path.as_posix() == key and not path.is_absolute()
    if not is_plain or ".." in path.parts or "\\" in key or "\x00" in key:
        raise ObjectUnusable(f"unsafe object key {key!r}: expected a relative path without '..'")
    return key


def checked_folder(prefix: str) -> str:
    """Turn a folder into the prefix of its keys: empty for the whole store, else ending in one slash.

    Raises:
        ObjectUnusable: the folder is not inside the store.
    """
    return f"{checked_key(prefix.removesuffix('/'))}/" if prefix else ""


def make_private(folder: Path) -> None:
    """Make a folder, and those above it, as far as they are not there, for their owner alone."""
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder, found a file: {folder}")


@contextmanager
def typed_faults(where: str) -> Iterator[None]:
    """Turn what the operating system refuses to an engine, which may only quote it, into a typed error.

    Args:
        where: what was done.

    Raises:
        StoreError: there is no room, or nothing may be written: the next key would fare no better.
        ObjectUnusable: anything else.
    """
    try:
        yield
    except CvQualityError:
        raise
    except Exception as error:
        quoted = (fault for fault in _STORE_FAULTS if os.strerror(fault) in str(error))
        if getattr(error, "errno", None) in _STORE_FAULTS or any(quoted):
            raise StoreError(f"{where}: {error}; make room, or let the folder be written") from error
        if isinstance(error, OSError):
            raise ObjectUnusable(f"{where}: {error}; check that it may be read and written") from error
        raise


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`, renamed over it when the block ends without an error.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        make_private(target.parent)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(PRIVATE_FILE)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{target}: {error}; check that {target.parent} is a folder that may be read and written, with room left"
        ) from error


class LocalStore:
    """A store in a local folder; a confined one refuses links that lead out of it."""

    def __init__(self, root: str, *, is_confined: bool = False) -> None:
        self.root = Path(root)
        self.uri = str(self.root)
        self.staging = self.root / STAGING
        self._is_confined = is_confined

    def read_bytes(self, key: str, *, limit: int | None = None) -> bytes:
        with self._reading(key), self.local(key).open("rb") as file:
            return _within(file.read(_amount(limit)), limit=limit, key=key)

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        with self._reading(key), self.local(key).open("rb") as file:
            file.seek(start)
            data = file.read(size)
        return _complete(data, size=size, key=key)

    def write_bytes(self, key: str, data: bytes) -> None:
        with self._writing(key), atomic_path(self._path(key)) as temporary:
            temporary.write_bytes(data)

    def write_new(self, key: str, data: bytes) -> bool:
        """Write an object unless it is there; whether it was written. Of several writers at once one is the first."""
        target = self._path(key)
        with self._writing(key):
            make_private(target.parent)
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(handle)
                os.link(name, target)
            except FileExistsError:
                return False
            finally:
                Path(name).unlink(missing_ok=True)
        return True

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """Take over `path`: it is moved when on the same file system, else copied and removed.

        It counts as written when it appears, not when its first byte was.
        """
        target = self._path(key)
        with self._writing(key):
            make_private(target.parent)
            path.chmod(PRIVATE_FILE)
            os.utime(path)
            info = info_of(key, path.stat())
            try:
                path.replace(target)
            except OSError:
                with atomic_path(target) as temporary:
                    shutil.copyfile(path, temporary)
                    info = info_of(key, temporary.stat())
                path.unlink()
        return info

    def local(self, key: str) -> Path:
        path = self._path(key)
        with self._reading(key):
            if self._is_confined and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root)):
                raise UnsafeObject(f"{key}: a link that leads out of {self.uri}; put the file itself there")
            if path.is_file():
                return path
            if self._is_confined and path.exists() and not path.is_dir():
                raise UnsafeObject(f"{key}: expected a regular file, found a pipe, socket or device in {self.uri}")
            self._require_root()
            raise ObjectNotFound(f"no object {key!r} in {self.uri}")

    def exists(self, key: str) -> bool:
        return self.info(key) is not None

    def info(self, key: str) -> ObjectInfo | None:
        with suppress(ObjectNotFound), self._reading(key):
            return info_of(key, self.local(key).stat())
        return None

    def list(self, prefix: str = "") -> Sequence[ObjectInfo]:
        folder = checked_folder(prefix)
        with self._reading(prefix or "."):
            return sorted(self._walk(folder), key=attrgetter("key")) if self._is_folder(folder) else []

    def folders(self, prefix: str = "") -> Sequence[str]:
        folder = checked_folder(prefix)
        if not self._is_folder(folder):
            return []
        with self._reading(prefix or "."), os.scandir(self.root / folder) as entries:
            return sorted(entry.name for entry in entries if _leads_to(entry.is_dir))

    def delete(self, key: str) -> None:
        with self._writing(key):
            self._path(key).unlink(missing_ok=True)

    def former(self) -> Iterator[FormerVersion]:
        """List no version: a folder keeps none."""
        return iter(())

    def read_former(self, version: FormerVersion) -> bytes:
        raise ObjectNotFound(f"no version {version.id!r} of {version.key!r} in {self.uri}: a folder keeps none")

    def delete_former(self, version: FormerVersion) -> None:
        raise ObjectNotFound(f"no version {version.id!r} of {version.key!r} in {self.uri}: a folder keeps none")

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def _is_folder(self, folder: str) -> bool:
        self._require_root()
        return (self.root / folder).is_dir()

    def _walk(self, folder: str) -> Iterator[ObjectInfo]:
        """Every finished file below a folder; one that goes meanwhile is left out."""
        folders = []
        with suppress(FileNotFoundError), os.scandir(self.root / folder) as entries:
            for entry in entries:
                key = f"{folder}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{key}/")
                elif not key.endswith(".part") and _leads_to(entry.is_file):
                    try:
                        yield info_of(key, entry.stat())
                    except FileNotFoundError:
                        continue
        for inner in folders:
            yield from self._walk(inner)

    def _require_root(self) -> None:
        """A folder that is not there yet is an empty store; a file, or a folder that may not be read, is none."""
        if self.root.exists() and not (self.root.is_dir() and os.access(self.root, os.R_OK | os.X_OK)):
            raise StoreError(f"{self.uri}: expected a folder that may be read; mend it, or name another")

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._require_root()
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise ObjectNotFound(f"no object {key!r} in {self.uri}") from error
            raise ObjectUnusable(f"{self.uri}/{key}: {error}; check that it may be read") from error

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{self.uri}/{key}: {error}; check that {self.uri} is a folder that may be read and written, with room "
                "left"
            ) from error


def _leads_to(kind: Callable[[], bool]) -> bool:
    """Whether an entry of a folder is of a kind; a link that leads nowhere is of none."""
    try:
        return kind()
    except OSError:
        return False


def info_of(key: str, found: os.stat_result) -> ObjectInfo:
    """Tell of a local file what tells it from another.

    Args:
        key: that it is known by.
        found: as the system describes it.
    """
    return ObjectInfo(key, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def aws_client(service: str, *, endpoint_url: str | None, region: str | None) -> Any:
    """Make a client of a service of AWS, or of one that speaks as it does.

    Raises:
        ValueError: the endpoint is no URL.
    """
    import boto3
    from botocore.config import Config

    is_here = urlsplit(endpoint_url or "").hostname in LOOPBACK
    config = Config(
        retries={"max_attempts": READ_ATTEMPTS, "mode": "standard"},
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        request_checksum_calculation="when_required",
        proxies={} if is_here else None,
    )
    return boto3.Session().client(service, endpoint_url=endpoint_url, region_name=region, config=config)


class _Changed(StoreError):
    """An object is not the one any more that was asked for."""


@dataclass(frozen=True, slots=True)
class _AsSeen:
    """Tells a download in parts of which object they are to be."""

    head: "HeadObjectOutputTypeDef"

    def on_queued(self, future: "TransferFuture", **_: object) -> None:
        future.meta.provide_transfer_size(self.head["ContentLength"])
        future.meta.provide_object_etag(self.head["ETag"])


class UnfinishedUpload(NamedTuple):
    """An upload in parts that was begun and neither completed nor given up; the parts that arrived are paid for.

    Attributes:
        begun: seconds since 1970.
    """

    key: str
    upload: str
    begun: float


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
        self.staging = self._cache / STAGING
        self._client_or_none: S3Client | None = None
        self._is_bucket_known = False

    @property
    def _client(self) -> "S3Client":
        if self._client_or_none is None:
            try:
                self._client_or_none = aws_client(
                    "s3", endpoint_url=self._options.endpoint_url, region=self._options.region
                )
            except ValueError as error:
                raise StoreError(f"{self.uri}: {error}; expected CVQ_S3_ENDPOINT_URL=http(s)://host:port") from error
        return self._client_or_none

    def read_bytes(self, key: str, *, limit: int | None = None) -> bytes:
        return _within(self._read(key, limit=limit), limit=limit, key=key)

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        if size == 0:
            self._head(key)
            return b""
        return _complete(self._read(key, Range=f"bytes={start}-{start + size - 1}"), size=size, key=key)

    def write_bytes(self, key: str, data: bytes) -> None:
        self._call(key, lambda: self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=data))

    def write_new(self, key: str, data: bytes) -> bool:
        """Write an object unless it is there; whether it was written. Of several writers at once one is the first.

        A write whose answer was lost is sent again and finds itself there: the object says who wrote it.
        """
        from botocore.exceptions import ClientError

        writer = uuid.uuid4().hex
        request = {"Bucket": self._bucket, "Key": self._full(key), "Body": data, "Metadata": {_WRITER: writer}}

        def first() -> bool:
            for is_last in (*(False,) * (READ_ATTEMPTS - 1), True):
                try:
                    self._client.put_object(**request, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    if _code(error) in _PRECONDITION_FAILED:
                        break
                    if is_last or _code(error) not in _CONFLICT:
                        raise
            return bool(self._head(key)["Metadata"].get(_WRITER) == writer)

        return self._call(key, first)

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """Upload `path` (in parts when large) and remove it; the object appears only when complete."""
        with path.open("rb") as file:
            self._call(key, lambda: self._client.upload_fileobj(file, self._bucket, self._full(key)))
        path.unlink()
        return _head_info(key, self._head(key))

    def local(self, key: str) -> Path:
        """Fetch an object unless a copy of it as it lies there now is in the cache.

        What is written anew between the look at it and its last byte is looked at again: no copy is kept under the
        name of another.
        """
        for _ in range(READ_ATTEMPTS):
            head = self._head(key)
            identity = hashlib.sha256(f"{self.uri}/{key}@{head['ETag']}".encode()).hexdigest()
            path = self._cache / identity[:2] / f"{identity}{PurePosixPath(key).suffix}"
            if path.is_file():
                os.utime(path)  # What nobody has used for long is removed by `cvq gc`.
                return path
            with suppress(_Changed), atomic_path(path) as temporary:
                with temporary.open("wb") as file:
                    self._fetch(key, head, file)
                return path
        raise StoreError(f"{self.uri}/{key}: written again and again while it is read; let its writers end")

    def _fetch(self, key: str, head: "HeadObjectOutputTypeDef", file: IO[bytes]) -> None:
        """Write the object with these headers, and no other one, to a file."""
        from s3transfer.manager import TransferManager

        def in_parts() -> None:
            with TransferManager(self._client) as manager:
                manager.download(self._bucket, self._full(key), file, subscribers=[_AsSeen(head)]).result()

        if head["ContentLength"] > FETCHED_WHOLE_BYTES:
            self._call(key, in_parts)
        else:
            file.write(self._read(key, IfMatch=head["ETag"]))

    def exists(self, key: str) -> bool:
        return self.info(key) is not None

    def info(self, key: str) -> ObjectInfo | None:
        try:
            return _head_info(key, self._head(key))
        except ObjectNotFound:
            return None

    def list(self, prefix: str = "") -> Sequence[ObjectInfo]:
        items = (item for page in self._pages(prefix) for item in page.get("Contents", []))
        return [
            _s3_info(item["Key"][len(self._prefix) :], item["Size"], item["LastModified"], item["ETag"])
            for item in items
        ]

    def folders(self, prefix: str = "") -> Sequence[str]:
        items = (item for page in self._pages(prefix, Delimiter="/") for item in page.get("CommonPrefixes", []))
        return sorted(PurePosixPath(item["Prefix"]).name for item in items)

    def delete(self, key: str) -> None:
        self._call(key, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._full(key)))

    def unfinished(self) -> Sequence[UnfinishedUpload]:
        """List the uploads in parts that are not complete: those under way, and those that a kill broke off."""
        listing = self._client.get_paginator("list_multipart_uploads")
        pages = self._call("", lambda: [*listing.paginate(Bucket=self._bucket, Prefix=self._prefix)])
        return [
            UnfinishedUpload(item["Key"][len(self._prefix) :], item["UploadId"], item["Initiated"].timestamp())
            for page in pages
            for item in page.get("Uploads", [])
        ]

    def give_up(self, upload: UnfinishedUpload) -> None:
        """Free the parts of an upload; one that is no more is none."""
        place = {"Bucket": self._bucket, "Key": self._full(upload.key)}
        with suppress(ObjectNotFound):
            self._call(upload.key, lambda: self._client.abort_multipart_upload(**place, UploadId=upload.upload))

    def former(self) -> Iterator[FormerVersion]:
        """List the versions that a bucket keeps of what was written over or deleted, and the marks of deletions."""
        listing = self._client.get_paginator("list_object_versions")
        pages = self._call("", lambda: [*listing.paginate(Bucket=self._bucket, Prefix=self._prefix)])
        for page in pages:
            for item in page.get("Versions", []):
                if not item["IsLatest"]:
                    yield FormerVersion(item["Key"][len(self._prefix) :], item["VersionId"], False)
            for mark in page.get("DeleteMarkers", []):
                yield FormerVersion(mark["Key"][len(self._prefix) :], mark["VersionId"], True)

    def read_former(self, version: FormerVersion) -> bytes:
        def body() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._full(version.key), VersionId=version.id)
            with closing(answer["Body"]) as stream:
                return bytes(stream.read())

        return self._call(version.key, lambda: _read_whole(body))

    def delete_former(self, version: FormerVersion) -> None:
        self._call(
            version.key,
            lambda: self._client.delete_object(Bucket=self._bucket, Key=self._full(version.key), VersionId=version.id),
        )

    def _full(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _pages(self, prefix: str, **options: str) -> "Sequence[ListObjectsV2OutputTypeDef]":
        base = self._prefix + checked_folder(prefix)
        listing = self._client.get_paginator("list_objects_v2")
        return self._call(prefix, lambda: [*listing.paginate(Bucket=self._bucket, Prefix=base, **options)])

    def _head(self, key: str) -> "HeadObjectOutputTypeDef":
        """The object's headers; an answer to HEAD has no body, so whether the bucket is missing is asked once."""
        try:
            return self._call(key, lambda: self._client.head_object(Bucket=self._bucket, Key=self._full(key)))
        except ObjectNotFound:
            if not self._is_bucket_known:
                self._call(key, lambda: self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1))
            self._is_bucket_known = True
            raise

    def _read(self, key: str, *, limit: int | None = None, **options: str) -> bytes:
        """Read an object, or with `Range` a part of it, as far as one byte beyond `limit`; never less."""

        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        def body() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._full(key), **options)
            length = answer["ContentLength"]
            with closing(answer["Body"]) as stream:
                try:
                    data = bytes(stream.read(_amount(limit)))
                except ReadTimeoutError as error:  # Before the first byte botocore has asked again by itself.
                    raise ResponseStreamingError(error=error) from error
            # botocore compares lengths only where all is asked for.
            if len(data) < (length if limit is None else min(length, limit + 1)):
                raise IncompleteReadError(actual_bytes=len(data), expected_bytes=length)
            return data

        return self._call(key, lambda: _read_whole(body))

    def _call(self, key: str, request: Callable[[], T]) -> T:
        """The answer to `request`, whatever can go wrong turned into a `StoreError`."""
        from botocore.exceptions import BotoCoreError, ClientError
        from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

        try:
            return request()
        except ClientError as error:
            code = _code(error)
            if code in {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}:
                raise ObjectNotFound(f"no object {key!r} in {self.uri}") from error
            if code in _PRECONDITION_FAILED:
                raise _Changed(f"{self.uri}/{key}: {_WRITTEN_AGAIN}") from error
            raise StoreError(f"{self.uri}/{key}: the object store answered {code}: {error}") from error
        except S3DownloadFailedError as error:
            raise _Changed(f"{self.uri}/{key}: {_WRITTEN_AGAIN}") from error
        except (*_broken_bodies(), RetriesExceededError) as error:
            raise StoreError(f"{self.uri}/{key}: the body broke off {READ_ATTEMPTS} times or more: {error}") from error
        except BotoCoreError as error:
            raise StoreError(
                f"{self.uri}/{key}: the object store cannot be reached ({error}); "
                "check CVQ_S3_ENDPOINT_URL and the AWS credentials"
            ) from error


def _head_info(key: str, head: "HeadObjectOutputTypeDef") -> ObjectInfo:
    return _s3_info(key, head["ContentLength"], head["LastModified"], head["ETag"])


def _s3_info(key: str, size: int, modified: datetime, etag: str) -> ObjectInfo:
    instant = int(modified.timestamp()) * 1_000_000_000
    return ObjectInfo(key, size, instant, instant, etag)


def _broken_bodies() -> tuple[type[Exception], ...]:
    from botocore.exceptions import IncompleteReadError, ResponseStreamingError

    return IncompleteReadError, ResponseStreamingError


def _code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _read_whole(read: Callable[[], bytes]) -> bytes:
    """What `read` returns; botocore's own retries do not cover a body that breaks off half way, so these do."""
    for _ in range(READ_ATTEMPTS - 1):
        with suppress(*_broken_bodies()):
            return read()
    return read()


def _amount(limit: int | None) -> int:
    """How much to read to see whether there is more than `limit`."""
    return -1 if limit is None else limit + 1


def _within(data: bytes, *, limit: int | None, key: str) -> bytes:
    if limit is not None and len(data) > limit:
        raise UnsafeObject(f"{key}: expected at most {limit:,} bytes, found more")
    return data


def _complete(data: bytes, *, size: int, key: str) -> bytes:
    if len(data) != size:
        raise ObjectUnusable(f"{key}: expected {size} bytes of the range, found {len(data)}")
    return data
