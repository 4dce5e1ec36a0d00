"""Which rows and pictures of a delivery are a forgotten subject's, and that rows stay accounted for without them."""

from pathlib import Path

import pytest

from cv_quality.drops.forgotten import Forgotten, SubjectKey, find_withdrawn, read_forgotten
from cv_quality.drops.ingest import IngestSummary, ingest_drop
from cv_quality.drops.tables import QUARANTINE_PARSE, RAW_ATTEMPTS, RAW_SUBJECTS
from cv_quality.errors import ForgettingError
from cv_quality.lake.store import open_store
from cv_quality_tests.drops.small_drops import (
    ATTEMPT,
    DROP_ID,
    ENROL,
    SUBJECT,
    Site,
    background,
    compressed,
    event,
    open_site,
    png,
    tar,
)
from cv_quality_tests.modalities import MODALITIES

KEY = SubjectKey(b"k" * 32)
P2 = Forgotten(KEY, frozenset({KEY.digest("p2")}))


def _ingest(site: Site) -> IngestSummary:
    return ingest_drop(landing=site.landing, lake=site.lake, drop_id=DROP_ID, modalities=MODALITIES, forgotten=P2)


def _people() -> list[bytes]:
    second = event("subject", SUBJECT | {"event_id": "s2", "subject_id": "p2"})
    return [*background(), second, event("enrol", ENROL | {"event_id": "e2", "subject_id": "p2", "reference_id": "r2"})]


def test_rows_of_a_forgotten_subject_and_claims_on_it_are_counted_and_not_kept(tmp_path: Path) -> None:
    site = open_site(tmp_path)
    claim = event("attempt", ATTEMPT | {"claimed_subject_id": "p2", "reference_id": "r2"})
    site.deliver(*_people(), claim, event("attempt", ATTEMPT | {"event_id": "a2"}))
    done = _ingest(site)
    assert (done.rows_in, done.rows_valid, done.rows_forgotten, done.rows_quarantined) == (7, 4, 3, 0)
    assert site.rows(RAW_SUBJECTS)["subject_id"].to_list() == ["p1"]
    assert site.rows(RAW_ATTEMPTS)["event_id"].to_list() == ["a2"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"attempt","subject_id":"p2",',
        b"p2 came late",
        b'{"kind":"attempt","who":"p2"}',
        b'{"kind":"subject","subject_id":"p2","sex":7}',
        b'{"kind":"subject","subject_id":"\\u00702","event_id":"x"}',
    ],
)
def test_a_broken_row_that_names_a_forgotten_subject_is_not_quarantined(line: bytes, tmp_path: Path) -> None:
    site = open_site(tmp_path)
    site.deliver(*background(), line, b"p1 came late")
    done = _ingest(site)
    assert (done.rows_in, done.rows_forgotten, done.rows_quarantined) == (5, 1, 1)
    assert site.rows(QUARANTINE_PARSE)["raw"].to_list() == ["p1 came late"]


def test_a_log_that_breaks_off_in_a_row_of_a_forgotten_subject_keeps_no_text_of_it(tmp_path: Path) -> None:
    site = open_site(tmp_path)
    whole = compressed(*background(), *(event("subject", SUBJECT | {"subject_id": "p2"}) for _ in range(40)))
    site.deliver_files({"events-0.jsonl.zst": whole[:-9]})
    _ingest(site)
    assert not any("p2" in (text or "") for text in site.rows(QUARANTINE_PARSE)["raw"])


def test_pictures_of_a_forgotten_subject_are_not_indexed(tmp_path: Path) -> None:
    site = open_site(tmp_path)
    theirs = event("attempt", ATTEMPT | {"subject_id": "p2", "claimed_subject_id": "p2", "frame": "b.png"})
    spoof = event(
        "attempt", ATTEMPT | {"event_id": "a3", "claimed_subject_id": "p2", "presentation": "mask", "frame": "c.png"}
    )
    claim = event("attempt", ATTEMPT | {"event_id": "a4", "claimed_subject_id": "p2", "frame": "a.png"})
    logs, shard = compressed(*_people(), theirs, spoof, claim), tar(*((f"{n}.png", png()) for n in "abc"))
    site.deliver_files({"events-0.jsonl.zst": logs, "frames-0.tar": shard})
    done = _ingest(site)
    assert done.n_frames == 1
    assert [file.rows_forgotten for file in done.files] == [5, 2]


def test_what_goes_with_a_forgotten_subject_s_stream_is_theirs(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        compressed(
            b'{"kind":"box","stream_id":"v1","event_id":"b"}',
            b'{"kind":"clip","stream_id":"v1","subject_id":"p2","clip":"v1.mp4"}',
            b'{"kind":"stream_frame","stream_id":"v1","frame":"f/1.png"}',
            b'{"kind":"box","stream_id":"v2"}',
        )
    )
    found = find_withdrawn({"log": path}, P2)
    assert found.lines == {"log": {1, 2, 3}}
    assert found.has_member("v1.mp4")
    assert found.has_member("v1/000001.png")
    assert found.has_member("f/1.png")
    assert not found.has_member("v2/000001.png")


def test_who_is_forgotten_cannot_be_told_without_the_key(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "lake"))
    assert not read_forgotten(store, tmp_path)
    store.write_bytes(KEY.tombstone("p2"), b"")
    with pytest.raises(ForgettingError, match="copy the file key there"):
        read_forgotten(store, tmp_path)
    (tmp_path / "key").write_bytes(KEY.secret)
    assert read_forgotten(store, tmp_path)("p2")
    assert not read_forgotten(store, tmp_path)("p1")
    assert not any("p2" in info.key for info in store.list())


def test_a_key_that_is_none_is_an_error(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "lake"))
    store.write_bytes(KEY.tombstone("p2"), b"")
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(ForgettingError, match="expected 32 bytes"):
        read_forgotten(store, tmp_path)
