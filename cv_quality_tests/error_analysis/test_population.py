"""Whoever makes a population gets root causes: the loss of video frames, resampled by clip, is one of any shape."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cv_quality.error_analysis.examples import choose_examples
from cv_quality.error_analysis.population import Outcome, Population, attribute, cluster, search_slices
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import SliceError
from cv_quality.lake.schema import Column
from cv_quality.modality import Bands, Dimension

BLURRED = Slice((Predicate("motion", "==", "pan"), Predicate("exposure", "==", "long")))
DEPTH_ERROR = Outcome("depth_error", rate="depth error", failures="large errors", trial="frame")


def frames(*, seed: int = 0, clips: int = 120, each: int = 60, blurred: float = 2.0, pans: float = 0.3) -> Population:
    """Frames of clips whose loss is larger where the camera pans under a long exposure."""
    rng = np.random.default_rng(seed)
    n = clips * each
    clip = np.repeat(np.arange(clips), each)
    motion, exposure = rng.choice(["pan", "still"], n, p=[pans, 1 - pans]), rng.choice(["long", "short"], n)
    is_blurred = (motion == "pan") & (exposure == "long")
    rows = pl.DataFrame(
        {
            "clip": [f"clip-{seed}-{index}" for index in clip],
            "frame": np.arange(n),
            "motion": motion,
            "exposure": exposure,
            "lens": rng.choice(["wide", "tele"], n),
            "zoom": rng.uniform(1, 4, n),
            "loss": rng.gamma(2.0, 0.5, n) * np.exp(rng.normal(0, 0.3, clips))[clip] + blurred * is_blurred,
        }
    )
    columns = ("motion", "exposure", "lens", "zoom")
    return Population(DEPTH_ERROR, rows, failed="loss", unit="clip", columns=columns, key=("clip", "frame"))


@pytest.fixture(scope="module")
def population() -> Population:
    return frames()


def test_the_slice_with_the_larger_loss_is_found_and_no_other(population: Population) -> None:
    report = search_slices(population, threads=1)
    assert [set(item.where.where) for item in report.slices] == [set(BLURRED.where)]
    assert (report.kind, report.n_subjects) == ("loss", 120)


def test_a_change_of_the_loss_is_attributed_to_the_slice(population: Population) -> None:
    found = attribute(population, frames(seed=1, blurred=4.0), slices=[BLURRED])
    first, rest = found.parts
    assert found.conclusion.startswith("depth error rose from")
    assert first.rate > 0.2 > abs(rest.change)
    assert found.n_subjects == 240


def test_examples_are_frames_of_the_slice_from_different_clips(population: Population) -> None:
    rows = population.rows.filter(BLURRED.expression())["frame"].to_list()
    chosen = choose_examples(population, slices=[BLURRED])
    typical, near, pairs = (
        [item for item in chosen if item.role == role] for role in ("failure", "nearest_pass", "differs_in_one")
    )
    frames_shown = [item.row for item in typical]
    assert set(frames_shown) <= set(rows)
    assert population.rows[frames_shown]["clip"].n_unique() == len(typical) == 4
    assert population.is_failure[frames_shown].all()
    assert [item.partner for item in near] == frames_shown
    assert not population.is_failure[[item.row for item in near]].any()
    assert {str(item.difference).split()[0] for item in pairs} <= {"motion", "exposure"}
    assert not any(population.is_failure[item.partner] for item in pairs)


def test_clusters_are_described_by_the_slice_that_moves_the_vectors(population: Population) -> None:
    rng = np.random.default_rng(3)
    inside = population.rows.select(BLURRED.expression()).to_series().to_numpy()
    vectors = rng.normal(size=(len(inside), 12)) + 3.0 * np.outer(inside, rng.normal(size=12))
    first, *_ = cluster(population, vectors, threads=1).clusters
    assert first.description is not None
    assert set(first.description.where.columns) == {"motion", "exposure"}


def test_a_population_without_a_key_has_no_examples(population: Population) -> None:
    rows, columns = population.rows, population.columns
    nameless = Population(DEPTH_ERROR, rows, failed="loss", unit="clip", columns=columns)
    assert choose_examples(nameless, slices=[BLURRED]) == []


def test_an_excluded_condition_is_not_searched_under_either_name(population: Population) -> None:
    zoom = Dimension(
        Column("zoom", "real", "of the lens"), "zoom", bands=Bands("zoom_band", (2,), ("<2", ">=2"), "zoom")
    )
    declared = replace(population, dimensions=(zoom,)).excluding(["exposure", "zoom_band"])
    assert declared.excluded == ("exposure", "zoom")
    report = search_slices(declared)
    assert report.skipped == dict.fromkeys(("exposure", "zoom"), "left out by request")
    assert [found.where.sentence() for found in report.slices] == ["motion is pan"]


@pytest.mark.parametrize(
    ("changed", "named"), [({"unit": "clips"}, "did you mean clip"), ({"columns": ("lense",)}, "did you mean lens")]
)
def test_a_column_that_is_not_there_is_named_with_the_near_one(
    population: Population, changed: dict[str, str], named: str
) -> None:
    given = {"failed": "loss", "unit": "clip", "columns": population.columns} | changed
    with pytest.raises(SliceError, match=named):
        Population(DEPTH_ERROR, population.rows, **given)  # type: ignore[arg-type]
