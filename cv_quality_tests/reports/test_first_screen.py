"""The first screen of a page: verdict and answers in order, terms explained, and no briefing that it breaks on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from cv_quality.metrics.results import percent
from cv_quality.reports.briefing import Briefing, Standing
from cv_quality.reports.first_screen import LEAD_CHART, first_screen, lead_chart
from cv_quality.reports.rendering import write_page
from cv_quality.tasks.video.report.sections import FRAMES
from cv_quality_tests.publishing.briefings import bare_briefing, crowded_briefing, ordinary_briefing
from cv_quality_tests.reports.browsing import accessibility_faults, chromium, offline_page
from cv_quality_tests.reports.score_pages import words

UNITS = ("subjects", "attempts")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def page_of(briefing: Briefing, target: Path) -> str:
    screen = first_screen(briefing, units=UNITS)
    return write_page(
        "reports/templates/build.html",
        target,
        screen=screen,
        sections=(FRAMES,),
        found={FRAMES.id: {"missing": "none was made"}},
    ).decode()


def test_verdict_and_answers_come_in_the_order_of_the_questions(tmp_path: Path) -> None:
    briefing = ordinary_briefing()
    text = words(page_of(briefing, tmp_path / "page.html").partition("<header")[2].partition("</header>")[0])
    assert briefing.gain is not None
    asked = (briefing.impact, briefing.cause, briefing.gain, briefing.groups, briefing.quality, briefing.next_step)
    places = [text.index(said) for said in (briefing.headline, *(point.text for point in asked))]
    assert places == sorted(places)
    assert "40 subjects, 1,640 attempts, lab, field (2 drops), recorded 2026-09-01 to 2026-09-14" in text


def test_only_terms_that_the_screen_uses_are_explained() -> None:
    screen = first_screen(ordinary_briefing(), units=UNITS)
    assert list(screen.terms) == ["FRR"]


def test_the_chart_shows_both_builds_and_what_the_policy_allows() -> None:
    change = ordinary_briefing().changes[0]
    chart = lead_chart(change, build="face-1.2", baseline="face-1.1")
    assert chart is not None
    assert change.pair.baseline is not None
    for rate in (change.pair.build, change.pair.baseline):
        assert percent(rate.value) in chart.alt
    assert "the policy allows 3 %" in chart.alt
    assert chart.alt.index("face-1.1") < chart.alt.index("face-1.2")


def test_a_rate_that_is_not_known_leaves_no_chart_and_no_zero(tmp_path: Path) -> None:
    html = page_of(bare_briefing(), tmp_path / "page.html")
    assert LEAD_CHART not in html
    assert "0 %" not in words(html.partition("<header")[2].partition("</header>")[0])


@pytest.mark.parametrize(
    ("standing", "shown"), [("insufficient", "Not enough data"), ("no worse", "No worse"), ("fail", "Fail")]
)
def test_the_verdict_is_a_word(tmp_path: Path, standing: Standing, shown: str) -> None:
    html = page_of(replace(ordinary_briefing(), standing=standing), tmp_path / "page.html")
    assert f"<strong>{shown}</strong>" in html


@pytest.mark.parametrize("width", [420, 1240])
@pytest.mark.parametrize("make", [ordinary_briefing, bare_briefing, crowded_briefing])
def test_any_briefing_fits_the_window_and_is_accessible(
    browser: Browser, tmp_path: Path, make: Callable[[], Briefing], width: int
) -> None:
    target = tmp_path / "page.html"
    page_of(make(), target)
    with offline_page(browser) as (page, complaints):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(target.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert accessibility_faults(page) == []
        assert complaints == []
