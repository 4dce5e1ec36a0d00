"""The metric tables for people who ask in SQL elsewhere: Parquet, a catalogue for AWS Glue and Athena, and QuickSight.

Definitions name the files where they are published. Every table and column keeps the comment that it has in the
warehouse; there is no row of a subject.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from cv_quality.errors import PublishingError
from cv_quality.lake.schema import quoted
from cv_quality.lake.sql import text
from cv_quality.lake.store import atomic_path
from cv_quality.publishing.product import Edition, Product, write_files
from cv_quality.publishing.tableau import RATES

DATABASE = "cv_quality"
_SCHEMA = f"CREATE DATABASE IF NOT EXISTS `{DATABASE}`;\n"
COMMENT_LETTERS = 255
"""Glue takes no longer comment on a column."""
DESCRIPTION_LETTERS = 2048
PARQUET = "parquet"
RATES_FILE = "rates.csv"
_INPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
_OUTPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
_SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
_HIVE_TYPES = {"VARCHAR": "string", "DOUBLE": "double", "BIGINT": "bigint", "BOOLEAN": "boolean", "DATE": "date"}
_HIVE_TYPES |= {
    "INTEGER": "int",
    "HUGEINT": "double",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "TIMESTAMP": "timestamp",
}


@dataclass(frozen=True, slots=True)
class MartColumn:
    """A column of a table of the warehouse.

    Attributes:
        kind: DuckDB's name of its type.
        meaning: the comment on it.
    """

    name: str
    kind: str
    meaning: str

    @property
    def hive_type(self) -> str:
        """The type in Glue and Athena; what is no plain value is JSON text."""
        return _HIVE_TYPES.get(self.kind, "string")


@dataclass(frozen=True, slots=True)
class Mart:
    """A table of the warehouse.

    Attributes:
        meaning: what a row is.
    """

    name: str
    meaning: str
    columns: tuple[MartColumn, ...]
    n_rows: int

    def meanings(self) -> dict[str, str]:
        """Say what each column means."""
        return {column.name: column.meaning for column in self.columns}


def read_marts(warehouse: Path) -> tuple[Mart, ...]:
    """Read the tables of a warehouse with the comments on them, by name.

    Raises:
        PublishingError: the warehouse is not there.
    """
    import duckdb

    require_warehouse(warehouse)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        tables = connection.execute(
            "SELECT table_name, coalesce(comment, '') FROM duckdb_tables() ORDER BY ALL"
        ).fetchall()
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, coalesce(comment, '') FROM duckdb_columns() "
            "WHERE NOT internal ORDER BY table_name, column_index"
        ).fetchall()
        counts = {
            name: connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchall()[0][0] for name, _ in tables
        }
    return tuple(
        Mart(name, meaning, tuple(MartColumn(*column[1:]) for column in columns if column[0] == name), counts[name])
        for name, meaning in tables
    )


def require_warehouse(warehouse: Path) -> None:
    """Require that the warehouse is there.

    Raises:
        PublishingError: it is not.
    """
    if not warehouse.is_file():
        raise PublishingError(f"{warehouse} is not there: `cvq run` builds the metric tables")


def write_marts(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write every table of the warehouse as Parquet, and what catalogues it.

    Args:
        edition: whose deployment it is, and where its files are published.
        folder: where to.

    Raises:
        PublishingError: the warehouse is not there.
    """
    return export_marts(edition.workspace.settings.warehouse, folder, location=f"{edition.location}/marts")


MARTS = Product("marts", "Metric tables as Parquet, for Athena and QuickSight", write_marts)


