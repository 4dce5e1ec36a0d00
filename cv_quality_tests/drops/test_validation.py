"""Which events a drop's own context refutes, with which reason, and that no row is lost on the way."""

import polars as pl
import pytest

from cv_quality.drops.rules import rules_of
from cv_quality.drops.tables import (
    DEVICES,
    QUARANTINE_VALIDATE,
    RAW_SUBJECTS,
    SUBJECTS,
    VALIDATED_ATTEMPTS,
)
from cv_quality.errors import MissingTable
from cv_quality.lake.lake import TableKey
from cv_quality_tests.drops.small_drops import (
    DEVICE,
    DROP_ID,
    ENROL,
    FACES,
    STREAM_FRAME,
    SUBJECT,
    Site,
    attempt,
    background,
    compressed,
    event,
    png,
    tar,
)

LATER = "2026-09-01T13:00:00.000001Z"
EARLIER = "2026-09-01T11:59:59.999999Z"

REJECTED = {
    "same event again": (attempt(event_id="good"), "duplicate_event", "found good again"),
    "another event under the id": (attempt(event_id="good", device_score=0.9), "duplicate_event", "found good again"),
    "the id of another kind": (attempt(event_id="s1"), "duplicate_event", "found s1 again"),
    "unknown subject": (attempt(subject_id="p9"), "unknown_subject", "subject_id: expected a subject event"),
    "unknown claim": (attempt(claimed_subject_id="p9"), "unknown_subject", "claimed_subject_id: expected"),
    "unknown device": (attempt(device_id="dev-9"), "unknown_device", "found dev-9"),
    "unknown reference": (attempt(reference_id="r9"), "unknown_reference", "found r9"),
    "missing frame": (attempt(frame="nowhere.png"), "missing_frame", "found nowhere.png"),
    "before the recording": (attempt(occurred_at=EARLIER), "outside_window", "found 2026-09-01 11:59:59.999999+00"),
    "after the recording": (attempt(occurred_at=LATER), "outside_window", "found 2026-09-01 13:00:00.000001+00"),
    "score above one": (attempt(device_score=1.01), "out_of_range", "a number from -1 to 1, found 1.01"),
    "negative latency": (attempt(device_latency_ms=-1), "out_of_range", "a number from 0 to unbounded, found -1"),
    "attempt zero": (attempt(attempt_number=0), "out_of_range", "found 0"),
    "unknown eyewear": (attempt(eyewear="monocle"), "unknown_level", "one of none, glasses, sunglasses, found monocle"),
    "unknown stage": (attempt(device_stage="guessing"), "unknown_level", "found guessing"),
    "id with a slash": (attempt(transaction_id="../t"), "bad_identifier", "found ../t"),
    "empty id": (attempt(transaction_id=""), "bad_identifier", "transaction_id"),
    "id of 129 characters": (attempt(event_id="a" * 129), "bad_identifier", "event_id"),
    "id with a newline": (attempt(transaction_id="t\n"), "bad_identifier", "transaction_id"),
    "several at once": (attempt(eyewear="x", device_score=9, subject_id="p9"), "unknown_level", "found x"),
    "second subject": (event("subject", SUBJECT, event_id="s2"), "duplicate_subject", "found p1 again"),
    "second device": (event("device", DEVICE, event_id="d2"), "duplicate_device", "found dev-1 again"),
    "skin tone": (event("subject", SUBJECT, event_id="s2", subject_id="p2", skin_tone=11), "out_of_range", "found 11"),
    "family with a space": (
        event("subject", SUBJECT, event_id="s2", subject_id="p2", family_id="the family"),
        "bad_identifier",
        "found the family",
    ),
    "enrolment of nobody": (event("enrol", ENROL, event_id="e2", subject_id="p9"), "unknown_subject", "found p9"),
    "enrolment to come": (event("enrol", ENROL, event_id="e2", occurred_at=LATER), "outside_window", "at most"),
    "stream of no device": (event("stream_frame", STREAM_FRAME, device_id="x"), "unknown_device", "found x"),
    "frame before zero": (event("stream_frame", STREAM_FRAME, frame_number=-1), "out_of_range", "found -1"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_senseless_event_is_quarantined_with_reason_place_and_text(site: Site, name: str) -> None:
    line, reason, words = REJECTED[name]
    site.deliver(*background(), attempt(event_id="good"), line)
    assert site.ingest().rows_valid == 5
    summary = site.validate()
    assert (summary.rows_valid, summary.rows_rejected) == (4, 1)
    (row,) = site.rows(QUARANTINE_VALIDATE).to_dicts()
    assert (row["source_file"], row["source_line"], row["reason"]) == ("events-0.jsonl.zst", 5, reason)
    assert words in row["detail"]
    assert (row["raw"], row["raw_bytes"], row["stage"]) == (line.decode(), len(line), "validate")
    assert site.rows(VALIDATED_ATTEMPTS)["event_id"].to_list() == ["good"]


SOUND = {
    "an enrolment repeated from earlier": event("enrol", ENROL, event_id="e2", occurred_at=EARLIER),
    "an attempt at the first instant": attempt(occurred_at="2026-09-01T12:00:00Z"),
    "an attempt at the last instant": attempt(occurred_at="2026-09-01T13:00:00Z"),
    "an attempt without reference or frame": attempt(reference_id=None),
    "numbers on their bounds": attempt(device_score=-1, yaw_deg=90, illuminance_lux=0, attempt_number=1_000),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_event_is_kept(site: Site, name: str) -> None:
    site.deliver(*background(), SOUND[name])
    site.ingest()
    assert site.validate().rows_rejected == 0


def test_raw_rows_are_validated_or_quarantined_for_every_kind(site: Site) -> None:
    streams = (event("stream_frame", STREAM_FRAME, event_id=f"f{n}", frame_number=n - 2) for n in range(5))
    site.deliver(*background(), *(line for line, _, _ in REJECTED.values()), *streams, b"garbage")
    site.ingest()
    summary = site.validate()
    quarantined = site.rows(QUARANTINE_VALIDATE)
    for kind, raw in FACES.raw.items():
        rejected = sum(summary.rejected[kind].values())
        assert site.rows(raw).height == site.rows(FACES.validated[kind]).height + rejected
        assert quarantined.filter(event_kind=kind).height == rejected
    assert quarantined["source_line"].is_sorted()


def test_validated_rows_are_the_raw_rows_unchanged(site: Site) -> None:
    site.deliver(*background(), attempt(), attempt(event_id="a2", device_score=7), attempt(event_id="a3"))
    site.ingest()
    site.validate()
    for kind, raw in FACES.raw.items():
        kept = site.rows(raw).filter(pl.col("source_line") != 5)
        assert site.rows(FACES.validated[kind]).equals(kept)


def test_the_family_of_a_subject_is_kept_where_it_is_named(site: Site) -> None:
    lines = (
        event("subject", SUBJECT, event_id=f"s{i}", subject_id=f"q{i}", family_id=f) for i, f in ((2, "f1"), (3, None))
    )
    site.deliver(*background(), *lines, attempt())
    site.ingest()
    site.validate()
    found = site.rows(SUBJECTS).select("subject_id", "family_id")
    assert dict(found.iter_rows()) == {"p1": None, "q2": "f1", "q3": None}


@pytest.mark.parametrize(
    "rejected", [[], [event("subject", SUBJECT, event_id="s2")]], ids=["none rejected", "one rejected"]
)
def test_a_drop_parsed_before_families_were_known_is_validated(site: Site, rejected: list[bytes]) -> None:
    site.deliver(*background(), *rejected, attempt())
    site.ingest()
    path = site.lake.path(RAW_SUBJECTS, TableKey(drop=DROP_ID))
    pl.read_parquet(path).drop("family_id").write_parquet(path)
    assert sum(site.validate().rejected["subject"].values()) == len(rejected)
    subjects = site.rows(SUBJECTS)
    assert subjects.columns == SUBJECTS.names
    assert subjects.select("subject_id", "family_id").rows() == [("p1", None)]


def test_the_first_of_equal_events_counts_over_files(site: Site) -> None:
    files = {
        "events-0.jsonl.zst": compressed(*background(), attempt(device_score=0.1)),
        "events-1.jsonl.zst": compressed(attempt(device_score=0.2), attempt(device_score=0.3)),
    }
    site.deliver_files(files)
    site.ingest()
    assert site.validate().rejected["attempt"] == {"duplicate_event": 2}
    assert site.rows(VALIDATED_ATTEMPTS)["device_score"].to_list() == [0.1]


def test_a_rejected_subject_takes_along_whatever_refers_to_it(site: Site) -> None:
    device, subject, enrol = background()
    site.deliver(device, subject.replace(b"true", b'true, "skin_tone": 99'), enrol, attempt())
    site.ingest()
    summary = site.validate()
    assert summary.rejected["subject"] == {"out_of_range": 1}
    assert summary.rejected["enrol"] == summary.rejected["attempt"] == {"unknown_subject": 1}
    assert site.rows(SUBJECTS).height == 0
    assert site.rows(DEVICES).height == 1


def test_the_first_sound_event_of_a_subject_counts(site: Site) -> None:
    broken = event("subject", SUBJECT, event_id="s0", skin_tone=99)
    site.deliver(broken, *background(), attempt())
    site.ingest()
    assert site.validate().rejected["subject"] == {"out_of_range": 1}
    assert site.rows(SUBJECTS)["event_id"].to_list() == ["s1"]


def test_an_attempt_on_a_quarantined_image_is_a_missing_frame(site: Site) -> None:
    lines = (*background(), attempt(frame="good.png"), attempt(event_id="a2", frame="bad.png"))
    shard = tar(("good.png", png()), ("bad.png", png()[:20]))
    site.deliver_files({"events-0.jsonl.zst": compressed(*lines), "frames-0.tar": shard})
    site.ingest()
    assert site.validate().rejected["attempt"] == {"missing_frame": 1}


def test_references_bind_only_where_the_protocol_has_them(site: Site) -> None:
    site.deliver(*background(), attempt(reference_id="r9"), protocol="all_pairs")
    site.ingest()
    assert site.validate().rows_rejected == 0


def test_validating_twice_writes_the_same_bytes(site: Site) -> None:
    site.deliver(*background(), *(line for line, _, _ in REJECTED.values()))
    contents = []
    for _ in range(2):
        site.ingest()
        site.validate()
        store = site.lake.store
        contents.append({info.key: store.read_bytes(info.key) for info in store.list()})
    assert contents[0] == contents[1]


def test_an_empty_drop_validates_to_empty_tables(site: Site) -> None:
    site.deliver_files({})
    site.ingest()
    assert site.validate().rows_valid == 0
    assert all(site.rows(table).height == 0 for table in FACES.validated.values())


def test_a_drop_must_be_ingested_first(site: Site) -> None:
    with pytest.raises(MissingTable, match="materialize"):
        site.validate()


@pytest.mark.parametrize("kind", FACES.fields)
def test_every_declared_limit_has_a_rule(kind: str) -> None:
    columns = FACES.fields[kind]
    rules = rules_of(kind, columns, protocol="enrolled", has_repeats=True)
    conditions = " ".join(rule.condition for rule in rules)
    for column in columns:
        if column.levels or column.pattern or column.low is not None or column.high is not None:
            assert column.name in conditions
