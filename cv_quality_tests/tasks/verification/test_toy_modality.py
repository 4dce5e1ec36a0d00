"""A modality declared in one value, with an importer: from drops to report beside faces, distances throughout."""

import itertools
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cv_quality.errors import MetricError, RegistryError
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.metrics.pairs import Side
from cv_quality.metrics.score_bins import edge_of
from cv_quality.runner import Done, run_due
from cv_quality.settings import REFERENCE_MODELS, Settings
from cv_quality.tasks import open_workspace
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.stages import INFER
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    COMPARISONS,
    DET_CURVE,
    IMPOSTOR_COUNTS,
    IMPOSTOR_TAIL,
    INTERVALS,
    OPERATING_POINTS,
    PARITY,
)
from cv_quality.tasks.verification.task import verification
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import quietly
from cv_quality_tests.reports.score_pages import words
from cv_quality_tests.tasks.verification.toy_modality import (
    BUILD,
    DROPS,
    EUCLIDEAN,
    THRESHOLD,
    TOY,
    ToySample,
    Vector,
    attempts_of,
    draw_toy_samples,
    fused_references,
    genuine_distances,
    import_toy,
    write_toy_entry,
)

TASK = verification(FACE, TOY)
FACE_DROP = "2026-08-03_face-1.1_site-a"


def toy_workspace(home: Path) -> Workspace:
    """A deployment whose registry knows the toy build beside those of faces."""
    registry = home / "registry"
    shutil.copytree(REFERENCE_MODELS, registry)
    write_toy_entry(registry)
    environment = {"CVQ_HOME": str(home), "CVQ_THREADS": "1", "CVQ_REGISTRY": str(registry)}
    return open_workspace(Settings.from_environment(environment), [TASK])


@dataclass(frozen=True, slots=True)
class ToyLake:
    """What the toy build left, and the samples that it was made of."""

    workspace: Workspace
    samples: Sequence[ToySample]
    done: Done

    def rows(self, table: Table, *, drop: str | None = None) -> pl.DataFrame:
        return self.workspace.lake.read(table, TableKey(build=BUILD, drop=drop))

    @property
    def seen(self) -> list[ToySample]:
        """The samples that are not black, and so have a template."""
        return [sample for sample in self.samples if sample.pixels.any()]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, tiny_landing: Path) -> ToyLake:
    """The toy's drops and one of faces, taken in, scored and reported in one lake."""
    workspace = toy_workspace(tmp_path_factory.mktemp("toy"))
    shutil.copytree(tiny_landing / FACE_DROP, Path(workspace.settings.landing) / FACE_DROP)
    samples = draw_toy_samples()
    import_toy(samples, landing=workspace.landing)
    done = run_due(workspace, track=quietly, tasks=[TASK])
    return ToyLake(workspace, samples, done)


def cross_distances(samples: Sequence[ToySample]) -> Vector:
    """The distances of every attempt to the references of all other subjects, ascending."""
    centres = fused_references(samples)
    attempts = [sample for sample in samples if not sample.is_enrolment]
    pairs = itertools.product(attempts, centres.items())
    return np.sort([np.linalg.norm(a.vector - centre) for a, (subject, centre) in pairs if subject != a.subject])


def point(toy: ToyLake, name: str, **where: float) -> dict[str, Any]:
    return toy.rows(OPERATING_POINTS).filter(point=name, **where).row(0, named=True)


def test_every_stage_of_the_toy_passes_beside_faces(toy: ToyLake) -> None:
    assert toy.done.refused == []
    assert [(result.stage, result.verdict) for result in toy.done.results if not result.passed] == []
    assert {result.key for result in toy.done.results if result.stage == "validate"} == {*DROPS, FACE_DROP}


def test_distances_are_stored_as_they_are(toy: ToyLake) -> None:
    rows = pl.concat([toy.rows(COMPARISONS, drop=drop) for drop in DROPS])
    expected = {s.name: d for s, d in zip(attempts_of(toy.seen), genuine_distances(toy.seen), strict=True)}
    assert rows.height == len(expected)
    for name, score in rows.select("attempt_id", "score").iter_rows():
        assert score == pytest.approx(expected[name], rel=1e-6)


