"""Asks Great Expectations whether a stage's tables are what its suite expects, and records the verdict.

The tables are DuckDB views over their Parquet files, so memory does not grow with the data. This is the only module
that imports Great Expectations, and only inside functions: the import takes seconds.
"""

import atexit
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from cv_quality.errors import LakeChanged
from cv_quality.gates.rules import Rule, Suite
from cv_quality.gates.verdicts import ExpectationResult, Origin, Verdict, key_for, write_verdict
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.sql import escaped_glob, read_parquet, text
from cv_quality.lake.store import ObjectInfo

if TYPE_CHECKING:
    from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
    from great_expectations.validator.validator import Validator
    from sqlalchemy import Connection

MAX_EXAMPLES = 10


def run_gate(
    lake: Lake,
    suite: Suite,
    key: TableKey,
    *,
    threads: int = 2,
    memory_limit: str = "600MB",
    origin: Origin | None = None,
    confirm: Callable[[], None] = lambda: None,
) -> Verdict:
    """Judge the tables of a suite for `key`, write the verdict to the lake, and return it.

    Args:
        origin: what the tables were made of, recorded with the verdict.
        confirm: raises when what the tables were made of has changed meanwhile; asked before the verdict is recorded.

    Raises:
        MissingTable: a table that the gate judges, or looks into, has not been written for `key`.
        LakeChanged: somebody else wrote one of the tables; there is no verdict then.
    """
    names = [lake.object_key(table, key_for(table, key)) for table in (*suite.judged, *suite.context)]
    found = {name: info for name in names if (info := lake.store.info(name))}
    with _views(lake, suite, key, threads=threads, memory_limit=memory_limit) as connection:
        engine = _execution_engine(connection)
        results = tuple(
            result for table in suite.judged for result in _judge(suite, table.name, connection, engine=engine)
        )
    origin = origin or Origin()
    passed = all(result.passed or result.is_warning for result in results)
    verdict = Verdict(
        suite.gate,
        str(key),
        passed=passed,
        judged={name: lake.digest(name, info) for name, info in found.items()},
        expectations=results,
        delivery=origin.delivery,
        sizes={name: info.size for name, info in found.items()},
        about=dict(origin.about),
        files="" if passed else origin.files,
    )
    _refuse_changes(lake, found, own=names[: len(suite.judged)])
    confirm()
    write_verdict(lake, verdict)
    return verdict


def _refuse_changes(lake: Lake, found: Mapping[str, ObjectInfo], *, own: Sequence[str]) -> None:
    """Refuse to judge files that changed meanwhile, or of which another than this run has published one."""
    for name, info in found.items():
        published = lake.written.get(name, info) if name in own else info
        now = lake.store.info(name)
        if now is None or now.mark != info.mark or published.mark != info.mark:
            raise LakeChanged(
                f"{name} in the lake was written by somebody else while it was made and judged here: the stage is "
                "due again; let one run at a time do a key"
            )


@contextmanager
def _views(lake: Lake, suite: Suite, key: TableKey, *, threads: int, memory_limit: str) -> "Iterator[Connection]":
    import sqlalchemy as sa
    from sqlalchemy.pool import StaticPool

    engine = sa.create_engine("duckdb:///:memory:", poolclass=StaticPool)
    # No transactions: in one, a rule that cannot be asked would take the answers of all others with it.
    dialect: Any = engine.dialect
    dialect.do_begin = dialect.do_commit = dialect.do_rollback = lambda _: None
    _release_binding_at_exit()
    try:
        with tempfile.TemporaryDirectory(prefix="cvq-gate-") as folder, engine.connect() as connection:
            connection.exec_driver_sql(f"SET temp_directory = {text(folder)}")
            connection.exec_driver_sql(f"SET threads = {threads}")
            connection.exec_driver_sql(f"SET memory_limit = '{memory_limit}'")
            for table in (*suite.judged, *suite.context):
                rows = read_parquet([escaped_glob(lake.path(table, key_for(table, key)))])
                connection.exec_driver_sql(f"CREATE VIEW {table.name} AS SELECT * FROM {rows}")
            yield connection
    finally:
        engine.dispose()


@cache
def _release_binding_at_exit() -> None:
    """Let DuckDB's binding end with the interpreter.

    Great Expectations keeps SQLAlchemy's classes beyond that, and duckdb_engine hangs its compiler of TRY_CAST onto one
    of them, and with it the whole binding, which would then list all that it has as leaked.
    """
    from sqlalchemy.ext.compiler import deregister
    from sqlalchemy.sql.elements import TryCast

    atexit.register(deregister, TryCast)


