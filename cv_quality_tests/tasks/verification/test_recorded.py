"""Builds as their devices recorded them: every count is that of the log lines, and nothing passes for re-inference."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cv_quality.builds import modality_of
from cv_quality.drops.device_scores import DeviceScores
from cv_quality.errors import DropError, MetricError, ModelError, RegistryError
from cv_quality.gates.runner import run_gate
from cv_quality.gates.verdicts import Verdict
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.runner import run_stage
from cv_quality.stage import StageResult
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, COMPARISONS, EMBEDDINGS, METRIC_COUNTS
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests import deployment
from cv_quality_tests.deployment import do, due_keys, score, take_in
from cv_quality_tests.tasks.verification.recorded_drops import (
    BUILD,
    DARK_LUX,
    LATER,
    THRESHOLD,
    Fields,
    deliver,
    log_lines,
    mixed_attempts,
    open_workspace,
    register,
)

BEFORE_MATCHING = {"timeout": "timeout", "quality": "quality_reject", "liveness": "liveness_reject"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A deployment with one scored drop that has attempts of every kind."""
    workspace = open_workspace(tmp_path_factory.mktemp("recorded"))
    register(workspace)
    drop = deliver(workspace, list(mixed_attempts(seed=1, failing_in_the_dark=0.5)))
    take_in(workspace, drop)
    score(workspace, BUILD, drop)
    return workspace, drop


def ended(line: dict[str, Any]) -> str:
    """How an attempt ended, in plain words of its log line."""
    if line["device_stage"] != "matching":
        return BEFORE_MATCHING.get(line["device_stage"], "not_acquired")
    accepted = line.get("is_device_accepted")
    if accepted is None and "device_score" in line:
        accepted = line["device_score"] >= THRESHOLD
    return {None: "undecided", True: "accepted", False: "non_match"}[accepted]


