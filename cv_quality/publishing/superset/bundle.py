"""Writes the dashboard as the ZIP file that `superset import-dashboards` reads, the same bytes for the same tables.

Its parts refer to each other by UUIDs that follow from their names, so that importing again replaces and adds nothing.
Tables without a row have no chart: a later bundle adds it.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from cv_quality.errors import NothingToPublish
from cv_quality.lake.store import atomic_path
from cv_quality.publishing.marts import Mart, MartColumn, read_marts
from cv_quality.publishing.product import Edition, Product
from cv_quality.publishing.superset.dashboard import CHARTS, FILTERS, METRICS, Chart, Filter, Metric

NAMESPACE = UUID("6d2bd2a6-5a3e-5b0e-9a1f-7a0c1f1f9c55")
DATABASE, TITLE, SLUG = "cv_quality warehouse", "cv_quality: builds", "cv-quality"
ROOT = "dashboard_export_cv_quality"
"""Superset wants one folder around all files, and ignores its name."""
CERTIFIED_BY = "cv_quality"
ROWS_SHOWN = 10_000
HEIGHT = 50
NUMBERS = ".4~g"
"""How Superset writes numbers that are no counts: four digits, whatever their size."""
WRITTEN = "2026-01-01T00:00:00+00:00"
"""Superset requires a time of export; the bytes must not depend on it."""
Description = dict[str, Any]
Tables = Mapping[str, Mart]


def write_superset(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write the bundle over the whole warehouse.

    Args:
        edition: whose deployment it is.
        folder: where to.

    Raises:
        PublishingError: the warehouse is not there.
    """
    bundle = folder / "superset.zip"
    with atomic_path(bundle) as temporary:
        write_bundle(edition.workspace.settings.warehouse, temporary)
    return (bundle,)


SUPERSET = Product("superset", "Dashboard for Superset", write_superset)


def write_bundle(warehouse: Path, target: Path) -> None:
    """Write the bundle over a warehouse.

    Args:
        warehouse: Superset opens it, read-only, under this path.
        target: the ZIP file.

    Raises:
        PublishingError: the warehouse is not there.
    """
    import yaml

    files = bundle_files(warehouse)
    with zipfile.ZipFile(target, "w") as bundle:
        for name, content in files.items():
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            bundle.writestr(zipfile.ZipInfo(f"{ROOT}/{name}"), text, zipfile.ZIP_DEFLATED)


def bundle_files(warehouse: Path) -> dict[str, Description]:
    """Describe everything in the bundle, by the path of its file.

    Raises:
        PublishingError: the warehouse is not there.
        NothingToPublish: it has no row that a chart shows.
    """
    tables = {mart.name: mart for mart in read_marts(warehouse)}
    charts = [chart for chart in CHARTS if chart.table in tables and tables[chart.table].n_rows]
    if not charts:
        raise NothingToPublish("the metric tables have no row that its charts show")
    filters = [item for item in FILTERS if item.table in {chart.table for chart in charts}]
    shown = dict.fromkeys(chart.table for chart in charts)
    return {
        "metadata.yaml": {"version": "1.0.0", "type": "Dashboard", "timestamp": WRITTEN},
        "databases/cv_quality.yaml": _database(warehouse),
        **{f"datasets/cv_quality/{name}.yaml": _dataset(tables[name]) for name in shown},
        **{
            f"charts/{_file(chart)}.yaml": _chart(chart, n, tables[chart.table])
            for n, chart in enumerate(charts, start=1)
        },
        "dashboards/cv_quality.yaml": _dashboard(charts, filters, tables),
    }


def _uuid(*of: str) -> str:
    return str(uuid5(NAMESPACE, "/".join(of)))


def _file(chart: Chart) -> str:
    return "_".join("".join(letter if letter.isalnum() else " " for letter in chart.title.lower()).split())


def _database(warehouse: Path) -> Description:
    return {
        "database_name": DATABASE,
        "sqlalchemy_uri": f"duckdb:///{warehouse.absolute()}",
        "cache_timeout": None,
        "expose_in_sqllab": True,
        "allow_run_async": False,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "allow_file_upload": False,
        "extra": {"engine_params": {"connect_args": {"read_only": True}}, "allows_virtual_table_explore": True},
        "uuid": _uuid("database"),
        "version": "1.0.0",
    }


def _dataset(table: Mart) -> Description:
    return {
        "table_name": table.name,
        "main_dttm_col": None,
        "description": table.meaning,
        "default_endpoint": None,
        "offset": 0,
        "cache_timeout": None,
        "catalog": None,
        "schema": "main",
        "sql": None,
        "params": None,
        "template_params": None,
        "filter_select_enabled": True,
        "fetch_values_predicate": None,
        "extra": {"certification": _certified("made by the gates' chain, tested when the warehouse is built")},
        "normalize_columns": False,
        "always_filter_main_dttm": False,
        "uuid": _uuid("dataset", table.name),
        "metrics": [_metric(metric) for metric in METRICS if metric.table == table.name],
        "columns": [_column(column) for column in table.columns],
        "version": "1.0.0",
        "database_uuid": _uuid("database"),
    }


def _certified(details: str) -> Description:
    return {"certified_by": CERTIFIED_BY, "details": details}


def _metric(metric: Metric) -> Description:
    return {
        "metric_name": metric.name,
        "verbose_name": metric.title,
        "metric_type": None,
        "expression": metric.expression,
        "description": metric.meaning,
        "d3format": metric.number_format,
        "currency": None,
        "extra": {"certification": _certified(metric.meaning)},
        "warning_text": None,
    }


