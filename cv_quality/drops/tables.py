"""The tables of a drop: what an event carries, the typed rows by kind, the quarantine, and the sound rows.

The log's side of the contract (`EVENT_FIELDS`) and the tables that taking a drop in writes are declared here and
nowhere else. What makes a drop is told in `docs/drops.md`.
"""

from cv_quality.lake.columns import BUILD_ID, DEVICE_ID, DROP_ID, REFERENCE_ID, SESSION_ID, SUBJECT_ID
from cv_quality.lake.schema import Column, Table, identifier, optional

EVENT_ID = identifier("event_id", "identity of the event within its drop")
FRAME = Column("frame", "text", "member name of the image in the drop's frame shards", nullable=True)
OCCURRED_AT = Column("occurred_at", "instant", "device clock, UTC")
CONDITIONS = (
    Column("illuminance_lux", "real", "illuminance at the device", nullable=True, low=0, high=200_000),
    Column("distance_cm", "real", "distance of the face to the sensor", nullable=True, low=0, high=1_000),
    Column("yaw_deg", "real", "head yaw, positive to the subject's left", nullable=True, low=-90, high=90),
    Column("pitch_deg", "real", "head pitch, positive up", nullable=True, low=-90, high=90),
    Column("motion_blur_px", "real", "length of the motion blur in the frame", nullable=True, low=0, high=500),
    Column("eyewear", "text", "what the eyes wear", nullable=True, levels=("none", "glasses", "sunglasses")),
    Column("covering", "text", "what covers the face", nullable=True, levels=("none", "mask", "scarf")),
    Column(
        "thermal_state",
        "text",
        "thermal pressure of the device",
        nullable=True,
        levels=("nominal", "fair", "serious", "critical"),
    ),
    Column("condition_label", "text", "free label of the capture condition", nullable=True),
)
STAGES = ("acquisition", "quality", "liveness", "matching", "timeout")
SUBJECT_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    SUBJECT_ID,
    Column("age_band", "text", "age group", nullable=True, levels=("18-29", "30-44", "45-59", "60+")),
    Column("sex", "text", "as the subject stated it", nullable=True, levels=("female", "male", "other")),
    Column(
        "skin_tone",
        "integer",
        "Monk skin tone scale, 1 lightest to 10 darkest",
        nullable=True,
        low=1,
        high=10,
    ),
    Column("has_image_consent", "flag", "whether the subject's images may be shown in a report"),
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
    *CONDITIONS,
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
    *CONDITIONS,
    Column("device_stage", "text", "the stage that decided on the device", levels=STAGES),
    Column("device_score", "real", "similarity computed on the device", nullable=True, low=-1, high=1),
    Column("is_device_accepted", "flag", "the device's decision", nullable=True),
    Column("device_latency_ms", "real", "from capture to decision on the device", nullable=True, low=0),
)
STREAM_FRAME_FIELDS = (
    EVENT_ID,
    OCCURRED_AT,
    identifier("stream_id", "one run of a video algorithm"),
    DEVICE_ID,
    Column("frame_number", "integer", "position within the stream, from 0", low=0),
    FRAME,
    Column("latency_ms", "real", "processing time of the frame", nullable=True, low=0),
    Column("deadline_ms", "real", "time allowed for the frame", low=0),
    Column("is_dropped", "flag", "whether the frame was skipped"),
)
EVENT_FIELDS: dict[str, tuple[Column, ...]] = {
    "subject": SUBJECT_FIELDS,
    "device": DEVICE_FIELDS,
    "enrol": ENROL_FIELDS,
    "attempt": ATTEMPT_FIELDS,
    "stream_frame": STREAM_FRAME_FIELDS,
}
"""What an event of each kind carries: the log's side of the drop contract, schema version 1."""
PROVENANCE = (
    DROP_ID,
    Column("source_file", "text", "the file of the drop that held the row"),
    Column("source_line", "integer", "line number in that file, from 1", low=1),
)


def _raw(kind: str, grain: str) -> Table:
    return Table(f"raw_{kind}s", "drop", grain, (*EVENT_FIELDS[kind], *PROVENANCE), asset="raw_events")


def _validated(name: str, kind: str, grain: str, unique: str, *, asset: str = "") -> Table:
    columns = (*EVENT_FIELDS[kind], *PROVENANCE)
    return Table(name, "drop", grain, columns, unique=(unique,), asset=asset)


RAW_SUBJECTS = _raw("subject", "subject event as parsed")
RAW_DEVICES = _raw("device", "device event as parsed")
RAW_ENROLS = _raw("enrol", "enrolment event as parsed")
RAW_ATTEMPTS = _raw("attempt", "attempt event as parsed")
RAW_STREAM_FRAMES = _raw("stream_frame", "stream frame event as parsed")
RAW_TABLES: dict[str, Table] = {
    "subject": RAW_SUBJECTS,
    "device": RAW_DEVICES,
    "enrol": RAW_ENROLS,
    "attempt": RAW_ATTEMPTS,
    "stream_frame": RAW_STREAM_FRAMES,
}
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
        Column("protocol", "text", "how references and probes are paired", levels=("enrolled", "all_pairs")),
        Column("captured_from", "instant", "start of the drop's recording window"),
        Column("captured_until", "instant", "end of the drop's recording window"),
        Column("manifest_sha256", "text", "identity of the delivery", pattern="[0-9a-f]{64}"),
        Column("file", "text", "file name within the drop"),
        Column("content", "text", "what the file holds", levels=("events", "frames")),
        Column("bytes", "integer", "size of the file", low=0),
        Column("rows_declared", "integer", "rows that the manifest promises", low=0),
        Column("rows_in", "integer", "rows found", low=0),
        Column("rows_valid", "integer", "rows parsed", low=0),
        Column("rows_quarantined", "integer", "rows rejected with a reason", low=0),
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
VALIDATED_ATTEMPTS = _validated("validated_attempts", "attempt", "sound attempt", "event_id")
VALIDATED_ENROLS = _validated("validated_enrols", "enrol", "sound enrolment", "event_id", asset="validated_attempts")
VALIDATED_STREAMS = _validated("validated_streams", "stream_frame", "sound stream frame", "event_id")
SUBJECTS = _validated("subjects", "subject", "subject of a drop", "subject_id")
DEVICES = _validated("devices", "device", "device of a drop", "device_id")
VALIDATED_TABLES: dict[str, Table] = {
    "subject": SUBJECTS,
    "device": DEVICES,
    "enrol": VALIDATED_ENROLS,
    "attempt": VALIDATED_ATTEMPTS,
    "stream_frame": VALIDATED_STREAMS,
}
