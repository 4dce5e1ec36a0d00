"""The briefing of a build: every figure is a row of the lake, and no sentence says more than the intervals allow."""

from dataclasses import replace

import polars as pl
import pytest

from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.metrics.results import percent
from cv_quality.reports.briefing import Briefing, Figure
from cv_quality.reports.section import read_sections
from cv_quality.tasks import TASKS, tables_of
from cv_quality.tasks.release.tables import RELEASE_VERDICTS
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES, SLICE_SEARCHES
from cv_quality.tasks.verification.report.briefing import brief_verification
from cv_quality.tasks.verification.report.sections import SECTIONS
from cv_quality.tasks.verification.tables import DIFFERENCES
from cv_quality_tests.tasks.verification.report.conftest import BASELINE, BUILD, Case

KEY = TableKey(build=BUILD)


def briefing_of(case: Case, baseline: str | None = BASELINE) -> Briefing:
    source = case.source(baseline)
    return brief_verification(read_sections(SECTIONS, source), source)


def figures_of(briefing: Briefing) -> list[Figure]:
    points = [briefing.impact, briefing.cause, briefing.gain, briefing.groups, briefing.quality, briefing.next_step]
    points += [cause.gain for cause in briefing.causes]
    own = [figure for change in briefing.changes for figure in change.figures]
    return own + [figure for point in points if point for figure in point.figures]


def test_every_figure_is_one_row_of_a_table(case: Case) -> None:
    tables, found = tables_of(TASKS), figures_of(briefing_of(case))
    assert {figure.table for figure in found} == {"intervals", "operating_points", "failure_slices"}
    for figure in found:
        rows = case.lake.read(tables[figure.table], KEY)
        chosen = rows.filter(*(pl.col(name).eq_missing(pl.lit(value)) for name, value in figure.where.items()))
        assert chosen.height == 1
        assert chosen[figure.column].item() == figure.rate.value


def test_impact_tells_the_rejections_now_and_before(case: Case) -> None:
    briefing = briefing_of(case)
    first = briefing.changes[0]
    assert first.name == "genuine attempts rejected (FRR)"
    assert first.pair.baseline is not None
    for rate in (first.pair.build, first.pair.baseline):
        assert percent(rate.value) in briefing.impact.text
    assert BASELINE in briefing.impact.text
    assert len(briefing.headline.split()) <= 25


@pytest.mark.parametrize(("rate", "name"), [("fnmr", "FNMR at FMR"), ("fta", "(FTA)")])
def test_the_rate_that_leads_is_a_setting(case: Case, rate: str, name: str) -> None:
    source = replace(case.source(), leading=rate)
    briefing = brief_verification(read_sections(SECTIONS, source), source)
    assert name in briefing.changes[0].name
    assert briefing.impact == briefing_of(case).impact
    assert {change.name for change in briefing.changes} == {change.name for change in briefing_of(case).changes}


@pytest.mark.parametrize(
    ("verdict", "opening"),
    [("pass", "may ship"), ("fail", "must not ship"), ("insufficient", "cannot be released on these data yet")],
)
def test_standing_is_the_verdict_of_the_release_policy(case: Case, verdict: str, opening: str) -> None:
    case.edit(RELEASE_VERDICTS, KEY, lambda rows: rows.with_columns(verdict=pl.lit(verdict)))
    briefing = briefing_of(case)
    assert (briefing.standing, briefing.headline.startswith(f"{BUILD} {opening}: ")) == (verdict, True)


def only_the_whole(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(requirement="overall")


@pytest.mark.parametrize(
    ("low", "high", "standing"),
    [(0.01, 0.05, "worse"), (-0.05, -0.01, "no worse"), (-0.01, 0.05, "cannot tell"), (None, None, "cannot tell")],
)
def test_without_a_policy_the_interval_of_the_change_decides(
    case: Case, low: float | None, high: float | None, standing: str
) -> None:
    case.edit(RELEASE_VERDICTS, KEY, only_the_whole)
    bounds = (pl.lit(low, pl.Float64).alias("low"), pl.lit(high, pl.Float64).alias("high"))
    case.edit(DIFFERENCES, KEY, lambda rows: rows.with_columns(*bounds))
    assert briefing_of(case).standing == standing


def test_a_build_without_a_baseline_stands_alone(case: Case) -> None:
    case.edit(RELEASE_VERDICTS, KEY, only_the_whole)
    briefing = briefing_of(case, baseline=None)
    assert briefing.standing == "cannot tell"
    assert briefing.headline.startswith(f"{BUILD} stands alone: ")
    assert "With" not in briefing.impact.text


def test_causes_have_words_rates_and_what_mending_them_gains(case: Case) -> None:
    briefing = briefing_of(case)
    rows = case.lake.read(FAILURE_SLICES, KEY).filter(finding="confirmed", outcome="frr").sort("rank")
    assert [cause.rank for cause in briefing.causes] == rows["rank"].to_list()
    assert briefing.gain == briefing.causes[0].gain
    for cause, row in zip(briefing.causes, rows.to_dicts(), strict=True):
        assert cause.gain is not None
        assert cause.gain.figures[0].rate.value == row["mended_rate"]
        assert percent(row["mended_rate"]) in cause.gain.text
        assert "_" not in cause.condition
    assert briefing.causes[0].condition in briefing.cause.text


def test_without_a_cause_it_says_what_was_searched(case: Case) -> None:
    case.edit(FAILURE_SLICES, KEY, pl.DataFrame.clear)
    case.edit(SLICE_SEARCHES, KEY, lambda rows: rows.with_columns(conclusion=pl.lit("Nothing stands out.")))
    briefing = briefing_of(case)
    assert (briefing.causes, briefing.gain) == ((), None)
    assert briefing.cause.text == "No cause is confirmed. Nothing stands out."


def test_an_undefined_rate_is_told_in_words(case: Case) -> None:
    tables: dict[str, Table] = tables_of(TASKS)
    undefined = pl.col("metric") == "frr"
    case.edit(
        tables["intervals"],
        KEY,
        lambda rows: rows.with_columns(
            pl.when(~undefined).then(pl.col(name)).alias(name) for name in ("value", "low", "high")
        ),
    )
    briefing = briefing_of(case)
    assert briefing.changes[0].pair.build.value is None
    assert briefing.headline.endswith("how often genuine attempts are rejected is not known.")
    assert briefing.impact.text.startswith("How often the right person is rejected is not known")
    assert briefing.standing in ("pass", "fail", "insufficient")
