"""The page about liveness scores: the worst species first, no subject named, the same bytes twice."""

from pathlib import Path

import numpy as np
import pytest

from cv_quality.reports.liveness_page import AnsweredLiveness, finding, write_liveness_page
from cv_quality.scores.liveness import LivenessEvaluation, evaluate_liveness, presentations_of
from cv_quality.scores.reading import read_scores
from cv_quality.studies.pad_profiles import answer_profile, count_errors, load_profile

THRESHOLD = 0.5


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bona fide presentations, a print that fails and a mask that passes, of named subjects."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("scores") / "pad.csv"
    lines = ["score,bonafide,species,artefact,subject"]
    for number in range(300):
        for kind, mean in (("", 0.8), ("print", 0.1), ("mask", 0.6)):
            artefact = f"{kind}-{number % 12}" if kind else ""
            lines.append(f"{rng.normal(mean, 0.15):.4f},{int(not kind)},{kind},{artefact},Xaver{number % 30}")
    path.write_text("\n".join(lines) + "\n")
    return path


def evaluated(table: Path) -> LivenessEvaluation:
    return evaluate_liveness(read_scores(table), threshold=THRESHOLD)


def test_page_says_the_worst_species_first_and_names_no_subject(table: Path, tmp_path: Path) -> None:
    scores = read_scores(table)
    counted = count_errors(presentations_of(scores), threshold=THRESHOLD)
    answered = answer_profile(load_profile("android-class-2"), counted)
    found = evaluated(table)
    write_liveness_page([AnsweredLiveness(found, answered)], target=tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert text.index("the worst species, mask,") < text.index("<main>")
    assert text.index(">mask<") < text.index(">print<")
    assert "Xaver" not in text
    assert "android-class-2" in text
    assert "FNMR" not in text.split("<script", 1)[0]
    write_liveness_page([AnsweredLiveness(found, answered)], target=tmp_path / "b.html")
    assert (tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()


def test_finding_holds_the_rates_of_the_leading_point(table: Path) -> None:
    point = evaluated(table).leading
    assert point is not None
    assert point.rates is not None
    assert point.rates.worst is not None
    assert point.name == "given threshold"
    assert f"{100 * point.rates.worst.value:g} % of its presentations" in finding(point)
    assert finding(None).startswith("No working point")
