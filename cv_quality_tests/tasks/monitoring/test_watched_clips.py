"""Watched builds of video: frames that fail, of whoever is filmed; a scene that is filmed again is known to return."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from cv_quality.drops.tables import CLIPS
from cv_quality.errors import MonitorError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.modality import of_modality
from cv_quality.studies.monitoring import MonitorPlan
from cv_quality.tasks.monitoring.state import agreed_plan, follow
from cv_quality.tasks.monitoring.watched import CLIP_RATES
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.tables import CLIP_SCORES, FRAME_SCORES

DAYS = [f"2026-09-{day:02}_v1_lab" for day in range(1, 5)]
PLAN = MonitorPlan(build="v1", task="video", metrics=("miss_rate",), targets={"miss_rate": 0.1})


ANYTHING = {"text": "x", "real": 1.0, "integer": 1, "flag": False, "instant": datetime(2026, 9, 1, tzinfo=UTC)}


def write(lake: Lake, table: Table, key: TableKey, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows; columns that they leave out are null, or anything where null may not stand."""
    table = of_modality(table, VIDEO_MODALITY)
    given = [{"build_id": key.build, "drop_id": key.drop, **row} for row in rows]
    columns = {
        column.name: [row.get(column.name, None if column.nullable else ANYTHING.get(column.kind)) for row in given]
        for column in table
    }
    lake.write(table, key, pa.table(columns, schema=table.arrow_schema))


def film(lake: Lake, drop: str, clips: Mapping[str, tuple[str | None, str | None, int]], *, model: str = "v1") -> None:
    """Write a drop's clips of 10 frames: by stream, the subject, the scene, and the frames missed."""
    told = [{"stream_id": name, "subject_id": who, "scene": scene} for name, (who, scene, _) in clips.items()]
    write(lake, CLIPS, TableKey(drop=drop), told)
    key = TableKey(build=model, drop=drop)
    scores = [
        {"stream_id": name, "metric": "miss_rate", "class_name": "all", "numerator": missed, "denominator": 10}
        for name, (_, _, missed) in clips.items()
    ]
    write(lake, CLIP_SCORES, key, [*scores, {"stream_id": "x", "metric": "j", "class_name": "all", "value": 0.5}])
    frames = [{"stream_id": name, "device_model": "even ones"[k % 2 * 5 :]} for k, name in enumerate(clips)]
    write(lake, FRAME_SCORES, key, frames)


def counted(lake: Lake, *dimensions: str) -> list[tuple[object, ...]]:
    rows = CLIP_RATES.counts(lake, "v1", DAYS[:1], ["miss_rate"], ["all", *dimensions])
    return sorted(rows.select("level", "subject_id", "errors", "trials").rows())


def test_clips_are_of_a_subject_a_scene_or_themselves(lake: Lake) -> None:
    film(
        lake,
        DAYS[0],
        {"a": ("p1", "s1", 1), "b": ("p1", "s2", 2), "c": (None, "s3", 3), "d": (None, "s4", 4), "e": (None, "s4", 5)},
    )
    found = [(who, errors) for _, who, errors, _ in counted(lake)]
    own = f"clip {DAYS[0]}/"
    assert found == [(f"{own}d", 4), (f"{own}e", 5), ("p1", 1), ("p1", 2), ("scene s3", 3)]


def test_clips_are_counted_by_what_they_have(lake: Lake) -> None:
    film(lake, DAYS[0], {"a": ("p1", None, 1), "b": ("p2", None, 2)})
    assert [row[:2] for row in counted(lake, "device_model")] == [
        ("all", "p1"),
        ("all", "p2"),
        ("even ones", "p1"),
        ("ones", "p2"),
    ]


def test_frames_that_fail_more_often_raise_an_alarm(lake: Lake) -> None:
    for day in DAYS:
        film(lake, day, {f"{day}-{k}": (f"{day}-{k}", None, 4) for k in range(30)})
    found = follow(lake, PLAN, drops=DAYS, ready=DAYS)
    assert found.verdict == "alarm"
    assert found.sentences[0].endswith("120 subjects or clips, each once")


def test_scenes_filmed_every_day_are_a_panel(lake: Lake) -> None:
    for day in DAYS:
        film(lake, day, {f"{day}-{k}": (None, f"scene {k}", 1) for k in range(30)})
    found = follow(lake, PLAN, drops=DAYS, ready=DAYS)
    assert found.verdict == "cannot tell"
    assert "most of the look is of subjects or clips seen before (30 returned)" in found.sentences[0]


def test_a_change_is_paired_with_the_baselines_model_on_the_same_clips(lake: Lake) -> None:
    for day in DAYS:
        for model, missed in (("v1", 4), ("v0", 1)):
            film(lake, day, {f"{day}-{k}": (None, f"scene {k}", missed) for k in range(30)}, model=model)
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
