"""The brief as its reader meets it: two tagged pages, the same bytes each time, and every letter shown."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cv_quality.metrics.results import percent
from cv_quality.publishing.brief import print_brief
from cv_quality.reports.briefing import Briefing
from cv_quality_tests.publishing.briefings import (
    bare_briefing,
    crowded_briefing,
    ordinary_briefing,
    steering_briefing,
)

each_briefing = pytest.mark.parametrize("make", [ordinary_briefing, bare_briefing, crowded_briefing, steering_briefing])


def pages_of(document: bytes, folder: Path) -> list[str]:
    """Read the text of each page."""
    if shutil.which("pdftotext") is None:
        pytest.skip("not run: pdftotext missing")
    (folder / "brief.pdf").write_bytes(document)
    read = subprocess.run(["pdftotext", "-raw", "brief.pdf", "-"], cwd=folder, check=True, capture_output=True)
    return [" ".join(page.split()) for page in read.stdout.decode().split("\f")[:-1]]


@each_briefing
def test_a_brief_has_two_tagged_pages_and_the_same_bytes(make: Callable[[], Briefing]) -> None:
    document = print_brief(make())
    assert print_brief(make()) == document
    assert len(re.findall(rb"/Type\s*/Page\b", document)) == 2
    assert b"pdfuaid:part>1<" in document
    assert b"/StructTreeRoot" in document


def test_a_brief_takes_less_than_a_second() -> None:
    briefing = crowded_briefing()
    started = time.perf_counter()
    print_brief(briefing)
    assert time.perf_counter() - started < 1


def test_the_first_page_says_all_that_a_leader_needs(tmp_path: Path) -> None:
    briefing = ordinary_briefing()
    first, second = pages_of(print_brief(briefing), tmp_path)
    assert briefing.gain is not None
    said = (briefing.impact, briefing.cause, briefing.gain, briefing.groups, briefing.quality, briefing.next_step)
    for text in (briefing.headline, *(point.text for point in said), "Worse than before"):
        assert text in first
    for rate in (briefing.changes[0].pair.build, briefing.changes[1].pair.build, briefing.causes[0].rate):
        assert f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)}; {rate.numerator:,}" in (
            f"{first} {second}"
        )
    assert "false rejection rate" in first
    assert "false match rate" in second
    assert "operating_points.fnmr" in second


def test_a_screen_reader_finds_headings_tables_and_the_words_of_the_chart(tmp_path: Path) -> None:
    briefing = ordinary_briefing()
    document = print_brief(briefing)
    if shutil.which("pdfinfo") is None:
        pytest.skip("not run: pdfinfo missing")
    (tmp_path / "brief.pdf").write_bytes(document)
    read = subprocess.run(["pdfinfo", "-struct", "brief.pdf"], cwd=tmp_path, check=True, capture_output=True)
    tags = [line.split()[0].rstrip(":") for line in read.stdout.decode().splitlines() if line.strip()]
    assert tags.count("H1") == 1
    assert {"H2", "H3", "P", "Table", "TH", "TD", "Figure"} <= set(tags)
    assert b"/Alt" in document
    assert b"/Lang(en-GB)" in document.replace(b" ", b"")


def test_a_briefing_without_a_figure_has_a_brief(tmp_path: Path) -> None:
    nothing = replace(bare_briefing(), changes=(), group_lines=(), terms={}, commands=())
    first, second = pages_of(print_brief(nothing), tmp_path)
    assert nothing.headline in first
    assert "No figure could be measured." in second


def test_what_is_undefined_is_a_word_on_a_brief(tmp_path: Path) -> None:
    first, second = pages_of(print_brief(bare_briefing()), tmp_path)
    assert "undefined: no trial" in second
    assert "0 %" not in first + second


def test_a_letter_that_no_font_has_is_written_as_its_number(tmp_path: Path) -> None:
    first, _ = pages_of(print_brief(replace(ordinary_briefing(), build="face \U000f0000")), tmp_path)
    assert "face U+F0000" in first


def test_a_name_cannot_write_markup(tmp_path: Path) -> None:
    first, _ = pages_of(print_brief(replace(ordinary_briefing(), build='#pagebreak() *a* "]')), tmp_path)
    assert '#pagebreak() *a* "]' in first
