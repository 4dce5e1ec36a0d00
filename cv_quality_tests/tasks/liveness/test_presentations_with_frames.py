"""A liveness build with a model: frames are scored in the lab, decided by it, and held against the device."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cv_quality.drops.tables import QUARANTINE_VALIDATE
from cv_quality.errors import ModelError
from cv_quality.freshness import Freshness
from cv_quality.lake.lake import TableKey
from cv_quality.runner import run_stage
from cv_quality.settings import Settings
from cv_quality.simulation.rendering import encode_png
from cv_quality.tasks import open_workspace
from cv_quality.tasks.liveness.stages import JUDGE, MEASURE, SCORE
from cv_quality.tasks.liveness.tables import LIVENESS_RATES, PRESENTATION_OUTCOMES, PRESENTATION_SCORES
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.tasks.verification.tables import PARITY
from cv_quality.workspace import Workspace
from cv_quality_tests.inference.liveness.test_liveness_models import MEAN
from cv_quality_tests.tasks.liveness.presented import BUILD, DROP, Event, deliver

KEY = TableKey(build=BUILD, drop=DROP)
THRESHOLD = 0.5
SHADE, LIGHT = 51, 204
"""Grey levels of attacks that are caught and of people: scores .2 and .8."""


def open_lab(root: Path) -> Workspace:
    """A deployment with one build, whose score is the mean grey level around the face."""
    registry = root / "registry"
    registry.mkdir()
    (registry / "mean.onnx").write_bytes(MEAN)
    digest = hashlib.sha256(MEAN).hexdigest()
    (registry / f"{BUILD}.yaml").write_text(
        f"build_id: {BUILD}\nmodality: liveness\nfollows: null\nscore: scalar\ndecision_threshold: {THRESHOLD}\n"
        f"models:\n- {{format: onnx, file: mean.onnx, sha256: {digest}, "
        "preprocessing: [face_crop: 1.5, gray, resize: [8, 8]]}\n"
    )
    environment = {"CVQ_HOME": str(root / "home"), "CVQ_REGISTRY": str(registry), "CVQ_THREADS": "1"}
    return open_workspace(Settings.from_environment(environment))


def picture(level: int, number: int) -> bytes:
    """A dark picture of 40 x 40 with a face of that level in its middle, unlike any other by one pixel."""
    pixels = np.zeros((40, 40), np.uint8)
    pixels[6:34, 6:34] = level
    pixels[0, number % 40] = number // 40 + 1
    return encode_png(pixels)


def events() -> Iterator[tuple[Event, bytes | None]]:
    """Forty people, of whom the device rejects one that the lab lets in, and forty prints, of which four are light.

    One person has no frame, and of one the device saw no face.
    """
    box: Event = {"face_left_px": 12.0, "face_top_px": 12.0, "face_width_px": 16.0, "face_height_px": 16.0}
    for number in range(80):
        is_attack = number >= 40
        level = (LIGHT if number >= 76 else SHADE) if is_attack else LIGHT
        score = level / 255
        event: Event = {
            "event_id": f"e{number}",
            "subject_id": f"p{number % 20}",
            "frame": f"frames/{number}.png",
            "pad_score": 0.3 if number == 0 else score,
            "is_device_live": number != 0 and score >= THRESHOLD,
            **box,
        }
        if is_attack:
            event |= {"presented": "attack", "pai_species": "print", "artefact_id": f"a{number % 10}"}
        if number == 1:
            yield {**event, "frame": None}, None
            continue
        if number == 2:
            event = {name: value for name, value in event.items() if name not in box}
        yield event, picture(level, number)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One drop taken in, scored, judged and measured."""
    workspace = open_lab(tmp_path_factory.mktemp("lab"))
    rows = list(events())
    deliver(workspace, [event for event, _ in rows], frames={str(e["frame"]): data for e, data in rows if data})
    keys = {"drop": TableKey(drop=DROP), "build_drop": KEY, "build": TableKey(build=BUILD)}
    for stage in LIVENESS.stages[: LIVENESS.stages.index(MEASURE) + 1]:
        result = run_stage(workspace, LIVENESS, stage, keys[stage.key])
        assert result.passed, result
    return workspace


