"""What each gate expects, as data: rules derived from the schema, plus the domain's own.

A rule names a Great Expectations class with its arguments and the query that lists the offending keys; nothing here
runs anything. Column rules come from `cv_quality.lake.tables` and are not repeated by hand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cv_quality.lake import tables
from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER, Column, Table

Gate = Literal[
    "parse",
    "validate",
    "infer",
    "compare",
    "measure",
    "impostors",
    "measure_build",
    "slices",
    "attribution",
    "clusters",
    "explanations",
]

MAX_QUARANTINED_SHARE = 0.05
MAX_FAILED_SAMPLES_SHARE = 0.50
PARITY_TOLERANCE = 0.02
MAX_PARITY_BREAKS_SHARE = 0.01
NORM_TOLERANCE = 1e-3
CONFIRMATION_LEVEL = 0.01
ROUNDING = 1e-9
"""How far sums of parts may miss the whole: their floating-point error."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation.

    Attributes:
        name: a sentence that could be false.
        table: the table that the expectation is about.
        expectation: class name in `great_expectations.expectations`.
        arguments: its keyword arguments.
        offending: SQL that selects the keys (never other columns) of the rows that break the rule.
        is_warning: shown, but never blocks.
    """

    name: str
    table: str
    expectation: str
    arguments: Mapping[str, object]
    offending: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Suite:
    """What one gate judges: its rules, and every table that they read.

    `judged` are the tables of the stage itself; `context` are earlier tables that referential rules look into.
    """

    gate: Gate
    judged: tuple[Table, ...]
    context: tuple[Table, ...] = ()
    rules: tuple[Rule, ...] = field(default=())


def schema_rules(table: Table, *, references: tuple[Rule, ...] = ()) -> Iterator[Rule]:
    """The rules that follow from a table's own declaration.

    Args:
        references: rules by which columns of the table must exist in another one, where they are known to be well
            formed; such columns are not searched a second time.
    """
    referring = {rule.name.split(" ")[0] for rule in references if rule.table == table.name}
    required = [column.name for column in table if not column.nullable]
    yield _rows(table, "every required value is present", " OR ".join(f"{name} IS NULL" for name in required))
    for column in table:
        yield from _column_rules(table, column)
    patterned = [column for column in table if column.pattern and column.name not in referring]
    if patterned:
        yield _rows(table, "every identifier is well formed", _malformed(patterned))
    reals = [column for column in table if column.kind == "real"]
    if reals:
        infinite = " OR ".join(f"NOT isfinite({column.name})" for column in reals)
        yield _rows(table, "every number is finite", infinite)
    if table.unique:
        yield _unique(table)


def _column_rules(table: Table, column: Column) -> Iterator[Rule]:
    keys, name = _keys(table), column.name
    if column.low is not None or column.high is not None:
        low, high = column.low, column.high
        bounds = [f"{name} < {low}"] * (low is not None) + [f"{name} > {high}"] * (high is not None)
        yield Rule(
            f"{name} lies in [{_bound(low)}, {_bound(high)}]",
            table.name,
            "ExpectColumnValuesToBeBetween",
            {"column": name, "min_value": low, "max_value": high},
            f"SELECT {keys} FROM {table.name} WHERE {' OR '.join(bounds)}",
        )
    if column.levels:
        levels = ", ".join(f"'{level}'" for level in column.levels)
        yield Rule(
            f"{name} is one of {', '.join(column.levels)}",
            table.name,
            "ExpectColumnValuesToBeInSet",
            {"column": name, "value_set": list(column.levels)},
            f"SELECT {keys} FROM {table.name} WHERE {name} NOT IN ({levels})",
        )


def _malformed(columns: Sequence[Column]) -> str:
    """SQL for "an identifier breaks its pattern"; one search over all plain ids of a row costs less than one each."""
    plain = [column.name for column in columns if column.pattern == IDENTIFIER]
    other = [f"NOT regexp_full_match({c.name}, '{c.pattern}')" for c in columns if c.name not in plain]
    lengths = [f"len({name}) NOT BETWEEN 1 AND 128" for name in plain]
    letters = [f"regexp_matches(concat({', '.join(plain)}), '{NOT_IN_IDENTIFIER}')"] if plain else []
    return " OR ".join([*letters, *lengths, *other])


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def _keys(table: Table) -> str:
    """The columns that name a row to a person without telling anything about the subject's body."""
    return ", ".join(table.unique or tuple(column.name for column in table)[:1])


