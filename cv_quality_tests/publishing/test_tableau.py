"""Extracts for Tableau, read back: every value is that of the mart, and keys are declared."""

import builtins
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import polars as pl
import pytest

from cv_quality.errors import PublishingError
from cv_quality.publishing.product import Edition
from cv_quality.publishing.tableau import RATES, write_tableau
from cv_quality_tests.publishing.test_publish import edition

__all__ = ["edition"]

pantab = pytest.importorskip("pantab", reason="not run: the extra tableau is not installed")
hyper = pytest.importorskip("tableauhyperapi")


@pytest.fixture(scope="module")
def written(edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_tableau(edition, tmp_path_factory.mktemp("tableau"))


def read_back(path: Path, schema: str, table: str) -> pl.DataFrame:
    rows = pantab.frame_from_hyper(path, table=hyper.TableName(schema, table), return_type="pyarrow")
    found = pl.from_arrow(rows)
    assert isinstance(found, pl.DataFrame)
    return found


def same(found: pl.DataFrame, expected: pl.DataFrame) -> bool:
    order = expected.columns
    return found.sort(order, nulls_last=True).equals(expected.sort(order, nulls_last=True))


def test_all_rates_are_those_of_the_mart(edition: Edition, written: tuple[Path, ...]) -> None:
    with duckdb.connect(str(edition.workspace.settings.warehouse), read_only=True) as mart:
        expected = mart.sql(RATES).pl()
        n_rows = mart.execute("SELECT count(*) FROM fct_intervals").fetchall()[0][0]
    assert expected.height > n_rows > 0
    assert same(read_back(written[0], "Extract", "Extract").cast(dict(expected.schema)), expected)


def test_every_mart_is_a_table_with_its_rows(edition: Edition, written: tuple[Path, ...]) -> None:
    read = pantab.frames_from_hyper(written[2], return_type="pyarrow")
    found = {".".join(str(part).strip('"') for part in name): rows for name, rows in read.items()}
    with duckdb.connect(str(edition.workspace.settings.warehouse), read_only=True) as mart:
        names = [row[0] for row in mart.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        assert found.keys() == {f"marts.{name}" for name in names}
        for name in names:
            expected, own = mart.sql(f'SELECT * FROM "{name}"').pl(), pl.from_arrow(found[f"marts.{name}"])
            assert isinstance(own, pl.DataFrame)
            assert own.columns == expected.columns
            plain = [column for column, kind in expected.schema.items() if not kind.is_nested()]
            kinds = {column: expected.schema[column] for column in plain}
            assert same(own.select(plain).cast(kinds), expected.select(plain))


def test_the_data_source_names_its_extract_and_columns(written: tuple[Path, ...]) -> None:
    with zipfile.ZipFile(written[1]) as package:
        assert package.namelist() == ["rates.tds", "Data/rates.hyper"]
        assert package.read("Data/rates.hyper") == written[0].read_bytes()
        root = ElementTree.fromstring(package.read("rates.tds"))
    assert root.get("version") == "18.1"
    (inner,) = root.findall("connection/named-connections/named-connection/connection")
    assert (inner.get("class"), inner.get("dbname"), inner.get("authentication")) == (
        "hyper",
        "Data/rates.hyper",
        "auth-none",
    )
    named = [str(column.get("name")).strip("[]") for column in root.findall("column")]
    assert named == read_back(written[0], "Extract", "Extract").columns


def test_a_missing_extra_is_named(edition: Edition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pantab":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PublishingError, match=r"cv-quality\[tableau\]"):
        write_tableau(edition, tmp_path)
