"""Embeddings of pictures, kept by what made them: the picture's pixels, the encoder and the steps before it.

The encoder of a promptable model is most of its cost, and gives the same for the same picture whatever is asked of it.
Files are their owner's alone, and safe to delete; a damaged one is made again.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.inference.preprocessing import Frame
from cv_quality.lake.store import atomic_path

MAX_CACHE_BYTES: Final = 8 << 30
"""Of embeddings in a folder; the ones that were not used for longest make room. SAM's are 4 MiB a picture."""
_DAMAGE: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)

Embeddings = Mapping[str, NDArray[Any]]


class EmbeddingCache:
    """Embeddings in a folder, by content.

    Args:
        folder: where they lie; None keeps none.
        encoder: all that they depend on beside the picture, as text.
        max_bytes: of all files together.
    """

    def __init__(self, folder: Path | None, *, encoder: str, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._encoder = hashlib.sha256(encoder.encode()).digest()
        self._max_bytes = max_bytes
        self._bytes = sum(size for _, size, _ in _files(folder)) if folder else 0

    def of(self, picture: Frame, encode: Callable[[Frame], Embeddings]) -> Embeddings:
        """The embeddings of a picture, read or made."""
        if self._folder is None:
            return encode(picture)
        digest = hashlib.sha256(self._encoder + repr(picture.shape).encode() + np.ascontiguousarray(picture).data)
        path = self._folder / f"{digest.hexdigest()}.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
            os.utime(path)
        except _DAMAGE:
            found = dict(encode(picture))
            self._keep(path, found)
        return found

    def _keep(self, path: Path, arrays: Embeddings) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type] # numpy types its keywords as flags
        data = buffer.getvalue()
        self._make_room(len(data), parent=path.parent)
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        self._bytes += len(data)

    def _make_room(self, more: int, *, parent: Path) -> None:
        if self._bytes + more <= self._max_bytes:
            return
        kept = sorted(_files(parent), reverse=True)
        self._bytes = 0
        # To nine tenths, so that the folder is not listed for every picture.
        for _, size, path in kept:
            if self._bytes + size + more <= 0.9 * self._max_bytes:
                self._bytes += size
            else:
                path.unlink(missing_ok=True)


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """When each file was used last, and its size."""
    found = []
    for path in folder.glob("*.npz"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another process made room
            continue
        found.append((status.st_mtime, status.st_size, path))
    return found
