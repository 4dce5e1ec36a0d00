"""Logs of well-known systems, and how their lines are taken apart: Apple, logcat, Chrome traces, GnssLogger.

A preset turns a log into columns of known names, so that a mapping only says what they mean. How the columns of other
logs are read is told in `cv_quality.drops.importers.sources`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import msgspec

from cv_quality.drops.importers.sources import (
    BLOCK_BYTES,
    LINE,
    Batch,
    LogFile,
    Opener,
    Refused,
    json_lines,
    line_batches,
    unrolled,
)
from cv_quality.errors import MappingError, TableError, near
from cv_quality.tables.plain_text import PlainText

if TYPE_CHECKING:
    import polars as pl

MAX_TRACE_BYTES: Final = 96 << 20
"""Of a trace, whose events are in memory at once, at eight times its size."""
_APPLE_TALK: Final = r'^(Filtering the log data using .*|\{"count":\d+,"finished":\d+\})$'
"""Lines that the tool `log` writes about itself, before and behind those of the log."""
_LOGCAT_TALK: Final = r"^--------- (beginning of|switch to) "
_LOGCAT: Final = (
    r"^(?:(?:(?P<year>\d{4})-)?(?P<date>\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d\.\d{3,9})(?: (?P<offset>[+-]\d{4}))?"
    r"|(?P<epoch>\d{9,11}\.\d{3,9}))"
    r"(?:\s+(?:[\w-]+\s+)??(?P<pid>\d+)\s+(?P<tid>\d+) (?P<level>[VDIWEFAS]) (?P<tag>.*?)\s*:(?: (?P<message>.*))?"
    r"|\s+(?P<level_2>[VDIWEFAS])/(?P<tag_2>.*?)\s*\(\s*(?P<pid_2>\d+)\):(?: (?P<message_2>.*))?)$"
)
"""`-v threadtime` and `-v time`, with any of the modifiers epoch, year, zone, uid, usec and nsec."""
_LOGCAT_NAMES: Final = ("time", "pid", "tid", "level", "tag", "message")
_GNSS_TIMES: Final = ("utcTimeMillis", "UtcTimeMillis", "UnixTimeMillis", "(UTC)TimeInMs")
_GPS_EPOCH_MS: Final = 315_964_800_000
_LAST_LEAP_MS: Final = 1_483_228_800_000
"""2017-01-01, since when GPS is 18 seconds ahead of UTC; in 2016, when phones began to log its clock, it was 17."""
_OPEN_ENDED: Final = "Data(Bytes)"
"""The column of navigation messages that goes on in further cells."""


@dataclass(frozen=True, slots=True)
class Preset:
    """How the log of a well-known system is taken apart.

    Attributes:
        name: as mappings and commands say it.
        opener: reads a file of it.
        moment: what is known of the time of its records, as a mapping would say it.
        message: column of free text.
        kind: column that tells records of several kinds apart.
        is_relative: whether times count from the start of the recording.
    """

    name: str
    opener: Opener
    moment: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    kind: str | None = None
    is_relative: bool = False


def _open_apple(path: Path, text: PlainText, folder: Path) -> LogFile:
    """`log show` or `log stream` with `--style ndjson`, or `--style json`, which is an array."""
    with text.path.open("rb") as stream:
        start = stream.read(1 << 16).lstrip(b"\xef\xbb\xbf \r\n")
    if start.startswith(b"Filtering"):
        start = start.partition(b"\n")[2].lstrip()
    if start.startswith(b"["):
        return json_lines(path, unrolled(text, folder / "records.jsonl"))
    if not start.startswith(b"{"):
        raise TableError(
            f"{path}: expected what `log show --style ndjson` (or json) writes, found {_shown(start)}; other styles "
            "are plain lines: leave the preset out, and take them apart by a 'message'"
        )
    return json_lines(path, text, passed_over=_APPLE_TALK)


def _open_logcat(path: Path, text: PlainText, _: Path) -> LogFile:
    def read(columns: Sequence[str]) -> Iterator[Batch]:
        for batch in line_batches(text.path, passed_over=_LOGCAT_TALK):
            yield _of_logcat(batch.rows, columns)

    return LogFile(path, "lines", _LOGCAT_NAMES, text.notes, text, read=read)


def _of_logcat(lines: "pl.DataFrame", columns: Sequence[str]) -> Batch:
    import polars as pl

    parts = lines["line"].str.extract_groups(_LOGCAT).struct.unnest()
    is_fit = parts["level"].is_not_null() | parts["level_2"].is_not_null()
    expected = "expected a line of `logcat -v threadtime` (or time), with a date or an epoch"
    refused = [Refused(n, "no_match", expected, text) for n, text in _numbered(lines.filter(~is_fit))]
    seconds, _, fraction = (pl.col("epoch").str.extract(r"^(\d+)"), 0, pl.col("epoch").str.extract(r"\.(\d+)$"))
    since_1970 = pl.from_epoch(seconds.cast(pl.Int64)).dt.strftime("%Y-%m-%d %H:%M:%S")
    found = parts.select(
        pl.when(pl.col("epoch").is_not_null())
        .then(pl.format("{}.{}Z", since_1970, fraction))
        .otherwise(
            pl.concat_str(
                pl.when(pl.col("year").is_not_null()).then(pl.format("{}-", pl.col("year"))).otherwise(pl.lit("")),
                pl.format("{} {}", pl.col("date"), pl.col("clock")),
                pl.col("offset").fill_null(""),
            )
        )
        .alias("time"),
        *(pl.coalesce(name, f"{name}_2").alias(name) for name in ("pid", "level", "tag", "message")),
        pl.col("tid"),
    ).with_columns(lines[LINE])
    return Batch(found.filter(is_fit).select(*columns, LINE), refused)


def _open_gnss(path: Path, text: PlainText, _: Path) -> LogFile:
    """Lines `Raw,...`, `Fix,...`, whose columns are named in lines `# Raw,...` above them."""
    with text.path.open("rb") as stream:
        lines = stream.read(BLOCK_BYTES >> 4).decode("utf-8", "replace").splitlines()
    headers = {}
    for line in lines:
        kind, *names = (cell.strip() for cell in line.lstrip("# \ufeff").split(","))
        if line.lstrip("\ufeff").startswith("#") and names and re.fullmatch(r"\w+", kind):
            headers[kind] = names
    for kind, named in headers.items():
        twice = [name for name, n in Counter(["record", "utc_ms", *named]).items() if n > 1]
        if twice:
            raise TableError(f"{path}: expected columns of different names in '# {kind}', found {twice[0]!r} again")
    if not headers:
        raise TableError(
            f"{path}: expected a log of GnssLogger, whose lines '# Raw,...' name the columns of its records, "
            f"found {_shown(lines[0].encode() if lines else b'')}"
        )
    known = ("record", "utc_ms", *dict.fromkeys(name for columns in headers.values() for name in columns))

    def read(columns: Sequence[str]) -> Iterator[Batch]:
        for batch in line_batches(text.path, passed_over="^#"):
            yield _of_gnss(batch.rows, headers, columns)

    note = f"records {', '.join(headers)}"
    return LogFile(path, "lines", known, (*text.notes, note), text, read=read)


def _of_gnss(lines: "pl.DataFrame", headers: Mapping[str, Sequence[str]], columns: Sequence[str]) -> Batch:
    import polars as pl

    cells = lines.with_columns(pl.col("line").str.split(",").alias("cells"))
    cells = cells.with_columns(pl.col("cells").list.first().alias("record"), pl.col("cells").list.len().alias("n"))
    known = f"expected a record that the header names ({', '.join(headers)})"
    others = cells.filter(~pl.col("record").is_in(list(headers)))
    refused = [Refused(line, "unknown_record", known, text) for line, text in _numbered(others)]
    parts = [pl.DataFrame(schema={**dict.fromkeys(columns, pl.String()), LINE: pl.Int64()})]
    for kind, names in headers.items():
        rows = cells.filter(pl.col("record") == kind)
        is_wide = (pl.col("n") > len(names) + 1) & (names[-1] != _OPEN_ENDED)
        told = f"expected {len(names)} cells behind {kind}, as the header has"
        refused += [Refused(line, "too_many_cells", told, text) for line, text in _numbered(rows.filter(is_wide))]
        found = rows.filter(~is_wide).select(
            LINE,
            "record",
            *(
                pl.col("cells").list.get(place, null_on_oob=True).str.strip_chars().replace("", None).alias(name)
                for place, name in enumerate(names, 1)
            ),
        )
        found = found.with_columns(_gnss_time(names).cast(pl.String).alias("utc_ms"))
        missing = [pl.lit(None, pl.String()).alias(name) for name in columns if name not in found.columns]
        parts.append(found.with_columns(missing).select(*columns, LINE))
    return Batch(pl.concat(parts).sort(LINE), refused)


def _gnss_time(names: Sequence[str]) -> "pl.Expr":
    """Milliseconds since 1970 in UTC: as logged, or from the receiver's own clock, which counts GPS time."""
    import polars as pl

    logged = next((name for name in _GNSS_TIMES if name in names), None)
    if logged is not None:
        return pl.col(logged).cast(pl.Int64, strict=False)
    if not {"TimeNanos", "FullBiasNanos"} <= set(names):
        return pl.lit(None, pl.Int64())
    clock, bias = (pl.col(name).cast(pl.Int64, strict=False) for name in ("TimeNanos", "FullBiasNanos"))
    gps = (clock - bias) // 1_000_000 + _GPS_EPOCH_MS
    leaps = pl.when(gps - 18_000 >= _LAST_LEAP_MS).then(18).otherwise(17)
    if "LeapSecond" in names:
        leaps = pl.coalesce(pl.col("LeapSecond").cast(pl.Int64, strict=False), leaps)
    return gps - leaps * 1_000


