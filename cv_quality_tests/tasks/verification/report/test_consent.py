"""A no wins wherever it stands, and an image is shown only when all agreed who are named by it: seen on real pages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import polars as pl
import pytest

from cv_quality.drops.consent import Refusals, SaidOfConsent
from cv_quality.drops.frames import FrameReader
from cv_quality.drops.tables import (
    FRAME_INDEX,
    QUARANTINE_PARSE,
    RAW_STREAM_FRAMES,
    RAW_SUBJECTS,
    SUBJECTS,
)
from cv_quality.lake.kept import Kept
from cv_quality.lake.lake import Lake, Survey, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.report.thumbnails import PicturedFailure, picture_of, read_failures
from cv_quality_tests.modalities import ATTEMPT_OUTCOMES, VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality_tests.tasks.verification.report.conftest import BUILD, DROPS, NOON, Row, frame

OTHER_DROP = "2026-10-01_iris-0.1_site-z"


class Evaluation(Protocol):
    lake: Lake
    landing: Store
    root: Path

    def report(self) -> tuple[ReportSummary, str]: ...

    def source(self) -> ReportSource: ...

    def edit(self, table: Table, key: TableKey, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None: ...


def pictured(case: Evaluation) -> PicturedFailure:
    """A failure whose image and reference are shown."""
    shown = [item for item in read_failures(case.source()) if item.probe.uri and item.reference.uri]
    assert shown
    return shown[0]


def pictures(case: Evaluation, *, frames: set[str]) -> list[str]:
    """The frames of every drop as a page would embed them."""
    found = []
    for drop in DROPS:
        index = case.lake.read(FRAME_INDEX, TableKey(drop=drop))
        names = [name for name in index["frame"] if name in frames]
        found += [picture_of(data).uri or "" for _, data in FrameReader(case.landing, drop, index).read(names)]
    assert found
    return found


def frames_of(case: Evaluation, subject: str) -> set[str]:
    tables = [
        case.lake.read(table, TableKey(drop=drop)) for drop in DROPS for table in (VALIDATED_ATTEMPTS, VALIDATED_ENROLS)
    ]
    rows = pl.concat([rows.select("subject_id", "frame") for rows in tables])
    return set(rows.filter(pl.col("subject_id") == subject)["frame"].drop_nulls())


def said(subject: str, *, drop: str, agrees: bool) -> Row:
    return {
        "event_id": f"again-{subject}",
        "occurred_at": NOON,
        "subject_id": subject,
        "has_image_consent": agrees,
        "drop_id": drop,
        "source_file": "events-000.jsonl.zst",
        "source_line": 9_000,
    }


def quarantined(raw: str, *, drop: str, kind: str | None = "subject") -> Row:
    return {
        "drop_id": drop,
        "source_file": "events-000.jsonl.zst",
        "source_line": 9_001,
        "stage": "parse",
        "event_kind": kind,
        "event_id": None,
        "reason": "wrong_type",
        "detail": "",
        "raw": raw,
        "raw_bytes": len(raw),
    }


def second_event(case: Evaluation, subject: str) -> None:
    key = TableKey(drop=DROPS[0])
    case.lake.write(RAW_SUBJECTS, key, frame(RAW_SUBJECTS, [said(subject, drop=DROPS[0], agrees=False)]))


def second_event_before_the_yes(case: Evaluation, subject: str) -> None:
    key = TableKey(drop=DROPS[0])
    events = [
        said(subject, drop=DROPS[0], agrees=agrees) | {"source_line": line}
        for line, agrees in enumerate((False, True), 1)
    ]
    case.lake.write(RAW_SUBJECTS, key, frame(RAW_SUBJECTS, events))


def another_drop(case: Evaluation, subject: str) -> None:
    case.lake.write(
        SUBJECTS, TableKey(drop=OTHER_DROP), frame(SUBJECTS, [said(subject, drop=OTHER_DROP, agrees=False)])
    )


def broken_line(raw: str, kind: str | None = "subject") -> Callable[[Evaluation, str], None]:
    def write(case: Evaluation, subject: str) -> None:
        rows = frame(QUARANTINE_PARSE, [quarantined(raw.replace("SUBJECT", subject), drop=OTHER_DROP, kind=kind)])
        case.lake.write(QUARANTINE_PARSE, TableKey(drop=OTHER_DROP), rows)

    return write


REFUSALS: dict[str, Callable[[Evaluation, str], None]] = {
    "a second event": second_event,
    "an event before the yes": second_event_before_the_yes,
    "another drop of another build": another_drop,
    "a line with a wrong type elsewhere": broken_line(
        '{"kind": "subject", "subject_id": "SUBJECT", "skin_tone": "x", "has_image_consent": false}'
    ),
    "a no in words": broken_line('{"kind": "subject", "subject_id": "SUBJECT", "has_image_consent": "no"}'),
    "a key given twice": broken_line(
        '{"subject_id": "SUBJECT", "has_image_consent": true, "has_image_consent": false}', None
    ),
    "a line cut short": broken_line('{"kind":"subject","subject_id":"SUBJECT","has_image_consent":fal', None),
    "an escaped key": broken_line('{"kind": "subject", "subject_id": "SUBJECT", "has\\u005fimage_consent": false}'),
}


def identity(case: Evaluation, kept: Kept[SaidOfConsent]) -> str:
    """Who of the page's subjects must not be shown, as of now."""
    return Refusals(case.lake, Survey(case.lake.store), kept=kept).identity(DROPS)


