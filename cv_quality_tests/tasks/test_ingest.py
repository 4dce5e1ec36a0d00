"""Drops of different modalities are taken into one lake, each under the conditions of its own modality."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from cv_quality.drops.tables import QUARANTINE_VALIDATE, RAW_ATTEMPTS, VALIDATED_ATTEMPTS
from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.errors import DropError, SchemaError, StageError
from cv_quality.gates.verdicts import read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Column
from cv_quality.modality import Dimension, Modality
from cv_quality.runner import run_stage
from cv_quality.settings import Settings
from cv_quality.stage import StageResult
from cv_quality.tasks import open_workspace
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.task import verification
from cv_quality.workspace import Workspace
from cv_quality_tests.drops.small_drops import ATTEMPT, BACKGROUND, DROP_ID, START, UNTIL, Site

SPEED = Dimension(Column("speed_m_s", "real", "walking speed", nullable=True, low=0, high=10), "speed in m/s")
SHOES = Dimension(Column("shoes", "text", "on the feet", nullable=True, levels=("none", "boots")), "shoes")
ANY_SCORE = replace(FACE.comparator, score_range=(0.0, math.inf), accepts_none=math.inf, accepts_all=0.0)
GAIT = replace(FACE, name="gait", conditions=(SPEED, SHOES), comparator=ANY_SCORE)
UNCHECKED = replace(
    GAIT,
    conditions=tuple(
        replace(item, column=replace(item.column, low=None, high=None, levels=())) for item in GAIT.conditions
    ),
    comparator=replace(ANY_SCORE, score_range=(-math.inf, math.inf)),
)
"""As a device that does not check what it writes."""
TASK = verification(FACE, GAIT)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(Settings.from_environment({"CVQ_HOME": str(tmp_path), "CVQ_THREADS": "1"}), [TASK])


def deliver(workspace: Workspace, modality: Modality, *attempts: dict[str, Scalar]) -> TableKey:
    """A drop named after its modality, with one attempt for each mapping of conditions."""
    name = f"2026-09-01_{modality.name}"
    writer = DropWriter(
        workspace.landing,
        modality=modality,
        drop_id=name,
        build_id=f"{modality.name}-1",
        site="lab",
        protocol="enrolled",
        captured_from=START,
        captured_until=UNTIL,
    )
    with writer as drop:
        for kind, fields in BACKGROUND:
            drop.add_event(kind, **fields)
        for number, fields in enumerate(attempts):
            drop.add_event("attempt", **ATTEMPT | {"event_id": f"a{number}"} | fields)
    return TableKey(drop=name)


def take_in(workspace: Workspace, key: TableKey) -> tuple[StageResult, StageResult]:
    parsed, validated = (run_stage(workspace, TASK, TASK.stage(name), key) for name in ("parse", "validate"))
    return parsed, validated


def test_each_modality_has_its_own_conditions_in_one_lake(workspace: Workspace) -> None:
    gait = deliver(workspace, GAIT, {"speed_m_s": 1.5, "shoes": "boots", "device_score": 17.0})
    face = deliver(workspace, FACE, {"eyewear": "glasses"})
    for key in (gait, face):
        assert all(result.passed for result in take_in(workspace, key))
    (walked,) = workspace.lake.read(VALIDATED_ATTEMPTS, gait).to_dicts()
    (seen,) = workspace.lake.read(VALIDATED_ATTEMPTS, face).to_dicts()
    assert (walked["speed_m_s"], walked["shoes"], walked["device_score"]) == (1.5, "boots", 17.0)
    assert seen["eyewear"] == "glasses"
    assert not {"eyewear", "yaw_deg"} & walked.keys()
    assert not {"speed_m_s", "shoes"} & seen.keys()


def test_a_condition_of_another_modality_is_no_field_of_an_event(workspace: Workspace) -> None:
    with pytest.raises(SchemaError, match="attempt event has no field 'eyewear'"):
        deliver(workspace, GAIT, {"eyewear": "none"})


def test_values_outside_a_modalitys_range_are_quarantined_and_parse_passes(workspace: Workspace) -> None:
    sound: list[dict[str, Scalar]] = [{"speed_m_s": 1.0}] * 200
    key = deliver(workspace, UNCHECKED, *sound, {"speed_m_s": 11.0}, {"shoes": "clogs"}, {"device_score": -0.1})
    parsed, validated = take_in(workspace, key)
    assert parsed.passed
    assert validated.passed
    details = workspace.lake.read(QUARANTINE_VALIDATE, key)["detail"].to_list()
    assert details == [
        "speed_m_s: expected a number from 0 to 10, found 11.0",
        "shoes: expected one of none, boots, found clogs",
        "device_score: expected a number from 0 to unbounded, found -0.1",
    ]
    assert workspace.lake.read(RAW_ATTEMPTS, key).height == 203


def test_a_drop_of_an_unknown_modality_is_refused_with_a_verdict(workspace: Workspace) -> None:
    key = deliver(workspace, replace(GAIT, name="gate"))
    with pytest.raises(DropError, match=r"no task evaluates modality 'gate'; did you mean gait"):
        run_stage(workspace, TASK, TASK.stage("parse"), key)
    verdict = read_verdict(workspace.lake, "parse", key)
    assert verdict is not None
    assert not verdict.passed


def test_a_drop_without_files_is_refused_with_a_verdict(workspace: Workspace, tmp_path: Path) -> None:
    Site(workspace.landing, workspace.lake, tmp_path).deliver_files({})
    key = TableKey(drop=DROP_ID)
    with pytest.raises(DropError, match="names no file"):
        run_stage(workspace, TASK, TASK.stage("parse"), key)
    verdict = read_verdict(workspace.lake, "parse", key)
    assert verdict is not None
    assert not verdict.passed


def test_a_condition_named_like_a_fixed_column_is_refused_when_the_task_is_declared() -> None:
    twice = Dimension(Column("device_id", "text", "the device again"), "device")
    with pytest.raises(SchemaError, match="modality gait: 'device_id' is a column of every raw_enrols"):
        verification(replace(GAIT, conditions=(twice,)))


def test_a_modality_of_another_task_is_refused_when_the_task_is_declared() -> None:
    with pytest.raises(StageError, match="modality 'gait' is evaluated by task 'liveness'"):
        verification(replace(GAIT, task="liveness"))


def test_a_counted_number_needs_bands() -> None:
    with pytest.raises(SchemaError, match=r"speed_m_s: .* needs bands"):
        replace(SPEED, is_counted=True)
