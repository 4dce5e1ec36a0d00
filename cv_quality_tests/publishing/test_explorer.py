"""The explorer as its reader meets it: in a browser without a network, against the rows that it was made of."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from urllib.parse import quote

import duckdb
import numpy as np
import polars as pl
import pytest
from playwright.sync_api import Browser, Page

from cv_quality.metrics.dyadic import pair_rate
from cv_quality.metrics.liveness.artefacts import artefact_rate
from cv_quality.metrics.rates import clustered_rate
from cv_quality.metrics.results import percent
from cv_quality.metrics.trials import ListedTrials
from cv_quality.publishing import explorer
from cv_quality.publishing.explorer import MAX_BYTES, draw_explorer, first_seen, read_pictures
from cv_quality.publishing.wording import interval_of
from cv_quality.reports.pictures import NO_CONSENT
from cv_quality.reports.trials import TrialColumn, Trials
from cv_quality.text import visible
from cv_quality_tests.publishing.briefings import ordinary_briefing
from cv_quality_tests.publishing.trials import (
    COLUMNS,
    DARK,
    HOSTILE,
    RIGHT_TO_LEFT,
    attacks_of,
    impostors_of,
    rows_of,
    trials_of,
)
from cv_quality_tests.reports.browsing import accessibility_faults, chromium, offline_page

MAX_FILTER_MS = 100
ROWS = rows_of(600)
FILTERS = "() => [...document.querySelectorAll('#chips .chip bdi')].map((chip) => chip.textContent)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@cache
def ordinary() -> bytes:
    """Draw the page of 600 attempts once."""
    return draw_explorer(ordinary_briefing(), trials_of(ROWS))


def opened(page: Page, content: bytes, folder: Path, link: str = "") -> Page:
    """Open a page from a file, and wait for its trials."""
    path = folder / "explorer.html"
    path.write_bytes(content)
    page.goto("about:blank")
    page.goto(path.as_uri() + (f"#{link}" if link else ""))
    page.wait_for_selector("html[data-ready=yes]", timeout=20_000)
    return page


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page of 600 attempts; whatever it complains about, or asks the network for, fails the test."""
    with offline_page(browser) as (page, complaints):
        yield opened(page, ordinary(), tmp_path)
    assert not complaints


def option(page: Page, facet: str, level: str) -> None:
    """Choose a level of a facet."""
    page.evaluate(f"document.getElementById('facet-{facet}').parentElement.open = true")
    page.wait_for_function(f"document.getElementById('facet-{facet}').childElementCount > 0")
    options = page.locator(f"#facet-{facet} label").filter(has=page.get_by_text(level, exact=True))
    options.locator("input").check()


def told(page: Page) -> tuple[str, str, str]:
    """Read what the page says of the selection."""
    rate, interval, counts = (page.inner_text(f"#{name}") for name in ("rate", "interval", "counts"))
    return rate, interval, counts


def expected(rows: pl.DataFrame) -> tuple[str, str]:
    """Say the same of rows, from the metrics."""
    counts = rows.group_by("subject_id").agg(pl.col("is_failure").sum(), pl.len())
    rate = clustered_rate(counts["is_failure"].to_numpy(), counts["len"].to_numpy())
    return percent(rate.value), f"95 % interval {interval_of(rate)}"


def test_the_same_trials_give_the_same_page() -> None:
    assert draw_explorer(ordinary_briefing(), trials_of(ROWS)) == ordinary()


def test_a_selection_has_the_rate_and_interval_that_metrics_compute(page: Page) -> None:
    assert told(page)[:2] == expected(ROWS)
    option(page, "light_band", "<10")
    dim = ROWS.filter(light_band="<10")
    assert told(page)[:2] == expected(dim)
    option(page, "eyewear", "sun'glasses")
    both = dim.filter(eyewear="sun'glasses")
    rate, interval, counts = told(page)
    assert (rate, interval.removesuffix(", too few to be ranked")) == expected(both)
    failures, subjects = both["is_failure"].sum(), both["subject_id"].n_unique()
    assert counts == f"{failures} false rejects of {both.height} genuine attempts, {subjects} subjects"