def test_an_attempt_is_accepted_at_or_below_the_threshold(toy: ToyLake) -> None:
    rows = pl.concat([toy.rows(ATTEMPT_OUTCOMES, drop=drop) for drop in DROPS])
    expected = np.sum(genuine_distances(toy.seen) <= THRESHOLD)
    assert rows.filter(outcome="accepted").height == expected
    assert rows.filter(pl.col("score") <= THRESHOLD, pl.col("outcome") != "accepted").is_empty()
    assert rows.filter(outcome="not_acquired").height == len(toy.samples) - len(toy.seen)


def test_rates_count_distances_beyond_the_threshold(toy: ToyLake) -> None:
    intervals = toy.rows(INTERVALS)
    fnmr = intervals.filter(metric="fnmr", dimension="all").row(0, named=True)
    distances, wet = genuine_distances(toy.seen), np.array([s.surface == "wet" for s in attempts_of(toy.seen)])
    assert (fnmr["numerator"], fnmr["denominator"]) == ((distances > THRESHOLD).sum(), distances.size)
    wet_rows = intervals.filter(metric="fnmr", dimension="surface", level="wet").row(0, named=True)
    assert (wet_rows["numerator"], wet_rows["denominator"]) == ((distances[wet] > THRESHOLD).sum(), wet.sum())
    assert set(intervals.filter(dimension="tilt_band")["level"]) == {"<20", ">=20"}


def test_every_cross_subject_distance_is_counted(toy: ToyLake) -> None:
    expected = cross_distances(toy.seen)
    counts, tail = toy.rows(IMPOSTOR_COUNTS), toy.rows(IMPOSTOR_TAIL)
    assert counts["count"].sum() == tail.height == expected.size
    np.testing.assert_allclose(np.sort(tail["score"].to_numpy()), expected, rtol=1e-6)
    last = int(counts["bin"].to_numpy().max())
    assert -edge_of(last + 1, EUCLIDEAN.scale) <= expected[0] <= -edge_of(last, EUCLIDEAN.scale)


def test_points_accept_small_distances(toy: ToyLake) -> None:
    genuine, cross = genuine_distances(toy.seen), cross_distances(toy.seen)
    decided = point(toy, "decision_threshold")
    assert decided["threshold"] == THRESHOLD
    assert decided["n_false_matches"] == (cross <= THRESHOLD).sum()
    assert decided["n_false_non_matches"] == (genuine > THRESHOLD).sum()
    strict = point(toy, "fnmr_at_fmr", fmr_target=0.01)
    assert strict["n_false_matches"] == (cross <= strict["threshold"] * (1 + 1e-9)).sum() <= 0.01 * cross.size
    assert strict["fnmr"] == np.mean(genuine > strict["threshold"] * (1 + 1e-9))
    assert strict["threshold_low"] < strict["threshold"] < strict["threshold_high"]


def test_the_curve_trades_large_thresholds_for_false_matches(toy: ToyLake) -> None:
    curve = toy.rows(DET_CURVE).sort("threshold")
    assert curve["fmr"].is_sorted()
    assert curve["fnmr"].is_sorted(descending=True)
    assert curve["threshold"].is_between(EUCLIDEAN.accepts_none, EUCLIDEAN.accepts_all).all()


def test_parity_breaks_by_the_tolerance_of_the_toy(toy: ToyLake) -> None:
    rows = pl.concat([toy.rows(COMPARISONS, drop=drop) for drop in DROPS])
    assert rows["is_parity_broken"].sum() == len(DROPS)
    gate = next(result.verdict for result in toy.done.results if result.stage == "compare" and DROPS[0] in result.key)
    assert gate is not None
    names = [expectation.name for expectation in gate.expectations]
    assert "on-device and re-inferred scores agree within 0.25 for all but 1% of the attempts" in names
    assert "score lies in [0, any]" in names


