"""A protocol is read strictly: every field of it, and every mistake under the path of its key."""

import re

import pytest

from cv_quality.errors import ProtocolError
from cv_quality.studies.protocol import StudyMetric, canonical, parse_protocol
from cv_quality_tests.studies.protocols import FILE, RELEASE, changed, parsed


def test_every_field_of_a_protocol_is_read() -> None:
    found = parsed()
    assert (found.study, found.purpose.candidate, found.purpose.reference) == (
        "release-face-1.3",
        "face-1.3",
        "face-1.2",
    )
    assert found.population.strata == ("age_band", "skin_tone")
    assert found.population.expected_attrition == 0.1
    assert found.design.conditions is not None
    assert found.design.conditions.levels == ("dark", "indoor", "outdoor")
    assert found.design.assignment.block_sizes == (4, 6)
    assert [item.margin for item in found.endpoints] == [0.005, 0.01, None]
    assert found.endpoint("fnmr").fmr == 1e-4
    assert found.endpoint("fnmr_dark").scope == (("illuminance", "dark"),)
    assert (found.endpoint("latency_p95").quantile, found.endpoint("latency_p95").margin_ratio) == (0.95, 1.05)
    assert [item.id for item in found.of_role("primary")] == ["fnmr", "fnmr_dark"]
    assert (found.analysis.primary_set, found.analysis.sensitivity_set) == ("intention_to_treat", "per_protocol")
    assert (found.sample_size.power, found.sample_size.assume.icc, found.sample_size.assume.fmr_cv) == (0.9, 0.15, 1.0)
    assert found.looks.at_information == (0.5, 0.75, 1.0)
    assert (found.top_up.allowed, found.top_up.max_subjects, found.seed) == (True, 1200, None)


@pytest.mark.parametrize("written", ["'0.5 %'", "0.5 pp", "5e-3", "+0.005"])
def test_a_margin_has_a_unit_and_means_one_number(written: str) -> None:
    assert canonical(parsed(changed("margin: 0.005", f"margin: {written}"))) == canonical(parsed())


def test_shares_are_written_as_parts_or_in_percent() -> None:
    text = RELEASE.replace("power: 0.90", "power: 90 %").replace("attrition: 0.10", "attrition: 10%")
    assert canonical(parsed(text.replace("alpha: 0.05", "alpha: 5 %"))) == canonical(parsed())