def _unique(table: Table) -> Rule:
    keys = _keys(table)
    name = f"{' and '.join(table.unique)} {'names' if len(table.unique) == 1 else 'name'} one row"
    query = f"SELECT {keys} FROM {table.name} GROUP BY {keys} HAVING count(*) > 1"
    return _query(table, name, query)


def _rows(table: Table, name: str, broken: str, *, is_warning: bool = False) -> Rule:
    return _query(table, name, f"SELECT {_keys(table)} FROM {table.name} WHERE {broken}", is_warning=is_warning)


def _query(table: Table, name: str, query: str, *, is_warning: bool = False) -> Rule:
    """A rule whose offending rows are those of `query`, over the names of tables."""
    return Rule(name, table.name, "UnexpectedRowsExpectation", {"description": name}, query, is_warning=is_warning)


def _not_empty(table: Table, name: str) -> Rule:
    return Rule(
        name,
        table.name,
        "ExpectTableRowCountToBeBetween",
        {"min_value": 1},
        f"SELECT 'no rows' AS found WHERE (SELECT count(*) FROM {table.name}) = 0",
    )


def _refers(table: Table, column: str, target: Table, target_column: str | None = None) -> Rule:
    return _rows(
        table,
        f"{column} exists in {target.name}",
        f"{column} IS NOT NULL AND {column} NOT IN (SELECT {target_column or column} FROM {target.name})",
    )


_RAW = tuple(tables.RAW_TABLES.values())
_VALIDATED = tuple(tables.VALIDATED_TABLES.values())
_SUM_RAW = " + ".join(f"(SELECT count(*) FROM {table.name})" for table in _RAW)
_SUM_VALIDATED = " + ".join(f"(SELECT count(*) FROM {table.name})" for table in _VALIDATED)

PARSE = Suite(
    "parse",
    judged=(tables.DROP_FILES, tables.FRAME_INDEX, tables.QUARANTINE_PARSE, *_RAW),
    rules=(
        *schema_rules(tables.DROP_FILES),
        *schema_rules(tables.FRAME_INDEX),
        *schema_rules(tables.QUARANTINE_PARSE),
        _rows(
            tables.DROP_FILES,
            "rows in = rows valid + rows quarantined",
            "rows_in <> rows_valid + rows_quarantined",
        ),
        _rows(tables.DROP_FILES, "rows in = rows that the manifest declares", "rows_in <> rows_declared"),
        _query(
            tables.DROP_FILES,
            "the raw tables hold every valid row",
            "SELECT 'raw tables' AS found WHERE "
            f"(SELECT coalesce(sum(rows_valid), 0) FROM drop_files WHERE content = 'events') <> {_SUM_RAW}",
        ),
        _query(
            tables.DROP_FILES,
            "the quarantine holds every rejected row",
            "SELECT 'quarantine_parse' AS found WHERE "
            "(SELECT sum(rows_quarantined) FROM drop_files) <> (SELECT count(*) FROM quarantine_parse)",
        ),
        _query(
            tables.DROP_FILES,
            f"at most {MAX_QUARANTINED_SHARE:.0%} of the rows are quarantined",
            "SELECT file FROM drop_files WHERE (SELECT sum(rows_quarantined) FROM drop_files) "
            f"> {MAX_QUARANTINED_SHARE} * (SELECT sum(rows_in) FROM drop_files)",
        ),
        _query(
            tables.DROP_FILES,
            "the drop holds at least one valid event",
            f"SELECT 'empty drop' AS found WHERE {_SUM_RAW} = 0",
        ),
        _query(
            tables.FRAME_INDEX,
            "no two frames hold the same image",
            "SELECT string_agg(frame, ' = ' ORDER BY frame) AS frames FROM frame_index "
            "GROUP BY sha256 HAVING count(*) > 1",
            is_warning=True,
        ),
    ),
)

