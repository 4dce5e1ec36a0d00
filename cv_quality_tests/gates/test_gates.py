"""Gates pass sound tables, name what is broken, and refuse stale or missing verdicts."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX, RAW_SUBJECTS
from cv_quality.errors import GateFailed
from cv_quality.gates.rules import Rule
from cv_quality.gates.runner import run_gate
from cv_quality.gates.verdicts import read_verdict, require_passed
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.task import VERIFICATION

SUITES = {stage.name: stage.suite(FACE) for stage in VERIFICATION.stages if stage.writes}
PARSE = SUITES["parse"]
KEY = TableKey(drop="2026-01-01_face-1.0_lab")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHA = "0" * 64


def drop_files(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "drop_id": KEY.drop,
        "build_id": "face-1.0",
        "site": "lab",
        "modality": "face",
        "protocol": "enrolled",
        "captured_from": NOW,
        "captured_until": NOW,
        "manifest_sha256": SHA,
        "conditions": None,
        "device_scores": None,
        "file": "events-000.jsonl.zst",
        "content": "events",
        "bytes": 10,
        "rows_declared": 1,
        "rows_in": 1,
        "rows_valid": 1,
        "rows_quarantined": 0,
        "rows_forgotten": 0,
    }
    return row | changes


def subject(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "event_id": "e1",
        "occurred_at": NOW,
        "subject_id": "s1",
        "age_band": None,
        "sex": "female",
        "skin_tone": 4,
        "family_id": None,
        "has_image_consent": True,
        "drop_id": KEY.drop,
        "source_file": "events-000.jsonl.zst",
        "source_line": 1,
    }
    return row | changes


def frame(name: str, *, sha256: str) -> dict[str, object]:
    return {
        "drop_id": KEY.drop,
        "frame": name,
        "shard": "frames-000.tar",
        "byte_offset": 512,
        "byte_count": 10,
        "sha256": sha256,
        "image_format": "PNG",
        "width_px": 8,
        "height_px": 8,
    }


def write_parsed(lake: Lake, *, files: list[dict[str, object]], frames: list[dict[str, object]] | None = None) -> None:
    for table in PARSE.judged:
        lake.write(table, KEY, table.arrow_schema.empty_table())
    lake.write(RAW_SUBJECTS, KEY, pl.DataFrame([subject()], schema_overrides={"age_band": pl.String}))
    lake.write(DROP_FILES, KEY, pl.DataFrame(files))
    if frames:
        lake.write(FRAME_INDEX, KEY, pl.DataFrame(frames))


@pytest.mark.parametrize("column", ["no_such_column", "file"])
def test_a_rule_that_cannot_be_asked_is_an_error_and_not_a_broken_table(lake: Lake, column: str) -> None:
    write_parsed(lake, files=[drop_files()])
    arguments = {"column": column, "min_value": 0, "max_value": 1}
    rule = Rule(
        "asked", DROP_FILES.name, "ExpectColumnValuesToBeBetween", arguments, f"SELECT * FROM {DROP_FILES.name}"
    )
    with pytest.raises(RuntimeError, match=f"rule 'asked' of {DROP_FILES.name} could not be evaluated"):
        run_gate(lake, replace(PARSE, rules=(*PARSE.rules, rule)), KEY)
    assert read_verdict(lake, "parse", KEY) is None


def test_sound_tables_pass_and_let_the_next_stage_start(lake: Lake) -> None:
    write_parsed(lake, files=[drop_files()])
    verdict = run_gate(lake, PARSE, KEY)
    assert verdict.passed, verdict.failures
    require_passed(lake, "parse", KEY, tables=[RAW_SUBJECTS])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"rows_in": 2, "rows_declared": 2}, "rows in = rows valid + rows quarantined + rows forgotten"),
        ({"rows_declared": 7}, "rows in = rows that the manifest declares"),
        ({"rows_in": 2, "rows_declared": 2, "rows_valid": 2}, "the raw tables hold every valid row"),
        ({"rows_in": 2, "rows_declared": 2, "rows_quarantined": 1}, "the quarantine holds every rejected row"),
        ({"manifest_sha256": "xyz"}, "every identifier is well formed"),
        ({"bytes": -1}, "bytes lies in [0, any]"),
        ({"protocol": "guess"}, "protocol is one of enrolled, all_pairs, streams, presentations"),
    ],
)
def test_a_broken_table_fails_with_the_rule_and_the_key(lake: Lake, changes: dict[str, object], rule: str) -> None:
    write_parsed(lake, files=[drop_files(**changes)])
    verdict = run_gate(lake, PARSE, KEY)
    broken = {item.name: item for item in verdict.failures}
    assert rule in broken
    assert broken[rule].n_unexpected >= 1
    with pytest.raises(GateFailed, match=r"gate 'parse' failed for 2026-01-01_face-1\.0_lab"):
        require_passed(lake, "parse", KEY, tables=[RAW_SUBJECTS])


def test_a_key_that_stands_twice_is_an_offending_key(lake: Lake) -> None:
    write_parsed(lake, files=[drop_files(), drop_files(rows_valid=0, rows_in=0, rows_declared=0)])
    broken = {item.name: item for item in run_gate(lake, PARSE, KEY).failures}
    assert broken["file names one row"].examples == ("events-000.jsonl.zst",)


def test_equal_images_under_two_names_warn_but_do_not_block(lake: Lake) -> None:
    write_parsed(lake, files=[drop_files()], frames=[frame("a.png", sha256=SHA), frame("b.png", sha256=SHA)])
    verdict = run_gate(lake, PARSE, KEY)
    assert verdict.passed
    assert [item.examples for item in verdict.warnings] == [("a.png = b.png",)]


def test_a_verdict_says_nothing_about_data_that_came_later(lake: Lake) -> None:
    write_parsed(lake, files=[drop_files()])
    run_gate(lake, PARSE, KEY)
    lake.write(RAW_SUBJECTS, KEY, pl.DataFrame([subject(sex="male")], schema_overrides={"age_band": pl.String}))
    with pytest.raises(GateFailed, match="judged other data"):
        require_passed(lake, "parse", KEY, tables=[RAW_SUBJECTS])


def test_a_gate_that_never_ran_lets_nothing_through(lake: Lake) -> None:
    assert read_verdict(lake, "parse", KEY) is None
    with pytest.raises(GateFailed, match="has no verdict"):
        require_passed(lake, "parse", KEY, tables=[RAW_SUBJECTS])


@pytest.mark.parametrize("gate", list(SUITES))
def test_every_rule_of_every_suite_evaluates_on_empty_tables(lake: Lake, gate: str) -> None:
    suite = SUITES[gate]
    key = TableKey(build="face-1.0", drop=KEY.drop)
    judged = next(iter(suite.judged))
    own = TableKey(build="face-1.0") if judged.key == "build" else KEY if judged.key == "drop" else key
    for table in (*suite.judged, *suite.context):
        table_key = KEY if table.key == "drop" else own if table.key == "build" else key
        lake.write(table, table_key, table.arrow_schema.empty_table())
    verdict = run_gate(lake, suite, own)
    assert len(verdict.expectations) == len(suite.rules)
    blocking = {item.name for item in verdict.failures}
    assert blocking <= {
        "the drop holds at least one valid event",
        "the drop holds at least one attempt or stream frame",
        "the false rejects were searched",
    }


def test_a_process_that_judged_says_nothing_at_its_exit(lake: Lake) -> None:
    write_parsed(lake, files=[drop_files()])
    judge = (
        "from cv_quality.gates.runner import run_gate; from cv_quality.lake.lake import Lake, TableKey;"
        "from cv_quality.lake.store import open_store; from cv_quality_tests.gates.test_gates import KEY, PARSE;"
        f"assert run_gate(Lake(open_store({lake.store.uri!r})), PARSE, KEY).passed"
    )
    done = subprocess.run([sys.executable, "-c", judge], capture_output=True, text=True, check=True)
    assert done.stderr == ""
