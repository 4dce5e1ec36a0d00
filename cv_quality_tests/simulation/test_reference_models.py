"""The reference models on people they have never met: good in good conditions, worse in harsh ones, and broken below
10 lux by the wrong tone curve alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from benchmarks.train_reference_models import (
    BUILDS,
    TARGET_FMR,
    Embed,
    ProbeFrames,
    probe_frames,
    probe_scores,
    registry_entry,
    threshold_at_fmr,
)
from cv_quality.inference.embedder import load_embedder
from cv_quality.inference.registry import ModelEntry, ModelRegistry
from cv_quality.metrics.verification import eer
from cv_quality.simulation.identity import IdentitySpace
from cv_quality.simulation.simulate import REFERENCE_MODELS
from cv_quality_tests.modalities import MODALITIES

REGISTRY = ModelRegistry(str(REFERENCE_MODELS), modalities=MODALITIES)
PEOPLE = 120


def frames_of(condition_set: str) -> ProbeFrames:
    return probe_frames(IdentitySpace.EVALUATION, condition_set, seed=4711, people=PEOPLE)


@pytest.fixture(scope="module")
def benign() -> ProbeFrames:
    return frames_of("benign")


@pytest.fixture(scope="module")
def low_light() -> ProbeFrames:
    return frames_of("low_light")


def loaded(build_id: str) -> tuple[ModelEntry, Embed]:
    """The registry's own way from pixels to embeddings."""
    entry = REGISTRY.model_entry(build_id)
    embedder = load_embedder(entry, registry=REGISTRY)

    def embed(frames: NDArray[np.uint8], illuminance_lux: NDArray[np.floating]) -> NDArray[np.float32]:
        return embedder.embed(list(frames), illuminance_lux=illuminance_lux.tolist()).embeddings

    return entry, embed


def false_non_match_rate(build_id: str, frames: ProbeFrames) -> float:
    entry, embed = loaded(build_id)
    genuine, _ = probe_scores(frames, embed)
    return float((genuine < entry.decision_threshold).mean())


def test_face_b_tells_unseen_people_apart_in_benign_conditions(benign: ProbeFrames) -> None:
    _, embed = loaded("face-1.1")
    assert eer(*probe_scores(benign, embed)).value < 0.02


def test_the_decision_threshold_keeps_false_matches_near_the_target(benign: ProbeFrames) -> None:
    for build in BUILDS[:2]:
        entry, embed = loaded(build.build_id)
        _, impostor = probe_scores(benign, embed)
        target = TARGET_FMR[build.model]
        assert target / 10 < float((impostor >= entry.decision_threshold).mean()) < 4 * target


def test_harsh_conditions_are_harder(benign: ProbeFrames) -> None:
    harsh = frames_of("harsh")
    for build_id in ("face-1.0", "face-1.1"):
        _, embed = loaded(build_id)
        assert eer(*probe_scores(harsh, embed)).value > eer(*probe_scores(benign, embed)).value


def test_the_older_model_is_the_worse_one(benign: ProbeFrames, low_light: ProbeFrames) -> None:
    for frames in (benign, low_light):
        older, newer = (eer(*probe_scores(frames, loaded(build)[1])).value for build in ("face-1.0", "face-1.1"))
        assert older > newer


def test_the_planted_defect_shows_below_10_lux_and_nowhere_else(benign: ProbeFrames, low_light: ProbeFrames) -> None:
    right, wrong = false_non_match_rate("face-1.1", low_light), false_non_match_rate("face-1.2", low_light)
    assert right < 0.10
    assert wrong > 4 * max(right, 0.05)
    assert false_non_match_rate("face-1.2", benign) == false_non_match_rate("face-1.1", benign)


def test_builds_follow_each_other_and_the_defect_is_no_other_model() -> None:
    first, second, third = (REGISTRY.model_entry(build.build_id) for build in BUILDS)
    assert (first.follows, second.follows, third.follows) == (None, "face-1.0", "face-1.1")
    assert second.sha256 == third.sha256 != first.sha256
    assert second.decision_threshold == third.decision_threshold


def test_the_packaged_registry_is_what_the_training_command_writes() -> None:
    for build in BUILDS:
        packaged = yaml.safe_load((REFERENCE_MODELS / f"{build.build_id}.yaml").read_text(encoding="utf-8"))
        assert packaged == registry_entry(build, sha256=packaged["sha256"], threshold=packaged["decision_threshold"])


def score_cases() -> list[tuple[Callable[[], float], float]]:
    impostor = np.array([0.75, 0.1, 0.0, -0.1], np.float32)
    return [
        (lambda: threshold_at_fmr(impostor, fmr=0.0), 0.7501),
    ]


@pytest.mark.parametrize(("measured", "expected"), score_cases())
def test_error_rates_on_scores_counted_by_hand(measured: Callable[[], float], expected: float) -> None:
    assert measured() == pytest.approx(expected, abs=1e-6)
