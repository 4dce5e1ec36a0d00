"""The page in a real browser without a network: every chart is drawn, and nothing complains."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from cv_quality.reports.key_finding import ReportSummary
from cv_quality_tests.reports.browsing import (
    CONTRAST,
    OUT_OF_SIGHT,
    accessibility_faults,
    chromium,
    offline_page,
    open_drawn,
)

MAX_PRINTED_PAGES = 8
"""The appendix of folded tables included."""
Written = tuple[ReportSummary, str, object]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    with offline_page(browser) as page:
        yield page


def test_every_chart_is_drawn_offline_without_a_complaint(opened: tuple[Page, list[str]], written: Written) -> None:
    page, complaints = opened
    open_drawn(page, written[0].path)
    assert page.locator(".chart svg").count() == written[0].n_charts == 23
    assert page.locator(".chart svg path").count() > 100
    assert complaints == []


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_is_wider_than_the_window(opened: tuple[Page, list[str]], written: Written, width: int) -> None:
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    open_drawn(page, written[0].path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "selector",
    [
        "p.finding",
        ".standing strong",
        ".glossary dd",
        "p.lede",
        "td small",
        ".chart svg .role-axis-label text",
        ".id",
        ".slice .rank",
        ".facts .bad .value",
        ".shot.rejected b",
        ".shot.accepted b",
        "#chart-change svg .mark-text text",
    ],
)
def test_text_has_enough_contrast(opened: tuple[Page, list[str]], written: Written, scheme: str, selector: str) -> None:
    """WCAG 2.2 AA asks for 4.5 : 1 for text of this size."""
    page, _ = opened
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_drawn(page, written[0].path)
    assert page.evaluate(CONTRAST, selector) >= 4.5


def test_a_tooltip_shows_the_counts(opened: tuple[Page, list[str]], written: Written) -> None:
    page, complaints = opened
    open_drawn(page, written[0].path)
    page.locator("#chart-illuminance-band svg .mark-symbol path").first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    shown = page.locator("#vg-tooltip-element").inner_text()
    assert "rejected / genuine" in shown
    assert " / " in shown
    assert complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(420, "dark"), (1240, "light")])
def test_axe_finds_no_fault(opened: tuple[Page, list[str]], written: Written, width: int, scheme: str) -> None:
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_drawn(page, written[0].path)
    assert accessibility_faults(page) == []


def test_no_verdict_is_out_of_sight_on_a_telephone(opened: tuple[Page, list[str]], written: Written) -> None:
    page, _ = opened
    page.set_viewport_size({"width": 420, "height": 900})
    open_drawn(page, written[0].path)
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert page.evaluate(OUT_OF_SIGHT) == []
    assert page.locator("td.failed, td.passed").count() > 0


def test_the_first_screen_fits_a_window(opened: tuple[Page, list[str]], written: Written) -> None:
    page, _ = opened
    open_drawn(page, written[0].path)
    box = page.locator("header.top").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 900


def test_without_a_script_every_chart_is_a_still_picture(browser: Browser, written: Written) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(written[0].path.as_uri())
    stills = page.locator(".chart > svg").all()
    assert len(stills) == written[0].n_charts
    assert all(still.locator("path, line, text").count() > 3 for still in stills)
    assert page.locator(".chart svg text", has_text="%").count() > 20
    context.close()


def test_folded_tables_are_printed_as_an_appendix(opened: tuple[Page, list[str]], written: Written) -> None:
    page, _ = opened
    open_drawn(page, written[0].path)
    folded = page.locator("main details:not(.sql) table").count()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details:not(.sql) table").count() == 0
    assert page.locator(".appendix details[open] table").count() == folded > 5
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details:not(.sql) table").count() == folded
    assert page.locator(".appendix details, main details[open]").count() == 0


def test_a_link_leads_to_an_example_that_is_folded(opened: tuple[Page, list[str]], written: Written) -> None:
    page, complaints = opened
    open_drawn(page, written[0].path)
    links = page.locator(".two .permalink").evaluate_all("(links) => links.map((link) => link.getAttribute('href'))")
    assert len(links) == len(set(links)) > 3
    folded = page.locator("details .two .permalink").first.get_attribute("href")
    page.goto(f"{written[0].path.as_uri()}{folded}")
    page.wait_for_selector("figure:target", state="visible")
    assert page.locator("details[open] figure:target").count() == 1
    assert complaints == []


def test_it_prints_to_few_pages_as_wide_as_the_paper(opened: tuple[Page, list[str]], written: Written) -> None:
    page, _ = opened
    open_drawn(page, written[0].path)
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type /Page\b", printed)) <= MAX_PRINTED_PAGES
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 703


def test_headings_images_tables_and_charts_are_named(opened: tuple[Page, list[str]], written: Written) -> None:
    page, _ = opened
    open_drawn(page, written[0].path)
    assert page.locator("h1").count() == 1
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("main table:not(:has(caption))").count() == 0
    assert page.locator(".chart:not([aria-label])").count() == 0


def test_a_saliency_map_is_drawn_cell_by_cell(opened: tuple[Page, list[str]], written: Written) -> None:
    """Weak cells of the 14 by 12 are left out, and what failed its checks is not drawn at all."""
    page, _ = opened
    open_drawn(page, written[0].path)
    assert 40 < page.locator("#chart-map-1-integrated-gradients svg .mark-rect path").count() < 14 * 12
    assert page.locator("#chart-map-1-occlusion").count() == 0


def test_the_waterfall_of_the_change_shows_every_part(opened: tuple[Page, list[str]], written: Written) -> None:
    page, complaints = opened
    open_drawn(page, written[0].path)
    shown = page.locator("#chart-change svg .mark-text text").all_text_contents()
    assert [text for text in shown if text.startswith("algorithm: ")][-1] == "algorithm: the rest"
    assert page.locator("#chart-change svg .mark-rect path").count() == 8
    page.locator("#chart-change svg .mark-rect path").first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert complaints == []
