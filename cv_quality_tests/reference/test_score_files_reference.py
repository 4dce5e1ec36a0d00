"""The readers on files of other tools, against the published numbers of these files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.errors import ScoreFileError
from cv_quality.metrics.verification import eer, fnmr_at_fmr, rates_at
from cv_quality.scores.grouping import group_files
from cv_quality.scores.reading import read_scores
from cv_quality.scores.score_set import ScoreSet

Shared = Callable[[str], Path]
TARGETS = (0.1, 0.05, 0.01, 0.001, 0.0)
PYEER = {
    "exp1": (2793, 4950, 0.080862, (0.07483, 0.09667, 0.128894, 0.291443, 0.319012)),
    "exp2": (180, 3619, 0.04419, (0.016667, 0.044444, 0.088889, 0.188889, 0.194444)),
    "exp3": (2786, 66633, 0.114169, (0.119167, 0.133525, 0.163317, 0.213568, 0.276741)),
}
BSSR1 = {"face-C": 0.0445, "face-G": 0.0580, "finger-left": 0.0851, "finger-right": 0.0504}
BOB_MEASURE = {
    "dev-1": (-8.025286e-03, (31, 495), (28, 451), 54),
    "test-1": (-8.025286e-03, (27, 479), (29, 473), 48),
    "dev-2": (1.652567e-02, (23, 501), (20, 446), 53),
    "test-2": (1.652567e-02, (16, 480), (33, 471), 49),
}
"""Threshold, false matches, false non-matches and NaN rows, as bob.measure reports them."""
GRADGPAD_REAL = r"^csmad_bonafide/|^hkbuV2_real/|^siw-m_Live/|^rose-youtu_[0-9]+/G_|^[^/]+/(real|live)/"


def bob_file(shared_data: Shared, name: str) -> Path:
    return shared_data("scores_bob_bio_base") / "tests" / "data" / name


def nearest_crossing(genuine: NDArray[np.floating], impostor: NDArray[np.floating]) -> float:
    """The mean of both rates where they are nearest: the convention of the published BSSR1 numbers."""
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    fmr = 1 - np.searchsorted(np.sort(impostor), thresholds) / len(impostor)
    fnmr = np.searchsorted(np.sort(genuine), thresholds) / len(genuine)
    best = int(np.argmin(np.abs(fmr - fnmr)))
    return float(fmr[best] + fnmr[best]) / 2


def assert_is_pyeer(found: ScoreSet, name: str) -> None:
    n_genuine, n_impostor, rate, fnmr = PYEER[name]
    assert (found.n_genuine, found.n_impostor) == (n_genuine, n_impostor)
    assert eer(found.genuine, found.impostor).value == pytest.approx(rate, abs=1e-6)
    for target, expected in zip(TARGETS, fnmr, strict=True):
        answer = fnmr_at_fmr(found.genuine, found.impostor, fmr=target).rates
        assert answer is not None
        assert answer.fnmr == pytest.approx(expected, abs=1e-6)


def test_pyeers_lists_are_paired_by_name_and_give_its_numbers(shared_data: Shared) -> None:
    folder = shared_data("scores_pyeer") / "pyeer" / "example_files" / "non_hist"
    groups = group_files(sorted(folder.iterdir()))
    assert [group.name for group in groups] == sorted(PYEER)
    for group in groups:
        assert_is_pyeer(read_scores(group.paths), group.name)


def test_pyeers_histogram_stands_for_the_list_of_its_third_experiment(shared_data: Shared) -> None:
    folder = shared_data("scores_pyeer") / "pyeer" / "example_files" / "hist"
    (group,) = group_files(sorted(folder.iterdir()))
    found = read_scores(group.paths)
    assert found.format == "histogram + list"
    assert_is_pyeer(found, "exp3")
    assert_is_pyeer(read_scores(group.paths, format="histogram"), "exp3")


def test_pyeers_identification_scores_have_one_true_pair_a_query(shared_data: Shared) -> None:
    folder = shared_data("scores_pyeer") / "pyeer" / "example_files" / "cmc"
    for group in group_files(sorted(folder.iterdir())):
        found = read_scores(group.paths)
        assert (found.format, found.n_genuine, found.n_impostor) == ("pairs", 85, 21_760)


@pytest.mark.parametrize("name", sorted(BSSR1))
def test_the_bssr1_matrices_give_the_published_equal_error_rates(shared_data: Shared, name: str) -> None:
    path = shared_data("scores_nist_bssr1_set1") / f"{name}.csv"
    found = read_scores(path, sentinel="keep")
    assert (found.format, found.n_genuine, found.n_impostor) == ("matrix", 517, 517 * 516)
    crossing = eer(found.genuine, found.impostor)
    assert crossing.nearest == pytest.approx(BSSR1[name], abs=5e-5)
    assert crossing.nearest == pytest.approx(nearest_crossing(found.genuine, found.impostor), abs=1e-12)
    assert crossing.value <= crossing.nearest
    values = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 518))
    np.testing.assert_array_equal(found.genuine, np.diagonal(values))
    np.testing.assert_array_equal(found.impostor, values[~np.eye(517, dtype=bool)])


def test_without_its_failed_enrolment_face_c_falls_and_the_others_stay(shared_data: Shared) -> None:
    folder = shared_data("scores_nist_bssr1_set1")
    kept, apart = (read_scores(folder / "face-C.csv", sentinel=how) for how in ("keep", "detect"))  # type: ignore[arg-type]
    assert apart.excluded_by_reason() == {"failed_enrolment": 517}
    assert (apart.n_genuine, apart.n_impostor, apart.n_failed_enrolments) == (516, 516 * 516, 1)
    header = (folder / "face-C.csv").read_text().split("\n", 1)[0].split(",")
    assert apart.failed_subjects == (header[1:][365],)
    assert nearest_crossing(kept.genuine, kept.impostor) == pytest.approx(0.04448, abs=1e-5)
    assert nearest_crossing(apart.genuine, apart.impostor) == pytest.approx(0.042636, abs=1e-6)
    assert eer(apart.genuine, apart.impostor).value < eer(kept.genuine, kept.impostor).value
    for name in sorted(set(BSSR1) - {"face-C"}):
        assert read_scores(folder / f"{name}.csv").n_excluded() == 0


@pytest.mark.parametrize("name", sorted(BOB_MEASURE))
def test_two_column_files_give_bobs_rates_with_nan_as_failure_to_acquire(shared_data: Shared, name: str) -> None:
    threshold, false_matches, false_non_matches, n_nan = BOB_MEASURE[name]
    found = read_scores(shared_data("scores_bob_measure") / "tests" / "data" / f"{name}.txt")
    rates = rates_at(found.genuine, found.impostor, threshold=threshold)
    assert (rates.n_false_matches, rates.n_impostor) == false_matches
    assert (rates.n_false_non_matches, rates.n_genuine) == false_non_matches
    assert found.excluded_by_reason() == {"failure_to_acquire": n_nan}


def test_bobs_frr_follows_from_the_failures_to_acquire_that_were_set_apart(shared_data: Shared) -> None:
    found = read_scores(shared_data("scores_bob_measure") / "tests" / "data" / "dev-1.txt")
    rates = rates_at(found.genuine, found.impostor, threshold=BOB_MEASURE["dev-1"][0])
    fta = found.n_excluded("failure_to_acquire") / 1000
    assert fta + rates.fnmr * (1 - fta) == pytest.approx(0.11273, abs=5e-6)
    assert rates.fmr * (1 - fta) == pytest.approx(0.05924, abs=5e-6)


@pytest.mark.parametrize("name", ["dev", "test", "scores-cmc"])
def test_bobs_four_and_five_columns_hold_the_same_comparisons(shared_data: Shared, name: str) -> None:
    four, five = (read_scores(bob_file(shared_data, f"{name}-{n}col.txt")) for n in (4, 5))
    assert (four.format, five.format) == ("bob4", "bob5")
    assert four.rows.equals(five.rows.select(four.rows.columns))
    assert four.has_subjects


def test_a_bee_matrix_holds_the_scores_of_bobs_text_file(shared_data: Shared) -> None:
    text = read_scores(bob_file(shared_data, "scores-cmc-4col.txt"))
    for name in ("scores", "search"):
        binary = read_scores([bob_file(shared_data, f"{name}.{kind}") for kind in ("mtx", "mask")])
        assert (binary.polarity, binary.polarity_source) == ("similarity", "declared")
        np.testing.assert_array_equal(np.sort(binary.genuine), np.sort(text.genuine.astype(np.float32)))
        np.testing.assert_array_equal(np.sort(binary.impostor), np.sort(text.impostor.astype(np.float32)))


@pytest.mark.parametrize("name", ["scores-nonorm-dev", "scores-ztnorm-fivecol-dev", "scores-nonorm-openset-dev"])
def test_bobs_distances_are_detected_and_their_calibration_is_not_one(shared_data: Shared, name: str) -> None:
    found = read_scores(bob_file(shared_data, name))
    assert (found.polarity, found.polarity_source) == ("distance", "detected")
    assert eer(found.genuine, found.impostor).value < 0.5


@pytest.mark.parametrize("suffix", ["", "-one-error", "-two-errors"])
def test_bobs_open_set_files_are_sound_and_their_errors_are_of_recognition(shared_data: Shared, suffix: str) -> None:
    found = read_scores(bob_file(shared_data, f"scores-cmc-4col-open-set{suffix}.txt"), polarity="similarity")
    assert (found.n_genuine, found.n_impostor, found.n_excluded()) == (7, 20, 0)
    assert any("open set: 2 subjects in no model, 6 comparisons" in note for note in found.notes)
    worst, best = found.genuine.min(), found.impostor.max()
    assert (worst, best) == {"": (1.0, 0.0), "-one-error": (-0.1, 0.0), "-two-errors": (-0.1, 10.0)}[suffix]


@pytest.mark.parametrize("name", ["scores-dev.csv", "scores-eval-med.csv"])
def test_bobs_vulnerability_tables_keep_presentation_attacks_apart(shared_data: Shared, name: str) -> None:
    found = read_scores(bob_file(shared_data, "vuln") / name)
    assert (found.n_genuine, found.n_impostor, len(found.attacks)) == (5000, 5000, 5000)
    assert found.attacks["species"].unique().to_list() == ["pai"]


@pytest.mark.parametrize(
    "path", ["tests/data/test_m1.txt", "tests/data/test_m2.txt", "tests/data/nonsep-roc.hdf5", "LICENSE"]
)
def test_files_that_hold_no_scores_are_refused(shared_data: Shared, path: str) -> None:
    with pytest.raises(ScoreFileError):
        read_scores(shared_data("scores_bob_measure") / path)


def test_liveness_scores_need_a_pattern_and_are_found_to_rise_with_attack(shared_data: Shared) -> None:
    folder = shared_data("pad_gradgpad_quality")
    with pytest.raises(ScoreFileError, match="nothing says which are bona fide"):
        read_scores(folder / "quality_rbf_cross_dataset_hkbuv2_devel.json")
    found = read_scores(
        folder / "quality_rbf_intradataset_replay_attack_test.json",
        genuine_pattern=GRADGPAD_REAL,
        species_pattern=r"highdef_(photo|video)|_(print|mobile)_",
    )
    assert (found.kind, found.n_genuine + found.n_impostor) == ("liveness", 475)
    assert (found.polarity, found.polarity_source) == ("attack", "detected")
    assert found.genuine.mean() > found.impostor.mean()


def test_every_liveness_file_is_read(shared_data: Shared) -> None:
    files = sorted(shared_data("pad_gradgpad_quality").glob("*.json"))
    assert len(files) == 76
    for path in files:
        found = read_scores(path, genuine_pattern=".", polarity="attack")
        assert found.n_genuine > 0
        assert found.rows["score"].is_between(-1, 0).all()


def test_embeddings_are_no_scores(shared_data: Shared) -> None:
    with pytest.raises(ScoreFileError, match="expected arrays genuine and impostor"):
        read_scores(shared_data("derived_embeddings") / "orl_emb.npz")
