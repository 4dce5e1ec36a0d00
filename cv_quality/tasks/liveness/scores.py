"""Runs a build's models over the frame of every presentation of a drop: the stage `score_presentations`.

How a frame becomes a score is in `cv_quality.inference.liveness.scorer`; what is decided by it in
`cv_quality.tasks.liveness.outcomes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.tables import FACE_BOX, FRAME_INDEX, PRESENTATIONS
from cv_quality.errors import FrameError, RegistryError
from cv_quality.freshness import StageContext
from cv_quality.inference.detection import Box
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.lake.lake import TableKey
from cv_quality.modality import of_modality
from cv_quality.tasks.liveness.tables import PRESENTATION_SCORES
from cv_quality.tasks.verification.modality import AS_RECORDED
from cv_quality.tasks.verification.templates import read_images, require_frames
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.inference.liveness.scorer import LivenessScorer

MISSING_FRAME = "missing_frame"
Scored = tuple[str, float | None]
"""Status and score."""


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What running the models over a drop gave: presentations, frames run, and how many by status."""

    build: str
    drop: str
    presentations: int
    frames: int
    by_status: dict[str, int]


def score_presentations(context: StageContext) -> ScoreSummary:
    """Score every presentation of a drop that has a frame, and write `presentation_scores`.

    A presentation without a usable frame still gets its row, with the reason as status.

    Raises:
        MissingTable: the drop is not validated.
        ModelError: the drop has no frame at all, or a model cannot be loaded.
    """
    import polars as pl

    lake, key, entry = context.lake, context.key, context.entry
    table = of_modality(PRESENTATIONS, context.modality)
    box = [item.name for item in FACE_BOX]
    shown = lake.read(table, TableKey(drop=context.drop), columns=["event_id", "frame", "illuminance_lux", *box])
    frames: dict[str, Scored] = {}
    if entry.sha256 is not None:
        require_frames(lake, build=context.build, drop=context.drop)
        frames = _score_frames(context, shown.drop_nulls("frame").unique("frame", keep="first", maintain_order=True))
    without = (MISSING_FRAME, None) if entry.sha256 is not None else (AS_RECORDED, None)
    found = [frames.get(frame, without) for frame in shown["frame"]]
    rows = shown.select(
        pl.lit(context.build).alias("build_id"),
        pl.lit(context.drop).alias("drop_id"),
        pl.col("event_id").alias("presentation_id"),
        "frame",
        pl.Series("status", [status for status, _ in found], dtype=pl.String),
        pl.Series("lab_score", [score for _, score in found], dtype=pl.Float64),
        pl.lit(entry.sha256, pl.String).alias("model_sha256"),
    ).sort("presentation_id")
    lake.write(of_modality(PRESENTATION_SCORES, context.modality), key, rows)
    by_status = dict(rows.group_by("status").len().sort("status").iter_rows())
    return ScoreSummary(context.build, context.drop, rows.height, len(frames), by_status)


def loaded_scorer(workspace: Workspace, build: str) -> "LivenessScorer":
    """Load a build's models, once per process.

    Raises:
        RegistryError: the build names no models.
        ModelError: one cannot be loaded.
    """
    from cv_quality.inference.liveness.scorer import load_scorer

    if build not in workspace.models:
        entry = workspace.registry.entry(build)
        if not isinstance(entry, LivenessEntry):
            raise RegistryError(f"{build}.yaml: expected a liveness build with models, found one as recorded")
        workspace.models[build] = load_scorer(entry, registry=workspace.registry, threads=workspace.settings.threads)
    return cast("LivenessScorer", workspace.models[build])


def box_of(row: Mapping[str, object]) -> Box | None:
    """Take the face's box of a row, where it has one."""
    left, top, width, height = (cast("float | None", row[item.name]) for item in FACE_BOX)
    if left is None or top is None or width is None or height is None:
        return None
    return left, top, width, height


def _score_frames(context: StageContext, rows: "pl.DataFrame") -> dict[str, Scored]:
    """Status and score of every frame, by its name; one that two presentations share is run once."""
    scorer = loaded_scorer(context.workspace, context.build)
    known = {str(row["frame"]): row for row in rows.iter_rows(named=True)}
    index = context.lake.read(FRAME_INDEX, TableKey(drop=context.drop))
    reader = FrameReader(context.workspace.landing, context.drop, index)
    found: dict[str, Scored] = {}
    for names, images in read_images(reader, sorted(known), threads=context.threads):
        usable = {name: image for name, image in zip(names, images, strict=True) if not isinstance(image, FrameError)}
        found |= {
            name: (error.reason, None)
            for name, error in zip(names, images, strict=True)
            if isinstance(error, FrameError)
        }
        scored = scorer.score(
            list(usable.values()),
            boxes=[box_of(known[name]) for name in usable],
            illuminance_lux=[cast("float | None", known[name]["illuminance_lux"]) for name in usable],
        )
        for name, status, score in zip(usable, scored.statuses, scored.scores.tolist(), strict=True):
            found[name] = (status, score if status == "ok" else None)
        del images  # else they are held until the next ones are decoded
    return found
