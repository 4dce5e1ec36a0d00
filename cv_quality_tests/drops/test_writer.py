"""The writer keeps the contract and repeats itself byte for byte."""

from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cv_quality.drops.manifest import completed_drops, read_manifest
from cv_quality.drops.tables import RAW_ATTEMPTS
from cv_quality.drops.writer import Scalar
from cv_quality.errors import DropError, SchemaError
from cv_quality.lake.store import open_store
from cv_quality_tests.drops.small_drops import (
    ATTEMPT,
    BACKGROUND,
    DROP_ID,
    FACES,
    START,
    Site,
    drop_writer,
    open_site,
    png,
)


def write_sound(site: Site, **changes: Any) -> None:
    with drop_writer(site.landing, **changes) as drop:
        for kind, fields in BACKGROUND:
            drop.add_event(kind, **fields)
        for number in range(7):
            frame = f"frames/{number}.png"
            drop.add_frame(frame, png())
            drop.add_event("attempt", **ATTEMPT | {"event_id": f"a{number}", "frame": frame, "occurred_at": START})


def test_the_same_calls_write_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        landing = open_store(str(tmp_path / name))
        write_sound(Site(landing, None, tmp_path))  # type: ignore[arg-type]
        contents.append({info.key: landing.read_bytes(info.key) for info in landing.list()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3


def test_what_was_written_is_taken_in_without_a_loss(site: Site) -> None:
    write_sound(site, events_per_file=4, frames_per_shard=3)
    manifest = read_manifest(site.landing, DROP_ID)
    assert [entry.rows for entry in manifest.files] == [4, 4, 2, 3, 3, 1]
    summary = site.ingest()
    assert (summary.rows_in, summary.rows_quarantined, summary.n_frames) == (17, 0, 7)
    assert site.validate().rows_rejected == 0


def test_events_written_together_are_those_written_one_by_one(tmp_path: Path) -> None:
    times = [{**ATTEMPT, "event_id": f"a{number}", "occurred_at": START} for number in range(5)]
    single, together = open_site(tmp_path / "single"), open_site(tmp_path / "together")
    for site in (single, together):
        with drop_writer(site.landing, events_per_file=3) as drop:
            for kind, fields in BACKGROUND:
                drop.add_event(kind, **fields)
            if site is single:
                for fields in times:
                    drop.add_event("attempt", **fields)
            else:
                drop.add_events("attempt", pl.DataFrame(times))
        site.ingest()
    names = [name for name in RAW_ATTEMPTS.names if name not in ("source_file", "source_line")]
    assert single.rows(FACES.raw["attempt"]).select(names).equals(together.rows(FACES.raw["attempt"]).select(names))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device_score": 2.0}, "a number from"),
        ({"device_score": float("nan")}, "a finite number"),
        ({"device_score": "0.5"}, "expected real values"),
        ({"subject_id": None}, "found none"),
        ({"device_stage": "nowhere"}, "one of acquisition"),
        ({"device_scor": 0.5}, "did you mean device_score"),
        ({"subject_id": "a b"}, "text that matches"),
        ({"occurred_at": datetime(2026, 9, 1)}, "expected instant values"),
    ],
)
def test_events_outside_the_contract_are_refused_together(site: Site, changes: dict[str, Scalar], words: str) -> None:
    rows = pl.DataFrame([{**ATTEMPT, "occurred_at": START, **changes}])
    with drop_writer(site.landing) as drop, pytest.raises(SchemaError, match=words):
        drop.add_events("attempt", rows)


def test_an_error_while_writing_leaves_no_manifest(site: Site) -> None:
    write_sound(site)
    with pytest.raises(SchemaError), drop_writer(site.landing) as drop:
        drop.add_event("nothing")
    assert completed_drops(site.landing) == []


def test_a_rewritten_drop_keeps_no_file_of_the_old_one(site: Site) -> None:
    write_sound(site, events_per_file=2)
    write_sound(site)
    assert site.ingest().rows_in == 17


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("atempt", {}, "did you mean attempt"),
        ("attempt", {"device_scores": 0.5}, "did you mean device_score"),
        ("attempt", {"subject_id": None}, "expected field 'subject_id'"),
        ("attempt", {"device_score": "0.5"}, "expected a real value, found '0.5'"),
        ("attempt", {"device_score": float("nan")}, "expected a real value, found nan"),
        ("attempt", {"attempt_number": True}, "expected a integer value, found True"),
    ],
)
def test_an_event_outside_the_contract_is_refused(
    site: Site, kind: str, changes: dict[str, Scalar], words: str
) -> None:
    with drop_writer(site.landing) as drop, pytest.raises(SchemaError, match=words):
        drop.add_event(kind, **ATTEMPT | changes)


def test_a_time_without_a_zone_is_refused(site: Site) -> None:
    with drop_writer(site.landing) as drop, pytest.raises(DropError, match="without one"):
        drop.add_event("attempt", **ATTEMPT | {"occurred_at": datetime(2026, 9, 1)})


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.png", "a//b.png", "a\\b.png", "", "a\nb", "./a.png", "a/"])
def test_an_unsafe_frame_name_is_refused(site: Site, name: str) -> None:
    with drop_writer(site.landing) as drop, pytest.raises(SchemaError, match="expected a relative path"):
        drop.add_frame(name, png())


def test_a_frame_name_is_used_once(site: Site) -> None:
    with drop_writer(site.landing) as drop:
        drop.add_frame("a.png", png())
        with pytest.raises(SchemaError, match="found it again"):
            drop.add_frame("a.png", png())
