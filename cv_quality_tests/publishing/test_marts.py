"""Metric tables for SQL elsewhere: read back they are the warehouse's, and AWS takes their definitions."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.errors import PublishingError
from cv_quality.lake.store import open_store
from cv_quality.publishing.marts import DATABASE, MARTS, export_marts, read_marts
from cv_quality.publishing.product import Edition
from cv_quality.publishing.products import chosen_products
from cv_quality.publishing.publish import ABOUT, INDEX, publications, publish
from cv_quality.publishing.tableau import RATES
from cv_quality.settings import S3Options
from cv_quality_tests.conftest import History
from cv_quality_tests.lake.conftest import bucket, credentials, s3_endpoint
from cv_quality_tests.publishing.test_publish import BUILD, edition
from cv_quality_tests.servers import s3_client

__all__ = ["bucket", "credentials", "edition", "s3_endpoint"]

LOCATION = "s3://studies/published"


@pytest.fixture(scope="module")
def warehouse(edition: Edition) -> Path:
    return edition.workspace.settings.warehouse


@pytest.fixture(scope="module")
def exported(warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marts")
    export_marts(warehouse, folder, location=LOCATION)
    return folder


def test_every_table_and_column_has_its_meaning(warehouse: Path) -> None:
    marts = read_marts(warehouse)
    assert {mart.name for mart in marts} >= {"dim_build", "fct_intervals", "fct_video_metrics"}
    unsaid = [f"{mart.name}.{name}" for mart in marts for name, meaning in mart.meanings().items() if not meaning]
    assert not [mart.name for mart in marts if not mart.meaning]
    assert unsaid == []


def test_parquet_holds_the_rows_of_the_warehouse(warehouse: Path, exported: Path) -> None:
    with duckdb.connect(str(warehouse), read_only=True) as mart:
        mart.execute("SET TimeZone = 'UTC'")
        for table in read_marts(warehouse):
            plain = ", ".join(
                f'"{c.name}"' for c in table.columns if c.kind in ("VARCHAR", "DOUBLE", "BIGINT", "BOOLEAN")
            )
            file = exported / table.name / f"{table.name}.parquet"
            found = mart.sql(f"SELECT {plain} FROM read_parquet('{file}') ORDER BY ALL").fetchall()
            assert found == mart.sql(f'SELECT {plain} FROM "{table.name}" ORDER BY ALL').fetchall(), table.name
            assert len(found) == table.n_rows


def test_the_same_tables_make_the_same_bytes(warehouse: Path, exported: Path, tmp_path: Path) -> None:
    for path in export_marts(warehouse, tmp_path, location=LOCATION):
        assert path.read_bytes() == (exported / path.relative_to(tmp_path)).read_bytes(), path.name


def test_glue_takes_every_table(s3_endpoint: str, credentials: None, exported: Path) -> None:  # noqa: ARG001
    glue = boto3.client("glue", endpoint_url=s3_endpoint, region_name="us-east-1")
    glue.create_database(DatabaseInput={"Name": DATABASE})
    tables = json.loads((exported / "glue.json").read_text())
    for table in tables:
        glue.create_table(DatabaseName=DATABASE, TableInput=table)
    found: dict[str, Any] = glue.get_table(DatabaseName=DATABASE, Name="fct_intervals")["Table"]
    assert found["StorageDescriptor"]["Location"] == f"{LOCATION}/fct_intervals/"
    with duckdb.connect() as reader:
        for table in tables:
            name = table["Name"]
            rows = reader.execute(f"DESCRIBE SELECT * FROM read_parquet('{exported / name / name}.parquet')").fetchall()
            assert [row[0] for row in rows] == [column["Name"] for column in table["StorageDescriptor"]["Columns"]]
            assert [HIVE[row[1]] for row in rows] == [c["Type"] for c in table["StorageDescriptor"]["Columns"]], name


HIVE = {
    "VARCHAR": "string",
    "DOUBLE": "double",
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "timestamp",
    "DATE": "date",
    "INTEGER": "int",
}
"""What Athena reads of each type that lies in the files."""


def test_athena_gets_a_statement_a_table_with_no_quote_to_escape(exported: Path, warehouse: Path) -> None:
    statements = (exported / "athena.sql").read_text().split(";\n")[:-1]
    assert len(statements) == 1 + len(read_marts(warehouse))
    assert "''" not in "".join(statements)
    assert all(statement.count("'") % 2 == 0 for statement in statements)


def test_all_rates_for_quicksight_are_those_of_the_mart(exported: Path, warehouse: Path) -> None:
    (uris,) = json.loads((exported / "quicksight.json").read_text())["fileLocations"]
    assert uris["URIs"] == [f"{LOCATION}/rates.csv"]
    with (exported / "rates.csv").open(newline="") as opened:
        found = [row["value"] for row in csv.DictReader(opened)]
    with duckdb.connect(str(warehouse), read_only=True) as mart:
        expected = [row[0] for row in mart.sql(f"SELECT value FROM ({RATES})").fetchall()]
    assert [float(value) if value else None for value in found] == expected
    assert None in expected


def test_rates_of_attacks_are_among_all_rates_by_their_species(warehouse: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copyfile(warehouse, tmp_path / "copy.duckdb"))
    told = {"build_id": "pad-1", "metric": "apcer", "species": "mask", "dimension": "all", "level": "all", "value": 0.5}
    with duckdb.connect(str(copy)) as mart:
        mart.execute(f"INSERT INTO fct_liveness_rates ({', '.join(told)}) VALUES (?, ?, ?, ?, ?, ?)", [*told.values()])
        found = mart.sql(f"SELECT {', '.join(told)} FROM ({RATES}) WHERE species IS NOT NULL").fetchall()
    assert found == [tuple(told.values())]


def test_published_definitions_name_the_objects_in_the_bucket(edition: Edition, s3_endpoint: str, bucket: str) -> None:
    options = S3Options(endpoint_url=s3_endpoint, region="us-east-1")
    store = open_store(f"s3://{bucket}/quality", s3=options)
    publication = publish(edition, (MARTS,), store)
    tables = json.loads(store.read_bytes(f"{publication.name}/marts/glue.json"))
    client = s3_client(s3_endpoint)
    for table in tables:
        prefix = table["StorageDescriptor"]["Location"].removeprefix(f"s3://{bucket}/")
        listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
        assert [os.path.basename(item["Key"]) for item in listed] == [f"{table['Name']}.parquet"]


def test_the_command_publishes_a_whole_edition_to_a_bucket(history: History, s3_endpoint: str, bucket: str) -> None:
    environment = {"CVQ_HOME": str(history.home), "CVQ_THREADS": "1", "CVQ_S3_ENDPOINT_URL": s3_endpoint}
    target = f"s3://{bucket}/quality"
    done = CliRunner().invoke(main, ["publish", BUILD, "--to", target, "--json"], env=environment)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    listed = s3_client(s3_endpoint).list_objects_v2(Bucket=bucket, Prefix="quality/")["Contents"]
    edition = {f"quality/{told['name']}/{name}" for name in (ABOUT, *(file["name"] for file in told["files"]))}
    assert {item["Key"] for item in listed} == edition | {f"quality/{INDEX}"}
    assert {file["product"] for file in told["files"]} == {product.name for product in chosen_products(())}
    sizes = {item["Key"]: item["Size"] for item in listed}
    assert all(sizes[f"quality/{told['name']}/{file['name']}"] == file["size_bytes"] for file in told["files"])
    (found,) = publications(open_store(target, s3=S3Options(endpoint_url=s3_endpoint, region="us-east-1")))
    assert found.name == told["name"]


def test_a_missing_warehouse_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublishingError, match="cvq run"):
        export_marts(tmp_path / "warehouse.duckdb", tmp_path, location=LOCATION)
