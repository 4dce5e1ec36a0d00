"""Logs of others become drops: what they mean is converted, what does not fit is listed, and nothing is lost."""

import gzip
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from cv_quality.drops.device_scores import DeviceScores
from cv_quality.drops.importers.logs import ImportedLogs, import_logs
from cv_quality.drops.importers.mapping import read_mapping
from cv_quality.drops.importers.sketch import sketch_mapping
from cv_quality.drops.importers.units import conversion
from cv_quality.drops.manifest import read_manifest
from cv_quality.errors import CvQualityError, MappingError
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.drops.foreign_logs import (
    DOCS,
    FIELDS,
    HEAD,
    ROW,
    drop_of,
    events,
    import_bytes,
    lines,
    listed,
)
from cv_quality_tests.drops.small_drops import Site

EXAMPLES = DOCS / "examples"
Import = Callable[..., ImportedLogs]


@pytest.fixture
def run(site: Site) -> Import:
    """Import bytes of a log through the text of a mapping."""

    def run(log: bytes, mapping: str = HEAD + FIELDS, *, name: str = "log") -> ImportedLogs:
        return import_bytes(site, {name: log}, mapping)

    return run


def test_the_example_of_the_docs_becomes_a_sound_drop(site: Site) -> None:
    mapping = read_mapping(EXAMPLES / "attempts.yaml")
    found = import_logs([EXAMPLES / "attempts.csv"], mapping=mapping, landing=site.landing, modality=FACE)
    assert (drop_of(found), found.rows, found.written) == ("2026-09-01_face-1.1_gate-4", 41, 39)
    assert found.drops[drop_of(found)] == {"device": 3, "subject": 8, "attempt": 39}
    assert found.reasons == {"unknown_level": 1, "ambiguous_time": 1}
    assert [row["line"] for row in listed(found)] == [18, 42]
    first = events(site, drop_of(found)).sort("occurred_at").row(0, named=True)
    assert first["occurred_at"] == datetime(2026, 9, 1, 6, 0, 0, tzinfo=UTC)
    assert first["subject_id"] == "001"
    written = (EXAMPLES / "attempts.csv").read_text().splitlines()[1].split(";")
    assert first["device_score"] == float(written[5].replace(",", "."))
    assert first["device_latency_ms"] == pytest.approx(1000 * float(written[7]))
    assert first["glass_temperature"] == pytest.approx((float(written[10]) - 32) * 5 / 9)
    assert first["is_device_accepted"] == (written[6] == "angenommen")
    assert first["firmware"] == written[9]


def test_the_docs_show_the_example_as_it_is() -> None:
    page = (EXAMPLES.parent / "logs.md").read_text()
    assert (EXAMPLES / "attempts.yaml").read_text() in page
    assert "\n".join((EXAMPLES / "attempts.csv").read_text().splitlines()[:2]) in page


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("2026-09-01T14:30:00.250+02:00", "at"),
        ("2026-09-01 12:30:00,250Z", "at"),
        ("2026-09-01T12:30:00.250000000+0000", "at"),
        ("2026-09-01 14:30:00.25", "{column: at, zone: Europe/Berlin}"),
        (1788265800250, "{column: at, format: epoch_ms}"),
        ("1788265800.25", "{column: at, format: epoch_s}"),
        ("1788265800250000000", "{column: at, format: epoch_ns}"),
        ("01/09/2026 14:30:00.25", '{column: at, format: "%d/%m/%Y %H:%M:%S.%f", zone: Europe/Berlin}'),
        ("01.09.26 14:30:00.25 +0200", '{column: at, format: "%d.%m.%y %H:%M:%S.%f %z"}'),
    ],
)
def test_times_of_any_form_are_the_same_instant(site: Site, run: Import, written: object, rule: str) -> None:
    found = run(lines({**ROW, "at": written}), HEAD + FIELDS.replace("occurred_at: at", f"occurred_at: {rule}"))
    moment = datetime(2026, 9, 1, 12, 30, 0, 250_000, tzinfo=UTC)
    assert events(site, drop_of(found))["occurred_at"].to_list() == [moment]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("2026-10-25T02:30:00", "ambiguous_time"),
        ("2026-03-29T02:30:00", "nonexistent_time"),
        ("2026-09-31T02:30:00", "bad_time"),
        ("2026-09-01T12:30:60", "bad_time"),
        ("yesterday", "bad_time"),
        ("2226-09-01T12:30:00", "bad_time"),
        (None, "missing_field"),
    ],
)
def test_a_time_that_is_none_sets_its_row_aside(run: Import, written: object, reason: str) -> None:
    found = run(lines(ROW, {**ROW, "at": written}), HEAD + "zone: Europe/Berlin\n" + FIELDS)
    assert found.reasons == {reason: 1}
    assert listed(found)[0]["line"] == 2


