"""What counts as a drop, and which manifests are refused with what words."""

import hashlib
import os
import resource
import stat
import time
from pathlib import Path

import pytest

from cv_quality.drops import manifest
from cv_quality.drops.ingest import IngestSummary, ingest_drop
from cv_quality.drops.manifest import (
    CompletedDrop,
    awaited_files,
    check_file_set,
    completed_drops,
    delivered,
    read_manifest,
)
from cv_quality.errors import DropError
from cv_quality.lake import kept
from cv_quality.lake.kept import Kept
from cv_quality.lake.lake import Survey
from cv_quality.lake.store import Store, open_store
from cv_quality_tests.drops.small_drops import DROP_ID, Site, attempt, background, compressed
from cv_quality_tests.modalities import MODALITIES


def test_a_folder_without_a_manifest_is_no_drop(site: Site) -> None:
    site.landing.write_bytes(f"{DROP_ID}/events-0.jsonl.zst", compressed(attempt()))
    site.landing.write_bytes("notes.txt", b"a plain file")
    assert completed_drops(site.landing) == []
    with pytest.raises(DropError, match=r"expected the manifest .*, found none"):
        read_manifest(site.landing, DROP_ID)


def test_a_completed_drop_is_identified_by_the_digest_of_its_manifest(site: Site) -> None:
    site.deliver(attempt())
    digest = hashlib.sha256(site.landing.read_bytes(f"{DROP_ID}/manifest.json")).hexdigest()
    (drop,) = completed_drops(site.landing)
    assert drop.identity == read_manifest(site.landing, DROP_ID).identity == f"{DROP_ID}@{digest[:16]}"


def test_an_unreadable_manifest_is_listed_and_fails_when_taken_in(site: Site) -> None:
    site.landing.write_bytes(f"{DROP_ID}/manifest.json", b"{broken")
    assert [drop.drop_id for drop in completed_drops(site.landing)] == [DROP_ID]
    with pytest.raises(DropError, match="expected a JSON object"):
        site.ingest()


def test_what_a_manifest_says_is_kept_but_not_why_one_is_not_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SETTLED_NS", -1)
    site.deliver(attempt())
    site.landing.write_bytes("too-large/manifest.json", b" " * (manifest.MAX_MANIFEST_BYTES + 1))
    said = Kept[CompletedDrop]()
    sound, _ = completed_drops(site.landing, kept=said)
    files = Survey(site.landing).list("")
    assert said.get(files[f"{DROP_ID}/manifest.json"]) == sound
    assert said.get(files["too-large/manifest.json"]) is None


def test_a_folder_that_cannot_be_a_partition_is_left_out_and_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.landing.write_bytes("a|b/manifest.json", b"{}")
    assert completed_drops(site.landing) == []
    assert "a|b" in caplog.text


GOOD_FILE = {"name": "events-0.jsonl.zst", "bytes": 1, "sha256": "0" * 64, "rows": 1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 4}, "expected schema_version 1 or 2 or 3, found 4"),
        ({"schema_version": True}, "expected schema_version 1 or 2 or 3, found true"),
        ({"drop_id": "other"}, "as the folder says, found 'other'"),
        ({"build_id": "../face"}, r"\$\.build_id"),
        ({"build_id": "face\n"}, r"\$\.build_id"),
        ({"modality": "../face"}, r"\$\.modality"),
        ({"protocol": "open_set"}, r"\$\.protocol"),
        ({"captured_from": "yesterday"}, r"\$\.captured_from"),
        ({"captured_from": "2026-09-01T12:00:00"}, r"\$\.captured_from"),
        ({"captured_until": "2026-09-01T12:00:00Z"}, "captured_from before captured_until"),
        ({"operator": "someone"}, "unknown field `operator`"),
        ({"files": [{**GOOD_FILE, "name": "../events-0.jsonl.zst"}]}, r"\$\.files\[0\]\.name"),
        ({"files": [{**GOOD_FILE, "name": "a/events-0.jsonl.zst"}]}, r"\$\.files\[0\]\.name"),
        ({"files": [{**GOOD_FILE, "name": "manifest.json"}]}, r"\$\.files\[0\]\.name"),
        ({"files": [{**GOOD_FILE, "rows": -1}]}, r"\$\.files\[0\]\.rows"),
        ({"files": [{**GOOD_FILE, "rows": 2**63}]}, r"\$\.files\[0\]\.rows"),
        ({"files": [{**GOOD_FILE, "bytes": 2**63}]}, r"\$\.files\[0\]\.bytes"),
        ({"captured_from": "0000-01-01T00:00:00Z"}, r"\$\.captured_from"),
        ({"captured_from": "0001-01-01T00:00:00+14:00"}, "captured_from: expected a time from 1970 to 2200"),
        ({"captured_until": "9999-12-31T23:59:59-14:00"}, "captured_until: expected a time from 1970 to 2200"),
        ({"files": [{**GOOD_FILE, "sha256": "beef"}]}, r"\$\.files\[0\]\.sha256"),
        ({"files": [GOOD_FILE, GOOD_FILE]}, "each file once, found events-0.jsonl.zst"),
    ],
)
def test_a_manifest_that_breaks_the_contract_is_refused_by_key(
    site: Site, changes: dict[str, object], words: str
) -> None:
    site.deliver(attempt(), **changes)
    with pytest.raises(DropError, match=words):
        read_manifest(site.landing, DROP_ID)


