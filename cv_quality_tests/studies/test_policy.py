"""A release policy: what is refused when it is read, and that only evidence passes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from cv_quality.errors import PolicyError
from cv_quality.metrics.rates import clustered_rate
from cv_quality.studies.comparison import compare_rates
from cv_quality.studies.pad_profiles import CountedErrors, ProfileAnswer, answer_profile, load_profile
from cv_quality.studies.policy import (
    Evidence,
    ReleasePolicy,
    judge_release,
    load_policy,
    profiles_asked,
    read_policy,
)

TRIALS = np.full(400, 10)
RNG = np.random.default_rng(0)
BEFORE = RNG.binomial(TRIALS, RNG.beta(1, 19, 400))


def policy(*requirements: str, alpha: str = "") -> ReleasePolicy:
    text = f"policy: strict\n{alpha}verification:\n" + "".join(f"  - {item}\n" for item in requirements)
    return read_policy(text.encode(), file="policy.yaml")


def evidence(metric: str = "frr", *, more: int = 0, level: str = "all", dimension: str = "all") -> Evidence:
    after = np.minimum(BEFORE + (np.arange(400) < more), 10)
    difference = compare_rates(metric, (BEFORE, TRIALS), (after, TRIALS))
    return Evidence(metric, None, dimension, level, rate=clustered_rate(after, TRIALS), difference=difference)


def verdict(asked: ReleasePolicy, *found: Evidence, has_baseline: bool = True) -> str:
    return judge_release(asked, "verification", found, has_baseline=has_baseline).verdict


def test_the_package_has_a_policy_for_every_task_that_has_builds() -> None:
    found = load_policy(None)
    assert set(found.requirements) == {"verification", "video", "liveness"}
    assert all(item.margin or item.profile for asked in found.requirements.values() for item in asked)


def profile_policy(requirement: str) -> ReleasePolicy:
    return read_policy(f"{{policy: strict, liveness: [{requirement}]}}".encode(), file="policy.yaml")


def answered(**errors: list[int]) -> ProfileAnswer:
    """The profile android-class-3 answered of species with these errors in ten presentations of each artefact."""
    counted = [
        CountedErrors("iapar", name, np.array(found), np.full(len(found), 10), "artefact")
        for name, found in errors.items()
    ]
    return answer_profile(load_profile("android-class-3"), counted)


def profile_verdicts(asked: ReleasePolicy, profiles: dict[str, ProfileAnswer], *declared: str) -> Mapping[str, str]:
    found = judge_release(asked, "liveness", [], has_baseline=False, profiles=profiles, declared=declared)
    return {"all of it": found.verdict} | {f"{one.requirement.id} {one.level}": one.verdict for one in found.answers}


def test_profile_that_is_named_must_pass_for_every_species() -> None:
    asked = profile_policy("{id: attacks, profile: android-class-3}")
    good, bad = {"print": [0] * 60}, {"print": [0] * 60, "mask": [5] * 60}
    found = profile_verdicts(asked, {"android-class-3": answered(**good)})
    assert found == {"all of it": "pass", "attacks print": "pass"}
    found = profile_verdicts(asked, {"android-class-3": answered(**bad)})
    assert found == {"all of it": "fail", "attacks print": "pass", "attacks mask": "fail"}


def test_declared_profiles_are_asked_by_their_names_and_none_is_no_pass() -> None:
    asked = profile_policy("{id: any, profile: declared}")
    found = profile_verdicts(asked, {"android-class-3": answered(print=[0] * 60)}, "android-class-3")
    assert found == {"all of it": "pass", "android-class-3 print": "pass"}
    assert profile_verdicts(asked, {}) == {"all of it": "insufficient"}
    assert profiles_asked(asked, ["fido"]) == ("fido",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("liveness: [{id: a, profile: android-class3}]", "did you mean android-class-3"),
        ("liveness: [{id: a, profile: fido, limit: 0.1}]", "unknown key 'limit'"),
        ("video: [{id: a, profile: fido}]", "profiles are of liveness"),
    ],
)
def test_profile_that_no_build_could_be_held_against_is_refused(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        read_policy(f"policy: strict\n{text}\n".encode(), file="policy.yaml")


def test_all_primary_requirements_must_pass() -> None:
    asked = policy("{id: a, metric: frr, margin: 0.02}", "{id: b, metric: fta, margin: 0.02}")
    assert verdict(asked, evidence("frr"), evidence("fta")) == "pass"
    assert verdict(asked, evidence("frr", more=300), evidence("fta")) == "fail"
    assert verdict(asked, evidence("frr")) == "insufficient"
    assert verdict(asked, evidence("frr", more=80), evidence("fta")) == "insufficient"


def test_nothing_passes_by_default() -> None:
    asked = policy("{id: a, metric: frr, margin: 0.02}")
    assert verdict(asked, evidence(), has_baseline=False) == "insufficient"
    assert verdict(asked) == "insufficient"
    assert judge_release(asked, "video", [evidence()], has_baseline=True).verdict == "insufficient"
    only_secondary = policy("{id: a, metric: frr, margin: 0.02, role: secondary}")
    assert verdict(only_secondary, evidence()) == "insufficient"


def test_a_limit_needs_no_baseline() -> None:
    assert verdict(policy("{id: a, metric: frr, limit: 0.1}"), evidence(), has_baseline=False) == "pass"
    assert verdict(policy("{id: a, metric: frr, limit: 0.01}"), evidence(), has_baseline=False) == "fail"


def test_a_metric_that_nothing_measures_is_named_with_the_nearest() -> None:
    (answer,) = judge_release(
        policy("{id: a, metric: fnrm, margin: 0.1}"), "verification", [evidence("fnmr")], has_baseline=True
    ).answers
    assert answer.verdict == "insufficient"
    assert "it was not measured; did you mean fnmr" in answer.judgement.reason


def test_every_level_of_a_condition_is_asked() -> None:
    asked = policy("{id: a, metric: frr, by: age_band, margin: 0.02}")
    young = evidence(level="18-30", dimension="age_band")
    old = evidence(level="60+", dimension="age_band", more=300)
    unknown = evidence(level="unknown", dimension="age_band", more=400)
    assert verdict(asked, young, unknown) == "pass"
    assert verdict(asked, young, old) == "fail"
    at = policy('{id: a, metric: frr, at: {age_band: "18-30"}, margin: 0.02}')
    assert verdict(at, young, old) == "pass"


def test_secondary_requirements_are_adjusted_and_open_only_behind_the_primary_ones() -> None:
    secondary = [f"{{id: s{number}, metric: s{number}, margin: 0.008, role: secondary}}" for number in range(3)]
    asked = policy("{id: a, metric: frr, margin: 0.02}", *secondary)
    found = [evidence(f"s{number}", more=12 + 4 * number) for number in range(3)]
    opened = judge_release(asked, "verification", [evidence(), *found], has_baseline=True)
    assert opened.verdict == "pass"
    for item in opened.answers[1:]:
        assert item.adjusted is not None
        assert item.adjusted >= (item.judgement.p_value or 0)
    assert opened.answers[1].verdict == "pass"
    closed = judge_release(asked, "verification", [evidence(more=300), *found], has_baseline=True)
    assert {item.verdict for item in closed.answers[1:]} == {"insufficient"}
    assert "a primary requirement is open" in closed.answers[1].judgement.reason


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{policy: a}", "expected the requirements of a task"),
        ("{policy: a, verfication: []}", "did you mean verification"),
        ("{policy: a, verification: []}", "a list of mappings"),
        ("{policy: a, alpha: 0.7, verification: [{id: a, metric: frr, margin: 0.1}]}", "below 0.5"),
        ("{policy: a, verification: [{id: a, metric: frr, margin: 0}]}", "no build could pass another"),
        ("{policy: a, verification: [{id: a, metric: frr, margin: -0.1}]}", "no build could pass another"),
        ("{policy: a, verification: [{id: a, metric: frr, limit: 0}]}", "no build could pass another"),
        ("{policy: a, verification: [{id: a, metric: frr, limit: 1.5}]}", "and below 1"),
        ("{policy: a, verification: [{id: a, metric: frr, margin: 0.1, at: {b: c, d: e}}]}", "expected one condition"),
        ("{policy: a, verification: [{id: a, metric: frr}]}", "expected a margin"),
        ("{policy: a, verification: [{id: a, metric: frr, margin: 0.1, limit: 0.2}]}", "and not both"),
        ("{policy: a, verification: [{id: a, metric: frr, margin: 0.1, rol: primary}]}", "unknown key 'rol'"),
        ("{policy: a, verification: [{id: a, metric: fnmr_at_fmr, margin: 0.1}]}", "asked at an fmr"),
        ("{policy: a, verification: [{id: a, metric: frr, fmr: 0.1, margin: 0.1}]}", "asked at an fmr"),
        (
            "{policy: a, verification: [{id: a, metric: frr, margin: 0.1}, {id: a, metric: fta, margin: 0.1}]}",
            "two requirements are called 'a'",
        ),
        ("policy: [", "not YAML"),
    ],
)
def test_what_no_build_could_pass_or_nobody_understands_is_refused(text: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        read_policy(text.encode(), file="policy.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="the release policy cannot be read"):
        load_policy(tmp_path / "none.yaml")
