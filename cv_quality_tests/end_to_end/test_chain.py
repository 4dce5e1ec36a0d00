"""The whole chain: whatever the way and the order of arrival, equal drops give equal results."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import msgspec
import pytest

from cv_quality.drops.tables import SUBJECTS
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import GateFailed
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.metrics.point_intervals import BY_FAMILY
from cv_quality.publishing.regressions import CauseList, ListedCause, hold_against
from cv_quality.runner import run_due
from cv_quality.simulation.scenario import load_scenario
from cv_quality.simulation.simulate import simulate
from cv_quality.tasks import TASKS, publish_marts
from cv_quality.tasks.root_causes.slices import read_slices
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION, FAILURE_SLICES, SLICE_SEARCHES
from cv_quality.tasks.verification.populations import false_rejects
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    deliver,
    do,
    due_keys,
    fingerprints,
    open_workspace,
    quietly,
    redeliver,
    reports,
    score,
    take_in,
    warehouse_tables,
    with_garbage,
    with_shifted_scores,
    with_shifted_scores_of,
    without_transactions_of_one_subject,
)
from cv_quality_tests.reports.score_pages import words

EXPLAINED = ("attribution", "clusters", "explanations")


def copy_of(home: Path, target: Path) -> Workspace:
    shutil.copytree(home, target)
    return open_workspace(target)


def history_of(workspace: Workspace, build: str) -> dict[str, list[str]]:
    return Freshness(workspace, VERIFICATION).history(build)


def stages_run(workspace: Workspace) -> list[str]:
    done = run_due(workspace, track=quietly)
    assert done.refused == []
    return [f"{result.stage} {result.key}" for result in done.results]


def with_families_of_four(lines: list[bytes]) -> list[bytes]:
    """A log that names the families of its subjects."""
    events = [json.loads(line) for line in lines]
    people = sorted(event["subject_id"] for event in events if event["kind"] == "subject")
    for event in events:
        if event["kind"] == "subject":
            event["family_id"] = f"family-{people.index(event['subject_id']) // 4}"
    return [json.dumps(event).encode() for event in events]


def test_families_that_a_drop_names_reach_the_intervals_of_the_warehouse(history: History, tmp_path: Path) -> None:
    workspace = copy_of(history.home, tmp_path / "families")
    query = "SELECT model_build_id, value, high, n_subjects, method FROM fct_intervals WHERE build_id = 'face-1.2' AND "
    query += "metric = 'frr' AND dimension = 'all' ORDER BY ALL"

    def rates() -> list[tuple[str, float, float, int, str]]:
        with duckdb.connect(str(workspace.settings.warehouse), read_only=True) as connection:
            return connection.execute(query).fetchall()

    before = rates()
    redeliver(workspace, SECOND_DROP, with_families_of_four)
    take_in(workspace, SECOND_DROP)
    for model in ("face-1.2", "face-1.1"):
        score(workspace, model, SECOND_DROP)
    do(workspace, "impostors", "measure_build", build="face-1.2")
    publish_marts(workspace, TASKS)
    subjects = workspace.lake.read(SUBJECTS, TableKey(drop=SECOND_DROP))
    assert subjects["family_id"].n_unique() == -(-subjects.height // 4)
    after = rates()
    assert len(after) == len(before) > 0
    for old, new in zip(before, after, strict=True):
        assert new[:2] == old[:2]
        assert new[3] <= -(-old[3] // 4) + 1
        assert new[4].endswith(BY_FAMILY)
        assert BY_FAMILY not in old[4]


def test_a_corrected_drop_leaves_what_a_lake_that_only_saw_the_correction_holds(
    history: History, tiny_landing: Path, tmp_path: Path
) -> None:
    corrected = copy_of(history.home, tmp_path / "corrected")
    redeliver(corrected, SECOND_DROP, without_transactions_of_one_subject)
    cells = [f"{build}/{SECOND_DROP}" for build in ("face-1.2", "face-1.1")]
    assert stages_run(corrected) == [
        f"parse {SECOND_DROP}",
        f"validate {SECOND_DROP}",
        *(f"{stage} {cell}" for cell in cells for stage in ("infer", "compare", "measure")),
        "impostors face-1.2",
        "measure_build face-1.2",
        "measure_instances face-1.2",
        "release face-1.2",
        "slices face-1.2",
        "attribution face-1.2",
        "clusters face-1.2",
        "marts warehouse",
        "report face-1.2",
        "explanations face-1.2",
        "marts warehouse",
        "report face-1.2",
    ]
    only = copy_of(history.first_home, tmp_path / "only")
    deliver(tiny_landing, SECOND_DROP, to=only)
    redeliver(only, SECOND_DROP, without_transactions_of_one_subject)
    assert stages_run(only)
    assert fingerprints(corrected) == fingerprints(only)
    assert fingerprints(corrected) != fingerprints(history.orchestra.workspace)
    assert warehouse_tables(corrected) == warehouse_tables(only)
    assert reports(corrected) == reports(only)
    assert stages_run(corrected) == []


def test_drops_that_arrive_newest_first_leave_what_those_in_order_leave(
    history: History, tiny_landing: Path, tmp_path: Path
) -> None:
    workspace = open_workspace(tmp_path / "home")
    deliver(tiny_landing, SECOND_DROP, to=workspace)
    assert history_of(workspace, "face-1.2") == {}
    assert "report face-1.2" in stages_run(workspace)
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    assert {"report face-1.1", "report face-1.2"} <= set(stages_run(workspace))
    assert history_of(workspace, "face-1.2") == {"face-1.1": [FIRST_DROP]}
    undisturbed = history.orchestra.workspace
    assert fingerprints(workspace) == fingerprints(undisturbed)
    assert warehouse_tables(workspace) == warehouse_tables(undisturbed)
    assert reports(workspace) == reports(undisturbed)


def test_what_a_build_fails_at_is_void_once_a_build_that_it_follows_is_scored_anew(
    history: History, tmp_path: Path
) -> None:
    workspace = copy_of(history.home, tmp_path / "home")
    redeliver(workspace, FIRST_DROP, without_transactions_of_one_subject)
    take_in(workspace, FIRST_DROP)
    score(workspace, "face-1.1", FIRST_DROP)
    for refused in ("attribution", "explanations", "report"):
        with pytest.raises(GateFailed, match=r"stage 'slices' is due for face-1\.2"):
            do(workspace, refused, build="face-1.2")
    before = workspace.lake.read(FAILURE_SLICES, TableKey(build="face-1.2"))
    assert do(workspace, "slices", build="face-1.2").passed
    assert workspace.lake.read(FAILURE_SLICES, TableKey(build="face-1.2")).equals(before)
    task = VERIFICATION
    states = {
        name: Freshness(workspace, task).state(task.stage(name), TableKey(build="face-1.2")) for name in EXPLAINED
    }
    assert states == {"attribution": "due", "clusters": "passed", "explanations": "passed"}
    assert do(workspace, "attribution", "report", build="face-1.2").passed


def test_rates_are_not_measured_on_pairs_of_older_templates(history: History, tmp_path: Path) -> None:
    workspace = copy_of(history.home, tmp_path / "home")
    redeliver(workspace, SECOND_DROP, without_transactions_of_one_subject)
    take_in(workspace, SECOND_DROP)
    for build in ("face-1.2", "face-1.1"):
        score(workspace, build, SECOND_DROP)
    with pytest.raises(GateFailed, match=r"stage 'impostors' is due for face-1\.2"):
        do(workspace, "measure_build", build="face-1.2")
    assert do(workspace, "impostors", "measure_build", build="face-1.2").passed


def test_a_study_of_a_few_people_says_that_it_is_too_small_to_name_a_cause(history: History) -> None:
    lake = history.orchestra.workspace.lake
    assert read_slices(lake, "face-1.2", "frr") == []
    (search,) = lake.read(SLICE_SEARCHES, TableKey(build="face-1.2")).iter_rows(named=True)
    assert search["n_failures"] > 10
    assert search["conclusion"].startswith("Too small to tell")


def test_the_planted_defect_is_the_only_slice_and_the_good_build_has_none(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path)
    demo = load_scenario("demo")
    study = replace(demo, builds=demo.builds[1:], transactions_per_subject=3, stream_frames=0)
    simulate(study, landing=workspace.landing, registry=workspace.registry)
    for drop in due_keys(workspace, "ingest_drop"):
        take_in(workspace, drop)
    for cell in due_keys(workspace, "evaluate_build_on_drop"):
        score(workspace, *cell.split("/"))
    for build in ("face-1.1", "face-1.2"):
        assert do(workspace, "impostors", "measure_build", "slices", "attribution", build=build).passed
    assert read_slices(workspace.lake, "face-1.1", "frr") == []
    (found,) = read_slices(workspace.lake, "face-1.2", "frr")
    attempts = false_rejects(workspace, "face-1.2", "face-1.2").rows
    planted = attempts["illuminance_lux"] < 10
    inside = attempts.select(found.expression()).to_series()
    assert int((inside & planted).sum()) >= 0.8 * int((inside | planted).sum())
    away = workspace.lake.read(FAILURE_SLICES, TableKey(build="face-1.2")).filter(finding="explained_away")
    assert "condition_label is evening" in away["condition"].to_list()
    parts = workspace.lake.read(CHANGE_ATTRIBUTION, TableKey(build="face-1.2")).filter(comparison="algorithm", part=1)
    assert parts["condition"].to_list() == [found.sentence()]
    assert parts["change_low"][0] > 0.1
    listed = CauseList(build="face-0.9", modality="face", causes=[as_listed(workspace, "face-1.2", found)])
    for build, state in (("face-1.1", "fixed"), ("face-1.2", "still there")):
        (held,) = hold_against(workspace, VERIFICATION, build, [listed])
        assert held.state == state, held.reason


def as_listed(workspace: Workspace, build: str, where: Slice) -> ListedCause:
    """The first cause of a build as its list has it."""
    rows = workspace.lake.read(FAILURE_SLICES, TableKey(build=build)).filter(finding="confirmed", rank=1)
    row = rows.rename({"rest_rate": "expected"}).row(0, named=True)
    names = ("condition", "outcome", "rate", "numerator", "denominator", "low", "high", "expected")
    told = {name: row[name] for name in names} | {"where": where.sql(), "conditions": where.to_list()}
    return msgspec.convert(told, ListedCause)


def test_a_refused_drop_keeps_no_other_from_being_done(history: History, tiny_landing: Path, tmp_path: Path) -> None:
    workspace = copy_of(history.first_home, tmp_path / "home")
    deliver(tiny_landing, SECOND_DROP, to=workspace)
    redeliver(workspace, SECOND_DROP, with_garbage)
    shutil.copytree(tiny_landing / FIRST_DROP, Path(workspace.settings.landing) / "2026-09-09_broken")
    done = run_due(workspace, track=quietly)
    assert [f"{result.stage} {result.key}" for result in done.results] == [f"parse {SECOND_DROP}"]
    assert not done.succeeded
    assert len(done.refused) == 1
    assert done.refused[0].startswith("2026-09-09_broken: DropError: ")
    assert run_due(workspace, track=quietly).results == []


def test_scores_that_a_gate_refused_are_neither_counted_nor_reported_nor_tried_again(
    history: History, tmp_path: Path
) -> None:
    workspace = copy_of(history.home, tmp_path / "home")
    redeliver(workspace, SECOND_DROP, with_shifted_scores)
    done = run_due(workspace, track=quietly)
    assert [f"{result.stage} {result.key}" for result in done.results if not result.passed] == [
        f"compare face-1.2/{SECOND_DROP}"
    ]
    verdict = read_verdict(workspace.lake, "compare", TableKey(build="face-1.2", drop=SECOND_DROP))
    assert verdict is not None
    assert [item.table for item in verdict.failures] == ["comparisons"]
    assert run_due(workspace, track=quietly).results == []
    assert reports(workspace) == reports(history.orchestra.workspace)


def test_a_device_model_that_decides_otherwise_is_named_by_the_report_and_the_marts(
    history: History, tmp_path: Path
) -> None:
    workspace = copy_of(history.home, tmp_path / "home")
    redeliver(workspace, SECOND_DROP, with_shifted_scores_of("aurora-1"))
    done = run_due(workspace, track=quietly)
    assert [result.key for result in done.results if not result.passed] == []
    verdict = read_verdict(workspace.lake, "compare", TableKey(build="face-1.2", drop=SECOND_DROP))
    assert verdict is not None
    assert [item.name.split(" agree ")[0] for item in verdict.warnings] == ["on-device and re-inferred scores"]
    with duckdb.connect(str(workspace.settings.warehouse), read_only=True) as connection:
        flips = dict(
            connection.execute(
                "SELECT level, (n_beyond = n_scores, numerator > 0, numerator = n_reinferred_only) FROM fct_parity "
                "WHERE build_id = 'face-1.2' AND dimension = 'device_model'"
            ).fetchall()
        )
        before = connection.execute(
            "SELECT numerator, high BETWEEN 0.05 AND 0.5 FROM fct_parity "
            "WHERE build_id = 'face-1.1' AND dimension = 'all'"
        ).fetchall()
    assert flips == {"aurora-1": (True, True, True), "aurora-2": (False, False, True)}
    assert before == [(0, True)], "without a fault no decision flips, and the bound says how sure that is"
    page = words(workspace.report_path("face-1.2").read_text())
    section = page[page.index("Agreement by device model") :]
    assert section.index("aurora-1") < section.index("aurora-2")
    assert "these devices run another model, preprocessing or threshold" in page