@pytest.mark.parametrize("text", [b"\xed\xa0\x80", b"\xff", b"\\ud800"])
def test_text_that_is_no_unicode_is_refused(site: Site, text: bytes) -> None:
    """What the version is read past is checked when the fields are."""
    site.deliver(attempt(), site="place")
    key = f"{DROP_ID}/manifest.json"
    site.landing.write_bytes(key, site.landing.read_bytes(key).replace(b"place", text))
    with pytest.raises(DropError, match=r"manifest\.json: "):
        read_manifest(site.landing, DROP_ID)


HUGE = {
    "nested": b"[" * 1_000_000,
    "nested in a field": b'{"schema_version":1,"x":' + b"[" * 1_000_000,
    "nested version": b'{"schema_version":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "many files": b'{"schema_version":1,"files":[' + b"{}," * 10_000_000 + b"{}]}",
    "long key": b'{"schema_version":1,"' + b"x" * 30_000_000 + b'":1}',
    "beyond the limit": b'{"schema_version":1,"files":[' + b"{}," * 20_000_000 + b"{}]}",
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_manifest_is_refused_in_little_time_and_memory(site: Site, name: str) -> None:
    site.landing.write_bytes(f"{DROP_ID}/manifest.json", HUGE[name])
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (drop,) = completed_drops(site.landing)
    with pytest.raises(DropError) as caught:
        read_manifest(site.landing, DROP_ID)
    assert time.perf_counter() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "in KiB"
    assert len(str(caught.value)) < 1_000
    assert drop.identity == delivered(site.landing, DROP_ID)


def test_a_hundred_thousand_file_entries_are_judged_in_seconds(site: Site) -> None:
    files = [{**GOOD_FILE, "name": f"events-{number}.jsonl.zst"} for number in range(100_000)]
    site.deliver_files({}, files=[*files, files[7]])
    started = time.perf_counter()
    with pytest.raises(DropError, match=r"each file once, found events-7.jsonl.zst more"):
        read_manifest(site.landing, DROP_ID)
    assert time.perf_counter() - started < 10


def test_a_drop_that_is_still_being_copied_awaits_files_and_is_not_refused(site: Site) -> None:
    site.deliver_files({"events-0.jsonl.zst": compressed(attempt()), "frames-0.tar": b"x" * 600})
    key = f"{DROP_ID}/frames-0.tar"
    assert awaited_files(site.landing, DROP_ID) == ()
    for so_far in (b"", b"x" * 599):
        site.landing.write_bytes(key, so_far)
        assert awaited_files(site.landing, DROP_ID) == ("frames-0.tar",)
    site.landing.delete(key)
    assert awaited_files(site.landing, DROP_ID) == ("frames-0.tar",)
    site.landing.write_bytes(key, b"x" * 601)
    assert awaited_files(site.landing, DROP_ID) == (), "what is too long is complete, and wrong"
    site.landing.write_bytes(f"{DROP_ID}/manifest.json", b"{")
    assert awaited_files(site.landing, DROP_ID) == ()


def test_a_link_that_leads_out_of_the_landing_area_is_refused(site: Site, tmp_path: Path) -> None:
    site.deliver(attempt())
    outside = tmp_path / "outside"
    (site.root / "landing" / DROP_ID).rename(outside)
    landing = open_store(site.landing.uri, is_confined=True)
    folder = site.root / "landing" / DROP_ID
    folder.symlink_to(outside, target_is_directory=True)
    assert [drop.drop_id for drop in completed_drops(landing)] == [DROP_ID], "seen, so that it is refused"
    with pytest.raises(DropError, match="a link that leads out of"):
        ingest(site, landing)
    folder.unlink()
    folder.mkdir()
    for name in ("manifest.json", "events-0.jsonl.zst"):
        for other in outside.iterdir():
            (folder / other.name).unlink(missing_ok=True)
            (folder / other.name).write_bytes(other.read_bytes())
        (folder / name).unlink()
        (folder / name).symlink_to(outside / name)
        with pytest.raises(DropError, match=f"{name}: a link that leads out of"):
            ingest(site, landing)


def test_a_link_within_the_landing_area_is_followed(site: Site) -> None:
    site.deliver(*background(), attempt())
    file = site.root / "landing" / DROP_ID / "events-0.jsonl.zst"
    file.rename(site.root / "landing" / "shared.zst")
    file.symlink_to("../shared.zst")
    assert ingest(site, open_store(site.landing.uri, is_confined=True)).rows_valid == 4


@pytest.mark.parametrize("name", ["manifest.json", "events-0.jsonl.zst"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(site: Site, name: str, kind: str) -> None:
    site.deliver(attempt())
    path = site.root / "landing" / DROP_ID / name
    path.unlink()
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mknod(path, stat.S_IFIFO if kind == "pipe" else stat.S_IFSOCK)
    with pytest.raises(DropError, match=f"{name}: (expected a regular file|a link that leads out)"):
        ingest(site, open_store(site.landing.uri, is_confined=True))


def ingest(site: Site, landing: Store) -> IngestSummary:
    return ingest_drop(landing=landing, lake=site.lake, drop_id=DROP_ID, modalities=MODALITIES)


def test_a_file_that_the_manifest_names_must_have_arrived(site: Site) -> None:
    site.deliver(attempt())
    site.landing.delete(f"{DROP_ID}/events-0.jsonl.zst")
    with pytest.raises(DropError, match=r"events-0.jsonl.zst: named by the manifest but absent"):
        check_file_set(site.landing, read_manifest(site.landing, DROP_ID))


def test_a_file_that_the_manifest_does_not_name_is_refused(site: Site) -> None:
    site.deliver(attempt())
    site.landing.write_bytes(f"{DROP_ID}/events-1.jsonl.zst", b"stray")
    with pytest.raises(DropError, match=r"files without a manifest entry: events-1.jsonl.zst"):
        site.ingest()
