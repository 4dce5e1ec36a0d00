"""The Dagster UI in a real browser: a drop arrives, the sensors work it off, and people see, click and backfill.

One `dagster dev` serves the whole module, started as `cvq ui` starts it, on a landing area that is empty at first.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cv_quality_tests.end_to_end.serving import (
    BACKFILL,
    CELL_ASSETS,
    LAUNCH_BACKFILL,
    MATERIALIZED,
    SLOW,
    Answer,
    Ui,
    serving,
)
from cv_quality_tests.reports.browsing import FLAGS
from cv_quality_tests.servers import wait_until

DROP = "2026-08-03_face-1.1_site-a"
GROUPS = (*(f"verification_{phase}" for phase in ("ingest", "score", "measure", "explain", "report")), "marts")
PATIENCE_MS = 60_000
"""What a busy machine may take to show a page."""
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    root = tmp_path_factory.mktemp("ui")
    with serving(root / "home", log=root / "ui.log") as (running, _):
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("not run: no Chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    context.close()


@pytest.fixture(scope="module")
def worked_off(ui: Ui, tiny_landing: Path) -> Answer:
    """The first drop delivered and everything that follows from it done; when things happened, in Unix seconds."""
    completed = ui.deliver(tiny_landing, DROP)
    (ingest,) = ui.wait_for_runs("verification_ingest_drop", count=1)
    cells = ui.wait_for_runs("verification_evaluate_build_on_drop", count=2)
    (report,) = ui.wait_for_runs("verification_report_build", count=1)
    ui.wait_for_runs("verification_draw_maps", count=1)
    return {"completed": completed, "ingest": ingest, "cells": cells, "report": report}


def test_the_graph_shows_every_stage_before_any_drop(ui: Ui, page: Page) -> None:
    page.goto(ui.url("/asset-groups"))
    for group in GROUPS:
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    assert ui.runs() == []


def test_a_completed_drop_starts_one_run_and_ends_in_a_report(ui: Ui, worked_off: Answer) -> None:
    ingest, cells, report = worked_off["ingest"], worked_off["cells"], worked_off["report"]
    assert ingest["partition"] == DROP
    assert {cell["partition"] for cell in cells} == {f"face-1.1|{DROP}", f"face-1.0|{DROP}"}
    assert len(cells) == 2
    assert report["partition"] == "face-1.1"
    assert (ui.home / "reports" / "face-1.1.html").is_file()
    to_request = ingest["creationTime"] - worked_off["completed"]
    to_start, to_report = (
        run[at] - worked_off["completed"] for run, at in ((ingest, "startTime"), (report, "endTime"))
    )
    sys.stderr.write(f"\ndrop complete: run requested {to_request:.1f} s, started {to_start:.1f} s, ")
    sys.stderr.write(f"report {to_report:.1f} s after it\n")


def test_the_runs_are_listed_with_what_launched_them(ui: Ui, page: Page, worked_off: Answer) -> None:
    page.goto(ui.url("/runs"))
    sensors = ("completed_drop_sensor", "validated_drop_sensor", "measured_build_sensor", "reported_build_sensor")
    for name in ("ingest_drop", *sensors):
        text = f"verification_{name}"
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    expect(page.get_by_text(worked_off["ingest"]["runId"][:8]).first).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_have_count(5)


@pytest.mark.usefixtures("worked_off")
@pytest.mark.parametrize(
    ("asset", "check"),
    [
        ("raw_events", "parse_gate"),
        ("validated_attempts", "validate_gate"),
        ("embeddings", "infer_gate"),
        ("comparisons", "compare_gate"),
        ("attempt_outcomes", "measure_gate"),
        ("intervals", "measure_build_gate"),
        ("failure_slices", "slices_gate"),
        ("explanations", "explanations_gate"),
    ],
)
def test_an_assets_page_shows_its_check_passed(ui: Ui, page: Page, asset: str, check: str) -> None:
    page.goto(ui.url(f"/assets/verification/{asset}?view=checks"))
    expect(page.get_by_text(check, exact=True).first).to_be_visible()
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
    expect(page.get_by_text("expectations hold")).to_be_visible()
    page.screenshot(path=ui.home / f"checks-{asset}.png")


def materializations(ui: Ui, asset: str) -> list[Answer]:
    """The materializations of an asset, the latest first."""
    node = ui.ask(MATERIALIZED, {"key": {"path": ["verification", asset]}})["assetNodeOrError"]
    found: list[Answer] = node["assetMaterializations"]
    return found


@pytest.mark.usefixtures("worked_off")
def test_one_partition_is_materialized_by_clicking(ui: Ui, page: Page) -> None:
    before = len(materializations(ui, "raw_events"))
    page.goto(ui.url("/assets/verification/raw_events"))
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="Confirm").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
    page.get_by_role("button", name=re.compile("^Launch (1 run|backfill)$")).click()
    wait_until(
        lambda: len(materializations(ui, "raw_events")) > before, what="the materialization", seconds=SLOW, every=0.5
    )
    assert materializations(ui, "raw_events")[0]["partition"] == DROP


@pytest.mark.usefixtures("worked_off")
def test_a_backfill_scores_two_builds_on_a_drop(ui: Ui, page: Page) -> None:
    cells = [f"{build}|{DROP}" for build in ("face-1.0", "face-1.1")]
    before = len(materializations(ui, "metric_counts"))
    params = {"assetSelection": [{"path": ["verification", name]} for name in CELL_ASSETS], "partitionNames": cells}
    launched = ui.ask(LAUNCH_BACKFILL, {"params": params})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def status() -> str:
        found: str = ui.ask(BACKFILL, {"id": launched["backfillId"]})["partitionBackfillOrError"]["status"]
        assert found in ("REQUESTED", "COMPLETED_SUCCESS"), found
        return found

    seconds = wait_until(lambda: status() == "COMPLETED_SUCCESS", what="the backfill", seconds=SLOW, every=0.5)
    sys.stderr.write(f"\nbackfill of {len(cells)} cells: {seconds:.1f} s\n")
    again = materializations(ui, "metric_counts")[:-before]
    assert sorted(item["partition"] for item in again) == cells
    page.goto(ui.url(f"/runs/b/{launched['backfillId']}"))
    expect(page.get_by_text("Completed").first).to_be_visible()


@pytest.mark.usefixtures("worked_off")
def test_the_graph_shows_what_is_materialized(ui: Ui, page: Page) -> None:
    page.goto(ui.url("/asset-groups"))
    expect(page.get_by_text("verification_report", exact=True).first).to_be_visible()
    page.locator('[data-tooltip="verification_score"]').last.dblclick()
    expect(page.get_by_text("attempt_outcomes", exact=True).first).to_be_visible()
    page.screenshot(path=ui.home / "graph.png")
