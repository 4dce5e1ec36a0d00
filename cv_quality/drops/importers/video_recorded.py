"""What lies beside a clip and is no mask of its truth: points of frames, and boxes and pictures that a device made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cv_quality.drops.importers.video_folders import VideoClip
from cv_quality.drops.importers.video_frames import PictureFile, require_same_base
from cv_quality.drops.importers.video_logs import NUMBER
from cv_quality.errors import LayoutError, TableError
from cv_quality.tables.reading import opened_table

_SOURCE: Final = "source"
_INTEROCULAR: Final = "interocular_px"
_SOURCES: Final = ("truth", "device")


@dataclass(frozen=True, slots=True)
class Points:
    """A row of a table of landmarks: x and y of every point in turn."""

    frame: int
    source: str
    points_px: tuple[float, ...]
    interocular_px: float | None


def recorded_pictures(clip: VideoClip, base: int, warnings: list[str]) -> Mapping[str, Mapping[int, PictureFile]]:
    """Results, depth and references by frame number of the drop.

    Args:
        clip: whose they are.
        base: number that frame 0 has in names.
        warnings: what is left out is added.

    Raises:
        LayoutError: one kind counts from another number than the clip's other pictures.
    """
    found: dict[str, Mapping[int, PictureFile]] = {}
    sides = {**({"pictures": clip.pictures} if clip.pictures is not None else {}), **clip.numbered}
    first, known = next(iter(sides.items()), ("", None))
    for what, frames in clip.numbered.items():
        if what == "masks" or known is None:
            continue
        require_same_base(list(frames.files), list(known.files), clip=clip.name, sides=(what, first))
        if n_before := sum(number < base for number in frames.files):
            warnings.append(f"{clip.name}: {n_before:,} {what} of frames before the first picture are left out")
        found[what] = {number - base: file for number, file in frames.files.items() if number >= base}
    return found


def read_points(path: Path) -> tuple[Points, ...]:
    """Read a table of landmarks: frame_number, x and y of every point in turn, and source and interocular_px if wanted.

    Raises:
        LayoutError: a column is missing or odd, or a cell is no number.
    """
    try:
        with opened_table(path) as table:
            rows = table.rows.collect()
    except TableError as error:
        raise LayoutError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    places = [name for name in rows.columns if name not in (NUMBER, _SOURCE, _INTEROCULAR)]
    if NUMBER not in rows.columns or not places or len(places) % 2:
        raise LayoutError(
            f"{path}: expected a column {NUMBER}, then x and y of every point in turn, found {', '.join(rows.columns)}"
        )
    return tuple(_read_rows(rows.iter_rows(named=True), places, path))


def _read_rows(rows: Iterator[dict[str, object]], places: list[str], path: Path) -> Iterator[Points]:
    seen: set[tuple[int, str]] = set()
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        cells = [row[name] for name in places]
        frame, source, between = row[NUMBER], row.get(_SOURCE) or _SOURCES[0], row.get(_INTEROCULAR)
        if not isinstance(frame, int) or source not in _SOURCES or (frame, source) in seen:
            raise LayoutError(
                f"{where}: expected each {NUMBER} once of each {_SOURCE} (truth or device), found {frame!r}, {source!r}"
            )
        seen.add((frame, str(source)))
        if all(cell is None for cell in cells):
            continue
        points = [float(cell) for cell in cells if isinstance(cell, int | float)]
        if len(points) < len(cells) or not (between is None or isinstance(between, int | float)):
            raise LayoutError(f"{where}: expected numbers for every point, or none at all, found {cells}")
        yield Points(frame, str(source), tuple(points), None if between is None else float(between))
