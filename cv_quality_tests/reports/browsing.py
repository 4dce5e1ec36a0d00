"""A real browser without a network, and what is asked of every page in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

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
WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
OUT_OF_SIGHT = """
() => [...document.querySelectorAll("td.passed, td.failed, td.pass, td.fail, td.worse, td.better, td.unclear")]
  .filter((cell) => cell.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((cell) => cell.closest("table").caption.innerText)
"""
"""Captions of the tables with a verdict that lies beyond the window."""


def accessibility_faults(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 AA and good practice on a page, with the first place of each."""
    found = Axe().run(page, options={"runOnly": list(WCAG), "resultTypes": ["violations"]})
    return [f"{item['id']}: {item['nodes'][0]['html']}" for item in found.response["violations"]]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser; where there is none the test is not run."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("not run: no Chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield running
        running.close()


@contextmanager
def offline_page(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
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


def open_drawn(page: Page, path: Path) -> None:
    """Open a file, and wait until every chart is drawn."""
    page.goto(path.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.chart.vega-embed svg').length === document.querySelectorAll('.chart').length"
    )
