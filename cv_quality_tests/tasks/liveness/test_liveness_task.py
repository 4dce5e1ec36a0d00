"""Liveness from its drops to its metric tables, as devices recorded it."""

from html import unescape
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cv_quality.digest import read_digest
from cv_quality.drops.tables import QUARANTINE_VALIDATE
from cv_quality.errors import RegistryError
from cv_quality.exploration import Explorer
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import LocalStore
from cv_quality.metrics.results import percent
from cv_quality.publishing.builds_page import read_histories, write_builds_page
from cv_quality.publishing.editions import read_edition
from cv_quality.publishing.explorer import EXPLORER
from cv_quality.publishing.products import chosen_products
from cv_quality.publishing.publish import publish
from cv_quality.publishing.tableau import RATES
from cv_quality.runner import run_due
from cv_quality.tasks import TASKS
from cv_quality.tasks.ingest import LIVENESS_INGEST
from cv_quality.tasks.liveness.populations import PASSED
from cv_quality.tasks.liveness.tables import LIVENESS_RATES, PRESENTATION_OUTCOMES
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.tasks.root_causes.slices import read_slices
from cv_quality.tasks.root_causes.tables import SLICE_SEARCHES
from cv_quality.text import span
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import quietly
from cv_quality_tests.drops.small_drops import START, UNTIL
from cv_quality_tests.reports.browsing import chromium, offline_page
from cv_quality_tests.tasks.liveness.presented import BUILD, DROP, Event, deliver, open_lab, presentations, run_all


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One drop taken in, judged, measured, searched and reported."""
    workspace = open_lab(tmp_path_factory.mktemp("lab"), entry="profiles: [android-class-3]\n")
    deliver(workspace, list(presentations()))
    assert all(result.passed for result in run_all(workspace, (*LIVENESS.stages, LIVENESS.stage("report"))))
    return workspace


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


def test_page_has_the_whole_system_and_the_profile_with_its_verdict(measured: Workspace) -> None:
    text = measured.report_path(BUILD).read_text()
    for section in ("release", "system", "profiles"):
        assert f'<section id="{section}"' in text
    assert '<section id="policies"' not in text
    assert "What decided each presentation: bona fide:" in text
    assert "android-class-3: Insufficient" in text
    assert "cannot be released on these data yet" in read_edition(measured, BUILD).briefing.headline
    assert "2 have too little data" in read_edition(measured, BUILD).briefing.impact.text


def test_entry_with_an_unknown_profile_is_refused_with_the_near_one(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path, entry="profiles: [android-class3]\n")
    with pytest.raises(RegistryError, match="did you mean android-class-3"):
        workspace.registry.entry(BUILD)


@pytest.mark.nightly
def test_rates_are_a_metric_table_of_the_warehouse(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path)
    deliver(workspace, list(presentations()))
    done = run_due(workspace, track=quietly, tasks=TASKS)
    assert done.succeeded, done.refused
    with duckdb.connect(str(workspace.settings.warehouse), read_only=True) as warehouse:
        sql = "SELECT numerator, denominator, n_subjects FROM fct_liveness_rates WHERE metric = 'apcer' AND species = "
        assert warehouse.execute(f"{sql}'print' AND dimension = 'all'").fetchall() == [(0, 48, 12)]
        of_masks = f"SELECT numerator, denominator FROM ({RATES}) WHERE metric = 'apcer' AND species = 'mask'"
        assert warehouse.execute(f"{of_masks} AND dimension = 'all'").fetchall() == [(24, 36)]
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
        ({"event_id": "x", "is_device_live": False, "is_device_match": True}, "match_without_liveness"),
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
    names = ["page", "brief", "deck", "explorer", "message", "tickets", "evidence"]
    publication = publish(edition, chosen_products(names), LocalStore(str(tmp_path)))
    assert {file.product for file in publication.files} == set(names)
    message = (tmp_path / publication.name / "message" / "message.txt").read_text()
    assert percent(edition.briefing.changes[0].pair.build.value) in message


def test_causes_are_read_and_shown_as_those_of_every_task(measured: Workspace) -> None:
    text = measured.report_path(BUILD).read_text()
    edition = read_edition(measured, BUILD)
    slices = read_slices(measured.lake, BUILD, PASSED.name)
    assert [cause.where for cause in edition.briefing.causes] == slices
    assert all(f'id="slice-{rank}"' in text for rank, _ in enumerate(slices, start=1))
    assert "live people taken for an attack" in text
    searches = measured.lake.read(SLICE_SEARCHES, TableKey(build=BUILD)).filter(outcome=PASSED.name)
    assert searches["conclusion"].item() in unescape(text)


def test_builds_of_liveness_are_on_the_page_over_all_builds(measured: Workspace, tmp_path: Path) -> None:
    write_builds_page(measured, LocalStore(str(tmp_path)), (), tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "Attacks of the worst species taken for a live person (APCER)" in text
    (history,) = read_histories(measured)
    assert [(row.build, row.n_units) for row in history.builds] == [(BUILD, 48 * 3)]
    assert [trend.rates[0][1].numerator for trend in history.trends] == [24, 12, 6, 0, 6]


def test_a_digest_counts_the_rows_that_validation_rejects(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path)
    wrong: Event = {"event_id": "x", "presented": "attack", "artefact_id": "m"}
    deliver(workspace, [*presentations(), wrong])
    assert all(result.passed for result in run_all(workspace, LIVENESS_INGEST))
    (line,) = read_digest(workspace, START.date(), UNTIL.date()).drops
    assert line.startswith(f"{DROP}: {BUILD} at lab")
    assert line.endswith(", 1 set aside")


@pytest.mark.parametrize(("kind", "metric", "species"), [("attack", "apcer", "mask"), ("bona_fide", "bpcer", "all")])
def test_the_explorer_tells_the_rates_of_the_mart(
    measured: Workspace, tmp_path: Path, kind: str, metric: str, species: str
) -> None:
    (row,) = rates(measured).filter(metric=metric, species=species, dimension="all").to_dicts()
    (path,) = EXPLORER.write(read_edition(measured, BUILD), tmp_path)
    with chromium() as browser, offline_page(browser) as (page, complaints):
        page.goto(f"{path.as_uri()}#kind={kind}")
        page.wait_for_selector("html[data-ready=yes]")
        assert page.inner_text("#rate") == percent(row["value"])
        assert page.inner_text("#interval") == f"95 % interval {span(row['low'], row['high'], words=percent)}"
        assert page.locator("#cards img").count() == 0
        page.evaluate(f"location.hash = 'kind={kind}&failed=true'")
        page.wait_for_selector("#failed-true:checked")
        page.wait_for_selector("html[data-ready=yes]")
        question = page.text_content("#sql") or ""
    assert Explorer(measured).frame(question)["is_attack"].to_list() == [kind == "attack"] * row["numerator"]
    assert not complaints