def _column(column: MartColumn) -> Description:
    return {
        "column_name": column.name,
        "verbose_name": None,
        "is_dttm": column.kind.startswith("TIMESTAMP"),
        "is_active": True,
        "type": column.kind,
        "advanced_data_type": None,
        "groupby": True,
        "filterable": True,
        "expression": None,
        "description": column.meaning,
        "python_date_format": None,
        "extra": None,
    }


def _chart(chart: Chart, number: int, table: Mart) -> Description:
    return {
        "slice_name": chart.title,
        "description": chart.meaning,
        "certified_by": CERTIFIED_BY,
        "certification_details": f"of the table {chart.table}, row by row" if chart.kind == "table" else chart.meaning,
        "viz_type": "table" if chart.kind == "table" else "echarts_timeseries_bar",
        "params": {**_shown(chart, table), "slice_id": number, "dashboards": []},
        "query_context": None,
        "cache_timeout": None,
        "uuid": _uuid("chart", chart.title),
        "version": "1.0.0",
        "dataset_uuid": _uuid("dataset", chart.table),
    }


def _shown(chart: Chart, table: Mart) -> Description:
    filters = [{"clause": "WHERE", "expressionType": "SQL", "sqlExpression": chart.where}] if chart.where else []
    common = {"adhoc_filters": filters, "row_limit": ROWS_SHOWN, "extra_form_data": {}}
    if chart.kind == "table":
        return {
            "viz_type": "table",
            "query_mode": "raw",
            "all_columns": list(chart.columns),
            "order_by_cols": [json.dumps([column, True]) for column in chart.order],
            "include_search": True,
            "server_pagination": False,
            "page_length": 20,
            "table_timestamp_format": "smart_date",
            # Null is a word in the cell, never 0: the reason stands in its row.
            "show_cell_bars": False,
            "column_config": {
                column.name: {"d3NumberFormat": NUMBERS, "d3SmallNumberFormat": NUMBERS}
                for column in table.columns
                if column.kind == "DOUBLE" and column.name in chart.columns
            },
            **common,
        }
    axis, *series = chart.columns
    return {
        "viz_type": "echarts_timeseries_bar",
        "x_axis": axis,
        "x_axis_sort_asc": True,
        "xAxisForceCategorical": True,
        "metrics": [chart.metric],
        "groupby": series,
        "orientation": "vertical",
        "show_legend": True,
        "show_value": axis == "build_id",
        "xAxisLabelRotation": 0 if axis == "build_id" else 45,
        "y_axis_format": ".2%",
        "rich_tooltip": True,
        **common,
    }


def _dashboard(charts: Sequence[Chart], filters: Sequence[Filter], tables: Tables) -> Description:
    return {
        "dashboard_title": TITLE,
        "description": "Every build's rates with intervals, changes, causes, verdicts and data quality",
        "css": "",
        "slug": SLUG,
        "certified_by": CERTIFIED_BY,
        "certification_details": "every number is a row of the warehouse",
        "published": True,
        "uuid": _uuid("dashboard"),
        "position": _position(charts),
        "metadata": {
            "native_filter_configuration": [_filter(item, charts, tables) for item in filters],
            "timed_refresh_immune_slices": [],
            "color_scheme": "",
            "refresh_frequency": 0,
            "cross_filters_enabled": True,
        },
        "version": "1.0.0",
    }


def _position(charts: Sequence[Chart]) -> Description:
    """Lay the charts out in rows, as many side by side as fit into the grid's twelve columns."""
    rows: list[list[tuple[int, Chart]]] = []
    for number, chart in enumerate(charts, start=1):
        if not rows or sum(item.width for _n, item in rows[-1]) + chart.width > 12:
            rows.append([])
        rows[-1].append((number, chart))
    ids = [f"ROW-{n}" for n in range(1, len(rows) + 1)]
    placed: Description = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": ids, "parents": ["ROOT_ID"]},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": TITLE}},
    }
    for row_id, row in zip(ids, rows, strict=True):
        placed[row_id] = {
            "type": "ROW",
            "id": row_id,
            "children": [f"CHART-{number}" for number, _chart in row],
            "parents": ["ROOT_ID", "GRID_ID"],
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        }
        for number, chart in row:
            placed[f"CHART-{number}"] = _placed(number, chart, row_id)
    return placed


def _placed(number: int, chart: Chart, row_id: str) -> Description:
    return {
        "type": "CHART",
        "id": f"CHART-{number}",
        "children": [],
        "parents": ["ROOT_ID", "GRID_ID", row_id],
        "meta": {
            "width": chart.width,
            "height": HEIGHT,
            "chartId": number,
            "sliceName": chart.title,
            "uuid": _uuid("chart", chart.title),
        },
    }


def _filter(item: Filter, charts: Sequence[Chart], tables: Tables) -> Description:
    excluded = [
        number
        for number, chart in enumerate(charts, start=1)
        if item.column in chart.unfiltered or item.column not in tables[chart.table].meanings()
    ]
    return {
        "id": f"NATIVE_FILTER-{item.column}",
        "name": item.title,
        "filterType": "filter_select",
        "type": "NATIVE_FILTER",
        "targets": [{"column": {"name": item.column}, "datasetUuid": _uuid("dataset", item.table)}],
        "controlValues": {
            "enableEmptyFilter": False,
            "multiSelect": True,
            "defaultToFirstItem": False,
            "searchAllOptions": False,
            "inverseSelection": False,
        },
        "defaultDataMask": {"extraFormData": {}, "filterState": {}, "ownState": {}},
        "cascadeParentIds": [],
        "scope": {"rootPath": ["ROOT_ID"], "excluded": excluded},
        "description": tables[item.table].meanings()[item.column],
    }