_REFERENCES = (
    _refers(tables.VALIDATED_ATTEMPTS, "subject_id", tables.SUBJECTS),
    _refers(tables.VALIDATED_ATTEMPTS, "claimed_subject_id", tables.SUBJECTS, "subject_id"),
    _refers(tables.VALIDATED_ATTEMPTS, "device_id", tables.DEVICES),
    _refers(tables.VALIDATED_ATTEMPTS, "reference_id", tables.VALIDATED_ENROLS),
    _refers(tables.VALIDATED_ATTEMPTS, "frame", tables.FRAME_INDEX),
    _refers(tables.VALIDATED_ENROLS, "subject_id", tables.SUBJECTS),
    _refers(tables.VALIDATED_ENROLS, "device_id", tables.DEVICES),
    _refers(tables.VALIDATED_ENROLS, "frame", tables.FRAME_INDEX),
    _refers(tables.VALIDATED_STREAMS, "device_id", tables.DEVICES),
)

VALIDATE = Suite(
    "validate",
    judged=(*_VALIDATED, tables.QUARANTINE_VALIDATE),
    context=(*_RAW, tables.FRAME_INDEX),
    rules=(
        *(rule for table in _VALIDATED for rule in schema_rules(table, references=_REFERENCES)),
        *schema_rules(tables.QUARANTINE_VALIDATE),
        _query(
            tables.QUARANTINE_VALIDATE,
            "rows parsed = rows validated + rows quarantined",
            f"SELECT 'row balance' AS found WHERE {_SUM_RAW} <> "
            f"{_SUM_VALIDATED} + (SELECT count(*) FROM quarantine_validate)",
        ),
        _query(
            tables.QUARANTINE_VALIDATE,
            f"at most {MAX_QUARANTINED_SHARE:.0%} of the events are quarantined",
            "SELECT reason FROM quarantine_validate WHERE (SELECT count(*) FROM quarantine_validate) "
            f"> {MAX_QUARANTINED_SHARE} * ({_SUM_RAW}) GROUP BY reason",
        ),
        _query(
            tables.VALIDATED_ATTEMPTS,
            "the drop holds at least one attempt or stream frame",
            "SELECT 'nothing to evaluate' AS found WHERE "
            "(SELECT count(*) FROM validated_attempts) + (SELECT count(*) FROM validated_streams) = 0",
        ),
        *_REFERENCES,
    ),
)

_SAMPLES = "(SELECT event_id FROM validated_attempts UNION ALL SELECT event_id FROM validated_enrols WHERE is_enrolled)"

