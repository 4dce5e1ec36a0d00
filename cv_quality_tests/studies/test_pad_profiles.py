"""Requirements on liveness: profiles as data, and their answers by species with the bound that was used."""

from pathlib import Path

import numpy as np
import pytest

from cv_quality.errors import PolicyError
from cv_quality.metrics.liveness.presentations import check_presentations
from cv_quality.studies.pad_profiles import (
    CountedErrors,
    PadMetric,
    answer_profile,
    count_errors,
    known_profiles,
    load_profile,
    read_profile,
)


def counted(metric: PadMetric, name: str, errors: list[int], shown: int = 10) -> CountedErrors:
    return CountedErrors(metric, name, np.array(errors), np.full(len(errors), shown), "artefact")


def verdicts(profile: str, *items: CountedErrors) -> dict[str, str]:
    found = answer_profile(load_profile(profile), items)
    return {"all of it": found.verdict, **{answer.name: answer.verdict for answer in found.answers}}


def test_every_profile_of_the_package_is_read() -> None:
    assert set(known_profiles()) >= {"android-class-2", "android-class-3", "cpp-level-1", "cpp-level-2", "fido"}
    for name in known_profiles():
        profile = load_profile(name)
        assert profile.name == name
        assert profile.source


def test_one_failing_species_fails_the_whole_and_a_small_one_leaves_it_open() -> None:
    good, bad, few = counted("iapar", "print", [0] * 60), counted("iapar", "mask", [4] * 60), [0] * 4
    assert verdicts("android-class-3", good) == {"all of it": "pass", "print": "pass"}
    assert verdicts("android-class-3", good, bad) == {"all of it": "fail", "print": "pass", "mask": "fail"}
    open_ = verdicts("android-class-3", good, counted("iapar", "head", few))
    assert open_ == {"all of it": "insufficient", "print": "pass", "head": "insufficient"}


def test_level_of_the_profile_decides_how_many_artefacts_suffice() -> None:
    """Without an error 42 artefacts hold 7 % at 95 %, and 32 at the 90 % of an 80 % interval."""
    for profile, needed in (("android-class-3", 42), ("cpp-level-2", 32)):
        assert verdicts(profile, counted("iapar", "print", [0] * needed))["print"] == "pass"
        assert verdicts(profile, counted("iapar", "print", [0] * (needed - 1)))["print"] == "insufficient"


def test_apcer_stands_in_for_iapar_that_it_bounds_but_never_fails_it() -> None:
    assert verdicts("android-class-3", counted("apcer", "print", [0] * 60))["print"] == "pass"
    assert verdicts("android-class-3", counted("apcer", "print", [9] * 60))["print"] == "insufficient"
    (answer,) = answer_profile(load_profile("android-class-3"), [counted("apcer", "print", [0] * 60)]).answers
    assert "by APCER, which IAPAR cannot exceed (one-sided bound of 95 %)" in answer.reason


def test_what_was_not_measured_is_insufficient() -> None:
    found = answer_profile(load_profile("fido"), [counted("iapar", "print", [0] * 60)])
    assert [(one.metric, one.verdict, one.reason) for one in found.answers][1] == (
        "frr",
        "insufficient",
        "insufficient: FRR was not measured",
    )
    assert found.verdict == "insufficient"


def test_group_may_be_a_quarter_worse_than_all_together() -> None:
    whole = counted("bpcer", "all", [2] * 400, 20)
    groups = [counted("bpcer", "young", [2] * 300, 20), counted("bpcer", "old", [5] * 300, 20)]
    found = verdicts("nist-sp-800-63a-4", counted("iapar", "print", [0] * 60), whole, *groups)
    assert (found["young"], found["old"], found["all of it"]) == ("pass", "fail", "fail")


def test_errors_are_counted_of_every_metric_that_presentations_show() -> None:
    shown = check_presentations(
        [0.9, 0.1, np.nan, 0.8, 0.7],
        [False, False, True, True, True],
        species=["", "", "mask", "mask", "mask"],
        artefact=["", "", "a", "a", "b"],
    )
    found = {
        (one.metric, one.name): (one.errors.tolist(), one.trials.tolist()) for one in count_errors(shown, threshold=0.5)
    }
    assert found["apcer", "mask"] == ([1, 1], [1, 1])
    assert found["apnrr", "mask"] == ([1, 0], [2, 1])
    assert found["bpcer", "all"] == ([0, 1], [1, 1])
    assert ("iapar", "mask") not in found
    passed = count_errors(shown, threshold=0.5, is_match=[True, False, False, True, False])
    system = {(one.metric, one.name): one.errors.sum() for one in passed}
    assert (system["iapar", "mask"], system["frr", "all"]) == (1, 1)


def test_independence_that_is_only_assumed_settles_nothing() -> None:
    shown = check_presentations([0.1] * 100, [True] * 100, species=["mask"] * 100)
    found = answer_profile(load_profile("android-class-3"), count_errors(shown, threshold=0.5))
    assert found.answers[0].reason.startswith("insufficient: neither artefacts nor subjects known")


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("{id: a, metric: acer, limit: 5 %}", "expected apcer or"),
        ("{id: a, metric: apcer, limit: 7}", "a rate above 0 and below 1"),
        ("{id: a, metric: apcer}", "a limit of the rate, or a ratio"),
        ("{id: a, metric: bpcer, ratio: 1.25}", "is asked by group"),
        ("{id: a, metric: apcer, ratio: 1.25, by: group}", "groups are of bona fide presentations"),
        ("{id: a, metric: apcer, limit: 5 %, levl: 0.9}", "unknown key 'levl'"),
    ],
)
def test_requirement_that_nothing_could_answer_is_refused(requirement: str, message: str) -> None:
    text = f"{{profile: ours, source: us, requirements: [{requirement}]}}".encode()
    with pytest.raises(PolicyError, match=message):
        read_profile(text, file="ours.yaml")


def test_profile_of_an_unknown_name_suggests_the_near_one() -> None:
    with pytest.raises(PolicyError, match="did you mean android-class-3"):
        load_profile("android-class3")


def test_docs_hold_a_profile_that_is_read_and_the_names_of_all() -> None:
    text = (Path(__file__).parents[2] / "docs/liveness.md").read_text()
    profile = read_profile(text.split("```yaml\n")[1].split("```")[0].encode(), file="docs.yaml")
    assert [requirement.metric for requirement in profile.requirements] == ["iapar", "bpcer", "bpcer"]
    assert all(f"`{name}`" in text for name in known_profiles())
