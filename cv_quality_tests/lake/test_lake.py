"""The lake: one file per table and key, never half of one, never of another shape than the table declares."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from cv_quality.errors import MissingTable, SchemaError, StoreError
from cv_quality.lake.lake import Lake, TableKey, conform
from cv_quality.lake.schema import Column, Table, identifier
from cv_quality.lake.store import open_store
from cv_quality.settings import S3Options

COLUMNS = (
    identifier("subject_id", "who"),
    Column("trials", "integer", "how many"),
    Column("score", "real", "cosine in [-1, 1]", nullable=True),
    Column("occurred_at", "instant", "when", nullable=True),
)
BY_DROP = Table("by_drop", "drop", "a row", COLUMNS)
BY_BUILD = Table("by_build", "build", "a row", COLUMNS)
BY_CELL = Table("by_cell", "build_drop", "a row", COLUMNS)
CELL = TableKey(build="b1", drop="d1")


def rows(*subjects: str) -> pl.DataFrame:
    frame = pl.DataFrame({"subject_id": subjects, "trials": range(len(subjects)), "score": [0.5] * len(subjects)})
    return frame.with_columns(pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("occurred_at"))


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake(open_store(str(tmp_path / "lake")))
    bucket, endpoint = request.getfixturevalue("bucket"), request.getfixturevalue("s3_endpoint")
    options = S3Options(endpoint_url=endpoint)
    return Lake(open_store(f"s3://{bucket}/lake", s3=options, cache=tmp_path / "cache"))


def test_rows_come_back_as_they_were_written(lake: Lake) -> None:
    assert lake.write(BY_CELL, CELL, rows("ann", "bob")) == 2
    assert lake.read(BY_CELL, CELL).equals(rows("ann", "bob"))
    assert lake.read(BY_CELL, CELL, columns=["trials"]).columns == ["trials"]
    assert lake.path(BY_CELL, CELL).is_file()


def test_writing_again_replaces_the_key_and_no_other(lake: Lake) -> None:
    for drop in ("d1", "d2"):
        lake.write(BY_DROP, TableKey(drop=drop), rows("ann"))
    lake.write(BY_DROP, TableKey(drop="d1"), rows("bob", "cyd"))
    assert lake.read(BY_DROP, TableKey(drop="d1"))["subject_id"].to_list() == ["bob", "cyd"]
    assert lake.read(BY_DROP, TableKey(drop="d2"))["subject_id"].to_list() == ["ann"]


def test_the_keys_of_a_table_are_those_that_have_a_file(lake: Lake) -> None:
    keys = [TableKey(build=build, drop=drop) for build in ("b1", "b1.1") for drop in ("d1", "d2")]
    for key in keys:
        lake.write(BY_CELL, key, rows("ann"))
        lake.write(BY_BUILD, TableKey(build=key.build), rows("ann"))
        lake.write(BY_DROP, TableKey(drop=key.drop), rows("ann"))
    assert lake.keys(BY_CELL) == keys
    assert lake.keys(BY_BUILD) == [TableKey(build="b1"), TableKey(build="b1.1")]
    assert lake.keys(BY_DROP) == [TableKey(drop="d1"), TableKey(drop="d2")]
    assert lake.keys(Table("by", "drop", "a table whose name begins another's", COLUMNS)) == []


def test_several_keys_are_scanned_as_one_and_none_is_an_empty_table(lake: Lake) -> None:
    for drop, subject in (("d1", "ann"), ("d2", "bob")):
        lake.write(BY_DROP, TableKey(drop=drop), rows(subject))
    both = lake.scan(BY_DROP, [TableKey(drop="d1"), TableKey(drop="d2")]).collect()
    assert both["subject_id"].to_list() == ["ann", "bob"]
    assert lake.scan(BY_DROP, []).collect().schema == both.schema


def test_a_table_that_nobody_wrote_is_named_with_its_key(lake: Lake) -> None:
    assert not lake.has(BY_CELL, CELL)
    for ask in (lambda: lake.path(BY_CELL, CELL), lambda: lake.read(BY_CELL, CELL)):
        with pytest.raises(MissingTable, match=r"no rows for b1/d1 \(by_cell/b1/d1\.parquet\): `cvq run` makes them"):
            ask()


@pytest.mark.parametrize(
    ("table", "key"),
    [(BY_DROP, CELL), (BY_DROP, TableKey(build="b1")), (BY_CELL, TableKey(drop="d1")), (BY_BUILD, TableKey())],
)
def test_a_key_of_another_partition_is_refused(tmp_path: Path, table: Table, key: TableKey) -> None:
    with pytest.raises(SchemaError, match=f"{table.name} is keyed by {table.key}"):
        Lake(open_store(str(tmp_path))).object_key(table, key)


def test_a_key_cannot_climb_out_of_the_lake(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unsafe object key"):
        lake.write(BY_DROP, TableKey(drop="../../outside"), rows("ann"))
    assert not (tmp_path / "outside.parquet").exists()


def test_a_write_that_fails_leaves_the_old_table_and_no_litter(lake: Lake) -> None:
    lake.write(BY_DROP, TableKey(drop="d1"), rows("ann"))
    before = [info.key for info in lake.store.list()]

    def write_half() -> None:
        with lake.writing(BY_DROP, TableKey(drop="d1")) as path:
            path.write_bytes(b"half a file")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert lake.read(BY_DROP, TableKey(drop="d1"))["subject_id"].to_list() == ["ann"]
    assert [info.key for info in lake.store.list()] == before == ["by_drop/d1.parquet"]


def test_equal_rows_give_equal_bytes(lake: Lake) -> None:
    for drop in ("d1", "d2"):
        lake.write(BY_DROP, TableKey(drop=drop), rows("ann", "bob"))
    first, second = (lake.store.read_bytes(f"by_drop/{drop}.parquet") for drop in ("d1", "d2"))
    assert first == second


def test_columns_take_the_order_and_types_of_the_table() -> None:
    shuffled = rows("ann").select("score", "occurred_at", pl.col("trials").cast(pl.Int32), "subject_id")
    assert conform(BY_DROP, shuffled).schema == BY_DROP.arrow_schema


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (rows("ann").drop("trials"), "trials"),
        (rows("ann").with_columns(extra=1), "extra"),
        (rows("ann").with_columns(trials=pl.lit(None, dtype=pl.Int64)), "trials"),
        (rows("ann").with_columns(trials=pl.lit("many")), "does not fit"),
        (rows("ann").with_columns(trials=pl.lit(1.5)), "does not fit"),
    ],
)
def test_rows_of_another_shape_are_refused_and_nothing_is_written(
    tmp_path: Path, wrong: pl.DataFrame, named: str
) -> None:
    lake = Lake(open_store(str(tmp_path)))
    with pytest.raises(SchemaError, match=named):
        lake.write(BY_DROP, TableKey(drop="d1"), wrong)
    assert not lake.has(BY_DROP, TableKey(drop="d1"))


def test_no_rows_are_a_table_too(lake: Lake) -> None:
    empty = pl.from_arrow(BY_DROP.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    assert lake.write(BY_DROP, TableKey(drop="d1"), empty) == 0
    assert lake.read(BY_DROP, TableKey(drop="d1")).height == 0
    assert isinstance(conform(BY_DROP, BY_DROP.arrow_schema.empty_table()), pa.Table)


def test_a_table_without_a_column_of_its_key_is_refused() -> None:
    with pytest.raises(SchemaError, match="table by_drop, keyed by drop, has no column attempt_id"):
        Table("by_drop", "drop", "a row", COLUMNS, unique=("attempt_id",))
    with pytest.raises(SchemaError, match="table by_build, keyed by build, has no column build_id"):
        Table("by_build", "build", "a row", COLUMNS, unique=("subject_id",), mart=True)
