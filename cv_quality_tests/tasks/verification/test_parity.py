"""Devices against re-inference, on attempts whose scores are given and whose counts were worked out by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from cv_quality.drops.device_scores import DeviceScores, with_device_scores
from cv_quality.error_analysis.population import search_slices
from cv_quality.lake.lake import Lake
from cv_quality.tasks.verification.comparisons import compare_drop
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.outcomes import attempt_outcomes
from cv_quality.tasks.verification.parity import device_decisions, write_parity
from cv_quality.tasks.verification.populations import FLIP, MIN_FAILURES, flip_population
from cv_quality.tasks.verification.tables import COMPARISONS, PARITY
from cv_quality_tests.tasks.verification.tiny_drops import Sample, rows_of, write_drop

THRESHOLD = 0.6
DEVICES = {"d1": "phone-a", "d2": "phone-b"}
Said = tuple[float | None, bool | None]
"""The device's score and its decision."""


def scoring(score: float) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """A template whose cosine with the reference of everybody is the score."""
    return np.array([score, np.sqrt(1 - score**2)], np.float64).astype(np.float32)


def attempt(name: str, score: float | None, said: Said, *, subject: str = "ann", **columns: object) -> Sample:
    device_score, is_accepted = said
    logged = {"device_score": device_score, "is_device_accepted": is_accepted, **columns}
    vector = None if score is None else scoring(score)
    return Sample(name, subject, vector, reference=f"r-{columns.get('claimed_subject_id', subject)}", columns=logged)


def decide(lake: Lake, attempts: Sequence[Sample], *, models: Sequence[str] = (), protocol: str = "enrolled") -> None:
    """Leave a drop of build b1 with these attempts and their outcomes; everybody's reference is the same."""
    subjects = sorted({sample.subject for sample in attempts})
    enrols = [Sample(f"e-{name}", name, scoring(1.0), reference=f"r-{name}", frame=f"{name}.png") for name in subjects]
    write_drop(
        lake,
        drop="d1",
        build="b1",
        enrols=enrols,
        attempts=attempts,
        models=models,
        devices=DEVICES,
        protocol=protocol,
    )
    for model in models or ("b1",):
        compare_drop(lake, build=model, drop="d1", modality=FACE)
        attempt_outcomes(lake, modality=FACE, build=model, decision_threshold=THRESHOLD, drop="d1")


def parity_of(lake: Lake, build: str = "b1") -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """The rows of `parity` by dimension and level."""
    write_parity(lake, build=build, drops=["d1"], modality=FACE)
    rows = rows_of(lake, PARITY, build=build)
    return {(row["dimension"], row["level"]): row for row in rows.iter_rows(named=True)}


ATTEMPTS = (
    attempt("agrees", 0.8, (0.8, True)),
    attempt("agrees-b", 0.3, (0.305, False), device_id="d2"),
    attempt("device-only", 0.5, (0.7, True)),
    attempt("lab-only", 0.7, (0.56, False), device_id="d2"),
    attempt("rounded", 0.604, (0.597, False), device_id="d2"),
    attempt("rounded-up", 0.597, (0.604, True)),
    attempt("other-rule", 0.8, (0.8, False)),
    attempt("impostor", 0.65, (0.5, False), subject="bob", claimed_subject_id="ann", reference_id="r-ann"),
    attempt("derived-flip", 0.5, (0.7, None)),
    attempt("derived", 0.9, (0.905, None), device_id="d2"),
    attempt("decision-only", 0.9, (None, True), subject="bob"),
    attempt("no-template", None, (0.7, True)),
    attempt("no-template-b", None, (0.4, False), device_id="d2"),
    attempt("blurred", 0.9, (None, False), device_stage="quality"),
    attempt("spoofed", 0.9, (None, False), device_stage="liveness"),
    attempt("slow", 0.9, (None, False), device_stage="timeout"),
    attempt("silent", 0.9, (None, None)),
)
"""Every kind of attempt that is counted, and every kind that is not."""


