"""Liveness from its drops to its metric tables, as devices recorded it."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cv_quality.drops.tables import QUARANTINE_VALIDATE
from cv_quality.errors import RegistryError
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import LocalStore
from cv_quality.metrics.results import percent
from cv_quality.publishing.editions import read_edition
from cv_quality.publishing.products import chosen_products
from cv_quality.publishing.publish import publish
from cv_quality.runner import run_due, run_stage
from cv_quality.stage import Stage, StageResult
from cv_quality.tasks import TASKS
from cv_quality.tasks.ingest import LIVENESS_INGEST
from cv_quality.tasks.liveness.tables import LIVENESS_RATES, PRESENTATION_OUTCOMES
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import quietly
from cv_quality_tests.tasks.liveness.presented import BUILD, DROP, Event, deliver, open_lab, presentations


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One drop taken in, judged, measured, searched and reported."""
    workspace = open_lab(tmp_path_factory.mktemp("lab"))
    deliver(workspace, list(presentations()))
    assert all(result.passed for result in run_all(workspace))
    return workspace


def run_all(workspace: Workspace, stages: Sequence[Stage] = LIVENESS.stages) -> list[StageResult]:
    """Run stages of the task for the drop and its build, in order, up to the first that its gate refuses."""
    keys = {"drop": TableKey(drop=DROP), "build_drop": TableKey(build=BUILD, drop=DROP), "build": TableKey(build=BUILD)}
    results: list[StageResult] = []
    for stage in stages:
        if results and not results[-1].passed:
            break
        results.append(run_stage(workspace, LIVENESS, stage, keys[stage.key]))
    return results


def rates(workspace: Workspace) -> pl.DataFrame:
    return workspace.lake.read(LIVENESS_RATES, TableKey(build=BUILD))


def counted(workspace: Workspace, **where: str) -> tuple[int, int]:
    row = rates(workspace).filter(**{"dimension": "all", "level": "all", **where}).row(0, named=True)
    return row["numerator"], row["denominator"]


def test_species_have_their_counts_and_the_worst_is_marked(measured: Workspace) -> None:
    assert counted(measured, metric="apcer", species="mask") == (24, 36)
    assert counted(measured, metric="apcer", species="print") == (0, 48)
    assert counted(measured, metric="apnrr", species="mask") == (12, 48)
    assert counted(measured, metric="iapar", species="mask") == (12, 48)
    assert counted(measured, metric="bpcer", species="all") == (6, 48)
    assert counted(measured, metric="frr", species="all") == (6, 48)
    worst = rates(measured).filter(pl.col("metric") == "apcer", pl.col("dimension") == "all", "is_worst")
    assert worst["species"].to_list() == ["mask"]
    assert set(rates(measured).filter(metric="apcer")["unit"]) == {"artefact"}


def test_rates_are_broken_down_by_light(measured: Workspace) -> None:
    by_light = {"dimension": "illuminance_band", "metric": "apcer", "species": "mask"}
    assert counted(measured, **by_light, level="<10") == (24, 24)
    assert counted(measured, **by_light, level="100-1000") == (0, 12)


def test_page_says_the_worst_species_and_its_counts(measured: Workspace) -> None:
    text = measured.report_path(BUILD).read_text()
    assert "The worst species, mask, is taken for bona fide in 66.7 %" in text
    assert text.index("24 / 36") < text.index("0 / 48") < text.index('<section id="data"')
    assert "12.5 % of people are rejected" in text


@pytest.mark.nightly
def test_rates_are_a_metric_table_of_the_warehouse(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path)
    deliver(workspace, list(presentations()))
    done = run_due(workspace, track=quietly, tasks=TASKS)
    assert done.succeeded, done.refused
    with duckdb.connect(str(workspace.settings.warehouse), read_only=True) as warehouse:
        sql = "SELECT numerator, denominator, n_subjects FROM fct_liveness_rates WHERE metric = 'apcer' AND species = "
        assert warehouse.execute(f"{sql}'print' AND dimension = 'all'").fetchall() == [(0, 48, 12)]
    assert run_due(workspace, track=quietly, tasks=TASKS).results == []


