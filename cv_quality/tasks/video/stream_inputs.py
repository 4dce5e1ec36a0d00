"""What one stream is scored from: its frames and log, the truth, and what the model or the device made of each frame.

Tables of the drop are read once, pictures one at a time; scores are made in `.mask_quality` and `.quality`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.images import decode_depth, decode_image
from cv_quality.drops.tables import (
    BOXES,
    CLIPS,
    DEVICES,
    DROP_FILES,
    LANDMARKS,
    MASK_CLASSES,
    VALIDATED_STREAMS,
)
from cv_quality.errors import FrameError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.video.flow import opencv
from cv_quality.tasks.video.clip_scores import OK
from cv_quality.tasks.video.latency import frame_period_ms
from cv_quality.tasks.video.mask_quality import MaskFrame, TruthClasses, truth_classes
from cv_quality.tasks.video.pictures import Content, DropPictures
from cv_quality.tasks.video.predictions import decoded_labels
from cv_quality.tasks.video.quality import Boxes, PlaneFrame, PointFrame
from cv_quality.tasks.video.tables import CLIP_FILES, CLIP_FRAMES, PREDICTIONS

if TYPE_CHECKING:
    import polars as pl

AS_RECORDED = "as_recorded"
NO_OUTPUT = "no_output"
ROWS_AT_ONCE = 32
"""Outputs that are read at a time: each holds a picture."""

Row = Mapping[str, object]
P = TypeVar("P", bound=NDArray[np.generic])


@dataclass(frozen=True, slots=True, eq=False)
class OutputRow:
    """What the model gave of one frame: a row of `predictions`."""

    frame_number: int
    status: str
    picture: bytes | None
    points: Sequence[float | None] | None


class Outputs:
    """Reads `predictions` stream by stream, a few rows at a time.

    Args:
        path: the table's file.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path = path
        self._groups: dict[str, list[int]] = {}
        with pq.ParquetFile(path) as file:
            self._metadata = file.metadata
            for group in range(file.num_row_groups):
                names = file.read_row_group(group, columns=["stream_id"])["stream_id"].unique().to_pylist()
                for name in names:
                    self._groups.setdefault(name, []).append(group)

    def of(self, stream: str) -> Iterator[OutputRow]:
        """Every output of a stream in the order of the table, which is that of its frames."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        columns = ["stream_id", "frame_number", "status", "picture", "points_px"]
        groups = self._groups.get(stream, [])
        if not groups:
            return
        # Streams are scored side by side, and an open file is read by one thread.
        with pq.ParquetFile(self._path, metadata=self._metadata) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=columns, use_threads=False):
                for row in batch.filter(pc.equal(batch["stream_id"], stream)).to_pylist():
                    yield OutputRow(row["frame_number"], row["status"], row["picture"], row["points_px"])


class DropInputs:
    """Reads all that the streams of one drop are scored from.

    Args:
        lake: with the tables of the drop, and `predictions` of the build.
        pictures: of the drop.
        build, drop: whose model, and which drop.
    """

    def __init__(self, lake: Lake, pictures: DropPictures, *, build: str, drop: str) -> None:
        self.build, self.drop = build, drop
        self.pictures = pictures
        key = TableKey(drop=drop)
        self.outputs = Outputs(lake.path(PREDICTIONS, TableKey(build=build, drop=drop)))
        self.is_own = lake.first(DROP_FILES, key, columns=["build_id"]) == {"build_id": build}
        self.classes: TruthClasses = truth_classes(lake.read(MASK_CLASSES, key).iter_rows(named=True))
        self.frames, self.log = lake.read(CLIP_FRAMES, key), lake.read(VALIDATED_STREAMS, key)
        self.clips = {str(row["stream_id"]): row for row in lake.read(CLIPS, key).iter_rows(named=True)}
        self.files = {str(row["stream_id"]): row for row in lake.read(CLIP_FILES, key).iter_rows(named=True)}
        self.devices = {str(row["device_id"]): row for row in lake.read(DEVICES, key).iter_rows(named=True)}
        self._boxes = lake.read(BOXES, key).partition_by("stream_id", "source", as_dict=True)
        self._points = lake.read(LANDMARKS, key).partition_by("stream_id", "source", as_dict=True)

    @property
    def streams(self) -> list[str]:
        """Every stream of the drop, sorted."""
        return sorted({*self.frames["stream_id"].unique().to_list(), *self.clips, *self.log["stream_id"].unique()})

    def stream(self, name: str) -> "StreamInputs":
        return StreamInputs(self, name)

    def boxes(self, stream: str, source: str) -> dict[int, Boxes]:
        """The boxes of a stream by number of the frame; those without area are left out.

        Args:
            stream, source: whose, from the truth or the device.
        """
        rows, found = self._boxes.get((stream, source)), dict[int, list[Row]]()
        for row in () if rows is None else rows.iter_rows(named=True):
            if row["width_px"] > 0 and row["height_px"] > 0:
                found.setdefault(row["frame_number"], []).append(row)
        return {number: _boxes_of(of_frame) for number, of_frame in found.items()}

    def points(self, stream: str, source: str) -> dict[int, Row]:
        rows = self._points.get((stream, source))
        if rows is None:
            return {}
        return {row["frame_number"]: row for row in rows.unique("frame_number", keep="first").iter_rows(named=True)}


@dataclass(frozen=True, eq=False)
class StreamInputs:
    """One stream of a drop, with what was made of it."""

    of_drop: DropInputs
    name: str

    @property
    def clip(self) -> Row:
        return self.of_drop.clips.get(self.name, {})

    @cached_property
    def frames(self) -> "pl.DataFrame":
        return self.of_drop.frames.filter(stream_id=self.name).sort("frame_number")

    @cached_property
    def log(self) -> "pl.DataFrame":
        return self.of_drop.log.filter(stream_id=self.name).sort("frame_number", "event_id")

    @property
    def refresh_hz(self) -> float | None:
        return cast("float | None", self.clip.get("refresh_hz"))

    @property
    def has_landmarks(self) -> bool:
        return bool(self.of_drop.points(self.name, "truth"))

    @property
    def has_references(self) -> bool:
        return next(self.of_drop.pictures.references(self.name), None) is not None

    @cached_property
    def frame_numbers(self) -> list[int]:
        return self.frames["frame_number"].to_list()

    @property
    def device_id(self) -> str | None:
        """What recorded it, as the clip says, or else its log."""
        named = self.clip.get("device_id")
        return cast("str | None", named or (self.log["device_id"].first() if self.log.height else None))

    @property
    def period_ms(self) -> float | None:
        return frame_period_ms(self.clip, self.of_drop.files.get(self.name, {}), self.log)

    def numbers(self, content: Content) -> frozenset[int]:
        return frozenset(self.of_drop.pictures.numbers(content, self.name))

    def masks(self, *, with_pictures: bool = True) -> Iterator[MaskFrame]:
        """Every frame of the stream with its true and its found labels, by rising number."""
        true, outputs = self.numbers("masks"), _Rising(self.of_drop.outputs.of(self.name))
        images = self._images() if with_pictures else ((number, None) for number in self.frame_numbers)
        for number, image in images:
            output, status = self._labels(number, outputs.at(number))
            truth = None
            if number in true:
                try:
                    truth = self.of_drop.pictures.labels("masks", self.name, number)
                except FrameError as error:
                    status = error.reason
            luma = None if image is None or truth is None else _luma(image)
            yield MaskFrame(number, truth, output, luma, status if number in true else None)

    def _labels(self, number: int, output: OutputRow | None) -> tuple[NDArray[np.uint8] | None, str]:
        return self._picture(number, output, read=self.of_drop.pictures.labels, decode=decoded_labels)

    def _picture(
        self,
        number: int,
        output: OutputRow | None,
        *,
        read: Callable[[Content, str, int], P | None],
        decode: Callable[[bytes], P],
    ) -> tuple[P | None, str]:
        """Read what a model or the device gave for a frame, with its status.

        Args:
            number, output: of the frame, and its row of `predictions`.
            read, decode: a picture of the device, and one of the lake.
        """
        if output is None:
            return None, NO_OUTPUT
        if output.status == AS_RECORDED:
            try:
                found = read("results", self.name, number)
            except FrameError as error:
                return None, error.reason
            return found, OK if found is not None else NO_OUTPUT
        if output.status != OK or output.picture is None:
            return None, output.status if output.status != OK else NO_OUTPUT
        return decode(output.picture), OK

    def _images(self) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
        for picture in self.of_drop.pictures.frames(self.name):
            yield picture.frame_number, picture.image

    def planes(self, content: Content) -> Iterator[PlaneFrame]:
        """The frames of a stream with a true depth, or a reference, and what was made of them."""
        return self._depths() if content == "depth" else self._lumas()

    def _depths(self) -> Iterator[PlaneFrame]:
        pictures, true = self.of_drop.pictures, self.numbers("depth")
        outputs = _Rising(self.of_drop.outputs.of(self.name))
        for number in self.frame_numbers:
            output, status = self._picture(number, outputs.at(number), read=pictures.depth, decode=decode_depth)
            truth = None
            if number in true:
                try:
                    truth = pictures.depth("depth", self.name, number)
                except FrameError as error:
                    status = error.reason
            yield PlaneFrame(number, truth, output, status if number in true else None)

    def _lumas(self) -> Iterator[PlaneFrame]:
        pictures = self.of_drop.pictures
        outputs, references = _Rising(self.of_drop.outputs.of(self.name)), _Rising(pictures.references(self.name))
        for number in self.frame_numbers:
            output, status = self._picture(number, outputs.at(number), read=pictures.image, decode=decode_image)
            reference = references.at(number)
            truth = None if reference is None or reference.image is None else _luma(reference.image)
            if reference is not None and truth is None:
                status = reference.status
            yield PlaneFrame(
                number, truth, None if output is None else _luma(output), None if reference is None else status
            )

    def landmarks(self) -> Iterator[PointFrame]:
        """Every frame of the stream with its true and its found landmarks."""
        true = self.of_drop.points(self.name, "truth")
        recorded = self.of_drop.points(self.name, "device")
        outputs = _Rising(self.of_drop.outputs.of(self.name))
        for number in self.frame_numbers:
            output = outputs.at(number)
            found, status = None, NO_OUTPUT if output is None else output.status
            if output is not None and output.status == AS_RECORDED:
                found = points_of(cast("Sequence[float | None] | None", recorded.get(number, {}).get("points_px")))
                status = NO_OUTPUT if found is None else OK
            elif output is not None and output.status == OK:
                found = points_of(output.points)
                status = NO_OUTPUT if found is None else OK
            row = true.get(number)
            truth = None if row is None else points_of(cast("Sequence[float | None]", row["points_px"]))
            scale = None if row is None else cast("float | None", row["interocular_px"])
            yield PointFrame(number, truth, scale, found, status if row is not None else None)


def points_of(flat: Sequence[float | None] | None) -> NDArray[np.float64] | None:
    """Landmarks as a table has them: x and y in turn, to shape (points, 2); None where there is none."""
    if not flat:
        return None
    values = np.array([np.nan if value is None else value for value in flat], np.float64)
    points = values[: len(values) // 2 * 2].reshape(-1, 2)
    points[~np.isfinite(points).all(axis=1)] = np.nan
    return None if np.isnan(points).all() else points


def _boxes_of(rows: Sequence[Row]) -> Boxes:
    sides = [[row[name] for name in ("left_px", "top_px", "width_px", "height_px")] for row in rows]
    return Boxes(
        np.array(sides, np.float64).reshape(-1, 4),
        tuple(str(row["track_id"]) for row in rows),
        tuple(cast("str | None", row["class_name"]) for row in rows),
        tuple(bool(row["is_ignored"]) for row in rows),
    )


def _luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma of RGB (ITU-R BT.601, full range)."""
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


class _Numbered(Protocol):
    @property
    def frame_number(self) -> int:
        """Position within the stream."""


N = TypeVar("N", bound=_Numbered)


class _Rising(Generic[N]):
    """Looks frames up by rising number in what comes by rising number."""

    def __init__(self, items: Iterator[N]) -> None:
        self._items = items
        self._next = next(items, None)

    def at(self, number: int) -> N | None:
        while self._next is not None and self._next.frame_number < number:
            self._next = next(self._items, None)
        return self._next if self._next is not None and self._next.frame_number == number else None
