"""The tables of a drop: what an event carries, the typed rows by kind, the quarantine, and the sound rows.

What every drop has is declared here and nowhere else; a modality adds its conditions (`cv_quality.drops.schema`). What
makes a drop is told in `docs/drops.md`.
"""

from dataclasses import replace

from cv_quality.lake.columns import BUILD_ID, DEVICE_ID, DROP_ID, REFERENCE_ID, SESSION_ID, SUBJECT_ID
from cv_quality.lake.schema import IDENTIFIER, Column, Conditions, Table, identifier, optional

EVENT_ID = identifier("event_id", "identity of the event within its drop")
FRAME = Column("frame", "text", "member name of the image in the drop's frame shards", nullable=True)
OCCURRED_AT = Column("occurred_at", "instant", "device clock, UTC")
STAGES = ("acquisition", "quality", "liveness", "matching", "timeout")
FAMILY_ID = Column(
    "family_id",
    "text",
    "subjects who are alike, such as relatives: intervals take them together",
    nullable=True,
    pattern=IDENTIFIER,
)
SUBJECT_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    SUBJECT_ID,
    Column("age_band", "text", "age group", nullable=True, levels=("18-29", "30-44", "45-59", "60+")),
    Column("sex", "text", "as the subject stated it", nullable=True, levels=("female", "male", "other")),
    Column("skin_tone", "integer", "Monk skin tone scale, 1 lightest to 10 darkest", nullable=True, low=1, high=10),
    Column("has_image_consent", "flag", "whether the subject's images may be shown in a report"),
    FAMILY_ID,
)
DEVICE_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    DEVICE_ID,
    identifier("device_model", "model of the device"),
    Column("os_version", "text", "operating system of the device", nullable=True),
    Column("camera_supplier", "text", "maker of the camera module", nullable=True),
)
ENROL_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    SUBJECT_ID,
    DEVICE_ID,
    SESSION_ID,
    REFERENCE_ID,
    FRAME,
    Column("is_enrolled", "flag", "whether the device accepted the sample into the reference"),
)
ATTEMPT_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    SUBJECT_ID,
    identifier("claimed_subject_id", "the identity claimed; the subject's own for a mated attempt"),
    DEVICE_ID,
    SESSION_ID,
    identifier("transaction_id", "the transaction that the attempt belongs to"),
    Column("attempt_number", "integer", "position within the transaction, from 1", low=1, high=1_000),
    identifier("presentation", "bona_fide, or the attack species"),
    optional(REFERENCE_ID),
    FRAME,
    Column("device_stage", "text", "the stage that decided on the device", levels=STAGES),
    Column("device_score", "real", "score computed on the device", nullable=True, bounds="device_score"),
    Column("is_device_accepted", "flag", "the device's decision", nullable=True),
    Column("device_latency_ms", "real", "from capture to decision on the device", nullable=True, low=0),
)
STREAM_ID = identifier("stream_id", "one run of a video algorithm, over one clip")
FRAME_NUMBER = Column("frame_number", "integer", "position within the stream, from 0", low=0)
STREAM_FRAME_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    STREAM_ID,
    DEVICE_ID,
    FRAME_NUMBER,
    FRAME,
    Column("latency_ms", "real", "processing time of the frame", nullable=True, low=0),
    Column("deadline_ms", "real", "time allowed for the frame, from its capture to its result", low=0),
    Column("is_dropped", "flag", "whether the frame was skipped"),
    Column("clip_time_ms", "real", "timestamp of the picture within the clip", nullable=True),
    Column("capture_ms", "real", "when it was captured, by a clock of the stream", nullable=True),
    Column("start_ms", "real", "when its processing began, by that clock", nullable=True),
    Column("result_ms", "real", "when its result was there, by that clock", nullable=True),
    Column("display_ms", "real", "when its result was on the screen first", nullable=True),
    Column("temperature_c", "real", "of the device", nullable=True, low=-40, high=150),
    Column("power_mw", "real", "that the device drew", nullable=True, low=0),
)
SOURCE = Column("source", "text", "ground truth, or what the device recorded", levels=("truth", "device"))
CLIP_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    STREAM_ID,
    DEVICE_ID,
    optional(SUBJECT_ID),
    Column("clip", "text", "member name of the video file; null where stream frames name images", nullable=True),
    Column("scene", "text", "what was filmed; builds are compared by it where each filmed for itself", nullable=True),
    Column("frame_rate_hz", "real", "of the camera; measured where null", nullable=True, low=0.1, high=10_000),
    Column("refresh_hz", "real", "of the screen; the camera's where null", nullable=True, low=0.1, high=10_000),
    Column("mask_kind", "text", "what a label of its masks is", nullable=True, levels=("classes", "instances")),
    Column("has_image_consent", "flag", "whether its pictures may be shown in a report"),
)
BOX_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    STREAM_ID,
    FRAME_NUMBER,
    SOURCE,
    identifier("track_id", "the object, over all frames of the stream"),
    Column("class_name", "text", "what it is", nullable=True),
    Column("left_px", "real", "left edge, from that of the picture"),
    Column("top_px", "real", "upper edge, from that of the picture"),
    Column("width_px", "real", "width", low=0),
    Column("height_px", "real", "height", low=0),
    Column("confidence", "real", "that it is there", nullable=True),
    Column("is_ignored", "flag", "whether the box is neither to be found nor wrong to find", nullable=True),
)
LANDMARKS_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    STREAM_ID,
    FRAME_NUMBER,
    SOURCE,
    Column("points_px", "reals", "x and y of every point in turn, in pixels of the picture"),
    Column("interocular_px", "real", "what errors are divided by; of the truth", nullable=True, low=0),
)
MASK_CLASS_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    Column("label", "integer", "value of the pixels", low=0, high=255),
    Column("class_name", "text", "what the pixels are; null for background", nullable=True),
    Column("is_ignored", "flag", "whether such pixels count for nothing"),
)
FACE_BOX = (
    Column("face_left_px", "real", "left edge of the face's box in the image", nullable=True),
    Column("face_top_px", "real", "upper edge of the face's box", nullable=True),
    Column("face_width_px", "real", "width of the face's box", nullable=True, low=1),
    Column("face_height_px", "real", "height of the face's box", nullable=True, low=1),
)
"""Where the device saw the face, for models that see what surrounds it; all four or none."""
PRESENTATION_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    SUBJECT_ID,
    DEVICE_ID,
    SESSION_ID,
    Column("presented", "text", "who or what was shown to the detector", levels=("bona_fide", "attack")),
    identifier("pai_species", "kind of the artefact; null of a bona fide presentation", nullable=True),
    identifier("pai_series", "series that the artefact was made in", nullable=True),
    identifier("artefact_id", "the artefact that was shown: its presentations are alike", nullable=True),
    identifier(
        "target_subject_id",
        "whom the artefact imitates; another than who presents makes a bona fide presentation a zero-effort impostor",
        nullable=True,
    ),
    FRAME,
    *FACE_BOX,
    Column(
        "response",
        "text",
        "whether the detector answered",
        levels=("ok", "non_response", "capture_fail"),
    ),
    Column("pad_score", "real", "of the detector; higher is more surely bona fide", nullable=True),
    Column("second_pad_score", "real", "of a second detector, on the same presentation", nullable=True),
    Column("is_device_live", "flag", "whether the device took it for bona fide", nullable=True),
    Column("is_device_match", "flag", "whether it passed the whole system as its target", nullable=True),
)
MEDIA_CONTENTS = ("clips", "masks", "references", "depth", "results")
"""What shards hold beside images that events name: video files, ground truth, and what devices made of frames."""
PROTOCOLS = ("enrolled", "all_pairs", "streams", "presentations")
"""How references and probes are paired; in the latter two nothing is."""
PROVENANCE = (
    DROP_ID,
    Column("source_file", "text", "the file of the drop that held the row"),
    Column("source_line", "integer", "line number in that file, from 1", low=1),
)