def test_differences_and_flips_are_those_counted_by_hand(lake: Lake) -> None:
    decide(lake, ATTEMPTS)
    whole = parity_of(lake)["all", "all"]
    # Scores on both sides: all but decision-only, the two without a template, and the four that are not counted.
    assert whole["n_scores"] == 10
    assert whole["n_beyond"] == 4, "device-only, lab-only, impostor, derived-flip"
    assert whole["largest_difference"] == pytest.approx(0.2, abs=1e-6)
    # Sorted: -0.15, -0.14, -0.007, 0, 0, 0.005, 0.005, 0.007, 0.2, 0.2
    assert whole["median_difference"] == pytest.approx(0.0025, abs=1e-6)
    assert (whole["numerator"], whole["denominator"], whole["n_subjects"]) == (7, 11, 2)
    assert whole["n_device_only"] == 3, "device-only, rounded-up, derived-flip"
    assert whole["n_reinferred_only"] == 4, "lab-only, rounded, other-rule, impostor"
    assert (whole["n_near"], whole["n_far"]) == (2, 5), "rounded and rounded-up lie within 0.01 of the threshold"
    assert whole["n_far_agreeing"] == 1, "other-rule: the scores agree, the decision does not follow from them"
    assert (whole["n_derived"], whole["n_unscored"], whole["n_unscored_accepted"]) == (2, 2, 1)


def test_device_models_and_drops_add_up_to_all_attempts(lake: Lake) -> None:
    decide(lake, ATTEMPTS)
    found = parity_of(lake)
    counts = ("n_scores", "n_beyond", "numerator", "denominator", "n_near", "n_unscored")
    a, b = (found["device_model", name] for name in ("phone-a", "phone-b"))
    assert [b[name] for name in counts] == [4, 1, 2, 4, 1, 1]
    assert [a[name] + b[name] for name in counts] == [found["all", "all"][name] for name in counts]
    assert [found["drop_id", "d1"][name] for name in counts] == [found["all", "all"][name] for name in counts]


def test_what_the_device_ended_before_matching_is_no_flip_of_the_matcher(lake: Lake) -> None:
    stages = ("quality", "liveness", "timeout", "acquisition")
    stopped = [attempt(f"a-{stage}", 0.9, (None, False), device_stage=stage) for stage in stages]
    decide(lake, [attempt("agrees", 0.9, (0.9, True)), *stopped])
    whole = parity_of(lake)["all", "all"]
    assert (whole["numerator"], whole["denominator"], whole["n_unscored"]) == (0, 1, 0)


def test_a_score_near_the_threshold_does_not_excuse_one_that_is_far_off(lake: Lake) -> None:
    decide(lake, [attempt("a", 0.598, (0.9, True)), attempt("b", 0.598, (0.602, True))])
    whole = parity_of(lake)["all", "all"]
    assert (whole["n_near"], whole["n_far"]) == (1, 1)


def test_no_flip_at_all_has_an_upper_bound_that_knows_the_subjects(lake: Lake) -> None:
    subjects, each = 30, 4
    decide(
        lake, [attempt(f"a-{s}-{i}", 0.9, (0.9, True), subject=f"s{s}") for s in range(subjects) for i in range(each)]
    )
    whole = parity_of(lake)["all", "all"]
    shrink = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, subjects - 1)) ** 2
    effective = subjects * each / (1 + (each - 1) * 0.1) * shrink
    assert (whole["value"], whole["low"]) == (0.0, 0.0)
    assert whole["high"] == pytest.approx(1 - 0.025 ** (1 / effective), rel=1e-9)
    assert whole["high"] > 1 - 0.025 ** (1 / (subjects * each))


