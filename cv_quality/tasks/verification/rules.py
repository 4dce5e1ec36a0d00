"""What the gates of verification ask beyond the declarations of its tables, in the order of the data."""

from cv_quality.gates.rules import Rule, query_rule, rows_rule
from cv_quality.lake.schema import Table
from cv_quality.modality import Modality
from cv_quality.tasks.root_causes.rules import confirmed_slices
from cv_quality.tasks.verification.modality import AS_RECORDED, biometric
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    CLOSEST_IMPOSTORS,
    COMPARISONS,
    COUNTERFACTUALS,
    DET_CURVE,
    DIFFERENCES,
    DIFFERENTIALS,
    EMBEDDINGS,
    EXPLANATIONS,
    IMPOSTOR_TAIL,
    IMPOSTOR_TRIALS,
    INSTANCE_CAPTURES,
    INSTANCE_COMPARISONS,
    INSTANCE_DOUBTS,
    INSTANCE_FUSION,
    INTERVALS,
    METRIC_COUNTS,
    OPERATING_POINTS,
    OUTCOME_WATERFALL,
    PARITY,
    ROTATIONS,
    UNDECIDED,
)

MAX_FAILED_SAMPLES_SHARE = 0.50
MAX_PARITY_BREAKS_SHARE = 0.01
"""More scores of devices that differ from re-inference are no chance."""
MAX_FOREIGN_SHARE = 0.90
"""Where more of a drop's scores differ, it is no fault of some devices: the registry has another model than they."""
MAX_UNDECIDED_SHARE = 0.50
MAX_CONTRARY_SHARE, MAX_CONTRARY_SHARE_AT_ALL = 0.01, 0.50
"""Of the decisions as recorded that the declared threshold would not take: above the first a device decides by more
than its threshold, above the second threshold or direction are declared wrongly."""
NORM_TOLERANCE = 1e-3
_SAMPLES = "(SELECT event_id FROM validated_attempts UNION ALL SELECT event_id FROM validated_enrols WHERE is_enrolled)"
_FAILED = f"status NOT IN ('ok', '{AS_RECORDED}')"
_RECORDED = f"SELECT sample_id FROM embeddings WHERE status = '{AS_RECORDED}'"
_CHECKS = ("map", "pointing", "deletion", "deletion_random", "insertion", "insertion_random", "randomisation")

UNIT_NORM = rows_rule(
    EMBEDDINGS,
    f"every template has unit norm within {NORM_TOLERANCE:g}",
    "embedding IS NOT NULL AND NOT coalesce("
    f"abs(sqrt(list_sum(list_transform(embedding, lambda v: v * v))) - 1) <= {NORM_TOLERANCE}, false)",
)
ONE_DIMENSION = query_rule(
    EMBEDDINGS,
    "all templates have one dimension",
    "SELECT len(embedding) AS dimension FROM embeddings WHERE embedding IS NOT NULL "
    "AND (SELECT count(DISTINCT len(embedding)) FROM embeddings) > 1 GROUP BY 1",
)

ONE_LENGTH = query_rule(
    EMBEDDINGS,
    "all templates have one number of bits",
    "SELECT octet_length(code) AS bytes FROM embeddings WHERE code IS NOT NULL "
    "AND (SELECT count(DISTINCT octet_length(code)) FROM embeddings) > 1 GROUP BY 1",
)


def _rate_rules(table: Table, rate: str, *, missing: str) -> tuple[Rule, ...]:
    """What a gate asks of rates with intervals, by what they are called in the table, and one without a value."""
    return (
        rows_rule(table, f"{rate} lies within its interval", "low > value OR value > high"),
        rows_rule(table, f"{missing} says why", "value IS NULL AND reason IS NULL"),
    )


def _point_rules(table: Table) -> tuple[Rule, ...]:
    """What a gate asks of operating points."""
    return (
        rows_rule(table, "the realised FMR never exceeds its target", "fmr > fmr_target"),
        rows_rule(table, "a missing operating point says why", "fnmr IS NULL AND reason IS NULL"),
        rows_rule(
            table,
            "FMR and FNMR lie within their intervals",
            "fmr_low > fmr OR fmr > fmr_high OR fnmr_low > fnmr OR fnmr > fnmr_high",
        ),
    )