def _numbered(lines: "pl.DataFrame") -> Iterator[tuple[int, str]]:
    return cast("Iterator[tuple[int, str]]", lines.select(LINE, "line").iter_rows())


def _open_chrome(path: Path, text: PlainText, folder: Path) -> LogFile:
    """Trace events as an object with `traceEvents` or as an array, whose end may be missing."""
    size = text.path.stat().st_size
    if size > MAX_TRACE_BYTES:
        raise TableError(
            f"{path}: a trace of {size:,} bytes; at most {MAX_TRACE_BYTES:,} are read: record less, or cut it"
        )
    events = _trace_events(text.path.read_bytes().removeprefix(b"\xef\xbb\xbf"), path)
    if not events:
        raise TableError(f"{path}: expected trace events, found none")
    rows = list(_whole([item for item in events if item.get("ph") != "M"]))
    names = {_process_or_thread(item, str(item.get("name"))): item for item in events if item.get("ph") == "M"}
    times = [_time(row) for row in rows]
    first, counts = min((time for time in times if time is not None), default=0.0), Counter[str]()
    target = folder / "events.jsonl"
    with target.open("wb") as lines:
        for time, row in sorted(zip(times, rows, strict=True), key=lambda pair: pair[0] or 0.0):
            name = str(row.get("name"))
            told = {"number": counts[name]} | ({} if time is None else {"since_start": time - first})
            counts[name] += 1
            lines.write(msgspec.json.encode({**row, **_named(row, names), **told}) + b"\n")
    note = f"{len(events):,} trace events, counted in the order of their times in place of lines"
    return json_lines(path, replace(text, path=target, notes=(*text.notes, note)))


