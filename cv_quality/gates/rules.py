"""What a gate expects, as data: rules that follow from a table's declaration, and the means to write a domain's own.

A rule names a Great Expectations class with its arguments and the query that lists the offending keys; nothing here
runs anything, and no rule of a domain stands here: those are beside the stage that they guard.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER, Column, Table, quoted

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
        refers: the column that must exist in another table, where the rule is about that.
    """

    name: str
    table: str
    expectation: str
    arguments: Mapping[str, object]
    offending: str
    is_warning: bool = False
    refers: str | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """What one gate judges: its rules, and every table that they read.

    Attributes:
        gate: name of the stage whose gate it is.
        judged: the tables that the stage wrote.
        context: earlier tables that its rules look into.
    """

    gate: str
    judged: tuple[Table, ...]
    context: tuple[Table, ...]
    rules: tuple[Rule, ...]


def suite(
    gate: str,
    *,
    writes: Sequence[Table],
    reads: Sequence[Table],
    rules: Sequence[Rule],
    unjudged: Set[str] = frozenset(),
) -> Suite:
    """Put a gate's rules together: those that follow from the tables written, then the domain's own.

    Args:
        reads: earlier tables; those that a rule's query names become the context.
        unjudged: names of tables written of which only the domain's own rules ask.
    """
    judged = [table for table in writes if table.name not in unjudged]
    own = [rule for table in judged for rule in schema_rules(table, references=rules)]
    named = set(re.findall(r"[a-z_]+", " ".join(rule.offending for rule in rules)))
    return Suite(gate, tuple(writes), tuple(table for table in reads if table.name in named), (*own, *rules))


def schema_rules(table: Table, *, references: Sequence[Rule] = ()) -> Iterator[Rule]:
    """The rules that follow from a table's own declaration.

    Args:
        references: rules of the same gate; a column that one of them looks up in another table, where it is known to
            be well formed, is not searched a second time.
    """
    referring = {rule.refers for rule in references if rule.table == table.name}
    required = [column.name for column in table if not column.nullable]
    yield rows_rule(
        table, "every required value is present", " OR ".join(f"{quoted(name)} IS NULL" for name in required)
    )
    for column in table:
        yield from _column_rules(table, column)
    patterned = [column for column in table if column.pattern and column.name not in referring]
    if patterned:
        yield rows_rule(table, "every identifier is well formed", _malformed(patterned))
    reals = [column for column in table if column.kind == "real"]
    if reals:
        infinite = " OR ".join(f"NOT isfinite({quoted(column.name)})" for column in reals)
        yield rows_rule(table, "every number is finite", infinite)
    if table.unique:
        keys, name = ", ".join(table.unique), " and ".join(table.unique)
        query = f"SELECT {keys} FROM {table.name} GROUP BY {keys} HAVING count(*) > 1"
        yield query_rule(table, f"{name} {'names' if len(table.unique) == 1 else 'name'} one row", query)


def _column_rules(table: Table, column: Column) -> Iterator[Rule]:
    keys, name = _keys(table), column.name
    if column.low is not None or column.high is not None:
        low, high = column.low, column.high
        bounds = [f"{quoted(name)} < {low}"] * (low is not None) + [f"{quoted(name)} > {high}"] * (high is not None)
        least, most = ("any" if bound is None else f"{bound:g}" for bound in (low, high))
        yield Rule(
            f"{name} lies in [{least}, {most}]",
            table.name,
            "ExpectColumnValuesToBeBetween",
            {"column": name, "min_value": low, "max_value": high},
            f"SELECT {keys} FROM {table.name} WHERE {' OR '.join(bounds)}",
        )
    if column.levels:
        levels = ", ".join("'" + level.replace("'", "''") + "'" for level in column.levels)
        yield Rule(
            f"{name} is one of {', '.join(column.levels)}",
            table.name,
            "ExpectColumnValuesToBeInSet",
            {"column": name, "value_set": list(column.levels)},
            f"SELECT {keys} FROM {table.name} WHERE {quoted(name)} NOT IN ({levels})",
        )


def _malformed(columns: Sequence[Column]) -> str:
    """SQL for "an identifier breaks its pattern"; one search over all plain ids of a row costs less than one each.

    Their lengths are counted in bytes: an id whose characters are longer breaks the pattern anyway.
    """
    plain = [column.name for column in columns if column.pattern == IDENTIFIER]
    other = [f"NOT regexp_full_match({c.name}, '{c.pattern}')" for c in columns if c.name not in plain]
    lengths = [f"strlen({name}) NOT BETWEEN 1 AND 128" for name in plain]
    letters = [f"regexp_matches(concat({', '.join(plain)}), '{NOT_IN_IDENTIFIER}')"] if plain else []
    return " OR ".join([*letters, *lengths, *other])


def _keys(table: Table) -> str:
    """The columns that name a row to a person without telling anything about the subject's body."""
    return ", ".join(table.unique or tuple(column.name for column in table)[:1])


def rows_rule(table: Table, name: str, broken: str, *, is_warning: bool = False) -> Rule:
    return query_rule(table, name, f"SELECT {_keys(table)} FROM {table.name} WHERE {broken}", is_warning=is_warning)


def query_rule(table: Table, name: str, query: str, *, is_warning: bool = False) -> Rule:
    """A rule whose offending rows are those of `query`, over the names of tables."""
    return Rule(name, table.name, "UnexpectedRowsExpectation", {"description": name}, query, is_warning=is_warning)


def reference_rule(table: Table, column: str, target: Table, target_column: str | None = None) -> Rule:
    return rows_rule(
        table,
        f"{column} exists in {target.name}",
        f"{column} IS NOT NULL AND {column} NOT IN (SELECT {target_column or column} FROM {target.name})",
    )
