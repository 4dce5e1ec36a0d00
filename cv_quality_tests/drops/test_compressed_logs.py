"""What a compressed log may hold, expand to, and end with: little memory, and one answer for every reader."""

import re
import struct

import pyarrow as pa
import pytest

from cv_quality.drops.lines import MAX_BLOCK_LINES
from cv_quality.drops.tables import QUARANTINE_PARSE, RAW_ATTEMPTS
from cv_quality.errors import DropError
from cv_quality_tests.drops.costs import cost_of
from cv_quality_tests.drops.small_drops import Site, attempt, compressed

MANY = 2_700_000
MAX_CHUNK_BYTES = 1 << 20
LOG = "events-0.jsonl.zst"
FIRST, SECOND = compressed(attempt()), compressed(attempt(event_id="a2"))


def repeated(line: bytes, times: int) -> bytes:
    """A compressed log of one line, many times, made without holding what it expands to."""
    sink = pa.BufferOutputStream()
    step = min(times, max(1, MAX_CHUNK_BYTES // len(line)))
    chunk = line * step
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        for _ in range(times // step):
            stream.write(chunk)
        stream.write(line * (times % step))
    return bytes(sink.getvalue().to_pybytes())


BOMBS = {
    "more rows than declared": (b"{}\n", MANY, 1, "expected 1 rows as the manifest says, found more"),
    "empty objects": (b"{}\n", MANY, MANY, r"rows rejected and 0 sound so far, .*missing_field"),
    "nulls": (b"null\n", MANY, MANY, r"rows rejected and 0 sound so far, .*wrong_type"),
    "newlines": (b"\n", 60 << 20, 0, "in 0, valid 0, quarantined 0"),
    "blanks": (b" \t\r\n", 15 << 20, 0, "in 0, valid 0, quarantined 0"),
    "a line of a gigabyte": (b"\0", 1 << 30, 1, "expected events of at most .* compressed, found more"),
    "newlines of a gigabyte": (b"\n", 1 << 30, 1, "expected events of at most .* compressed, found more"),
    "long kinds": (b'{"kind":"' + b"x" * 1_000_000 + b'"}\n', 60, 60, "in 60, valid 0, quarantined 60"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_lines_costs_seconds_and_little_memory(site: Site, name: str) -> None:
    line, times, rows, words = BOMBS[name]
    site.deliver_files({LOG: repeated(line, times)}, rows=rows)
    cost = cost_of(site.root)
    assert re.search(words, cost.said), cost.said
    assert cost.seconds < 30
    assert cost.peak_mib < 700


def test_rejected_rows_may_be_many_where_more_are_sound(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv_quality.drops.ingest.MAX_REJECTED_ROWS", 10)
    sound = [attempt(event_id=f"a{number}") for number in range(MAX_BLOCK_LINES)]
    site.deliver(*sound, *[b"{}"] * MAX_BLOCK_LINES)
    assert site.ingest().rows_quarantined == MAX_BLOCK_LINES
    site.deliver(*sound, *[b"{}"] * (MAX_BLOCK_LINES + 1))
    with pytest.raises(DropError, match="rows rejected and 32,768 sound so far"):
        site.ingest()


def test_many_short_lines_keep_their_numbers(site: Site) -> None:
    """Blocks are cut by lines, too."""
    lines = [b""] * (2 * MAX_BLOCK_LINES + 5)
    for place in (0, MAX_BLOCK_LINES - 1, MAX_BLOCK_LINES, 2 * MAX_BLOCK_LINES, 2 * MAX_BLOCK_LINES + 4):
        lines[place] = attempt(event_id=f"a{place}")
    lines[1] = lines[MAX_BLOCK_LINES + 1] = b"{}"
    site.deliver(*lines)
    site.ingest()
    rows = site.rows(RAW_ATTEMPTS)
    assert rows["source_line"].to_list() == [int(name[1:]) + 1 for name in rows["event_id"]]
    assert len(rows) == 5
    assert site.rows(QUARANTINE_PARSE)["source_line"].to_list() == [2, MAX_BLOCK_LINES + 2]


def skippable(data: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, len(data)) + data


@pytest.mark.parametrize(
    "log",
    [
        FIRST + SECOND,
        skippable(b"x") + FIRST + SECOND,
        FIRST + skippable(b"x" * 70_000) + SECOND,
        FIRST + SECOND + skippable(b""),
    ],
    ids=["two", "skippable first", "skippable between", "skippable last"],
)
def test_frames_that_follow_one_another_are_one_log(site: Site, log: bytes) -> None:
    site.deliver_files({LOG: log}, rows=2)
    assert site.ingest().rows_valid == 2
    assert site.rows(RAW_ATTEMPTS)["source_line"].to_list() == [1, 2]


@pytest.mark.parametrize("n_lines", [1, 1_000])
@pytest.mark.parametrize("tail", [b"g", bytes(20), b"words behind the frame", SECOND[:4], SECOND[:-3]])
def test_what_follows_the_last_frame_and_is_none_is_told_once(site: Site, n_lines: int, tail: bytes) -> None:
    lines = [attempt(event_id=f"a{number}") for number in range(n_lines)]
    site.deliver_files({LOG: compressed(*lines) + tail}, rows=n_lines)
    assert site.ingest().rows_valid == n_lines
    assert site.rows(QUARANTINE_PARSE).select("reason", "source_line").rows() == [("truncated_file", n_lines + 1)]


@pytest.mark.parametrize("n_others", [0, 1_000])
@pytest.mark.parametrize(
    ("moment", "is_sound"),
    [
        ("0000-12-31T23:59:59.999999Z", False),
        ("0001-01-01T00:00:00.000000Z", True),
        ("9999-12-31T23:59:59.999999Z", True),
        ("2026-02-30T00:00:00.000000Z", False),
        ("2026-02-01T24:00:00.000000Z", False),
        ("2026-02-01T23:59:60.000000Z", False),
        ("2026-02-01T00:00:00Z", True),
        ("2026-02-01T00:00:00.5Z", True),
    ],
)
def test_a_time_is_legal_or_not_whichever_reader_meets_it(
    site: Site, n_others: int, moment: str, is_sound: bool
) -> None:
    """Alone a line may go to the strict decoder, among others to Arrow, and either way to Python and DuckDB."""
    others = [attempt(event_id=f"a{number}") for number in range(n_others)]
    site.deliver(*others, attempt(occurred_at=moment), b"{}")
    assert site.ingest().rows_valid == n_others + is_sound
    assert len(site.rows(RAW_ATTEMPTS)["occurred_at"].to_list()) == n_others + is_sound
    assert len(site.rows(QUARANTINE_PARSE)) == 2 - is_sound
    found = site.validate()
    assert found.rows_valid + found.rows_rejected == n_others + is_sound
