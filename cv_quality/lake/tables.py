"""Every table of the lake, in the order of the data: what a column is called, means, and may hold.

This is the only place that names columns, types, units and ranges. To find who writes a table, look for its name in
the room of its stage: drops, inference, metrics.
"""

from cv_quality.lake.schema import Column, Table, identifier, optional

EVENT_ID = identifier("event_id", "identity of the event within its drop")
DROP_ID = identifier("drop_id", "the drop that delivered the row")
BUILD_ID = identifier("build_id", "the build under evaluation")
MODEL_BUILD_ID = identifier("model_build_id", "whose model scored the build's drops: the build itself or its baseline")
SUBJECT_ID = identifier("subject_id", "pseudonym of the person presented to the sensor")
DEVICE_ID = identifier("device_id", "one unit of a device model")
SESSION_ID = identifier("session_id", "one sitting of one subject at one device")
REFERENCE_ID = identifier("reference_id", "the enrolled biometric reference")
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
    return Table(f"raw_{kind}s", "drop", grain, (*EVENT_FIELDS[kind], *PROVENANCE))


def _validated(name: str, kind: str, grain: str, unique: str) -> Table:
    return Table(name, "drop", grain, (*EVENT_FIELDS[kind], *PROVENANCE), unique=(unique,))


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
    Column("detail", "text", "what was expected and what was found"),
    Column("raw", "text", "the row as delivered, undecodable bytes escaped, cut at 64 KiB", nullable=True),
    Column("raw_bytes", "integer", "length of the row as delivered", low=0),
)
QUARANTINE_PARSE = Table("quarantine_parse", "drop", "line or frame rejected while parsing", _QUARANTINE_COLUMNS)
QUARANTINE_VALIDATE = Table("quarantine_validate", "drop", "event rejected while validating", _QUARANTINE_COLUMNS)

