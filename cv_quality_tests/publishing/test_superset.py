"""The dashboard for Superset: its parts hang together, and its certified metrics are the numbers of the mart."""

import os
import sqlite3
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from cv_quality.publishing.product import Edition
from cv_quality.publishing.superset.bundle import ROOT, write_bundle
from cv_quality.publishing.superset.dashboard import CHARTS, FILTERS, METRICS, Metric
from cv_quality_tests.publishing.test_publish import edition

__all__ = ["edition"]

SUPERSET = os.environ.get("SUPERSET_PROGRAM", "")
"""The program of a Superset in an environment of its own; without one it is not run."""


@pytest.fixture(scope="module")
def warehouse(edition: Edition) -> Path:
    return edition.workspace.settings.warehouse


@pytest.fixture(scope="module")
def bundle(warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("superset") / "superset.zip"
    write_bundle(warehouse, path)
    return path


@pytest.fixture(scope="module")
def parts(bundle: Path) -> dict[str, Any]:
    with zipfile.ZipFile(bundle) as opened:
        return {name.removeprefix(f"{ROOT}/"): yaml.safe_load(opened.read(name)) for name in opened.namelist()}


def of_kind(parts: dict[str, Any], folder: str) -> list[Any]:
    return [part for name, part in parts.items() if name.startswith(f"{folder}/")]


def test_every_uuid_that_is_named_is_there(parts: dict[str, Any]) -> None:
    (database,), (dashboard,) = of_kind(parts, "databases"), of_kind(parts, "dashboards")
    datasets = {item["uuid"] for item in of_kind(parts, "datasets")}
    charts = {item["uuid"]: item["dataset_uuid"] for item in of_kind(parts, "charts")}
    assert {item["database_uuid"] for item in of_kind(parts, "datasets")} == {database["uuid"]}
    assert set(charts.values()) <= datasets
    placed = {item["meta"]["uuid"] for item in dashboard["position"].values() if str(item).find("chartId") > 0}
    assert placed == charts.keys()
    targets = [item["targets"][0] for item in dashboard["metadata"]["native_filter_configuration"]]
    assert {item["datasetUuid"] for item in targets} <= datasets


def test_filters_are_build_baseline_drop_device_and_condition(parts: dict[str, Any]) -> None:
    (dashboard,) = of_kind(parts, "dashboards")
    filters = dashboard["metadata"]["native_filter_configuration"]
    assert [item["name"] for item in filters] == [item.title for item in FILTERS]
    assert all(item["description"] for item in filters)


def test_the_database_is_opened_read_only(parts: dict[str, Any], warehouse: Path) -> None:
    (database,) = of_kind(parts, "databases")
    assert database["sqlalchemy_uri"] == f"duckdb:///{warehouse}"
    assert database["extra"]["engine_params"]["connect_args"] == {"read_only": True}
    assert not database["allow_dml"]


def test_columns_are_those_of_the_warehouse_with_their_meaning(parts: dict[str, Any], warehouse: Path) -> None:
    with duckdb.connect(str(warehouse), read_only=True) as mart:
        for dataset in of_kind(parts, "datasets"):
            found = {item["column_name"]: item["description"] for item in dataset["columns"]}
            expected = mart.execute(
                "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = ?", [dataset["table_name"]]
            ).fetchall()
            assert found == dict(expected)
            assert all(found.values())


def test_charts_name_columns_and_metrics_that_exist(warehouse: Path) -> None:
    with duckdb.connect(str(warehouse), read_only=True) as mart:
        for chart in CHARTS:
            names = ", ".join(f'"{name}"' for name in (*chart.columns, *chart.order))
            mart.execute(f'SELECT {names} FROM "{chart.table}" WHERE {chart.where or "true"}')
            assert not chart.metric or (chart.table, chart.metric) in {(item.table, item.name) for item in METRICS}


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric.name in ("value", "low", "high")])
def test_a_certified_metric_is_the_value_of_the_mart(metric: Metric, warehouse: Path) -> None:
    one = "build_id, model_build_id, metric, dimension, level"
    with duckdb.connect(str(warehouse), read_only=True) as mart:
        found = mart.sql(f"SELECT {one}, {metric.expression} FROM {metric.table} GROUP BY ALL ORDER BY ALL").fetchall()
        assert found == mart.sql(f"SELECT {one}, {metric.name} FROM {metric.table} ORDER BY ALL").fetchall()


def test_rates_of_drops_add_up_and_several_rates_are_none(warehouse: Path) -> None:
    (rate,) = (metric.expression for metric in METRICS if metric.table == "fct_attempt_rates")
    with duckdb.connect(str(warehouse), read_only=True) as mart:
        ((several,),) = mart.sql(f"SELECT {rate} FROM fct_attempt_rates").fetchall()
        assert several is None
        per_build = mart.sql(
            f"SELECT build_id, {rate} FROM fct_attempt_rates WHERE metric = 'frr' AND dimension = 'all' "
            "AND build_id = model_build_id GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        assert (
            per_build
            == mart.sql(
                "SELECT build_id, value FROM fct_intervals WHERE metric = 'frr' AND dimension = 'all' "
                "AND build_id = model_build_id ORDER BY ALL"
            ).fetchall()
        )


def test_the_same_warehouse_makes_the_same_bundle(bundle: Path, warehouse: Path, tmp_path: Path) -> None:
    write_bundle(warehouse, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


@pytest.mark.nightly
@pytest.mark.skipif(not SUPERSET, reason="not run: SUPERSET_PROGRAM names no Superset")
def test_superset_takes_the_bundle_twice_without_change(bundle: Path, tmp_path: Path, parts: dict[str, Any]) -> None:
    config = tmp_path / "superset_config.py"
    config.write_text(f"SECRET_KEY = 'x' * 42\nSQLALCHEMY_DATABASE_URI = 'sqlite:///{tmp_path}/superset.db'\n")
    environment = {**os.environ, "SUPERSET_CONFIG_PATH": str(config), "SUPERSET_HOME": str(tmp_path), "PYTHONPATH": ""}

    def superset(*arguments: str) -> None:
        subprocess.run([SUPERSET, *arguments], env=environment, check=True, capture_output=True)

    superset("db", "upgrade")
    names = ["--username", "admin", "--firstname", "a", "--lastname", "b", "--email", "a@example.org"]
    superset("fab", "create-admin", *names, "--password", "admin")
    superset("import-dashboards", "-p", str(bundle), "-u", "admin")
    first = _state(tmp_path / "superset.db")
    superset("import-dashboards", "-p", str(bundle), "-u", "admin")
    assert _state(tmp_path / "superset.db") == first
    assert len(first["slices"]) == len(of_kind(parts, "charts"))
    assert len(first["dashboards"]) == len(first["dbs"]) == 1


def _state(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What is stored but for when, and by which row of a link."""
    with sqlite3.connect(path) as opened:
        opened.row_factory = sqlite3.Row
        tables = ("dbs", "tables", "table_columns", "sql_metrics", "slices", "dashboards")
        found = {name: opened.execute(f"SELECT * FROM {name} ORDER BY id").fetchall() for name in tables}
        return {name: [_without_time(dict(row)) for row in rows] for name, rows in found.items()}


def _without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("changed_on", "last_saved_at")}
