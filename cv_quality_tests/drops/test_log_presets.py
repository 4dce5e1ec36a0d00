"""Logs of well-known systems, in the form in which those write them, become drops as the docs say."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cv_quality.drops.importers.presets import PRESETS
from cv_quality.drops.importers.sketch import sketch_mapping
from cv_quality.drops.importers.sources import LINE, opened_log
from cv_quality.errors import MappingError, TableError
from cv_quality_tests.drops.foreign_logs import (
    FIELDS,
    HEAD,
    drop_of,
    events,
    import_bytes,
    lines,
    listed,
    mapping_of_docs,
)
from cv_quality_tests.drops.small_drops import Site

MOMENT = datetime(2026, 9, 1, 12, 30, 0, 250_000, tzinfo=UTC)


def apple(message: str) -> dict[str, object]:
    return {
        "traceID": 5073052195487748,
        "eventMessage": message,
        "eventType": "logEvent",
        "source": None,
        "subsystem": "com.example.faceauth",
        "processID": 412,
        "timestamp": "2026-09-01 14:30:00.250000+0200",
        "messageType": "Default",
    }


@pytest.mark.parametrize("style", ["ndjson", "json", "stream"])
def test_apple_logs_of_both_json_styles_are_read(site: Site, style: str) -> None:
    rows = [apple(f"match user={user} score=0.75") for user in ("p1", "<private>")] + [apple("wifi scan")]
    talk = b'Filtering the log data using "process == \\"faced\\" AND [x]"\n'
    log = {
        "ndjson": lines(*rows) + b'{"count":3,"finished":1}\n',
        "json": json.dumps(rows, indent=2).encode(),
        "stream": talk + json.dumps(rows, indent=2).encode(),
    }
    found = import_bytes(site, {"log": log[style]}, mapping_of_docs("### apple-log"))
    assert (found.rows, found.reasons) == (3, {"no_match": 1, "missing_field": 1})
    taken = events(site, drop_of(found)).row(0, named=True)
    assert (taken["occurred_at"], taken["device_score"], taken["subject_id"]) == (MOMENT, 0.75, "p1")


def test_apple_logs_of_another_style_are_refused_by_name(site: Site) -> None:
    log = b"Timestamp                       Thread     Type        Activity             PID    TTL\n"
    with pytest.raises(TableError, match="log show --style ndjson"):
        import_bytes(site, {"log": log}, mapping_of_docs("### apple-log"))


LOGCAT = {
    "threadtime": "09-01 14:30:00.250  1234  1300 I FaceAuth: {}",
    "threadtime with uid": "09-01 14:30:00.250 u0_a123  1234  1300 I FaceAuth: {}",
    "year and zone": "2026-09-01 14:30:00.250 +0200  1234  1300 I FaceAuth: {}",
    "epoch": "1788265800.250  1234  1300 I FaceAuth: {}",
    "epoch and nsec": "1788265800.250000000  1234  1300 I FaceAuth: {}",
    "time": "09-01 14:30:00.250 I/FaceAuth( 1234): {}",
}


@pytest.mark.parametrize("form", LOGCAT)
def test_logcat_of_any_form_is_the_same_log(site: Site, form: str) -> None:
    said = json.dumps({"user": "p1", "score": 0.75, "result": "MATCH"})
    log = ["--------- beginning of main", LOGCAT[form].format(said), LOGCAT[form].format("wifi: scan"), "I/FaceAuth: x"]
    found = import_bytes(site, {"log": "\n".join(log).encode()}, mapping_of_docs("### logcat"))
    assert (found.rows, found.reasons) == (3, {"no_match": 1, "missing_field": 1})
    assert [row["line"] for row in listed(found)] == [3, 4]
    taken = events(site, drop_of(found)).row(0, named=True)
    assert (taken["occurred_at"], taken["device_score"], taken["is_device_accepted"]) == (MOMENT, 0.75, True)


def test_a_logcat_line_is_taken_apart_into_its_parts(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("09-01 14:30:00.250  1234  1300 W a:tag : empty: \n09-01 14:30:00.250  1  2 E x: \n")
    with opened_log(tmp_path / "log", PRESETS["logcat"].opener) as log:
        rows = next(log.batches(log.names)).rows.drop(LINE, "time").rows()
    assert rows == [("1234", "1300", "W", "a:tag", "empty:"), ("1", "2", "E", "x", None)]


def trace_events() -> list[dict[str, object]]:
    place = {"cat": "cv", "pid": 7, "tid": 9}
    frame = {**place, "name": "segment"}
    return [
        {"name": "process_name", "ph": "M", "pid": 7, "args": {"name": "camera"}},
        {"name": "thread_name", "ph": "M", "pid": 7, "tid": 9, "args": {"name": "npu"}},
        {**frame, "ph": "X", "ts": 5_000_000, "dur": 21_000, "args": {"stream": "s1", "frame": 0, "dropped": False}},
        {**frame, "ph": "B", "ts": 5_033_000, "args": {"stream": "s1", "frame": 1}},
        {**place, "name": "inner", "ph": "B", "ts": 5_034_000},
        {**place, "name": "inner", "ph": "E", "ts": 5_035_000},
        {**frame, "ph": "E", "ts": 5_074_500, "args": {"dropped": True}},
        {**frame, "ph": "b", "id": "0x1", "ts": 5_066_000, "args": {"stream": "s2", "frame": 0, "dropped": False}},
        {**frame, "ph": "e", "id": "0x1", "ts": 5_090_000},
    ]


@pytest.mark.parametrize("form", ["object", "array", "cut off"])
def test_frames_of_a_chrome_trace_become_stream_frames(site: Site, form: str) -> None:
    array = json.dumps(trace_events(), indent=1)
    log = {"object": json.dumps({"traceEvents": trace_events(), "displayTimeUnit": "ms"}), "array": array}
    log["cut off"] = array.rstrip("]").rstrip() + ",\n"
    found = import_bytes(site, {"trace.json": log[form].encode()}, mapping_of_docs("### chrome-trace"))
    assert (found.rows, found.reasons) == (4, {"unknown_kind": 1})
    frames = events(site, drop_of(found), "stream_frame").sort("occurred_at")
    start = datetime(2026, 9, 1, 12, tzinfo=UTC)
    assert frames["occurred_at"].to_list() == [start + timedelta(milliseconds=ms) for ms in (0, 33, 66)]
    assert frames["latency_ms"].to_list() == [21.0, 41.5, 24.0]
    assert frames["stream_id"].to_list() == ["s1", "s1", "s2"]
    assert frames["is_dropped"].to_list() == [False, True, False]
    assert set(frames["deadline_ms"]) == {33.3}


def test_a_trace_names_processes_threads_and_positions(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(json.dumps(trace_events()))
    with opened_log(tmp_path / "trace", PRESETS["chrome-trace"].opener) as log:
        rows = next(log.batches(["name", "process", "thread", "number"])).rows.drop(LINE).rows()
    assert rows == [("segment", "camera", "npu", str(n)) for n in (0, 1)] + [
        ("inner", "camera", "npu", "0"),
        ("segment", "camera", "npu", "2"),
    ]


ODD_EVENTS: dict[str, list[dict[str, object]]] = {
    "times as text": [{"ph": "X", "ts": "5.5", "dur": 1}, {"ph": "X", "ts": 3, "dur": 1}],
    "no times": [{"ph": "B"}, {"ph": "E"}, {"ph": "X", "dur": 3}],
    "no phase, or another one": [{"ts": 1}, {"ts": 2, "ph": 5}],
    "threads that are objects": [{"ph": "M", "tid": {"a": 1}, "name": "thread_name"}, {"ph": "B", "tid": {"a": 1}}],
    "arguments that are none": [{"ph": "B", "args": [1]}, {"ph": "E", "args": None}],
    "an end without a beginning": [{"ph": "E", "ts": 1}],
    "an end of two ids": [{"ph": "b", "id2": {"local": "0x1"}}, {"ph": "e", "id2": {"local": "0x1"}}],
}


@pytest.mark.parametrize("name", ODD_EVENTS)
def test_odd_events_of_a_trace_are_rows(tmp_path: Path, name: str) -> None:
    events = [{"name": "segment", "pid": 1, **event} for event in ODD_EVENTS[name]]
    (tmp_path / "trace").write_text(json.dumps(events))
    with opened_log(tmp_path / "trace", PRESETS["chrome-trace"].opener) as log:
        rows = pl.concat(batch.rows for batch in log.batches(["ph", "since_start", "dur"]))
    n_joined = sum(event.get("ph") in ("B", "b") for event in events)
    n_joined *= any(event.get("ph") in ("E", "e") for event in events)
    assert len(rows) == len(events) - n_joined - sum(event.get("ph") == "M" for event in events)
    if name == "times as text":
        assert list(map(float, rows["since_start"])) == [0.0, 2.5]


def test_a_trace_without_a_start_is_refused(site: Site) -> None:
    mapping = mapping_of_docs("### chrome-trace").replace("  occurred_at: {zero: 2026-09-01T12:00:00Z}\n", "")
    with pytest.raises(MappingError, match="say when that was"):
        import_bytes(site, {"trace": json.dumps(trace_events()).encode()}, mapping)


@pytest.mark.parametrize("log", [b"{}", b'{"traceEvents": 3}', b'[{"name"', b"[]", b"09-01 booting"])
def test_what_is_no_trace_is_refused(site: Site, log: bytes) -> None:
    with pytest.raises(TableError, match="expected"):
        import_bytes(site, {"trace": log}, mapping_of_docs("### chrome-trace"))


GNSS = b"""# \n# Header Description:\n# \n# Version: v3.0.0.1 Platform: 10\n#
# Raw,utcTimeMillis,TimeNanos,Svid,Cn0DbHz\n# Fix,Provider,SpeedMps,UnixTimeMillis\n# Nav,Svid,Type,Data(Bytes)
Raw,1788265800250,1,2,31.5\nFix,GPS,1.5,1788265801000\nNav,2,257,1,2,3,4\nRaw,1788265800250,1,7,\nAgc,1,2
Raw,1,2,3,4,5,6\n"""


def test_records_of_the_gnss_logger_have_the_columns_of_their_header(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(GNSS)
    with opened_log(tmp_path / "log", PRESETS["gnss-logger"].opener) as log:
        batch = next(log.batches(["record", "utc_ms", "Svid", "Cn0DbHz", "SpeedMps", "Data(Bytes)"]))
    assert batch.rows.drop(LINE).rows() == [
        ("Raw", "1788265800250", "2", "31.5", None, None),
        ("Fix", "1788265801000", None, None, "1.5", None),
        ("Nav", None, "2", None, None, "1"),
        ("Raw", "1788265800250", "7", None, None, None),
    ]
    assert [(item.line, item.reason) for item in batch.refused] == [(13, "unknown_record"), (14, "too_many_cells")]


def test_columns_of_one_name_in_a_gnss_header_are_refused(site: Site) -> None:
    with pytest.raises(TableError, match="different names in '# Fix', found 'a' again"):
        import_bytes(site, {"log": b"# Fix,a,a\nFix,1,2\n"}, HEAD + "preset: gnss-logger\n" + FIELDS)


def test_a_receiver_clock_is_told_in_utc(tmp_path: Path) -> None:
    """The clock of 2016 agrees with the fix that was logged in the same second; later ones have a leap second more."""
    raw = "Raw,72076939000000,,-1151285108458178048\nRaw,72076939000000,,-1467323042003000000\nRaw,1000000,16,0\n"
    (tmp_path / "log").write_text(f"# Raw,TimeNanos,LeapSecond,FullBiasNanos\n{raw}")
    with opened_log(tmp_path / "log", PRESETS["gnss-logger"].opener) as log:
        found = next(log.batches(["utc_ms"])).rows["utc_ms"].cast(int).to_list()
    gps = [(72076939000000 + bias) // 10**6 + 315_964_800_000 for bias in (1151285108458178048, 1467323042003000000)]
    assert found == [gps[0] - 17_000, gps[1] - 18_000, 315_964_800_000 + 1 - 16_000]
    assert datetime.fromtimestamp(found[0] / 1000, UTC).replace(microsecond=0) == datetime(
        2016, 6, 30, 21, 26, 8, tzinfo=UTC
    )


def test_real_logs_are_taken_apart_to_the_last_line(shared_data: Callable[[str], Path]) -> None:
    for path in sorted(shared_data("logs_android_gnss").glob("opensource/demoFiles/pseudoranges_log_*.txt")):
        with opened_log(path, PRESETS["gnss-logger"].opener) as log:
            batches = list(log.batches(["record", "utc_ms", "(UTC)TimeInMs"]))
        told = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        assert sum(len(batch.rows) for batch in batches) == len(told)
        assert not any(batch.refused for batch in batches)
        rows = batches[0].rows.with_columns(ms=batches[0].rows["utc_ms"].cast(int))
        fixes, raws = (rows.filter(rows["record"] == kind)["ms"].drop_nulls().to_list() for kind in ("Fix", "Raw"))
        assert abs(min(raws) - min(fixes)) < 2_000
        assert abs(max(raws) - max(fixes)) < 2_000


def test_a_preset_of_the_command_counts_where_the_mapping_has_none(site: Site, tmp_path: Path) -> None:
    from cv_quality.drops.importers.mapping import read_mapping

    (tmp_path / "map.yaml").write_text(HEAD + "preset: logcat\n" + FIELDS)
    assert read_mapping(tmp_path / "map.yaml", preset="logcat").preset is PRESETS["logcat"]
    with pytest.raises(MappingError, match="keep one"):
        read_mapping(tmp_path / "map.yaml", preset="apple-log")
    with pytest.raises(MappingError, match="did you mean logcat"):
        import_bytes(site, {"log": b""}, HEAD + "preset: logkat\n" + FIELDS)


def test_a_sketch_with_a_preset_proposes_its_columns(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("2026-09-01 14:30:00.250 +0200  1234  1300 I FaceAuth: scan\n" * 3)
    sketch = sketch_mapping([tmp_path / "log"], preset="logcat")
    assert "preset: logcat" in sketch
    assert "occurred_at: {column: time}" in sketch
