"""What was read of files, kept for as long as a file is not written again: in this process, and on disk if wanted.

It is a cache and never the truth: what is lost, damaged or of another release is read again. Which files there are is
asked of `cv_quality.lake.lake.Survey`.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from cv_quality.errors import StoreError
from cv_quality.lake.lake import Survey
from cv_quality.lake.store import ObjectInfo, atomic_path

SETTLED_NS = 2_000_000_000
"""Age of a file from which its times tell it from any later one; a younger one is read each time."""
SAVED_EVERY = 200
"""Files read anew after which the copy on disk is written again, at least."""
SAVED_PARTS = 20
"""The part of all that must be new, so that a large copy is not written for little."""

T = TypeVar("T")
Mark = tuple[int, int, int, str]


class Kept(Generic[T]):
    """Values made of files, by object key."""

    def __init__(self, path: Path | None = None, kind: type[T] | None = None) -> None:
        """Begin with what lies on disk, if anything is to.

        Args:
            path: file that other processes begin with.
            kind: of the values there; what does not fit it is read again.
        """
        self._path = path
        self._values: dict[str, tuple[Mark, T]] = _loaded(path, kind) if path and kind else {}
        self._n_new = 0

    def get(self, info: ObjectInfo) -> T | None:
        """Give what was made of a file as it lies there; None where that is not known."""
        known = self._values.get(info.key)
        return known[1] if known is not None and known[0] == _mark(info) else None

    def value(self, info: ObjectInfo, make: Callable[[], T]) -> T:
        """Give what was made of a file as it lies there; made now where that is not known.

        Args:
            info: of the file, from before it is read.
            make: reads it.
        """
        known = self._values.get(info.key)
        if known is not None and known[0] == _mark(info):
            return known[1]
        value = make()
        self.keep({info: value})
        return value

    def keep(self, values: Mapping[ObjectInfo, T]) -> None:
        """Keep what was made of files, of each as it lay there before it was read."""
        now = time.time_ns()
        for info, value in values.items():
            if info.version or now - info.changed_ns > SETTLED_NS:
                self._values[info.key] = _mark(info), value
                self._n_new += 1

    def save(self, survey: Survey) -> None:
        """Write the copy on disk where much is not in it; what a look at the store shows to be gone is forgotten."""
        if self._path is None or self._n_new < max(SAVED_EVERY, len(self._values) // SAVED_PARTS):
            return
        self._n_new = 0
        self._values = {key: known for key, known in [*self._values.items()] if not survey.lacks(key)}
        data = msgspec.msgpack.encode(self._values)
        with suppress(StoreError), atomic_path(self._path) as temporary:
            temporary.write_bytes(hashlib.sha256(data).digest() + data)


def _loaded(path: Path, kind: type[T]) -> dict[str, tuple[Mark, T]]:
    with suppress(OSError, msgspec.DecodeError):
        saved = path.read_bytes()
        digest, data = saved[:32], saved[32:]
        if hashlib.sha256(data).digest() == digest:
            return msgspec.msgpack.decode(data, type=dict[str, tuple[Mark, kind]])  # type: ignore[valid-type]
    return {}


def _mark(info: ObjectInfo) -> Mark:
    return info.size, info.modified_ns, info.changed_ns, info.version
