"""Where a deployment keeps things: files of its folders, objects of its buckets, and former versions of those.

What they say is read by `cv_quality.forgetting.reading`.
"""

import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from cv_quality.drops.forgotten import KEY_FILE
from cv_quality.errors import ForgettingError, StoreError
from cv_quality.forgetting.reading import texts_of
from cv_quality.forgetting.words import Words
from cv_quality.lake.store import FormerVersion, LocalStore, Store
from cv_quality.workspace import Workspace

SIGNING_KEY: Final = "receipts.key"
PENDING: Final = "pending"
LOCK: Final = "lock"
BATCH_CHARACTERS: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """One thing that is kept.

    Attributes:
        where: landing, lake, published, or home for everything else.
        key: within that.
        path: of a local file.
        store: of an object.
        version: of a former version of an object.
    """

    where: str
    key: str
    path: Path | None = None
    store: Store | None = None
    version: FormerVersion | None = None

    def __str__(self) -> str:
        return f"{self.where}/{self.key}{f' version {self.version.id}' if self.version else ''}"

    def open(self) -> BinaryIO:
        if self.path is not None:
            return self.path.open("rb")
        assert self.store is not None
        data = self.store.read_former(self.version) if self.version else self.store.read_bytes(self.key)
        return io.BytesIO(data)

    def digest(self) -> str:
        with self.open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # a BinaryIO is one

    def delete(self) -> None:
        if self.path is not None:
            try:
                self.path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"{self.path}: {error.strerror}; let it be deleted, then forget again") from error
        elif self.version and self.store:
            self.store.delete_former(self.version)
        elif self.store:
            self.store.delete(self.key)


@dataclass(frozen=True, slots=True)
class Scan:
    """What looking through a deployment found.

    Attributes:
        n_files: that were looked through.
        found: those that hold the subject.
        not_read: those that could not be decoded; their bytes were searched all the same.
    """

    n_files: int
    found: tuple[Place, ...]
    not_read: tuple[str, ...] = field(default=())


def scan(workspace: Workspace, words: Words) -> Scan:
    """Look through everything that a deployment keeps for a subject.

    Raises:
        StoreError: something may not be read.
    """
    found, not_read, n_files = list[Place](), list[str](), 0
    for place in places(workspace):
        n_files += 1
        try:
            if _holds(place, words):
                found.append(place)
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise StoreError(f"{place}: it may not be read, so nobody can tell what it holds; allow it") from error
        except ForgettingError:
            not_read.append(str(place))
    return Scan(n_files, tuple(found), tuple(not_read))


def _holds(place: Place, words: Words) -> bool:
    held, size = list[str](), 0
    with place.open() as file:
        for text in texts_of(place.key, file):
            held.append(text)
            size += len(text)
            if size > BATCH_CHARACTERS:
                if words.are_in(held):
                    return True
                held, size = [], 0
    return words.are_in(held)


def stores(workspace: Workspace) -> dict[str, Store]:
    return {"landing": workspace.landing, "lake": workspace.lake.store, "published": workspace.published()}


def places(workspace: Workspace) -> Iterator[Place]:
    """Everything that a deployment keeps, but the keys and the list of what is being forgotten."""
    settings, local = workspace.settings, dict[Path, str]()
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    for where, store in stores(workspace).items():
        if isinstance(store, LocalStore):
            local[store.root] = where
        else:
            yield from (Place(where, info.key, store=store) for info in store.list())
            versions = (version for version in store.former() if not version.is_marker)
            yield from (Place(where, version.key, store=store, version=version) for version in versions)
    beside = sorted(settings.warehouse.parent.glob(f"*{settings.warehouse.name}*"))
    for folder in (settings.home, settings.reports):
        local.setdefault(folder, "home")
    own = {settings.forgetting / name for name in (KEY_FILE, SIGNING_KEY, LOCK)}
    seen = set[Path]()
    for folder, where in sorted(local.items(), key=lambda item: -len(item[0].parts)):
        for path in sorted(folder.rglob("*")):
            is_own = path in own or path.is_relative_to(settings.forgetting / PENDING)
            if path not in seen and path.is_file() and not path.is_symlink() and not is_own:
                seen.add(path)
                yield Place(where, path.relative_to(folder).as_posix(), path=path)
    yield from (Place("home", path.name, path=path) for path in beside if path.is_file() and path not in seen)


def former_versions(workspace: Workspace, keys: Sequence[tuple[str, str]]) -> Iterator[Place]:
    """The former versions of objects, by where and key, with the marks of their deletion."""
    wanted = set(keys)
    for where, store in stores(workspace).items():
        for version in store.former():
            if (where, version.key) in wanted:
                yield Place(where, version.key, store=store, version=version)