def test_score_decides_at_the_threshold_of_the_entry_where_no_decision_was_logged(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path, entry="decision_threshold: 0.5\n")
    events: list[Event] = [
        {**event, "is_device_live": None, "pad_score": 0.5 if event["is_device_live"] else 0.4}
        for event in presentations()
    ]
    deliver(workspace, events)
    assert all(result.passed for result in run_all(workspace))
    assert counted(workspace, metric="apcer", species="mask") == (24, 36)
    assert counted(workspace, metric="bpcer", species="all") == (6, 48)


def test_what_is_neither_decided_nor_scored_is_refused_by_the_gate(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path)
    deliver(workspace, [{**event, "is_device_live": None, "is_device_match": None} for event in presentations()])
    assert [result.stage for result in run_all(workspace) if not result.passed] == ["judge_presentations"]
    outcomes = workspace.lake.read(PRESENTATION_OUTCOMES, TableKey(build=BUILD, drop=DROP))
    assert set(outcomes["outcome"]) == {"undecided", "no response"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event_id": "b1", "pai_species": "mask"}, "bona_fide_artefact"),
        ({"event_id": "x", "presented": "attack", "artefact_id": "m"}, "attack_without_species"),
        (
            {"event_id": "x", "presented": "attack", "pai_species": "print", "artefact_id": "mask-0"},
            "mixed_artefact",
        ),
        ({"event_id": "x", "response": "non_response", "is_device_live": True}, "decision_without_response"),
    ],
)
def test_presentation_that_contradicts_itself_is_quarantined(tmp_path: Path, change: Event, reason: str) -> None:
    workspace = open_lab(tmp_path)
    events = list(presentations())
    kept = [event for event in events if event["event_id"] != change["event_id"]]
    deliver(workspace, [*kept, change])
    assert all(result.passed for result in run_all(workspace, LIVENESS_INGEST))
    rejected = workspace.lake.read(QUARANTINE_VALIDATE, TableKey(drop=DROP))
    assert rejected.select("event_kind", "event_id", "reason").rows() == [("presentation", change["event_id"], reason)]


def test_a_build_that_says_neither_models_nor_recorded_is_refused_with_what_to_do(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path)
    path = tmp_path / "registry" / f"{BUILD}.yaml"
    path.write_text(path.read_text().replace("recorded: true", "recorded: false"))
    with pytest.raises(RegistryError, match="expected 'models', or 'recorded: true'"):
        workspace.registry.entry(BUILD)


def test_the_briefing_leads_with_the_worst_species_and_its_figures_are_rows(measured: Workspace) -> None:
    briefing = read_edition(measured, BUILD).briefing
    rows = measured.lake.read(LIVENESS_RATES, TableKey(build=BUILD))
    attacks = rows.filter(metric="apcer", dimension="all").sort("value", descending=True, nulls_last=True)
    worst = attacks.row(0, named=True)
    assert worst["species"] in briefing.headline
    assert percent(worst["value"]) in briefing.impact.text
    assert briefing.changes
    for change in briefing.changes:
        for figure in change.figures:
            chosen = rows.filter(*(pl.col(name) == value for name, value in figure.where.items()))
            assert chosen["value"].to_list() == [figure.rate.value]
    assert len(briefing.headline.split()) <= 25


def test_a_liveness_build_is_published(measured: Workspace, tmp_path: Path) -> None:
    edition = read_edition(measured, BUILD)
    names = ["page", "brief", "deck", "message", "tickets", "evidence"]
    publication = publish(edition, chosen_products(names), LocalStore(str(tmp_path)))
    assert {file.product for file in publication.files} == set(names)
    message = (tmp_path / publication.name / "message" / "message.txt").read_text()
    assert percent(edition.briefing.changes[0].pair.build.value) in message
