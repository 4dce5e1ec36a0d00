"""Lists a folder of pictures as people leave it: what is a picture, and what file systems and authors put beside.

Names and first bytes decide; whether a picture can be read is found in `cv_quality.drops.importers.pictures`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cv_quality.drops.images import SIGNATURES

PICTURE_SUFFIXES: Final = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"}
    | {".avif", ".dng", ".heic", ".heif", ".jp2", ".tif", ".tiff", ".webp"}
    | {".arw", ".cr2", ".cr3", ".jxl", ".mpo", ".nef", ".orf", ".pcx", ".raf", ".rw2", ".sgi", ".tga"}
)
"""Of pictures, also of those that no drop takes: such a file is listed, never passed over."""
_FOREIGN: Final = ((b"II*\0", 0), (b"MM\0*", 0), (b"WEBP", 8), (b"ftyphei", 4), (b"ftypmif1", 4), (b"ftypavif", 4))
"""First bytes of pictures that no drop takes, and where they stand: TIFF, WebP, HEIC and AVIF."""
_LEFTOVER_FOLDER = re.compile(
    r"\..*|@eaDir|#recycle|#snapshot|__MACOSX|\$RECYCLE\.BIN|System Volume Information|lost\+found", re.IGNORECASE
)
_LEFTOVER = re.compile(r"\..*|(eh)?thumbs(_vista)?\.db|desktop\.ini|Icon\r|picasa\.ini|~\$.*", re.IGNORECASE)
_DOCUMENT = re.compile(r"readme.*|.*\.(csv|docx?|html?|json|log|md|pdf|rtf|tsv|txt|xlsx?|xml|ya?ml)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """The files of a folder, as paths relative to it with "/" between, in natural order.

    Attributes:
        pictures: by name or first bytes.
        leftovers: of file systems and file managers.
        others: documents and whatever else is no picture.
        links: to folders, which are not followed.
    """

    root: Path
    pictures: tuple[str, ...]
    leftovers: tuple[str, ...]
    others: tuple[str, ...]
    links: tuple[str, ...]


def list_pictures(root: Path) -> PictureFolder:
    """List the files below a folder."""
    pictures: list[str] = []
    leftovers: list[str] = []
    others: list[str] = []
    files, links = _walk(root)
    for name in sorted(files, key=natural):
        *folders, file = name.split("/")
        if _LEFTOVER.fullmatch(file) or any(_LEFTOVER_FOLDER.fullmatch(folder) for folder in folders):
            leftovers.append(name)
        elif not _DOCUMENT.fullmatch(file) and _is_picture(root / name):
            pictures.append(name)
        else:
            others.append(name)
    return PictureFolder(root, tuple(pictures), tuple(leftovers), tuple(others), tuple(sorted(links, key=natural)))


def natural(name: str) -> list[tuple[int, str]]:
    """Sort `s2/10.pgm` after `s2/9.pgm`."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def stem_of(name: str) -> str:
    """Take the suffix of a picture off a path; another one is a part of the name.

    >>> stem_of("a/PXL_1.MP.jpg"), stem_of("subject01.glasses")
    ('a/PXL_1.MP', 'subject01.glasses')
    """
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in PICTURE_SUFFIXES else name


def encodable(name: str) -> str:
    """Write bytes of a file name that are no UTF-8 as their escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def some(names: Sequence[str], *, most: int = 3) -> str:
    """Write the first of several names for people."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _walk(root: Path) -> tuple[list[str], list[str]]:
    """Files, links that lead nowhere among them, and links to folders."""
    files: list[str] = []
    links: list[str] = []
    for folder, below, names in os.walk(root):
        places = [Path(folder, name) for name in names]
        files += [path.relative_to(root).as_posix() for path in places if path.is_file() or path.is_symlink()]
        links += [Path(folder, name).relative_to(root).as_posix() for name in below if Path(folder, name).is_symlink()]
    return files, links


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return True  # told as an image that cannot be read
    is_foreign = any(start.startswith(signature, place) for signature, place in _FOREIGN)
    return is_foreign or start.startswith(tuple(signature for signature, _ in SIGNATURES))