def test_every_presentation_has_a_score_of_the_lab_or_says_why_not(judged: Workspace) -> None:
    scores = judged.lake.read(PRESENTATION_SCORES, KEY)
    by_status = dict(scores.group_by("status").len().iter_rows())
    assert by_status == {"ok": 78, "missing_frame": 1, "no_face": 1}
    by_id = dict(scores.select("presentation_id", "lab_score").iter_rows())
    assert by_id["e0"] == pytest.approx(LIGHT / 255, abs=1e-6)
    assert by_id["e40"] == pytest.approx(SHADE / 255, abs=1e-6)
    assert scores["model_sha256"].unique().to_list() == [judged.registry.entry(BUILD).sha256]


def test_the_lab_decides_and_the_device_stands_beside_it(judged: Workspace) -> None:
    rows = {row["presentation_id"]: row for row in judged.lake.read(PRESENTATION_OUTCOMES, KEY).iter_rows(named=True)}
    assert (rows["e0"]["outcome"], rows["e0"]["is_device_live"]) == ("taken for bona fide", False)
    assert rows["e0"]["device_pad_score"] == pytest.approx(0.3)
    assert (rows["e1"]["outcome"], rows["e2"]["outcome"]) == ("undecided", "no response")
    rates = judged.lake.read(LIVENESS_RATES, TableKey(build=BUILD)).filter(dimension="all")
    counts = {row["metric"]: (row["numerator"], row["denominator"]) for row in rates.iter_rows(named=True)}
    assert counts["apcer"] == (4, 40)
    assert counts["bpcer"] == (0, 38)
    assert counts["bpnrr"] == (1, 39)


def test_parity_tells_the_one_decision_that_flips(judged: Workspace) -> None:
    row = judged.lake.read(PARITY, TableKey(build=BUILD)).filter(dimension="all").row(0, named=True)
    assert (row["n_scores"], row["numerator"], row["denominator"]) == (78, 1, 78)
    assert (row["n_device_only"], row["n_reinferred_only"], row["n_far"], row["n_beyond"]) == (0, 1, 1, 1)
    assert row["n_unscored"] == 2
    assert row["largest_difference"] == pytest.approx(LIGHT / 255 - 0.3, abs=1e-6)


def test_another_threshold_makes_outcomes_due_and_scores_not(judged: Workspace) -> None:
    entry = Path(judged.settings.registry) / f"{BUILD}.yaml"
    before = entry.read_text()
    entry.write_text(before.replace(f"decision_threshold: {THRESHOLD}", "decision_threshold: 0.9"))
    try:
        states = [Freshness(judged, LIVENESS).state(stage, KEY) for stage in (SCORE, JUDGE)]
    finally:
        entry.write_text(before)
    assert states == ["passed", "due"]


def test_a_drop_without_frames_is_refused_with_what_to_do(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path)
    deliver(workspace, [event | {"frame": None} for event, _ in events()])
    for stage in LIVENESS.stages[:2]:
        run_stage(workspace, LIVENESS, stage, TableKey(drop=DROP))
    with pytest.raises(ModelError, match="recorded: true"):
        run_stage(workspace, LIVENESS, SCORE, KEY)


def test_half_a_face_box_is_quarantined(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path)
    rows = [event for event, _ in events()]
    deliver(workspace, [{**rows[0], "frame": None, "face_width_px": None}, *({**e, "frame": None} for e in rows[1:])])
    for stage in LIVENESS.stages[:2]:
        run_stage(workspace, LIVENESS, stage, TableKey(drop=DROP))
    rejected = workspace.lake.read(QUARANTINE_VALIDATE, TableKey(drop=DROP))
    assert rejected.select("event_id", "reason").rows() == [("e0", "partial_face_box")]
    assert "found 3" in rejected["detail"].item()
