"""One thing is changed, all else stays: what brings failing attempts back, and what does not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.error_analysis.explanations.counterfactuals import (
    PROCESSES,
    CounterfactualResult,
    Rerendered,
    denoise,
    gamma,
    smooth,
    stretch,
    zoom,
)
from cv_quality.inference.embedder import Embedder, load_embedder
from cv_quality.inference.preprocessing import ToneCurve
from cv_quality.lake.store import open_store
from cv_quality.metrics.rates import clustered_rate
from cv_quality.modality import Setting
from cv_quality.simulation.rerender import rerenderer
from cv_quality.tasks.verification.explained_pairs import choose_pairs, read_frames, scored_attempts
from cv_quality.tasks.verification.explanations import TONE_CURVE_OFF, change_conditions
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.tasks.verification.scored_attempts import BUILD, DARK, DROP, REGISTRY, scored_lake

Frames = dict[tuple[str, str], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def dark(tiny_landing: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, Frames]:
    """The failures of the tiny scenario's slice below 10 lux, and their frames."""
    lake = scored_lake(tiny_landing, tmp_path_factory.mktemp("dark"))
    attempts = scored_attempts(lake, build=BUILD, drops=[DROP], comparator=FACE.comparator)
    chosen = choose_pairs(attempts, where=DARK, conditions=FACE.conditions, seed=0)
    frames = read_frames(lake, open_store(str(tiny_landing)), [chosen.failures, chosen.passes])
    return chosen.failures, frames


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(REGISTRY.model_entry(BUILD), registry=REGISTRY, threads=1)


@pytest.fixture(scope="module")
def found(
    dark: tuple[pl.DataFrame, Frames], embedder: Embedder, tiny_landing: Path
) -> Mapping[str, CounterfactualResult]:
    rerender = rerenderer(open_store(str(tiny_landing)))
    done = change_conditions(*dark, embedder=embedder, conditions=FACE.conditions, rerender=rerender)
    assert len({item.change for item in done}) == len(done)
    return {item.change: item for item in done}


def share(found: Mapping[str, CounterfactualResult], change: str) -> float:
    value = found[change].accepted.value
    assert value is not None
    return value


def test_light_brings_the_dark_failures_back_and_other_conditions_do_not(
    found: Mapping[str, CounterfactualResult],
) -> None:
    assert share(found, "illuminance 200 lux") > 0.9
    assert share(found, TONE_CURVE_OFF) > 0.7
    assert share(found, "brightened (gamma 0.5)") > 0.7
    for change in ("yaw 0 degrees", "pitch 0 degrees", "no motion blur", "distance 40 cm", "darkened (gamma 2)"):
        assert share(found, change) < 0.2
    assert found["illuminance 200 lux"].source == "rerendered"
    assert found[TONE_CURVE_OFF].source == "reprocessed"


def test_scores_before_are_those_of_the_lake_and_intervals_are_clustered(
    found: Mapping[str, CounterfactualResult], dark: tuple[pl.DataFrame, Frames]
) -> None:
    failures, light = dark[0], found["illuminance 200 lux"]
    assert light.score_before == pytest.approx(failures["score"].mean(), abs=1e-6)
    assert light.score_before is not None
    assert light.score_after is not None
    assert light.score_after > light.score_before + 0.2
    per_subject = failures.group_by("subject_id").len()["len"].to_numpy()
    assert light.accepted.numerator == light.accepted.denominator == len(failures)
    assert light.accepted.low == clustered_rate(per_subject, per_subject).low
    assert light.accepted.reason is None


def test_only_attempts_that_the_change_touches_are_counted(
    found: Mapping[str, CounterfactualResult], dark: tuple[pl.DataFrame, Frames]
) -> None:
    failures = dark[0]
    covered = failures.filter(pl.col("covering") != "none")
    assert 0 < len(covered) < len(failures)
    assert found["nothing covers the face"].accepted.denominator == len(covered)
    assert found["nothing covers the face"].score_before == pytest.approx(covered["score"].mean(), abs=1e-6)
    untouched = found["no eyewear"]
    assert failures.filter(pl.col("eyewear") != "none").is_empty()
    assert (untouched.accepted.value, untouched.score_after) == (None, None)
    assert untouched.accepted.reason == "no failing attempt is touched by the change"