def test_canonical_form_does_not_hang_on_how_it_is_written() -> None:
    other = "# a remark\n" + changed("{power: 0.90, pilot:", "{pilot:").replace(
        "fmr_cv: 1.0}}", "fmr_cv: 1}, power: 0.9}"
    )
    assert canonical(parsed(other)) == canonical(parsed())
    assert canonical(parsed(changed("1200", "1201"))) != canonical(parsed())


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("margin: 0.005", "margin: 0", r"endpoints[0].margin: expected more than 0"),
        ("margin: 0.005", "margin: -0.005", r"endpoints[0].margin: expected a positive number, found -0.005"),
        ("margin: 0.005", "margin: 5", r"endpoints[0].margin: expected a difference of rates below 1, found 5"),
        ("margin: 0.005", "margin: 5 ms", r"endpoints[0].margin: expected a rate as 0.005 or '0.5 %', found '5 ms'"),
        ("margin: 0.005", "margin: .nan", r"endpoints[0].margin: expected a rate"),
        ("margin: 0.005", "margin: 1.2.3 %", r"endpoints[0].margin: expected a rate"),
        ("margin: 0.005, ", "", "endpoints[0]: a primary endpoint of a non-inferiority study needs a margin"),
        (
            "margin: 0.005",
            "margin: 0.005, margin_ratio: 1.1",
            "endpoints[0]: expected margin or margin_ratio, found both",
        ),
        ("margin_ratio: 1.05", "margin_ratio: 0.95", "endpoints[2].margin_ratio: expected a ratio above 1"),
        ("margin_ratio: 1.05", "margin: 5 %", "endpoints[2].margin: expected a time in ms"),
        ("power: 0.90", "power: 1", "sample_size.power: expected a probability above 0.5 and below 1"),
        ("power: 0.90", "power: 90", "sample_size.power: expected a probability above 0.5"),
        ("latency_ms", "latency", "endpoints[2].metric: expected .*; did you mean latency_ms"),
        ("quantile: 0.95, ", "", "endpoints[2]: an endpoint of latency_ms needs the key 'quantile'"),
        ("quantile: 0.95", "quantile: 95", "endpoints[2].quantile: expected a number above 0 and below 1, found 95"),
        ("quantile: 0.95", "quantile: 0.95, fmr: 0.1", "endpoints[2].fmr: an endpoint of latency_ms has no fmr"),
        ("threshold: re_estimated", "treshold: re_estimated", "unknown key 'treshold'; did you mean threshold?"),
        ("threshold: re_estimated", "threshold: re_estimate", "endpoints[0].threshold: expected re_estimated or fixed"),
        ("{illuminance: dark}", "{illuminanse: dark}", "endpoints[1].scope: .*did you mean illuminance?"),
        ("{illuminance: dark}", "{illuminance: drak}", "endpoints[1].scope.illuminance: .*did you mean dark?"),
        ("id: fnmr_dark", "id: fnmr", "endpoints[1]: id 'fnmr' stands twice"),
        ("alpha: 0.05", "alpha: 5", "analysis.alpha: expected a level above 0 and below 0.5"),
        ("sensitivity: per_protocol", "sensitivity: intention_to_treat", "analysis.sets.sensitivity: expected another"),
        (
            "[0.5, 0.75, 1.0]",
            "[0.5, 0.75]",
            "looks.at_information: expected at most 20 rising parts, the last of them 1.0",
        ),
        ("[0.5, 0.75, 1.0]", "[0.75, 0.5, 1.0]", "looks.at_information: expected at most 20 rising parts"),
        ("lan_demets_obf", "lan_demets_of", "looks.rule: .*did you mean lan_demets_obf"),
        ("candidate: face-1.3", "candidate: face-1.2", "purpose.reference: expected another build than the candidate"),
        ("expected_attrition: 0.10", "expected_attrition: 10", "population.expected_attrition: expected a share"),
        (
            "stratified_by: [age_band]",
            "stratified_by: [ageband]",
            "is no stratum of the population; did you mean age_band?",
        ),
        ("block_sizes: [4, 6]", "block_sizes: [4, 4]", "design.assignment.block_sizes: 4 stands twice"),
        (
            "attempts_per_subject: 10",
            "attempts_per_subject: 2",
            "at least one attempt for each of 3 levels of illuminance",
        ),
        (
            "attempts_per_subject: 10",
            "attempts_per_subject: 10.5",
            "design.attempts_per_subject: expected a whole number",
        ),
        (", max_subjects: 1200", "", "top_up: a top-up needs the key 'max_subjects'"),
        ("study: release-face-1.3", "study: ../secret", "study: expected a name of"),
        ("top_up: {", "top_up: &a {", None),
        ("pilot: [2026-07-06_face-1.0_site-a]", "pilot: [2026-07-06]", None),
    ],
)
def test_a_mistake_is_told_under_the_path_of_its_key(old: str, new: str, match: str | None) -> None:
    if match is None:
        assert parsed(changed(old, new))
        return
    with pytest.raises(ProtocolError) as told:
        parsed(changed(old, new))
    words = ".*".join(map(re.escape, match.split(".*")))
    assert re.search(words, str(told.value)), told.value
    assert str(told.value).startswith(f"{FILE}: ")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (RELEASE + "top_up: {allowed: false}\n", "key 'top_up' stands twice"),
        (RELEASE + "analyses: {}\n", "unknown key 'analyses'; did you mean analysis?"),
        (RELEASE.replace("sample_size: {power: 0.90", "sample_size: &a {power: 0.90") + "seed: *a\n", "an alias"),
        (RELEASE.replace("study: release-face-1.3\n", ""), "missing key 'study'"),
        ("- a\n", "expected a mapping, found list"),
        ("", "expected a mapping, found nothing"),
        ("study: !!python/object:os.system {}\n", "not YAML"),
        ("study: [\n", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("#" * 1_000_001, "expected at most 1,000,000 bytes"),
        (RELEASE.replace("role: primary", "role: secondary"), "at least one endpoint of role primary"),
        (RELEASE.replace("arms: paired", "arms: parallel").replace("[4, 6]", "[4, 5]"), "expected even sizes"),
    ],
)
def test_a_file_that_is_no_protocol_is_refused(text: str, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        parsed(text)


def test_a_level_called_off_stays_a_text() -> None:
    found = parsed(changed("[dark, indoor, outdoor]", "[dark, off, no]"))
    assert found.design.conditions is not None
    assert found.design.conditions.levels == ("dark", "off", "no")


def test_metrics_of_another_task_have_margins_in_their_unit() -> None:
    text = changed("metric: latency_ms, quantile: 0.95, margin_ratio: 1.05", "metric: mean_j, margin: -1")
    metrics = {"fnmr_at_fmr": StudyMetric("fnmr_at_fmr", "rate", needs=frozenset({"fmr"}))}
    metrics["mean_j"] = StudyMetric("mean_j", "value", unit="share", is_higher_better=True)
    with pytest.raises(ProtocolError, match="how much worse is tolerated, whichever way mean_j is better"):
        parse_protocol(text.encode(), file=FILE, metrics=metrics)
