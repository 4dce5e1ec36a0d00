"""What the gates ask of root causes: of slices and their trends, of the attribution of a change, of clusters.

Rules speak of a task's primary outcome, which is the task's to name.
"""

from collections.abc import Iterator
from functools import partial

from cv_quality.error_analysis.population import Outcome
from cv_quality.error_analysis.slice_report import CONFIRMATION_LEVEL
from cv_quality.gates.rules import ROUNDING, Rule, query_rule, rows_rule
from cv_quality.lake.schema import Table
from cv_quality.tasks.root_causes import tables


def confirmed_slices(outcome: str) -> str:
    """Write the SQL that selects from the confirmed slices of an outcome, to stand after the columns."""
    return f"FROM failure_slices WHERE outcome = '{outcome}' AND finding = 'confirmed'"


def _confirmed_rules(table: Table, confirmed: str = "true", *, of_loss: str = "false") -> Iterator[Rule]:
    """What holds for a slice or cluster that was confirmed on subjects who had no part in its search.

    Args:
        table: of slices or clusters.
        confirmed: SQL that selects the confirmed rows.
        of_loss: SQL that selects those whose rate is a mean loss, so that nothing was counted.
    """
    level = f"what is confirmed is so at a level of {CONFIRMATION_LEVEL:g}, all candidates counted"
    is_quotient = (
        f"CASE WHEN {of_loss} THEN numerator IS NULL AND denominator > 0 "
        f"ELSE abs(rate * denominator - numerator) <= {ROUNDING} * denominator END"
    )
    for rule, holds in (
        ("a confirmed rate lies within its interval", "low <= rate AND rate <= high"),
        ("a confirmed rate is its failures over its attempts", is_quotient),
        (level, f"p_adjusted <= {CONFIRMATION_LEVEL}"),
        ("what is confirmed fails more often than the rest", "rate > rest_rate"),
        ("the attempts that confirmed it are among its own", "support >= denominator AND support >= n_subjects"),
    ):
        yield rows_rule(table, rule, f"{confirmed} AND NOT coalesce({holds}, false)")


def slices_rules(outcome: Outcome) -> tuple[Rule, ...]:
    """Declare what holds of the slices of a build, given the primary outcome."""
    name = outcome.name
    return (
        query_rule(
            tables.SLICE_SEARCHES,
            f"the {outcome.failures} were searched",
            f"SELECT '{name}' AS outcome WHERE NOT EXISTS (SELECT 1 FROM slice_searches WHERE outcome = '{name}')",
        ),
        rows_rule(
            tables.SLICE_SEARCHES,
            "failures and subjects never exceed attempts",
            "n_failures > n_attempts OR n_subjects > n_attempts",
        ),
        query_rule(
            tables.SLICE_SEARCHES,
            "every confirmed slice is counted by its search",
            "SELECT outcome FROM (SELECT outcome, n_slices AS n FROM slice_searches) s FULL JOIN "
            "(SELECT outcome, count(*) AS found FROM failure_slices WHERE finding = 'confirmed' GROUP BY ALL) f "
            "USING (outcome) WHERE coalesce(n, -1) <> coalesce(found, 0)",
        ),
        *_confirmed_rules(
            tables.FAILURE_SLICES,
            "finding = 'confirmed'",
            of_loss="outcome IN (SELECT outcome FROM slice_searches WHERE is_loss)",
        ),
        rows_rule(
            tables.FAILURE_SLICES,
            "what is explained away, or bad only in combination, says by what, and its rate without it",
            "finding IN ('explained_away', 'only_combined') AND (explained_by IS NULL OR rate_after IS NULL)",
        ),
        rows_rule(
            tables.FAILURE_SLICES,
            "a confirmed slice says in how many splits it holds",
            "finding = 'confirmed' AND stability IS NULL",
        ),
        query_rule(
            tables.FAILURE_SLICES,
            "nothing is explained away where nothing is confirmed",
            "SELECT outcome, finding, rank FROM failure_slices WHERE finding IN ('explained_away', 'only_combined') "
            "AND outcome NOT IN "
            "(SELECT outcome FROM failure_slices WHERE finding = 'confirmed')",
        ),
        rows_rule(tables.SLICE_TRENDS, "the rate lies within its interval", "low > value OR value > high"),
        rows_rule(tables.SLICE_TRENDS, "a missing rate says why", "value IS NULL AND reason IS NULL"),
        query_rule(
            tables.SLICE_TRENDS,
            f"every confirmed slice of the {outcome.failures} has its rate in the build itself",
            f"SELECT outcome, rank {confirmed_slices(name)} AND rank NOT IN (SELECT rank FROM slice_trends "
            f"WHERE outcome = '{name}' AND trend_build_id = build_id)",
        ),
        query_rule(
            tables.EXAMPLES,
            "every example is of a confirmed slice",
            "SELECT outcome, rank, role, position FROM examples WHERE (outcome, rank) NOT IN "
            "(SELECT (outcome, rank) FROM failure_slices WHERE finding = 'confirmed')",
        ),
        rows_rule(
            tables.EXAMPLES,
            "a pass, and a pair, has its partner, and a pair its difference",
            "(role <> 'failure' AND (partner_drop_id IS NULL OR partner_attempt_id IS NULL)) "
            "OR (role = 'differs_in_one' AND difference IS NULL)",
        ),
    )


