"""The deck as its reader meets it: native charts with intervals, one message a slide, notes, no word off a slide."""

import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pptx import Presentation
from pptx.oxml.ns import qn

from cv_quality.metrics.results import percent
from cv_quality.publishing.deck import draw_deck
from cv_quality.publishing.deck_template import TEMPLATE, draw_template
from cv_quality.publishing.wording import MAX_TITLE_WORDS
from cv_quality.reports.briefing import Briefing
from cv_quality.reports.pictures import NO_CONSENT
from cv_quality.reports.rates import RatePair
from cv_quality_tests.publishing.briefings import (
    bare_briefing,
    crowded_briefing,
    group_line,
    latency,
    ordinary_briefing,
    rate_of,
    steering_briefing,
)

MAKERS = (ordinary_briefing, bare_briefing, crowded_briefing, steering_briefing)
Maker = Callable[[], Briefing]
each_briefing = pytest.mark.parametrize("make", MAKERS)


@cache
def drawn(make: Maker) -> bytes:
    """Draw a deck once."""
    return draw_deck(make())


def slides_of(make: Maker) -> list[Any]:
    """Open a deck."""
    return list(Presentation(io.BytesIO(drawn(make))).slides)


def charts_of(slides: list[Any]) -> Iterator[Any]:
    """Find every chart of a deck."""
    return (shape.chart for slide in slides for shape in slide.shapes if shape.has_chart)


def text_of(slide: Any) -> str:
    """Read the text of a slide's shapes, charts and tables."""
    xml = b"".join(part.blob for part in slide.part.package.iter_parts() if part is slide.part)
    charts = [" ".join(shape.chart.plots[0].categories) for shape in slide.shapes if shape.has_chart]
    return " ".join([*re.findall(r"<a:t>([^<]*)</a:t>", xml.decode()), *charts])


@each_briefing
def test_the_same_briefing_gives_the_same_deck(make: Maker) -> None:
    assert draw_deck(make()) == drawn(make)


def test_the_template_is_as_it_was_drawn_and_is_wide() -> None:
    assert TEMPLATE.read_bytes() == draw_template()
    deck = Presentation(str(TEMPLATE))
    assert deck.slide_width * 9 == pytest.approx(deck.slide_height * 16, abs=16)


@each_briefing
def test_every_slide_has_one_short_message_and_notes(make: Maker) -> None:
    for slide in slides_of(make):
        assert 0 < len(slide.shapes.title.text_frame.text.split()) <= MAX_TITLE_WORDS
        assert len(slide.notes_slide.notes_text_frame.text) > len(slide.shapes.title.text_frame.text)


@each_briefing
def test_every_shape_lies_on_its_slide(make: Maker) -> None:
    deck = Presentation(io.BytesIO(drawn(make)))
    for slide in deck.slides:
        for shape in slide.shapes:
            assert shape.left >= 0
            assert shape.top >= 0
            assert shape.left + shape.width <= deck.slide_width
            assert shape.top + shape.height <= deck.slide_height


def test_every_chart_has_its_workbook_and_every_rate_its_interval() -> None:
    briefing = ordinary_briefing()
    charts = list(charts_of(slides_of(ordinary_briefing)))
    assert len(charts) == len(briefing.changes) + len(briefing.causes) + 2
    for chart in charts:
        assert zipfile.is_zipfile(io.BytesIO(chart.part.chart_workbook.xlsx_part.blob))
        for series in chart.plots[0].series:
            known = sum(value is not None for value in series.values)
            limits = sum("allowed" in name for name in chart.plots[0].categories)
            assert len(series._element.findall(f".//{qn('c:plus')}//{qn('c:pt')}")) == known - limits
    first = charts[0].plots[0].series[0]
    rate = briefing.changes[0].pair.build
    assert rate.value is not None
    assert rate.high is not None
    assert first.values[0] == rate.value
    assert float(first._element.find(f".//{qn('c:plus')}//{qn('c:v')}").text) == rate.high - rate.value


def test_every_rate_of_the_briefing_is_printed_as_the_page_prints_it() -> None:
    briefing = ordinary_briefing()
    text = " ".join(map(text_of, slides_of(ordinary_briefing)))
    rates = [rate for change in briefing.changes for rate in (change.pair.build, change.pair.baseline)]
    rates += [rate for cause in briefing.causes for rate in (cause.rate, cause.before)]
    for rate in rates:
        assert rate is not None
        assert percent(rate.value) in text
        assert percent(rate.high) in text


