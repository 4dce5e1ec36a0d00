"""The tables of verification, in the order of the data: templates, comparisons, outcomes, counts, rates and curves.

Tables of root causes are in `cv_quality.tasks.root_causes.tables`, those of drops in `cv_quality.drops.tables`.
"""

from dataclasses import replace

from cv_quality.drops.tables import FRAME, OCCURRED_AT
from cv_quality.lake.columns import BUILD_ID, DEVICE_ID, DROP_ID, MODEL_BUILD_ID, RATE, REFERENCE_ID, SUBJECT_ID
from cv_quality.lake.schema import Column, Table, identifier, optional
from cv_quality.modality import level_column
from cv_quality.tasks.root_causes.tables import FINDING_CONDITION, RANK
from cv_quality.tasks.verification.dimensions import DEVICE, SUBJECT

INSTANCE = Column(
    "instance",
    "text",
    "which of the subject's instances it is of, such as the left eye; null where the modality tells none apart",
    nullable=True,
)
CODE = Column(
    "code",
    "bytes",
    "the template, where it is one of packed bits, as little-endian words of 64; null unless ok",
    nullable=True,
    is_lake_only=True,
)
NOT_COMPARABLE = Column(
    "not_comparable", "text", "why the two templates have no score; null where they have", nullable=True
)
FRAME_STATUSES = ("missing_frame", "corrupt_image", "image_bomb", "unsupported_format")
"""Why a sample's image cannot be read; what else may keep it from a template, its modality says."""

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
        INSTANCE,
        Column(
            "status",
            "text",
            "ok, what kept the modality's encoder from a template, or as_recorded: the build has no model",
            levels=FRAME_STATUSES,
            bounds="status",
        ),
        Column("embedding", "vector", "the template, where it is a vector; null unless ok", nullable=True),
        CODE,
        Column(
            "model_sha256",
            "text",
            "digest of the model file; null where none is run",
            nullable=True,
            pattern="[0-9a-f]{64}",
        ),
    ),
    unique=("sample_id",),
    conditions="measured",
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
        Column(
            "score",
            "real",
            "score in the lab's re-inference, or the device's where the build is as recorded; null where the templates "
            "cannot be compared",
            nullable=True,
            bounds="score",
        ),
        NOT_COMPARABLE,
        Column("device_score", "real", "the score in the device's log", nullable=True, bounds="device_score"),
        Column(
            "is_parity_expected",
            "flag",
            "whether the drop was recorded with this build and on its scale, and compared the attempt with the one "
            "reference that it claims, so both scores must agree",
        ),
        Column(
            "is_parity_broken",
            "flag",
            "whether the two scores differ by more than the modality allows; null unless both exist and must agree",
            nullable=True,
        ),
    ),
    unique=("attempt_id", "reference_id"),
)
UNDECIDED = "undecided"
"""Outcome of an attempt that reached the matcher of its device, whose log has neither decision nor what decides."""
OUTCOMES = ("not_acquired", "quality_reject", "liveness_reject", "not_compared", "non_match", "timeout", "accepted")
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
        *(replace(level_column(item), levels=()) for item in (*DEVICE, *SUBJECT)),  # judged where they were logged
        Column("has_image_consent", "flag", "whether the subject's images may be shown"),
        FRAME,
        Column("outcome", "text", "the stage that ended the attempt", levels=(*OUTCOMES, UNDECIDED)),
        Column("score", "real", "best score of the attempt, as in comparisons", nullable=True, bounds="score"),
        Column("decision_threshold", "real", "the build's threshold", nullable=True, bounds="score"),
        Column("device_score", "real", "score in the device's log", nullable=True, bounds="device_score"),
        Column("device_latency_ms", "real", "latency in the device's log", nullable=True, low=0),
        Column("is_recorded", "flag", "whether it ended so on the device, not in re-inference", nullable=True),
    ),
    unique=("attempt_id",),
    conditions="banded",
)
_MATCH_RATE = {
    "value": "pairs that the decision threshold accepts; null without one",
    "numerator": "pairs accepted",
    "denominator": "pairs with a score",
}
GROUP_ATTRIBUTES = tuple(item.level_column for item in SUBJECT)
_PARITY_RATE = {
    "value": "decisions that flip, of those that were compared; null without one",
    "numerator": "decisions that flip: accepted on the device and not in re-inference, or the other way",
    "denominator": "attempts with a decision of the device and a re-inferred one",
    "n_subjects": "subjects behind the rate",
}
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
        *RATE,
    ),
    unique=("model_build_id", "metric", "dimension", "level"),
    mart=True,
)
PARITY_DIMENSIONS = ("device_model", "drop_id")
PARITY = Table(
    "parity",
    "build",
    "agreement of the devices with re-inference by the same build: over all attempts that a device decided by "
    "matching, of one device model, or of one drop",
    (
        BUILD_ID,
        Column("dimension", "text", "what the level is a level of", levels=("all", *PARITY_DIMENSIONS)),
        Column("level", "text", "value of the dimension"),
        Column("n_scores", "integer", "attempts with a score of the device and a re-inferred one", low=0),
        Column("median_difference", "real", "median of the device's score minus the re-inferred one", nullable=True),
        Column("largest_difference", "real", "largest difference of the two, whatever its sign", nullable=True, low=0),
        Column("n_beyond", "integer", "attempts whose scores differ by more than the modality allows", low=0),
        *(replace(column, meaning=_PARITY_RATE.get(column.name, column.meaning)) for column in RATE),
        Column("n_device_only", "integer", "flips that only the device accepted", low=0),
        Column("n_reinferred_only", "integer", "flips that only re-inference accepts", low=0),
        Column(
            "n_near",
            "integer",
            "flips whose scores lie as near to the threshold as two scores may differ: rounding explains them",
            low=0,
        ),
        Column("n_far", "integer", "flips farther from the threshold, which rounding does not explain", low=0),
        Column(
            "n_far_agreeing",
            "integer",
            "of these, flips although the two scores agree: the device decided otherwise than by its score at the "
            "build's threshold",
            low=0,
        ),
        Column("n_derived", "integer", "decisions not logged, taken from the device's score at the threshold", low=0),
        Column("n_unscored", "integer", "further attempts without a re-inferred score, which are not compared", low=0),
        Column("n_unscored_accepted", "integer", "of these, attempts that the device accepted", low=0),
    ),
    unique=("dimension", "level"),
    mart=True,
)
IMPOSTOR_COUNTS = Table(
    "impostor_counts",
    "build",
    "bin of the histogram of all cross-subject scores",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column(
            "bin",
            "integer",
            "index of the bin on the scale of the scores, the most alike last; null: pairs that cannot be compared",
            nullable=True,
            low=0,
            high=65_535,
        ),
        Column("count", "integer", "comparisons in the bin", low=1),
    ),
    unique=("model_build_id", "bin"),
)
IMPOSTOR_TAIL = Table(
    "impostor_tail",
    "build",
    "cross-subject comparison with one of the scores that are most alike",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("score", "real", "score of the comparison", bounds="score"),
        identifier("subject_id", "subject of the probe"),
        identifier("reference_subject_id", "subject of the reference"),
    ),
    asset="impostor_counts",
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
        Column("decision_threshold", "real", "the model's threshold", bounds="score"),
        Column("n_matches", "integer", "its cross-subject pairs that the threshold accepts", low=0),
    ),
    unique=("model_build_id", "subject_id"),
    asset="impostor_counts",
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
        Column("threshold", "real", "accept scores that are as much alike, or more", nullable=True, bounds="threshold"),
        Column("threshold_low", "real", "lower 95 % bound, where estimated", nullable=True, bounds="threshold"),
        Column("threshold_high", "real", "upper 95 % bound, where estimated", nullable=True, bounds="threshold"),
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
        Column("reason", "text", "why the point is undefined, or its data too few to rank", nullable=True),
    ),
    unique=("model_build_id", "point", "fmr_target"),
    mart=True,
)
DIFFERENCES = Table(
    "differences",
    "build",
    "rate of the build less that of its baseline on the same attempts, paired by subject",
    (
        BUILD_ID,
        identifier("baseline_build_id", "the build that it is compared with"),
        Column("metric", "text", "'fnmr_at_fmr', 'eer', 'fmr_at_threshold', or a metric of attempts"),
        Column("fmr_target", "real", "highest FMR allowed, for fnmr_at_fmr", nullable=True, low=0, high=1),
        Column("dimension", "text", "'all', or the condition that attempts are counted by"),
        Column("level", "text", "'all', or a level of the dimension"),
        Column("baseline_value", "real", "the rate of the baseline", nullable=True, low=0, high=1),
        Column("value", "real", "the rate of the build", nullable=True, low=0, high=1),
        Column("difference", "real", "build less baseline", nullable=True, low=-1, high=1),
        Column("low", "real", "lower 95 % bound of the difference", nullable=True),
        Column("high", "real", "upper 95 % bound of the difference", nullable=True),
        Column("standard_error", "real", "of the difference", nullable=True, low=0),
        Column("raised", "real", "factor of the standard error in bounds", low=1),
        Column("df", "real", "degrees of freedom of the standard error", nullable=True, low=0),
        Column("n_subjects", "integer", "subjects with a trial of either", low=0),
        Column("n_shared", "integer", "subjects with trials of both", low=0),
        Column("method", "text", "how the bounds were computed", nullable=True),
        Column("reason", "text", "why a value or a bound is missing, or the data too few to rank", nullable=True),
    ),
    unique=("baseline_build_id", "metric", "fmr_target", "dimension", "level"),
    mart=True,
)
DET_CURVE = Table(
    "det_curve",
    "build",
    "point of the detection error trade-off over all cross-subject pairs, at FMRs evenly spread on a logarithmic axis",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("fmr_target", "real", "highest FMR allowed", low=0, high=1),
        Column("threshold", "real", "accept scores that are as much alike, or more", bounds="threshold"),
        Column("fmr", "real", "realised FMR", low=0, high=1),
        Column("fnmr", "real", "FNMR at the threshold", low=0, high=1),
        Column(
            "fnmr_low",
            "real",
            "lower 95 % bound, with the uncertainty of an estimated threshold",
            nullable=True,
            low=0,
            high=1,
        ),
        Column(
            "fnmr_high",
            "real",
            "upper 95 % bound, with the uncertainty of an estimated threshold",
            nullable=True,
            low=0,
            high=1,
        ),
    ),
    unique=("model_build_id", "fmr_target"),
    mart=True,
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
        *RATE,
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
    mart=True,
)
INSTANCE_COMPARISONS = Table(
    "instance_comparisons",
    "build",
    "kind of comparison by the instances in it, such as left and right eyes; one person's two instances are neither "
    "genuine nor impostors",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column(
            "kind",
            "text",
            "who is compared: one instance, one person's two instances, or different people: all, of one side, of "
            "two sides, or of a side that is unknown",
            levels=(
                "genuine",
                "other_instance",
                "impostor",
                "impostor_same_side",
                "impostor_other_side",
                "impostor_unknown",
            ),
        ),
        Column("n_pairs", "integer", "pairs that have a score", low=0),
        Column("n_incomparable", "integer", "further pairs that cannot be compared", low=0),
        Column("mean", "real", "of the scores", nullable=True, bounds="score"),
        Column("sd", "real", "standard deviation of the scores", nullable=True, low=0),
        Column("zero_mean", "real", "of impostors: mean raw distance without a rotation", nullable=True, low=0, high=1),
        Column("zero_sd", "real", "its standard deviation", nullable=True, low=0),
        Column("degrees_of_freedom", "real", "p (1 - p) / sd^2 of these two", nullable=True, low=0),
        Column("freedom_low", "real", "lower 95 % bound, by subject, of all impostors", nullable=True, low=0),
        Column("freedom_high", "real", "upper 95 % bound, by subject, of all impostors", nullable=True, low=0),
        *(
            replace(column, meaning=_MATCH_RATE[column.name]) if column.name in _MATCH_RATE else column
            for column in RATE
        ),
    ),
    unique=("model_build_id", "kind"),
    mart=True,
)
INSTANCE_DOUBTS = Table(
    "instance_doubts",
    "build",
    "pair that is more alike than its labels let expect, the closest of each kind",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column(
            "kind",
            "text",
            "other_instance: one person's two instances that the threshold accepts (swapped, or one under both names); "
            "other_subject: two people's, accepted and as alike as three quarters of the genuine comparisons "
            "(one enrolled under two names)",
            levels=("other_instance", "other_subject"),
        ),
        REFERENCE_ID,
        identifier("attempt_id", "event_id of the probe's attempt"),
        identifier("reference_subject_id", "subject of the reference"),
        identifier("subject_id", "subject of the probe"),
        Column("reference_instance", "text", "which of its subject's instances the reference is of"),
        Column("instance", "text", "which of its subject's instances the probe is of"),
        Column("score", "real", "of the pair", bounds="score"),
    ),
    unique=("model_build_id", "kind", "reference_id", "attempt_id"),
    asset="instance_comparisons",
)
CLOSEST_IMPOSTORS = Table(
    "closest_impostors",
    "build",
    "pair of two people's templates of bits, one of the closest of all; exact, with what its distance rests on",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        REFERENCE_ID,
        identifier("attempt_id", "event_id of the probe's attempt"),
        identifier("reference_subject_id", "subject of the reference"),
        identifier("subject_id", "subject of the probe"),
        Column("reference_instance", "text", "which of its subject's instances the reference is of"),
        Column("instance", "text", "which of its subject's instances the probe is of"),
        Column("score", "real", "of the pair: the distance, normalised by the rule", bounds="score"),
        Column("hd_raw", "real", "share of the compared bits that differ, at the best rotation", low=0, high=1),
        Column("bits_compared", "integer", "bits that are valid in both templates there", low=1),
        Column("best_shift", "integer", "columns by which the probe is turned there, to higher ones where positive"),
        Column("shifts_valid", "integer", "rotations at which enough bits can be compared", low=1),
    ),
    unique=("model_build_id", "reference_id", "attempt_id"),
    asset="instance_comparisons",
)
INSTANCE_CAPTURES = Table(
    "instance_captures",
    "build",
    "model's genuine captures of two instances at one moment, and how their errors hang together",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("n_captures", "integer", "captures with a template", low=0),
        Column("n_one_eye", "integer", "of them, with a template of one instance only", low=0),
        Column("n_compared", "integer", "genuine pairs of captures whose left and right both have a score", low=0),
        Column("n_left_errors", "integer", "of them, left rejected at the decision threshold", nullable=True, low=0),
        Column("n_right_errors", "integer", "of them, right rejected", nullable=True, low=0),
        Column("n_both_errors", "integer", "of them, both rejected", nullable=True, low=0),
        Column("phi", "real", "correlation of the two errors; null without both", nullable=True, low=-1, high=1),
    ),
    unique=("model_build_id",),
    mart=True,
    asset="instance_comparisons",
)
INSTANCE_FUSION = Table(
    "instance_fusion",
    "build",
    "operating point by the rule that makes one decision of two instances at one moment",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column(
            "rule",
            "text",
            "each_eye: every comparison by itself; left or right alone; or: the closer one; and: the farther one; mean",
            levels=("each_eye", "left", "right", "or", "and", "mean"),
        ),
        *(column for column in OPERATING_POINTS if column not in (BUILD_ID, MODEL_BUILD_ID)),
    ),
    unique=("model_build_id", "rule", "point", "fmr_target"),
    mart=True,
    asset="instance_comparisons",
)
ROTATIONS = Table(
    "rotations",
    "build",
    "number of rotations at which two templates of bits are compared, up to the claim's; rates from bins of scores",
    (
        BUILD_ID,
        MODEL_BUILD_ID,
        Column("shifts", "integer", "rotations, as many to either side of none", low=1),
        Column("n_genuine", "integer", "genuine comparisons with a score", low=0),
        Column("n_impostor", "integer", "impostor comparisons with a score", low=0),
        Column("eer", "real", "equal error rate", nullable=True, low=0, high=1),
        Column("threshold", "real", "threshold at an FMR of 1e-3", nullable=True, bounds="threshold"),
        Column("fnmr", "real", "FNMR at that threshold", nullable=True, low=0, high=1),
        Column("fmr", "real", "FMR at the decision threshold, at most", nullable=True, low=0, high=1),
        Column("genuine_mean", "real", "mean genuine score", nullable=True, bounds="score"),
        Column("impostor_mean", "real", "mean impostor score", nullable=True, bounds="score"),
    ),
    unique=("model_build_id", "shifts"),
    mart=True,
    asset="instance_comparisons",
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
    asset="failure_slices",
)
EXPLANATIONS = Table(
    "explanations",
    "build",
    "mean saliency of a confirmed slice's failures minus that of matched passes, and whether it may be believed",
    (
        BUILD_ID,
        RANK,
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
        RANK,
        Column("change", "text", "the one condition changed, in words"),
        Column("source", "text", "how the frame was changed", levels=("rerendered", "reprocessed")),
        Column("n_attempts", "integer", "failing attempts run again", low=0),
        Column("n_accepted", "integer", "of them, now decided rightly: accepted, or an attack found", low=0),
        Column("score_before", "real", "mean score as recorded", nullable=True, bounds="score"),
        Column("score_after", "real", "mean score with the change", nullable=True, bounds="score"),
        *RATE,
    ),
    unique=("rank", "change"),
    mart=True,
    asset="explanations",
)
