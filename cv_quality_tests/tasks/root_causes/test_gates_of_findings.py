"""The gates of what is said about a build's failures: sound findings pass, and each rule catches what it is for."""

import pytest

from cv_quality.gates.runner import run_gate
from cv_quality.lake.lake import Lake
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality_tests.tasks.root_causes.finding_rows import CLUSTER, KEY, Rows, sound, write_findings

LEVEL_RULE = "what is confirmed is so at a level of 0.005, all candidates counted"


def broken_rules(lake: Lake, gate: str, rows: Rows) -> set[str]:
    """The names of the rules of one gate that the tables break."""
    write_findings(lake, rows)
    return {item.name for item in run_gate(lake, VERIFICATION.stage(gate).suite(FACE), KEY).failures}


@pytest.mark.parametrize("gate", ["slices", "attribution", "clusters", "explanations"])
def test_sound_findings_pass(lake: Lake, gate: str) -> None:
    assert broken_rules(lake, gate, sound()) == set()


@pytest.mark.parametrize("gate", ["attribution", "clusters", "explanations"])
def test_a_build_without_a_finding_passes(lake: Lake, gate: str) -> None:
    assert broken_rules(lake, gate, {name: [] for name in sound()}) == set()


@pytest.mark.parametrize(
    ("table", "changes", "rule"),
    [
        ("slice_searches", {"outcome": "timeout"}, "the false rejects were searched"),
        ("slice_searches", {"n_slices": 2}, "every confirmed slice is counted by its search"),
        ("slice_searches", {"n_subjects": 101}, "failures and subjects never exceed attempts"),
        (
            "slice_searches",
            {"n_failures": 11},
            "the build's own outcomes add up to the false rejects that were searched",
        ),
        ("failure_slices", {"high": 0.4}, "a confirmed rate lies within its interval"),
        ("failure_slices", {"low": None}, "a confirmed rate lies within its interval"),
        ("failure_slices", {"numerator": 6}, "a confirmed rate is its failures over its attempts"),
        ("failure_slices", {"p_adjusted": 0.0051}, LEVEL_RULE),
        ("failure_slices", {"p_adjusted": None}, LEVEL_RULE),
        ("failure_slices", {"rest_rate": 0.5}, "what is confirmed fails more often than the rest"),
        ("failure_slices", {"support": 9}, "the attempts that confirmed it are among its own"),
        (
            "failure_slices",
            {"finding": "guessed"},
            "finding is one of confirmed, insufficient, explained_away, only_combined",
        ),
        ("failure_slices", {"finding": "insufficient"}, "nothing is explained away where nothing is confirmed"),
        ("slice_trends", {"high": 0.4}, "the rate lies within its interval"),
        ("slice_trends", {"value": None}, "a missing rate says why"),
        (
            "slice_trends",
            {"trend_build_id": "face-1.1"},
            "every confirmed slice of the false rejects has its rate in the build itself",
        ),
        ("outcome_waterfall", {"n_attempts": 89}, "the outcomes add up to the genuine attempts"),
        ("outcome_waterfall", {"n_attempts": 9}, "no more attempts ended in an outcome within a slice than in all"),
        ("examples", {"rank": 2}, "every example is of a confirmed slice"),
        ("examples", {"role": "nearest_pass"}, "a pass, and a pair, has its partner, and a pair its difference"),
        ("change_attribution", {"rate": 0.2}, "mix and rate add up to the change"),
        ("change_attribution", {"rate": 0.2, "change": 0.2}, "the parts add up to the whole"),
        (
            "change_attribution",
            {"attempts_after": 101},
            "the attempts and failures of the parts add up to those of the whole",
        ),
        (
            "change_attribution",
            {"failures_after": 13},
            "the whole change is the FRR after less the FRR before",
        ),
        ("change_attribution", {"n_paired": 41}, "failures never exceed attempts, nor paired subjects all"),
        ("change_attribution", {"mix_low": 0.1, "mix_high": 0.0}, "bounds are ordered"),
        ("change_attribution", {"reason": None}, "a missing bound says why"),
        ("change_attribution", {"where_json": "[]"}, "the change is attributed to the confirmed slices"),
        ("failure_clusters", {"condition": None}, "a described cluster has its description, and how well it fits"),
        ("failure_clusters", {"rest_rate": 0.6}, "what is confirmed fails more often than the rest"),
        ("explanations", {"pointing": None}, "a map is shown only with the numbers of every check"),
        (
            "explanations",
            {"insertion": 0.3},
            "a shown map takes the score down faster and brings it back faster than pixels in random order",
        ),
        ("explanations", {"is_shown": False}, "a map that is not shown says why"),
        ("explanations", {"width": 3}, "a map has a value per pixel"),
        ("explanations", {"rank": 2}, "what is explained is a confirmed slice"),
        ("counterfactuals", {"rank": 2}, "what is explained is a confirmed slice"),
        ("counterfactuals", {"n_accepted": 21}, "no more attempts are accepted than were run again"),
        ("counterfactuals", {"low": 0.6}, "the rate lies within its interval"),
    ],
)
def test_a_wrong_finding_breaks_the_rule_that_is_about_it(
    lake: Lake, table: str, changes: dict[str, object], rule: str
) -> None:
    gate = VERIFICATION.writers[table].name
    rows = sound()
    rows[table] = [{**rows[table][0], **changes}, *rows[table][1:]]
    assert rule in broken_rules(lake, gate, rows)


def test_clusters_that_share_failures_are_refused(lake: Lake) -> None:
    rows = sound() | {"failure_clusters": [CLUSTER, {**CLUSTER, "cluster": 2, "share_of_failures": 0.3}]}
    (rule,) = broken_rules(lake, "clusters", rows)
    assert rule.startswith("an attempt lies in one cluster")
