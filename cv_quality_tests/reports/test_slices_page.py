"""Pages of `cvq slices` and `cvq attribute`: numbers are the findings', text is inert, and nothing is fetched."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Browser, Page

from cv_quality.error_analysis.attribution import AttributedPart, Attribution
from cv_quality.error_analysis.slice_report import (
    ConfoundedValue,
    InsufficientSlice,
    SetApartColumn,
    SliceFinding,
    SliceReport,
)
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.reports.attribution_page import steps, write_attribution_report
from cv_quality.reports.provenance import Provenance
from cv_quality.reports.slices_page import polars_text, write_slices_report
from cv_quality_tests.reports.browsing import CONTRAST, chromium, offline_page, open_drawn
from cv_quality_tests.reports.score_pages import words

HOSTILE = "<script>alert(1)</script>&\"'"
DARK = Slice((Predicate("illuminance_lux", "<=", 9.97),))
WORN = Slice((Predicate("eyewear", "in", ("glasses", None)), Predicate("yaw_deg", ">", 21.5)))
GLASSES = Slice((Predicate("eyewear", "==", "glasses"),))
MADE = Provenance("cvq slices attempts.parquet", "0.1.0", datetime(2026, 7, 6, 8, 30, tzinfo=UTC), (("a", "ab" * 32),))
EVENING = Slice((Predicate("label", "==", "evening"),))
FINDINGS = SliceReport(
    n_rows=120_000,
    n_subjects=2_400,
    n_failures=3_456.0,
    base_rate=0.0288,
    outcome="is_rejected",
    kind="rate",
    slices=(
        SliceFinding(
            DARK,
            0.184,
            0.161,
            0.209,
            0.0123,
            1_104,
            6_000,
            12_120,
            1_988,
            1e-30,
            0.62,
            1.0,
            8.4,
            "label",
            "It is dark.",
        ),
        SliceFinding(
            WORN, 0.081, 0.052, 0.118, 0.0102, 41, 506, 1_010, 420, 0.0021, 0.023, 0.6, None, None, "It is worn."
        ),
    ),
    insufficient=(InsufficientSlice(Slice((Predicate("covering", "==", "scarf"),)), 0.21, 0.011, 64, 9, "Too few."),),
    explained_away=(
        ConfoundedValue("label", "evening", EVENING, 0.061, 0.0119, 0.0108, (DARK.sentence(),), "Not it."),
    ),
    only_combined=(
        ConfoundedValue(
            "eyewear", "glasses", GLASSES, 0.05, 0.0108, 0.0107, (WORN.sentence(),), "Only together.", True
        ),
    ),
    set_apart=(SetApartColumn("score", 0.998, 0.97, "score is set apart: it nearly determines the outcome."),),
    skipped={"attempt_id": "as many values as rows"},
    conclusion="2 slices are confirmed.",
    n_splits=5,
    seed=7,
    seconds=1.25,
)
NONE = replace(
    FINDINGS,
    slices=(),
    insufficient=(),
    explained_away=(),
    only_combined=(),
    set_apart=(),
    skipped={},
    n_subjects=None,
    conclusion="Nothing stands out.",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    with offline_page(browser) as page:
        yield page


def _page(findings: SliceReport, folder: Path, *, title: str = "attempts.parquet") -> Path:
    target = folder / "slices.html"
    write_slices_report(findings, title=title, provenance=MADE, target=target)
    return target


def _attribution() -> Attribution:
    """0.02 to 0.05: +0.01 as the dark became more frequent, +0.02 as it fails more often."""
    parts = (
        AttributedPart(
            *(0.008, 0.006, 0.01, 0.0206, 0.017, 0.024, 0.0286, 0.024, 0.033),
            condition=DARK.sentence(),
            where=DARK,
            reason=None,
            failures_before=5,
            rows_before=100,
            failures_after=62,
            rows_after=200,
            rate_before=0.05,
            rate_after=0.31,
        ),
        AttributedPart(
            *(0.002, None, None, -0.0006, None, None, 0.0014, None, None),
            condition="the rest",
            where=None,
            reason="too few subjects",
            failures_before=15,
            rows_before=900,
            failures_after=15,
            rows_after=1_340,
            rate_before=15 / 900,
            rate_after=15 / 1_340,
        ),
    )
    return Attribution(
        *(0.01, 0.007, 0.013, 0.02, 0.016, 0.024, 0.03, 0.026, 0.034),
        outcome="is_rejected",
        kind="rate",
        n_before=1_000,
        n_after=1_540,
        failures_before=20,
        failures_after=77,
        rate_before=0.02,
        rate_after=0.05,
        n_subjects=120,
        n_paired=40,
        parts=parts,
        method="bootstrap of subjects",
        reason=None,
        level=0.95,
        seed=0,
        seconds=0.5,
        conclusion="It rose by 3 percentage points.",
    )


def test_every_slice_has_its_numbers_and_its_text_to_copy(tmp_path: Path) -> None:
    html = _page(FINDINGS, tmp_path).read_text()
    text = words(html)
    for finding in FINDINGS.slices:
        assert finding.where.sentence() in text
        assert finding.sentence in text
        for value in (finding.rate, finding.rest_rate, finding.share_of_failures, finding.p_adjusted):
            assert f'value="{value}"' in html
        assert f"{finding.failures:,} / {finding.trials:,}" in text
        assert f"{finding.support:,}" in text
        assert f"of {finding.subjects:,} subjects" in text
        assert finding.where.sql() in unescape(html)
        assert polars_text(finding.where) in unescape(html)


def test_what_was_ruled_out_is_listed_apart(tmp_path: Path) -> None:
    text = words(_page(FINDINGS, tmp_path).read_text())
    away = text.split("Values that stand out by themselves")[1].split("These stand out")[0]
    assert "label is evening" in away
    assert "6.1 %" in away
    assert "1.19 %" in away
    few = text.split("These stand out")[1].split("Columns not searched")[0]
    assert "covering is scarf" in few
    assert "attempt_idas many values as rows" in text.split("Columns left out, and why")[1]


def test_where_nothing_was_found_the_page_says_so_without_empty_sections(tmp_path: Path) -> None:
    html = _page(NONE, tmp_path).read_text()
    text = words(html)
    assert "Nothing stands out." in text
    assert "No slice was confirmed." in text
    assert "data-chart=" not in html
    assert "These stand out" not in text
    assert "No subject column was named" in text


def test_a_loss_is_not_shown_as_a_rate(tmp_path: Path) -> None:
    lossy = replace(
        FINDINGS,
        kind="loss",
        base_rate=3.25,
        explained_away=(),
        insufficient=(),
        slices=(replace(FINDINGS.slices[0], rate=12.5, low=11.0, high=14.0, rest_rate=2.75, adjusted_odds_ratio=None),),
    )
    text = words(_page(lossy, tmp_path).read_text())
    assert "Mean loss" in text
    assert "12.5 11 to 14" in text.replace("12.511", "12.5 11")
    assert "1250 %" not in text


def test_the_same_findings_give_the_same_bytes_whatever_they_took(tmp_path: Path) -> None:
    first = _page(FINDINGS, tmp_path).read_bytes()
    assert _page(replace(FINDINGS, seconds=9.0), tmp_path).read_bytes() == first


def test_hostile_names_and_values_stay_text(tmp_path: Path) -> None:
    where = Slice((Predicate(HOSTILE, "==", HOSTILE),))
    hostile = replace(
        FINDINGS,
        outcome=HOSTILE,
        conclusion=HOSTILE,
        slices=tuple(replace(item, where=where, sentence=HOSTILE, adjusted_for=HOSTILE) for item in FINDINGS.slices),
        insufficient=tuple(replace(item, where=where) for item in FINDINGS.insufficient),
        explained_away=tuple(replace(item, where=where, by=(HOSTILE,)) for item in FINDINGS.explained_away),
        skipped={HOSTILE: HOSTILE},
    )
    html = _page(hostile, tmp_path, title=HOSTILE).read_text()
    assert "<script>alert" not in html
    assert HOSTILE in words(html)


@pytest.mark.parametrize("html_of", [lambda folder: _page(FINDINGS, folder), lambda folder: _change_page(folder)])
def test_the_page_refers_to_nothing_outside_itself(html_of: object, tmp_path: Path) -> None:
    html = html_of(tmp_path).read_text()  # type: ignore[operator]
    markup = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    fetched = re.findall(r'\b(?:src|href|action|poster)="([^"]*)"', markup)
    assert fetched
    assert all(value.startswith(("#", "data:")) for value in fetched)
    assert "default-src 'none'" in html
    assert "cause" not in words(html).lower()


@pytest.mark.parametrize(
    "predicate",
    [
        Predicate("number", "<=", 2.0),
        Predicate("number", ">", 1.0),
        Predicate("number", "in", (1.0, None)),
        Predicate("number", "==", None),
        Predicate("whole", ">", 1),
        Predicate("whole", "==", 3),
        Predicate("name", "in", ("it's", "b", None)),
        Predicate("name", "==", "nan"),
        Predicate("flag", "==", True),
    ],
    ids=lambda predicate: f"{predicate.op} {predicate.value!r}",
)
def test_polars_text_selects_the_rows_of_the_slice(predicate: Predicate) -> None:
    frame = pl.DataFrame(
        {
            "number": [1.0, 2.5, None, float("nan"), float("inf"), float("-inf")],
            "whole": [1, 2, 3, None, 3, 0],
            "name": ["it's", "b", None, "nan", "NaN", "c"],
            "flag": [True, False, None, True, False, True],
        }
    ).with_row_index("row")
    where = Slice((predicate,))
    copied = frame.filter(eval(polars_text(where), {"pl": pl}))  # noqa: S307
    assert copied["row"].to_list() == frame.filter(where.expression())["row"].to_list()


def _change_page(folder: Path) -> Path:
    target = folder / "change.html"
    write_attribution_report(_attribution(), provenance=MADE, title="before.csv and after.csv", target=target)
    return target


def test_the_steps_of_a_change_lead_from_before_to_after() -> None:
    found = steps(_attribution())
    assert (found[0].end, found[-1].end) == (0.02, 0.05)
    assert found[-2].end == pytest.approx(0.05, abs=1e-12)
    assert [step.tone for step in found] == ["baseline", "worse", "worse", "unclear", "build"]
    assert all(after.start == before.end for before, after in pairwise(found[:-1]))


def test_every_part_of_a_change_has_its_counts_and_interval(tmp_path: Path) -> None:
    text = words(_change_page(tmp_path).read_text())
    assert "It rose by 3 percentage points." in text
    assert "62 / 200" in text
    assert "+1.7 pp to +2.4 pp" in text
    assert "77 / 1,540" in text
    assert "too few subjects" in text


@pytest.mark.parametrize("width", [360, 1240])
@pytest.mark.parametrize("page_of", [lambda folder: _page(FINDINGS, folder), _change_page], ids=["slices", "change"])
def test_charts_are_drawn_offline_and_nothing_is_too_wide(
    opened: tuple[Page, list[str]], page_of: object, tmp_path: Path, width: int
) -> None:
    page, complaints = opened
    page.set_viewport_size({"width": width, "height": 900})
    open_drawn(page, page_of(tmp_path))  # type: ignore[operator]
    assert page.locator(".chart svg .mark-text text").count() >= 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened: tuple[Page, list[str]], tmp_path: Path, scheme: str) -> None:
    page, _ = opened
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_drawn(page, _page(FINDINGS, tmp_path))
    for selector in (".finding", ".facts small", ".facts .bad .value", ".slice .rank", ".chart svg .mark-text text"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


def test_a_page_without_findings_does_not_complain(opened: tuple[Page, list[str]], tmp_path: Path) -> None:
    page, complaints = opened
    open_drawn(page, _page(NONE, tmp_path))
    assert page.locator("h1").count() == 1
    assert complaints == []


def test_a_name_steers_no_page_and_no_chart(tmp_path: Path) -> None:
    steering = "a\x00b\x1b[31mc\u202ed\ud800"
    where = Slice((Predicate(steering, "in", (steering,)),))
    one = replace(FINDINGS.slices[0], where=where, sentence=steering)
    path = tmp_path / "steered.html"
    write_slices_report(
        replace(FINDINGS, slices=(one,), outcome=steering), title=steering, provenance=MADE, target=path
    )
    page = path.read_text(encoding="utf-8")
    head = page[: page.rindex("<script>")]
    assert not re.search("[\x00\x1b\u202e\ud800]", head)
    assert "\\u0000" not in head.replace("\\\\u0000", "")
    assert "a\\x00b\\x1b[31mc\\u202ed\\ud800" in head