INFER_RULES = (
    query_rule(
        EMBEDDINGS,
        "every attempt and enrolment has an output",
        f"SELECT event_id FROM {_SAMPLES} WHERE event_id NOT IN (SELECT sample_id FROM embeddings)",
    ),
    query_rule(
        EMBEDDINGS,
        "every output belongs to an attempt or enrolment",
        f"SELECT sample_id FROM embeddings WHERE sample_id NOT IN (SELECT event_id FROM {_SAMPLES})",
    ),
    rows_rule(
        EMBEDDINGS,
        "a template exists exactly when the status is ok",
        "(status = 'ok') <> (embedding IS NOT NULL OR code IS NOT NULL)",
    ),
    query_rule(
        EMBEDDINGS,
        "all outputs come from one model file, or all are as recorded",
        "SELECT model_sha256 FROM embeddings WHERE "
        "(SELECT count(DISTINCT coalesce(model_sha256, '')) FROM embeddings) > 1 GROUP BY 1",
    ),
    rows_rule(
        EMBEDDINGS,
        "what is as recorded, and nothing else, comes from no model",
        f"(status = '{AS_RECORDED}') <> (model_sha256 IS NULL)",
    ),
    query_rule(
        EMBEDDINGS,
        f"at most {MAX_FAILED_SAMPLES_SHARE:.0%} of the samples yield no template",
        f"SELECT status FROM embeddings WHERE {_FAILED} AND (SELECT count(*) FROM embeddings "
        f"WHERE {_FAILED}) > {MAX_FAILED_SAMPLES_SHARE} * (SELECT count(*) FROM embeddings) GROUP BY status",
    ),
)
COMPARE_RULES = (
    rows_rule(
        COMPARISONS,
        "a comparison has a score, or the reason why it has none",
        "(score IS NULL) <> (not_comparable IS NOT NULL)",
    ),
    rows_rule(
        COMPARISONS,
        "genuine means the same subject",
        "is_genuine <> (subject_id = reference_subject_id)",
    ),
    query_rule(
        COMPARISONS,
        "every attempt that reached matching, with a template and a claimed reference, is compared",
        "SELECT a.event_id FROM validated_attempts a JOIN embeddings e ON e.sample_id = a.event_id "
        "WHERE a.device_stage = 'matching' AND e.status = 'ok' AND a.reference_id IN "
        "(SELECT reference_id FROM embeddings WHERE role = 'reference' AND status = 'ok') "
        "AND a.event_id NOT IN (SELECT attempt_id FROM comparisons)",
    ),
    query_rule(
        COMPARISONS,
        "every attempt as recorded that was scored, and reached matching or was accepted, is compared",
        f"SELECT event_id FROM validated_attempts WHERE event_id IN ({_RECORDED}) AND device_score IS NOT NULL "
        "AND (device_stage = 'matching' OR is_device_accepted) "
        "AND event_id NOT IN (SELECT attempt_id FROM comparisons)",
    ),
    query_rule(
        COMPARISONS,
        "a score as recorded is the one in the device's log",
        "SELECT attempt_id FROM comparisons c JOIN validated_attempts a ON a.event_id = c.attempt_id "
        f"WHERE attempt_id IN ({_RECORDED}) AND c.score IS DISTINCT FROM a.device_score",
    ),
)


def template_rules(modality: Modality) -> tuple[Rule, ...]:
    """What the gate of `infer` asks of a modality's templates."""
    return biometric(modality).template_rules


def parity_rules(modality: Modality) -> tuple[Rule, ...]:
    """What the gate of `compare` asks of the scores in the devices' logs.

    Some that differ are a warning, as the report needs their numbers to say which; a drop in which nearly all do was
    recorded with another model than the registry has.
    """
    tolerance = f"{biometric(modality).comparator.parity_tolerance:g}"
    return (
        query_rule(
            COMPARISONS,
            f"on-device and re-inferred scores agree within {tolerance} "
            f"for all but {MAX_PARITY_BREAKS_SHARE:.0%} of the attempts",
            _parity_breaks(MAX_PARITY_BREAKS_SHARE),
            is_warning=True,
        ),
        query_rule(
            COMPARISONS,
            f"the registry has the devices' model: scores agree within {tolerance} "
            f"for at least {1 - MAX_FOREIGN_SHARE:.0%} of the attempts",
            _parity_breaks(MAX_FOREIGN_SHARE),
        ),
    )


