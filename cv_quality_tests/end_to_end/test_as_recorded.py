"""Two builds as recorded, from drops without frames to pages: the second is worse in the dark, and it is told."""

import csv
import re
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.lake.lake import TableKey
from cv_quality.runner import run_due
from cv_quality.tasks.release.tables import RELEASE_VERDICTS
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION
from cv_quality.tasks.verification.evaluation import NO_PAIRS
from cv_quality.tasks.verification.tables import DIFFERENCES
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import quietly
from cv_quality_tests.tasks.verification.recorded_drops import (
    BUILD,
    LATER,
    deliver,
    log_lines,
    mixed_attempts,
    open_workspace,
    register,
)
from cv_quality_tests.tasks.verification.test_recorded import counted

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A deployment in which both builds have been reported, each on two drops."""
    workspace = open_workspace(tmp_path_factory.mktemp("recorded"))
    register(workspace)
    register(workspace, LATER, follows=BUILD)
    for day, (build, dark) in enumerate([(BUILD, 0.04), (BUILD, 0.04), (LATER, 0.5), (LATER, 0.5)]):
        deliver(workspace, list(mixed_attempts(seed=day, failing_in_the_dark=dark)), build=build, day=day)
    done = run_due(workspace, track=quietly)
    assert done.succeeded, done.refused
    return workspace


def counts_of(workspace: Workspace, build: str) -> dict[str, tuple[int, int]]:
    drops = [path.name for path in sorted(workspace.settings.home.glob(f"landing/*_{build}_*")) if path.is_dir()]
    assert len(drops) == 2
    lines = [line for drop in drops for line in log_lines(workspace, drop)]
    return counted([line for line in lines if line["kind"] == "attempt"])


def test_the_marts_have_the_counts_of_the_logs_and_say_what_they_are(reported: Workspace) -> None:
    with duckdb.connect(str(reported.settings.warehouse), read_only=True) as warehouse:
        for build in (BUILD, LATER):
            rows = warehouse.execute(
                "SELECT metric, numerator, denominator FROM fct_intervals WHERE build_id = ? AND dimension = 'all'",
                [build],
            ).fetchall()
            assert {metric: counts for metric, *counts in rows} == {
                metric: list(counts) for metric, counts in counts_of(reported, build).items()
            }
        told = warehouse.execute("SELECT build_id, is_recorded, decision_threshold FROM dim_build ORDER BY 1")
        builds = told.fetchall()
        points = warehouse.execute("SELECT DISTINCT fnmr, reason FROM fct_operating_points").fetchall()
    assert builds == [(BUILD, True, 60.0), (LATER, True, 60.0)]
    assert points == [(None, NO_PAIRS)]


def test_the_planted_cause_is_the_first_slice(reported: Workspace) -> None:
    with duckdb.connect(str(reported.settings.warehouse), read_only=True) as warehouse:
        found = warehouse.execute(
            "SELECT build_id, condition FROM fct_failure_slices WHERE finding = 'confirmed' AND outcome = 'frr'"
        ).fetchall()
    assert found == [(LATER, "illuminance_lux <= 8")]


def test_the_change_is_attributed_to_where_it_is(reported: Workspace) -> None:
    rows = reported.lake.read(CHANGE_ATTRIBUTION, TableKey(build=LATER)).sort("part").to_dicts()
    assert {row["comparison"] for row in rows} == {"recorded"}
    whole, dark, rest = rows
    before, after = (counts_of(reported, build)["frr"] for build in (BUILD, LATER))
    assert (whole["failures_before"], whole["attempts_before"]) == before
    assert (whole["failures_after"], whole["attempts_after"]) == after
    assert whole["change"] == pytest.approx(after[0] / after[1] - before[0] / before[1])
    assert dark["condition"] == "illuminance_lux <= 8"
    assert dark["rate_low"] > 0.1
    assert dark["change"] > 0.9 * whole["change"]
    assert rest["change_low"] < 0 < rest["change_high"]


def test_margins_are_held_against_the_baselines_own_drops(reported: Workspace) -> None:
    before, after = (counts_of(reported, build) for build in (BUILD, LATER))
    differences = reported.lake.read(DIFFERENCES, TableKey(build=LATER))
    (frr,) = differences.filter(metric="frr", dimension="all").to_dicts()
    assert frr["baseline_build_id"] == BUILD
    assert frr["difference"] == pytest.approx(after["frr"][0] / after["frr"][1] - before["frr"][0] / before["frr"][1])
    assert reported.lake.read(DIFFERENCES, TableKey(build=BUILD)).is_empty()
    rows = {row["requirement"]: row for row in reported.lake.read(RELEASE_VERDICTS, TableKey(build=LATER)).to_dicts()}
    assert rows["overall"]["baseline_build_id"] == BUILD
    assert (rows["frr"]["verdict"], rows["fta"]["verdict"]) == ("fail", "pass")
    assert (rows["fnmr"]["verdict"], rows["fnmr"]["low"]) == ("insufficient", None)


def test_builds_as_recorded_are_compared_on_their_own_drops(reported: Workspace) -> None:
    environment = {"CVQ_HOME": str(reported.settings.home), "CVQ_REGISTRY": str(reported.settings.registry)}
    found = CliRunner(env=environment).invoke(main, ["compare", BUILD, LATER, "--margin", "frr=0.05"])
    assert found.exit_code == 3, found.output
    assert found.output.startswith(f"{LATER} less {BUILD}, each on its own drops")
    assert "worse by at least" in found.output


def test_the_page_says_that_it_is_as_recorded_and_what_cannot_be(reported: Workspace) -> None:
    page = reported.report_path(LATER).read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for words in (
        "As recorded on the devices: no image was run through a model.",
        "attempts are left out of rates",
        "As recorded on the devices, the FRR rose from 8.",
        "No FNMR at a fixed FMR and no EER",
        "No detection error trade-off",
        "No rates of groups held against each other",
        "No maps, changed conditions or clusters",
        "No pictures: no genuine attempt",
        "No parity: the scores are the devices’ own",
        "no image in the drop",
    ):
        assert words in text, words
    assert "no consent for images" not in text
    errors, trials = counts_of(reported, LATER)["fnmr"]
    assert f"{errors:,} / {trials:,}" in text


def test_the_walk_of_the_docs_leads_from_a_csv_to_a_page(tmp_path: Path) -> None:
    entry = EXAMPLES / "registry-recorded" / "face-1.1.yaml"
    assert entry.read_text() in (EXAMPLES.parent / "recorded.md").read_text()
    environment = {"CVQ_HOME": str(tmp_path), "CVQ_REGISTRY": str(entry.parent), "CVQ_THREADS": "1"}
    cvq = CliRunner(env=environment)
    log, mapping = EXAMPLES / "attempts.csv", EXAMPLES / "attempts.yaml"
    imported = cvq.invoke(main, ["import", "logs", str(log), "--map", str(mapping)])
    assert imported.exit_code == 0, imported.output
    assert "next: `cvq run` evaluates face-1.1 as recorded on its devices" in imported.output
    done = cvq.invoke(main, ["run"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(log.read_text().splitlines(), delimiter=";"))[:-1]  # The last time happens twice.
    kept = [row["Ergebnis"] for row in rows if row["Ergebnis"] != "Abbruch" and row["Art"] == "Person"]
    assert all(row["Nutzer"] == row["Ausweis"] for row in rows)
    page = (tmp_path / "reports" / "face-1.1.html").read_text()
    assert f"{kept.count('abgelehnt')} / {len(kept)}" in page
    assert "As recorded on the devices" in page
