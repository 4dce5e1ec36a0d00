"""The page as a whole: its numbers are the lake's, its text is inert, and the same lake gives the same bytes."""

import polars as pl

from cv_quality.lake.lake import TableKey
from cv_quality.lake.tables import OPERATING_POINTS
from cv_quality.reports.page import ReportSummary

Written = tuple[ReportSummary, str, object]


def test_same_lake_gives_the_same_bytes(case) -> None:  # type: ignore[no-untyped-def]
    first, _ = case.report("first.html")
    second, _ = case.report("second.html")
    assert first.sha256 == second.sha256
    assert first.path.read_bytes() == second.path.read_bytes()


def test_every_defined_operating_point_is_on_the_page(written) -> None:  # type: ignore[no-untyped-def]
    _, html, case = written
    points = case.lake.read(OPERATING_POINTS, TableKey(build="face-1.2")).filter(
        pl.col("point") != "eer", pl.col("fnmr").is_not_null()
    )
    for row in points.iter_rows(named=True):
        assert f'value="{row["fnmr"]}"' in html
        assert f"{row['n_false_non_matches']:,} / {row['n_genuine']:,}" in html
