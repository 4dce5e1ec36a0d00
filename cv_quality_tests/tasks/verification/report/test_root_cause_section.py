"""The section "Why": its numbers are the lake's, its pictures need consent, and a sound build has a calm sentence."""

import base64
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import pytest

from cv_quality.drops.tables import SUBJECTS
from cv_quality.errors import MissingTable
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store
from cv_quality.metrics.results import percent
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.rendering import points
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.root_causes.report.charts import change_bars
from cv_quality.tasks.root_causes.report.records import RootCauses, SaliencyMap
from cv_quality.tasks.root_causes.tables import (
    CHANGE_ATTRIBUTION,
    EXAMPLES,
    FAILURE_CLUSTERS,
    FAILURE_SLICES,
    SLICE_SEARCHES,
    SLICE_TRENDS,
)
from cv_quality.tasks.verification.report.page import write_failure_report
from cv_quality.tasks.verification.report.root_cause_charts import (
    MAP_CELLS,
    map_chart,
    root_cause_charts,
)
from cv_quality.tasks.verification.report.root_causes import read_root_causes
from cv_quality.tasks.verification.report.sections import SECTIONS
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS, OUTCOME_WATERFALL
from cv_quality_tests.reports.score_pages import words
from cv_quality_tests.tasks.verification.report.root_cause_rows import (
    CONCLUSION,
    DARK,
    EVENING,
    MASK,
    NOT_SHOWN,
    TABLET,
)

BUILD, BASELINE = "face-1.2", "face-1.1"
DROPS = ("2026-09-01_face-1.2_site-a", "2026-09-02_face-1.2_site-b")
ON = TableKey(build=BUILD)
ROOT_CAUSE_TABLES = (
    SLICE_SEARCHES,
    FAILURE_SLICES,
    SLICE_TRENDS,
    OUTCOME_WATERFALL,
    EXAMPLES,
    CHANGE_ATTRIBUTION,
    FAILURE_CLUSTERS,
    EXPLANATIONS,
    COUNTERFACTUALS,
)
HOSTILE = "<script>alert(1)</script>&\"'"


class Evaluation(Protocol):
    lake: Lake
    landing: Store
    root: Path

    def report(self, name: str = ..., *, baseline: str | None = ...) -> tuple[ReportSummary, str]: ...

    def source(self) -> ReportSource: ...

    def edit(self, table: Table, key: TableKey, edit: object) -> None: ...


Written = tuple[ReportSummary, str, Evaluation]


def _section(html: str) -> str:
    return html.split('<section id="why">')[1].split("</section>")[0]