DROP_FILES = Table(
    "drop_files",
    "drop",
    "file of a drop",
    (
        DROP_ID,
        BUILD_ID,
        Column("site", "text", "where the drop was recorded"),
        Column("modality", "text", "biometric modality", levels=("face",)),
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
)

VALIDATED_ATTEMPTS = _validated("validated_attempts", "attempt", "sound attempt", "event_id")
VALIDATED_ENROLS = _validated("validated_enrols", "enrol", "sound enrolment", "event_id")
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

EMBEDDING_STATUSES = (
    "ok",
    "no_face",
    "non_finite",
    "zero_norm",
    "missing_frame",
    "corrupt_image",
    "image_bomb",
    "unsupported_format",
)

EMBEDDINGS = Table(
    "embeddings",
    "build_drop",
    "biometric sample run through the build's model",
    (
        BUILD_ID,
        DROP_ID,
        identifier("sample_id", "event_id of the enrolment or attempt"),
        Column("role", "text", "what the sample is used as", levels=("reference", "probe")),
        SUBJECT_ID,
        optional(REFERENCE_ID),
        FRAME,
        Column("status", "text", "ok, or why there is no template", levels=EMBEDDING_STATUSES),
        Column("embedding", "vector", "unit-norm template; null unless ok", nullable=True),
        Column("model_sha256", "text", "digest of the model file", pattern="[0-9a-f]{64}"),
    ),
    unique=("sample_id",),
)
COMPARISONS = Table(
    "comparisons",
    "build_drop",
    "comparison that the drop's protocol performs: every genuine one, and impostor attempts that really happened",
    (
        BUILD_ID,
        DROP_ID,
        identifier("attempt_id", "event_id of the probe's attempt"),
        identifier("reference_id", "the reference compared with"),
        identifier("subject_id", "subject of the probe"),
        identifier("reference_subject_id", "subject of the reference"),
        Column("is_genuine", "flag", "whether both are of one subject"),
        identifier("presentation", "bona_fide, or the attack species"),
        Column("score", "real", "cosine similarity in the lab's re-inference", low=-1, high=1),
        Column("device_score", "real", "the score in the device's log", nullable=True, low=-1, high=1),
        Column(
            "is_parity_expected",
            "flag",
            "whether the drop was recorded with this build, so both scores must agree",
        ),
    ),
    unique=("attempt_id", "reference_id"),
)

OUTCOMES = ("not_acquired", "quality_reject", "liveness_reject", "non_match", "timeout", "accepted")

ATTEMPT_OUTCOMES = Table(
    "attempt_outcomes",
    "build_drop",
    "attempt with its one terminal outcome",
    (
        BUILD_ID,
        DROP_ID,
        identifier("attempt_id", "event_id of the attempt"),
        OCCURRED_AT,
        SUBJECT_ID,
        identifier("claimed_subject_id", "the identity claimed"),
        Column("is_genuine", "flag", "whether the claimed identity is the subject's own"),
        identifier("presentation", "bona_fide, or the attack species"),
        DEVICE_ID,
        identifier("device_model", "model of the device"),
        Column("camera_supplier", "text", "maker of the camera module", nullable=True),
        *CONDITIONS,
        Column("illuminance_band", "text", "illuminance in bands", nullable=True),
        Column("age_band", "text", "age group of the subject", nullable=True),
        Column("sex", "text", "as the subject stated it", nullable=True),
        Column("skin_tone_band", "text", "Monk skin tone in three bands", nullable=True),
        Column("has_image_consent", "flag", "whether the subject's images may be shown"),
        FRAME,
        Column("outcome", "text", "the stage that ended the attempt", levels=OUTCOMES),
        Column("score", "real", "best score of the attempt in re-inference", nullable=True, low=-1, high=1),
        Column("decision_threshold", "real", "the build's threshold", low=-1, high=1),
        Column("device_score", "real", "score in the device's log", nullable=True, low=-1, high=1),
        Column("device_latency_ms", "real", "latency in the device's log", nullable=True, low=0),
    ),
    unique=("attempt_id",),
)

GROUP_ATTRIBUTES = ("age_band", "sex", "skin_tone_band")
METRICS = ("fta", "fnmr", "fmr", "frr", "far")

METRIC_COUNTS = Table(
    "metric_counts",
    "build_drop",
    "subject and claimed subject within one level of one dimension: counts, so that drops add up exactly",
    (
        BUILD_ID,
        DROP_ID,
        Column("metric", "text", "the rate counted", levels=METRICS),
        Column("dimension", "text", "what the level is a level of; 'all' for the whole drop"),
        Column("level", "text", "value of the dimension"),
        SUBJECT_ID,
        identifier("claimed_subject_id", "whose identity was claimed or compared with; the subject's own when mated"),
        Column("numerator", "integer", "errors", low=0),
        Column("denominator", "integer", "trials", low=1),
    ),
    unique=("metric", "dimension", "level", "subject_id", "claimed_subject_id"),
)

_INTERVAL = (
    Column("value", "real", "the rate; null when undefined", nullable=True, low=0, high=1),
    Column("numerator", "integer", "errors", nullable=True, low=0),
    Column("denominator", "integer", "trials", nullable=True, low=0),
    Column("low", "real", "lower 95 % bound", nullable=True, low=0, high=1),
    Column("high", "real", "upper 95 % bound", nullable=True, low=0, high=1),
    Column("method", "text", "how the interval was computed", nullable=True),
    Column("n_effective", "real", "independent trials that would be as sure", nullable=True, low=0),
    Column("n_subjects", "integer", "subjects behind the rate", nullable=True, low=0),
    Column("reason", "text", "why a value or an interval is missing", nullable=True),
)
INTERVALS = Table(
    "intervals",
    "build",
    "rate of one level of one dimension over all drops of a build, with its interval",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("metric", "text", "the rate", levels=METRICS),
        Column("dimension", "text", "what the level is a level of"),
        Column("level", "text", "value of the dimension"),
        *_INTERVAL,
    ),
    unique=("model_build_id", "metric", "dimension", "level"),
)
IMPOSTOR_COUNTS = Table(
    "impostor_counts",
    "build",
    "bin of the histogram of all cross-subject scores",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("bin", "integer", "index of the bin, 0 to 65535 over [-1, 1]", low=0, high=65_535),
        Column("count", "integer", "comparisons in the bin", low=1),
    ),
    unique=("model_build_id", "bin"),
)
IMPOSTOR_TAIL = Table(
    "impostor_tail",
    "build",
    "cross-subject comparison with one of the highest scores",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("score", "real", "cosine similarity", low=-1, high=1),
        identifier("subject_id", "subject of the probe"),
        identifier("reference_subject_id", "subject of the reference"),
    ),
)
IMPOSTOR_TRIALS = Table(
    "impostor_trials",
    "build",
    "subject with the samples that it brings into the cross-subject pairs",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        SUBJECT_ID,
        Column("n_references", "integer", "references in enrolled drops", low=0),
        Column("n_probes", "integer", "probes in enrolled drops", low=0),
        Column("n_frames", "integer", "frames in all-pairs drops, each reference and probe", low=0),
    ),
    unique=("model_build_id", "subject_id"),
)
OPERATING_POINTS = Table(
    "operating_points",
    "build",
    "operating point of the build over all cross-subject pairs",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("point", "text", "'fnmr_at_fmr', 'eer' or 'decision_threshold'"),
        Column("fmr_target", "real", "highest FMR allowed, for fnmr_at_fmr", nullable=True, low=0, high=1),
        Column("threshold", "real", "accept at or above", nullable=True, low=-1, high=2),
        Column("threshold_low", "real", "lower 95 % bound, where estimated", nullable=True, low=-1, high=2),
        Column("threshold_high", "real", "upper 95 % bound, where estimated", nullable=True, low=-1, high=2),
        Column("eer", "real", "(FMR + FNMR) / 2, at the equal error rate", nullable=True, low=0, high=1),
        Column("eer_low", "real", "lower 95 % bound", nullable=True, low=0, high=1),
        Column("eer_high", "real", "upper 95 % bound", nullable=True, low=0, high=1),
        Column("fmr", "real", "realised FMR", nullable=True, low=0, high=1),
        Column("fmr_low", "real", "lower 95 % bound at this threshold", nullable=True, low=0, high=1),
        Column("fmr_high", "real", "upper 95 % bound at this threshold", nullable=True, low=0, high=1),
        Column("n_false_matches", "integer", "impostor comparisons accepted", nullable=True, low=0),
        Column("n_impostor", "integer", "impostor comparisons", low=0),
        Column("fmr_n_effective", "real", "independent impostor trials as sure", nullable=True, low=0),
        Column("fmr_method", "text", "where the FMR and its interval come from", nullable=True),
        Column("fnmr", "real", "FNMR at the threshold", nullable=True, low=0, high=1),
        Column("fnmr_low", "real", "lower 95 % bound", nullable=True, low=0, high=1),
        Column("fnmr_high", "real", "upper 95 % bound", nullable=True, low=0, high=1),
        Column("n_false_non_matches", "integer", "genuine comparisons rejected", nullable=True, low=0),
        Column("n_genuine", "integer", "genuine comparisons", low=0),
        Column("fnmr_n_effective", "real", "independent genuine trials as sure", nullable=True, low=0),
        Column("method", "text", "how the interval of the FNMR, or of the EER, was computed", nullable=True),
        Column("reason", "text", "why the point is undefined", nullable=True),
    ),
    unique=("model_build_id", "point", "fmr_target"),
)
DET_CURVE = Table(
    "det_curve",
    "build",
    "point of the detection error trade-off over all cross-subject pairs, at FMRs evenly spread on a logarithmic axis",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("fmr_target", "real", "highest FMR allowed", low=0, high=1),
        Column("threshold", "real", "accept at or above", low=-1, high=2),
        Column("fmr", "real", "realised FMR", low=0, high=1),
        Column("fnmr", "real", "FNMR at the threshold", low=0, high=1),
        Column("fnmr_low", "real", "lower 95 % bound, the threshold re-estimated", nullable=True, low=0, high=1),
        Column("fnmr_high", "real", "upper 95 % bound, the threshold re-estimated", nullable=True, low=0, high=1),
    ),
    unique=("model_build_id", "fmr_target"),
)
DIFFERENTIALS = Table(
    "differentials",
    "build",
    "rate of one group of people, or FMR between two, at the decision threshold, held against that of all",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("attribute", "text", "what the groups are groups of", levels=GROUP_ATTRIBUTES),
        Column("metric", "text", "the rate", levels=("fmr", "fnmr", "fta")),
        Column("level", "text", "the group"),
        Column("other_level", "text", "the group compared with; the same one for all but FMR between groups"),
        *_INTERVAL,
        Column("ratio", "real", "the group's rate over that of all", nullable=True, low=0),
        Column("ratio_low", "real", "lower 95 % bound", nullable=True, low=0),
        Column("ratio_high", "real", "upper 95 % bound", nullable=True, low=0),
        Column(
            "verdict",
            "text",
            "whether the group is at most 25 % worse than all; null where the rate is not held against that rule",
            nullable=True,
            levels=("pass", "fail", "insufficient"),
        ),
    ),
    unique=("model_build_id", "attribute", "metric", "level", "other_level"),
)

