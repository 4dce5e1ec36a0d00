"""A no about the bytes of a clip, wherever it stands, hides the clip and makes the page due that showed it."""

import json
from collections.abc import Callable

import pytest

from cv_quality.drops.consent import Refusals, SaidOfConsent, read_consents, read_shown_streams
from cv_quality.drops.tables import MEDIA_INDEX, QUARANTINE_PARSE, RAW_CLIPS, RAW_SUBJECTS, SUBJECTS
from cv_quality.lake.kept import Kept
from cv_quality.lake.lake import Survey, TableKey
from cv_quality_tests.tasks.video.report.video_case import DROPS, NOON, Row, VideoCase, frame

OTHER_DROP = "2026-10-01_other-1.0_site-z"
STREAM, UNLIKE = "clip-00", "clip-02"
Refuse = Callable[[VideoCase], None]


def clip_file(drop: str, member: str, digest: str) -> Row:
    place = {"shard": "clips-000.tar", "byte_offset": 512, "byte_count": 10, "media_format": "mp4"}
    return {"drop_id": drop, "content": "clips", "member": member, "sha256": digest * 64, **place}


def elsewhere(case: VideoCase, *, digest: str = "a", subject: str | None = None, agrees: bool = True) -> None:
    """Deliver a file in a drop of another build, and an event about it."""
    key = TableKey(drop=OTHER_DROP)
    said = {"event_id": "c", "occurred_at": NOON, "stream_id": "x", "device_id": "d", "clip": "x.mp4"}
    origin = {"drop_id": OTHER_DROP, "source_file": "e", "source_line": 1}
    row = said | {"subject_id": subject, "has_image_consent": agrees} | origin
    case.lake.write(MEDIA_INDEX, key, frame(MEDIA_INDEX, [clip_file(OTHER_DROP, "x.mp4", digest)]))
    case.lake.write(RAW_CLIPS, key, frame(RAW_CLIPS, [row]))


def subject_said(case: VideoCase, *, agrees: bool) -> None:
    origin = {"drop_id": OTHER_DROP, "source_file": "e", "source_line": 2}
    row = {"event_id": "s", "occurred_at": NOON, "subject_id": "someone", "has_image_consent": agrees} | origin
    for table in (SUBJECTS, RAW_SUBJECTS):
        case.lake.write(table, TableKey(drop=OTHER_DROP), frame(table, [row]))


def a_no_of_the_clip(case: VideoCase) -> None:
    elsewhere(case, agrees=False)


def a_subject_that_refused(case: VideoCase) -> None:
    subject_said(case, agrees=False)
    elsewhere(case, subject="someone")


def a_subject_that_was_never_asked(case: VideoCase) -> None:
    elsewhere(case, subject="someone")


def a_rejected_event(case: VideoCase) -> None:
    elsewhere(case)
    line = json.dumps({"kind": "clip", "stream_id": "x", "has_image_consent": False, "frame_rate_hz": "many"})
    row = {"drop_id": OTHER_DROP, "source_file": "e", "source_line": 9, "stage": "parse", "event_kind": "clip"}
    row |= {"reason": "type", "detail": "expected a number", "raw": line, "raw_bytes": len(line)}
    case.lake.write(QUARANTINE_PARSE, TableKey(drop=OTHER_DROP), frame(QUARANTINE_PARSE, [row]))


def other_bytes(case: VideoCase) -> None:
    elsewhere(case, digest="c", agrees=False)


def a_yes(case: VideoCase) -> None:
    elsewhere(case)


def a_subject_that_agreed(case: VideoCase) -> None:
    subject_said(case, agrees=True)
    elsewhere(case, subject="someone")


@pytest.fixture
def case_of_files(case: VideoCase) -> VideoCase:
    files = [clip_file(DROPS[0], f"{stream}.mp4", digest) for stream, digest in ((STREAM, "a"), (UNLIKE, "b"))]
    case.lake.write(MEDIA_INDEX, TableKey(drop=DROPS[0]), frame(MEDIA_INDEX, files))
    return case


def seen(case: VideoCase, kept: Kept[SaidOfConsent]) -> tuple[set[str], str]:
    """The streams that a page would show, and what makes it due."""
    shown = read_shown_streams(case.lake, DROPS, consents=read_consents(case.lake))
    return {stream for _, stream in shown}, Refusals(case.lake, Survey(case.lake.store), kept=kept).identity(DROPS)


@pytest.mark.parametrize(
    "refuse", [a_no_of_the_clip, a_subject_that_refused, a_subject_that_was_never_asked, a_rejected_event]
)
def test_a_no_about_the_same_bytes_hides_the_clip_and_makes_the_page_due(
    case_of_files: VideoCase, refuse: Refuse
) -> None:
    kept: Kept[SaidOfConsent] = Kept()
    before, identity = seen(case_of_files, kept)
    assert {STREAM, UNLIKE} <= before
    refuse(case_of_files)
    after, now = seen(case_of_files, kept)
    assert before - after == {STREAM}
    assert now != identity


@pytest.mark.parametrize("deliver", [other_bytes, a_yes, a_subject_that_agreed])
def test_what_hides_nothing_makes_no_page_due(case_of_files: VideoCase, deliver: Refuse) -> None:
    kept: Kept[SaidOfConsent] = Kept()
    before = seen(case_of_files, kept)
    deliver(case_of_files)
    assert seen(case_of_files, kept) == before


def test_a_no_that_is_taken_back_makes_the_page_due_again(case_of_files: VideoCase) -> None:
    kept: Kept[SaidOfConsent] = Kept()
    before = seen(case_of_files, kept)
    a_no_of_the_clip(case_of_files)
    assert seen(case_of_files, kept) != before
    a_yes(case_of_files)
    assert seen(case_of_files, kept) == before
