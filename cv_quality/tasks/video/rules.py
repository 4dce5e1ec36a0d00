"""What the gates of video ask of outputs, scores and metrics, beyond the declarations of its tables.

What is asked of clips as they are read is in `cv_quality.tasks.video.clip_rules`.
"""

from cv_quality.gates.rules import ROUNDING, Rule, query_rule, rows_rule
from cv_quality.tasks.root_causes.rules import confirmed_slices
from cv_quality.tasks.video.tables import (
    CLIP_CHANGES,
    CLIP_SCORES,
    DISPLAY_REPLAYS,
    FRAME_SCORES,
    PREDICTIONS,
    VIDEO_CHANGES,
    VIDEO_COUNTERFACTUALS,
    VIDEO_METRICS,
)

MAX_FAILED_SHARE = 0.50
_FAILED = "status NOT IN ('ok', 'as_recorded', 'missing_frame', 'damaged_frame', 'dropped_frame')"
_HAS_OUTPUT = "(picture IS NOT NULL OR points_px IS NOT NULL OR embedding IS NOT NULL)"


def _one_each(name: str, table: str, other: str) -> str:
    """SQL of the frames that one table has and the other has not, both ways."""
    frames = "SELECT stream_id, frame_number FROM "
    both = f"({frames}{table} EXCEPT {frames}{other}) UNION ALL ({frames}{other} EXCEPT {frames}{table})"
    return f"SELECT stream_id, frame_number FROM ({both}) AS {name}"


