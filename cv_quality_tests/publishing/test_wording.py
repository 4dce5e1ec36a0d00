"""Titles, names and figures as every product writes them."""

from dataclasses import replace

import pytest

from cv_quality.publishing.wording import (
    MAX_TITLE_WORDS,
    compact_rate,
    difference_words,
    group_name,
    groupings,
    readable,
    title_of,
    words_of,
    words_of_figure,
)
from cv_quality.reports.briefing import Briefing, Point
from cv_quality.reports.rates import Change
from cv_quality_tests.publishing.briefings import group_line, latency, ordinary_briefing, rate_of


def test_a_figure_that_is_no_rate_is_written_in_its_unit() -> None:
    change = latency()
    assert compact_rate(change.pair.build, words=words_of(change)) == "51.5 ms (48 ms to ∞; n = 40)"
    assert difference_words(change) == "+7.25 ms (+1 ms to +9.5 ms)"


def test_a_difference_is_the_paired_one_where_the_table_has_it() -> None:
    change = latency()
    paired = replace(change.pair, change=Change(1.0, 9.5, 7.5))
    assert difference_words(replace(change, pair=paired)) == "+7.5 ms (+1 ms to +9.5 ms)"


def test_a_figure_is_written_as_the_change_that_it_belongs_to() -> None:
    briefing = ordinary_briefing()
    (figure, *_) = briefing.changes[0].figures
    own = replace(latency(), figures=(figure,))
    assert words_of_figure(figure, replace(briefing, changes=(own,)))(2.5, digits=3) == "2.5 ms"
    assert words_of_figure(figure, briefing)(0.025, digits=3) == "2.5 %"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Rejected: 5 % (95 % interval 3 to 8 %), 1.5 % before.", "Rejected: 5 %, 1.5 % before."),
        ("One. Two.", "One."),
        ("word " * 12 + "end, " + "word " * 20, "word " * 12 + "end…"),
        ("word " * 40, "word " * (MAX_TITLE_WORDS - 1) + "word…"),
    ],
)
def test_a_title_is_a_sentence_of_few_words(text: str, title: str) -> None:
    assert title_of(text) == title


def test_figures_stay_behind_a_name_from_right_to_left() -> None:
    assert readable("אב12: 5 %") == "אב12\u200e: 5 %"


def grouped(text: str) -> Briefing:
    """Make a briefing that tells of groups in some words."""
    rate = rate_of(10, 400)
    lines = [
        replace(group_line(dimension, f"{metric}, {level}", rate, None), metric=metric)
        for dimension, level in (("sex", "female"), ("skin tone", "7-10"))
        for metric in ("FNMR", "FMR")
    ]
    return replace(ordinary_briefing(), groups=Point(text), group_lines=tuple(lines))


def test_groups_that_are_told_of_come_first_each_metric_by_itself() -> None:
    found = groupings(grouped("The FMR of skin tone 7-10 is 2.6 times that of all."))
    assert [(line.dimension, line.metric, group_name(line)) for lines in found for line in lines] == [
        ("skin tone", "FMR", "7-10"),
        ("sex", "FNMR", "female"),
        ("sex", "FMR", "female"),
        ("skin tone", "FNMR", "7-10"),
    ]
