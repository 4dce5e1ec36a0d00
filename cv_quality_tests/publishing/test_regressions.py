"""Causes of one build held against later ones: what became of them, and lists that nobody should believe."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.errors import PublishingError
from cv_quality.lake.store import LocalStore
from cv_quality.publishing.builds_page import newest_build
from cv_quality.publishing.editions import read_edition
from cv_quality.publishing.product import Edition
from cv_quality.publishing.products import chosen_products
from cv_quality.publishing.publish import INDEX, publications, publish
from cv_quality.publishing.regressions import (
    MAX_BYTES,
    CauseList,
    ListedCause,
    hold_cause,
    list_causes,
    published_causes,
    read_causes,
    written,
)
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import open_workspace
from cv_quality_tests.publishing.briefings import ordinary_briefing

BUILD, EARLIER = "face-1.2", "face-1.1"
DARK: dict[str, object] = {"column": "illuminance_lux", "op": "<=", "value": 10}
LISTED: dict[str, object] = {
    "condition": "illuminance is at most 10 lux",
    "outcome": "frr",
    "conditions": [DARK],
    "where": "illuminance_lux <= 10",
    "rate": 0.5,
    "numerator": 200,
    "denominator": 400,
    "low": 0.42,
    "high": 0.58,
    "expected": 0.02,
}
LIST: dict[str, object] = {"build": "face-0.9", "modality": "face", "causes": [LISTED]}


def cause(**changed: object) -> ListedCause:
    (found,) = read_causes(as_bytes(LIST | {"causes": [LISTED | changed]}), file="x").causes
    return found


def as_bytes(document: object) -> bytes:
    return json.dumps(document).encode()


def attempts(*, failing: float, subjects: int = 60, each: int = 20) -> Population:
    """Attempts of which every second one is in the dark, where so many fail; in the light none does."""
    rows = [
        {
            "subject_id": f"s{subject}",
            "illuminance_lux": 5.0 if number % 2 else 300.0,
            "eyewear": "none",
            "is_indoors": number % 3 == 0,
            "is_failure": number % 2 == 1 and (subject * 7 + number // 2) % 100 < 100 * failing,
        }
        for subject in range(subjects)
        for number in range(2 * each)
    ]
    columns = ("illuminance_lux", "eyewear", "is_indoors")
    return Population(
        Outcome("frr", trial="attempt"), pl.DataFrame(rows), failed="is_failure", unit="subject_id", columns=columns
    )


@pytest.mark.parametrize(
    ("failing", "state"), [(0.0, "fixed"), (0.05, "fixed"), (0.14, "cannot tell"), (0.4, "still there"), (0.9, "worse")]
)
def test_a_cause_is_told_by_its_rate_in_the_later_build(failing: float, state: str) -> None:
    found = hold_cause(cause(), attempts(failing=failing), found_in="a")
    assert found.state == state, found.reason
    assert found.margin == pytest.approx(0.25 * (0.5 - 0.02))
    assert found.rate is not None
    assert found.rate.denominator == 1200


def test_a_rise_within_the_bounds_of_the_listed_rate_is_not_worse() -> None:
    assert hold_cause(cause(), attempts(failing=0.55), found_in="a").state == "still there"
    assert hold_cause(cause(low=None, high=None), attempts(failing=0.9), found_in="a").state == "still there"


def test_a_margin_that_is_asked_takes_the_place_of_the_quarter() -> None:
    some = attempts(failing=0.05)
    assert hold_cause(cause(), some, found_in="a", margin=0.001).state == "still there"
    assert hold_cause(cause(), some, found_in="a", margin=0.5).state == "fixed"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"conditions": [DARK | {"column": "subject_id"}]}, "no condition 'subject_id'"),
        ({"conditions": [{"column": "illuminance", "op": "<=", "value": 1}]}, "did you mean illuminance_lux?"),
        ({"conditions": [{"column": "illuminance_lux", "op": "==", "value": "dark"}]}, "is a number in the build"),
        ({"conditions": [{"column": "eyewear", "op": "in", "value": ["none", 3]}]}, "is text in the build"),
        ({"conditions": [{"column": "eyewear", "op": "<=", "value": 3}]}, "is text in the build"),
        ({"conditions": [{"column": "is_indoors", "op": "==", "value": 1}]}, "is true or false in the build"),
        ({"conditions": [DARK | {"value": -5}]}, "no trial"),
        ({"expected": None}, "how often the others failed"),
        ({"expected": 0.99, "rate": 1.0, "numerator": 400}, "at most"),
    ],
)
def test_what_a_build_cannot_answer_is_not_called_fixed(changed: dict[str, object], why: str) -> None:
    found = hold_cause(cause(**changed), attempts(failing=0.4), found_in="a")
    assert (found.state == "cannot tell") != ("at most" in why), found
    assert why in found.reason


def test_a_slice_without_failures_left_is_fixed_only_on_enough_trials() -> None:
    few = hold_cause(cause(), attempts(failing=0.0, subjects=3, each=2), found_in="a")
    assert few.state == "cannot tell"
    assert hold_cause(cause(), "the outcome was not searched", found_in="a").reason == "the outcome was not searched"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"build": "a"}',
        as_bytes(LIST | {"more": 1}),
        as_bytes(LIST | {"causes": [LISTED | {"more": 1}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": []}]}),
        as_bytes(LIST | {"causes": [LISTED | {"rate": 2}]}),
        as_bytes(LIST | {"causes": [LISTED | {"numerator": 500}]}),
        as_bytes(LIST | {"causes": [LISTED | {"numerator": -1}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": [DARK | {"op": "= 1; DROP TABLE x; --"}]}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": [DARK | {"op": "in"}]}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": [DARK | {"op": "in", "value": []}]}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": [DARK | {"value": [1]}]}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": [DARK | {"value": {"a": 1}}]}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": [DARK | {"value": "10"}]}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": [DARK | {"value": 10**400}]}]}),
        as_bytes(LIST | {"causes": [LISTED | {"conditions": [DARK | {"value": 10**18}]}]}),
        as_bytes(LIST).replace(b'"value": 10', b'"value": 1e999'),
        as_bytes(LIST).replace(b'"value": 10', b'"value": NaN'),
        as_bytes(LIST) + b" " * MAX_BYTES,
    ],
)
def test_a_list_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(PublishingError, match=r"x\.json"):
        read_causes(data, file="x.json")


@pytest.fixture(scope="module")
def edition(history: History) -> Edition:
    return replace(read_edition(open_workspace(history.home), BUILD), briefing=ordinary_briefing())


def test_the_list_of_an_edition_is_read_back_as_it_was_written(edition: Edition) -> None:
    listed = read_causes(written(list_causes(edition)), file="x")
    assert (listed.build, listed.modality) == (BUILD, "face")
    for one, found in zip(edition.briefing.causes, listed.causes, strict=True):
        assert (found.slice, found.rate, found.expected, found.outcome) == (one.where, one.rate.value, one.rest, "frr")


def test_the_newest_list_of_every_build_of_the_modality_counts(edition: Edition, tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    publish(edition, chosen_products(["tickets"]), store)
    newer = replace(edition.briefing, causes=edition.briefing.causes[:1], captured_until=edition.briefing.captured_from)
    publish(replace(edition, briefing=newer), chosen_products(["tickets", "evidence"]), store)
    (found,) = published_causes(store, publications(store), "face")
    assert len(found.causes) == len(edition.briefing.causes)
    assert published_causes(store, publications(store), "iris") == ()
    other = replace(newer, build=EARLIER)
    publish(replace(edition, briefing=other), chosen_products(["tickets"]), store)
    assert f"Published causes of other builds in {BUILD}" in (tmp_path / INDEX).read_text()
    for file in tmp_path.rglob("regressions.json"):
        file.write_text("{}")
    held_up = newest_build(edition.workspace, store, publications(store), BUILD)
    assert "is no list of causes" in held_up.reason


def held(home: Path, *arguments: str, build: str = BUILD) -> Result:
    return CliRunner().invoke(main, ["regressions", build, *arguments], env={"CVQ_HOME": str(home), "CVQ_THREADS": "1"})


def test_the_command_ends_with_what_it_found(history: History, tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_bytes(as_bytes(LIST | {"causes": [LISTED | {"condition": "dark\x1b[31m", "rate": 0.9}]}))
    found = held(history.home, "--list", str(file), "--margin", "0.1", "--json")
    assert found.exit_code == 3, found.output
    (row,) = json.loads(found.stdout)["causes"]
    assert row["state"] == "still there"
    assert row["rate"]["denominator"] > row["rate"]["numerator"] > 0
    told = held(history.home, "--list", str(file), build=EARLIER)
    assert told.exit_code in (0, 4)
    assert "\x1b" not in told.output


def test_a_list_of_another_modality_is_refused(history: History, tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_bytes(written(CauseList(build="iris-1.0", modality="iris", causes=[cause()])))
    refused = held(history.home, "--list", str(file))
    assert (refused.exit_code, "iris" in refused.output) == (1, True)
    none = held(history.home, "--from", str(tmp_path))
    assert none.exit_code == 1
    assert "cvq publish" in none.output