def test_a_drop_of_another_build_or_of_all_pairs_has_no_parity(lake: Lake) -> None:
    decide(lake, ATTEMPTS, models=("b1", "b0"))
    assert parity_of(lake, "b0") == {}
    images = [replace(attempt(f"z{i}", 0.9, (0.2, False)), frame=f"z{i}.png") for i in range(3)]
    decide(lake, images, protocol="all_pairs")
    assert rows_of(lake, COMPARISONS, build="b1", drop="d1").height == len(images)
    assert parity_of(lake) == {}


def test_on_a_scale_of_the_devices_own_only_logged_decisions_are_compared(lake: Lake) -> None:
    percents = with_device_scores(FACE, DeviceScores(accepts="at_or_above", low=0.0, high=100.0))
    decide(lake, [attempt("a", 0.8, (87.0, True)), attempt("b", 0.8, (20.0, False)), attempt("c", 0.8, (87.0, None))])
    write_parity(lake, build="b1", drops=["d1"], modality=biometric(percents))
    whole = rows_of(lake, PARITY, build="b1").row(by_predicate=pl.col("dimension") == "all", named=True)
    assert (whole["n_scores"], whole["largest_difference"], whole["n_beyond"]) == (0, None, 0)
    assert (whole["numerator"], whole["denominator"], whole["n_derived"]) == (1, 2, 0)
    assert (whole["n_near"], whole["n_far"]) == (0, 1)


def test_a_build_that_is_evaluated_as_recorded_has_no_parity(lake: Lake) -> None:
    decide(lake, ATTEMPTS)
    attempt_outcomes(lake, modality=FACE, build="b1", decision_threshold=THRESHOLD, drop="d1", is_recorded=True)
    assert parity_of(lake) == {}


def test_a_build_whose_devices_logged_nothing_has_no_parity(lake: Lake) -> None:
    decide(lake, [attempt("a", 0.9, (None, None))])
    assert parity_of(lake) == {}
    assert flip_population(lake, build="b1", drops=["d1"], modality=FACE) is None


def quantised(*, subjects: int = 60, each: int = 10, step: float = 0.25) -> list[Sample]:
    """Attempts of people, half of whom hold a phone-b, which cuts its scores down to a step."""
    rng = np.random.default_rng(5)
    found = []
    for person in range(subjects):
        device = "d2" if person % 2 else "d1"
        for number, score in enumerate(np.round(rng.normal(0.75, 0.08, each).clip(0.2, 0.98), 6)):
            said = float(np.floor(score / step) * step) if device == "d2" else float(score)
            columns = {"device_id": device, "illuminance_lux": float(rng.uniform(5, 500))}
            name = f"a-{person}-{number}"
            found.append(attempt(name, float(score), (said, said >= THRESHOLD), subject=f"s{person:02d}", **columns))
    return found


def test_a_device_model_that_rounds_its_scores_is_the_first_slice_of_the_flips(lake: Lake) -> None:
    attempts = quantised()
    decide(lake, attempts)
    population = flip_population(lake, build="b1", drops=["d1"], modality=FACE)
    assert population is not None
    assert population.outcome is FLIP
    assert population.rows.height == len(attempts)
    first = search_slices(population, threads=1).slices[0]
    assert first.where.sentence() == "device_model is phone-b"
    assert first.rest_rate == 0.0
    found = parity_of(lake)
    assert found["device_model", "phone-a"]["numerator"] == 0
    assert found["device_model", "phone-b"]["numerator"] == int(population.rows["is_flip"].sum())
    assert found["device_model", "phone-b"]["median_difference"] < -0.05


def test_fewer_than_twenty_flips_are_not_searched(lake: Lake) -> None:
    decide(lake, [attempt(f"a{i}", 0.9, (0.3, False), subject=f"s{i}") for i in range(MIN_FAILURES - 1)])
    assert flip_population(lake, build="b1", drops=["d1"], modality=FACE) is None
    rows = device_decisions(lake, build="b1", drops=["d1"], modality=FACE).collect()
    assert rows["is_flip"].all()
    assert rows.filter(pl.col("is_near")).is_empty()
