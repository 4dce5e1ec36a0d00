"""What the gates of liveness ask of outcomes and rates, beyond the declarations of their tables."""

from cv_quality.gates.rules import Rule, query_rule, rows_rule
from cv_quality.tasks.liveness.tables import LIVENESS_RATES, NO_RESPONSE, PRESENTATION_OUTCOMES, UNDECIDED

MAX_UNDECIDED_SHARE = 0.05

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
MEASURE_RULES: tuple[Rule, ...] = (
    rows_rule(
        LIVENESS_RATES,
        "a rate is its errors over its presentations and lies in its interval",
        "value IS NOT NULL AND (abs(value - numerator / denominator) > 1e-9 OR value < low - 1e-9 "
        "OR value > high + 1e-9)",
    ),
    rows_rule(LIVENESS_RATES, "a missing value says why", "value IS NULL AND reason IS NULL"),
    query_rule(
        LIVENESS_RATES,
        "IAPAR of a species does not exceed its APCER",
        "SELECT a.species FROM liveness_rates a JOIN liveness_rates b USING (species, dimension, level) "
        "WHERE a.metric = 'iapar' AND b.metric = 'apcer' AND a.numerator > b.numerator",
    ),
)
