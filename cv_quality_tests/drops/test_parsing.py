"""Every line of a log becomes a typed row or a quarantined one with its reason, whatever the line holds."""

import json
import resource
from datetime import UTC, datetime
from random import Random

import pytest

from cv_quality.drops.lines import RAW_BYTES
from cv_quality.drops.tables import DROP_FILES, QUARANTINE_PARSE, RAW_ATTEMPTS
from cv_quality.errors import DropError
from cv_quality_tests.drops.small_drops import (
    ATTEMPT,
    DROP_ID,
    FACES,
    STREAM_FRAME,
    Site,
    attempt,
    background,
    compressed,
    event,
    zstd,
)

BAD_LINES = {
    "truncated object": (attempt()[:-20], "malformed_json", "truncated"),
    "two objects": (attempt() + attempt(), "malformed_json", "trailing"),
    "object and null": (attempt() + b"null", "malformed_json", "trailing"),
    "null": (b"null", "wrong_type", "expected a JSON object, found null"),
    "number": (b"5", "wrong_type", "expected a JSON object, found 5"),
    "array": (b"[{}]", "wrong_type", "expected a JSON object, found [{}]"),
    "key given twice": (
        attempt()[:-1] + b', "event_id": "a2"}',
        "malformed_json",
        "expected each key once, found 'event_id' again",
    ),
    "deep nesting": (attempt()[:-1] + b', "x": ' + b'{"a":' * 9_999 + b"1" + b"}" * 9_999 + b"}", "malformed_json", ""),
    "no kind": (b'{"event_id": "a1"}', "missing_field", "expected the field 'kind', found none"),
    "kind is a number": (b'{"kind": 5}', "wrong_type", "kind: expected text, found 5"),
    "unknown kind": (event("atempt", ATTEMPT), "unknown_kind", "did you mean attempt"),
    "missing field": (attempt(device_id=None), "missing_field", "expected the field 'device_id' (one unit"),
    "null for a required field": (
        attempt()[:-1] + b', "session_id": null}',
        "wrong_type",
        "session_id: expected text in quotes, found null",
    ),
    "score is text": (attempt(device_score="0.5"), "wrong_type", "expected a finite number, not in quotes"),
    "id is a number": (attempt(event_id=5), "wrong_type", "event_id: expected text in quotes, found 5"),
    "count is a fraction": (attempt(attempt_number=1.5), "wrong_type", "expected a whole number without a point"),
    "count beyond 64 bits": (attempt(attempt_number=2**63), "wrong_type", "at most 64 bits, found 9223372036854775808"),
    "flag is a number": (
        attempt(is_device_accepted=1),
        "wrong_type",
        "expected true or false, not in quotes, or the field left out, found 1",
    ),
    "text is an object": (
        attempt(eyewear={"a": 1}),
        "wrong_type",
        'eyewear: expected text in quotes, or the field left out, found {"a": 1}',
    ),
    "NaN": (attempt(device_score=float("nan")), "not_finite", "found NaN"),
    "infinity": (attempt(device_score=float("-inf")), "not_finite", "found -Infinity"),
    "too big for a double": (attempt(device_score=7).replace(b"7", b"1e999"), "not_finite", "expected a finite number"),
    "not UTF-8": (attempt(condition_label="x").replace(b'"x"', b'"caf\xe9"'), "not_utf8", "0xe9"),
    "lone surrogate": (attempt(condition_label="x").replace(b'"x"', b'"\\ud800"'), "malformed_json", ""),
    "byte order mark": (b"\xef\xbb\xbf" + attempt(), "malformed_json", ""),
    "time with a blank": (
        attempt(occurred_at="2026-09-01 12:30:00.000000Z"),
        "wrong_type",
        "in UTC such as 2026-09-01T12:30:00Z",
    ),
    "time without a zone": (
        attempt(occurred_at="2026-09-01T12:30:00.000000"),
        "wrong_type",
        "in UTC such as 2026-09-01T12:30:00Z",
    ),
    "time with an offset": (
        attempt(occurred_at="2026-09-01T12:30:00.0+00:00"),
        "wrong_type",
        "in UTC such as 2026-09-01T12:30:00Z",
    ),
    "no such day": (
        attempt(occurred_at="2026-02-30T12:30:00.000000Z"),
        "wrong_type",
        "in UTC such as 2026-09-01T12:30:00Z",
    ),
    "nanoseconds": (
        attempt(occurred_at="2026-09-01T12:30:00.123456789Z"),
        "wrong_type",
        "in UTC such as 2026-09-01T12:30:00Z",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_quarantined_with_reason_place_and_text(site: Site, name: str) -> None:
    line, reason, words = BAD_LINES[name]
    site.deliver(*background(), line, attempt(event_id="good"))
    summary = site.ingest()
    assert (summary.rows_in, summary.rows_valid, summary.rows_quarantined) == (5, 4, 1)
    (row,) = site.rows(QUARANTINE_PARSE).to_dicts()
    assert (row["source_file"], row["source_line"], row["reason"]) == ("events-0.jsonl.zst", 4, reason)
    assert words in row["detail"]
    assert row["raw"] == line[:RAW_BYTES].decode(errors="backslashreplace")
    assert row["raw_bytes"] == len(line)
    assert site.rows(RAW_ATTEMPTS)["source_line"].to_list() == [5]


def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(site: Site) -> None:
    first, *others = background()
    site.deliver(b"\xef\xbb\xbf" + first, *others, attempt())
    assert site.ingest().rows_quarantined == 0
    assert site.rows(RAW_ATTEMPTS)["source_line"].to_list() == [4]


def test_all_bad_lines_together_are_told_apart(site: Site) -> None:
    site.deliver(*(line for line, _, _ in BAD_LINES.values()))
    site.ingest()
    assert site.rows(QUARANTINE_PARSE)["reason"].to_list() == [reason for _, reason, _ in BAD_LINES.values()]


ODD_LINES = {
    "unknown field": attempt(operator="x"),
    "nested unknown field": attempt(operator={"a": [1, {"b": None}]}),
    "field of another kind with another type": attempt(age_band=5),
    "carriage return": attempt() + b"\r",
    "blanks around": b"  " + attempt() + b"\t",
    "brace in a text": attempt(condition_label="{a}{b}"),
    "escaped characters": attempt(condition_label='caf\u00e9 \u2028 "quoted" \\ \n'),
    "whole number for a real": attempt(device_score=1),
    "short time": attempt(occurred_at="2026-09-01T12:30:00Z"),
    "kind last": json.dumps({**json.loads(attempt()), "kind": "attempt"}, ensure_ascii=False).encode(),
}


@pytest.mark.parametrize("name", ODD_LINES)
def test_an_odd_but_legal_line_is_a_row(site: Site, name: str) -> None:
    site.deliver(*background(), ODD_LINES[name])
    assert site.ingest().rows_quarantined == 0
    (row,) = site.rows(RAW_ATTEMPTS).to_dicts()
    wanted = json.loads(ODD_LINES[name])
    assert row["condition_label"] == wanted.get("condition_label")
    assert row["device_score"] == wanted["device_score"]
    assert row["occurred_at"] == datetime(2026, 9, 1, 12, 30, tzinfo=UTC)


def test_blank_lines_are_no_rows_but_count_as_lines(site: Site) -> None:
    site.deliver(b"", attempt(), b"  \r", attempt(event_id="a2"))
    assert site.ingest().rows_in == 2
    assert site.rows(RAW_ATTEMPTS)["source_line"].to_list() == [2, 4]


def test_the_last_line_needs_no_newline(site: Site) -> None:
    data = zstd(attempt() + b"\n" + attempt(event_id="a2"))
    site.deliver_files({"events-0.jsonl.zst": data}, rows=2)
    assert site.ingest().rows_valid == 2


def test_kinds_that_share_a_block_are_told_apart(site: Site) -> None:
    frames = [event("stream_frame", STREAM_FRAME, event_id=f"f{n}", frame_number=n) for n in range(3)]
    site.deliver(*background(), attempt(), *frames, attempt(event_id="a2"))
    assert site.ingest().rows == {"subject": 1, "device": 1, "enrol": 1, "attempt": 2, "stream_frame": 3}
    assert site.rows(RAW_ATTEMPTS)["source_line"].to_list() == [4, 8]


def test_rows_keep_the_order_of_the_file_over_many_blocks(site: Site) -> None:
    lines = [attempt(event_id=f"a{n}", condition_label="x" * 2_000) for n in range(10_000)]
    lines[3_333] = b"{}"
    site.deliver(*lines)
    site.ingest()
    expected = [n for n in range(10_000) if n != 3_333]
    assert site.rows(RAW_ATTEMPTS)["source_line"].to_list() == [n + 1 for n in expected]
    assert site.rows(RAW_ATTEMPTS)["event_id"].to_list() == [f"a{n}" for n in expected]


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_lines_among_many_sound_ones_cost_only_themselves(site: Site, name: str) -> None:
    lines = [attempt(event_id=f"a{n}") for n in range(2_000)]
    places = (int(name == "byte order mark"), 7, 8, 1_000, 1_999)  # that mark may stand before the first line
    for place in places:
        lines[place] = BAD_LINES[name][0]
    site.deliver(*lines)
    site.ingest()
    rejected = site.rows(QUARANTINE_PARSE)
    assert rejected["source_line"].to_list() == [place + 1 for place in places]
    assert set(rejected["reason"]) == {BAD_LINES[name][1]}
    assert site.rows(RAW_ATTEMPTS)["event_id"].to_list() == [f"a{n}" for n in range(2_000) if n not in places]


def test_a_line_of_100_megabytes_costs_one_row_and_little_memory(site: Site) -> None:
    text = Random(7).randbytes(50_000_000).hex().encode()
    huge = b'{"kind": "attempt", "condition_label": "' + text + b'"}'
    data = compressed(attempt(), huge, attempt(event_id="a2"))
    site.deliver_files({"events-0.jsonl.zst": data}, rows=3)
    size = len(huge)
    del huge, text
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert site.ingest().rows_valid == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80 * 1024
    (row,) = site.rows(QUARANTINE_PARSE).to_dicts()
    assert (row["reason"], row["source_line"], row["raw_bytes"]) == ("line_too_long", 2, size)
    assert len(row["raw"]) == RAW_BYTES
    assert site.rows(RAW_ATTEMPTS)["source_line"].to_list() == [1, 3]


def test_a_line_just_too_long_is_refused_like_a_huge_one(site: Site) -> None:
    site.deliver(attempt(condition_label="x" * (1 << 20)), attempt())
    site.ingest()
    assert site.rows(QUARANTINE_PARSE)["reason"].to_list() == ["line_too_long"]


def test_rows_before_a_break_in_the_compressed_stream_are_kept(site: Site) -> None:
    lines = [attempt(event_id=f"a{n}", condition_label=f"{n * 7919:x}" * 5) for n in range(50_000)]
    whole = compressed(*lines)
    site.deliver_files({"events-0.jsonl.zst": whole[: len(whole) // 2]}, rows=len(lines))
    summary = site.ingest()
    (row,) = site.rows(QUARANTINE_PARSE).to_dicts()
    assert row["reason"] == "truncated_file"
    assert summary.rows_valid == row["source_line"] - 1 > 10_000
    assert lines[row["source_line"] - 1].startswith(row["raw"].encode())
    (file,) = site.rows(DROP_FILES).to_dicts()
    assert file["rows_in"] < file["rows_declared"] == len(lines)


def test_a_file_that_is_no_zstd_is_one_rejected_row(site: Site) -> None:
    site.deliver_files({"events-0.jsonl.zst": b"this is not compressed at all"}, rows=1)
    site.ingest()
    assert site.rows(QUARANTINE_PARSE)["reason"].to_list() == ["truncated_file"]


def test_wrong_bytes_refuse_the_whole_drop_and_change_nothing(site: Site) -> None:
    site.deliver(attempt())
    site.ingest()
    data = bytearray(compressed(attempt(event_id="other")))
    site.deliver_files({"events-0.jsonl.zst": bytes(data)}, rows=1)
    data[-1] ^= 1
    site.landing.write_bytes(f"{DROP_ID}/events-0.jsonl.zst", bytes(data))
    with pytest.raises(DropError, match=r"expected \d+ bytes with sha256 .* deliver the file again"):
        site.ingest()
    assert site.rows(RAW_ATTEMPTS)["event_id"].to_list() == ["a1"]


def test_a_drop_of_no_known_modality_is_refused_with_the_near_name(site: Site) -> None:
    site.deliver(attempt(), modality="fase")
    with pytest.raises(DropError, match=r"manifest\.json: no task evaluates modality 'fase'; did you mean face\?"):
        site.ingest()


def test_an_empty_drop_writes_every_table(site: Site) -> None:
    site.deliver_files({})
    assert site.ingest().rows_in == 0
    for table in (*FACES.raw.values(), QUARANTINE_PARSE, DROP_FILES):
        assert site.rows(table).height == 0
        assert site.rows(table).columns == table.names


def test_a_corrected_drop_replaces_the_earlier_delivery(site: Site) -> None:
    site.deliver(*background(), attempt(), attempt(event_id="wrong"), b"garbage")
    site.ingest()
    site.deliver(*background(), attempt(event_id="right"))
    site.ingest()
    assert site.rows(RAW_ATTEMPTS)["event_id"].to_list() == ["right"]
    assert site.rows(QUARANTINE_PARSE).height == 0
