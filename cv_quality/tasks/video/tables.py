"""The tables of video, in the order of the data: pictures of a drop, outputs, frames scored, clips, metrics, changes.

Tables of root causes are in `cv_quality.tasks.root_causes.tables`, those of drops in `cv_quality.drops.tables`.
"""

from cv_quality.drops.tables import FRAME, FRAME_NUMBER, STREAM_ID
from cv_quality.lake.columns import BUILD_ID, DEVICE_ID, DROP_ID, MODEL_BUILD_ID, SUBJECT_ID
from cv_quality.lake.schema import Column, Table, optional
from cv_quality.tasks.video.modality import MEASURED

WHY_MISSING = Column("reason", "text", "why a value or an interval is missing", nullable=True)

CLIP_FILES = Table(
    "clip_files",
    "drop",
    "clip as it was delivered: what its timestamps and pictures say",
    (
        DROP_ID,
        STREAM_ID,
        Column("status", "text", "ok, no_pictures, or why the clip could not be decoded at all"),
        Column("codec", "text", "decoder of the video file; 'images' of stream frames that name images", nullable=True),
        Column("width_px", "integer", "as displayed", nullable=True, low=1),
        Column("height_px", "integer", "as displayed", nullable=True, low=1),
        Column("rotation_deg", "integer", "clockwise, by the container", nullable=True),
        Column("n_frames", "integer", "pictures decoded", low=0),
        Column("n_quarantined", "integer", "pictures that could not be decoded, or are not to be trusted", low=0),
        Column("n_missing", "integer", "frames of the stream that have no picture", low=0),
        Column("n_bad_truth", "integer", "masks that cannot be used", low=0),
        Column("numbered_by", "text", "what gives its pictures their numbers", nullable=True),
        Column("n_untimed", "integer", "pictures without a timestamp", low=0),
        Column("n_backward", "integer", "pictures whose timestamp is not above all before", low=0),
        Column("n_off_grid", "integer", "steps far from whole periods: a variable rate", low=0),
        Column("n_dropped", "integer", "pictures missing between timestamps", low=0),
        Column("n_repeated", "integer", "pictures that repeat the one before, outside of freezes", low=0),
        Column("n_frozen", "integer", "pictures that repeat a frozen one", low=0),
        Column("n_freezes", "integer", "spans of more than three periods with one picture", low=0),
        Column("frozen_s", "real", "their length in all", low=0),
        Column("rate_hz", "real", "frames per second, missing ones counted", nullable=True, low=0),
        Column("rate_drift", "real", "rate of the last third by that of the first, minus 1", nullable=True),
        WHY_MISSING,
    ),
    unique=("stream_id",),
    mart=True,
)
CLIP_SPANS = Table(
    "clip_spans",
    "drop",
    "span of a clip that is quarantined, missing or frozen",
    (
        DROP_ID,
        STREAM_ID,
        Column("kind", "text", "what is the matter", levels=("quarantined", "dropped", "frozen")),
        Column("code", "text", "reason, of a quarantined span", nullable=True),
        Column("first_frame", "integer", "number of its first frame, or the last one before it", nullable=True, low=0),
        Column("n_frames", "integer", "frames of the span", low=0),
        Column("start_s", "real", "timestamp within the clip", nullable=True),
        Column("end_s", "real", "timestamp of its end", nullable=True),
        Column("detail", "text", "what was expected and what was found"),
    ),
)
CLIP_FRAMES = Table(
    "clip_frames",
    "drop",
    "frame of a clip: its picture, and what is measured of it and of its truth",
    (
        DROP_ID,
        STREAM_ID,
        FRAME_NUMBER,
        Column(
            "picture", "integer", "place among the pictures decoded; null where there is none", nullable=True, low=0
        ),
        Column("time_s", "real", "timestamp within the clip", nullable=True),
        Column("status", "text", "ok, or why there is no picture"),
        Column("is_repeated", "flag", "whether the picture repeats the one before"),
        *(item.column for item in MEASURED),
    ),
    unique=("stream_id", "frame_number"),
)
PREDICTIONS = Table(
    "predictions",
    "build_drop",
    "frame with the output of the build's model, or of the device",
    (
        BUILD_ID,
        DROP_ID,
        STREAM_ID,
        FRAME_NUMBER,
        Column("status", "text", "ok, or why there is no output", bounds="status", levels=("as_recorded",)),
        Column("output", "text", "what the model gives", levels=("mask", "landmarks", "embedding", "depth", "image")),
        Column(
            "picture",
            "bytes",
            "PNG of the labels, of the depth in mm, or of the image",
            nullable=True,
            is_lake_only=True,
        ),
        Column("points_px", "reals", "x and y of every landmark in turn", nullable=True, is_lake_only=True),
        Column("embedding", "vector", "of the frame", nullable=True, is_lake_only=True),
        Column("model_sha256", "text", "digest of the model; null as recorded", nullable=True, pattern="[0-9a-f]{64}"),
    ),
    unique=("stream_id", "frame_number"),
)
LOSS_KINDS = ("mask", "box", "landmarks", "depth", "image")
FRAME_SCORES = Table(
    "frame_scores",
    "build_drop",
    "frame of a stream under one model: quality against the truth, latency, circumstances",
    (
        BUILD_ID,
        DROP_ID,
        STREAM_ID,
        FRAME_NUMBER,
        optional(DEVICE_ID),
        optional(SUBJECT_ID),
        FRAME,
        Column("device_model", "text", "model of the device", nullable=True),
        Column("os_version", "text", "operating system of the device", nullable=True),
        Column("scene", "text", "what was filmed", nullable=True),
        Column("time_s", "real", "timestamp within the clip", nullable=True),
        Column("capture_ms", "real", "when it was captured, by a clock of the stream", nullable=True),
        Column("latency_ms", "real", "from capture to result; null where there was none", nullable=True, low=0),
        Column("deadline_ms", "real", "allowed for it", nullable=True, low=0),
        Column("is_dropped", "flag", "whether the frame was skipped", nullable=True),
        Column("is_late", "flag", "whether its result came after the deadline, or never", nullable=True),
        Column("temperature_c", "real", "of the device", nullable=True),
        Column(
            "status",
            "text",
            "ok, or why there is no quality: of the output, or no_truth",
        ),
        Column("j", "real", "region IoU, mean over the classes or objects there", nullable=True, low=0, high=1),
        Column("f", "real", "boundary F, mean over the classes or objects there", nullable=True, low=0, high=1),
        Column("tc", "real", "output warped from the frame before against this one, IoU", nullable=True, low=0, high=1),
        Column("tc_ceiling", "real", "the same of the truth", nullable=True, low=0, high=1),
        Column(
            "flicker", "real", "pixels whose correctness changed since the frame before", nullable=True, low=0, high=1
        ),
        Column("box_f1", "real", "boxes matched at IoU .5, F1", nullable=True, low=0, high=1),
        Column("nme", "real", "mean error of landmarks by the interocular distance", nullable=True, low=0),
        Column("psnr_db", "real", "against the reference", nullable=True),
        Column("ssim", "real", "against the reference, gaussian window", nullable=True, low=-1, high=1),
        Column("depth_abs_rel", "real", "mean absolute relative error of depth", nullable=True, low=0),
        Column("depth_delta1", "real", "pixels whose depth is within 25 %", nullable=True, low=0, high=1),
        Column("loss_kind", "text", "what the loss is of", nullable=True, levels=LOSS_KINDS),
        Column(
            "loss", "real", "1 - J, 1 - F1, NME, 1 - delta1 or 1 - SSIM, within 0 and 1", nullable=True, low=0, high=1
        ),
        Column("is_miss", "flag", "whether the frame's quality misses the requirement", nullable=True),
        Column(
            "held_losses",
            "reals",
            "loss of the results of the 0, 1, 2, ... frames before against this frame's truth; null where undefined",
            nullable=True,
            is_lake_only=True,
        ),
    ),
    unique=("stream_id", "frame_number"),
    conditions="banded",
)
CLIP_SCORES = Table(
    "clip_scores",
    "build_drop",
    "metric of a clip under one model",
    (
        BUILD_ID,
        DROP_ID,
        STREAM_ID,
        Column("metric", "text", "name; `cv_quality.tasks.video.metric_names` says what each is"),
        Column("class_name", "text", "class or object; 'all' of the clip as a whole"),
        Column("value", "real", "of the clip; null where undefined", nullable=True),
        Column("numerator", "real", "of a pooled ratio", nullable=True),
        Column("denominator", "real", "of a pooled ratio", nullable=True),
        WHY_MISSING,
    ),
    unique=("stream_id", "metric", "class_name"),
    mart=True,
)
TRACK_COUNTS = Table(
    "track_counts",
    "build_drop",
    "clip with the counts that tracking scores of several clips are made of",
    (BUILD_ID, DROP_ID, STREAM_ID, Column("counts", "reals", "parts of `TrackCounts` in turn", is_lake_only=True)),
    unique=("stream_id",),
)
_INTERVAL = (
    Column("value", "real", "mean over clips, or pooled ratio; null where undefined", nullable=True),
    Column("low", "real", "lower 95 % bound, by clip", nullable=True),
    Column("high", "real", "upper 95 % bound, by clip", nullable=True),
    Column("numerator", "real", "of a ratio of counts", nullable=True),
    Column("denominator", "real", "of a ratio of counts", nullable=True),
    Column("n_clips", "integer", "clips with a value", low=0),
    Column("n_left_out", "integer", "clips without one", low=0),
    Column("method", "text", "how the interval was computed", nullable=True),
    WHY_MISSING,
)
VIDEO_METRICS = Table(
    "video_metrics",
    "build",
    "metric of a build's clips under one model, over all or at one level of a condition",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("metric", "text", "name; `cv_quality.tasks.video.metric_names` says what each is"),
        Column("dimension", "text", "column of the condition, 'class_name', or 'all'"),
        Column("level", "text", "level of the condition, or 'all'"),
        *_INTERVAL,
    ),
    unique=("model_build_id", "metric", "dimension", "level"),
    mart=True,
)
VIDEO_CHANGES = Table(
    "video_changes",
    "build",
    "metric of a build against its baseline, paired by clip",
    (
        BUILD_ID,
        Column("baseline_build_id", "text", "the build compared with"),
        Column("metric", "text", "name"),
        Column("is_higher_better", "flag", "direction of the metric"),
        *_INTERVAL,
        Column("n_improved", "integer", "clips that got better", low=0),
        Column("n_regressed", "integer", "clips that got worse", low=0),
        Column("verdict", "text", "improved, regressed, not settled, or insufficient"),
    ),
    unique=("metric",),
    mart=True,
)
CLIP_CHANGES = Table(
    "clip_changes",
    "build",
    "clip with a metric under a build and its baseline",
    (
        BUILD_ID,
        Column("baseline_build_id", "text", "the build compared with"),
        DROP_ID,
        STREAM_ID,
        Column("metric", "text", "name"),
        Column("baseline", "real", "of the baseline's model"),
        Column("candidate", "real", "of the build's model"),
        Column("change", "real", "candidate - baseline"),
    ),
    unique=("drop_id", "stream_id", "metric"),
    mart=True,
)
DISPLAY_REPLAYS = Table(
    "display_replays",
    "build",
    "loss on the screen of a build's clips under one model, as logged or under other latencies",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("replay", "text", "'as logged', or the latencies that were replayed"),
        Column("loss", "real", "mean over clips: algorithm + lateness", nullable=True),
        Column("algorithm", "real", "loss without latency", nullable=True),
        Column("lateness", "real", "what holding older results adds", nullable=True),
        Column("lateness_low", "real", "lower 95 % bound, by clip", nullable=True),
        Column("lateness_high", "real", "upper 95 % bound, by clip", nullable=True),
        Column("dropped", "real", "share of frames without a result", nullable=True, low=0, high=1),
        Column("n_clips", "integer", "clips with a loss on the screen", low=0),
        Column("method", "text", "how latencies were drawn", nullable=True),
        WHY_MISSING,
    ),
    unique=("model_build_id", "replay"),
    mart=True,
)
VIDEO_COUNTERFACTUALS = Table(
    "video_counterfactuals",
    "build",
    "change of the pictures of a slice's worst frames, with the loss of the build's model before and after it",
    (
        BUILD_ID,
        Column("rank", "integer", "place of the confirmed slice, the best is 1", low=1),
        Column("condition", "text", "the slice as a sentence"),
        Column("change", "text", "what was done to the pictures"),
        Column("n_frames", "integer", "frames that were run again", low=0),
        Column("n_clips", "integer", "their clips", low=0),
        Column("loss_before", "real", "mean loss with the pictures as they are", nullable=True, low=0, high=1),
        Column("loss_after", "real", "mean loss with the pictures changed", nullable=True, low=0, high=1),
        Column("value", "real", "after - before, mean over clips", nullable=True, low=-1, high=1),
        Column("low", "real", "lower 95 % bound, by clip", nullable=True, low=-1, high=1),
        Column("high", "real", "upper 95 % bound, by clip", nullable=True, low=-1, high=1),
        Column("n_recovered", "integer", "frames that missed the requirement before, and meet it after", low=0),
        Column("n_lost", "integer", "frames that met it before, and miss it after", low=0),
        Column("method", "text", "how the interval was computed", nullable=True),
        WHY_MISSING,
    ),
    unique=("rank", "change"),
    mart=True,
)
