"""The whole system of a liveness build: ten thousand simulated presentations followed to the last one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.errors import MetricError
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.metrics.results import percent
from cv_quality.tasks.comparing import read_release
from cv_quality.tasks.liveness.build_metrics import count_rows, presentations_of_rows, read_outcomes, warnings_of
from cv_quality.tasks.liveness.modality import LIVENESS_MODALITY
from cv_quality.tasks.liveness.policies import policy_rows
from cv_quality.tasks.liveness.stages import PROFILES, RELEASE, SLICES
from cv_quality.tasks.liveness.system import waterfall_of, waterfall_rows
from cv_quality.tasks.liveness.tables import (
    LIVENESS_POLICIES,
    LIVENESS_PROFILES,
    LIVENESS_RATES,
    LIVENESS_WATERFALL,
)
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.tasks.release.tables import RELEASE_VERDICTS
from cv_quality.workspace import Workspace
from cv_quality_tests.tasks.liveness.presented import BUILD, DROP, Event, deliver, open_lab, run_all, simulated

N = 10_000
MEASURED = LIVENESS.stages[: LIVENESS.stages.index(SLICES)]
EVENTS = list(simulated(N))
PROFILE_NAMES = "profiles: [android-class-2, nist-sp-800-63a-4]\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Ten thousand presentations, measured and held against two profiles."""
    workspace = open_lab(tmp_path_factory.mktemp("lab"), entry=PROFILE_NAMES)
    deliver(workspace, EVENTS)
    assert all(result.passed for result in run_all(workspace, MEASURED))
    return workspace


def rows(workspace: Workspace, table: Table, **where: object) -> list[dict[str, object]]:
    return workspace.lake.read(table, TableKey(build=BUILD)).filter(**where).to_dicts()


def kind_of(event: Event) -> str:
    if event["presented"] == "attack":
        return str(event["pai_species"])
    claimed = event["target_subject_id"]
    return "bona fide" if claimed in (None, event["subject_id"]) else "zero-effort impostor"


def fate_of(event: Event) -> str:
    if event["response"] != "ok":
        return "capture"
    if not event["is_device_live"]:
        return "liveness"
    return "accepted" if event["is_device_match"] else "matcher"


def test_waterfall_adds_up_to_the_last_of_ten_thousand(lab: Workspace) -> None:
    expected = Counter((kind_of(event), fate_of(event)) for event in EVENTS)
    found = rows(lab, LIVENESS_WATERFALL)
    assert sum(int(str(row["presented"])) for row in found) == N
    assert {row["kind"] for row in found} == {"bona fide", "zero-effort impostor", "print", "mask"}
    for row in found:
        stages = {name: row[name] for name in ("capture", "liveness", "matcher", "accepted")}
        assert stages == {name: expected[str(row["kind"]), name] for name in stages}
        assert row["undecided"] == 0


def test_docs_show_the_waterfall_of_these_presentations(lab: Workspace) -> None:
    text = (Path(__file__).parents[3] / "docs/liveness.md").read_text()
    for row in rows(lab, LIVENESS_WATERFALL):
        cells = [f"{row[name]:,}" for name in ("presented", "capture", "liveness", "matcher", "accepted")]
        riapar = "" if row["riapar"] is None else f" {percent(float(str(row['riapar'])))}"
        assert f"| {row['kind']} | {' | '.join(cells)} |{riapar} |" in text


def test_riapar_is_iapar_and_the_frr_of_who_claims_to_be_himself(lab: Workspace) -> None:
    (frr,) = rows(lab, LIVENESS_RATES, metric="frr", dimension="all")
    users = [event for event in EVENTS if kind_of(event) == "bona fide"]
    assert (frr["denominator"], frr["numerator"]) == (len(users), sum(not event["is_device_match"] for event in users))
    for row in rows(lab, LIVENESS_WATERFALL, is_attack=True):
        (iapar,) = rows(lab, LIVENESS_RATES, metric="iapar", dimension="all", species=row["kind"])
        assert row["riapar"] == pytest.approx(float(str(iapar["value"])) + float(str(frr["value"])), abs=1e-12)


def test_impostors_without_effort_have_a_false_acceptance_rate(lab: Workspace) -> None:
    (far,) = rows(lab, LIVENESS_RATES, metric="far", dimension="all")
    others = [event for event in EVENTS if kind_of(event) == "zero-effort impostor"]
    assert (far["denominator"], far["numerator"]) == (len(others), sum(bool(e["is_device_match"]) for e in others))