def _parity_breaks(share: float) -> str:
    """The attempts whose scores differ, where they are more than a share of those that can."""
    return (
        "SELECT attempt_id FROM comparisons WHERE is_parity_broken AND (SELECT count_if(is_parity_broken) "
        f"FROM comparisons) > {share} * (SELECT count(is_parity_broken) FROM comparisons)"
    )


def decision_rules(modality: Modality) -> tuple[Rule, ...]:
    """What the gate of `measure` asks of the outcomes of scored attempts: that the build's threshold explains them."""
    accepts = ">=" if biometric(modality).comparator.direction == "similarity" else "<="
    scored = "outcome IN ('accepted', 'non_match') AND score IS NOT NULL AND decision_threshold IS NOT NULL"
    contrary = f"{scored} AND (outcome = 'accepted') <> (score {accepts} decision_threshold)"
    limits = ((MAX_CONTRARY_SHARE, True), (MAX_CONTRARY_SHARE_AT_ALL, False))
    return tuple(
        query_rule(
            ATTEMPT_OUTCOMES,
            f"decisions are those of the threshold for all but {share:.0%} of the scored attempts",
            f"SELECT attempt_id FROM attempt_outcomes WHERE {contrary} AND (SELECT count_if({contrary}) "
            f"FROM attempt_outcomes) > {share} * (SELECT count_if({scored}) FROM attempt_outcomes)",
            is_warning=is_warning,
        )
        for share, is_warning in limits
    )


