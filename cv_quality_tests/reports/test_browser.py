"""The page in a real browser without a network: every chart is drawn, and nothing complains."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from cv_quality.reports.page import ReportSummary

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
Written = tuple[ReportSummary, str, object]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("not run: no Chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """An offline page, and everything it complained about or asked the network for."""
    context = browser.new_context(offline=True, viewport={"width": 1240, "height": 900})
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: _note_request(request.url, complaints))
    yield page, complaints
    context.close()


def _note_request(url: str, complaints: list[str]) -> None:
    if not url.startswith(("file:", "data:")):
        complaints.append(f"request: {url}")


def _open(page: Page, path: Path) -> None:
    page.goto(path.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.chart svg').length === document.querySelectorAll('.chart').length"
    )


def test_every_chart_is_drawn_offline_without_a_complaint(opened: tuple[Page, list[str]], written: Written) -> None:
    page, complaints = opened
    _open(page, written[0].path)
    assert page.locator(".chart svg").count() == written[0].n_charts == 14
    assert page.locator(".chart svg path").count() > 100
    assert complaints == []


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_is_wider_than_the_window(opened: tuple[Page, list[str]], written: Written, width: int) -> None:
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    _open(page, written[0].path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("selector", ["p.finding", "p.lede", "td small", ".chart svg .role-axis-label text", ".id"])
def test_text_has_enough_contrast(opened: tuple[Page, list[str]], written: Written, scheme: str, selector: str) -> None:
    """WCAG 2.2 AA asks for 4.5 : 1 for text of this size."""
    page, _ = opened
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    _open(page, written[0].path)
    assert page.evaluate(CONTRAST, selector) >= 4.5


CONTRAST = """
(selector) => {
  const element = document.querySelector(selector);
  const luminance = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  const clear = (node) => /rgba\\(0, 0, 0, 0\\)|transparent/.test(getComputedStyle(node).backgroundColor);
  while (behind.parentElement && clear(behind)) behind = behind.parentElement;
  const style = getComputedStyle(element);
  const ink = element instanceof SVGElement ? style.fill : style.color;
  const pair = [luminance(ink), luminance(getComputedStyle(behind).backgroundColor)].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}
"""


def test_a_tooltip_shows_the_counts(opened: tuple[Page, list[str]], written: Written) -> None:
    page, complaints = opened
    _open(page, written[0].path)
    page.locator("#chart-illuminance-band svg .mark-symbol path").first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    shown = page.locator("#vg-tooltip-element").inner_text()
    assert "rejected / genuine" in shown
    assert " / " in shown
    assert complaints == []


def test_it_prints_to_pdf(opened: tuple[Page, list[str]], written: Written) -> None:
    page, _ = opened
    _open(page, written[0].path)
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_headings_images_tables_and_charts_are_named(opened: tuple[Page, list[str]], written: Written) -> None:
    page, _ = opened
    _open(page, written[0].path)
    assert page.locator("h1").count() == 1
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("main table:not(:has(caption))").count() == 0
    assert page.locator(".chart:not([aria-label])").count() == 0