@pytest.mark.parametrize("refuse", REFUSALS.values(), ids=REFUSALS)
def test_a_no_wins_wherever_it_stands(case: Evaluation, refuse: Callable[[Evaluation, str], None]) -> None:
    subject = pictured(case).subject_id
    own = pictures(case, frames=frames_of(case, subject))
    assert any(picture in case.report()[1] for picture in own)
    kept: Kept[SaidOfConsent] = Kept()
    before = identity(case, kept)
    refuse(case, subject)
    page = case.report()[1]
    assert not any(picture in page for picture in own)
    assert "data:image/png" in page
    assert identity(case, kept) != before


@pytest.mark.parametrize(
    "raw",
    [
        '{"kind": "subject", "subject_id": "SUBJECT", "skin_tone": "x", "has_image_consent": true}',
        '{"kind": "subject", "subject_id": "SUBJECT"}',
        '{"kind": "subject", "subject_id": "someone-else", "has_image_consent": false}',
    ],
)
def test_a_broken_line_that_does_not_say_no_changes_nothing(case: Evaluation, raw: str) -> None:
    shown, page = pictured(case), case.report()[1]
    broken_line(raw)(case, shown.subject_id)
    assert case.report()[1] == page


def test_a_yes_in_a_rejected_event_alone_is_no_consent(case: Evaluation) -> None:
    subject = pictured(case).subject_id
    own = pictures(case, frames=frames_of(case, subject))
    for drop in DROPS:
        case.edit(SUBJECTS, TableKey(drop=drop), lambda rows: rows.filter(pl.col("subject_id") != subject))
        case.lake.write(RAW_SUBJECTS, TableKey(drop=drop), frame(RAW_SUBJECTS, [said(subject, drop=drop, agrees=True)]))
    page = case.report()[1]
    assert not any(picture in page for picture in own)


def name_in_attempts(case: Evaluation, shown: PicturedFailure, name: str) -> None:
    for table, key in (
        (ATTEMPT_OUTCOMES, TableKey(build=BUILD, drop=shown.drop_id)),
        (VALIDATED_ATTEMPTS, TableKey(drop=shown.drop_id)),
    ):
        column = "attempt_id" if table is ATTEMPT_OUTCOMES else "event_id"
        is_it = pl.col(column) == shown.attempt_id
        renamed = pl.when(is_it).then(pl.lit(name)).otherwise(pl.col("frame")).alias("frame")
        case.edit(table, key, lambda rows, renamed=renamed: rows.with_columns(renamed))  # type: ignore[misc]


def test_an_attempt_that_names_the_frame_of_another_shows_nothing(case: Evaluation) -> None:
    shown, foreign = pictured(case), "frames/enrol-01.png"
    name_in_attempts(case, shown, foreign)
    (after,) = (item for item in read_failures(case.source()) if item.attempt_id == shown.attempt_id)
    assert (after.probe.uri, after.probe.placeholder) == (None, "no consent for images")
    assert after.reference.uri is not None
    page = case.report()[1]
    assert not any(picture in page for picture in pictures(case, frames={foreign}))


def test_the_bytes_of_anothers_image_under_a_new_name_are_not_shown(case: Evaluation) -> None:
    shown, drop = pictured(case), TableKey(drop=DROPS[1])
    copied = case.lake.read(FRAME_INDEX, drop).filter(pl.col("frame") == "frames/enrol-01.png")
    copy = copied.with_columns(frame=pl.lit("frames/mine.png"), drop_id=pl.lit(shown.drop_id))
    case.landing.write_bytes(f"{shown.drop_id}/frames-001.tar", case.landing.read_bytes(f"{DROPS[1]}/frames-000.tar"))
    copy = copy.with_columns(shard=pl.lit("frames-001.tar"))
    case.edit(FRAME_INDEX, TableKey(drop=shown.drop_id), lambda rows: pl.concat([rows, copy]))
    name_in_attempts(case, shown, "frames/mine.png")
    page = case.report()[1]
    assert not any(picture in page for picture in pictures(case, frames={"frames/enrol-01.png"}))


def test_a_frame_that_a_broken_line_or_a_stream_claims_is_not_shown(case: Evaluation) -> None:
    shown = pictured(case)
    (name,) = case.lake.read(VALIDATED_ATTEMPTS, TableKey(drop=shown.drop_id)).filter(event_id=shown.attempt_id)[
        "frame"
    ]
    assert any(picture in case.report()[1] for picture in pictures(case, frames={name}))
    key, kept = TableKey(drop=shown.drop_id), case.lake.read(QUARANTINE_PARSE, TableKey(drop=shown.drop_id))
    line = json.dumps({"kind": "attempt", "subject_id": "subject-01", "frame": name, "yaw_deg": "far"})
    extra = frame(QUARANTINE_PARSE, [quarantined(line, drop=shown.drop_id, kind="attempt")])
    case.edit(QUARANTINE_PARSE, key, lambda rows: pl.concat([rows, extra]))
    assert not any(picture in case.report()[1] for picture in pictures(case, frames={name}))
    case.lake.write(QUARANTINE_PARSE, key, kept)
    stream: Row = {"event_id": "f-1", "stream_id": "s", "device_id": "d", "frame_number": 0, "frame": name}
    stream |= {"deadline_ms": 1.0, "is_dropped": False, "drop_id": shown.drop_id, "source_file": "e", "source_line": 1}
    stream |= {"occurred_at": NOON}
    case.lake.write(RAW_STREAM_FRAMES, key, frame(RAW_STREAM_FRAMES, [stream]))
    assert not any(picture in case.report()[1] for picture in pictures(case, frames={name}))
