"""What a study of video asks of the lake: clips of the same drops are paired, of one's own drops by their scenes."""

from dataclasses import replace

import pytest

from cv_quality.errors import ProtocolError
from cv_quality.lake.lake import Lake
from cv_quality.studies.comparison import Difference
from cv_quality.studies.protocol import SampledUnit, StudyEndpoint
from cv_quality.tasks.video.study_data import FilmedSide, VideoStudyData
from cv_quality_tests.studies.protocols import parsed
from cv_quality_tests.tasks.video.filmed import Filmed, film

DROP, BEFORE = "2026-09-02_v1_lab", "2026-09-01_v0_lab"
MISSES = StudyEndpoint("miss", "miss_rate", "primary", margin=0.05)
PAIRED = replace(parsed(), design=replace(parsed().design, conditions=None))
ARMS = replace(PAIRED, design=replace(PAIRED.design, arms="parallel"))
CLIPS = 24


def missed(model: str, number: int) -> float:
    """Frames missed of a clip: the candidate one more, or two."""
    return number % 5 + (1 + number % 2 if model == "v1" else 0)


def clips(model: str, *, subjects: int = 0) -> dict[str, Filmed]:
    return {
        f"c{n:02}": Filmed(
            missed(model, n),
            f"p{n % subjects}" if subjects else None,
            f"s{n}",
            "aurora-1" if n % 2 else "borealis",
        )
        for n in range(CLIPS)
    }


def paired(lake: Lake, *, unit: SampledUnit = "clip", subjects: int = 0) -> VideoStudyData:
    for model in ("v0", "v1"):
        film(lake, DROP, clips(model, subjects=subjects), model=model)
    return VideoStudyData(lake, unit, FilmedSide("v1", "v0", [DROP]), FilmedSide("v1", "v1", [DROP]))


def compared(data: VideoStudyData, endpoint: StudyEndpoint = MISSES) -> Difference:
    return data.difference(endpoint, frozenset(data.came(PAIRED)))


def test_clips_of_the_same_drops_are_paired(lake: Lake) -> None:
    found = compared(paired(lake))
    assert found.value == pytest.approx(0.15)
    assert found.standard_error == pytest.approx(0.05 / (CLIPS - 1) ** 0.5)
    assert (found.n_subjects, found.n_shared) == (CLIPS, CLIPS)


def test_builds_with_drops_of_their_own_are_paired_by_scene(lake: Lake) -> None:
    for model, drop in (("v0", BEFORE), ("v1", DROP)):
        film(lake, drop, clips(model), model=model)
    data = VideoStudyData(lake, "clip", FilmedSide("v0", "v0", [BEFORE]), FilmedSide("v1", "v1", [DROP]))
    found = data.difference(MISSES, frozenset(data.came(ARMS)))
    assert found.value == pytest.approx(0.15)
    assert found.n_shared == CLIPS
    device = data.difference(StudyEndpoint("dropped", "dropped", "primary", margin=0.05), frozenset(data.came(ARMS)))
    assert device.value == pytest.approx(0.15)


def test_clips_of_a_subject_stand_together(lake: Lake) -> None:
    data = paired(lake, unit="subject", subjects=12)
    found = compared(data)
    assert found.value == pytest.approx(0.15)
    assert found.n_subjects == 12
    assert {did.attempts["v1"] for did in data.came(PAIRED).values()} == {2}


def test_subjects_are_not_sampled_where_clips_are_of_nobody(lake: Lake) -> None:
    with pytest.raises(
        ProtocolError, match=r"24 clips are of nobody .* where clips are what is sampled, say unit: clip"
    ):
        paired(lake, unit="subject").came(PAIRED)


def test_a_scope_takes_the_clips_of_a_device(lake: Lake) -> None:
    at = StudyEndpoint("at", "miss_rate", "primary", margin=0.05, scope=(("device_model", "borealis"),))
    found = compared(paired(lake), at)
    assert found.value == pytest.approx(0.1)
    assert found.n_subjects == CLIPS // 2
    for scope, told in ((("device_model", "boreal"), "did you mean borealis"), (("illuminance", "dark"), "known: dev")):
        with pytest.raises(ProtocolError, match=told):
            compared(paired(lake), StudyEndpoint("at", "miss_rate", "primary", margin=0.05, scope=(scope,)))


def test_what_a_device_did_is_not_paired_on_the_same_clips(lake: Lake) -> None:
    found = compared(paired(lake), StudyEndpoint("dropped", "dropped", "primary", margin=0.05))
    assert (found.value, found.reason) == (None, "devices ran v1 alone: dropped of both needs drops of both")


def test_a_ratio_is_of_the_reference(lake: Lake) -> None:
    one = compared(paired(lake))
    other = compared(paired(lake), replace(MISSES, margin=None, margin_ratio=1.5))
    assert (other.value, other.reference) == pytest.approx((one.value, one.reference))
    assert other.standard_error != one.standard_error
