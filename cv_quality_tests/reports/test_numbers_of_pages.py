"""Numbers of every page are written in one way: few digits, no chain of zeros, and what differs looks different."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cv_quality
from cv_quality.metrics.results import percent
from cv_quality.reports.drawing import interval_words, log_axis, number_axis, round_numbers
from cv_quality.reports.rendering import number, points
from cv_quality.reports.slice_charts import moved
from cv_quality_tests.reports.browsing import chromium, offline_page, open_drawn
from cv_quality_tests.reports.score_pages import Case, full_page

PACKAGE = Path(cv_quality.__file__).parent
TEMPLATES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.html"))
OWN_FORMAT = re.compile(r"%[-+,.0-9]*[defg]\b|\{:[^}]*\}|%[.,0-9]+[defg]")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return full_page(tmp_path_factory.mktemp("page"))


def specs(html: str) -> Iterator[object]:
    for text in re.findall(r'<script type="application/json" data-chart="[^"]*">(.*?)</script>', html, re.DOTALL):
        yield json.loads(text)


def keys(value: object) -> Iterator[str]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield from value if isinstance(value, dict) else ()
    for child in children:
        yield from keys(child)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_formats_no_number_itself(template: str) -> None:
    text = (PACKAGE / template).read_text()
    assert [found for found in OWN_FORMAT.findall(text) if found != "%d"] == []


def test_no_chart_formats_a_number_itself(case: Case) -> None:
    found = list(specs(case.html))
    assert len(found) >= 3
    assert {"format", "formatType"} & {key for spec in found for key in keys(spec)} == set()


def test_every_tooltip_holds_text(case: Case) -> None:
    def tooltips(value: object) -> Iterator[dict[str, str]]:
        if isinstance(value, dict):
            yield from value.get("tooltip", []) if isinstance(value.get("tooltip"), list) else []
            for child in value.values():
                yield from tooltips(child)
        if isinstance(value, list):
            for child in value:
                yield from tooltips(child)

    lines = [line for spec in specs(case.html) for line in tooltips(spec)]
    assert len(lines) > 20
    assert {line["type"] for line in lines} == {"nominal"}


def test_the_browser_shows_the_labels_of_our_axes(case: Case) -> None:
    with chromium() as browser, offline_page(browser) as (page, complaints):
        open_drawn(page, case.path)
        labels = page.locator(".chart svg .role-axis-label text").all_text_contents()
    assert complaints == []
    assert len(labels) > 40
    assert {"0.1 %", "20 %", "−2"} <= set(labels)
    assert not [text for text in labels if re.search(r"\d%|0{4}|[0-9.]{6,}", text.replace(",", ""))]


@pytest.mark.parametrize(
    ("low", "high", "words", "shown"),
    [
        (0.98771, 0.98774, percent, "98.771 % to 98.774 %"),
        (1.29392e12, 1.29393e12, number, "1.29392e+12 to 1.29393e+12"),
        (-0.5, 0.25, points, "−50 pp to +25 pp"),
        (0.1, 0.1, percent, "10 % to 10 %"),
    ],
)
def test_two_bounds_that_differ_look_different(low: float, high: float, words: object, shown: str) -> None:
    assert interval_words(low, high, words=words) == shown  # type: ignore[arg-type]


def test_a_small_difference_is_told_from_none() -> None:
    assert (moved(4e-6, "rate"), moved(1e-17, "rate")) == ("+0.0004 pp", "±0 pp")
    assert (moved(-1234.5678, "loss"), moved(0.125, "loss")) == ("−1,230", "+0.125")


@given(
    st.floats(-1e9, 1e9, allow_subnormal=False),
    st.floats(1e-9, 1e9),
    st.integers(2, 8),
)
@example(1048576.0, 1e-9, 3)
@example(671089.0, 1e-9, 4)
def test_labels_of_an_axis_hold_its_ends_and_differ(low: float, width: float, count: int) -> None:
    high = low + width
    ticks = round_numbers(low, high, count=count)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 2 * count + 3
    if high > low:
        axis = number_axis([low, None, high], count=count).to_dict()
        labels = json.loads(axis["labelExpr"].partition("[indexof")[0])
        assert len(set(labels)) == len(labels) == len(axis["values"])


def test_labels_of_a_logarithmic_axis_have_no_chain_of_zeros() -> None:
    labels = json.loads(log_axis().to_dict()["labelExpr"].partition("[indexof")[0])
    assert labels[0] == "1e-07 %"
    assert labels[-1] == "100 %"
    assert not [label for label in labels if "0000" in label]