@pytest.mark.parametrize("packed", ["plain", "gzip", "parquet", "tsv", "utf16", "array"])
def test_one_log_in_any_wrapping_gives_the_same_drop(site: Site, run: Import, packed: str, tmp_path: Path) -> None:
    rows = pl.DataFrame([{**ROW, "who": f"{number:03}"} for number in range(20)])
    text = rows.write_csv()
    log = {
        "plain": text.encode(),
        "gzip": gzip.compress(text.encode()),
        "tsv": rows.write_csv(separator="\t").encode(),
        "array": json.dumps(rows.to_dicts(), indent=1).encode(),
        "utf16": text.encode("utf-16"),
    }
    rows.write_parquet(tmp_path / "rows")
    found = run(log.get(packed) or (tmp_path / "rows").read_bytes())
    assert sorted(events(site, drop_of(found))["subject_id"]) == [f"{number:03}" for number in range(20)]


def test_lines_that_are_no_objects_are_listed_with_their_line(run: Import) -> None:
    broken = [b"nope", b"[1]", b'{"at": NaN}', b"null", b'{"at": "2026-09-01T12:30:00Z", "who": {"x": 1}}']
    found = run(lines(ROW) + b"\n" + b"\n".join(broken) + b"\n" + lines(ROW))
    assert (found.rows, found.written) == (7, 2)
    assert sorted(str(row["line"]) for row in listed(found)) == ["3", "4", "5", "6", "7"]


def test_a_line_with_a_key_twice_is_set_aside(run: Import) -> None:
    twice = lines(ROW).replace(b'"who": "p1"', b'"who": "p1", "who": "p2"')
    found = run(lines({**ROW, "other": "who"}, {**ROW, "inner": {"who": 1}}) + twice)
    assert (found.written, found.reasons) == (2, {"malformed_json": 1})
    assert listed(found)[0]["detail"] == "expected each key once, found 'who' again"


def test_rows_keep_their_lines_behind_cells_of_several_lines(run: Import) -> None:
    log = b'at,who,phone,note\n2026-09-01T12:30:00Z,p1,d1,"two\nlines"\n\nnever,p1,d1,x\n'
    assert [row["line"] for row in listed(run(log))] == [5]


def test_lines_with_too_many_cells_are_listed_with_their_line(run: Import) -> None:
    rows = ["at,who,phone", *["2026-09-01T12:30:00Z,p1,d1", "2026-09-01T12:30:00Z,p1,d1,7,8"] * 2]
    found = run("\n".join(rows).encode())
    assert (found.written, found.reasons) == (2, {"too_many_cells": 2})
    assert [row["line"] for row in listed(found)] == [3, 5]


