"""Every product of builds that are hard to tell of: nothing known, far too much, or labels that steer."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import duckdb
import polars as pl
import pytest
import yaml
from playwright.sync_api import Browser

from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import NothingToPublish, PublishingError
from cv_quality.lake.store import LocalStore
from cv_quality.publishing.explorer import draw_explorer
from cv_quality.publishing.marts import export_marts
from cv_quality.publishing.product import Edition, Product
from cv_quality.publishing.products import chosen_products, is_installed, not_installed
from cv_quality.publishing.publish import publications, publish
from cv_quality.publishing.superset.bundle import ROOT, write_bundle
from cv_quality.publishing.tableau import TABLEAU, write_tableau
from cv_quality.reports.briefing import Briefing
from cv_quality.reports.section import ReportSource
from cv_quality.reports.trials import TrialSlice
from cv_quality.workspace import Workspace
from cv_quality_tests.publishing.briefings import (
    LONG_LABEL,
    RIGHT_TO_LEFT,
    bare_briefing,
    crowded_briefing,
    steering_briefing,
)
from cv_quality_tests.publishing.test_explorer import opened
from cv_quality_tests.publishing.test_publish import edition
from cv_quality_tests.publishing.trials import rows_of, trials_of
from cv_quality_tests.reports.browsing import accessibility_faults, chromium, offline_page

__all__ = ["edition"]

OF_BRIEFING = ("brief", "deck", "message", "tickets", "evidence")
N_SLICES = 200


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.mark.parametrize("name", OF_BRIEFING)
@pytest.mark.parametrize("make", [bare_briefing, crowded_briefing, steering_briefing])
def test_a_product_is_made_of_any_briefing(make: Callable[[], Briefing], name: str, tmp_path: Path) -> None:
    (product,) = chosen_products([name])
    source = SimpleNamespace(modality=SimpleNamespace(name="face"))
    alone = Edition(make(), cast("ReportSource", source), cast("Workspace", None))
    written = product.write(alone, tmp_path)
    assert written
    assert all(path.stat().st_size > 0 for path in written)
    for path in written:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        if path.suffix in {".md", ".txt", ".csv"}:
            assert not set(path.read_text(encoding="utf-8")) & set("\x00\x1b\u202e"), path.name


def crowded_slices() -> tuple[TrialSlice, ...]:
    """Make 200 slices whose names are long, or run from right to left."""
    where = [Slice((Predicate("light_lux", "<=", float(rank)),)) for rank in range(1, N_SLICES + 1)]
    names = [RIGHT_TO_LEFT if rank % 2 else LONG_LABEL for rank in range(N_SLICES)]
    return tuple(TrialSlice(rank, *of, of[1]) for rank, of in enumerate(zip(where, names, strict=True), 1))


@pytest.mark.parametrize("make", [bare_briefing, crowded_briefing, steering_briefing])
def test_the_explorer_takes_200_slices_and_any_briefing(
    browser: Browser, make: Callable[[], Briefing], tmp_path: Path
) -> None:
    trials = trials_of(rows_of(300).with_columns(eyewear=pl.lit("x" * 500)))
    crowded = replace(trials, kinds=(replace(trials.kinds[0], slices=crowded_slices()),))
    with offline_page(browser) as (page, complaints):
        page.set_viewport_size({"width": 420, "height": 900})
        opened(page, draw_explorer(make(), crowded), tmp_path)
        assert page.locator("#slice-options input").count() == N_SLICES
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert accessibility_faults(page) == []
    assert not complaints


@pytest.fixture(scope="module")
def spoiled(edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse in which every rate is insufficient, no cause is confirmed, and levels are long or right to left."""
    path = tmp_path_factory.mktemp("spoiled") / "warehouse.duckdb"
    shutil.copyfile(edition.workspace.settings.warehouse, path)
    with duckdb.connect(str(path)) as mart:
        spoil(mart)
    return path


def spoil(mart: duckdb.DuckDBPyConnection) -> None:
    """Take away what a warehouse knows."""
    mart.execute("DELETE FROM fct_failure_slices")
    mart.execute(
        "UPDATE fct_intervals SET value = NULL, low = NULL, high = NULL, reason = 'insufficient: 1 subject, 2 needed'"
    )
    for level in ("x" * 500, f"'{RIGHT_TO_LEFT}\"; --", "=1+1"):
        mart.execute(
            "INSERT INTO fct_intervals BY NAME SELECT * REPLACE (? AS level) FROM fct_intervals "
            "WHERE dimension = 'all' LIMIT 1",
            [level],
        )


def test_extracts_are_made_of_a_warehouse_that_knows_nothing(spoiled: Path, tmp_path: Path, edition: Edition) -> None:
    write_bundle(spoiled, tmp_path / "superset.zip")
    with zipfile.ZipFile(tmp_path / "superset.zip") as bundle:
        parts = [yaml.safe_load(bundle.read(name)) for name in bundle.namelist()]
        assert any(name.startswith(f"{ROOT}/charts/") for name in bundle.namelist())
    assert all(parts)
    export_marts(spoiled, tmp_path, location="s3://studies/published")
    kept = pl.read_parquet(tmp_path / "fct_intervals" / "fct_intervals.parquet")
    assert {"x" * 500, f"'{RIGHT_TO_LEFT}\"; --", "=1+1"} <= set(kept["level"])
    assert kept["value"].null_count() == kept.height
    if is_installed(TABLEAU):
        workspace = edition.workspace
        changed = replace(workspace, settings=replace(workspace.settings, warehouse=spoiled))
        assert all(path.stat().st_size for path in write_tableau(replace(edition, workspace=changed), tmp_path))


def refusing(name: str) -> Product:
    """Make a product that a build has nothing for."""

    def write(_edition: Edition, _folder: Path) -> tuple[Path, ...]:
        raise NothingToPublish("no trial is handed out")

    return Product(name, "Nothing", write)


def test_what_a_build_has_nothing_for_is_said(edition: Edition, tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    publication = publish(edition, (*chosen_products(["evidence"]), refusing("explorer")), store)
    assert {file.product for file in publication.files} == {"evidence"}
    assert [(item.product, item.reason) for item in publication.left_out] == [("explorer", "no trial is handed out")]
    assert publications(store) == (publication,)
    assert "explorer: no trial is handed out" in (tmp_path / "index.html").read_text()


def test_nothing_but_what_cannot_be_made_is_an_error(edition: Edition, tmp_path: Path) -> None:
    with pytest.raises(PublishingError, match="nothing is published; explorer: no trial is handed out"):
        publish(edition, [refusing("explorer")], LocalStore(str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv_quality.publishing.products.find_spec", lambda _module: None)
    assert not_installed() == {"tableau": "not installed: pip install 'cv-quality[tableau]'"}
    assert "tableau" not in {product.name for product in chosen_products([])}
