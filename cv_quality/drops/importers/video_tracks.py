"""Boxes of MOTChallenge's text files: frame, track, box and what follows them, checked line by line.

Nine columns are of MOT16 and later (flag, class, visibility), ten of 2D MOT 2015 (confidence, place in the world).
"""

import math
from collections.abc import Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import LayoutError

MIN_COLUMNS: Final = 6
MOT16_COLUMNS: Final = 9
MAX_BOX_LINES: Final = 5_000_000
PEDESTRIAN: Final = 1
DISTRACTORS: Final = frozenset({2, 7, 8, 12})
"""Of MOT16 and MOT17: on a vehicle, static, distractor, reflection; neither to be tracked nor wrong to track."""
MOT_CLASSES: Final = (
    *("pedestrian", "person_on_vehicle", "car", "bicycle", "motorbike", "non_motorized_vehicle", "static_person"),
    *("distractor", "occluder", "occluder_on_the_ground", "occluder_full", "reflection", "crowd"),
)
"""By number from 1."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxTable:
    """Boxes of one file, in its order.

    Attributes:
        frame: from 1, shape (n,).
        track: shape (n,); -1 where a detection belongs to none.
        boxes: left, top, width, height in pixels, shape (n, 4).
        confidence: the seventh column; 1 where there is none.
        class_number: the eighth of nine columns; 0 elsewhere.
        n_columns: of the file.
    """

    frame: NDArray[np.int64]
    track: NDArray[np.int64]
    boxes: NDArray[np.float64]
    confidence: NDArray[np.float64]
    class_number: NDArray[np.int64]
    n_columns: int

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def has_classes(self) -> bool:
        """Whether there are pedestrians among classes of MOT16."""
        return self.n_columns == MOT16_COLUMNS and bool((self.class_number == PEDESTRIAN).any())

    @property
    def is_counted(self) -> NDArray[np.bool_]:
        """Boxes of the truth that are to be found: flagged, and pedestrians where classes are told."""
        is_pedestrian = self.class_number == PEDESTRIAN if self.has_classes else np.ones(len(self), np.bool_)
        return np.asarray((self.confidence != 0) & is_pedestrian)

    @property
    def is_distractor(self) -> NDArray[np.bool_]:
        """Boxes of the truth that are neither to be found nor wrong to find, as the benchmark's own code has them."""
        return np.isin(self.class_number, sorted(DISTRACTORS)) & self.has_classes


@dataclass(frozen=True, slots=True)
class SequenceInfo:
    """What seqinfo.ini says."""

    name: str | None
    frame_rate_hz: float | None
    n_frames: int | None


def looks_like_tracks(path: Path) -> bool:
    """Tell a file of boxes by its first line: six numbers or more; an empty file is one without any."""
    try:
        with path.open("rb") as file:
            lines = (line.strip() for line in file.read(4096).decode("ascii").splitlines())
        first = next((line for line in lines if line and not line.startswith("#")), None)
        cells = [] if first is None else _cells(first)
        return first is None or (len(cells) >= MIN_COLUMNS and all(math.isfinite(float(cell)) for cell in cells))
    except (OSError, ValueError):
        return False


def read_boxes(path: Path) -> BoxTable:
    """Read a file of boxes.

    Raises:
        LayoutError: a line is not numbers, lines differ in length, or there are too many.
    """
    rows: list[list[float]] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.strip() and not line.startswith("#"):
                rows.append(_row(_cells(line.strip()), width=len(rows[0]) if rows else None, where=f"{path}:{number}"))
            if len(rows) > MAX_BOX_LINES:
                raise LayoutError(f"{path}: expected at most {MAX_BOX_LINES:,} boxes")
    table = np.array(rows, np.float64).reshape(len(rows), len(rows[0]) if rows else MIN_COLUMNS)
    n, n_columns = table.shape
    return BoxTable(
        frame=table[:, 0].astype(np.int64),
        track=table[:, 1].astype(np.int64),
        boxes=table[:, 2:6],
        confidence=table[:, 6] if n_columns > 6 else np.ones(n),
        class_number=table[:, 7].astype(np.int64) if n_columns == MOT16_COLUMNS else np.zeros(n, np.int64),
        n_columns=n_columns,
    )


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.rstrip(",").split(",")] if "," in line else line.split()


def _row(cells: Sequence[str], *, width: int | None, where: str) -> list[float]:
    try:
        row = [float(cell) for cell in cells]
    except ValueError:
        raise LayoutError(f"{where}: expected numbers: frame, track, left, top, width, height, found {cells}") from None
    if len(row) < MIN_COLUMNS or (width is not None and len(row) != width):
        expected = f"{width}" if width is not None else f"{MIN_COLUMNS} or more"
        raise LayoutError(f"{where}: expected {expected} columns, found {len(row)}: the file may be cut short")
    if not all(map(math.isfinite, row[:MIN_COLUMNS])):
        raise LayoutError(f"{where}: expected finite numbers, found {cells}")
    if not (row[0].is_integer() and row[1].is_integer() and row[0] >= 0):
        raise LayoutError(f"{where}: expected whole numbers of frame and track, found {cells[:2]}")
    return row


def read_sequence_info(path: Path) -> SequenceInfo:
    """Read a seqinfo.ini.

    Raises:
        LayoutError: it is malformed.
    """
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
        section = parser["Sequence"] if "Sequence" in parser else parser["DEFAULT"]
        rate, length = section.get("frameRate"), section.get("seqLength")
        return SequenceInfo(
            name=section.get("name"),
            frame_rate_hz=float(rate) if rate else None,
            n_frames=int(length) if length else None,
        )
    except (ConfigError, ValueError) as error:
        raise LayoutError(f"{path}: expected a sequence's name, frameRate and seqLength, found: {error}") from error
