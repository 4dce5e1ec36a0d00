"""The tables of root causes: slices, their trends and examples, the attribution of a change, clusters.

Written from any task's populations by the stages beside this module.
"""

from collections.abc import Mapping, Sequence

from cv_quality.lake.columns import BUILD_ID, DROP_ID, RATE, SUBJECT_ID
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Column, Table, identifier

FINDING_CONDITION = Column("condition", "text", "the slice as a sentence")
WHERE_JSON = Column("where_json", "text", "the slice as JSON: a list of column, op and value")
OUTCOME_SOUGHT = Column(
    "outcome",
    "text",
    "what counted as a failure; of verification 'frr' (not accepted), one outcome, 'decision_flip' (device and "
    "re-inference decide otherwise), or 'fnmr': of all images compared, a genuine comparison below the threshold, "
    "under both of its images",
)
WHOLE = "all attempts"
"""The condition of what is counted over all of them."""
RANK = Column("rank", "integer", "place among the findings of its kind, the best is 1", low=1)
SLICE_SEARCHES = Table(
    "slice_searches",
    "build",
    "search for slices of one outcome over a build's own attempts",
    (
        BUILD_ID,
        OUTCOME_SOUGHT,
        Column(
            "n_attempts",
            "integer",
            "genuine bona fide attempts searched; comparisons for 'fnmr', impostors' attempts too for 'decision_flip'",
            low=0,
        ),
        Column("n_subjects", "integer", "their subjects", low=0),
        Column("n_failures", "integer", "attempts with the outcome; of a loss those above its mean", low=0),
        Column("base_rate", "real", "failures per attempt; of a loss its mean", nullable=True, low=0, high=1),
        Column(
            "is_loss",
            "flag",
            "whether the outcome is a number that is worse the higher it is: its rates are means, and count nothing",
            nullable=True,
        ),
        Column("n_slices", "integer", "slices confirmed", low=0),
        Column("conclusion", "text", "one sentence on whether anything is real"),
        Column("skipped_json", "text", "columns that were not searched and why, as JSON", is_lake_only=True),
        Column("seed", "integer", "of the split of the subjects", low=0),
    ),
    unique=("outcome",),
    mart=True,
    asset="failure_slices",
)
FAILURE_SLICES = Table(
    "failure_slices",
    "build",
    "slice of a build's attempts that was confirmed, rests on too few subjects, was explained away, or is bad only in "
    "combination",
    (
        BUILD_ID,
        OUTCOME_SOUGHT,
        Column(
            "finding",
            "text",
            "what became of it; 'only_combined': bad together with the other conditions of a slice, not alone",
            levels=("confirmed", "insufficient", "explained_away", "only_combined"),
        ),
        RANK,
        FINDING_CONDITION,
        WHERE_JSON,
        Column("sentence", "text", "what was found, in words"),
        Column("rate", "real", "failures per attempt; of confirmed slices on the confirmation subjects", low=0, high=1),
        Column("low", "real", "lower 95 % bound, clustered by subject", nullable=True, low=0, high=1),
        Column("high", "real", "upper 95 % bound, clustered by subject", nullable=True, low=0, high=1),
        Column("numerator", "integer", "failures behind the rate; null of a loss", nullable=True, low=0),
        Column("denominator", "integer", "attempts behind the rate", nullable=True, low=0),
        Column("rest_rate", "real", "rate outside of the slice and of those above it", nullable=True, low=0, high=1),
        Column("support", "integer", "attempts in the slice", nullable=True, low=0),
        Column("n_subjects", "integer", "subjects in the slice", nullable=True, low=0),
        Column("p_adjusted", "real", "p value of the confirmation, adjusted by Holm", nullable=True, low=0, high=1),
        Column(
            "share_of_failures", "real", "part of the build's failures that lies in it", nullable=True, low=0, high=1
        ),
        Column(
            "stability",
            "real",
            "part of the search's splits of the subjects that confirm a slice of equal or nearly equal attempts",
            nullable=True,
            low=0,
            high=1,
        ),
        Column("adjusted_odds_ratio", "real", "Mantel-Haenszel, over its strongest correlate", nullable=True, low=0),
        Column("adjusted_for", "text", "the strongest correlate", nullable=True),
        Column("rate_after", "real", "rate without the confirmed slices' attempts", nullable=True, low=0, high=1),
        Column(
            "mended_rate",
            "real",
            "rate of all attempts outside of it: what all would have if those in it failed "
            "as often as the others; of confirmed slices, null of a loss",
            nullable=True,
            low=0,
            high=1,
        ),
        Column("mended_low", "real", "lower 95 % bound, clustered by subject", nullable=True, low=0, high=1),
        Column("mended_high", "real", "upper 95 % bound, clustered by subject", nullable=True, low=0, high=1),
        Column("mended_numerator", "integer", "failures behind it", nullable=True, low=0),
        Column("mended_denominator", "integer", "attempts behind it", nullable=True, low=0),
        Column("explained_by", "text", "the slices that explain it away, or that it is a condition of", nullable=True),
    ),
    unique=("outcome", "finding", "rank"),
    mart=True,
)
SLICE_TRENDS = Table(
    "slice_trends",
    "build",
    "rate of a build's confirmed slice in that build and in those that it follows, each on its own drops",
    (BUILD_ID, OUTCOME_SOUGHT, RANK, Column("trend_build_id", "text", "the build that the rate is of"), *RATE),
    unique=("outcome", "rank", "trend_build_id"),
    asset="failure_slices",
)
EXAMPLES = Table(
    "examples",
    "build",
    "attempt that shows what a confirmed slice is about",
    (
        BUILD_ID,
        OUTCOME_SOUGHT,
        RANK,
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
        Column("score", "real", "best score of the attempt", nullable=True, bounds="score"),
        Column("partner_drop_id", "text", "drop of the attempt that it is paired with", nullable=True),
        Column("partner_attempt_id", "text", "the attempt that it is paired with", nullable=True),
        Column("difference", "text", "the one condition in which the pair differs, in words", nullable=True),
    ),
    unique=("outcome", "rank", "role", "position"),
    asset="failure_slices",
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
            "'algorithm': both models on the build's drops; 'data': the baseline's model on both builds' drops; "
            "'recorded': each build on its own drops, as recorded",
            levels=("algorithm", "data", "recorded"),
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
    mart=True,
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
        Column(
            "examples_json",
            "text",
            "attempts nearest to its centre that failed, as JSON [[drop, attempt], ...]",
            is_lake_only=True,
        ),
        Column("sentence", "text", "what was found, in words"),
    ),
    unique=("cluster",),
    mart=True,
)


def write_rows(lake: Lake, table: Table, build: str, rows: Sequence[Mapping[str, object]]) -> int:
    """Write the rows of a build; what they leave out is null. Returns the number of rows.

    Args:
        lake, table: written to; the table is keyed by build.
        build, rows: whose rows they are; values by column, without the build.
    """
    import pyarrow as pa

    filled = [{"build_id": build, **row} for row in rows]
    return lake.write(table, TableKey(build=build), pa.Table.from_pylist(filled, schema=table.arrow_schema))
