"""What the gates of liveness ask of outcomes and rates, beyond the declarations of their tables."""

from cv_quality.gates.rules import Rule, query_rule, rows_rule
from cv_quality.lake.schema import Table
from cv_quality.tasks.liveness.tables import (
    LIVENESS_POLICIES,
    LIVENESS_PROFILES,
    LIVENESS_RATES,
    LIVENESS_WATERFALL,
    NO_RESPONSE,
    PRESENTATION_OUTCOMES,
    PRESENTATION_SCORES,
    UNDECIDED,
)
from cv_quality.tasks.verification.modality import AS_RECORDED
from cv_quality.tasks.verification.rules import PARITY_RULES

MAX_UNDECIDED_SHARE = 0.05
MAX_UNSCORED_SHARE = 0.50
_UNSCORED = f"frame IS NOT NULL AND status NOT IN ('ok', '{AS_RECORDED}')"

SCORE_RULES: tuple[Rule, ...] = (
    query_rule(
        PRESENTATION_SCORES,
        "every sound presentation was scored or says why not, and no other was",
        "SELECT presentation_id FROM presentation_scores FULL JOIN presentations ON presentation_id = event_id "
        "WHERE presentation_id IS NULL OR event_id IS NULL",
    ),
    rows_rule(
        PRESENTATION_SCORES,
        "a score exists exactly when the status is ok, and is finite",
        "(status = 'ok') <> (lab_score IS NOT NULL AND isfinite(lab_score))",
    ),
    rows_rule(
        PRESENTATION_SCORES,
        "what is as recorded, and nothing else, comes from no model",
        f"(status = '{AS_RECORDED}') <> (model_sha256 IS NULL)",
    ),
    query_rule(
        PRESENTATION_SCORES,
        f"at most {MAX_UNSCORED_SHARE:.0%} of the presentations with a frame have no score of the models",
        f"SELECT status FROM presentation_scores WHERE {_UNSCORED} AND (SELECT count_if({_UNSCORED}) FROM "
        f"presentation_scores) > {MAX_UNSCORED_SHARE} * (SELECT count(frame) FROM presentation_scores) GROUP BY status",
    ),
)

JUDGE_RULES: tuple[Rule, ...] = (
    query_rule(
        PRESENTATION_OUTCOMES,
        "every sound presentation has an outcome, and no other has one",
        "SELECT presentation_id FROM presentation_outcomes FULL JOIN presentations ON presentation_id = event_id "
        "WHERE presentation_id IS NULL OR event_id IS NULL",
    ),
    rows_rule(
        PRESENTATION_OUTCOMES,
        "what is decided is right or wrong, and nothing else is",
        f"(is_error IS NULL) <> (outcome IN ('{NO_RESPONSE}', '{UNDECIDED}'))",
    ),
    query_rule(
        PRESENTATION_OUTCOMES,
        f"at most {MAX_UNDECIDED_SHARE:.0%} of the presentations have neither a decision nor a score with a threshold",
        f"SELECT outcome FROM presentation_outcomes WHERE outcome = '{UNDECIDED}' AND (SELECT count_if(outcome = "
        f"'{UNDECIDED}') FROM presentation_outcomes) > {MAX_UNDECIDED_SHARE} * (SELECT count(*) FROM "
        "presentation_outcomes) GROUP BY outcome",
    ),
)


def _is_a_rate(table: Table) -> tuple[Rule, ...]:
    return (
        rows_rule(
            table,
            "a rate is its errors over its presentations and lies in its interval",
            "value IS NOT NULL AND (abs(value - numerator / denominator) > 1e-9 OR value < low - 1e-9 "
            "OR value > high + 1e-9)",
        ),
        rows_rule(table, "a missing value says why", "value IS NULL AND reason IS NULL"),
    )


MEASURE_RULES: tuple[Rule, ...] = (
    *_is_a_rate(LIVENESS_RATES),
    query_rule(
        LIVENESS_RATES,
        "IAPAR of a species does not exceed its APCER",
        "SELECT a.species FROM liveness_rates a JOIN liveness_rates b USING (species, dimension, level) "
        "WHERE a.metric = 'iapar' AND b.metric = 'apcer' AND a.numerator > b.numerator",
    ),
    *PARITY_RULES,
)
WATERFALL_RULES: tuple[Rule, ...] = (
    rows_rule(
        LIVENESS_WATERFALL,
        "the stages add up to what was presented",
        "capture + liveness + matcher + accepted + undecided <> presented",
    ),
    query_rule(
        LIVENESS_WATERFALL,
        "what it counts of a species is what the rates of the species were made of",
        "SELECT kind FROM liveness_waterfall JOIN liveness_rates r ON species = kind AND dimension = 'all' WHERE "
        "is_attack AND ((metric = 'apnrr' AND (numerator <> capture OR denominator > presented "
        "OR presented - denominator > undecided)) OR (metric = 'iapar' AND numerator <> accepted))",
    ),
    query_rule(
        LIVENESS_WATERFALL,
        "what it counts of people is what their rates were made of",
        "SELECT metric FROM liveness_rates, (SELECT sum(capture) AS silent, sum(presented) FILTER (kind = "
        "'bona fide') AS users, sum(accepted) FILTER (kind = 'bona fide') AS passed FROM liveness_waterfall "
        "WHERE NOT is_attack) WHERE dimension = 'all' AND ((metric = 'bpnrr' AND numerator <> silent) "
        "OR (metric = 'frr' AND numerator <> users - passed))",
    ),
    query_rule(
        LIVENESS_WATERFALL,
        "RIAPAR is the share of the species that is accepted and the share of users that is not",
        "SELECT a.kind FROM liveness_waterfall a, liveness_waterfall u WHERE u.kind = 'bona fide' AND abs(a.riapar - "
        "(a.accepted / a.presented + 1 - u.accepted / u.presented)) > 1e-9",
    ),
)
POLICY_RULES: tuple[Rule, ...] = (
    *_is_a_rate(LIVENESS_POLICIES),
    rows_rule(
        LIVENESS_POLICIES,
        "a rate is at a threshold, and an undefined policy has none",
        "value IS NOT NULL AND threshold IS NULL",
    ),
)
PROFILE_RULES: tuple[Rule, ...] = (
    query_rule(
        LIVENESS_PROFILES,
        "a profile passes only where every requirement does, and there is one",
        "SELECT profile FROM liveness_profiles whole WHERE requirement = 'overall' AND verdict <> (SELECT CASE "
        "WHEN count_if(verdict = 'fail') > 0 THEN 'fail' WHEN count(*) > 0 AND count_if(verdict = 'pass') = count(*) "
        "THEN 'pass' ELSE 'insufficient' END FROM liveness_profiles own WHERE own.requirement <> 'overall' "
        "AND own.profile_file = whole.profile_file)",
    ),
    rows_rule(
        LIVENESS_PROFILES,
        "what passes has its bound within what is allowed, what fails beyond it",
        "requirement <> 'overall' AND ((verdict = 'pass' AND (bound IS NULL OR bound > allowed)) "
        "OR (verdict = 'fail' AND (bound IS NULL OR bound <= allowed)))",
    ),
)
