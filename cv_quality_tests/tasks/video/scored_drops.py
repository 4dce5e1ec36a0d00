"""Drops of video with outputs: squares that move over a textured background, their masks, and what a model gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from cv_quality.drops.writer import Scalar
from cv_quality.inference.video.entry import RecordedVideoEntry, VideoEntry
from cv_quality.inference.video.postprocessing import Output
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.modality import of_modality
from cv_quality.tasks.video.frame_scores import FrameScoreSummary, score_drop
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.tables import PREDICTIONS
from cv_quality_tests.tasks.video.video_drops import VIDEO_DROP, VideoDrop, VideoSite, png, video_site

BUILD, BASELINE = "video-1.0", "video-0.9"
CLIPS = [f"s{number}" for number in range(6)]
N = 8
"""Frames of each clip that a build and its baseline are measured on."""
HEIGHT, WIDTH = 48, 64
SHA = "0" * 64
Labels = NDArray[np.uint8]


def square(left: int, *, label: int = 1, side: int = 16, top: int = 16) -> Labels:
    """Labels of one square."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + side, max(left, 0) : max(left + side, 0)] = label
    return mask


def scene(mask: Labels) -> NDArray[np.uint8]:
    """A picture of the objects, textured, over a textured background."""
    random = np.random.default_rng(7)
    background = random.integers(0, 128, (HEIGHT // 4, WIDTH // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    picture = background.copy()
    rows, columns = np.nonzero(mask)
    if len(rows):
        texture = random.integers(128, 256, (HEIGHT, WIDTH, 3), np.uint8)
        picture[rows, columns] = texture[rows - rows.min(), columns - columns.min()]
    return picture


@dataclass(slots=True)
class ScoredSite:
    """A drop that is written, read and scored.

    Attributes:
        site: the landing area and the lake.
        rows: of `predictions`.
    """

    site: VideoSite
    rows: list[dict[str, object]] = field(default_factory=list)

    @property
    def lake(self) -> Lake:
        return self.site.lake

    def output(self, stream: str, number: int, labels: NDArray[np.generic] | None, **fields: object) -> None:
        """Add what the model gave of a frame; no labels for no output."""
        picture = None if labels is None else png(labels)
        self.rows.append(
            {
                "drop_id": VIDEO_DROP,
                "stream_id": stream,
                "frame_number": number,
                "status": "ok",
                "output": "mask",
                "picture": picture,
                "model_sha256": SHA,
                **fields,
            }
        )

    def score(self, *, build: str = BUILD, **entry: Any) -> FrameScoreSummary:
        """Write the outputs, and score them."""
        self.site.read()
        table, key = of_modality(PREDICTIONS, VIDEO_MODALITY), TableKey(build=build, drop=VIDEO_DROP)
        rows = [{"build_id": build, **row} for row in self.rows]
        self.lake.write(table, key, pa.Table.from_pylist(rows, schema=table.arrow_schema))
        return score_drop(
            self.lake,
            self.site.landing,
            build=build,
            drop=VIDEO_DROP,
            entry=video_entry(build=build, **entry),
            modality=VIDEO_MODALITY,
        )

    def scored(self, table: Table, *, build: str = BUILD) -> pl.DataFrame:
        return self.lake.read(of_modality(table, VIDEO_MODALITY), TableKey(build=build, drop=VIDEO_DROP))


def scored_site(root: Path) -> ScoredSite:
    return ScoredSite(video_site(root))


def video_entry(
    *,
    build: str = BUILD,
    output: Output = "mask",
    classes: Mapping[str, tuple[int, ...]] | None = None,
    requirement: float = 0.5,
    is_recorded: bool = False,
) -> VideoEntry | RecordedVideoEntry:
    """The registry entry of a build, as far as scoring asks."""
    if is_recorded:
        return RecordedVideoEntry(build, "video", "video", None, output, classes or {}, requirement)
    return VideoEntry(
        build_id=build,
        task="video",
        modality="video",
        follows=None,
        format="onnx",
        file="model.onnx",
        sha256=SHA,
        output=output,
        preprocessing=(),
        classes=classes or {},
        requirement=requirement,
    )


def pictured(drop: VideoDrop, stream: str, masks: Mapping[int, Labels], *, rate_hz: float = 25.0) -> None:
    """Add a clip of images that stream frames name, with their masks as truth.

    Args:
        drop: written to.
        stream: its name.
        masks: by number of the frame.
        rate_hz: of the camera.
    """
    drop.clip(stream, None, frame_rate_hz=rate_hz, mask_kind="classes")
    for number, mask in masks.items():
        drop.writer.add_frame(f"{stream}/{number:06d}.png", png(scene(mask)))
        drop.picture("masks", stream, number, mask)


def log(drop: VideoDrop, stream: str, numbers: Sequence[int], **columns: Sequence[Scalar]) -> None:
    """Add the log of a clip of `pictured`."""
    names = [f"{stream}/{number:06d}.png" for number in numbers]
    drop.frames(stream, numbers, frame=names, **columns)
