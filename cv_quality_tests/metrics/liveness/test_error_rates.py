"""Rates of liveness against figures of public scores, counts by hand and the order of thresholds."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.error_rates import bpcer_at_apcer, liveness_curve, liveness_rates
from cv_quality.metrics.liveness.presentations import Presentations, check_presentations

OULU = {"2": "print1", "3": "print2", "4": "replay1", "5": "replay2"}
CASIA = {"3": "warp", "4": "warp", "HR_2": "warp", "5": "cut", "6": "cut", "HR_3": "cut"} | {
    "7": "replay",
    "8": "replay",
    "HR_4": "replay",
}
Rows = list[tuple[float, str, str]]


def presented(rows: Rows) -> Presentations:
    """Attack scores by species and subject, turned so that higher is more surely bona fide."""
    scores, species, subjects = zip(*rows, strict=True)
    kinds = np.array(species)
    return check_presentations(-np.array(scores), kinds != "", species=kinds, subject=subjects)


def read(folder: Path, name: str, pattern: str, kinds: dict[str, str]) -> Presentations:
    """Groups of the pattern: subject and kind."""
    found = json.loads((folder / name).read_text())
    parts = {key: re.search(pattern, key) for key in found}
    return presented(
        [(score, kinds.get(part["kind"], ""), part["who"]) for key, score in found.items() if (part := parts[key])]
    )


def oulu(shared_data: Callable[[str], Path]) -> Presentations:
    name = "quality_rbf_intradataset_oulu_npu_test.json"
    return read(shared_data("pad_gradgpad_quality"), name, r"/\d_\d_(?P<who>\d+)_(?P<kind>\d)\.avi", OULU)


def casia(shared_data: Callable[[str], Path]) -> Presentations:
    name = "quality_rbf_cross_dataset_casia_fasd_test.json"
    return read(shared_data("pad_gradgpad_quality"), name, r"release/(?P<who>\d+)/(?P<kind>\w+)\.avi", CASIA)


def counts(shown: Presentations, threshold: float) -> dict[str, tuple[int, int]]:
    """Errors and presentations of bona fide and every species where attacks score at least the threshold."""
    rates = liveness_rates(shown, threshold=float(np.nextafter(-threshold, np.inf)))
    species = {one.species: (one.rate.numerator, one.rate.denominator) for one in rates.species}
    return {"bona fide": (rates.bpcer.numerator, rates.bpcer.denominator), **species}


def test_oulu_npu_gives_the_counts_that_were_measured_of_it(shared_data: Callable[[str], Path]) -> None:
    shown = oulu(shared_data)
    assert counts(shown, 0.967230) == {
        "bona fide": (63, 360),
        "print1": (63, 360),
        "print2": (61, 359),
        "replay1": (94, 360),
        "replay2": (33, 359),
    }
    worst = liveness_rates(shown, threshold=-0.967230).worst
    assert worst is not None
    assert worst.species == "replay1"
    assert shown.attack_unit == "subject"


def test_oulu_npu_gives_the_bpcer_that_was_measured_at_each_apcer(shared_data: Callable[[str], Path]) -> None:
    shown = oulu(shared_data)
    found = [bpcer_at_apcer(shown, target=target).bpcer for target in (0.1, 0.05, 0.01)]
    assert [round(rate.value, 4) for rate in found if rate and rate.value is not None] == [0.3139, 0.4139, 0.8]


def test_casia_fasd_gives_the_figures_that_were_measured_of_it(shared_data: Callable[[str], Path]) -> None:
    shown = casia(shared_data)
    found = counts(shown, 0.950231)
    assert (found["cut"], found["warp"], found["replay"]) == ((53, 90), (43, 90), (3, 90))
    points = [bpcer_at_apcer(shown, target=target) for target in (0.1, 0.05, 0.01)]
    assert [round(point.bpcer_as_seen, 3) for point in points] == [0.9, 0.922, 0.956]
    assert [point.status for point in points] == ["ok", "ok", "undefined"]
    assert points[2].reason == (
        "needs 100 presentations of every species with a response: cut has 90, replay has 90, warp has 90"
    )


def test_score_at_the_threshold_is_an_error_of_attacks_only() -> None:
    shown = check_presentations([0.5, 0.5], [False, True], species=["", "mask"])
    rates = liveness_rates(shown, threshold=0.5)
    assert (rates.bpcer.value, rates.species[0].rate.value) == (0.0, 1.0)


def test_pooling_would_flatter_the_worst_species() -> None:
    rows: Rows = [(0.9, "print", str(i)) for i in range(95)] + [(0.1, "mask", str(i)) for i in range(5)]
    worst = liveness_rates(presented([*rows, (0.0, "", "0")]), threshold=-0.5).worst
    assert worst is not None
    assert (worst.species, worst.value) == ("mask", 1.0)


def test_non_responses_are_in_their_own_rates_and_no_denominator_of_errors() -> None:
    scores = [0.9, np.nan, 0.8, 0.1, np.nan, np.nan]
    shown = check_presentations(
        scores, [False, False, True, True, True, True], species=["", "", "mask", "mask", "mask", "print"]
    )
    rates = liveness_rates(shown, threshold=0.5)
    mask, print_ = rates.species
    assert (mask.rate.numerator, mask.rate.denominator, mask.non_response.numerator) == (1, 2, 1)
    assert (rates.bpcer.denominator, rates.bpnrr.value) == (1, 0.5)
    assert (print_.rate.value, print_.rate.reason) == (None, "no response to any presentation")
    assert print_.non_response.value == 1
    assert rates.worst is not None
    assert (rates.worst.species, rates.worst.is_sufficient) == ("mask", False)


def test_target_is_never_exceeded_by_any_species_and_the_next_threshold_exceeds_it() -> None:
    rng = np.random.default_rng(5)
    kinds = np.array([""] * 300 + ["a"] * 200 + ["b"] * 150)
    scores = np.round(rng.normal(np.where(kinds == "", 1.5, np.where(kinds == "a", 0, 0.6))), 1)
    shown = check_presentations(scores, kinds != "", species=kinds)
    for target in (0.2, 0.1, 0.05, 0.02):
        point = bpcer_at_apcer(shown, target=target)
        assert point.threshold is not None
        below = max(score for score in scores if score < point.threshold)
        at, before = (liveness_rates(shown, threshold=t).worst for t in (point.threshold, below))
        assert at is not None
        assert before is not None
        assert at.value <= target < before.value


def test_curve_agrees_with_the_rates_at_its_thresholds() -> None:
    rng = np.random.default_rng(2)
    kinds = np.array([""] * 60 + ["a"] * 40 + ["b"] * 30)
    shown = check_presentations(rng.normal(kinds == "", 1).round(1), kinds != "", species=kinds)
    curve = liveness_curve(shown)
    for at in (0, 7, len(curve.thresholds) - 1):
        rates = liveness_rates(shown, threshold=float(curve.thresholds[at]))
        assert rates.worst is not None
        assert (rates.bpcer.value, rates.worst.value) == (curve.bpcer[at], curve.apcer[at])
    assert np.all(np.diff(curve.bpcer) >= 0)
    assert np.all(np.diff(curve.apcer) <= 0)


def test_bounds_of_all_species_together_are_wider_than_those_of_one() -> None:
    rng = np.random.default_rng(1)
    rows: Rows = [(float(rng.normal()), kind, str(n % 30)) for kind in "abc" for n in range(300)]
    rates = liveness_rates(presented([*rows, (0.0, "", "x")]), threshold=0.5)
    for one in rates.species:
        assert one.simultaneous_low is not None
        assert one.simultaneous_high is not None
        assert one.rate.low is not None
        assert one.rate.high is not None
        assert one.simultaneous_low < one.rate.low < one.rate.high < one.simultaneous_high
    assert rates.worst is not None
    assert rates.worst.low == max(one.simultaneous_low or 0 for one in rates.species)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"species": ["print", "print"]}, "1 bona fide presentations have species named"),
        ({"species": ["", ""]}, "1 of 1 attacks have no species"),
        ({"artefact": ["1", "1"]}, "1 bona fide presentations have artefact named"),
    ],
)
def test_what_only_attacks_have_is_refused_elsewhere(given: dict[str, list[str]], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        check_presentations([0.1, 0.2], [False, True], **given)


def test_artefact_under_two_species_is_refused_by_name() -> None:
    with pytest.raises(MetricError, match="artefact 'a7' stands under 2 species"):
        check_presentations([0.1, 0.2], [True, True], species=["mask", "print"], artefact=["a7", "a7"])


def test_one_class_has_no_working_point() -> None:
    only = check_presentations([0.1], [True], species=["mask"])
    for working in (lambda: bpcer_at_apcer(only, target=0.1), lambda: liveness_curve(only)):
        with pytest.raises(MetricError, match="no bona fide presentation with a response"):
            working()
    assert liveness_rates(only, threshold=0.5).bpcer.reason == "no trial"


def test_what_stands_in_for_artefacts_is_said() -> None:
    attack, kinds = [True, True], ["mask", "mask"]
    assert "independence assumed" in check_presentations([0.1, 0.2], attack, species=kinds).warnings[0]
    assert "subjects stand in" in check_presentations([0.1, 0.2], attack, species=kinds, subject=["p", "q"]).warnings[0]
    alike = check_presentations([0.1, 0.2], attack, species=kinds, subject=["p", "q"], artefact=["p", "q"])
    assert "named as the subjects" in alike.warnings[0]