def _trace_events(data: bytes, path: Path) -> list[dict[str, object]]:
    for end in (b"", b"]"):
        body = data.rstrip().removesuffix(b",") if end else data
        try:
            found = msgspec.json.decode(body + end)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problem = str(error)
            continue
        events = found.get("traceEvents") if isinstance(found, dict) else found
        if isinstance(events, list) and all(isinstance(item, dict) for item in events):
            return events
        problem = "no 'traceEvents'"
        break
    raise TableError(f"{path}: expected a Chrome trace, an object with 'traceEvents' or an array of events: {problem}")


def _whole(events: Sequence[dict[str, object]]) -> Iterator[dict[str, object]]:
    """Join beginnings (B, b) and ends (E, e) to one event with a duration; everything else stays what it is."""
    open_ones: dict[bytes, list[dict[str, object]]] = {}
    for event in events:
        phase = str(event.get("ph"))
        if phase not in ("B", "E", "b", "e"):
            yield event
            continue
        thread = [event.get("pid"), event.get("tid")]
        task = [event.get("cat"), event.get("name"), event.get("id2", event.get("id"))]
        key = msgspec.json.encode(thread if phase in "BE" else task)
        if phase in "Bb":
            open_ones.setdefault(key, []).append(event)
        elif open_ones.get(key):
            yield _joined(open_ones[key].pop(), event)
        else:
            yield event
    for left in open_ones.values():
        yield from left


def _joined(begin: dict[str, object], end: dict[str, object]) -> dict[str, object]:
    first, last = begin.get("args"), end.get("args")
    args = {**(first if isinstance(first, dict) else {}), **(last if isinstance(last, dict) else {})}
    since, until = _time(begin), _time(end)
    lasted = {} if since is None or until is None else {"dur": until - since}
    return {**begin, "ph": "X", **lasted, "args": args}


def _time(event: dict[str, object]) -> float | None:
    """The time of an event in microseconds, which some programs write as text."""
    try:
        time = float(cast(str, event.get("ts")))
    except (TypeError, ValueError):
        return None
    return time if math.isfinite(time) else None


def _process_or_thread(event: dict[str, object], name: str) -> tuple[str, bytes]:
    """What an event of that name, `process_name` or `thread_name`, gives a name to."""
    place = [event.get("pid"), *([event.get("tid")] if name == "thread_name" else [])]
    return name, msgspec.json.encode(place)


def _named(event: dict[str, object], names: Mapping[tuple[str, bytes], dict[str, object]]) -> dict[str, object]:
    """The names of the event's process and thread, where the trace tells them."""
    found = dict[str, object]()
    for kind in ("process", "thread"):
        args = names.get(_process_or_thread(event, f"{kind}_name"), {}).get("args")
        if isinstance(args, dict):
            found[kind] = args.get("name")
    return found


def _shown(start: bytes) -> str:
    return repr(start[:80].decode("utf-8", "replace").strip())


PRESETS: Final = {
    preset.name: preset
    for preset in (
        Preset("apple-log", _open_apple, {"column": "timestamp"}, message="eventMessage"),
        Preset("logcat", _open_logcat, {"column": "time"}, message="message"),
        Preset("chrome-trace", _open_chrome, {"column": "since_start", "format": "epoch_us"}, is_relative=True),
        Preset("gnss-logger", _open_gnss, {"column": "utc_ms", "format": "epoch_ms"}, kind="record"),
    )
}
"""Every preset by name."""


def known_preset(name: object) -> Preset | None:
    """Find a preset by name; None for none.

    Raises:
        MappingError: there is no such preset; the near ones are named.
    """
    if name is None:
        return None
    if name not in PRESETS:
        raise MappingError(f"preset: expected {' or '.join(PRESETS)}, found {name!r}; {near(str(name), PRESETS)}")
    return PRESETS[str(name)]
