"""The briefing of a video build: its figures are rows of the lake, a rise of an overlap is no loss."""

import polars as pl

from cv_quality.lake.lake import TableKey
from cv_quality.reports.section import read_sections
from cv_quality.tasks.video.report.briefing import brief_video
from cv_quality.tasks.video.tables import VIDEO_METRICS
from cv_quality_tests.tasks.video.report.video_case import SECTIONS_OF_MADE, VideoCase


def test_figures_of_video_are_rows_and_their_directions_those_of_the_metric(made: VideoCase) -> None:
    source = made.source()
    briefing = brief_video(read_sections(SECTIONS_OF_MADE, source), source)
    rows = made.lake.read(VIDEO_METRICS, TableKey(build=source.scope.build))
    assert briefing.changes
    for change in briefing.changes:
        for figure in change.figures:
            chosen = rows.filter(*(pl.col(name) == value for name, value in figure.where.items()))
            assert chosen["value"].to_list() == [figure.rate.value]
        bounds = change.pair.change
        if bounds is not None and bounds.low is not None and bounds.low > 0:
            assert change.direction == ("better" if change.higher_is_better else "worse")
    assert {change.higher_is_better for change in briefing.changes} == {True, False}
    assert len(briefing.headline.split()) <= 25
