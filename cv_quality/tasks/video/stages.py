"""The stages of video: what each reads and writes, and the one function of this package that does it."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from cv_quality.drops.tables import (
    BOXES,
    CLIPS,
    DEVICES,
    DROP_FILES,
    FRAME_INDEX,
    LANDMARKS,
    MASK_CLASSES,
    MEDIA_INDEX,
    QUARANTINE_PARSE,
    QUARANTINE_VALIDATE,
    RAW_CLIPS,
    RAW_STREAM_FRAMES,
    RAW_SUBJECTS,
    SUBJECTS,
    VALIDATED_STREAMS,
)
from cv_quality.error_analysis.population import Population
from cv_quality.errors import RegistryError
from cv_quality.freshness import Freshness, StageContext
from cv_quality.inference.video.entry import RecordedVideoEntry, VideoEntry
from cv_quality.lake.lake import TableKey
from cv_quality.stage import Stage
from cv_quality.tasks.pages import page_identity, report_source
from cv_quality.tasks.release.stage import release_stage
from cv_quality.tasks.root_causes.stages import Populations, root_cause_stages
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES
from cv_quality.tasks.video.clip_rules import CLIPS_RULES
from cv_quality.tasks.video.populations import MISS, missed_frames
from cv_quality.tasks.video.rules import COUNTERFACTUALS_RULES, MEASURE_VIDEO_RULES, PREDICT_RULES, SCORE_FRAMES_RULES
from cv_quality.tasks.video.tables import (
    CLIP_CHANGES,
    CLIP_FILES,
    CLIP_FRAMES,
    CLIP_SCORES,
    CLIP_SPANS,
    DISPLAY_REPLAYS,
    FRAME_SCORES,
    PREDICTIONS,
    TRACK_COUNTS,
    VIDEO_CHANGES,
    VIDEO_COUNTERFACTUALS,
    VIDEO_METRICS,
)
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cv_quality.tasks.release.stage import Measured
    from cv_quality.tasks.root_causes.clusters import Embedding


def _read_clips(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.video.clips import read_clips

    return read_clips(context)


def _predict(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.video.predictions import predict

    return predict(context)


def _score_frames(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.video.frame_scores import score_frames

    return score_frames(context)


def _measure_video(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.video.build_metrics import measure_video

    return measure_video(context)


def _evidence(context: StageContext) -> "Measured":
    from cv_quality.tasks.video.build_metrics import read_evidence

    return read_evidence(context.lake, context.build)


def _others(workspace: Workspace, build: str, misses: Population) -> Iterable[Population]:
    from cv_quality.tasks.video.populations import other_outcomes

    return other_outcomes(workspace, build, misses)


def _embed(context: StageContext, population: Population) -> "Embedding":
    from cv_quality.tasks.video.frame_vectors import embed_frames

    return embed_frames(context, population)


def _counterfactuals(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.video.counterfactuals import change_frames

    return change_frames(context)


def _frame_picture(context: StageContext) -> bytes:
    from cv_quality.tasks.video.report.pictures import quality_by_clip

    return quality_by_clip(context)


def _report(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.video.report.page import write_video_report

    target = context.workspace.report_path(context.build)
    return write_video_report(report_source(context), context.freshness.task.sections, target)


def _requirement(freshness: Freshness, key: TableKey) -> str:
    """Below which quality a frame is a miss, and what labels stand for: other ones make the build's drops due."""
    with suppress(RegistryError):
        entry = freshness.workspace.registry.entry(str(key.build))
        if isinstance(entry, VideoEntry | RecordedVideoEntry):
            return f"at {entry.requirement!r} of {sorted(entry.classes.items())!r}"
    return ""


