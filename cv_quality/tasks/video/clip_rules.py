"""What the gate of the stage that reads clips asks: nothing is lost, and what cannot be used stays the exception."""

from cv_quality.drops.tables import CLIPS, MEDIA_INDEX, VALIDATED_STREAMS
from cv_quality.gates.rules import Rule, query_rule, rows_rule
from cv_quality.tasks.ingest import MAX_QUARANTINED_SHARE
from cv_quality.tasks.video.tables import CLIP_FILES, CLIP_FRAMES, CLIP_SPANS

_OF_STREAM = f"(SELECT count(*) FROM {CLIP_FRAMES.name} WHERE stream_id = f.stream_id)"
_SPANS = (
    ("n_quarantined", "s.kind = 'quarantined' AND NOT starts_with(s.code, 'mask_')"),
    ("n_bad_truth", "s.kind = 'quarantined' AND starts_with(s.code, 'mask_')"),
    ("n_dropped", "s.kind = 'dropped' AND s.code IS NULL"),
    ("n_frozen", "s.kind = 'frozen'"),
)
"""Counts of a clip, and the spans that they are the frames of."""


def _is_other(count: str, spans: str) -> str:
    found = f"SELECT coalesce(sum(s.n_frames), 0) FROM {CLIP_SPANS.name} s WHERE s.stream_id = f.stream_id AND {spans}"
    return f"f.{count} <> ({found})"


CLIPS_RULES: tuple[Rule, ...] = (
    query_rule(
        CLIP_FILES,
        "pictures decoded + quarantined + missing = frames",
        f"SELECT f.stream_id FROM {CLIP_FILES.name} f WHERE f.n_frames + f.n_quarantined + f.n_missing <> {_OF_STREAM}",
    ),
    query_rule(
        CLIP_FILES,
        "spans add up to what is quarantined, dropped and frozen",
        f"SELECT f.stream_id FROM {CLIP_FILES.name} f WHERE {' OR '.join(_is_other(*counted) for counted in _SPANS)}",
    ),
    query_rule(
        CLIP_FILES,
        "every clip of an event was read",
        f"SELECT stream_id FROM {CLIPS.name} WHERE stream_id NOT IN (SELECT stream_id FROM {CLIP_FILES.name})",
    ),
    query_rule(
        CLIP_FRAMES,
        "every frame that a device logged has its row",
        f"SELECT stream_id, frame_number FROM {VALIDATED_STREAMS.name} "
        f"EXCEPT SELECT stream_id, frame_number FROM {CLIP_FRAMES.name}",
    ),
    rows_rule(CLIP_FILES, "every clip of an event is among the video files", "status = 'missing_clip'"),
    query_rule(
        CLIP_FILES,
        f"at most {MAX_QUARANTINED_SHARE:.0%} of the pictures are quarantined",
        f"SELECT stream_id FROM {CLIP_FILES.name} WHERE n_quarantined > 0 AND (SELECT sum(n_quarantined) FROM "
        f"{CLIP_FILES.name}) > {MAX_QUARANTINED_SHARE} * (SELECT sum(n_frames + n_quarantined) FROM {CLIP_FILES.name})",
    ),
    query_rule(
        CLIP_FILES,
        "some clip can be decoded, where there are clips",
        f"SELECT stream_id FROM {CLIP_FILES.name} WHERE status NOT IN ('ok', 'no_pictures') "
        f"AND (SELECT sum(n_frames) FROM {CLIP_FILES.name}) = 0",
    ),
    query_rule(
        CLIP_FILES,
        f"at most {MAX_QUARANTINED_SHARE:.0%} of the masks cannot be used",
        f"SELECT stream_id FROM {CLIP_FILES.name} WHERE n_bad_truth > 0 AND (SELECT sum(n_bad_truth) FROM "
        f"{CLIP_FILES.name}) > {MAX_QUARANTINED_SHARE} * (SELECT count(*) FROM {MEDIA_INDEX.name} "
        "WHERE content = 'masks')",
    ),
)