def test_kinds_from_a_column_refer_to_their_enrolments(site: Site, run: Import) -> None:
    rows = [{**ROW, "what": what} for what in ("ENROL", "VERIFY", "VERIFY", "REBOOT")]
    mapping = HEAD + "kind: {column: what, levels: {ENROL: enrol, VERIFY: attempt}}\n" + FIELDS
    found = run(lines(*rows, {**ROW, "who": "never-enrolled", "what": "VERIFY"}), mapping)
    assert found.drops[drop_of(found)] == {"device": 1, "subject": 2, "enrol": 1, "attempt": 3}
    assert found.reasons == {"unknown_kind": 1}
    assert events(site, drop_of(found))["reference_id"].to_list() == ["p1", "p1", None]


def test_subjects_and_devices_of_the_log_need_no_time_of_theirs(site: Site, run: Import) -> None:
    mapping = HEAD + "kind: {column: what}\n" + FIELDS + "  has_image_consent: agreed\n  device_model: model\n"
    known = [{"what": "subject", "who": "p1", "agreed": True}, {"what": "device", "phone": "d1", "model": "m1"}]
    found = run(lines(*known, {"what": "subject", "who": "p2"}, {**ROW, "what": "attempt"}), mapping)
    assert found.drops[drop_of(found)] == {"subject": 2, "device": 1, "attempt": 1}
    assert events(site, drop_of(found), "subject")["has_image_consent"].to_list() == [True, False]


def test_a_message_is_taken_apart_by_a_pattern(site: Site, run: Import) -> None:
    log = b"09:00 2026-09-01T12:30:00Z match user=p1 dev=d1 score=0.75\n09:01 booting\n"
    pattern = r"'(?P<at>\S+Z) match user=(?P<who>\w+) dev=(?P<phone>\w+) score=(?P<score>[0-9.]+)'"
    message = f"format: lines\nmessage: {{column: line, pattern: {pattern}}}\n"
    found = run(log, HEAD + message + FIELDS + "  device_score: score\n")
    assert found.reasons == {"no_match": 1}
    assert events(site, drop_of(found))["device_score"].to_list() == [0.75]


def test_a_message_is_taken_apart_as_json(site: Site, run: Import) -> None:
    log = lines(*({"t": ROW["at"], "msg": text} for text in (json.dumps({**ROW, "m": {"score": 0.5}}), "booting")))
    fields = "fields: {occurred_at: t, subject_id: msg.who, device_id: msg.phone, device_score: msg.m.score}"
    found = run(log, f"{HEAD}message: {{column: msg, json: true}}\n{fields}")
    assert (found.written, found.reasons) == (1, {"missing_field": 1})
    assert events(site, drop_of(found))["device_score"].to_list() == [0.5]


@pytest.mark.parametrize("is_archive", [False, True])
def test_frames_come_from_a_folder_or_an_archive(site: Site, run: Import, tmp_path: Path, is_archive: bool) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.pgm").write_bytes(b"P5 2 2 255\n1234")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as packed:
        packed.write(tmp_path / "pictures" / "a.pgm", "a.pgm")
    frames = "frames: {archive: pictures.zip}\n" if is_archive else "frames: {folder: pictures}\n"
    log = lines({**ROW, "img": "a.pgm"}, {**ROW, "img": "b.pgm"}, {**ROW, "img": "../map.yaml"})
    found = run(log, HEAD + frames + FIELDS + "  frame: img\n")
    assert found.reasons == {"missing_frame": 2}
    assert events(site, drop_of(found))["frame"].to_list() == ["a.pgm"]


