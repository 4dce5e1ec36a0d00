"""Pictures of one clip as people leave them: files of a folder or members of a tar file, by the number in their names.

Numbers may start anywhere and step by more than one; holes are counted, and two pictures of one number are refused.
What the folders around them mean is told in `cv_quality.drops.importers.video_folders`.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.frames import MAX_FRAME_BYTES
from cv_quality.drops.images import SIGNATURES, decode_image, decode_labels
from cv_quality.drops.importers.folders import PICTURE_SUFFIXES, natural, some
from cv_quality.drops.tarmembers import TarDamaged, read_members
from cv_quality.errors import FrameError, LayoutError

MAX_LABELS_OF_A_MASK: Final = 32
"""A picture of more grey levels than these is no mask, unless that is said."""
_JPEG: Final = (".jpg", ".jpeg", ".jpe", ".jfif")
_DIGITS = re.compile(r"[0-9]+")

Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PictureFile:
    """One picture.

    Attributes:
        name: for people: below the folder that was given, or below the tar file.
        path: the file, or the tar file that holds it.
        offset, size: of a member of a tar file.
    """

    name: str
    path: Path
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """Read its bytes.

        Raises:
            FrameError: there are more of them than a picture has.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(MAX_FRAME_BYTES + 1 if self.size is None else self.size)
        if len(data) > MAX_FRAME_BYTES:
            raise FrameError(f"expected at most {MAX_FRAME_BYTES:,} bytes", reason="frame_too_large")
        return data

    def labels(self) -> Labels:
        """Decode a mask.

        Raises:
            LayoutError: it cannot be read, or holds colours.
        """
        try:
            return decode_labels(self.read())
        except FrameError as error:
            raise LayoutError(f"{self.name}: {error}") from error

    def image(self) -> NDArray[np.uint8]:
        """Decode a picture, grey or RGB.

        Raises:
            LayoutError: it cannot be read.
        """
        try:
            return decode_image(self.read())
        except FrameError as error:
            raise LayoutError(f"{self.name}: {error}") from error


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """The pictures of a clip by frame number, ascending.

    Attributes:
        files: by the number in the name.
        step: from one number to the next, where every so many frames have a picture.
        holes: numbers of this step without one.
        is_numbered: whether names have numbers; else they count from 0 in natural order.
    """

    files: Mapping[int, PictureFile]
    step: int
    holes: tuple[int, ...]
    is_numbered: bool = True

    def __len__(self) -> int:
        return len(self.files)

    @property
    def first(self) -> int:
        return next(iter(self.files))

    @property
    def last(self) -> int:
        return max(self.files)

    @property
    def is_jpeg(self) -> bool:
        return next(iter(self.files.values())).name.lower().endswith(_JPEG)

    def words(self) -> str:
        """Say how many there are, and which are missing."""
        step = f", every {self.step}th" if self.step > 1 else ""
        numbers = f"{self.first} to {self.last}{step}" if self.is_numbered else "without numbers, in natural order"
        missing = f", {len(self.holes):,} missing: {some(list(map(str, self.holes)))}" if self.holes else ""
        return f"{len(self):,} ({numbers}{missing})"

    def look_like_masks(self) -> bool:
        """Tell masks from pictures by the first, the middle and the last one.

        Raises:
            LayoutError: one of them cannot be read.
        """
        if self.is_jpeg:
            return False
        files = list(self.files.values())
        return all(_is_mask(files[place]) for place in sorted({0, len(files) // 2, len(files) - 1}))


def _is_mask(file: PictureFile) -> bool:
    try:
        labels = decode_labels(file.read())
    except FrameError as error:
        if error.reason == "unsupported_format":
            return False
        raise LayoutError(f"{file.name}: {error}") from error
    return len(np.unique(labels)) <= MAX_LABELS_OF_A_MASK


def number_frames(files: Sequence[PictureFile], *, clip: str) -> FrameFiles:
    """Find the number of each picture in its name: the last digits that differ from picture to picture.

    Args:
        files: of one clip.
        clip: its name, for errors.

    Raises:
        LayoutError: two pictures have one number, or some have none.

    >>> files = [PictureFile(f"in{number:06}.jpg", Path()) for number in (470, 471, 473)]
    >>> number_frames(files, clip="highway").words()
    '3 (470 to 473, 1 missing: 472)'
    """
    stems = {file: file.name.rpartition("/")[2].rpartition(".")[0] for file in files}
    groups = {file: list(map(int, _DIGITS.findall(stem))) for file, stem in stems.items()}
    if not any(groups.values()):
        ordered = sorted(files, key=lambda file: natural(file.name))
        return FrameFiles(dict(enumerate(ordered)), 1, (), is_numbered=False)
    if bare := [file.name for file, found in groups.items() if not found]:
        raise LayoutError(
            f"clip {clip}: expected a frame number in the name of every picture, found none in {some(bare)}: take them "
            "out of the folder, or number them"
        )
    place = _number_place(list(groups.values()))
    numbered: dict[int, PictureFile] = {}
    for file in sorted(files, key=lambda file: (groups[file][place], file.name)):
        number = groups[file][place]
        if number in numbered:
            raise LayoutError(
                f"clip {clip}: expected one picture for each frame, found frame {number} as {numbered[number].name} "
                f"and {file.name}: leave one of them, and give each clip a folder of its own"
            )
        numbered[number] = file
    numbers = list(numbered)
    step = math.gcd(*(after - before for before, after in pairwise(numbers))) or 1
    return FrameFiles(numbered, step, tuple(_missing(numbers, step)))


def _number_place(groups: Sequence[Sequence[int]]) -> int:
    """Which digits of the names, counted from the last as -1, are the number."""
    n_groups = min(map(len, groups))
    if len(set(map(len, groups))) > 1:
        return -1
    different = [place for place in range(-1, -n_groups - 1, -1) if len({g[place] for g in groups}) == len(groups)]
    return different[0] if different else -1


def _missing(numbers: Sequence[int], step: int) -> Iterator[int]:
    for before, after in pairwise(numbers):
        # Timestamps as names leave no holes that could be counted.
        if after - before <= step * len(numbers):
            yield from range(before + step, after, step)


def require_same_base(
    seen: Sequence[int], true: Sequence[int], *, clip: str, sides: tuple[str, str] = ("prediction", "truth")
) -> None:
    """Require that both sides count from the same number: that neither sticks out where the other falls short.

    Args:
        seen, true: numbers of frames of both sides, ascending.
        clip: whose they are.
        sides: what both are called.

    Raises:
        LayoutError: they do not.
    """
    if not seen or not true:
        return
    first, last = seen[0] - true[0], seen[-1] - true[-1]
    if first and last and (first > 0) == (last > 0):
        told = (
            f": --shift {-first} pairs the first frames, --shift 0 pairs equal numbers"
            if sides[0] == "prediction"
            else ": number both alike, or say --first-number to take equal numbers for one frame"
        )
        raise LayoutError(
            f"clip {clip}: expected both sides to count frames from the same number, found {seen[0]} to {seen[-1]} in "
            f"the {sides[0]} and {true[0]} to {true[-1]} in the {sides[1]}{told}"
        )


def pictures_of_tar(path: Path) -> list[PictureFile]:
    """List the pictures of a tar file.

    Raises:
        LayoutError: it is compressed, or damaged.
    """
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise LayoutError(f"{path}: expected a plain tar file, found a compressed one: decompress it first")
    found: list[PictureFile] = []
    try:
        with path.open("rb") as file:
            for member in read_members(file, max_bytes=MAX_FRAME_BYTES):
                hidden = any(part.startswith(".") for part in member.name.split("/") if part != ".")
                if member.is_file and not hidden and _is_picture(member.name, member.data or b""):
                    found.append(PictureFile(member.name.removeprefix("./"), path, member.offset, member.size))
    except TarDamaged as error:
        raise LayoutError(f"{path}: the tar file breaks off or is damaged: {error}") from error
    return found


def _is_picture(name: str, data: bytes) -> bool:
    return Path(name).suffix.lower() in PICTURE_SUFFIXES and data.startswith(tuple(sign for sign, _ in SIGNATURES))
