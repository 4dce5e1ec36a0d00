"""Watched builds of video: frames that fail, of whoever is filmed; a scene that is filmed again is known to return."""

import pytest

from cv_quality.errors import MonitorError
from cv_quality.lake.lake import Lake
from cv_quality.studies.monitoring import MonitorPlan
from cv_quality.tasks.monitoring.state import agreed_plan, follow
from cv_quality.tasks.monitoring.watched import CLIP_RATES
from cv_quality_tests.tasks.video.filmed import Filmed, film

DAYS = [f"2026-09-{day:02}_v1_lab" for day in range(1, 5)]
PLAN = MonitorPlan(build="v1", task="video", metrics=("miss_rate",), targets={"miss_rate": 0.1})


def counted(lake: Lake, *dimensions: str) -> list[tuple[object, ...]]:
    rows = CLIP_RATES.counts(lake, "v1", DAYS[:1], ["miss_rate"], ["all", *dimensions])
    return sorted(rows.select("level", "subject_id", "errors", "trials").rows())


def test_clips_are_of_a_subject_a_scene_or_themselves(lake: Lake) -> None:
    clips = {
        "a": Filmed(1, "p1", "s1"),
        "b": Filmed(2, "p1", "s2"),
        "c": Filmed(3, scene="s3"),
        "d": Filmed(4, scene="s4"),
        "e": Filmed(5, scene="s4"),
    }
    film(lake, DAYS[0], clips, model="v1")
    found = [(who, errors) for _, who, errors, _ in counted(lake)]
    own = f"clip {DAYS[0]}/"
    assert found == [(f"{own}d", 4), (f"{own}e", 5), ("p1", 1), ("p1", 2), ("scene s3", 3)]


def test_clips_are_counted_by_what_they_have(lake: Lake) -> None:
    film(lake, DAYS[0], {"a": Filmed(1, "p1", device="even"), "b": Filmed(2, "p2", device="odd")}, model="v1")
    assert [row[:2] for row in counted(lake, "device_model")] == [
        ("all", "p1"),
        ("all", "p2"),
        ("even", "p1"),
        ("odd", "p2"),
    ]


def test_frames_that_fail_more_often_raise_an_alarm(lake: Lake) -> None:
    for day in DAYS:
        film(lake, day, {f"{day}-{k}": Filmed(4, f"{day}-{k}") for k in range(30)}, model="v1")
    found = follow(lake, PLAN, drops=DAYS, ready=DAYS)
    assert found.verdict == "alarm"
    assert found.sentences[0].endswith("120 subjects or clips, each once")


def test_scenes_filmed_every_day_are_a_panel(lake: Lake) -> None:
    for day in DAYS:
        film(lake, day, {f"{day}-{k}": Filmed(1, scene=f"scene {k}") for k in range(30)}, model="v1")
    found = follow(lake, PLAN, drops=DAYS, ready=DAYS)
    assert found.verdict == "cannot tell"
    assert "most of the look is of subjects or clips seen before (30 returned)" in found.sentences[0]


def test_a_change_is_paired_with_the_baselines_model_on_the_same_clips(lake: Lake) -> None:
    for day in DAYS:
        for model, missed in (("v1", 4), ("v0", 1)):
            film(lake, day, {f"{day}-{k}": Filmed(missed, scene=f"scene {k}") for k in range(30)}, model=model)
    plan = MonitorPlan(build="v1", task="video", metrics=("miss_rate",), against="v0")
    (rate,) = follow(lake, plan, drops=DAYS, ready=DAYS).now
    assert (rate.state, rate.n_subjects) == ("alarm", 30)
    assert (rate.value, rate.reference) == pytest.approx((0.4, 0.1))


def test_what_the_device_did_has_no_change(lake: Lake) -> None:
    plan = MonitorPlan(build="v1", task="video", metrics=("dropped",), against="v0")
    with pytest.raises(MonitorError, match="dropped: the device that recorded did that"):
        agreed_plan(lake, "v1", plan)
    plan = MonitorPlan(build="v1", task="video", metrics=("j",), targets={"j": 0.1})
    with pytest.raises(MonitorError, match="j: no rate of failing frames; one of miss_rate, no_output"):
        agreed_plan(lake, "v1", plan)