INFER = Suite(
    "infer",
    judged=(tables.EMBEDDINGS,),
    context=(tables.VALIDATED_ATTEMPTS, tables.VALIDATED_ENROLS),
    rules=(
        *schema_rules(tables.EMBEDDINGS),
        _query(
            tables.EMBEDDINGS,
            "every attempt and enrolment has an output",
            f"SELECT event_id FROM {_SAMPLES} WHERE event_id NOT IN (SELECT sample_id FROM embeddings)",
        ),
        _query(
            tables.EMBEDDINGS,
            "every output belongs to an attempt or enrolment",
            f"SELECT sample_id FROM embeddings WHERE sample_id NOT IN (SELECT event_id FROM {_SAMPLES})",
        ),
        _rows(
            tables.EMBEDDINGS,
            "a template exists exactly when the status is ok",
            "(status = 'ok') <> (embedding IS NOT NULL)",
        ),
        _rows(
            tables.EMBEDDINGS,
            f"every template has unit norm within {NORM_TOLERANCE:g}",
            "embedding IS NOT NULL AND NOT coalesce("
            f"abs(sqrt(list_sum(list_transform(embedding, lambda v: v * v))) - 1) <= {NORM_TOLERANCE}, false)",
        ),
        _query(
            tables.EMBEDDINGS,
            "all templates have one dimension",
            "SELECT len(embedding) AS dimension FROM embeddings WHERE embedding IS NOT NULL "
            "AND (SELECT count(DISTINCT len(embedding)) FROM embeddings) > 1 GROUP BY 1",
        ),
        _query(
            tables.EMBEDDINGS,
            "all outputs come from one model file",
            "SELECT model_sha256 FROM embeddings WHERE "
            "(SELECT count(DISTINCT model_sha256) FROM embeddings) > 1 GROUP BY 1",
        ),
        _query(
            tables.EMBEDDINGS,
            f"at most {MAX_FAILED_SAMPLES_SHARE:.0%} of the samples yield no template",
            "SELECT status FROM embeddings WHERE status <> 'ok' AND (SELECT count(*) FROM embeddings "
            f"WHERE status <> 'ok') > {MAX_FAILED_SAMPLES_SHARE} * (SELECT count(*) FROM embeddings) GROUP BY status",
        ),
    ),
)

COMPARE = Suite(
    "compare",
    judged=(tables.COMPARISONS,),
    context=(tables.EMBEDDINGS, tables.VALIDATED_ATTEMPTS, tables.DROP_FILES),
    rules=(
        *schema_rules(tables.COMPARISONS),
        _rows(
            tables.COMPARISONS,
            "genuine means the same subject",
            "is_genuine <> (subject_id = reference_subject_id)",
        ),
        _query(
            tables.COMPARISONS,
            "every attempt that reached matching, with a template and a claimed reference, is compared",
            "SELECT a.event_id FROM validated_attempts a JOIN embeddings e ON e.sample_id = a.event_id "
            "WHERE a.device_stage = 'matching' AND e.status = 'ok' AND a.reference_id IN "
            "(SELECT reference_id FROM embeddings WHERE role = 'reference' AND status = 'ok') "
            "AND a.event_id NOT IN (SELECT attempt_id FROM comparisons)",
        ),
        _query(
            tables.COMPARISONS,
            f"on-device and re-inferred scores agree within {PARITY_TOLERANCE:g} "
            f"for all but {MAX_PARITY_BREAKS_SHARE:.0%} of the attempts",
            "SELECT attempt_id FROM comparisons WHERE is_parity_expected AND "
            f"abs(device_score - score) > {PARITY_TOLERANCE} AND (SELECT count(*) FROM comparisons "
            f"WHERE is_parity_expected AND abs(device_score - score) > {PARITY_TOLERANCE}) > "
            f"{MAX_PARITY_BREAKS_SHARE} * (SELECT count(device_score) FROM comparisons WHERE is_parity_expected)",
        ),
    ),
)

