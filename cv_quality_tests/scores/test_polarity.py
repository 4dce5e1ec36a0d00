"""Which way scores point is declared or detected, always said, and never guessed from too little."""

import tempfile
from pathlib import Path

import numpy as np

from cv_quality.scores.polarity import decide_polarity
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import Truth, write_every_format


def test_distances_are_detected_negated_and_loudly_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    truth = Truth(tuple(rng.normal(0, 1, 40)), tuple(rng.normal(3, 1, 200)))
    for paths in write_every_format(tmp_path, truth).values():
        found = read_scores(paths)
        assert (found.polarity, found.polarity_source, found.is_negated) == ("distance", "detected", True)
        assert any(warning.startswith("REVERSED") for warning in found.warnings)
        assert found.genuine.mean() > found.impostor.mean()


def test_reversed_liveness_scores_are_scores_of_an_attack() -> None:
    found = decide_polarity(np.arange(50), np.arange(40, 140), declared=None, is_liveness=True)
    assert (found.polarity, found.source) == ("attack", "detected")
    assert "higher is more surely an attack" in found.warnings[0]


def test_scores_that_tell_nothing_are_taken_as_similarities_with_a_warning() -> None:
    found = decide_polarity(np.arange(100), np.arange(100), declared=None, is_liveness=False)
    assert (found.polarity, found.source) == ("similarity", "assumed")
    assert "does not tell" in found.warnings[0]


def test_a_declaration_counts_even_against_the_scores_which_is_a_warning() -> None:
    found = decide_polarity(np.arange(50), np.arange(40, 140), declared="similarity", is_liveness=False)
    assert (found.polarity, found.source) == ("similarity", "declared")
    assert "say the reverse" in found.warnings[0]
    sound = decide_polarity(np.arange(50), np.arange(40, 140), declared="distance", is_liveness=False)
    assert sound.warnings == ()


def test_detection_gives_the_same_set_as_the_right_declaration() -> None:
    rng = np.random.default_rng(2)
    truth = Truth(tuple(rng.normal(0, 1, 40)), tuple(rng.normal(3, 1, 200)))
    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_every_format(Path(folder), truth)["two-column"]
        assert read_scores(path).rows.equals(read_scores(path, polarity="distance").rows)
