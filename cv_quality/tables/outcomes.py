"""What a failure is in the rows of a table: as a condition says, or as the words of a column say plainly.

A column that could be read either way, such as 1 and -1, or "passed" with yes and no, is refused: which value is a
failure is then to be said by a condition.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cv_quality.errors import TableError, near
from cv_quality.tables.numbers import MISSING_WORDS

if TYPE_CHECKING:
    import polars as pl

FAILS: Final = frozenset(["fail", "failed", "failure", "error", "nok", "not ok", "ko", "bad", "wrong", "incorrect"])
PASSES: Final = frozenset(["pass", "passed", "success", "successful", "succeeded", "ok", "good", "right", "correct"])
YES: Final = frozenset(
    {"yes", "y", "true", "t", "1", "1.0", "ja", "oui", "si", "sí", "sì", "sim", "wahr", "vrai", "verdadero", "vero"}
)
NO: Final = frozenset({"no", "n", "false", "f", "0", "0.0", "nein", "nee", "non", "não", "falsch", "faux", "falso"})
_GOOD_NAME: Final = re.compile(
    r"(?i)(^|_)(pass(ed|es)?|succe(ss|ssful|eded)|accept(ed)?|ok|correct|good|valid|match(ed)?|granted|approved|"
    r"detected|recogni[sz]ed|identified|verified|authenticated|unlocked|opened|enrolled|acquired|tracked|found|hit|"
    r"completed|solved|alive|live|tp)(_|$)"
)
_BAD_NAME: Final = re.compile(r"(?i)(^|_)(not|no|non|in|un|false|fail(ed|ure)?|err(or)?|wrong|bad|miss(ed)?)(_|$)")
_ENDING_NAME: Final = re.compile(r"(?i)(^|_)(results?|outcome|status|decision|verdict|ending|label)(_|$)")
MAX_ENDINGS: Final = 12
"""Different cells of a column that says how attempts ended."""
MAX_CODES: Final = 4
"""Different cells, a missing one with them, that an outcome of codes may have."""
SHOWN_VALUES: Final = 4
SURPRISING_SHARE: Final = 0.5
"""Where more rows fail, failing and passing may be confounded: that is said."""
MAX_UNUSABLE_SHARE: Final = 0.1
"""So many rows may lack an outcome or a subject: they are counted, said, and left out."""
MAX_VALUES: Final = 1_000
"""Different cells of an outcome that are looked at for words."""


@dataclass(frozen=True, slots=True)
class OutcomeReading:
    """Tables with a column that says which rows fail.

    Attributes:
        tables: the rows, without the columns that a condition speaks of.
        name: of the outcome among their columns.
        notes: what was taken for a failure, for people; nothing where it is true, 1 or a loss.
        columns: of which conditions speak; they are no longer among the rows.
    """

    tables: "tuple[pl.LazyFrame, ...]"
    name: str
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Condition:
    column: str
    is_equal: bool
    values: tuple[str, ...]

    @property
    def words(self) -> str:
        values = " or ".join(value or "missing" for value in self.values)
        return f"{self.column} is {values}" if self.is_equal else f"{self.column} is not {values}"


def outcome_of_conditions(tables: "Sequence[pl.LazyFrame]", conditions: Sequence[str]) -> OutcomeReading:
    """Let a row fail where any of the conditions holds.

    Args:
        tables: one, or two that are compared.
        conditions: `COLUMN=VALUE[,VALUE...]` or `COLUMN!=VALUE[,VALUE...]`; no value means a missing one, and
            where none is listed a row without a value has no outcome.

    Raises:
        TableError: a condition is none, or speaks of no column or of a value that no row has.
    """
    import polars as pl

    parsed = [_condition(text, tables) for text in conditions]
    name = " or ".join(condition.words for condition in parsed)
    columns = tuple(dict.fromkeys(condition.column for condition in parsed))
    found = []
    for table in tables:
        schema = table.collect_schema()
        rest = [item for item in schema if item not in columns]
        if name in rest:
            raise TableError(f"expected no column {name!r}, which names the outcome, found one: rename it")
        holds = pl.any_horizontal([_holds(condition, schema[condition.column]) for condition in parsed])
        found.append(table.select(*rest, holds.alias(name)))
    return OutcomeReading(tuple(found), name, (f"a row fails where {name}",), columns)


def outcome_of_column(tables: "Sequence[pl.LazyFrame]", name: str) -> OutcomeReading:
    """Read a column as the outcome: true and false, 1 and 0, words that say the same, or a loss.

    Args:
        tables: one, or two that are compared.
        name: of the column; one that no table has is left to the search to refuse.

    Raises:
        TableError: the cells are words or numbers of which it is not plain which is a failure.
    """
    import polars as pl

    as_it_is = OutcomeReading(tuple(tables), name)
    if any(name not in table.collect_schema() or table.collect_schema()[name].is_nested() for table in tables):
        return as_it_is
    counts = [_counted(table, name) for table in tables]
    is_text = any(not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)) for kind in _kinds(tables, name))
    if not is_text and any(len(counted) > MAX_CODES for counted in counts):
        return as_it_is
    cells = {str(cell) for counted in counts for cell in counted[name].head(MAX_VALUES).drop_nulls()}
    words = {cell.lower() for cell in cells} - MISSING_WORDS
    fails = YES if words <= YES | NO else FAILS if words <= FAILS | PASSES else None
    if fails is YES and words and _GOOD_NAME.search(name) and not _BAD_NAME.search(name):
        expected = "true or 1 where a row failed, but its name says the contrary"
        raise TableError(_unclear(name, counts, expected=expected))
    if not is_text:
        for counted in counts:
            _require_loss(name, counted)
        return as_it_is
    if fails is None:
        expected = "true and false, 0 and 1, yes and no, pass and fail, or a loss as a number"
        raise TableError(_unclear(name, counts, expected=expected))
    text = pl.col(name).cast(pl.String).str.to_lowercase()
    flags = pl.when(text.is_in(words)).then(text.is_in(fails)).alias(name)
    failing = sorted(cell for cell in cells if cell.lower() in fails)
    said = f"a row fails where {name} is {' or '.join(failing)}" if failing else f"no {name} says that a row fails"
    return OutcomeReading(tuple(table.with_columns(flags) for table in tables), name, (said,))


def suggested_conditions(table: "pl.LazyFrame") -> list[str]:
    """Propose conditions for a user who named none: of columns that say by name or value how an attempt ended.

    Args:
        table: its rows.
    """
    import polars as pl

    found = []
    for name, kind in table.collect_schema().items():
        if kind.is_nested() or not (kind == pl.Boolean or kind == pl.String or kind.is_integer()):
            continue
        counted = _counted(table, name).drop_nulls(name)
        cells = {_plain(cell): rows for cell, rows in counted.head(MAX_ENDINGS + 1).iter_rows()}
        says = (
            _ENDING_NAME.search(name)
            or _GOOD_NAME.search(name)
            or _BAD_NAME.search(name)
            or {cell.lower() for cell in cells} & (FAILS | PASSES)
        )
        if says and 2 <= len(cells) <= MAX_ENDINGS:
            cell = min([one for one in cells if one.lower() in FAILS] or cells, key=lambda one: cells[one])
            found.append(f'--failed-when "{name}={cell}" ({cells[cell]:,} rows)')
    return found


def _kinds(tables: "Sequence[pl.LazyFrame]", name: str) -> "list[pl.DataType]":
    return [table.collect_schema()[name] for table in tables]


def _counted(table: "pl.LazyFrame", name: str) -> "pl.DataFrame":
    """The different cells of a column and their `rows`, those of most rows first."""
    import polars as pl

    cells = pl.col(name).cast(pl.String) if _kinds([table], name)[0] in (pl.Categorical, pl.Enum) else pl.col(name)
    counted = table.select(cells).group_by(name).agg(rows=pl.len())
    return counted.sort("rows", name, descending=[True, False]).collect(engine="streaming")


def _require_loss(name: str, counted: "pl.DataFrame") -> None:
    """Refuse two whole numbers other than 0 and 1, and signs: codes of classes, no loss."""
    values = {float(value) for value in counted[name].drop_nulls()} if len(counted) <= MAX_CODES else {0.5}
    is_code = len(values) == 2 and all(value.is_integer() for value in values) and not values <= {0, 1}
    if is_code or (-1 in values and values <= {-1, 0, 1}):
        raise TableError(_unclear(name, [counted], expected="0 and 1, or a loss of more than two values"))


def _unclear(name: str, counts: "Sequence[pl.DataFrame]", *, expected: str) -> str:
    """Say what was found, and ask which value is a failure."""
    rows: dict[str, int] = {}
    for counted in counts:
        for cell, n in counted.head(MAX_VALUES).iter_rows():
            text = "missing" if cell is None else f"'{_plain(cell)}'"
            rows[text] = rows.get(text, 0) + n
    known = [text.strip("'") for text in rows if text != "missing"]
    failing = [text for text in known if text.lower() in FAILS]
    rarest = min(failing or known, key=lambda text: rows[f"'{text}'"]) if known else "VALUE"
    shown = ", ".join(f"{text} ({n:,})" for text, n in list(rows.items())[:SHOWN_VALUES])
    more = f" and {len(rows) - SHOWN_VALUES:,} others" if len(rows) > SHOWN_VALUES else ""
    sign = "!=" if known == [rarest] and "missing" in rows else f"={rarest}"
    example = f'--failed-when "{name}{sign}"'
    return f"outcome {name!r}: expected {expected}, found {shown}{more}; say which is a failure, for example {example}"


def _plain(cell: object) -> str:
    """A cell as people write it: -1 for -1.0, true for True.

    >>> _plain(-1.0), _plain(True), _plain("REJECT")
    ('-1', 'true', 'REJECT')
    """
    if isinstance(cell, bool):
        return str(cell).lower()
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _condition(text: str, tables: "Sequence[pl.LazyFrame]") -> _Condition:
    import polars as pl

    names = tables[0].collect_schema().names()
    split = [(text[:place], text[place:]) for place in range(1, len(text)) if text[place:].startswith(("=", "!="))]
    if not split:
        raise TableError(f'expected a condition such as "result=REJECT" or "result!=OK", found {text!r}')
    column, rest = next(((left.strip(), right) for left, right in reversed(split) if left.strip() in names), split[0])
    for table in tables:
        if column not in (present := table.collect_schema().names()):
            raise TableError(f"the table has no column {column!r}: {near(column, present)}")
    written = rest.lstrip("!").lstrip("=").strip()
    kinds = _kinds(tables, column)
    cells = {_plain(cell) for table in tables for cell in _counted(table, column)[column].drop_nulls()}
    has_missing = any(bool(table.select(pl.col(column).is_null().any()).collect().item()) for table in tables)
    values = (written,) if written in cells else tuple(value.strip() for value in written.split(","))
    for value in values:
        is_known = has_missing if not value else any(_is_of(value, cells, kind) for kind in kinds)
        if not is_known:
            wanted = "is missing" if not value else f"is {value!r}"
            known = near(value, sorted(cells)[:MAX_VALUES])
            raise TableError(f"condition {text!r}: no row's {column} {wanted}: {known}")
    return _Condition(column, not rest.startswith("!"), values)


def _is_of(value: str, cells: set[str], kind: "pl.DataType") -> bool:
    import polars as pl

    if kind == pl.Boolean:
        return value.lower() in YES | NO
    return value in cells or (_number(value) is not None and _plain(_number(value)) in cells)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _holds(condition: _Condition, kind: "pl.DataType") -> "pl.Expr":
    """Whether a condition holds; null where the value is missing, unless the condition speaks of missing ones."""
    import polars as pl

    column = pl.col(condition.column)
    values = [value for value in condition.values if value]
    if kind == pl.Boolean:
        is_one = column.is_in([value.lower() in YES for value in values])
    elif kind.is_numeric():
        is_one = column.cast(pl.Float64).is_in([number for value in values if (number := _number(value)) is not None])
    else:
        is_one = column.cast(pl.String).is_in(values)
    if "" in condition.values:
        is_one = is_one.fill_null(value=True)
    return is_one if condition.is_equal else ~is_one


def without_unusable_rows(found: OutcomeReading, subject: str | None) -> OutcomeReading:
    """Leave out rows without an outcome, which are no trials, and rows that name no subject; say how many.

    Also say where most rows fail, which may be failing and passing confounded.

    Args:
        found: tables with their outcome.
        subject: the column that says whose row it is, if there is one.

    Raises:
        TableError: more than `MAX_UNUSABLE_SHARE` of a table would be left out.
    """
    import polars as pl

    tables, notes = [], []
    for table in found.tables:
        schema = table.collect_schema()
        is_missing = {
            name: pl.col(name).is_null() | (pl.col(name).is_nan() if schema[name].is_float() else False)
            for name in (found.name, subject)
            if name is not None and name in schema
        }
        counts = [expression.sum().alias(name) for name, expression in is_missing.items()]
        n_rows, *lost = table.select(pl.len().alias("rows"), *counts).collect(engine="streaming").row(0)
        for name, n in zip(is_missing, lost, strict=True):
            notes += [_unusable(name, n=n, n_rows=n_rows, is_subject=name == subject)] if n else []
        usable = table.filter(~pl.any_horizontal(is_missing.values())) if any(lost) else table
        notes += _mostly_failing(usable, found.name) if found.name in schema else []
        tables.append(usable)
    return replace(found, tables=tuple(tables), notes=(*found.notes, *notes))


def _mostly_failing(table: "pl.LazyFrame", name: str) -> list[str]:
    import polars as pl

    kind = table.collect_schema()[name]
    if kind != pl.Boolean and not kind.is_numeric():
        return []
    values = pl.col(name).cast(pl.Float64)
    is_flag, share = (
        table.select(((values == 0) | (values == 1)).all(), share=values.mean()).collect(engine="streaming").row(0)
    )
    if not is_flag or share is None or share <= SURPRISING_SHARE:
        return []
    return [f"{100 * share:.1f} % of the rows fail: is it the passes that are named?"]


def _unusable(name: str, *, n: int, n_rows: int, is_subject: bool) -> str:
    what = f"{n:,} of {n_rows:,} rows {'name no' if is_subject else 'have no outcome'} {name}"
    if n <= MAX_UNUSABLE_SHARE * n_rows:
        return f"{what} and are left out"
    if is_subject:
        advice = "too many to leave out: fill them, or search without --subject, where every row stands for itself"
    else:
        advice = (
            "too many to leave out: remove them, or say what a missing one is: "
            '--failed-when "COL=" where it is a failure, --failed-when "COL!=" where it is none'
        )
    raise TableError(f"{what}, {advice}")