MEASURE = Suite(
    "measure",
    judged=(tables.ATTEMPT_OUTCOMES, tables.METRIC_COUNTS),
    context=(tables.VALIDATED_ATTEMPTS, tables.COMPARISONS),
    rules=(
        *schema_rules(tables.ATTEMPT_OUTCOMES),
        *schema_rules(tables.METRIC_COUNTS),
        _query(
            tables.ATTEMPT_OUTCOMES,
            "every attempt ends in exactly one outcome",
            "SELECT event_id FROM validated_attempts WHERE event_id NOT IN (SELECT attempt_id FROM attempt_outcomes)",
        ),
        _rows(tables.METRIC_COUNTS, "errors never exceed trials", "numerator > denominator"),
        _query(
            tables.METRIC_COUNTS,
            "the outcome ledger adds up to the false rejects",
            "SELECT 'frr' AS found WHERE (SELECT coalesce(sum(numerator), 0) FROM metric_counts "
            "WHERE metric = 'frr' AND dimension = 'all') <> (SELECT count(*) FROM attempt_outcomes "
            "WHERE is_genuine AND presentation = 'bona_fide' AND outcome <> 'accepted')",
        ),
        _query(
            tables.METRIC_COUNTS,
            "the levels of a dimension add up to the whole, or more where a comparison shows two conditions",
            "SELECT metric, dimension FROM (SELECT metric, dimension, sum(denominator) AS n FROM metric_counts "
            "GROUP BY ALL) JOIN (SELECT metric, sum(denominator) AS whole FROM metric_counts "
            "WHERE dimension = 'all' GROUP BY ALL) USING (metric) "
            "WHERE n < whole OR (n <> whole AND metric IN ('fta', 'frr', 'far'))",
        ),
    ),
)