def codes_of(rows: pl.DataFrame, *columns: str) -> list[list[int]]:
    """Number the subjects in some columns alike."""
    names = sorted({name for column in columns for name in rows[column]})
    return [[names.index(name) for name in rows[column]] for column in columns]


def expected_of_pairs(rows: pl.DataFrame) -> tuple[str, str]:
    """Say the rate between subjects, from the metrics."""
    one, other = codes_of(rows, "subject_id", "claimed_subject_id")
    errors = [(i, j) for i, j, is_error in zip(one, other, rows["is_failure"], strict=True) if is_error]
    erring = ([i for i, _ in errors], [j for _, j in errors])
    rate = pair_rate(erring, trials=ListedTrials.of(one, other))
    return percent(rate.value), f"95 % interval {interval_of(rate)}"


@pytest.mark.parametrize(("n_subjects", "rate"), [(30, 0.03), (30, 0.0), (30, 0.004), (30, 0.3), (300, 0.03)])
def test_impostors_have_a_rate_of_their_own_with_its_interval(
    browser: Browser, tmp_path: Path, n_subjects: int, rate: float
) -> None:
    impostors = impostors_of(rows_of(900, seed=4), n_subjects=n_subjects, rate=rate)
    rows = impostors.population.rows
    with offline_page(browser) as (page, complaints):
        opened(page, draw_explorer(ordinary_briefing(), trials_of(ROWS, impostors)), tmp_path)
        assert told(page)[:2] == expected(ROWS)
        page.check("#kind-impostor")
        value, interval, counts = told(page)
        assert (value, interval.removesuffix(", too few to be ranked")) == expected_of_pairs(rows)
        assert counts.startswith(f"{rows['is_failure'].sum()} false accepts of 900 impostor attempts, ")
        option(page, "light_band", "<10")
        assert told(page)[0] == expected_of_pairs(rows.filter(light_band="<10"))[0]
        assert page.is_hidden("#slices")
    assert not complaints


def test_one_species_is_never_pooled_with_another(browser: Browser, tmp_path: Path) -> None:
    attacks = attacks_of(rows_of(600, seed=9), artefacts=12)
    rows = attacks.population.rows
    with offline_page(browser) as (page, complaints):
        opened(page, draw_explorer(ordinary_briefing(), trials_of(ROWS, attacks)), tmp_path, "kind=attack")
        for shown, words in (("mask", "mask, the worst of 3 eyewear,"), ("print", "print,"), ("replay", "replay,")):
            if shown != "mask":
                option(page, "eyewear", shown)
            of = rows.filter(eyewear=shown).group_by("subject_id").agg(pl.col("is_failure").sum(), pl.len())
            rate = artefact_rate(of["is_failure"].to_numpy(), of["len"].to_numpy())
            assert told(page)[:2] == (percent(rate.value), f"95 % interval {interval_of(rate)}")
            assert page.inner_text("#rate-name") == f"APCER of {words}"
            page.evaluate("document.getElementById('clear').click()")
    assert not complaints


def test_a_link_to_an_attempt_shows_its_kind(browser: Browser, tmp_path: Path) -> None:
    impostors = impostors_of(rows_of(90, seed=4), n_subjects=30)
    drop, name = impostors.population.rows.select("drop_id", "attempt_id").row(5)
    with offline_page(browser) as (page, complaints):
        content = draw_explorer(ordinary_briefing(), trials_of(ROWS, impostors))
        opened(page, content, tmp_path, f"attempt={quote(f'{drop}/{name}')}")
        assert page.is_checked("#kind-impostor")
        assert page.inner_text("#detail-title") == f"{drop}/{name}"
    assert not complaints