def test_what_rows_say_of_subjects_becomes_their_events(site: Site, run: Import) -> None:
    log = lines({**ROW, "sex": "f"}, {**ROW, "sex": None}, {**ROW, "sex": "m"})
    found = run(log, HEAD + FIELDS + "  sex: {column: sex, levels: {f: female, m: male}}\n")
    assert found.notes == ("1 subject with more than one sex: the first counts",)
    assert events(site, drop_of(found), "subject")["sex"].to_list() == ["female"]


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (HEAD + FIELDS + "  device_scor: s\n", "did you mean device_score"),
        (HEAD + FIELDS + "  subject_id: phone\n", "'subject_id' is given twice"),
        (HEAD + FIELDS.replace("who", "[who, phone]"), "expected one column, found 2"),
        (HEAD + FIELDS + "  device_latency_ms: {column: who, from: m, to: ms}\n", "do not convert"),
        (HEAD + FIELDS + "  device_latency_ms: {column: who, from: jiffy, to: ms}\n", "unit 'jiffy' is not known"),
        (HEAD + FIELDS + "  device_latency_ms: {column: who, from: s, to: min}\n", "is in ms, as its name says"),
        (HEAD + "zone: Europe/Berlim\n" + FIELDS, "did you mean Europe/Berlin"),
        (HEAD + FIELDS.replace("who", "whom"), "no column 'whom'; did you mean who"),
        (HEAD + FIELDS.replace("  device_id: phone\n", ""), "need the field 'device_id'"),
        (HEAD + "kinds: attempt\n" + FIELDS, "unknown key 'kinds'; did you mean kind"),
        (HEAD + "kind: atempt\n" + FIELDS, "did you mean attempt"),
        (HEAD + FIELDS + "  attempt_number: {constant: first}\n", "expected a number .*, found 'first'"),
        (HEAD + FIELDS + "  yaw_deg: who\nconditions: {yaw_deg: {column: phone}}\n", "is a field and a condition"),
        (HEAD + FIELDS + "conditions: {frame: {column: phone}}\n", "named like a column that every drop has"),
        (HEAD + FIELDS + "conditions: {yaw_deg: {column: phone}}\n", "move it from 'conditions' to 'fields'"),
        (HEAD + FIELDS + "conditions: {note: {column: empty}}\n", "'empty': expected a value in some row"),
        (HEAD + FIELDS.replace("who", "empty"), "none"),
        (HEAD + 'message: {column: who, pattern: "(?P<x>"}\n' + FIELDS, "pattern cannot be read"),
        (HEAD + "window: {from: 2026-09-01T00:00:00Z}\n" + FIELDS, "expected 'from' and 'until'"),
        (HEAD + "drop: '{week}'\n" + FIELDS, "{week} is no part of a name"),
        (HEAD.replace("site-a", '".."') + "drop: '{site}'\n" + FIELDS, "is no path, found '..'"),
        (FIELDS, "expected 'build'"),
        ("[", "not YAML"),
    ],
)
def test_a_mapping_that_does_not_fit_writes_nothing(site: Site, run: Import, mapping: str, words: str) -> None:
    with pytest.raises(MappingError, match=words.replace("(", r"\(")):
        run(b"at,who,phone,empty\n2026-09-01T12:30:00Z,p1,d1,\n", mapping)
    assert not site.landing.list()


@pytest.mark.parametrize("log", [b"", b"\n\n", b"at,who,phone,who\n1,2,3,4\n", b"at,who,phone\n", b"[{]", b"[]"])
def test_a_log_without_rows_or_names_writes_nothing(site: Site, run: Import, log: bytes) -> None:
    with pytest.raises(CvQualityError):
        run(log)
    assert not site.landing.list()


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("abc", "wrong_type"), ("inf", "not_finite"), ("-3", "out_of_range"), ("1.5", None), ("N/A", None), ("", None)],
)
def test_a_number_that_is_none_sets_its_row_aside(run: Import, cell: str, reason: str | None) -> None:
    log = f"at,who,phone,ms\n2026-09-01T12:30:00Z,p1,d1,{cell}\n2026-09-01T12:30:00Z,p1,d1,7\n".encode()
    found = run(log, HEAD + FIELDS + "  device_latency_ms: ms\n")
    assert found.reasons == ({reason: 1} if reason else {})