READ_CLIPS = Stage(
    name="read_clips",
    phase="ingest",
    reads=(DROP_FILES, FRAME_INDEX, MEDIA_INDEX, VALIDATED_STREAMS, CLIPS, BOXES, MASK_CLASSES),
    writes=(CLIP_FRAMES, CLIP_FILES, CLIP_SPANS),
    run=_read_clips,
    rules=CLIPS_RULES,
    description="Decodes every clip once: which frames are dropped, repeated, frozen or damaged, and what pictures and "
    "ground truth look like.",
    gate="every picture is a frame or quarantined with its reason; at most 5 % quarantined; spans add up",
    kinds=frozenset({"ffmpeg", "parquet"}),
)
PREDICT = Stage(
    name="predict",
    phase="score",
    reads=(DROP_FILES, FRAME_INDEX, MEDIA_INDEX, MASK_CLASSES, VALIDATED_STREAMS, CLIPS, CLIP_FRAMES),
    writes=(PREDICTIONS,),
    run=_predict,
    rules=PREDICT_RULES,
    description="The output of the build's model for every frame, or what the device recorded, or why there is none.",
    gate="one output per frame, of one model; at most half without",
    kinds=frozenset({"pytorch", "parquet"}),
)
SCORE_FRAMES = Stage(
    name="score_frames",
    phase="score",
    reads=(
        DROP_FILES,
        FRAME_INDEX,
        MEDIA_INDEX,
        MASK_CLASSES,
        VALIDATED_STREAMS,
        CLIPS,
        BOXES,
        LANDMARKS,
        SUBJECTS,
        DEVICES,
        CLIP_FRAMES,
        CLIP_FILES,
        PREDICTIONS,
    ),
    writes=(FRAME_SCORES, CLIP_SCORES, TRACK_COUNTS),
    run=_score_frames,
    elsewhere=_requirement,
    rules=SCORE_FRAMES_RULES,
    description="Every frame against its truth and its deadline, and every clip: quality, stability, tracks, latency, "
    "and what was on the screen.",
    gate="one score per frame; the loss on the screen is that of the algorithm and of lateness; a missing number says "
    "why",
    picture=_frame_picture,
)
MEASURE_VIDEO = Stage(
    name="measure_video",
    phase="measure",
    reads=(DROP_FILES, DEVICES, CLIPS, CLIP_FILES, FRAME_SCORES, CLIP_SCORES, TRACK_COUNTS, PREDICTIONS),
    writes=(VIDEO_METRICS, VIDEO_CHANGES, CLIP_CHANGES, DISPLAY_REPLAYS),
    run=_measure_video,
    rules=MEASURE_VIDEO_RULES,
    reads_predecessors=True,
    description="Metrics with intervals by clip, over all and by condition, for the build and its baseline, paired by "
    "clip; the loss on the screen under other latencies.",
    gate="values within their intervals; clips add up; a missing number says why",
)
RELEASE = release_stage("video", reads=(VIDEO_METRICS, VIDEO_CHANGES), measured=_evidence)
POPULATIONS = Populations(
    outcome=MISS,
    primary=missed_frames,
    reads=(FRAME_SCORES,),
    others=_others,
    embed=_embed,
    embed_reads=(CLIPS, VALIDATED_STREAMS, FRAME_INDEX, MEDIA_INDEX, CLIP_FRAMES, PREDICTIONS),
)
SLICES, ATTRIBUTION, CLUSTERS = root_cause_stages(POPULATIONS)
COUNTERFACTUALS = Stage(
    name="counterfactuals",
    phase="explain",
    reads=(
        DROP_FILES,
        FRAME_INDEX,
        MEDIA_INDEX,
        MASK_CLASSES,
        VALIDATED_STREAMS,
        CLIPS,
        BOXES,
        LANDMARKS,
        DEVICES,
        CLIP_FRAMES,
        CLIP_FILES,
        PREDICTIONS,
        FRAME_SCORES,
        FAILURE_SLICES,
    ),
    writes=(VIDEO_COUNTERFACTUALS,),
    run=_counterfactuals,
    rules=COUNTERFACTUALS_RULES,
    description="The worst frames of each slice run again: brighter, darker, blurred, resized, with frames dropped.",
    gate="of confirmed slices alone; values within their intervals; no more frames recover than were run again",
    kinds=frozenset({"pytorch", "parquet"}),
)
REPORT = Stage(
    name="report",
    phase="report",
    reads=(
        DROP_FILES,
        FRAME_INDEX,
        MEDIA_INDEX,
        QUARANTINE_PARSE,
        QUARANTINE_VALIDATE,
        RAW_CLIPS,
        RAW_STREAM_FRAMES,
        RAW_SUBJECTS,
        SUBJECTS,
        VALIDATED_STREAMS,
        CLIPS,
        BOXES,
        LANDMARKS,
        MASK_CLASSES,
        *READ_CLIPS.writes,
        *(table for stage in (PREDICT, SCORE_FRAMES, MEASURE_VIDEO, RELEASE) for table in stage.writes),
        *(table for stage in (SLICES, ATTRIBUTION, CLUSTERS, COUNTERFACTUALS) for table in stage.writes),
    ),
    writes=(),
    run=_report,
    elsewhere=page_identity,
    asset="failure_report",
    result=Workspace.report_path,
    description="One self-contained page: the build against its baseline, what users saw, worst seconds, root causes.",
    kinds=frozenset({"altair", "html"}),
)

STAGES = (
    READ_CLIPS,
    PREDICT,
    SCORE_FRAMES,
    MEASURE_VIDEO,
    RELEASE,
    SLICES,
    ATTRIBUTION,
    CLUSTERS,
    COUNTERFACTUALS,
    REPORT,
)