def counted(lines: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Errors and trials of each rate over log lines."""
    ends = [(ended(line), line["subject_id"] == line["claimed_subject_id"]) for line in lines]
    genuine, impostor = ([end for end, own in ends if own is is_own] for is_own in (True, False))
    no_sample = ("timeout", "quality_reject", "not_acquired")
    return {
        "fta": (sum(end in no_sample for end, _ in ends), len(ends)),
        "frr": (
            sum(end not in ("accepted", "undecided") for end in genuine),
            len(genuine) - genuine.count("undecided"),
        ),
        "far": (impostor.count("accepted"), len(impostor) - impostor.count("undecided")),
        "fnmr": (genuine.count("non_match"), genuine.count("non_match") + genuine.count("accepted")),
        "fmr": (impostor.count("accepted"), impostor.count("non_match") + impostor.count("accepted")),
    }


def band(lux: float) -> str:
    return "<10" if lux < DARK_LUX else "10-100" if lux < 100 else "100-1000" if lux < 1000 else ">=1000"


@pytest.mark.parametrize(
    ("dimension", "level_of"),
    [
        ("all", lambda _: "all"),
        ("illuminance_band", lambda line: band(line["illuminance_lux"])),
        ("device_model", lambda line: "aurora" if line["device_id"] in ("dev-1", "dev-3") else "borealis"),
    ],
)
def test_every_count_is_that_of_the_log_lines(
    mixed: tuple[Workspace, str], dimension: str, level_of: Callable[[dict[str, Any]], str]
) -> None:
    workspace, drop = mixed
    lines = [line for line in log_lines(workspace, drop) if line["kind"] == "attempt"]
    assert len(lines) == 800
    expected = {
        (metric, level): counts
        for level in {level_of(line) for line in lines}
        for metric, counts in counted([line for line in lines if level_of(line) == level]).items()
        if counts[1]
    }
    rows = workspace.lake.read(METRIC_COUNTS, TableKey(build=BUILD, drop=drop)).filter(dimension=dimension)
    found = rows.group_by("metric", "level").agg(pl.col("numerator", "denominator").sum())
    assert {(metric, level): (errors, trials) for metric, level, errors, trials in found.iter_rows()} == expected


def test_every_kind_of_end_is_met_and_counted(mixed: tuple[Workspace, str]) -> None:
    workspace, drop = mixed
    lines = [line for line in log_lines(workspace, drop) if line["kind"] == "attempt"]
    rows = workspace.lake.read(ATTEMPT_OUTCOMES, TableKey(build=BUILD, drop=drop))
    assert Counter(rows["outcome"]) == Counter(map(ended, lines))
    assert len(set(rows["outcome"])) == 7
    assert rows["is_recorded"].all()


def test_comparisons_are_the_scored_attempts_that_reached_the_matcher(mixed: tuple[Workspace, str]) -> None:
    workspace, drop = mixed
    lines = [line for line in log_lines(workspace, drop) if line["kind"] == "attempt"]
    scored = {line["event_id"]: line for line in lines if "device_score" in line and line["device_stage"] == "matching"}
    rows = workspace.lake.read(COMPARISONS, TableKey(build=BUILD, drop=drop))
    assert {row["attempt_id"]: row["score"] for row in rows.iter_rows(named=True)} == {
        name: line["device_score"] for name, line in scored.items()
    }
    own = {name for name, line in scored.items() if line["subject_id"] == line["claimed_subject_id"]}
    assert set(rows.filter("is_genuine")["attempt_id"]) == own
    assert not rows["is_parity_expected"].any()
    samples = workspace.lake.read(EMBEDDINGS, TableKey(build=BUILD, drop=drop))
    assert (set(samples["status"]), samples["embedding"].null_count()) == ({"as_recorded"}, samples.height)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (
            THRESHOLD,
            [
                ({"device_score": 60.0}, "accepted"),
                ({"device_score": 59.9}, "non_match"),
                ({}, "undecided"),
                ({"is_device_accepted": False}, "non_match"),
                ({"is_device_accepted": False, "device_score": 99.0}, "non_match"),
                ({"is_device_accepted": True, "device_score": 80.0}, "accepted"),
                ({"device_stage": "quality", "device_score": 99.0}, "quality_reject"),
                ({"device_stage": "liveness", "is_device_accepted": True, "device_score": 70.0}, "accepted"),
            ],
        ),
        (
            None,
            [
                ({"device_score": 99.0}, "undecided"),
                ({"is_device_accepted": False, "device_score": 99.0}, "non_match"),
                ({"is_device_accepted": True}, "accepted"),
                ({"device_stage": "acquisition"}, "not_acquired"),
                ({"device_stage": "timeout", "is_device_accepted": False}, "timeout"),
                ({"device_stage": "liveness", "is_device_accepted": False}, "liveness_reject"),
            ],
        ),
    ],
)
def test_an_attempt_ends_as_its_device_told(
    workspace: Workspace, threshold: float | None, expected: list[tuple[Fields, str]]
) -> None:
    register(workspace, decision_threshold=threshold)
    drop = deliver(workspace, [attempt for attempt, _ in expected])
    take_in(workspace, drop)
    score(workspace, BUILD, drop)
    rows = workspace.lake.read(ATTEMPT_OUTCOMES, TableKey(build=BUILD, drop=drop)).sort("attempt_id")
    assert rows["outcome"].to_list() == [outcome for _, outcome in expected]


def test_distances_are_accepted_at_or_below_the_threshold(workspace: Workspace) -> None:
    register(workspace, decision_threshold=1.2)
    distances = DeviceScores(low=0, accepts="at_or_below")
    drop = deliver(workspace, [{"device_score": 1.2}, {"device_score": 1.3}], device_scores=distances)
    take_in(workspace, drop)
    score(workspace, BUILD, drop)
    rows = workspace.lake.read(ATTEMPT_OUTCOMES, TableKey(build=BUILD, drop=drop)).sort("attempt_id")
    assert rows["outcome"].to_list() == ["accepted", "non_match"]


def stages(workspace: Workspace, *names: str, drop: str) -> Iterator[StageResult]:
    task = VERIFICATION
    for name in names:
        yield run_stage(workspace, task, task.stage(name), TableKey(build=BUILD, drop=drop))


def broken(verdict: Verdict | None, *, warnings: bool = False) -> list[str]:
    assert verdict is not None
    return [item.name for item in (verdict.warnings if warnings else verdict.failures)]


def test_logs_of_scores_alone_need_a_threshold_and_the_gate_says_so(workspace: Workspace) -> None:
    register(workspace, decision_threshold=None)
    drop = deliver(workspace, [{"device_score": 70.0}] * 10)
    take_in(workspace, drop)
    *_, measured = stages(workspace, "infer", "compare", "measure", drop=drop)
    assert not measured.passed
    assert broken(measured.verdict) == ["at most 50% of the attempts end without a decision, or what decides"]


@pytest.mark.parametrize(("contrary", "is_refused"), [(2, False), (6, True)])
def test_decisions_that_the_threshold_would_not_take_are_told(
    workspace: Workspace, contrary: int, is_refused: bool
) -> None:
    register(workspace)
    attempts: list[Fields] = [{"device_score": 70.0, "is_device_accepted": number >= contrary} for number in range(10)]
    drop = deliver(workspace, attempts)
    take_in(workspace, drop)
    *_, measured = stages(workspace, "infer", "compare", "measure", drop=drop)
    assert measured.passed is not is_refused
    assert broken(measured.verdict, warnings=True) == [
        "decisions are those of the threshold for all but 1% of the scored attempts"
    ]


def test_gates_refuse_what_is_neither_recorded_nor_inferred(mixed: tuple[Workspace, str]) -> None:
    workspace, drop = mixed
    task = VERIFICATION
    key, lake = TableKey(build=BUILD, drop=drop), workspace.lake

    def verdict_with(table: Table, rows: pl.DataFrame) -> list[str]:
        kept = lake.read(table, key)
        stage = task.writers[table.name]
        try:
            lake.write(table, key, rows)
            return broken(run_gate(lake, stage.suite(modality_of(workspace, key)), key))
        finally:
            lake.write(table, key, kept)

    samples, compared = lake.read(EMBEDDINGS, key), lake.read(COMPARISONS, key)
    is_first = pl.int_range(pl.len()) == 0
    digest = pl.when(is_first).then(pl.lit("0" * 64)).otherwise("model_sha256")
    assert "what is as recorded, and nothing else, comes from no model" in verdict_with(
        EMBEDDINGS, samples.with_columns(model_sha256=digest)
    )
    assert "every attempt and enrolment has an output" in verdict_with(EMBEDDINGS, samples[1:])
    told = "every attempt as recorded that was scored, and reached matching or was accepted, is compared"
    assert told in verdict_with(COMPARISONS, compared[1:])
    shifted = compared.with_columns(score=pl.when(is_first).then(pl.col("score") / 2).otherwise("score"))
    assert "a score as recorded is the one in the device's log" in verdict_with(COMPARISONS, shifted)


def test_a_threshold_off_the_declared_scale_is_refused(workspace: Workspace) -> None:
    register(workspace)
    narrow = DeviceScores(low=0, high=50, accepts="at_or_above")
    drop = deliver(workspace, [{"device_score": 50.0}], device_scores=narrow)
    take_in(workspace, drop)
    with pytest.raises(RegistryError, match=r"decision_threshold: expected a score from 0 to 50, as drop .* found 60"):
        do(workspace, "infer", build=BUILD, drop=drop)


@pytest.mark.parametrize("declared", [DeviceScores(low=0, high=1, accepts="at_or_above"), None])
def test_drops_of_one_build_on_two_scales_are_refused_with_both(
    workspace: Workspace, declared: DeviceScores | None
) -> None:
    register(workspace)
    take_in(workspace, deliver(workspace, [{"device_score": 0.5}]))
    later = deliver(workspace, [{"device_score": 0.5}], day=1, device_scores=declared)
    told = r'"high":1\.0.*"high":100\.0' if declared else r'none, which is the modality.*"high":100\.0'
    with pytest.raises(DropError, match=told):
        do(workspace, "parse", drop=later)


def test_another_build_may_score_on_another_scale(workspace: Workspace) -> None:
    register(workspace)
    take_in(workspace, deliver(workspace, [{"device_score": 50.0}]))
    register(workspace, LATER, follows=BUILD)
    take_in(workspace, deliver(workspace, [{"device_score": 0.5}], build=LATER, day=1, device_scores=None))


def test_a_drop_of_all_pairs_cannot_be_as_recorded(workspace: Workspace) -> None:
    register(workspace)
    drop = deliver(workspace, [{"device_score": 50.0}], protocol="all_pairs")
    take_in(workspace, drop)
    with pytest.raises(MetricError, match="devices log attempts at claimed identities only"):
        do(workspace, "infer", build=BUILD, drop=drop)


def test_a_model_without_frames_is_told_what_evaluates_the_drop(tmp_path: Path) -> None:
    workspace = deployment.open_workspace(tmp_path)
    attempt: Fields = {"device_score": 0.5, "is_device_accepted": True}
    drop = deliver(workspace, [attempt], build="face-1.1", device_scores=None)
    take_in(workspace, drop)
    with pytest.raises(ModelError, match=r"no frames to run the model of face-1\.1 on.* 'recorded: true'"):
        do(workspace, "infer", build="face-1.1", drop=drop)


def test_an_entry_that_tells_more_makes_what_was_refused_due(workspace: Workspace) -> None:
    register(workspace, decision_threshold=None)
    drop = deliver(workspace, [{"device_score": 50.0}, {"device_score": 70.0}])
    take_in(workspace, drop)
    assert not list(stages(workspace, "infer", "compare", "measure", drop=drop))[-1].passed
    assert due_keys(workspace, "evaluate_build_on_drop") == []
    register(workspace)
    assert due_keys(workspace, "evaluate_build_on_drop") == [f"{BUILD}/{drop}"]
    (measured,) = stages(workspace, "measure", drop=drop)
    assert measured.passed
    assert due_keys(workspace, "evaluate_build_on_drop") == []
    register(workspace, decision_threshold=65)
    assert due_keys(workspace, "evaluate_build_on_drop") == [f"{BUILD}/{drop}"]