def test_a_second_import_replaces_drop_and_list(site: Site, run: Import) -> None:
    first = run(lines(ROW, {**ROW, "at": "never"}))
    assert first.quarantine is not None
    second = run(lines(ROW, ROW))
    assert (drop_of(second), second.quarantine) == (drop_of(first), None)
    assert not Path(first.quarantine).exists()
    assert events(site, drop_of(second)).height == 2


def test_units_convert_between_those_of_one_quantity() -> None:
    assert conversion("s", "ms", where="x").factor == 1000
    fahrenheit = conversion("°F", "°C", where="x")
    assert 212 * fahrenheit.factor + fahrenheit.offset == pytest.approx(100)


def test_a_sketch_is_a_mapping_that_takes_the_log_in(site: Site, run: Import) -> None:
    rows = [
        {
            "timestamp": f"2026-09-01T12:{number:02}:00Z",
            "userId": f"{number % 7:03}",
            "device": {"serial": "a1"},
            "similarity": 0.5,
            "result": ["PASS", "FAIL"][number % 2],
            "elapsed_s": 0.25,
            "firmware": "2.1",
        }
        for number in range(20)
    ]
    (site.root / "log").write_bytes(lines(*rows))
    sketch = sketch_mapping([site.root / "log"])
    assert "result, levels: {PASS: true, FAIL: false}}  # ?" in sketch
    found = run(lines(*rows), sketch.replace("BUILD", "face-1.1").replace("SITE", "a"))
    taken = events(site, drop_of(found))
    assert found.written == 20
    assert set(taken["device_latency_ms"]) == {250.0}
    assert taken["is_device_accepted"].sum() == 10
    assert set(taken["firmware"]) == {"2.1"}


def test_a_sketch_tells_how_each_log_differs_from_the_first(tmp_path: Path) -> None:
    logs = {
        "a.csv": b"time,user,phone,score,result\n2026-09-01T12:00:00Z,p1,d1,0.5,PASS\n",
        "b.csv": b"time;user;phone;score;fw\n01.09.2026 12:30:00;p1;d1;0,5;2.1\n",
        "c.jsonl": lines({"time": 1788265800000, "user": "p1", "phone": "d1", "score": 0.5, "result": "FAIL"}),
        "d.csv": b"time,user,phone,score,result\n2026-09-02T12:00:00Z,p2,d2,0.7,PASS\n",
    }
    for name, log in logs.items():
        (tmp_path / name).write_bytes(log)
    told = sketch_mapping([tmp_path / name for name in logs]).splitlines()
    differences = [line for line in told if "differs from" in line]
    assert len(differences) == 2
    for words in ("no column 'result'", "also a column 'fw'", "%d.%m.%Y", "decimal comma", "semicolons"):
        assert words in differences[0]
    assert "times of the form epoch_ms, not times of the form iso" in differences[1]
    assert any("levels: {PASS: true, FAIL: false}" in line for line in told)
    assert any(line.startswith("  fw: {column: fw, type: text}") for line in told)


def test_a_sketch_sees_decimal_commas() -> None:
    sketch = sketch_mapping([EXAMPLES / "attempts.csv"])
    assert 'treffer: {column: Treffer, type: real, decimal: ","}' in sketch


def test_a_mapping_declares_the_scale_of_device_scores(site: Site, run: Import) -> None:
    scale = "device_scores: {low: 0, accepts: at_or_below}\n"
    log = lines({**ROW, "score": 17.5}, {**ROW, "at": "2026-09-01T12:30:01Z", "score": -0.5})
    fields = FIELDS + "  device_score: score\n"
    found = run(log, HEAD + scale + fields)
    assert (found.written, found.reasons) == (1, {"out_of_range": 1})
    assert read_manifest(site.landing, drop_of(found)).device_scores == DeviceScores(low=0, accepts="at_or_below")
    with pytest.raises(MappingError, match=r"device_scores: .*accepts"):
        run(log, HEAD + "device_scores: {low: 0, high: 1}\n" + fields)