def _judge(
    suite: Suite, table: str, connection: "Connection", *, engine: "SqlAlchemyExecutionEngine"
) -> list[ExpectationResult]:
    rules = [rule for rule in suite.rules if rule.table == table]
    if not rules:
        return []
    for index, rule in enumerate(rules):
        if rule.expectation == "UnexpectedRowsExpectation":
            # Great Expectations asks such a query twice, for the count and for the rows: let it run once.
            connection.exec_driver_sql(f"CREATE OR REPLACE TEMP TABLE {_offending(index)} AS {rule.offending}")
    validator = _validator(engine, table)
    answers: Sequence[Any] = validator.graph_validate(
        [_configuration(rule, index) for index, rule in enumerate(rules)],
        runtime_configuration={"result_format": {"result_format": "BOOLEAN_ONLY"}},
    )
    n_rows = int(_fetch(connection, f"SELECT count(*) FROM {table}")[0][0])
    by_rule = {int(answer.expectation_config.meta["rule"]): answer for answer in answers}
    return [_result(rule, by_rule[index], n_rows=n_rows, connection=connection) for index, rule in enumerate(rules)]


def _execution_engine(connection: "Connection") -> "SqlAlchemyExecutionEngine":
    from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine

    class OneConnectionEngine(SqlAlchemyExecutionEngine):
        """DuckDB answers 'list index out of range' when each metric opens a connection of its own."""

        @contextmanager
        def get_connection(self) -> Iterator[Any]:
            yield connection

        def get_inspector(self) -> Any:
            """A view has no primary key: looking for that of each takes a tenth of a gate."""
            inspector: Any = super().get_inspector()
            inspector.get_pk_constraint = lambda **_: {"constrained_columns": [], "name": None}
            return inspector

    return OneConnectionEngine(engine=connection.engine)


def _validator(engine: "SqlAlchemyExecutionEngine", table: str) -> "Validator":
    from great_expectations.core.batch import Batch
    from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
    from great_expectations.validator.validator import Validator

    data: Any = SqlAlchemyBatchData(execution_engine=engine, table_name=table)
    return Validator(execution_engine=engine, batches=[Batch(data=data)], data_context=_context())


@cache
def _context() -> Any:
    """One ephemeral context a process: each makes a folder in the system's temporary folder."""
    import great_expectations as gx

    logging.disable(logging.INFO)
    context: Any = gx.get_context(mode="ephemeral")
    logging.disable(logging.NOTSET)
    context.enable_analytics(enable=False)
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def _configuration(rule: Rule, index: int) -> Any:
    import great_expectations.expectations as gxe

    arguments = dict(rule.arguments)
    if rule.expectation == "UnexpectedRowsExpectation":
        # Great Expectations warns about a query without {batch}.
        arguments["unexpected_rows_query"] = f"SELECT * FROM {_offending(index)} /* {{batch}} */"
    return getattr(gxe, rule.expectation)(**arguments, meta={"rule": index}).configuration


def _offending(index: int) -> str:
    return f"offending_{index}"


def _result(rule: Rule, answer: Any, *, n_rows: int, connection: "Connection") -> ExpectationResult:
    """The offending keys are fetched only when the rule is broken."""
    # Of an error in a metric, the information is keyed by the metric instead.
    if answer.exception_info and answer.exception_info.get("raised_exception", True):
        raise RuntimeError(f"rule {rule.name!r} of {rule.table} could not be evaluated: {answer.exception_info}")
    passed = bool(answer.success)
    result = ExpectationResult(rule.name, rule.table, rule.expectation, passed, rule.is_warning, n_rows, 0)
    if passed:
        return result
    n_unexpected = int(_fetch(connection, f"SELECT count(*) FROM ({rule.offending})")[0][0])
    rows = _fetch(connection, f"SELECT * FROM ({rule.offending}) ORDER BY ALL LIMIT {MAX_EXAMPLES}")
    examples = tuple(" ".join(str(value) for value in row) for row in rows)
    return replace(result, n_unexpected=n_unexpected, examples=examples)


def _fetch(connection: "Connection", query: str) -> Sequence[Any]:
    return connection.exec_driver_sql(query).fetchall()