MEASURE_RULES = (
    query_rule(
        ATTEMPT_OUTCOMES,
        "every attempt ends in exactly one outcome",
        "SELECT event_id FROM validated_attempts WHERE event_id NOT IN (SELECT attempt_id FROM attempt_outcomes)",
    ),
    query_rule(
        ATTEMPT_OUTCOMES,
        f"at most {MAX_UNDECIDED_SHARE:.0%} of the attempts end without a decision, or what decides",
        f"SELECT outcome FROM attempt_outcomes WHERE outcome = '{UNDECIDED}' AND (SELECT count(*) FROM "
        f"attempt_outcomes WHERE outcome = '{UNDECIDED}') > {MAX_UNDECIDED_SHARE} * (SELECT count(*) FROM "
        "attempt_outcomes) GROUP BY outcome",
    ),
    rows_rule(METRIC_COUNTS, "errors never exceed trials", "numerator > denominator"),
    query_rule(
        METRIC_COUNTS,
        "the outcome ledger adds up to the false rejects",
        "SELECT 'frr' AS found WHERE (SELECT coalesce(sum(numerator), 0) FROM metric_counts "
        "WHERE metric = 'frr' AND dimension = 'all') <> (SELECT count(*) FROM attempt_outcomes "
        f"WHERE is_genuine AND presentation = 'bona_fide' AND outcome NOT IN ('accepted', '{UNDECIDED}'))",
    ),
    query_rule(
        METRIC_COUNTS,
        "the levels of a dimension add up to the whole, or more where a comparison shows two conditions",
        "SELECT metric, dimension FROM (SELECT metric, dimension, sum(denominator) AS n FROM metric_counts "
        "GROUP BY ALL) JOIN (SELECT metric, sum(denominator) AS whole FROM metric_counts "
        "WHERE dimension = 'all' GROUP BY ALL) USING (metric) "
        "WHERE n < whole OR (n <> whole AND metric IN ('fta', 'frr', 'far'))",
    ),
)
IMPOSTORS_RULES = (
    rows_rule(IMPOSTOR_TAIL, "no pair is of one subject", "subject_id = reference_subject_id"),
    query_rule(
        IMPOSTOR_TAIL,
        "every pair of the tail was counted",
        "SELECT t.model_build_id FROM (SELECT model_build_id, count(*) AS n FROM impostor_tail GROUP BY ALL) t "
        'LEFT JOIN (SELECT model_build_id, sum("count") AS n FROM impostor_counts GROUP BY ALL) c '
        "USING (model_build_id) WHERE t.n > coalesce(c.n, 0)",
    ),
    query_rule(
        IMPOSTOR_TRIALS,
        "the subjects' samples account for every impostor comparison",
        "SELECT t.model_build_id FROM (SELECT model_build_id, "
        "sum(n_references + n_frames) * sum(n_probes + n_frames) "
        "- sum((n_references + n_frames) * (n_probes + n_frames)) "
        "- (sum(n_frames) * sum(n_frames) - sum(n_frames * n_frames)) / 2 AS expected "
        "FROM impostor_trials GROUP BY model_build_id) t JOIN (SELECT model_build_id, "
        'sum("count") AS found FROM impostor_counts GROUP BY model_build_id) c USING (model_build_id) '
        "WHERE t.expected <> c.found",
        is_warning=True,
    ),
)
PARITY_RULES = (
    *_rate_rules(PARITY, "the rate of flips", missing="a missing rate of flips"),
    rows_rule(
        PARITY,
        "every flip goes one way, and is near the threshold or far from it",
        "n_device_only + n_reinferred_only <> numerator OR n_near + n_far <> numerator OR n_far_agreeing > n_far",
    ),
    query_rule(
        PARITY,
        "the device models, and the drops, add up to all attempts",
        "SELECT dimension FROM parity WHERE dimension <> 'all' GROUP BY dimension "
        "HAVING (sum(n_scores), sum(n_beyond), sum(denominator), sum(numerator)) <> "
        "(SELECT (n_scores, n_beyond, denominator, numerator) FROM parity WHERE dimension = 'all')",
    ),
)
MEASURE_BUILD_RULES = (
    *_rate_rules(INTERVALS, "the rate", missing="a missing rate"),
    *_point_rules(OPERATING_POINTS),
    rows_rule(DET_CURVE, "the curve's FMR never exceeds its target", "fmr > fmr_target"),
    rows_rule(DET_CURVE, "the curve lies within its band", "fnmr_low > fnmr OR fnmr > fnmr_high"),
    *_rate_rules(DIFFERENTIALS, "a group's rate", missing="a group's missing rate"),
    rows_rule(DIFFERENCES, "the difference is that of both rates", "abs(value - baseline_value - difference) > 1e-12"),
    rows_rule(DIFFERENCES, "the difference lies within its bounds", "low > difference OR difference > high"),
    rows_rule(DIFFERENCES, "a missing difference says why", "(difference IS NULL OR low IS NULL) AND reason IS NULL"),
    query_rule(
        DIFFERENCES,
        "both rates are those that were measured",
        "SELECT d.metric, d.level FROM differences d JOIN intervals i ON i.metric = d.metric "
        "AND i.dimension = d.dimension AND i.level = d.level AND i.model_build_id IN (d.build_id, d.baseline_build_id) "
        "WHERE abs(i.value - CASE i.model_build_id WHEN d.build_id THEN d.value ELSE d.baseline_value END) > 1e-12 "
        "UNION ALL SELECT d.metric, d.level FROM differences d JOIN operating_points o ON o.point = 'fnmr_at_fmr' "
        "AND d.metric = 'fnmr_at_fmr' AND o.fmr_target = d.fmr_target "
        "AND o.model_build_id IN (d.build_id, d.baseline_build_id) "
        "WHERE abs(o.fnmr - CASE o.model_build_id WHEN d.build_id THEN d.value ELSE d.baseline_value END) > 1e-12",
    ),
    query_rule(
        OPERATING_POINTS,
        "the histogram holds every impostor comparison",
        "SELECT model_build_id FROM operating_points o GROUP BY model_build_id HAVING max(n_impostor) <> "
        '(SELECT coalesce(sum("count"), 0) FROM impostor_counts c '
        "WHERE c.model_build_id = o.model_build_id AND c.bin IS NOT NULL)",
    ),
    *PARITY_RULES,
)
INSTANCES_RULES = (
    *_rate_rules(INSTANCE_COMPARISONS, "the share accepted", missing="a missing share"),
    query_rule(
        INSTANCE_COMPARISONS,
        "the sides add up to all impostor comparisons, and one person's instances are none of them",
        "SELECT i.model_build_id FROM instance_comparisons i WHERE kind = 'impostor' AND "
        "((SELECT sum(n_pairs) FROM instance_comparisons s WHERE s.model_build_id = i.model_build_id "
        "AND kind LIKE 'impostor_%') <> n_pairs OR n_pairs <> "
        '(SELECT coalesce(sum("count"), 0) FROM impostor_counts c '
        "WHERE c.model_build_id = i.model_build_id AND c.bin IS NOT NULL))",
    ),
    query_rule(
        INSTANCE_COMPARISONS,
        "as many impostors are accepted as by the counts of the build",
        "SELECT i.model_build_id FROM instance_comparisons i WHERE kind = 'impostor' AND numerator <> "
        "(SELECT sum(n_matches) / 2 FROM impostor_trials t WHERE t.model_build_id = i.model_build_id)",
    ),
    rows_rule(
        INSTANCE_DOUBTS,
        "a doubt is of one person, or of two",
        "(kind = 'other_instance') <> (subject_id = reference_subject_id)",
    ),
    rows_rule(CLOSEST_IMPOSTORS, "impostors are two people", "subject_id = reference_subject_id"),
    *_point_rules(INSTANCE_FUSION),
    rows_rule(
        INSTANCE_CAPTURES,
        "errors of both are errors of either",
        "n_both_errors > least(n_left_errors, n_right_errors) OR greatest(n_left_errors, n_right_errors) > n_compared "
        "OR n_one_eye > n_captures",
    ),
    query_rule(
        ROTATIONS,
        "more rotations never make impostors less alike",
        "SELECT s.shifts FROM rotations r JOIN rotations s ON s.model_build_id = r.model_build_id "
        "AND s.shifts = r.shifts + 2 WHERE s.fmr * s.n_impostor < r.fmr * r.n_impostor - 0.5",
    ),
)


