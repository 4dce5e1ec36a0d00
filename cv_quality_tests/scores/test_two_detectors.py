"""Files with the scores of two detectors: alone, by AND, by OR and fused, on the same presentations."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.errors import ScoreFileError
from cv_quality.reports.liveness_policies import compare_scores
from cv_quality.scores.liveness import evaluate_liveness, presentations_of, second_scores_of
from cv_quality.scores.reading import read_scores
from cv_quality_tests.tasks.liveness.presented import simulated

COLUMNS = "score=depth,second_score=texture"


def two_scores(path: Path, *, seed: int = 0, sign: int = 1, n: int = 1200) -> Path:
    """A table of simulated presentations with two scores; those of attacks are the high ones where `sign` is -1."""
    names = ("event_id", "presented", "pai_species", "artefact_id", "subject_id", "response", "depth", "texture")
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, names, extrasaction="ignore")
        table.writeheader()
        for event in simulated(n, seed=seed):
            scores = {"depth": event["pad_score"], "texture": event["second_pad_score"]}
            turned = {name: None if value is None else sign * float(str(value)) for name, value in scores.items()}
            who = event["target_subject_id"] if event["presented"] == "attack" else event["subject_id"]
            table.writerow(event | turned | {"subject_id": who})
    return path


def test_policies_are_compared_where_a_second_score_is_named(tmp_path: Path) -> None:
    path, page = two_scores(tmp_path / "two.csv"), tmp_path / "two.html"
    how = ["evaluate", str(path), "--columns", f"{COLUMNS},is_genuine=presented", "--apcer", "10%"]
    result = CliRunner().invoke(main, [*how, "--report", str(page)])
    assert result.exit_code == 0, result.output
    assert "two detectors: thresholds chosen on half, tried on the other half" in result.output
    for name in ("first detector", "second detector", "both (AND)", "either (OR)", "fused score"):
        assert name in result.output
        assert name in page.read_text()
    document = json.loads(CliRunner().invoke(main, [*how, "--json"]).stdout)
    (compared,) = document["policies"]
    assert [one["policy"]["rule"]["policy"] for one in compared["policies"]] == [
        "first",
        "second",
        "and",
        "or",
        "fusion",
    ]


def test_scores_of_attacks_give_the_same_decisions_as_those_of_people(tmp_path: Path) -> None:
    found = []
    for sign, polarity in ((1, "similarity"), (-1, "attack")):
        path = two_scores(tmp_path / f"{polarity}.csv", sign=sign)
        scores = read_scores(path, columns=f"{COLUMNS},is_genuine=presented", polarity=polarity)  # type: ignore[arg-type]
        found.append(compare_scores(scores, apcer_targets=[0.1])[0].policies)
    for one, other in zip(*found, strict=True):
        assert one.policy.rates is not None
        assert other.policy.rates is not None
        assert one.policy.rates.bpcer == other.policy.rates.bpcer
        assert one.policy.rule.thresholds == pytest.approx([-value for value in other.policy.rule.thresholds])


def test_thresholds_of_a_development_set_leave_the_whole_set_to_be_tried(tmp_path: Path) -> None:
    sets = [
        read_scores(two_scores(tmp_path / f"{seed}.csv", seed=seed), columns=f"{COLUMNS},is_genuine=presented")
        for seed in (0, 1)
    ]
    compared = compare_scores(sets[0], devel=sets[1], apcer_targets=[0.1])[0]
    assert (compared.n_chosen_on, compared.n_tried_on) == (1200, 1200)
    one_score = read_scores(tmp_path / "1.csv", columns="score=depth,is_genuine=presented")
    with pytest.raises(ScoreFileError, match="has no second score"):
        compare_scores(sets[0], devel=one_score)


def test_second_scores_stand_beside_their_own_presentations(tmp_path: Path) -> None:
    scores = read_scores(two_scores(tmp_path / "two.csv"), columns=f"{COLUMNS},is_genuine=presented")
    second, shown = second_scores_of(scores), presentations_of(scores)
    assert second is not None
    expected = {event["pad_score"]: event["second_pad_score"] for event in simulated(1200) if event["response"] == "ok"}
    answered = shown.scores[shown.has_response].tolist()
    assert second[shown.has_response].tolist() == [expected[score] for score in answered]


def test_second_score_that_points_the_other_way_is_warned_of(tmp_path: Path) -> None:
    path = two_scores(tmp_path / "two.csv")
    header, *lines = path.read_text().splitlines()
    turned = [",".join([*line.split(",")[:-1], str(-float(line.split(",")[-1] or 0))]) for line in lines]
    path.write_text("\n".join([header, *turned]))
    found = evaluate_liveness(read_scores(path, columns=f"{COLUMNS},is_genuine=presented"), apcer_targets=[0.1])
    assert any("the second scores point the other way" in text for text in found.warnings)


@pytest.mark.parametrize("weights", ["2", "a,b", "0,1", "1,-1"])
def test_weights_that_make_no_fusion_are_refused(tmp_path: Path, weights: str) -> None:
    result = CliRunner().invoke(main, ["evaluate", str(two_scores(tmp_path / "x.csv", n=50)), "--fusion", weights])
    assert result.exit_code == 2
    assert "--fusion" in result.output