IMPOSTORS = Suite(
    "impostors",
    judged=(tables.IMPOSTOR_COUNTS, tables.IMPOSTOR_TAIL, tables.IMPOSTOR_TRIALS),
    rules=(
        *schema_rules(tables.IMPOSTOR_COUNTS),
        *schema_rules(tables.IMPOSTOR_TAIL),
        *schema_rules(tables.IMPOSTOR_TRIALS),
        _rows(tables.IMPOSTOR_TAIL, "no pair is of one subject", "subject_id = reference_subject_id"),
        _query(
            tables.IMPOSTOR_TAIL,
            "every pair of the tail was counted",
            "SELECT t.model_build_id FROM (SELECT model_build_id, count(*) AS n FROM impostor_tail GROUP BY ALL) t "
            'LEFT JOIN (SELECT model_build_id, sum("count") AS n FROM impostor_counts GROUP BY ALL) c '
            "USING (model_build_id) WHERE t.n > coalesce(c.n, 0)",
        ),
        _query(
            tables.IMPOSTOR_TRIALS,
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
    ),
)

MEASURE_BUILD = Suite(
    "measure_build",
    judged=(
        tables.INTERVALS,
        tables.OPERATING_POINTS,
        tables.DET_CURVE,
        tables.DIFFERENTIALS,
    ),
    context=(tables.IMPOSTOR_COUNTS,),
    rules=(
        *schema_rules(tables.INTERVALS),
        *schema_rules(tables.OPERATING_POINTS),
        *schema_rules(tables.DET_CURVE),
        *schema_rules(tables.DIFFERENTIALS),
        _rows(tables.INTERVALS, "the rate lies within its interval", "low > value OR value > high"),
        _rows(tables.INTERVALS, "a missing rate says why", "value IS NULL AND reason IS NULL"),
        _rows(tables.OPERATING_POINTS, "the realised FMR never exceeds its target", "fmr > fmr_target"),
        _rows(tables.OPERATING_POINTS, "a missing operating point says why", "fnmr IS NULL AND reason IS NULL"),
        _rows(
            tables.OPERATING_POINTS,
            "FMR and FNMR lie within their intervals",
            "fmr_low > fmr OR fmr > fmr_high OR fnmr_low > fnmr OR fnmr > fnmr_high",
        ),
        _rows(tables.DET_CURVE, "the curve's FMR never exceeds its target", "fmr > fmr_target"),
        _rows(tables.DET_CURVE, "the curve lies within its band", "fnmr_low > fnmr OR fnmr > fnmr_high"),
        _rows(tables.DIFFERENTIALS, "a group's rate lies within its interval", "low > value OR value > high"),
        _rows(tables.DIFFERENTIALS, "a group's missing rate says why", "value IS NULL AND reason IS NULL"),
        _query(
            tables.OPERATING_POINTS,
            "the histogram holds every impostor comparison",
            "SELECT model_build_id FROM operating_points o GROUP BY model_build_id HAVING max(n_impostor) <> "
            '(SELECT coalesce(sum("count"), 0) FROM impostor_counts c WHERE c.model_build_id = o.model_build_id)',
        ),
    ),
)


def _confirmed_rules(table: Table, confirmed: str = "true") -> Iterator[Rule]:
    """What holds for a slice or cluster that was confirmed on subjects that did not propose it.

    Args:
        confirmed: SQL that selects the confirmed rows.
    """
    yield _rows(
        table,
        "a confirmed rate lies within its interval",
        f"{confirmed} AND NOT coalesce(low <= rate AND rate <= high, false)",
    )
    yield _rows(
        table,
        "a confirmed rate is its failures over its attempts",
        f"{confirmed} AND NOT coalesce(abs(rate * denominator - numerator) <= {ROUNDING} * denominator, false)",
    )
    yield _rows(
        table,
        f"what is confirmed is so at a level of {CONFIRMATION_LEVEL:g}, all proposals counted",
        f"{confirmed} AND NOT coalesce(p_adjusted <= {CONFIRMATION_LEVEL}, false)",
    )
    yield _rows(
        table,
        "what is confirmed fails more often than the rest",
        f"{confirmed} AND NOT coalesce(rate > rest_rate, false)",
    )
    yield _rows(
        table,
        "the attempts that confirmed it are among its own",
        f"{confirmed} AND NOT coalesce(support >= denominator AND support >= n_subjects, false)",
    )


_CONFIRMED_FRR = "FROM failure_slices WHERE outcome = 'frr' AND finding = 'confirmed'"

SLICES = Suite(
    "slices",
    judged=(
        tables.SLICE_SEARCHES,
        tables.FAILURE_SLICES,
        tables.SLICE_TRENDS,
        tables.OUTCOME_WATERFALL,
        tables.EXEMPLARS,
    ),
    rules=(
        *schema_rules(tables.SLICE_SEARCHES),
        *schema_rules(tables.FAILURE_SLICES),
        *schema_rules(tables.SLICE_TRENDS),
        *schema_rules(tables.OUTCOME_WATERFALL),
        *schema_rules(tables.EXEMPLARS),
        _query(
            tables.SLICE_SEARCHES,
            "the false rejects were searched",
            "SELECT 'frr' AS outcome WHERE NOT EXISTS (SELECT 1 FROM slice_searches WHERE outcome = 'frr')",
        ),
        _rows(
            tables.SLICE_SEARCHES,
            "failures and subjects never exceed attempts",
            "n_failures > n_attempts OR n_subjects > n_attempts",
        ),
        _query(
            tables.SLICE_SEARCHES,
            "every confirmed slice is counted by its search",
            "SELECT outcome FROM (SELECT outcome, n_slices AS n FROM slice_searches) s FULL JOIN "
            "(SELECT outcome, count(*) AS found FROM failure_slices WHERE finding = 'confirmed' GROUP BY ALL) f "
            "USING (outcome) WHERE coalesce(n, -1) <> coalesce(found, 0)",
        ),
        *_confirmed_rules(tables.FAILURE_SLICES, "finding = 'confirmed'"),
        _rows(
            tables.FAILURE_SLICES,
            "what is explained away says by what, and its rate without it",
            "finding = 'explained_away' AND (explained_by IS NULL OR rate_after IS NULL)",
        ),
        _query(
            tables.FAILURE_SLICES,
            "nothing is explained away where nothing is confirmed",
            "SELECT outcome, finding, rank FROM failure_slices WHERE finding = 'explained_away' AND outcome NOT IN "
            "(SELECT outcome FROM failure_slices WHERE finding = 'confirmed')",
        ),
        _rows(tables.SLICE_TRENDS, "the rate lies within its interval", "low > value OR value > high"),
        _rows(tables.SLICE_TRENDS, "a missing rate says why", "value IS NULL AND reason IS NULL"),
        _query(
            tables.SLICE_TRENDS,
            "every confirmed slice of the false rejects has its rate in the build itself",
            f"SELECT outcome, rank {_CONFIRMED_FRR} AND rank NOT IN (SELECT rank FROM slice_trends "
            "WHERE outcome = 'frr' AND trend_build_id = build_id)",
        ),
        _query(
            tables.OUTCOME_WATERFALL,
            "the outcomes add up to the genuine attempts",
            "SELECT model_build_id, slice_rank FROM outcome_waterfall GROUP BY ALL "
            "HAVING sum(n_attempts) <> max(n_genuine) OR min(n_genuine) <> max(n_genuine)",
        ),
        _query(
            tables.OUTCOME_WATERFALL,
            "no more attempts ended in an outcome within a slice than in all",
            "SELECT s.model_build_id, s.slice_rank, s.outcome FROM outcome_waterfall s LEFT JOIN outcome_waterfall a "
            "ON a.model_build_id = s.model_build_id AND a.outcome = s.outcome AND a.slice_rank = 0 "
            "WHERE s.n_attempts > coalesce(a.n_attempts, 0)",
        ),
        _query(
            tables.OUTCOME_WATERFALL,
            "the build's own outcomes add up to the false rejects that were searched",
            "SELECT w.model_build_id FROM (SELECT model_build_id, "
            "sum(n_attempts) FILTER (outcome <> 'accepted') AS rejected, sum(n_attempts) AS n FROM outcome_waterfall "
            "WHERE slice_rank = 0 AND model_build_id = build_id GROUP BY ALL) w, slice_searches s "
            "WHERE s.outcome = 'frr' AND (coalesce(w.rejected, 0) <> s.n_failures OR w.n <> s.n_attempts)",
        ),
        _query(
            tables.EXEMPLARS,
            "every exemplar is of a confirmed slice",
            "SELECT outcome, rank, role, position FROM exemplars WHERE (outcome, rank) NOT IN "
            "(SELECT (outcome, rank) FROM failure_slices WHERE finding = 'confirmed')",
        ),
        _rows(
            tables.EXEMPLARS,
            "a pass, and a pair, has its partner, and a pair its difference",
            "(role <> 'failure' AND (partner_drop_id IS NULL OR partner_attempt_id IS NULL)) "
            "OR (role = 'differs_in_one' AND difference IS NULL)",
        ),
    ),
)

_PARTS = ("mix", "rate", "change")
_COUNTS = ("failures_before", "attempts_before", "failures_after", "attempts_after")

ATTRIBUTION = Suite(
    "attribution",
    judged=(tables.CHANGE_ATTRIBUTION,),
    context=(tables.FAILURE_SLICES,),
    rules=(
        *schema_rules(tables.CHANGE_ATTRIBUTION),
        _rows(
            tables.CHANGE_ATTRIBUTION,
            "mix and rate add up to the change",
            f"NOT abs(mix + rate - change) <= {ROUNDING}",
        ),
        _query(
            tables.CHANGE_ATTRIBUTION,
            "the parts add up to the whole",
            "SELECT comparison FROM change_attribution GROUP BY comparison HAVING "
            + " OR ".join(
                f"NOT coalesce(abs(sum({name}) FILTER (part > 0) - sum({name}) FILTER (part = 0)) <= {ROUNDING}, false)"
                for name in _PARTS
            ),
        ),
        _query(
            tables.CHANGE_ATTRIBUTION,
            "the attempts and failures of the parts add up to those of the whole",
            "SELECT comparison FROM change_attribution GROUP BY comparison HAVING "
            + " OR ".join(
                f"sum({name}) FILTER (part > 0) IS DISTINCT FROM sum({name}) FILTER (part = 0)" for name in _COUNTS
            ),
        ),
        _rows(
            tables.CHANGE_ATTRIBUTION,
            "the whole change is the FRR after less the FRR before",
            "part = 0 AND NOT coalesce(abs(failures_after / attempts_after - failures_before / attempts_before "
            f"- change) <= {ROUNDING}, false)",
        ),
        _rows(
            tables.CHANGE_ATTRIBUTION,
            "failures never exceed attempts, nor paired subjects all",
            "failures_before > attempts_before OR failures_after > attempts_after OR n_paired > n_subjects",
        ),
        _rows(
            tables.CHANGE_ATTRIBUTION,
            "bounds are ordered",
            " OR ".join(f"{name}_low > {name}_high" for name in _PARTS),
        ),
        _rows(
            tables.CHANGE_ATTRIBUTION,
            "a missing bound says why",
            f"reason IS NULL AND ({' OR '.join(f'{name}_low IS NULL OR {name}_high IS NULL' for name in _PARTS)})",
        ),
        _rows(
            tables.CHANGE_ATTRIBUTION,
            "the change is attributed to the confirmed slices",
            f"where_json IS NOT NULL AND where_json NOT IN (SELECT where_json {_CONFIRMED_FRR})",
        ),
    ),
)

CLUSTERS = Suite(
    "clusters",
    judged=(tables.FAILURE_CLUSTERS,),
    rules=(
        *schema_rules(tables.FAILURE_CLUSTERS),
        *_confirmed_rules(tables.FAILURE_CLUSTERS),
        _rows(
            tables.FAILURE_CLUSTERS,
            "a described cluster has its description, and how well it fits",
            "is_described AND (condition IS NULL OR where_json IS NULL OR precision IS NULL OR recall IS NULL)",
        ),
        _query(
            tables.FAILURE_CLUSTERS,
            "an attempt lies in one cluster, so that their shares of the failures add up to at most all",
            "SELECT 'all clusters' AS found WHERE "
            f"(SELECT sum(share_of_failures) FROM failure_clusters) > 1 + {ROUNDING}",
        ),
    ),
)

_CHECKS = ("map", "pointing", "deletion", "deletion_random", "insertion", "insertion_random", "randomisation")

EXPLANATIONS = Suite(
    "explanations",
    judged=(tables.EXPLANATIONS, tables.COUNTERFACTUALS),
    context=(tables.FAILURE_SLICES,),
    rules=(
        *schema_rules(tables.EXPLANATIONS),
        *schema_rules(tables.COUNTERFACTUALS),
        _rows(
            tables.EXPLANATIONS,
            "a map is shown only with the numbers of every check",
            f"is_shown AND ({' OR '.join(f'{name} IS NULL' for name in _CHECKS)})",
        ),
        _rows(
            tables.EXPLANATIONS,
            "a shown map takes the score down faster and brings it back faster than pixels in random order",
            "is_shown AND (deletion >= deletion_random OR insertion <= insertion_random)",
        ),
        _rows(tables.EXPLANATIONS, "a map that is not shown says why", "NOT is_shown AND reason IS NULL"),
        _rows(tables.EXPLANATIONS, "a map has a value per pixel", "map IS NOT NULL AND len(map) <> height * width"),
        *(
            _rows(table, "what is explained is a confirmed slice", f"rank NOT IN (SELECT rank {_CONFIRMED_FRR})")
            for table in (tables.EXPLANATIONS, tables.COUNTERFACTUALS)
        ),
        _rows(tables.COUNTERFACTUALS, "no more attempts are accepted than were run again", "n_accepted > n_attempts"),
        _rows(tables.COUNTERFACTUALS, "the rate lies within its interval", "low > value OR value > high"),
        _rows(tables.COUNTERFACTUALS, "a missing rate says why", "value IS NULL AND reason IS NULL"),
    ),
)

SUITES: dict[Gate, Suite] = {
    suite.gate: suite
    for suite in (
        PARSE,
        VALIDATE,
        INFER,
        COMPARE,
        MEASURE,
        IMPOSTORS,
        MEASURE_BUILD,
        SLICES,
        ATTRIBUTION,
        CLUSTERS,
        EXPLANATIONS,
    )
}
"""Every gate's suite, in the order of the data."""