@pytest.mark.parametrize(("dimension", "column"), [("pai_series", "pai_series"), ("scene", "scene")])
def test_rates_of_a_species_are_broken_down(lab: Workspace, dimension: str, column: str) -> None:
    found = rows(lab, LIVENESS_RATES, metric="apcer", dimension=dimension, species="mask")
    masks = [event for event in EVENTS if event["pai_species"] == "mask" and event["response"] == "ok"]
    assert {row["level"]: (row["numerator"], row["denominator"]) for row in found} == {
        level: (
            sum(bool(event["is_device_live"]) for event in masks if event[column] == level),
            sum(event[column] == level for event in masks),
        )
        for level in {event[column] for event in masks}
    }


def test_rates_are_broken_down_by_device_and_by_group_of_people(lab: Workspace) -> None:
    dimensions = {row["dimension"] for row in rows(lab, LIVENESS_RATES, metric="bpcer")}
    assert {"device_model", "age_band", "scene"} <= dimensions
    assert "pai_series" not in dimensions


def test_thresholds_hold_on_half_and_are_tried_on_the_other(lab: Workspace) -> None:
    found = rows(lab, LIVENESS_POLICIES, metric="bpcer")
    assert {(row["policy"], row["target"]) for row in found} == {
        (policy, target) for policy in ("first", "second", "and", "or", "fusion") for target in (0.1, 0.05, 0.01)
    }
    answered = sum(event["presented"] == "bona_fide" and event["response"] == "ok" for event in EVENTS)
    for row in found:
        assert 0.4 * answered < int(str(row["denominator"])) < 0.6 * answered


def test_and_keeps_out_what_either_keeps_out_and_costs_more_people(lab: Workspace) -> None:
    found = {(row["policy"], row["metric"], row["species"]): row for row in rows(lab, LIVENESS_POLICIES, target=0.1)}
    for policy, sign in (("and", -1), ("or", 1)):
        for species in ("mask", "print"):
            assert sign * float(str(found[policy, "apcer", species]["difference"])) >= 0
        assert sign * float(str(found[policy, "bpcer", "all"]["difference"])) <= 0
    high = found["and", "apcer", "mask"]["difference_high"]
    assert high is not None
    assert float(str(high)) < 0


def test_profiles_are_answered_for_every_species_and_group(lab: Workspace) -> None:
    found = rows(lab, LIVENESS_PROFILES, profile="nist-sp-800-63a-4")
    named = {(row["requirement"], row["dimension"], row["level"]): row["verdict"] for row in found}
    assert named["iapar", "pai_species", "mask"] == "fail"
    assert named["iapar", "pai_species", "print"] == "pass"
    assert {level for _, dimension, level in named if dimension == "age_band"} == {"18-29", "60+"}
    assert named["overall", "all", "all"] == "fail"
    (whole,) = rows(lab, LIVENESS_PROFILES, profile="android-class-2", requirement="overall")
    assert whole["verdict"] == "pass"