def _rows_of(spec: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    """What a layer is drawn from; rows lie beside the layers under a name, or within one."""
    data = layer.get("data", spec.get("data"))
    assert data is not None
    rows: list[dict[str, Any]] = data["values"] if "values" in data else spec["datasets"][data["name"]]
    return rows


def _read(case: Evaluation) -> RootCauses:
    return read_root_causes(case.source())


def _without_findings(case: Evaluation) -> None:
    for table in (FAILURE_SLICES, SLICE_TRENDS, EXAMPLES, FAILURE_CLUSTERS, EXPLANATIONS, COUNTERFACTUALS):
        case.edit(table, ON, lambda rows: rows.head(0))
    case.edit(OUTCOME_WATERFALL, ON, lambda rows: rows.filter(slice_rank=0))
    calm = "No slice of conditions fails more than the rest."
    case.edit(SLICE_SEARCHES, ON, lambda rows: rows.filter(outcome="frr").with_columns(conclusion=pl.lit(calm)))


def test_causes_come_first_then_the_change_the_groups_and_the_evidence(written: Written) -> None:
    html = written[1]
    assert words(_section(html)).startswith(f"Why it fails {CONCLUSION}")
    places = [html.index(f'<section id="{id}"') for id in ("why", "numbers", "groups", "conditions", "failures")]
    assert places == sorted(places)
    assert 'href="#why"' in html


def test_every_confirmed_slice_has_its_numbers_on_the_page(written: Written) -> None:
    section = _section(written[1])
    rows = written[2].lake.read(FAILURE_SLICES, ON).filter(outcome="frr", finding="confirmed").sort("rank")
    assert rows.height == 2
    for row in rows.iter_rows(named=True):
        card = section.split(f'aria-labelledby="slice-{row["rank"]}"')[1].split("</article>")[0]
        assert row["condition"] in unescape(card)
        assert row["sentence"] in unescape(card)
        for name in ("rate", "rest_rate", "share_of_failures", "p_adjusted"):
            assert f'value="{row[name]}"' in card
        assert f"{percent(row['low'])} to {percent(row['high'])}" in card
        assert f"{row['numerator']:,} / {row['denominator']:,}" in card
        assert f"attempts of {row['n_subjects']:,} subjects" in card
        assert f">{row['support']:,}<" in card


def test_cards_are_ordered_by_rank(case: Evaluation) -> None:
    case.edit(FAILURE_SLICES, ON, lambda rows: rows.reverse())
    assert [view.condition for view in _read(case).slices] == [DARK.sentence(), MASK.sentence()]


def test_the_trend_runs_from_the_oldest_build_to_this_one(case: Evaluation) -> None:
    trend = _read(case).slices[0].trend
    assert [point.build for point in trend] == ["face-1.0", BASELINE, BUILD]
    table = case.lake.read(SLICE_TRENDS, ON).filter(rank=1)
    assert {point.build: point.rate.value for point in trend} == dict(
        table.select("trend_build_id", "value").iter_rows()
    )


def test_stages_add_up_to_the_rate_of_every_bar(case: Evaluation) -> None:
    table = case.lake.read(OUTCOME_WATERFALL, ON)
    for view in _read(case).slices:
        assert [(item.model, item.is_slice) for item in view.endings] == [
            (BUILD, True),
            (BUILD, False),
            (BASELINE, True),
            (BASELINE, False),
        ]
        for item in view.endings:
            rank = view.rank if item.is_slice else 0
            own = table.filter(model_build_id=item.model, slice_rank=rank)
            assert item.n_failures == own.filter(pl.col("outcome") != "accepted")["n_attempts"].sum()
            assert item.n_genuine == own["n_attempts"].sum()


def test_bars_of_the_chart_are_as_long_as_the_frr(case: Evaluation) -> None:
    found = _read(case)
    chart = next(chart for chart in root_cause_charts(found, case.source()) if chart.id == "chart-endings-1")
    drawn = _rows_of(chart.spec, chart.spec["layer"][0])
    for item in found.slices[0].endings:
        name = f"{'slice' if item.is_slice else 'all'}, {item.model}"
        assert sum(row["share"] for row in drawn if row["level"] == name) == pytest.approx(item.frr)


def test_confounded_values_and_slices_of_too_few_subjects_are_listed_apart(written: Written) -> None:
    text = words(_section(written[1]))
    away = text.split("Looks bad but is not")[1].split("Not enough subjects")[0]
    assert EVENING.sentence() in away
    assert "6.25 %" in away
    assert DARK.sentence() in away
    assert TABLET.sentence() in text.split("Not enough subjects")[1].split("Stage by stage")[0]


def test_an_undescribed_cluster_is_said_to_be_one(written: Written) -> None:
    text = words(_section(written[1])).split("Clusters in the embedding")[1]
    assert f"1. {DARK.sentence()}" in text
    assert "2. No recorded condition describes this cluster" in text


def test_a_map_that_did_not_pass_is_told_and_not_drawn(written: Written) -> None:
    section = _section(written[1])
    assert "chart-map-1-integrated-gradients" in section
    assert "chart-map-1-occlusion" not in section
    assert f"The map of occlusion is not shown: {NOT_SHOWN}." in words(section)


def test_counterfactuals_are_counted_with_an_interval(written: Written) -> None:
    text = words(_section(written[1]))
    for row in written[2].lake.read(COUNTERFACTUALS, ON).iter_rows(named=True):
        assert row["change"] in text
        assert f"{row['n_accepted']} / {row['n_attempts']}" in text
        assert f"{percent(row['low'])} to {percent(row['high'])}" in text
        assert f"{row['score_after']:.3f}" in text


def test_counterfactuals_say_whom_they_cover(written: Written) -> None:
    endings = written[2].lake.read(OUTCOME_WATERFALL, ON).filter(slice_rank=1, model_build_id=BUILD)
    matched = endings.filter(outcome="non_match")["n_attempts"].sum()
    others = endings.filter(~pl.col("outcome").is_in(["accepted", "non_match"]))["n_attempts"].sum()
    text = words(_section(written[1]))
    assert f"Run again: 40 of the slice’s {matched:,} attempts that were not matched, of 21 subjects, over" in text
    assert (f"Its {others:,} other failures" in text) is (others > 0)


def test_the_steps_of_the_waterfall_lead_from_the_baseline_to_the_build(case: Evaluation) -> None:
    change = _read(case).change
    assert change is not None
    bars = change_bars(change, build=BUILD)
    rows = case.lake.read(CHANGE_ATTRIBUTION, ON)
    data, algorithm = (rows.filter(comparison=name, part=0).row(0, named=True) for name in ("data", "algorithm"))
    assert bars[0].end == data["failures_before"] / data["attempts_before"]
    assert bars[-1].end == algorithm["failures_after"] / algorithm["attempts_after"]
    for before, after in pairwise(bars):
        assert after.start in (0.0, before.end)
        if after.part is None:
            assert after.end == pytest.approx(before.end, abs=1e-12)


def test_every_part_of_the_change_has_its_row(written: Written) -> None:
    text = words(_section(written[1])).split("What changed since the baseline")[1]
    for row in written[2].lake.read(CHANGE_ATTRIBUTION, ON).iter_rows(named=True):
        assert points(row["change"]) in text
        assert f"{points(row['change_low'])} to {points(row['change_high'])}" in text
        assert f"{row['failures_after']:,} / {row['attempts_after']:,}" in text


def test_a_part_that_may_be_chance_is_grey(case: Evaluation) -> None:
    case.edit(CHANGE_ATTRIBUTION, ON, lambda rows: rows.with_columns(change=pl.lit(0.01), change_low=pl.lit(-0.01)))
    change = _read(case).change
    assert change is not None
    tones = {bar.words: bar.tone for bar in change_bars(change, build=BUILD)}
    assert tones["algorithm: the rest"] == "unclear"


def test_the_change_without_a_slice_has_a_step_for_data_and_one_for_algorithm(case: Evaluation) -> None:
    case.edit(CHANGE_ATTRIBUTION, ON, lambda rows: rows.filter(pl.col("where_json").is_null()))
    change = _read(case).change
    assert change is not None
    assert [bar.words for bar in change_bars(change, build=BUILD) if bar.part is not None] == [
        "data: other attempts",
        "algorithm: all attempts",
    ]


def test_without_a_baseline_nothing_is_said_of_a_change(case: Evaluation) -> None:
    case.lake.store.delete(f"{CHANGE_ATTRIBUTION.name}/{BUILD}.parquet")
    _, html = case.report(baseline=None)
    assert "What changed" not in html
    assert "Why it fails" in html


def test_a_sound_build_has_one_sentence_and_no_empty_card(case: Evaluation) -> None:
    _without_findings(case)
    _, html = case.report(baseline=None)
    section = _section(html)
    assert words(section) == "Why it fails No slice of conditions fails more than the rest."
    assert 'class="card' not in section


def test_a_sound_build_still_says_what_changed(case: Evaluation) -> None:
    _without_findings(case)
    section = words(_section(case.report()[1]))
    assert "What changed since the baseline" in section
    assert "Clusters" not in section


@pytest.mark.parametrize("table", ROOT_CAUSE_TABLES, ids=lambda table: table.name)
def test_a_table_that_was_not_written_is_named(case: Evaluation, table: Table) -> None:
    case.lake.store.delete(f"{table.name}/{BUILD}.parquet")
    with pytest.raises(MissingTable, match=table.name):
        case.report()


def test_a_build_whose_false_rejects_were_not_searched_is_refused(case: Evaluation) -> None:
    case.edit(SLICE_SEARCHES, ON, lambda rows: rows.filter(outcome="non_match"))
    with pytest.raises(MissingTable, match="no search for 'frr'"):
        case.report()


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (24, "At most 24 failures of the build are explained"),
        (0, "left out (CVQ_EXPLAINED_PAIRS is 0)"),
        (None, "are not there yet: this page is written anew when they are"),
    ],
)
def test_the_page_says_how_many_pairs_are_explained_or_why_none(
    case: Evaluation, pairs: int | None, sentence: str
) -> None:
    if pairs is None:
        for table in (EXPLANATIONS, COUNTERFACTUALS):
            case.lake.store.delete(f"{table.name}/{BUILD}.parquet")
    source = replace(case.source(), explained_pairs=pairs)
    write_failure_report(source, SECTIONS, case.root / "page.html")
    section = _section((case.root / "page.html").read_text())
    assert sentence in section
    assert ("Where the model looks" in section) == (pairs is not None)