def test_gates_ask_for_the_templates_of_the_toy() -> None:
    names = {modality.name: {rule.name for rule in INFER.suite(modality).rules} for modality in (FACE, TOY)}
    assert "every template has unit norm within 0.001" in names["face"] - names["toy"]
    assert "all templates have one dimension" in names["face"] & names["toy"]
    (status,) = (name for name in names["toy"] if name.startswith("status is one of"))
    assert status == "status is one of ok, all_black, missing_frame, corrupt_image, image_bomb, unsupported_format"


def test_slices_find_what_was_planted_in_a_condition_of_the_toy(toy: ToyLake) -> None:
    first = toy.rows(FAILURE_SLICES).filter(finding="confirmed").sort("rank").row(0, named=True)
    assert first["condition"] == "surface is wet"


def test_the_page_speaks_of_the_conditions_and_scores_of_the_toy(toy: ToyLake) -> None:
    html = toy.workspace.report_path(BUILD).read_text()
    page = words(html)
    assert "Failure report, toy verification" in page
    assert "Decision threshold9.0 (Euclidean distance)" in page
    assert "impostor comparisons with a score at or below the threshold" in page
    assert "genuine (mated) comparisons with a score above the threshold" in page
    assert "rejects with the highest scores" in page
    assert f"accept ≤ {THRESHOLD:g}" in html
    assert "FNMR by plate tilt in degrees" in page
    assert "FNMR by plate surface" in page
    for foreign in ("illuminance", "eyewear", "cosine", "thermal"):
        assert foreign not in html.split("</style>")[1].split("<script>")[0].lower()


def test_the_worst_failures_of_the_toy_are_the_largest_distances(toy: ToyLake) -> None:
    page = words(toy.workspace.report_path(BUILD).read_text())
    largest = sorted(genuine_distances(toy.seen), reverse=True)[:3]
    shown = [float(score) for score in re.findall(r"Score ?(\d+(?:\.\d+)?) ?Baseline", page)]
    assert shown[:3] == pytest.approx(largest, rel=5e-3), "three significant digits"
    assert shown == sorted(shown, reverse=True)


def test_a_comparator_that_leaves_its_range_is_named_with_the_value() -> None:
    narrow = replace(TOY, comparator=replace(EUCLIDEAN, score_range=(0.0, 1.0)))
    vectors = np.array([[0.0, 0.0], [3.0, 4.0]])
    rows = np.array([0, 0]), np.array([0, 1])
    with pytest.raises(MetricError, match=r"modality 'toy' declares Euclidean distance scores in \[0, 1\].* gave 5"):
        narrow.scores(vectors, vectors, rows)
    with pytest.raises(MetricError, match="gave nan"):
        narrow.scores(vectors * np.nan, vectors, rows)
    side = Side(vectors, np.array(["a", "b"]))
    with pytest.raises(MetricError, match="gave 5"):
        narrow.count(side, side)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gain": None}, r"toy-1\.yaml: missing key 'gain' \(a build of modality toy\)"),
        ({"embedding_dim": 4}, r"toy-1\.yaml: unknown key 'embedding_dim'.*\(a build of modality toy\)"),
        ({"decision_threshold": -0.5}, r"toy-1\.yaml: decision_threshold: expected .*found -0\.5"),
    ],
)
def test_an_entry_that_lacks_what_the_toy_needs_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    workspace = toy_workspace(tmp_path)
    write_toy_entry(tmp_path / "registry", **changes)
    with pytest.raises(RegistryError, match=message):
        workspace.registry.entry(BUILD)


def test_parity_of_the_toy_accepts_small_distances(toy: ToyLake) -> None:
    outcomes = pl.concat([toy.rows(ATTEMPT_OUTCOMES, drop=drop) for drop in DROPS]).drop_nulls("device_score")
    whole = toy.rows(PARITY).row(by_predicate=pl.col("dimension") == "all", named=True)
    flips = outcomes.filter((pl.col("score") <= THRESHOLD) != (pl.col("device_score") <= THRESHOLD))
    assert whole["n_scores"] == outcomes.drop_nulls("score").height > 0
    assert whole["n_beyond"] == len(DROPS)
    assert whole["numerator"] == flips.height
    assert whole["n_device_only"] == flips.filter(pl.col("device_score") <= THRESHOLD).height
