"""The page in a real browser without a network: every chart is drawn, and nothing complains."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from cv_quality.reports.key_finding import ReportSummary
from cv_quality_tests.reports.browsing import CONTRAST, chromium, offline_page, open_drawn

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


def test_it_prints_to_pdf(opened: tuple[Page, list[str]], written: Written) -> None:
    page, _ = opened
    open_drawn(page, written[0].path)
    assert page.pdf(format="A4").startswith(b"%PDF")


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