FINDING_CONDITION = Column("condition", "text", "the slice as a sentence")
WHERE_JSON = Column("where_json", "text", "the slice as JSON: a list of column, op and value")
_OUTCOME_SOUGHT = Column(
    "outcome",
    "text",
    "what counted as a failure: 'frr' (not accepted), one outcome, or 'fnmr': of all images compared, a genuine "
    "comparison below the threshold, under both of its images",
)
_RANK = Column("rank", "integer", "place among the findings of its kind, the best is 1", low=1)

SLICE_SEARCHES = Table(
    "slice_searches",
    "build",
    "search for slices of one outcome over a build's own genuine attempts",
    (
        BUILD_ID,
        _OUTCOME_SOUGHT,
        Column("n_attempts", "integer", "genuine bona fide attempts searched; comparisons for 'fnmr'", low=0),
        Column("n_subjects", "integer", "their subjects", low=0),
        Column("n_failures", "integer", "attempts with the outcome", low=0),
        Column("base_rate", "real", "failures per attempt", nullable=True, low=0, high=1),
        Column("n_slices", "integer", "slices confirmed", low=0),
        Column("conclusion", "text", "one sentence on whether anything is real"),
        Column("skipped_json", "text", "columns that were not searched and why, as JSON"),
        Column("seed", "integer", "of the split of the subjects", low=0),
    ),
    unique=("outcome",),
)
FAILURE_SLICES = Table(
    "failure_slices",
    "build",
    "slice of a build's attempts that was confirmed, rests on too few subjects, or was explained away",
    (
        BUILD_ID,
        _OUTCOME_SOUGHT,
        Column(
            "finding",
            "text",
            "what became of it",
            levels=("confirmed", "insufficient", "explained_away"),
        ),
        _RANK,
        FINDING_CONDITION,
        WHERE_JSON,
        Column("sentence", "text", "what was found, in words"),
        Column("rate", "real", "failures per attempt; of confirmed slices on the confirmation subjects", low=0, high=1),
        Column("low", "real", "lower 95 % bound, clustered by subject", nullable=True, low=0, high=1),
        Column("high", "real", "upper 95 % bound, clustered by subject", nullable=True, low=0, high=1),
        Column("numerator", "integer", "failures behind the rate", nullable=True, low=0),
        Column("denominator", "integer", "attempts behind the rate", nullable=True, low=0),
        Column("rest_rate", "real", "rate outside of the slice and of those above it", nullable=True, low=0, high=1),
        Column("support", "integer", "attempts in the slice", nullable=True, low=0),
        Column("n_subjects", "integer", "subjects in the slice", nullable=True, low=0),
        Column("p_adjusted", "real", "p value of the confirmation, adjusted by Holm", nullable=True, low=0, high=1),
        Column(
            "share_of_failures", "real", "part of the build's failures that lies in it", nullable=True, low=0, high=1
        ),
        Column("adjusted_odds_ratio", "real", "Mantel-Haenszel, over its strongest correlate", nullable=True, low=0),
        Column("adjusted_for", "text", "the strongest correlate", nullable=True),
        Column("rate_after", "real", "rate without the confirmed slices' attempts", nullable=True, low=0, high=1),
        Column("explained_by", "text", "the slices that explain it away", nullable=True),
    ),
    unique=("outcome", "finding", "rank"),
)
SLICE_TRENDS = Table(
    "slice_trends",
    "build",
    "rate of a build's confirmed slice in that build and in those that it follows, each on its own drops",
    (
        BUILD_ID,
        _OUTCOME_SOUGHT,
        _RANK,
        Column("trend_build_id", "text", "the build that the rate is of"),
        *_INTERVAL,
    ),
    unique=("outcome", "rank", "trend_build_id"),
)
OUTCOME_WATERFALL = Table(
    "outcome_waterfall",
    "build",
    "genuine attempts of a build's drops that ended in one outcome, in all and in each confirmed slice",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("slice_rank", "integer", "rank of the slice of 'frr'; 0 for all attempts", low=0),
        FINDING_CONDITION,
        Column("outcome", "text", "the stage that ended the attempt", levels=OUTCOMES),
        Column("n_attempts", "integer", "attempts that ended there", low=0),
        Column("n_genuine", "integer", "genuine attempts in all", low=0),
    ),
    unique=("model_build_id", "slice_rank", "outcome"),
)
EXEMPLARS = Table(
    "exemplars",
    "build",
    "attempt that shows what a confirmed slice is about",
    (
        BUILD_ID,
        _OUTCOME_SOUGHT,
        _RANK,
        Column(
            "role",
            "text",
            "a typical failure, its nearest pass, or the failure of a pair that differs in one condition",
            levels=("failure", "nearest_pass", "differs_in_one"),
        ),
        Column("position", "integer", "place within the role, from 1", low=1),
        DROP_ID,
        identifier("attempt_id", "the attempt"),
        SUBJECT_ID,
        Column("score", "real", "best score of the attempt", nullable=True, low=-1, high=1),
        Column("partner_drop_id", "text", "drop of the attempt that it is paired with", nullable=True),
        Column("partner_attempt_id", "text", "the attempt that it is paired with", nullable=True),
        Column("difference", "text", "the one condition in which the pair differs, in words", nullable=True),
    ),
    unique=("outcome", "rank", "role", "position"),
)
CHANGE_ATTRIBUTION = Table(
    "change_attribution",
    "build",
    "part of the change of the FRR against the baseline that one slice accounts for",
    (
        BUILD_ID,
        identifier("baseline_build_id", "the build compared with"),
        Column(
            "comparison",
            "text",
            "'algorithm': both models on the build's drops; 'data': the baseline's model on both builds' drops",
            levels=("algorithm", "data"),
        ),
        Column("part", "integer", "0 for the whole change, then the slices in order, the rest last", low=0),
        FINDING_CONDITION,
        Column("where_json", "text", "the slice as JSON; null for the whole and the rest", nullable=True),
        Column("failures_before", "integer", "failures before", low=0),
        Column("attempts_before", "integer", "attempts before", low=0),
        Column("failures_after", "integer", "failures after", low=0),
        Column("attempts_after", "integer", "attempts after", low=0),
        Column("mix", "real", "change of the FRR since the slice became more or less frequent", low=-1, high=1),
        Column("mix_low", "real", "lower 95 % bound", nullable=True, low=-1, high=1),
        Column("mix_high", "real", "upper 95 % bound", nullable=True, low=-1, high=1),
        Column("rate", "real", "change of the FRR since the slice fails more or less often", low=-1, high=1),
        Column("rate_low", "real", "lower 95 % bound", nullable=True, low=-1, high=1),
        Column("rate_high", "real", "upper 95 % bound", nullable=True, low=-1, high=1),
        Column("change", "real", "mix + rate", low=-1, high=1),
        Column("change_low", "real", "lower 95 % bound", nullable=True, low=-1, high=1),
        Column("change_high", "real", "upper 95 % bound", nullable=True, low=-1, high=1),
        Column("n_subjects", "integer", "subjects resampled", low=0),
        Column("n_paired", "integer", "of them, subjects met before and after", low=0),
        Column("method", "text", "how the interval was computed", nullable=True),
        Column("reason", "text", "why a bound is missing", nullable=True),
    ),
    unique=("comparison", "part"),
)
FAILURE_CLUSTERS = Table(
    "failure_clusters",
    "build",
    "cluster of attempts in an embedding whose failures were confirmed on other subjects",
    (
        BUILD_ID,
        Column("cluster", "integer", "place by share of failures, from 1", low=1),
        Column("embedding_source", "text", "'model', or the file of the vision backbone"),
        Column("is_described", "flag", "whether metadata describe it"),
        Column("condition", "text", "the slice that describes it, as a sentence", nullable=True),
        Column("where_json", "text", "the slice that describes it, as JSON", nullable=True),
        Column("precision", "real", "part of the described rows that are in the cluster", nullable=True, low=0, high=1),
        Column("recall", "real", "part of the cluster that the description covers", nullable=True, low=0, high=1),
        Column("rate", "real", "failures per attempt among the confirmation subjects", low=0, high=1),
        Column("low", "real", "lower 95 % bound, clustered by subject", low=0, high=1),
        Column("high", "real", "upper 95 % bound, clustered by subject", low=0, high=1),
        Column("numerator", "integer", "failures behind the rate", low=0),
        Column("denominator", "integer", "attempts behind the rate", low=0),
        Column("rest_rate", "real", "rate outside of the cluster", low=0, high=1),
        Column("support", "integer", "attempts in the cluster, of all subjects", low=0),
        Column("n_subjects", "integer", "subjects in the cluster", low=0),
        Column("p_adjusted", "real", "p value of the confirmation, adjusted by Holm", low=0, high=1),
        Column("share_of_failures", "real", "part of the build's failures that lies in it", low=0, high=1),
        Column("exemplars_json", "text", "attempts nearest to its centre that failed, as JSON [[drop, attempt], ...]"),
        Column("sentence", "text", "what was found, in words"),
    ),
    unique=("cluster",),
)
EXPLANATIONS = Table(
    "explanations",
    "build",
    "mean saliency of a confirmed slice's failures minus that of matched passes, and whether it may be believed",
    (
        BUILD_ID,
        _RANK,
        Column("method", "text", "how pixels were credited", levels=("integrated_gradients", "occlusion")),
        Column("n_failures", "integer", "failing pairs explained", low=0),
        Column("n_passes", "integer", "matched passing pairs explained", low=0),
        Column("n_subjects", "integer", "subjects behind them", low=0),
        Column("height", "integer", "rows of the map", low=0),
        Column("width", "integer", "columns of the map", low=0),
        Column("map", "vector", "row by row; null where there is none", nullable=True),
        Column(
            "pointing", "real", "planted cues that the map pointed at, of all planted", nullable=True, low=0, high=1
        ),
        Column("deletion", "real", "area under the score as the map's pixels are taken away first", nullable=True),
        Column("deletion_random", "real", "the same in random order", nullable=True),
        Column("insertion", "real", "area under the score as the map's pixels are put in first", nullable=True),
        Column("insertion_random", "real", "the same in random order", nullable=True),
        Column("randomisation", "real", "rank correlation with maps of the model with random weights", nullable=True),
        Column("is_shown", "flag", "whether it passed every check"),
        Column("reason", "text", "which check it did not pass, or why there is no map", nullable=True),
    ),
    unique=("rank", "method"),
)
COUNTERFACTUALS = Table(
    "counterfactuals",
    "build",
    "failures of a confirmed slice run again with one condition changed",
    (
        BUILD_ID,
        _RANK,
        Column("change", "text", "the one condition changed, in words"),
        Column("source", "text", "how the frame was changed", levels=("rerendered", "reprocessed")),
        Column("n_attempts", "integer", "failing attempts run again", low=0),
        Column("n_accepted", "integer", "of them, now at or above the threshold", low=0),
        Column("score_before", "real", "mean score as recorded", nullable=True, low=-1, high=1),
        Column("score_after", "real", "mean score with the change", nullable=True, low=-1, high=1),
        *_INTERVAL,
    ),
    unique=("rank", "change"),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *RAW_TABLES.values(),
        QUARANTINE_PARSE,
        QUARANTINE_VALIDATE,
        DROP_FILES,
        FRAME_INDEX,
        *VALIDATED_TABLES.values(),
        EMBEDDINGS,
        COMPARISONS,
        ATTEMPT_OUTCOMES,
        METRIC_COUNTS,
        INTERVALS,
        IMPOSTOR_COUNTS,
        IMPOSTOR_TAIL,
        IMPOSTOR_TRIALS,
        OPERATING_POINTS,
        DET_CURVE,
        DIFFERENTIALS,
        SLICE_SEARCHES,
        FAILURE_SLICES,
        SLICE_TRENDS,
        OUTCOME_WATERFALL,
        EXEMPLARS,
        CHANGE_ATTRIBUTION,
        FAILURE_CLUSTERS,
        EXPLANATIONS,
        COUNTERFACTUALS,
    )
}
"""Every table by name."""
