"""Frames as a population: misses are found with their motion, and a loss is searched without counts."""

import numpy as np
import polars as pl
import pytest

from cv_quality.gates.runner import run_gate
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import open_store
from cv_quality.modality import of_modality
from cv_quality.tasks.root_causes.slices import find_build_slices
from cv_quality.tasks.root_causes.tables import EXAMPLES, FAILURE_SLICES, SLICE_SEARCHES
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.populations import LATE, LOSS, MISS, frame_of_attempt, population_of
from cv_quality.tasks.video.tables import FRAME_SCORES
from cv_quality.tasks.video.task import VIDEO

BUILD = "video-1.0"
KEY = TableKey(build=BUILD)


@pytest.fixture(scope="module")
def frames() -> pl.LazyFrame:
    """Sixty clips of forty frames, of which those fail whose objects move fast."""
    random = np.random.default_rng(3)
    n, clips = 40, 60
    speed = random.uniform(0, 0.05, (clips, 1)) * random.uniform(0.7, 1.3, (clips, n))
    loss = np.clip(np.where(speed > 0.03, 0.7, 0.15) + random.normal(0, 0.08, (clips, n)), 0, 1)
    rows = pl.DataFrame(
        {
            "build_id": [BUILD] * (clips * n),
            "drop_id": [f"2026-09-0{1 + clip % 2}_video-1.0_lab" for clip in range(clips) for _ in range(n)],
            "stream_id": [f"s{clip:02d}" for clip in range(clips) for _ in range(n)],
            "frame_number": list(range(n)) * clips,
            "status": ["ok"] * (clips * n),
            "loss": loss.ravel(),
            "is_miss": (loss > 0.5).ravel(),
            "is_late": (random.random((clips, n)) < 0.05).ravel(),
            "object_motion_share": speed.ravel(),
            "brightness": random.uniform(30, 200, clips * n),
            "device_model": [f"phone-{clip % 3}" for clip in range(clips) for _ in range(n)],
        }
    )
    table = of_modality(FRAME_SCORES, VIDEO_MODALITY)
    empty = pl.DataFrame(table.arrow_schema.empty_table())
    others = [pl.lit(None, empty.schema[name]).alias(name) for name in table.names if name not in rows.columns]
    return rows.with_columns(others).select(table.names).lazy()


@pytest.fixture(scope="module")
def lake(frames: pl.LazyFrame, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(open_store(str(tmp_path_factory.mktemp("lake"))))
    outcomes = ((MISS, "is_miss"), (LOSS, "loss"), (LATE, "is_late"))
    populations = [
        population_of(frames, modality=VIDEO_MODALITY, outcome=outcome, failed=failed) for outcome, failed in outcomes
    ]
    find_build_slices(made, build=BUILD, populations=populations, threads=1)
    return made


def test_fast_motion_is_the_first_slice_of_misses_and_of_the_loss(lake: Lake) -> None:
    rows = lake.read(FAILURE_SLICES, KEY).filter(finding="confirmed", rank=1)
    by_outcome = {row["outcome"]: row for row in rows.iter_rows(named=True)}
    assert by_outcome.keys() == {"miss", "loss"}
    for row in by_outcome.values():
        assert "object_motion_share" in row["where_json"]


def test_a_loss_has_means_and_no_counts_and_misses_have_both(lake: Lake, frames: pl.LazyFrame) -> None:
    searches = {row["outcome"]: row for row in lake.read(SLICE_SEARCHES, KEY).iter_rows(named=True)}
    rows = frames.collect()
    assert [searches[name]["is_loss"] for name in ("miss", "loss", "late")] == [False, True, False]
    assert searches["miss"]["n_failures"] == rows["is_miss"].sum()
    assert searches["loss"]["base_rate"] == pytest.approx(rows["loss"].mean())
    slices = lake.read(FAILURE_SLICES, KEY).filter(finding="confirmed", rank=1)
    misses, loss = (slices.filter(outcome=name).row(0, named=True) for name in ("miss", "loss"))
    assert misses["rate"] == pytest.approx(misses["numerator"] / misses["denominator"])
    assert loss["numerator"] is None
    assert loss["denominator"] > 0


def test_slices_of_a_loss_pass_the_gate_and_a_wrong_count_does_not(lake: Lake) -> None:
    suite = VIDEO.stage("slices").suite(VIDEO_MODALITY)
    assert not run_gate(lake, suite, KEY).failures
    rows = lake.read(FAILURE_SLICES, KEY)
    try:
        lake.write(FAILURE_SLICES, KEY, rows.with_columns(numerator=pl.lit(None, pl.Int64)))
        assert {item.name for item in run_gate(lake, suite, KEY).failures} == {
            "a confirmed rate is its failures over its attempts"
        }
    finally:
        lake.write(FAILURE_SLICES, KEY, rows)


def test_examples_name_their_frames(lake: Lake) -> None:
    rows = lake.read(EXAMPLES, KEY)
    assert rows.height
    stream, number = frame_of_attempt(rows["attempt_id"][0])
    assert stream == rows["subject_id"][0]
    assert 0 <= number < 40
