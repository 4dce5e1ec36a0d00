"""The explorer of a real deployment: its numbers are those of the mart, its pictures are of people who agreed."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Browser

from cv_quality.drops.consent import read_consents
from cv_quality.lake.lake import TableKey
from cv_quality.metrics.results import percent
from cv_quality.publishing.editions import read_edition
from cv_quality.publishing.explorer import EXPLORER
from cv_quality.publishing.product import Edition
from cv_quality.tasks.verification.tables import INTERVALS
from cv_quality.text import span
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import open_workspace
from cv_quality_tests.reports.browsing import chromium, offline_page

OPTIONS = """
(groups) => groups.flatMap((group) => [...group.querySelectorAll("label")].map((option) => [
  group.id.replace("facet-", ""), ...[".level", ".n", ".share"].map((name) => option.querySelector(name).textContent),
]))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def published(history: History, tmp_path_factory: pytest.TempPathFactory) -> tuple[Edition, Path]:
    """The explorer of a real deployment's build."""
    edition = read_edition(open_workspace(history.home), "face-1.2")
    (path,) = EXPLORER.write(edition, tmp_path_factory.mktemp("explorer"))
    return edition, path


@pytest.mark.nightly
@pytest.mark.parametrize(("kind", "metric"), [("genuine", "frr"), ("impostor", "far")])
def test_counts_of_every_level_are_those_of_the_mart(
    browser: Browser, published: tuple[Edition, Path], kind: str, metric: str
) -> None:
    edition, path = published
    rates = edition.source.lake.read(INTERVALS, TableKey(build="face-1.2")).filter(
        metric=metric, model_build_id="face-1.2"
    )
    whole = rates.filter(dimension="all").to_dicts()[0]
    with offline_page(browser) as (page, complaints):
        page.goto(f"{path.as_uri()}#kind={kind}")
        page.wait_for_selector("html[data-ready=yes]")
        bounds = span(whole["low"], whole["high"], words=percent)
        assert page.inner_text("#rate") == percent(whole["value"])
        assert page.inner_text("#interval").removesuffix(", too few to be ranked") == f"95 % interval {bounds}"
        page.evaluate("document.querySelectorAll('.facet').forEach((facet) => { facet.open = true; })")
        shown = page.locator(".facet > div").evaluate_all(OPTIONS)
    found = {(facet, level): (n, share) for facet, level, n, share in shown}
    counted = rates.filter(pl.col("dimension") != "all").to_dicts()
    told = {
        (row["dimension"], row["level"]): (f"{row['denominator']:,}", percent(row["value"]))
        for row in counted
        if (row["dimension"], row["level"]) in found
    }
    assert len(told) > 10
    assert {name: found[name] for name in told} == told
    assert not complaints


@pytest.mark.nightly
def test_pictures_of_a_deployment_are_of_subjects_who_agreed(published: tuple[Edition, Path]) -> None:
    edition, path = published
    agreed = read_consents(edition.source.lake).agreed
    table = pl.read_parquet(base64.b64decode(re.findall(r'id="trials">([^<]*)<', path.read_text())[0]))
    pictured = table.filter(pl.col("thumbnail").is_not_null())
    assert pictured.height > 0
    assert set(pictured["subject_id"]) <= agreed
    assert table.filter(~pl.col("subject_id").is_in(sorted(agreed))).height > 0
