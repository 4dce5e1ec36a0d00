"""What counts as a drop, and which manifests are refused with what words."""

import hashlib

import pytest

from cv_quality.drops.manifest import check_file_set, completed_drops, read_manifest
from cv_quality.errors import DropError
from cv_quality_tests.drops.small_drops import DROP_ID, Site, attempt, compressed


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
        ({"schema_version": 2}, "expected schema_version 1, found 2"),
        ({"schema_version": True}, "expected schema_version 1, found True"),
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