def attribution_rules(outcome: Outcome) -> tuple[Rule, ...]:
    """Declare what holds of the attribution of a build's change, given the primary outcome."""
    rows, query = partial(rows_rule, tables.CHANGE_ATTRIBUTION), partial(query_rule, tables.CHANGE_ATTRIBUTION)
    numbers, counts = (
        ("mix", "rate", "change"),
        ("failures_before", "attempts_before", "failures_after", "attempts_after"),
    )
    comparisons = "SELECT comparison FROM change_attribution GROUP BY comparison HAVING "
    parts, whole = "sum({}) FILTER (part > 0)", "sum({}) FILTER (part = 0)"
    apart = [f"NOT coalesce(abs({parts} - {whole}) <= {ROUNDING}, false)".format(name, name) for name in numbers]
    unequal = [f"{parts} IS DISTINCT FROM {whole}".format(name, name) for name in counts]
    unbounded = [f"{name}_low IS NULL OR {name}_high IS NULL" for name in numbers]
    return (
        rows("mix and rate add up to the change", f"NOT abs(mix + rate - change) <= {ROUNDING}"),
        query("the parts add up to the whole", comparisons + " OR ".join(apart)),
        query(
            "the attempts and failures of the parts add up to those of the whole", comparisons + " OR ".join(unequal)
        ),
        rows(
            f"the whole change is the {outcome.rate} after less the {outcome.rate} before",
            "part = 0 AND NOT coalesce(abs(failures_after / attempts_after - failures_before / attempts_before "
            f"- change) <= {ROUNDING}, false)",
        ),
        rows(
            "failures never exceed attempts, nor paired subjects all",
            "failures_before > attempts_before OR failures_after > attempts_after OR n_paired > n_subjects",
        ),
        rows("bounds are ordered", " OR ".join(f"{name}_low > {name}_high" for name in numbers)),
        rows("a missing bound says why", f"reason IS NULL AND ({' OR '.join(unbounded)})"),
        rows(
            "the change is attributed to the confirmed slices",
            f"where_json IS NOT NULL AND where_json NOT IN (SELECT where_json {confirmed_slices(outcome.name)})",
        ),
    )


CLUSTERS_RULES = (
    *_confirmed_rules(tables.FAILURE_CLUSTERS),
    rows_rule(
        tables.FAILURE_CLUSTERS,
        "a described cluster has its description, and how well it fits",
        "is_described AND (condition IS NULL OR where_json IS NULL OR precision IS NULL OR recall IS NULL)",
    ),
    query_rule(
        tables.FAILURE_CLUSTERS,
        "an attempt lies in one cluster, so that their shares of the failures add up to at most all",
        f"SELECT 'all clusters' AS found WHERE (SELECT sum(share_of_failures) FROM failure_clusters) > 1 + {ROUNDING}",
    ),
)