def export_marts(warehouse: Path, folder: Path, *, location: str) -> tuple[Path, ...]:
    """Write every table of a warehouse as Parquet, and what catalogues it.

    Args:
        warehouse: a DuckDB file.
        folder: where to.
        location: where the folder's files will lie, such as s3://bucket/prefix.

    Raises:
        PublishingError: the warehouse is not there.
    """
    import duckdb

    marts = read_marts(warehouse)
    written = []
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for mart in marts:
            target = folder / mart.name / f"{mart.name}.{PARQUET}"
            target.parent.mkdir(exist_ok=True)
            with atomic_path(target) as temporary:
                connection.execute(f"COPY ({_select(mart)}) TO {text(str(temporary))} (FORMAT parquet)")
            written.append(target)
        with atomic_path(folder / RATES_FILE) as temporary:
            connection.execute(f"COPY ({RATES}) TO {text(str(temporary))} (FORMAT csv, HEADER)")
        written.append(folder / RATES_FILE)
    documents = {
        "glue.json": _json([glue_table(mart, location) for mart in marts]),
        "athena.sql": "\n".join([_SCHEMA, *(athena_table(mart, location) for mart in marts)]),
        "quicksight.json": _json(quicksight_manifest(location)),
    }
    return (*written, *write_files(folder, {name: document.encode() for name, document in documents.items()}))


def _select(mart: Mart) -> str:
    """Read a table in one order, with types that Athena reads; what is no plain value becomes JSON."""
    columns = ", ".join(_cast(column) for column in mart.columns)
    return f"SELECT {columns} FROM {quoted(mart.name)} ORDER BY ALL"


def _cast(column: MartColumn) -> str:
    name = quoted(column.name)
    if column.kind == "TIMESTAMP WITH TIME ZONE":
        return f"({name} AT TIME ZONE 'UTC') AS {name}"
    if column.hive_type == "string" and column.kind != "VARCHAR":
        return f"to_json({name})::VARCHAR AS {name}"
    return f"{name}::DOUBLE AS {name}" if column.kind == "HUGEINT" else name


def glue_table(mart: Mart, location: str) -> dict[str, object]:
    """Define a table for AWS Glue, as `TableInput` of its `CreateTable`.

    Args:
        mart: the table.
        location: of the folder of all tables.
    """
    return {
        "Name": mart.name,
        "Description": mart.meaning[:DESCRIPTION_LETTERS],
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"classification": PARQUET, "EXTERNAL": "TRUE", "recordCount": str(mart.n_rows)},
        "StorageDescriptor": {
            "Columns": [
                {"Name": column.name, "Type": column.hive_type, "Comment": column.meaning[:COMMENT_LETTERS]}
                for column in mart.columns
            ],
            "Location": f"{location}/{mart.name}/",
            "InputFormat": _INPUT,
            "OutputFormat": _OUTPUT,
            "SerdeInfo": {"SerializationLibrary": _SERDE, "Parameters": {"serialization.format": "1"}},
        },
    }


def athena_table(mart: Mart, location: str) -> str:
    """Define a table in Athena's SQL.

    Args:
        mart: the table.
        location: of the folder of all tables.
    """
    columns = ",\n".join(
        f"  `{column.name}` {column.hive_type} COMMENT {_comment(column.meaning, COMMENT_LETTERS)}"
        for column in mart.columns
    )
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS `{DATABASE}`.`{mart.name}` (\n{columns}\n)\n"
        f"COMMENT {_comment(mart.meaning, DESCRIPTION_LETTERS)}\n"
        f"STORED AS PARQUET\nLOCATION {text(f'{location}/{mart.name}/')};\n"
    )


def _comment(meaning: str, letters: int) -> str:
    """Write a comment in Athena's DDL, whose literals escape by backslash, unlike its queries: it needs no escape."""
    return text(meaning[:letters].replace("'", "’").replace("\\", "/"))


def quicksight_manifest(location: str) -> dict[str, object]:
    """Name the file that QuickSight loads from S3: it reads no Parquet without Athena, so all rates are a CSV file.

    Args:
        location: of the folder of all tables.
    """
    return {
        "fileLocations": [{"URIs": [f"{location}/{RATES_FILE}"]}],
        "globalUploadSettings": {"format": "CSV", "delimiter": ",", "textqualifier": '"', "containsHeader": "true"},
    }


def _json(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