@pytest.mark.nightly
@pytest.mark.parametrize(("width", "scheme"), [(420, "dark"), (420, "light"), (1200, "dark"), (1200, "light")])
def test_axe_finds_no_fault(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    trials = trials_of(ROWS, impostors_of(rows_of(90, seed=4), n_subjects=30))
    with offline_page(browser) as (page, _):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        opened(page, draw_explorer(ordinary_briefing(), trials), tmp_path, "slice=1")
        assert accessibility_faults(page) == []
        page.locator("#cards button").first.click()
        assert accessibility_faults(page) == []


def test_a_slice_holds_the_rows_that_were_searched(page: Page) -> None:
    page.locator("#slice-options input").check()
    assert told(page)[:2] == expected(ROWS.filter(DARK.expression()))


LINKS = (
    "failed=true",
    f"slice=1&is.eyewear={quote(RIGHT_TO_LEFT)}&is.eyewear=%00&in.score=0.3%200.5",
    "outside=1&failed=false&is.is_indoors=true&in.yaw_deg=-3.3333333333333335%20Infinity",
    "text=S0001&is.eyewear=sun%27glasses&is.eyewear=none",
    "none.eyewear=",
)


@pytest.mark.parametrize("is_single", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_the_sql_of_a_selection_selects_what_the_page_shows(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, is_single: bool
) -> None:
    if is_single:
        monkeypatch.setattr(explorer, "MAX_DOUBLES", 0)
    opened(page, draw_explorer(ordinary_briefing(), trials_of(ROWS)), tmp_path, link)
    with page.expect_download() as download:
        page.click("#csv")
    saved = pl.read_csv(io.BytesIO(Path(download.value.path()).read_bytes()), infer_schema_length=None)
    with duckdb.connect() as engine:
        engine.register("attempts", ROWS.drop("why_hidden", "may_show", "badness").to_arrow())
        question = page.text_content("#sql") or ""
        found = engine.sql(f"SELECT attempt_id FROM ({question}) ORDER BY ALL").fetchall()
    assert sorted(saved["attempt_id"].to_list()) == [name for (name,) in found]
    assert saved.height == int(re.findall(r"of ([\d,]+) genuine", page.inner_text("#counts") or "of 0 genuine")[0])


def test_a_link_brings_back_the_selection_and_the_attempt(page: Page, tmp_path: Path) -> None:
    option(page, "eyewear", "glasses")
    page.locator("#slice-options input").check()
    page.locator("#cards button").nth(1).click()
    chips, title, before = page.evaluate(FILTERS), page.inner_text("#detail-title"), told(page)
    link = page.evaluate("location.hash.slice(1)")
    opened(page, ordinary(), tmp_path, link)
    assert page.evaluate(FILTERS) == chips
    assert page.inner_text("#detail-title") == title
    assert told(page) == before


def test_a_drag_over_the_histogram_selects_its_scores(page: Page) -> None:
    box = page.locator("#histogram").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 80, steps=4)
    page.mouse.up()
    low, high = (float(page.input_value(f"#{name}")) for name in ("from", "to"))
    inside = ROWS.filter(pl.col("score").is_between(low, high))
    assert 0 < inside.height < ROWS.height
    assert told(page)[:2] == expected(inside)


def test_no_image_is_in_the_page_of_who_did_not_agree(page: Page) -> None:
    asked: list[tuple[str, str]] = []

    def read(names: object) -> dict[tuple[str, str], object]:
        asked.extend(names)  # type: ignore[arg-type]
        return {}

    trials = replace(trials_of(ROWS, max_thumbnails=10_000), read_thumbnails=read)  # type: ignore[arg-type]
    assert read_pictures(trials) == ({}, {})
    assert set(asked) == set(ROWS.filter("may_show").select("drop_id", "attempt_id").rows())
    refusing = ROWS.filter(why_hidden=NO_CONSENT)["subject_id"][0]
    page.fill("#text", refusing)
    assert page.locator("#cards img").count() == 0
    assert page.locator("#cards .no-image").first.inner_text() == NO_CONSENT


def test_thumbnails_are_first_of_the_worst_of_every_subject() -> None:
    shown = ROWS.filter("may_show")
    chosen = pl.DataFrame(first_seen(trials_of(ROWS), limit=30), schema=["drop_id", "attempt_id"], orient="row")
    rows = chosen.join(shown, on=["drop_id", "attempt_id"], maintain_order="left")
    failures = rows.filter("is_failure")
    erring = shown.filter("is_failure")["subject_id"].n_unique()
    assert (rows.height, failures.height) == (30, 20)
    assert failures["subject_id"].n_unique() == min(20, erring)
    assert failures["score"][0] == shown.filter("is_failure")["score"].min()


def hostile() -> Trials:
    """Make trials whose names and levels would steer a page, and whose columns say nothing."""
    rows = ROWS.head(40).with_columns(
        eyewear=pl.Series([HOSTILE, "x" * 500, "a\u202eb", ""] * 10),
        subject_id=pl.Series([f"<b>{place % 9}</b>" for place in range(40)]),
        score=pl.lit(None, dtype=pl.Float64),
        is_indoors=pl.lit(None, dtype=pl.Boolean),
    )
    return trials_of(rows)


def test_names_that_would_steer_the_page_are_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    content = draw_explorer(ordinary_briefing(), hostile())
    assert HOSTILE.encode() not in content
    with offline_page(browser) as (page, complaints):
        opened(page, content, tmp_path)
        assert page.locator("#facet-eyewear").get_by_text(HOSTILE, exact=True).count() == 1
        assert page.locator("#facet-eyewear").get_by_text(visible("a\u202eb"), exact=True).count() == 1
        assert page.locator("main b, main img[onerror]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not complaints


def test_a_build_without_a_trial_has_a_page_that_says_so(browser: Browser, tmp_path: Path) -> None:
    with offline_page(browser) as (page, complaints):
        opened(page, draw_explorer(ordinary_briefing(), trials_of(ROWS.clear())), tmp_path)
        assert told(page) == ("undefined", "no trial", "0 false rejects of 0 genuine attempts, 0 subjects")
        assert page.inner_text("#shown") == "no genuine attempt is left"
    assert not complaints


def test_a_narrow_screen_shows_everything_in_one_column(browser: Browser, tmp_path: Path) -> None:
    with offline_page(browser) as (page, complaints):
        page.set_viewport_size({"width": 420, "height": 900})
        opened(page, ordinary(), tmp_path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not complaints


@pytest.mark.nightly
def test_100_000_attempts_fit_a_file_and_are_filtered_at_once(browser: Browser, tmp_path: Path) -> None:
    wide = [TrialColumn(f"measured_{place}", f"measured {place}", "number") for place in range(14)]
    drawn = np.random.default_rng(5)
    rows = rows_of(100_000).with_columns(pl.Series(item.name, drawn.normal(size=100_000)) for item in wide)
    impostors = impostors_of(rows[60_000:], n_subjects=3_000, rate=0.001)
    trials = trials_of(rows[:60_000], impostors, columns=(*COLUMNS, *wide), max_thumbnails=1_500)
    content = draw_explorer(ordinary_briefing(), trials)
    assert len(content) <= MAX_BYTES
    with offline_page(browser) as (page, complaints):
        opened(page, content, tmp_path)
        page.select_option("#order", "score")
        assert page.locator("#cards img").count() > 0
        click = "(box) => { const start = performance.now(); box.click(); return performance.now() - start; }"
        boxes = [
            *(("#slice-options input", place) for place in (0, 0)),
            *(("#facet-light_band input", place) for place in (0, 1, 0, 1)),
            *(("#facet-eyewear input", place) for place in (0, 1, 2)),
            ("#kind-impostor", 0),
            *(("#facet-eyewear input", place) for place in (0, 1, 2)),
            *(("#facet-light_band input", place) for place in (0, 1, 0, 1)),
        ]
        times = [page.locator(name).nth(place).evaluate(click) for name, place in boxes]
    assert not complaints
    assert median(times) < MAX_FILTER_MS, times
