"""Images leave the lake only with consent, small, and without metadata."""

import base64
import io
from dataclasses import replace
from typing import Protocol

import polars as pl
import pytest
from PIL import Image

from cv_quality.drops.tables import SUBJECTS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.pictures import GONE, NO_CONSENT
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.report.thumbnails import (
    MAX_SHOWN,
    SIDE_PX,
    PicturedFailure,
    picture_of,
    read_failures,
)
from cv_quality.tasks.verification.tables import COMPARISONS
from cv_quality_tests.modalities import ATTEMPT_OUTCOMES

BUILD, BASELINE = "face-1.2", "face-1.1"
DROPS = ("2026-09-01_face-1.2_site-a", "2026-09-02_face-1.2_site-b")


class Evaluation(Protocol):
    lake: Lake
    landing: Store

    def report(self) -> tuple[ReportSummary, str]: ...

    def source(self) -> ReportSource: ...

    def edit(self, table: Table, key: TableKey, edit: object) -> None: ...


class _Watched:
    """A landing area that notes what is read from it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads = 0

    def __getattr__(self, name: str) -> object:
        self.reads += name.startswith("read")
        return getattr(self._store, name)


def _failures(case: Evaluation) -> tuple[PicturedFailure, ...]:
    return read_failures(case.source())


def _non_matches(case: Evaluation) -> pl.DataFrame:
    ledger = pl.concat([case.lake.read(ATTEMPT_OUTCOMES, TableKey(build=BUILD, drop=drop)) for drop in DROPS])
    return ledger.filter(pl.col("outcome") == "non_match").sort("score")


def test_the_worst_failure_of_every_subject_comes_first(case: Evaluation) -> None:
    worst = _non_matches(case).unique("subject_id", keep="first", maintain_order=True)
    shown = read_failures(case.source(), limit=8)
    assert worst.height > len(shown) == 8
    assert [failure.attempt_id for failure in shown] == worst["attempt_id"].head(8).to_list()


def test_second_failures_are_shown_where_subjects_are_few(case: Evaluation) -> None:
    known = _non_matches(case)["subject_id"].unique(maintain_order=True).head(2).to_list()
    for drop in DROPS:
        key = TableKey(build=BUILD, drop=drop)
        case.edit(COMPARISONS, key, lambda rows: rows.filter(pl.col("subject_id").is_in(known)))
    shown = [failure.subject_id for failure in _failures(case)]
    assert shown[:2] == known
    assert 2 < len(shown) <= MAX_SHOWN


def test_an_attempt_is_shown_once_by_its_lowest_comparison(case: Evaluation) -> None:
    """In a drop of all pairs one image takes part in many comparisons."""
    key = TableKey(build=BUILD, drop=DROPS[0])
    lower = {"reference_id": pl.lit("reference-99"), "score": pl.col("score") - 0.2}
    case.edit(COMPARISONS, key, lambda rows: pl.concat([rows, rows.with_columns(**lower)]))
    shown = _failures(case)
    assert len({failure.attempt_id for failure in shown}) == len(shown) == MAX_SHOWN
    doubled = case.lake.read(COMPARISONS, key).filter(pl.col("attempt_id") == shown[0].attempt_id)
    assert shown[0].score == doubled["score"].min()


def test_each_failure_carries_the_baseline_and_the_device_score(case: Evaluation) -> None:
    key = TableKey(build=BASELINE, drop=DROPS[0])
    before = dict(case.lake.read(ATTEMPT_OUTCOMES, key).select("attempt_id", "score").iter_rows())
    shown = [failure for failure in _failures(case) if failure.drop_id == DROPS[0]]
    assert shown
    assert all(failure.baseline_score == before[failure.attempt_id] for failure in shown)
    assert all(failure.device_score is not None for failure in shown)


def test_only_consenting_subjects_are_pictured(case: Evaluation) -> None:
    for failure in _failures(case):
        agreed = int(failure.subject_id.removeprefix("subject-")) % 2 == 0
        assert failure.has_image_consent == agreed
        if not agreed:
            assert failure.probe.uri is None
            assert failure.reference.uri is None
            assert failure.probe.placeholder == NO_CONSENT
        else:
            assert failure.reference.uri is not None


@pytest.mark.parametrize("table", [SUBJECTS, ATTEMPT_OUTCOMES])
def test_a_refusal_in_either_table_hides_the_image(case: Evaluation, table: Table) -> None:
    for drop in DROPS:
        key = TableKey(drop=drop) if table is SUBJECTS else TableKey(build=BUILD, drop=drop)
        case.edit(table, key, lambda rows: rows.with_columns(has_image_consent=pl.lit(False)))
    summary, html = case.report()
    assert summary.n_pictures == 0
    assert "data:image" not in html
    assert NO_CONSENT in html


def test_a_subject_without_a_record_counts_as_refusing(case: Evaluation) -> None:
    for drop in DROPS:
        case.edit(SUBJECTS, TableKey(drop=drop), lambda rows: rows.head(0))
    assert case.report()[0].n_pictures == 0


def test_without_consent_no_image_is_even_read(case: Evaluation) -> None:
    for drop in DROPS:
        case.edit(SUBJECTS, TableKey(drop=drop), lambda rows: rows.with_columns(has_image_consent=pl.lit(False)))
    watched = _Watched(case.landing)
    read_failures(replace(case.source(), landing=watched))  # type: ignore[arg-type]
    assert watched.reads == 0


def test_thumbnails_are_small_and_carry_no_metadata(case: Evaluation) -> None:
    uris = [failure.probe.uri for failure in _failures(case) if failure.probe.uri]
    assert uris
    for uri in uris:
        data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
        image = Image.open(io.BytesIO(data))
        assert b"GPS position" not in data
        assert image.info == {}
        assert max(image.size) == SIDE_PX


def test_an_unreadable_image_has_a_placeholder() -> None:
    assert picture_of(b"GIF89a broken").uri is None


def test_failures_of_a_drop_whose_frames_are_gone_are_told_without_images(case: Evaluation) -> None:
    shown = sum(failure.probe.uri is not None for failure in _failures(case))
    for drop in DROPS:
        case.landing.delete(f"{drop}/frames-000.tar")
    told = [failure.probe.placeholder for failure in _failures(case) if failure.probe.uri is None]
    assert len(told) == len(_failures(case))
    assert 0 < shown <= told.count(GONE)
