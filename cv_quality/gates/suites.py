"""What each gate expects, as data: rules derived from the schema, plus the domain's own.

A rule names a Great Expectations class with its arguments and the query that lists the offending keys; nothing here
runs anything. Column rules come from `cv_quality.lake.tables` and are not repeated by hand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cv_quality.lake import tables
from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER, Column, Table

Gate = Literal["parse", "validate", "infer", "compare", "measure", "impostors", "measure_build"]

MAX_QUARANTINED_SHARE = 0.05
MAX_FAILED_SAMPLES_SHARE = 0.50
PARITY_TOLERANCE = 0.02
MAX_PARITY_BREAKS_SHARE = 0.01
NORM_TOLERANCE = 1e-3


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

SUITES: dict[Gate, Suite] = {
    suite.gate: suite for suite in (PARSE, VALIDATE, INFER, COMPARE, MEASURE, IMPOSTORS, MEASURE_BUILD)
}
"""Every gate's suite, in the order of the data."""
