"""Drops of video that tests make: one events file, and shards of clips, images and ground truth."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.validation import validate_drop
from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store, open_store
from cv_quality.tasks.video.clips import ClipSummary, read_drop_clips
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.pictures import DropPictures
from cv_quality_tests.drops.small_drops import DEVICE, START, UNTIL, WHEN

VIDEO_DROP = "2026-09-01_video-1.0_lab"
KEY = TableKey(drop=VIDEO_DROP)


@dataclass(frozen=True, slots=True)
class VideoDrop:
    """A drop that is being written.

    Attributes:
        writer: of its files.
    """

    writer: DropWriter

    def clip(self, stream: str, path: Path | None, **fields: Scalar) -> None:
        """Add a clip, and its video file where it has one."""
        name = None if path is None else f"{stream}{path.suffix}"
        if path is not None and name is not None:
            self.writer.add_media("clips", name, path.read_bytes())
        self.event("clip", stream, clip=name, device_id="dev-1", has_image_consent=True, **fields)

    def frames(self, stream: str, numbers: Sequence[int], **columns: Sequence[Scalar]) -> None:
        """Add stream frames; columns hold a value for each."""
        for index, number in enumerate(numbers):
            fields: dict[str, Scalar] = {"device_id": "dev-1", "deadline_ms": 33.3, "is_dropped": False}
            fields |= {name: values[index] for name, values in columns.items()}
            self.event("stream_frame", stream, number, **fields)

    def box(self, stream: str, number: int, box: tuple[float, float, float, float], **fields: Scalar) -> None:
        """Add a box of the truth."""
        names = ("left_px", "top_px", "width_px", "height_px")
        track: dict[str, Scalar] = {"track_id": f"t{box[0]:.0f}-{box[1]:.0f}", "source": "truth"}
        self.event("box", stream, number, **track | dict(zip(names, box, strict=True)) | fields)

    def event(self, kind: str, stream: str, number: int | None = None, /, **fields: Scalar) -> None:
        """Add an event of a stream."""
        place: dict[str, Scalar] = {} if number is None else {"frame_number": number}
        event_id = "-".join([kind, stream, str(number), str(fields.get("track_id", ""))])
        self.writer.add_event(kind, event_id=event_id, occurred_at=WHEN, stream_id=stream, **place, **fields)

    def label(self, label: int, class_name: str | None, *, is_ignored: bool = False) -> None:
        """Declare a label of masks."""
        fields: dict[str, Scalar] = {"label": label, "class_name": class_name, "is_ignored": is_ignored}
        self.writer.add_event("mask_class", event_id=f"label-{label}", occurred_at=WHEN, **fields)

    def picture(self, content: str, stream: str, number: int, pixels: NDArray[np.generic] | bytes) -> None:
        """Add a picture of ground truth or results."""
        data = pixels if isinstance(pixels, bytes) else png(pixels)
        self.writer.add_media(content, f"{stream}/{number:06d}.png", data)


@dataclass(frozen=True, slots=True)
class VideoSite:
    """A landing area and a lake."""

    landing: Store
    lake: Lake

    @contextmanager
    def drop(self) -> Iterator[VideoDrop]:
        """Write the drop, and take it in."""
        writer = DropWriter(
            self.landing,
            modality=VIDEO_MODALITY,
            drop_id=VIDEO_DROP,
            build_id="video-1.0",
            site="lab",
            protocol="enrolled",
            captured_from=START,
            captured_until=UNTIL,
        )
        with writer:
            writer.add_event("device", **DEVICE)
            yield VideoDrop(writer)
        taken = {VIDEO_MODALITY.name: VIDEO_MODALITY}
        ingest_drop(landing=self.landing, lake=self.lake, drop_id=VIDEO_DROP, modalities=taken)
        schema = DropSchema(VIDEO_MODALITY)
        validate_drop(landing=self.landing, lake=self.lake, drop_id=VIDEO_DROP, schema=schema)

    def read(self, *, threads: int = 1) -> ClipSummary:
        return read_drop_clips(self.lake, landing=self.landing, drop=VIDEO_DROP, threads=threads)

    def rows(self, table: Table) -> pl.DataFrame:
        return self.lake.read(table, KEY)

    @property
    def pictures(self) -> DropPictures:
        return DropPictures(self.landing, self.lake, VIDEO_DROP)


def video_site(root: Path) -> VideoSite:
    """Open an empty site."""
    return VideoSite(open_store(str(root / "landing")), Lake(open_store(str(root / "lake"))))


def png(pixels: NDArray[np.generic], mode: str | None = None) -> bytes:
    """Encode pixels; a palette of colours where the mode is 'P'."""
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([level for index in range(256) for level in (index * 37 % 256, 255 - index, 7)])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
