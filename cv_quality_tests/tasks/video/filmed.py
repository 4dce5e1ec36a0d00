"""Clips in a lake as stages leave them: whom or what they show, and what was measured of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from cv_quality.drops.tables import CLIPS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.modality import of_modality
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.tables import CLIP_SCORES, FRAME_SCORES

ANYTHING = {"text": "x", "real": 1.0, "integer": 1, "flag": False, "instant": datetime(2026, 9, 1, tzinfo=UTC)}
FRAMES = 10


@dataclass(frozen=True, slots=True)
class Filmed:
    """A clip of ten frames.

    Attributes:
        missed: of the frames.
        subject, scene, device: whom and what it shows, and what filmed it.
    """

    missed: float
    subject: str | None = None
    scene: str | None = None
    device: str = "aurora-1"


def write(lake: Lake, table: Table, key: TableKey, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows; columns that they leave out are null, or anything where null may not stand."""
    table = of_modality(table, VIDEO_MODALITY)
    given = [{"build_id": key.build, "drop_id": key.drop, **row} for row in rows]
    columns = {
        column.name: [row.get(column.name, None if column.nullable else ANYTHING.get(column.kind)) for row in given]
        for column in table
    }
    lake.write(table, key, pa.table(columns, schema=table.arrow_schema))


def film(lake: Lake, drop: str, clips: Mapping[str, Filmed], *, model: str) -> None:
    """Write a drop's clips by stream, as a model was scored on them."""
    told = [{"stream_id": name, "subject_id": clip.subject, "scene": clip.scene} for name, clip in clips.items()]
    write(lake, CLIPS, TableKey(drop=drop), told)
    key = TableKey(build=model, drop=drop)
    scores = [
        {
            "stream_id": name,
            "metric": metric,
            "class_name": "all",
            "numerator": clip.missed,
            "denominator": FRAMES,
            "value": clip.missed / FRAMES,
        }
        for name, clip in clips.items()
        for metric in ("miss_rate", "dropped")
    ]
    write(lake, CLIP_SCORES, key, scores)
    frames = [{"stream_id": name, "device_model": clip.device} for name, clip in clips.items()]
    write(lake, FRAME_SCORES, key, frames)
