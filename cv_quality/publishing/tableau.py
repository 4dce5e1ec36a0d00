"""Extracts for Tableau: all rates in one table, packaged as a data source, and every mart as a table with its keys.

`rates.tdsx` opens as it is. `marts.hyper` has a table for each of the warehouse's, with the builds' key as an assumed
foreign key, so that Tableau relates them by itself. Both hold what the warehouse holds: no row of a subject.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from cv_quality.errors import PublishingError
from cv_quality.extras import installing
from cv_quality.lake.store import atomic_path
from cv_quality.publishing.product import Edition, Product

if TYPE_CHECKING:
    import duckdb

EXTRA = "tableau"
RATES = """
SELECT rates.*, build.n_drops, build.first_captured_from, build.last_captured_until, release.verdict AS release_verdict
FROM (
  SELECT build_id, model_build_id, metric, NULL::DOUBLE AS fmr_target, NULL::VARCHAR AS species, dimension, level,
         value, low, high, numerator, denominator, n_subjects, method, reason
  FROM fct_intervals
  UNION ALL
  SELECT build_id, model_build_id, 'fnmr_at_fmr', fmr_target, NULL, 'all', 'all', fnmr, fnmr_low, fnmr_high,
         n_false_non_matches, n_genuine, NULL, method, reason
  FROM fct_operating_points WHERE point = 'fnmr_at_fmr'
  UNION ALL
  SELECT build_id, build_id, metric, NULL, species, dimension, level, value, low, high,
         numerator, denominator, n_subjects, method, reason
  FROM fct_liveness_rates
  UNION ALL
  SELECT build_id, model_build_id, metric, NULL, NULL, dimension, level, value, low, high,
         NULL, n_clips, NULL, method, reason
  FROM fct_video_metrics
) rates
LEFT JOIN dim_build build USING (build_id)
LEFT JOIN fct_release_verdicts release ON release.build_id = rates.build_id AND release.requirement = 'overall'
ORDER BY ALL
"""
"""Every rate with its interval in one table, the builds' own columns beside it.

`species` is that of attacks, and `all` of live people; `n_subjects` of a rate of attacks counts artefacts.
"""
_SQL_TYPES = {"double": "DOUBLE PRECISION", "int64": "BIGINT", "bool": "BOOLEAN", "date32[day]": "DATE"}
_TDS = """<?xml version='1.0' encoding='utf-8'?>
<datasource formatted-name='cv_quality rates' inline='true' version='18.1'>
  <connection class='federated'>
    <named-connections>
      <named-connection caption='rates' name='hyper.rates'>
        <connection authentication='auth-none' class='hyper' dbname='Data/rates.hyper' schema='Extract'
          default-settings='yes' sslmode='' username='' />
      </named-connection>
    </named-connections>
    <relation connection='hyper.rates' name='Extract' table='[Extract].[Extract]' type='table' />
  </connection>
{columns}
</datasource>
"""
_ROLES = {"double": ("real", "measure", "quantitative"), "int64": ("integer", "measure", "quantitative")}


def write_tableau(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write the extracts of the whole warehouse.

    Args:
        edition: whose deployment it is.
        folder: where to.

    Raises:
        PublishingError: the extra `tableau` is not installed, or the warehouse is not there.
    """
    import duckdb

    pantab = _pantab()
    warehouse = edition.workspace.settings.warehouse
    if not warehouse.is_file():
        raise PublishingError(f"{warehouse} is not there: `cvq run` builds the metric tables")
    with duckdb.connect(str(warehouse), read_only=True) as mart:
        rates = mart.sql(RATES).to_arrow_table()
        hyper, package, marts = folder / "rates.hyper", folder / "rates.tdsx", folder / "marts.hyper"
        with atomic_path(hyper) as temporary:
            pantab.frames_to_hyper({_name("Extract", "Extract"): rates}, temporary)
        with atomic_path(package) as temporary:
            _write_package(temporary, hyper, rates.schema)
        with atomic_path(marts) as temporary:
            _write_marts(temporary, mart)
    return (hyper, package, marts)


TABLEAU = Product("tableau", "Extracts for Tableau", write_tableau)


def _pantab() -> Any:
    try:
        import pantab
        import tableauhyperapi  # noqa: F401 - declares keys
    except ImportError as error:
        raise PublishingError(f"extracts for Tableau need the extra {EXTRA!r}: {installing(EXTRA)}") from error
    return pantab


def _name(schema: str, table: str) -> Any:
    from tableauhyperapi import TableName

    return TableName(schema, table)


def _write_package(target: Path, hyper: Path, schema: Any) -> None:
    """Write a data source with its extract: a ZIP file with the description at its root, the same bytes each time."""
    columns = "\n".join(_column(field.name, str(field.type)) for field in schema)
    files = {"rates.tds": _TDS.format(columns=columns).encode(), "Data/rates.hyper": hyper.read_bytes()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in files.items():
            package.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def _column(name: str, kind: str) -> str:
    datatype, role, order = _ROLES.get(kind, ("datetime" if "timestamp" in kind else "string", "dimension", "nominal"))
    attributes = {"datatype": datatype, "name": f"[{name}]", "role": role, "type": order}
    return f"  <column {' '.join(f'{key}={quoteattr(value)}' for key, value in attributes.items())} />"


def _write_marts(target: Path, mart: "duckdb.DuckDBPyConnection") -> None:
    """Write every table of the warehouse, the builds' with its key, and the others with their reference to it."""
    import pantab
    from tableauhyperapi import Connection, CreateMode, HyperProcess, Telemetry

    tables = dict(_tables(mart))
    target.unlink()
    with (
        HyperProcess(Telemetry.DO_NOT_SEND_USAGE_DATA_TO_TABLEAU, parameters={"log_config": ""}) as process,
        Connection(process.endpoint, str(target), CreateMode.CREATE) as connection,
    ):
        connection.execute_command('CREATE SCHEMA "marts"')
        for name in sorted(tables, key=lambda name: (name != "dim_build", name)):
            connection.execute_command(_declaration(name, tables[name].schema))
    frames = {_name("marts", name): rows for name, rows in tables.items()}
    pantab.frames_to_hyper(frames, target, table_mode="a")


def _tables(mart: "duckdb.DuckDBPyConnection") -> Iterator[tuple[str, Any]]:
    """Every table with its rows; what is neither number, text, flag nor time is written as text."""
    names = [str(row[0]) for row in mart.execute("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall()]
    for name in names:
        kinds = mart.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?", [name]
        ).fetchall()
        chosen = ", ".join(
            f'"{column}"::VARCHAR AS "{column}"' if "[" in kind or "STRUCT" in kind else f'"{column}"'
            for column, kind in kinds
        )
        yield name, mart.sql(f'SELECT {chosen} FROM "{name}" ORDER BY ALL').to_arrow_table()


def _declaration(name: str, schema: Any) -> str:
    columns = [f'"{field.name}" {_sql_type(str(field.type))}' for field in schema]
    if name == "dim_build":
        columns.append('ASSUMED PRIMARY KEY ("build_id")')
    elif "build_id" in schema.names:
        columns.append('ASSUMED FOREIGN KEY ("build_id") REFERENCES "marts"."dim_build" ("build_id")')
    return f'CREATE TABLE "marts"."{name}" ({", ".join(columns)})'


def _sql_type(kind: str) -> str:
    if kind.startswith("timestamp"):
        return "TIMESTAMP WITH TIME ZONE" if "tz" in kind else "TIMESTAMP"
    return _SQL_TYPES.get(kind, "TEXT")