def test_nobody_without_consent_is_pictured(case: Evaluation) -> None:
    found = _read(case)
    attempts = [
        *(
            attempt
            for view in found.slices
            for two in (*view.typical, *view.pairs)
            for attempt in (two.failure, two.passed)
        ),
        *(attempt for cluster in found.clusters for attempt in cluster.attempts),
    ]
    shown = [attempt for attempt in attempts if attempt is not None]
    assert len(shown) > 10
    for attempt in shown:
        agreed = int(attempt.subject_id.removeprefix("subject-")) % 2 == 0
        assert agreed or attempt.picture.uri is None
        assert agreed or attempt.picture.placeholder == "no consent for images"
    assert any(attempt.picture.uri for attempt in shown)


def test_a_refusal_on_record_leaves_no_picture_in_the_section(case: Evaluation) -> None:
    for drop in DROPS:
        case.edit(SUBJECTS, TableKey(drop=drop), lambda rows: rows.with_columns(has_image_consent=pl.lit(False)))
    assert "data:image" not in _section(case.report()[1])


def test_pictures_carry_nothing_but_pixels(written: Written) -> None:
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', _section(written[1]))
    assert pictures
    assert all(b"GPS" not in base64.b64decode(data) for data in pictures)


def test_hostile_text_in_every_column_stays_text(case: Evaluation) -> None:
    kept = {"where_json", "skipped_json", "examples_json", "outcome", "finding", "role", "comparison", "method"}
    identity = {"build_id", "model_build_id", "baseline_build_id", "trend_build_id", "drop_id", "attempt_id"}
    kept |= identity | {"subject_id", "partner_drop_id", "partner_attempt_id", "embedding_source", "source"}
    for table in ROOT_CAUSE_TABLES:
        texts = [column.name for column in table.columns if column.kind == "text" and column.name not in kept]
        case.edit(table, ON, lambda rows, texts=texts: rows.with_columns(pl.lit(HOSTILE).alias(name) for name in texts))
    _, html = case.report()
    assert "<script>alert" not in html
    assert HOSTILE in words(_section(html))