def test_release_verdict_rests_on_the_declared_profiles(lab: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, found = read_release(lab, BUILD)
    assert whole["verdict"] == "fail"
    assert {row["requirement"] for row in found} == {"android-class-2", "nist-sp-800-63a-4"}
    assert {row["kind"] for row in found} == {"profile"}
    assert "nist-sp-800-63a-4 (iapar, mask): at least" in str(whole["reason"])
    monkeypatch.setenv("CVQ_HOME", str(lab.settings.home))
    monkeypatch.setenv("CVQ_REGISTRY", lab.settings.registry)
    result = CliRunner().invoke(main, ["release", BUILD])
    assert result.exit_code == 3, result.output
    assert "FAIL: nist-sp-800-63a-4 (iapar, mask)" in result.output


def test_policy_names_a_profile_and_another_one_makes_the_verdict_due(lab: Workspace, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("{policy: ours, liveness: [{id: class-3, profile: android-class-3}]}")
    asking = replace(lab, settings=replace(lab.settings, policy=policy))
    for stage in (PROFILES, RELEASE):
        assert all(result.passed for result in run_all(asking, [stage]))
    found = rows(asking, RELEASE_VERDICTS)
    assert {(row["requirement"], row["level"]) for row in found} == {
        ("overall", "all"),
        ("class-3", "mask"),
        ("class-3", "print"),
    }
    for stage in (PROFILES, RELEASE):
        assert all(result.passed for result in run_all(lab, [stage]))


def test_species_without_a_response_is_told_and_leaves_a_profile_open(tmp_path: Path) -> None:
    events = [
        event | {"response": "non_response", "is_device_live": None, "is_device_match": False}
        if event["pai_species"] == "mask"
        else event
        for event in EVENTS[:1500]
    ]
    profile = tmp_path / "ours.yaml"
    profile.write_text("{profile: ours, source: us, requirements: [{id: a, metric: apcer, limit: 40 %}]}")
    workspace = open_lab(tmp_path, entry=f"profiles: [{profile}]\n")
    deliver(workspace, events)
    assert all(result.passed for result in run_all(workspace, MEASURED))
    (apcer,) = rows(workspace, LIVENESS_RATES, metric="apcer", dimension="all", species="mask")
    assert (apcer["value"], apcer["reason"]) == (None, "no response to any presentation")
    (apnrr,) = rows(workspace, LIVENESS_RATES, metric="apnrr", dimension="all", species="mask")
    assert apnrr["value"] == 1
    named = {row["level"]: row["verdict"] for row in rows(workspace, LIVENESS_PROFILES, requirement="a")}
    assert named == {"mask": "insufficient", "print": "pass"}
    assert read_release(workspace, BUILD)[0]["verdict"] == "insufficient"


def test_names_of_subjects_as_artefacts_and_reversed_scores_are_loud(told: pl.DataFrame) -> None:
    assert warnings_of(told) == ()
    (alike,) = warnings_of(
        told.with_columns(artefact_id=pl.when("is_attack").then("target_subject_id")).filter(
            ~pl.col("is_attack") | (pl.col("pai_species") == "mask")
        )
    )
    assert alike.startswith("artefacts are named as the subjects are")
    (reversed_,) = warnings_of(told.with_columns(pad_score=-pl.col("pad_score")))
    assert reversed_.startswith("pad_score of attacks is higher than that of people")
    assert waterfall_of(told).presented == N


@pytest.fixture(scope="module")
def told(lab: Workspace) -> pl.DataFrame:
    """What became of every presentation of the drop."""
    return read_outcomes(lab.lake, BUILD, [DROP], LIVENESS_MODALITY)


def test_whole_system_that_was_not_logged_is_undecided_and_has_no_riapar(told: pl.DataFrame) -> None:
    found = list(waterfall_rows(waterfall_of(told.with_columns(is_device_match=pl.lit(None, pl.Boolean)))))
    live = Counter(kind_of(event) for event in EVENTS if event["is_device_live"])
    assert {row["kind"]: row["undecided"] for row in found} == dict(live)
    assert all(row["riapar"] is None and row["reason"] for row in found)
    counted = count_rows(told.with_columns(is_device_match=pl.lit(None, pl.Boolean)))
    assert {item.metric for item in counted} == {"apcer", "apnrr", "bpcer", "bpnrr"}


def test_attacks_alone_have_no_riapar_and_no_working_point(told: pl.DataFrame) -> None:
    attacks = told.filter("is_attack")
    reasons = {row["reason"] for row in waterfall_rows(waterfall_of(attacks))}
    assert reasons == {"no bona fide presentation of its own target"}
    points = list(policy_rows(presentations_of_rows(attacks, score="pad_score"), None, target=0.1))
    assert [row["reason"] for row in points] == [
        "no bona fide presentation with a response: error rates need both classes"
    ]


def test_artefact_of_two_species_in_two_drops_is_refused(told: pl.DataFrame) -> None:
    again = told.filter(pai_species="mask").with_columns(drop_id=pl.lit("another"), pai_species=pl.lit("head"))
    with pytest.raises(MetricError, match="stands under 2 species"):
        count_rows(pl.concat([told, again]))


@pytest.mark.nightly
def test_drop_of_non_responses_alone_has_a_page_that_says_so(tmp_path: Path) -> None:
    workspace = open_lab(tmp_path, entry=PROFILE_NAMES)
    silent = {"response": "non_response", "is_device_live": None, "is_device_match": False, "pad_score": None}
    deliver(workspace, [event | silent | {"second_pad_score": None} for event in EVENTS[:300]])
    assert all(result.passed for result in run_all(workspace))
    assert {row["value"] for row in rows(workspace, LIVENESS_RATES, metric="apnrr", dimension="all")} == {1.0}
    assert {row["value"] for row in rows(workspace, LIVENESS_RATES, metric="apcer")} == {None}
    assert "No attack got a response" in workspace.report_path(BUILD).read_text()
