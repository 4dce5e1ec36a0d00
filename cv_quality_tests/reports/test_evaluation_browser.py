"""The page of score files in a real browser without a network: every chart is drawn, and nothing complains."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from cv_quality_tests.reports.browsing import CONTRAST, chromium, offline_page, open_drawn
from cv_quality_tests.reports.score_pages import Case, evaluated, full_page, page, page_of_two


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    with offline_page(browser) as page:
        yield page


@pytest.fixture(scope="module", params=[full_page, page_of_two], ids=["one set with everything", "two sets of lists"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    made: Case = request.param(tmp_path_factory.mktemp("page"))
    return made


def test_every_chart_is_drawn_offline_without_a_complaint(opened: tuple[Page, list[str]], case: Case) -> None:
    page, complaints = opened
    open_drawn(page, case.path)
    assert page.locator(".chart svg").count() == case.html.count('data-chart="') >= 3
    assert page.locator(".chart svg path").count() > 100
    assert complaints == []


def test_a_page_with_hardly_a_score_does_not_complain(opened: tuple[Page, list[str]], tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("score,is_genuine\n0.1,false\n0.3,true\n0.2,false\n0.15,true\n-inf,true\n")
    page_, complaints = opened
    open_drawn(page_, page([evaluated(tmp_path / "scores.csv")], tmp_path).path)
    assert complaints == []


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_is_wider_than_the_window(opened: tuple[Page, list[str]], case: Case, width: int) -> None:
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    open_drawn(page, case.path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened: tuple[Page, list[str]], case: Case, scheme: str) -> None:
    """WCAG 2.2 AA asks for 4.5 : 1 for text of this size."""
    page, _ = opened
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_drawn(page, case.path)
    selectors = [".finding", ".lede", "td small", "td.status b", ".chart svg .role-axis-label text"]
    if any(evaluation.warnings for _, evaluation in case.evaluated):
        selectors.append(".warnings h2")
    for selector in selectors:
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


def test_names_of_thresholds_do_not_overlap(opened: tuple[Page, list[str]], case: Case) -> None:
    page, _ = opened
    open_drawn(page, case.path)
    texts = page.locator("#set-1-scores svg .mark-text text")
    boxes = [box for box in (texts.nth(index).bounding_box() for index in range(texts.count())) if box]
    frame = page.locator("#set-1-scores svg").bounding_box()
    assert frame is not None
    assert len(boxes) >= 3
    for index, one in enumerate(boxes):
        assert frame["x"] <= one["x"]
        assert one["x"] + one["width"] <= frame["x"] + frame["width"]
        for other in boxes[:index]:
            is_apart_down = abs(one["y"] - other["y"]) >= min(one["height"], other["height"]) - 2
            is_apart_across = one["x"] >= other["x"] + other["width"] or other["x"] >= one["x"] + one["width"]
            assert is_apart_down or is_apart_across


def test_it_prints_to_pdf(opened: tuple[Page, list[str]], case: Case) -> None:
    page, _ = opened
    open_drawn(page, case.path)
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_headings_tables_and_charts_are_named(opened: tuple[Page, list[str]], case: Case) -> None:
    page, _ = opened
    open_drawn(page, case.path)
    assert page.locator("h1").count() == 1
    assert page.locator("main table:not(:has(caption))").count() == 0
    assert page.locator(".chart:not([aria-label])").count() == 0
