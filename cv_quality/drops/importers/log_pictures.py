"""The images that rows of a log refer to, by path below a folder or by name in an archive."""

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cv_quality.drops.writer import is_safe_member
from cv_quality.errors import MappingError


@dataclass(frozen=True, slots=True)
class PictureSource:
    """Images by name; those whose names no drop can have are not among them."""

    names: frozenset[str]
    read: Callable[[str], bytes]


@contextmanager
def open_pictures(place: Path) -> Iterator[PictureSource]:
    """Open a folder, a zip or a tar archive.

    Raises:
        MappingError: it is none of them.
    """
    if place.is_dir():
        files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
        yield PictureSource(_safe(files), lambda name: (place / name).read_bytes())
        return
    with ExitStack() as stack:
        try:
            if zipfile.is_zipfile(place):
                packed = stack.enter_context(zipfile.ZipFile(place))
                yield PictureSource(_safe(packed.namelist()), packed.read)
                return
            tar = stack.enter_context(tarfile.open(place))
        except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise MappingError(f"frames: expected a folder, a zip or a tar archive at {place}: {error}") from error
        yield PictureSource(_safe(item.name for item in tar if item.isfile()), lambda name: _member(tar, name))


def _safe(names: "Iterator[str] | set[str] | list[str]") -> frozenset[str]:
    return frozenset(name for name in names if is_safe_member(name))


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    return file.read() if file is not None else b""