def explanations_rules(outcome: str) -> tuple[Rule, ...]:
    """What the gate asks of maps and changed conditions of the confirmed slices of an outcome."""
    return (
        rows_rule(
            EXPLANATIONS,
            "a map is shown only with the numbers of every check",
            f"is_shown AND ({' OR '.join(f'{name} IS NULL' for name in _CHECKS)})",
        ),
        rows_rule(
            EXPLANATIONS,
            "a shown map takes the score down faster and brings it back faster than pixels in random order",
            "is_shown AND (deletion >= deletion_random OR insertion <= insertion_random)",
        ),
        rows_rule(EXPLANATIONS, "a map that is not shown says why", "NOT is_shown AND reason IS NULL"),
        rows_rule(EXPLANATIONS, "a map has a value per pixel", "map IS NOT NULL AND len(map) <> height * width"),
        *(
            rows_rule(
                table,
                "what is explained is a confirmed slice",
                f"rank NOT IN (SELECT rank {confirmed_slices(outcome)})",
            )
            for table in (EXPLANATIONS, COUNTERFACTUALS)
        ),
        rows_rule(COUNTERFACTUALS, "no more attempts are accepted than were run again", "n_accepted > n_attempts"),
        *_rate_rules(COUNTERFACTUALS, "the rate", missing="a missing rate"),
    )


WATERFALL_RULES = (
    query_rule(
        OUTCOME_WATERFALL,
        "the outcomes add up to the genuine attempts",
        "SELECT model_build_id, slice_rank FROM outcome_waterfall GROUP BY ALL "
        "HAVING sum(n_attempts) <> max(n_genuine) OR min(n_genuine) <> max(n_genuine)",
    ),
    query_rule(
        OUTCOME_WATERFALL,
        "no more attempts ended in an outcome within a slice than in all",
        "SELECT s.model_build_id, s.slice_rank, s.outcome FROM outcome_waterfall s LEFT JOIN outcome_waterfall a "
        "ON a.model_build_id = s.model_build_id AND a.outcome = s.outcome AND a.slice_rank = 0 "
        "WHERE s.n_attempts > coalesce(a.n_attempts, 0)",
    ),
    query_rule(
        OUTCOME_WATERFALL,
        "the build's own outcomes add up to the false rejects that were searched",
        "SELECT w.model_build_id FROM (SELECT model_build_id, "
        "sum(n_attempts) FILTER (outcome <> 'accepted') AS rejected, sum(n_attempts) AS n FROM outcome_waterfall "
        "WHERE slice_rank = 0 AND model_build_id = build_id GROUP BY ALL) w, slice_searches s "
        "WHERE s.outcome = 'frr' AND (coalesce(w.rejected, 0) <> s.n_failures OR w.n <> s.n_attempts)",
    ),
)
