"""Folders for unfinished files, which do not outlive the process that made them, even one that was killed.

Who writes where is decided by `cv_quality.lake.lake` and `cv_quality.lake.warehouse`.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from cv_quality.errors import StoreError
from cv_quality.lake.store import make_private


@contextmanager
def staging_folder(parent: Path, *, prefix: str) -> Iterator[Path]:
    """Make a private folder in `parent`, removed when the block ends; those of dead processes are removed first.

    A folder is locked for as long as its process lives, and the operating system frees the locks of a killed one. The
    lock on `parent` keeps others from taking a folder for abandoned between its making and its locking.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        own, held = _made(parent, prefix)
    except OSError as error:
        raise StoreError(
            f"{parent}: {error}; check that it is a folder that may be read and written, with room left"
        ) from error
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(held)


def _made(parent: Path, prefix: str) -> tuple[Path, int]:
    """A folder, and the descriptor that holds its lock."""
    make_private(parent)
    with _locked(parent):
        for folder in _abandoned(parent, prefix):
            shutil.rmtree(folder, ignore_errors=True)
        own = Path(tempfile.mkdtemp(prefix=prefix, dir=parent.absolute()))
        held = os.open(own, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
    return own, held


def abandoned_folders(parent: Path, *, prefix: str) -> list[Path]:
    """List the folders of dead processes in `parent`, which the next `staging_folder` there removes."""
    if not parent.is_dir():
        return []
    with _locked(parent):
        return list(_abandoned(parent, prefix))


def _abandoned(parent: Path, prefix: str) -> Iterator[Path]:
    """The folders that no process holds, each locked while it is looked at."""
    for folder in parent.glob(f"{escape(prefix)}*/"):
        with suppress(BlockingIOError, FileNotFoundError), _open_folder(folder) as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder


@contextmanager
def _locked(parent: Path) -> Iterator[None]:
    with _open_folder(parent) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