def test_a_source_stands_in_the_notes_of_each_change() -> None:
    notes = slides_of(ordinary_briefing)[1].notes_slide.notes_text_frame.text
    assert "operating_points.fnmr where point = 'decision_threshold' and build = 'face-1.2'" in notes
    assert "FRR: false rejection rate" in notes
    assert "Korn-Graubard" in notes


def test_what_is_undefined_is_a_word_and_no_bar() -> None:
    slides = slides_of(bare_briefing)
    assert not list(charts_of(slides))
    assert "undefined: no trial" in text_of(slides[1])


def test_a_build_of_which_nothing_was_measured_has_a_deck() -> None:
    nothing = replace(bare_briefing(), changes=(), group_lines=(), terms={}, commands=())
    slides = list(Presentation(io.BytesIO(draw_deck(nothing))).slides)
    assert [slide.shapes.title.text_frame.text for slide in slides] == [
        nothing.headline,
        nothing.impact.text,
        nothing.cause.text,
        nothing.groups.text,
        nothing.quality.text,
        nothing.next_step.text,
    ]


def test_a_highest_group_is_told_with_its_doubt() -> None:
    sure = (group_line("sex", "female", rate_of(200, 400), None), group_line("sex", "male", rate_of(4, 400), None))
    open_ = tuple(replace(line, dimension="age", pair=RatePair(rate_of(40, 400), None)) for line in sure)
    none = tuple(replace(line, dimension="site", pair=RatePair(rate_of(0, 400), None)) for line in sure)
    first = tuple(replace(line, dimension="eye") for line in sure)
    briefing = replace(ordinary_briefing(), group_lines=(*first, *sure, *open_, *none))
    titles = [slide.shapes.title.text_frame.text for slide in Presentation(io.BytesIO(draw_deck(briefing))).slides]
    named = "Genuine attempts rejected (FRR) by"
    assert [title for title in titles if title.startswith(named)] == [
        f"{named} sex: female has the highest, 50 %",
        f"{named} age: female has the highest, 10 %, but intervals overlap",
        f"{named} site: no error in any group",
    ]


def test_a_subject_who_did_not_agree_is_not_shown() -> None:
    slide = next(slide for slide in slides_of(ordinary_briefing) if "spectacles and low" in text_of(slide))
    pictures = [shape for shape in slide.shapes if shape.shape_type == 13]
    assert len(pictures) == 2
    assert all(shape._element.nvPicPr.cNvPr.get("descr") for shape in pictures)
    assert NO_CONSENT in text_of(slide)


def test_a_chart_of_no_rate_has_its_unit_and_its_own_axis() -> None:
    change = latency()
    deck = draw_deck(replace(ordinary_briefing(), changes=(change,)))
    chart = next(charts_of(list(Presentation(io.BytesIO(deck)).slides)))
    assert list(chart.plots[0].categories) == ["face-1.2: 51.5 ms", "face-1.1: 44.2 ms", "allowed at most: 50 ms"]
    assert chart.value_axis.maximum_scale == 60
    plus = chart.plots[0].series[0]._element.findall(f".//{qn('c:plus')}//{qn('c:pt')}")
    assert [point.get("idx") for point in plus] == ["1"], "an infinite bound has no place on the axis"


@pytest.mark.nightly
@each_briefing
def test_no_word_falls_off_a_slide(make: Maker, tmp_path: Path) -> None:
    programs = ("soffice", "pdftotext")
    if missing := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"not run: {', '.join(missing)} missing")
    (tmp_path / "deck.pptx").write_bytes(drawn(make))
    profile = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
    office = ["soffice", profile, "--headless", "--convert-to", "pdf", "--outdir", str(tmp_path)]
    subprocess.run([*office, str(tmp_path / "deck.pptx")], check=True, capture_output=True, timeout=120)
    subprocess.run(["pdftotext", "-bbox", "deck.pdf", "words.html"], check=True, cwd=tmp_path)
    page = (0.0, 0.0)
    words = 0
    for line in (tmp_path / "words.html").read_text(encoding="utf-8").splitlines():
        numbers = [float(value) for value in re.findall(r'(?:width|height|xM\w+|yM\w+)="([-\d.]+)"', line)]
        if line.strip().startswith("<page"):
            page = (numbers[0], numbers[1])
        elif line.strip().startswith("<word"):
            words += 1
            assert 0 <= numbers[0] <= numbers[2] <= page[0], line
            assert 0 <= numbers[1] <= numbers[3] <= page[1], line
    assert words > 100
