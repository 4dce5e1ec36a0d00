"""What the page says of devices against re-inference: no more than counts and interval allow, and the worst first."""

import re
from collections.abc import Callable
from functools import partial
from html import unescape
from typing import Any, Protocol

import numpy as np
import polars as pl
import pytest

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.metrics.rates import Rate, clustered_rate
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES, SLICE_SEARCHES
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.parity import write_parity
from cv_quality.tasks.verification.populations import FLIP
from cv_quality.tasks.verification.report.parity import Agreement, Parity, read_parity
from cv_quality.tasks.verification.report.parity_charts import parity_charts
from cv_quality.tasks.verification.tables import PARITY
from cv_quality_tests.modalities import ATTEMPT_OUTCOMES
from cv_quality_tests.reports.score_pages import words

BUILD = "face-1.2"
DROPS = ("2026-09-01_face-1.2_site-a", "2026-09-02_face-1.2_site-b")
WORSE = "Phone-4"
SHIFT = -0.2


class Evaluation(Protocol):
    lake: Lake

    def report(self) -> tuple[ReportSummary, str]: ...

    def source(self) -> ReportSource: ...

    def edit(self, table: Table, key: TableKey, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None: ...


def edit_device_scores(case: Evaluation, score: pl.Expr) -> None:
    """Give the devices other scores, and count their agreement anew."""
    for drop in DROPS:
        key = TableKey(build=BUILD, drop=drop)
        case.edit(ATTEMPT_OUTCOMES, key, lambda rows: rows.with_columns(device_score=score))
    write_parity(case.lake, build=BUILD, drops=DROPS, modality=FACE)


@pytest.fixture
def faulty(case: Evaluation) -> Evaluation:
    """The evaluation with one device model that reports lower scores, found by the search for slices."""
    shifted = pl.when(pl.col("device_model") == WORSE).then(pl.col("score") + SHIFT).otherwise(pl.col("score"))
    edit_device_scores(case, shifted)
    found = {"outcome": FLIP.name, "condition": f"device_model is {WORSE}", "rank": 1}
    for table, more in ((FAILURE_SLICES, found), (SLICE_SEARCHES, {**found, "conclusion": "one slice of the flips"})):
        case.edit(table, TableKey(build=BUILD), partial(_with_another, more))
    return case


def _with_another(values: dict[str, Any], rows: pl.DataFrame) -> pl.DataFrame:
    known = {name: pl.lit(value, rows.schema[name]) for name, value in values.items() if name in rows.columns}
    return pl.concat([rows, rows.head(1).with_columns(**known)])


def section(html: str) -> str:
    return html.split('<section id="parity">')[1].split("</section>")[0]


def test_the_device_model_that_disagrees_heads_the_table(faulty: Evaluation) -> None:
    found = read_parity(faulty.source())
    assert found is not None
    first, *others = found.models
    assert first.level == WORSE
    assert first.n_beyond == first.n_scores > 0
    assert first.median_difference == pytest.approx(SHIFT)
    assert first.flips.numerator == first.n_reinferred_only == found.whole.flips.numerator > 0
    assert [(item.n_beyond, item.flips.numerator) for item in others] == [(0, 0)] * len(others)


def test_the_page_shows_the_fault_its_slice_and_a_line_on_top(faulty: Evaluation) -> None:
    _, html = faulty.report()
    shown = words(section(html))
    assert "one slice of the flips" in shown
    assert f"device_model is {WORSE}" in shown
    assert "devices disagree with it beyond rounding: see parity" in words(html.split("<nav")[0])
    assert FLIP.name not in words(html.split('<section id="why">')[1].split("</section>")[0])
    charts = re.findall(r'data-chart="(chart-parity[^"]+)"', html)
    assert charts == ["chart-parity-differences", "chart-parity-flips", "chart-parity-distances"]


def test_charts_say_in_words_what_they_show(faulty: Evaluation) -> None:
    found = read_parity(faulty.source())
    assert found is not None
    differences, flips, distances = parity_charts(found, faulty.source())
    assert f"{WORSE} median −0.2, largest 0.2, 100 % of" in differences.alt
    assert flips.alt.startswith(f"Decision flips by device model: {WORSE} ")
    assert distances.alt.endswith(f"{found.whole.n_near:,} near it, {found.whole.n_far:,} far from it.")


def test_histograms_lose_no_attempt(faulty: Evaluation) -> None:
    found = read_parity(faulty.source())
    assert found is not None
    assert {item.level: sum(part.count for part in found.differences[item.level]) for item in found.models} == {
        item.level: item.n_scores for item in found.models
    }
    kinds = {kind: sum(part.count for part in parts) for kind, parts in found.distances.items()}
    assert (kinds.get("near", 0), kinds.get("far", 0)) == (found.whole.n_near, found.whole.n_far)


def test_a_build_without_device_scores_says_so_in_one_line(case: Evaluation) -> None:
    edit_device_scores(case, pl.lit(None, pl.Float64))
    assert case.lake.read(PARITY, TableKey(build=BUILD)).is_empty()
    _, html = case.report()
    line = "The devices logged neither scores nor decisions that re-inference by this build can be held against."
    assert words(section(html)) == f"Devices against re-inference {line}"
    assert "see parity" not in words(html)


def test_decisions_that_were_not_logged_are_counted_and_said(case: Evaluation) -> None:
    _, html = case.report()
    compared = sum(
        case.lake.read(ATTEMPT_OUTCOMES, TableKey(build=BUILD, drop=drop))["score"].drop_nulls().len() for drop in DROPS
    )
    assert f"{compared:,} decisions were not logged: they are taken from the device’s score" in unescape(section(html))


def agreement(flips: Rate, *, near: int, far: int, agreeing: int = 0, beyond: int = 0) -> Parity:
    whole = Agreement("all", 400, 0.0, 0.1, beyond, far, near, near, far, agreeing, 0, 0, 0, flips)
    return Parity(0.01, 0.6, whole, (), {}, {}, "", (), {})


def flips_of(count: int) -> Rate:
    """Flips of 40 subjects with 10 decisions each, one a subject.

    Without a flip 400 / (1 + 9 * 0.1) * (1.96 / 2.0227) ** 2 = 197.7 trials count: 1 - 0.025 ** (1 / 197.7) = 0.0185.
    """
    return clustered_rate(np.arange(40) < count, np.full(40, 10))


def test_no_flip_is_told_with_its_upper_bound() -> None:
    found = agreement(flips_of(0), near=0, far=0)
    assert found.finding == (
        "No decision flips: devices and re-inference decide alike on all 400 decisions of 40 subjects; "
        "at most 1.85 % of decisions flip (95 % interval, clustered by subject)."
    )
    assert not found.is_broken


def test_flips_near_the_threshold_are_called_rounding() -> None:
    found = agreement(flips_of(4), near=4, far=0)
    assert found.finding.endswith(" 4 lie within 0.01 of the threshold: rounding explains that.")
    assert not found.is_broken


def test_flips_far_from_the_threshold_are_called_a_fault() -> None:
    found = agreement(flips_of(4), near=1, far=3, agreeing=2, beyond=9)
    assert found.is_broken
    assert found.finding.startswith("4 of 400 decisions of 40 subjects flip: 1 % (95 % interval ")
    assert "3 lie farther than 0.01 from the threshold: that is a fault and no rounding" in found.finding
    assert "In 2 of these the two scores agree: the device decided otherwise than by its score at 0.6." in found.finding
    assert "1 lies within 0.01 of the threshold: rounding explains that." in found.finding
    assert found.finding.endswith("9 of 400 scores (2.25 %) differ by more than 0.01.")


def test_scores_that_differ_break_parity_even_where_no_decision_flips() -> None:
    found = agreement(flips_of(0), near=0, far=0, beyond=5)
    assert found.is_broken
    assert found.finding.endswith("5 of 400 scores (1.25 %) differ by more than 0.01.")