PREDICT_RULES: tuple[Rule, ...] = (
    query_rule(
        PREDICTIONS,
        "every frame of a clip has its output, and no other frame has one",
        _one_each("apart", "clip_frames", "predictions"),
    ),
    rows_rule(
        PREDICTIONS,
        "an output of a model exists exactly when the status is ok",
        # What a device recorded is a picture, or lies in events.
        f"status <> 'as_recorded' AND (status = 'ok') <> {_HAS_OUTPUT}",
    ),
    query_rule(
        PREDICTIONS,
        "all outputs come from one model file, or all are as recorded",
        "SELECT model_sha256 FROM predictions WHERE "
        "(SELECT count(DISTINCT coalesce(model_sha256, '')) FROM predictions) > 1 GROUP BY 1",
    ),
    rows_rule(
        PREDICTIONS,
        "what is as recorded comes from no model",
        "status = 'as_recorded' AND model_sha256 IS NOT NULL",
    ),
    query_rule(
        PREDICTIONS,
        f"at most {MAX_FAILED_SHARE:.0%} of the frames with a picture give no output",
        f"SELECT status FROM predictions WHERE {_FAILED} AND (SELECT count_if({_FAILED}) FROM predictions) "
        f"> {MAX_FAILED_SHARE} * (SELECT count_if(status IN ('ok', 'as_recorded') OR {_FAILED}) FROM predictions) "
        "GROUP BY status",
    ),
)
_DISPLAY = (
    "SELECT stream_id, max(value) FILTER (metric = 'display_loss') AS loss, "
    "max(value) FILTER (metric = 'display_algorithm') AS algorithm, "
    "max(value) FILTER (metric = 'display_lateness') AS lateness FROM clip_scores WHERE class_name = 'all' "
    "GROUP BY stream_id"
)
SCORE_FRAMES_RULES: tuple[Rule, ...] = (
    query_rule(
        FRAME_SCORES,
        "every frame of a clip is scored, and no other frame is",
        _one_each("apart", "clip_frames", "frame_scores"),
    ),
    rows_rule(
        FRAME_SCORES,
        "a frame without a loss says why, and one with a loss is ok",
        "(status = 'ok') <> (loss IS NOT NULL)",
    ),
    rows_rule(
        FRAME_SCORES,
        "a loss says what it is of, and whether the frame is a miss",
        "loss IS NOT NULL AND (loss_kind IS NULL OR is_miss IS NULL)",
    ),
    rows_rule(
        FRAME_SCORES,
        "a dropped frame is late, and has no latency",
        "is_dropped AND (latency_ms IS NOT NULL OR NOT coalesce(is_late, false))",
    ),
    rows_rule(
        FRAME_SCORES,
        "a frame is late when its latency exceeds its deadline",
        "latency_ms IS NOT NULL AND deadline_ms IS NOT NULL AND is_late <> (latency_ms > deadline_ms)",
    ),
    rows_rule(CLIP_SCORES, "a missing value says why", "value IS NULL AND reason IS NULL"),
    rows_rule(CLIP_SCORES, "a part never exceeds the whole", "numerator > denominator"),
    rows_rule(
        CLIP_SCORES,
        "a pooled value is its numerator over its denominator",
        f"denominator > 0 AND value IS NOT NULL AND abs(value * denominator - numerator) > {ROUNDING} * denominator",
    ),
    query_rule(
        CLIP_SCORES,
        "the loss on the screen is that of the algorithm and of lateness",
        f"SELECT stream_id FROM ({_DISPLAY}) WHERE (loss IS NULL) <> (algorithm IS NULL OR lateness IS NULL) "
        f"OR abs(loss - algorithm - lateness) > {ROUNDING}",
    ),
    query_rule(
        CLIP_SCORES,
        "the loss of a clip is the mean of its frames",
        "SELECT c.stream_id FROM (SELECT stream_id, value FROM clip_scores WHERE metric = 'loss' AND class_name = "
        "'all') c JOIN (SELECT stream_id, avg(loss) AS loss FROM frame_scores GROUP BY stream_id) f USING (stream_id) "
        f"WHERE (c.value IS NULL) <> (f.loss IS NULL) OR abs(c.value - f.loss) > {ROUNDING}",
    ),
    query_rule(
        CLIP_SCORES,
        "the misses of a clip are those of its frames",
        "SELECT c.stream_id FROM (SELECT stream_id, numerator FROM clip_scores WHERE metric = 'miss_rate' AND "
        "class_name = 'all') c JOIN (SELECT stream_id, count_if(is_miss) AS n FROM frame_scores GROUP BY stream_id) f "
        "USING (stream_id) WHERE c.numerator <> f.n",
    ),
    query_rule(
        CLIP_SCORES,
        "every clip has metrics",
        "SELECT DISTINCT stream_id FROM frame_scores WHERE stream_id NOT IN (SELECT stream_id FROM clip_scores)",
    ),
)
MEASURE_VIDEO_RULES: tuple[Rule, ...] = (
    *(
        rule
        for table in (VIDEO_METRICS, VIDEO_CHANGES)
        for rule in (
            rows_rule(table, "the value lies within its interval", "low > value OR value > high"),
            rows_rule(
                table,
                "a missing value or bound says why",
                "reason IS NULL AND (value IS NULL OR low IS NULL OR high IS NULL)",
            ),
        )
    ),
    rows_rule(
        VIDEO_METRICS,
        "a rate is its numerator over its denominator",
        f"denominator > 0 AND abs(value * denominator - numerator) > {ROUNDING} * denominator",
    ),
    query_rule(
        VIDEO_METRICS,
        "the levels of a condition hold no more frames than all",
        "SELECT model_build_id, metric, dimension, min(level) AS level FROM video_metrics l JOIN (SELECT "
        "model_build_id, metric, denominator AS whole FROM video_metrics WHERE dimension = 'all') w "
        "USING (model_build_id, metric) WHERE metric = 'miss_rate' AND dimension <> 'all' "
        "GROUP BY model_build_id, metric, dimension, whole HAVING sum(l.denominator) > whole",
    ),
    rows_rule(CLIP_CHANGES, "a change is candidate - baseline", f"abs(candidate - baseline - change) > {ROUNDING}"),
    rows_rule(
        VIDEO_CHANGES,
        "clips that changed are no more than were compared",
        "n_improved + n_regressed > n_clips",
    ),
    rows_rule(
        VIDEO_CHANGES,
        "a settled change has an interval without 0",
        "verdict IN ('improved', 'regressed') AND (low IS NULL OR low <= 0 AND high >= 0 "
        "OR (verdict = 'improved') <> ((value > 0) = is_higher_better))",
    ),
    query_rule(
        VIDEO_CHANGES,
        "the mean change is that of the clips",
        "SELECT v.metric FROM video_changes v LEFT JOIN (SELECT metric, avg(change) AS mean, count(*) AS n FROM "
        "clip_changes GROUP BY metric) c USING (metric) WHERE v.n_clips <> coalesce(c.n, 0) "
        f"OR abs(v.value - c.mean) > {ROUNDING}",
    ),
    rows_rule(
        DISPLAY_REPLAYS,
        "the loss on the screen is that of the algorithm and of lateness",
        f"(loss IS NULL AND reason IS NULL) OR abs(loss - algorithm - lateness) > {ROUNDING}",
    ),
    rows_rule(
        DISPLAY_REPLAYS,
        "the lateness lies within its interval",
        "lateness_low > lateness OR lateness > lateness_high",
    ),
)
COUNTERFACTUALS_RULES: tuple[Rule, ...] = (
    rows_rule(
        VIDEO_COUNTERFACTUALS,
        "what is changed is a confirmed slice",
        f"rank NOT IN (SELECT rank {confirmed_slices('miss')})",
    ),
    rows_rule(VIDEO_COUNTERFACTUALS, "the value lies within its interval", "low > value OR value > high"),
    rows_rule(
        VIDEO_COUNTERFACTUALS,
        "a missing value or bound says why",
        "reason IS NULL AND (value IS NULL OR low IS NULL)",
    ),
    rows_rule(
        VIDEO_COUNTERFACTUALS,
        "no more frames recover or are lost than were run again",
        "n_recovered + n_lost > n_frames OR n_clips > n_frames",
    ),
)