def test_without_a_renderer_and_a_tone_curve_real_images_are_only_processed(
    dark: tuple[pl.DataFrame, Frames],
) -> None:
    entry = REGISTRY.model_entry(BUILD)
    steps = tuple(step for step in entry.preprocessing if not isinstance(step, ToneCurve))
    plain = load_embedder(replace(entry, preprocessing=steps), registry=REGISTRY, threads=1)
    done = change_conditions(dark[0].head(3), dark[1], embedder=plain, conditions=FACE.conditions)
    assert [item.change for item in done] == [words for words, _ in PROCESSES]
    assert {item.source for item in done} == {"reprocessed"}


def test_a_renderer_that_does_not_give_the_drops_own_pixels_is_not_believed(
    dark: tuple[pl.DataFrame, Frames], embedder: Embedder, tiny_landing: Path
) -> None:
    honest = rerenderer(open_store(str(tiny_landing)))
    assert honest is not None
    left_out = str(dark[0]["attempt_id"][0])

    def partly(drop: str, attempts: Sequence[str], *, change: Mapping[str, Setting]) -> Rerendered:
        done = honest(drop, attempts, change=change)
        frames = tuple(None if name == left_out else frame for name, frame in zip(attempts, done.frames, strict=True))
        return Rerendered(frames, done.conditions)

    def never(drop: str, attempts: Sequence[str], *, change: Mapping[str, Setting]) -> Rerendered:
        done = honest(drop, attempts, change=change)
        return Rerendered(tuple(255 - frame for frame in done.frames if frame is not None), done.conditions)

    rows = dark[0].head(4)
    by_change = {
        item.change: item
        for item in change_conditions(rows, dark[1], embedder=embedder, conditions=FACE.conditions, rerender=partly)
    }
    assert by_change["illuminance 200 lux"].accepted.denominator == 3
    none = change_conditions(rows, dark[1], embedder=embedder, conditions=FACE.conditions, rerender=never)
    assert {item.source for item in none} == {"reprocessed"}


def test_no_failure_gives_no_trial(dark: tuple[pl.DataFrame, Frames], embedder: Embedder, tiny_landing: Path) -> None:
    rerender = rerenderer(open_store(str(tiny_landing)))
    done = change_conditions(dark[0].clear(), dark[1], embedder=embedder, conditions=FACE.conditions, rerender=rerender)
    assert done
    assert all(item.accepted.value is None and item.accepted.denominator == 0 for item in done)


@given(seed=st.integers(0, 99), height=st.integers(8, 40), width=st.integers(8, 40), is_colour=st.booleans())
def test_processing_keeps_size_and_kind_and_a_flat_frame_stays_flat(
    seed: int, height: int, width: int, is_colour: bool
) -> None:
    shape = (height, width, 3) if is_colour else (height, width)
    frame = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    for words, process in PROCESSES:
        done = process(frame)
        assert (done.shape, done.dtype) == (frame.shape, frame.dtype), words
        assert np.ptp(process(np.full(shape, seed, np.uint8))) == 0, words


def test_each_process_does_what_its_name_says() -> None:
    rng = np.random.default_rng(0)
    frame = (80 + 8 * rng.standard_normal((32, 32))).clip(0, 255).astype(np.uint8)
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(gamma(levels, exponent=0.5), 255 * (levels / 255) ** 0.5, atol=0.5)
    assert gamma(frame, exponent=0.5).mean() > frame.mean() > gamma(frame, exponent=2.0).mean()
    assert stretch(frame).std() > 3 * frame.std()
    assert (np.mean(stretch(frame) == 0), np.mean(stretch(frame) == 255)) == pytest.approx((0.02, 0.02), abs=0.03)
    assert denoise(frame).std() < 0.7 * frame.std()
    assert smooth(frame).std() < 0.7 * frame.std()
    ramp = np.tile(np.arange(0, 200, 2, dtype=np.uint8), (20, 1))
    enlarged = zoom(ramp, share=0.5)[10].astype(float)
    assert (enlarged[1], enlarged[-2]) == pytest.approx((50, 149), abs=2)