def _raw(name: str, grain: str, fields: tuple[Column, ...], *, conditions: Conditions | None = None) -> Table:
    return Table(name, "drop", grain, (*fields, *PROVENANCE), asset="raw_events", conditions=conditions)


def _validated(raw: Table, name: str, grain: str, key: str, *, asset: str = "") -> Table:
    return replace(raw, name=name, grain=grain, unique=(key,), asset=asset)


RAW_SUBJECTS = _raw("raw_subjects", "subject event as parsed", SUBJECT_FIELDS)
RAW_DEVICES = _raw("raw_devices", "device event as parsed", DEVICE_FIELDS)
RAW_ENROLS = _raw("raw_enrols", "enrolment event as parsed", ENROL_FIELDS, conditions="recorded")
RAW_ATTEMPTS = _raw("raw_attempts", "attempt event as parsed", ATTEMPT_FIELDS, conditions="recorded")
RAW_STREAM_FRAMES = _raw(
    "raw_stream_frames", "stream frame event as parsed", STREAM_FRAME_FIELDS, conditions="recorded"
)
RAW_CLIPS = _raw("raw_clips", "clip event as parsed", CLIP_FIELDS)
RAW_BOXES = _raw("raw_boxes", "box event as parsed", BOX_FIELDS)
RAW_LANDMARKS = _raw("raw_landmarks", "landmarks event as parsed", LANDMARKS_FIELDS)
RAW_MASK_CLASSES = _raw("raw_mask_classes", "mask class event as parsed", MASK_CLASS_FIELDS)
RAW_PRESENTATIONS = _raw(
    "raw_presentations", "presentation event as parsed", PRESENTATION_FIELDS, conditions="recorded"
)
RAW_TABLES: dict[str, Table] = {
    "subject": RAW_SUBJECTS,
    "device": RAW_DEVICES,
    "enrol": RAW_ENROLS,
    "attempt": RAW_ATTEMPTS,
    "stream_frame": RAW_STREAM_FRAMES,
    "clip": RAW_CLIPS,
    "box": RAW_BOXES,
    "landmarks": RAW_LANDMARKS,
    "mask_class": RAW_MASK_CLASSES,
    "presentation": RAW_PRESENTATIONS,
}
"""The typed rows of each kind of event, without the conditions of a modality."""
BIOMETRIC_KINDS = ("subject", "device", "enrol", "attempt", "stream_frame")
VIDEO_KINDS = ("subject", "device", "clip", "mask_class", "stream_frame", "box", "landmarks")
LIVENESS_KINDS = ("subject", "device", "presentation")
"""Kinds of events in a drop, in the order in which they refer to each other."""
_QUARANTINE_COLUMNS = (
    *PROVENANCE,
    Column("stage", "text", "the stage that rejected the row", levels=("parse", "validate")),
    Column("event_kind", "text", "kind of the event, or 'frame', where it could be told", nullable=True),
    Column("event_id", "text", "identity of the event, where it could be told", nullable=True),
    Column("reason", "text", "code of the reason"),
    Column("detail", "text", "what was expected and what was found", is_lake_only=True),
    Column(
        "raw",
        "text",
        "the row as delivered, undecodable bytes escaped, cut at 64 KiB",
        nullable=True,
        is_lake_only=True,
    ),
    Column("raw_bytes", "integer", "length of the row as delivered", low=0),
)
QUARANTINE_PARSE = Table(
    "quarantine_parse", "drop", "line or frame rejected while parsing", _QUARANTINE_COLUMNS, asset="quarantine"
)
QUARANTINE_VALIDATE = Table("quarantine_validate", "drop", "event rejected while validating", _QUARANTINE_COLUMNS)
DROP_FILES = Table(
    "drop_files",
    "drop",
    "file of a drop",
    (
        DROP_ID,
        BUILD_ID,
        Column("site", "text", "where the drop was recorded"),
        Column("modality", "text", "what a sample is", bounds="name"),
        Column("protocol", "text", "how references and probes are paired", levels=PROTOCOLS),
        Column("captured_from", "instant", "start of the drop's recording window"),
        Column("captured_until", "instant", "end of the drop's recording window"),
        Column("manifest_sha256", "text", "identity of the delivery", pattern="[0-9a-f]{64}"),
        Column("conditions", "text", "what the drop declares beyond its modality, as JSON", nullable=True),
        Column(
            "device_scores",
            "text",
            "on which scale the devices score, as JSON; null on that of the modality",
            nullable=True,
        ),
        Column("file", "text", "file name within the drop"),
        Column("content", "text", "what the file holds", levels=("events", "frames", *MEDIA_CONTENTS)),
        Column("bytes", "integer", "size of the file", low=0),
        Column("rows_declared", "integer", "rows that the manifest promises", low=0),
        Column("rows_in", "integer", "rows found", low=0),
        Column("rows_valid", "integer", "rows parsed", low=0),
        Column("rows_quarantined", "integer", "rows rejected with a reason", low=0),
        Column("rows_forgotten", "integer", "rows of forgotten subjects, set aside", nullable=True, low=0),
    ),
    unique=("file",),
    asset="raw_events",
)
FRAME_INDEX = Table(
    "frame_index",
    "drop",
    "image of a drop",
    (
        DROP_ID,
        Column("frame", "text", "member name of the image"),
        Column("shard", "text", "tar file that holds it"),
        Column("byte_offset", "integer", "start of the image within the shard", low=0),
        Column("byte_count", "integer", "size of the encoded image", low=1),
        Column("sha256", "text", "digest of the encoded image", pattern="[0-9a-f]{64}"),
        Column("image_format", "text", "encoding", levels=("PNG", "JPEG", "PPM", "GIF", "BMP")),
        Column("width_px", "integer", "width", low=1),
        Column("height_px", "integer", "height", low=1),
    ),
    unique=("frame",),
    asset="raw_events",
)
MEDIA_INDEX = Table(
    "media_index",
    "drop",
    "video file, or picture of ground truth or of what a device recorded, of a drop",
    (
        DROP_ID,
        Column("content", "text", "what the shard holds", levels=MEDIA_CONTENTS),
        Column("member", "text", "member name; of a picture <stream_id>/<frame_number>.png"),
        Column("stream_id", "text", "of a picture, or of a reference clip <stream_id>.mp4", nullable=True),
        Column("frame_number", "integer", "of a picture", nullable=True, low=0),
        Column("shard", "text", "tar file that holds it"),
        Column("byte_offset", "integer", "start within the shard", low=0),
        Column("byte_count", "integer", "size", low=1),
        Column("sha256", "text", "digest of the bytes", pattern="[0-9a-f]{64}"),
        Column("media_format", "text", "encoding, or container"),
        Column("width_px", "integer", "of a picture", nullable=True, low=1),
        Column("height_px", "integer", "of a picture", nullable=True, low=1),
    ),
    unique=("content", "member"),
    asset="raw_events",
)
VALIDATED_ATTEMPTS = _validated(RAW_ATTEMPTS, "validated_attempts", "sound attempt", "event_id")
VALIDATED_ENROLS = _validated(RAW_ENROLS, "validated_enrols", "sound enrolment", "event_id", asset="validated_attempts")
VALIDATED_STREAMS = _validated(RAW_STREAM_FRAMES, "validated_streams", "sound stream frame", "event_id")
SUBJECTS = _validated(RAW_SUBJECTS, "subjects", "subject of a drop", "subject_id")
DEVICES = _validated(RAW_DEVICES, "devices", "device of a drop", "device_id")
CLIPS = _validated(RAW_CLIPS, "clips", "clip of a drop", "stream_id")
BOXES = _validated(RAW_BOXES, "boxes", "sound box", "event_id", asset="annotations")
LANDMARKS = _validated(RAW_LANDMARKS, "landmarks", "sound set of landmarks", "event_id", asset="annotations")
MASK_CLASSES = _validated(RAW_MASK_CLASSES, "mask_classes", "label of a drop's masks", "label", asset="annotations")
PRESENTATIONS = _validated(RAW_PRESENTATIONS, "presentations", "sound presentation to a liveness detector", "event_id")
VALIDATED_TABLES: dict[str, Table] = {
    "subject": SUBJECTS,
    "device": DEVICES,
    "enrol": VALIDATED_ENROLS,
    "attempt": VALIDATED_ATTEMPTS,
    "stream_frame": VALIDATED_STREAMS,
    "clip": CLIPS,
    "box": BOXES,
    "landmarks": LANDMARKS,
    "mask_class": MASK_CLASSES,
    "presentation": PRESENTATIONS,
}