def test_a_slice_is_never_called_a_cause(written: Written) -> None:
    assert "cause" not in words(_section(written[1])).lower()


def test_a_large_map_is_averaged_into_few_cells() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(112, 100))
    item = SaliencyMap(
        "occlusion", 1, 1, 1, tuple(map(tuple, values.tolist())), is_shown=True, reason=None, pointing=None
    )
    spec = map_chart(item, id="chart-map", sample="face").spec
    rows = _rows_of(spec, spec)
    assert max(row["row"] for row in rows) == max(row["column"] for row in rows) == MAP_CELLS - 1
    blocks = values.reshape(MAP_CELLS, 4, 100).mean(axis=1)
    edges = np.linspace(0, 100, MAP_CELLS + 1).astype(int)
    expected = np.column_stack([blocks[:, low:high].mean(axis=1) for low, high in pairwise(edges)])
    expected /= np.abs(expected).max()
    for row in rows:
        assert row["value"] == pytest.approx(expected[row["row"], row["column"]], abs=0.006)


def test_queries_of_the_section_name_the_marts_where_there_is_one(written: Written) -> None:
    text = unescape(_section(written[1]))
    assert "FROM fct_failure_slices" in text
    assert "FROM fct_change_attribution" in text
    assert f"FROM read_parquet('{EXAMPLES.name}/{BUILD}.parquet')" in text
    assert f"fct_{EXAMPLES.name}" not in text
