"""Conditions that a drop declares: what may be declared, what becomes of it, and what is refused with what words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cv_quality.drops.conditions import DeclaredCondition, with_conditions
from cv_quality.drops.manifest import read_manifest
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import QUARANTINE_PARSE, QUARANTINE_VALIDATE, VALIDATED_ATTEMPTS
from cv_quality.drops.validation import validate_drop
from cv_quality.drops.writer import DropWriter
from cv_quality.errors import DropError, SchemaError
from cv_quality.gates.verdicts import read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import do, open_workspace
from cv_quality_tests.drops.small_drops import (
    ATTEMPT,
    DROP_ID,
    Site,
    attempt,
    background,
    compressed,
    drop_writer,
    event,
    open_site,
)

FIRMWARE = {"name": "firmware", "type": "text", "label": "camera firmware", "levels": ["2.0", "2.1"]}
AZIMUTH = {"name": "light_azimuth_deg", "type": "real", "label": "azimuth", "unit": "°", "range": [-180, 180]}
CHARGING = {"name": "is_charging", "type": "flag"}
ORDER = {"name": "order", "type": "integer", "range": [0, None]}
"""Named like a word of SQL."""
OTHER_DROP = "2026-09-02_face-1.2_site-b"


def declare(site: Site, *lines: bytes, conditions: Sequence[object], **changes: object) -> None:
    site.deliver(*background(), *lines, schema_version=2, conditions=list(conditions), **changes)


def test_declared_conditions_become_typed_columns(site: Site) -> None:
    values = {"firmware": "2.1", "light_azimuth_deg": -12.5, "is_charging": True, "order": 3}
    declare(site, attempt(**values), attempt(event_id="a2"), conditions=[FIRMWARE, AZIMUTH, CHARGING, ORDER])
    site.ingest()
    rows = validated(site)
    assert rows.select(*values).to_dicts() == [values, dict.fromkeys(values)]
    assert rows.schema["order"] == pl.Int64


def validated(site: Site) -> pl.DataFrame:
    """Validate the drop with what it declares, and read its attempts."""
    schema = DropSchema(with_conditions(FACE, read_manifest(site.landing, DROP_ID).conditions))
    validate_drop(landing=site.landing, lake=site.lake, drop_id=DROP_ID, schema=schema)
    return site.rows(VALIDATED_ATTEMPTS)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"firmware": "3.0"}, "unknown_level"),
        ({"light_azimuth_deg": 180.5}, "out_of_range"),
        ({"order": -1}, "out_of_range"),
    ],
)
def test_values_that_a_declaration_forbids_are_quarantined(site: Site, values: dict[str, Any], reason: str) -> None:
    declare(site, attempt(), attempt(event_id="a2", **values), conditions=[FIRMWARE, AZIMUTH, ORDER])
    site.ingest()
    assert validated(site)["event_id"].to_list() == ["a1"]
    (row,) = site.rows(QUARANTINE_VALIDATE).to_dicts()
    assert (row["reason"], row["event_id"]) == (reason, "a2")
    assert next(iter(values)) in row["detail"]


def test_a_value_of_another_type_is_quarantined_while_parsing(site: Site) -> None:
    declare(site, attempt(), attempt(event_id="a2", light_azimuth_deg="12"), conditions=[AZIMUTH])
    site.ingest()
    (row,) = site.rows(QUARANTINE_PARSE).to_dicts()
    assert row["reason"] == "wrong_type"
    assert "light_azimuth_deg" in row["detail"]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"name": "device_score", "type": "real"}, "'device_score' is named like a column that every drop has"),
        ({"name": "kind", "type": "text"}, "'kind' is named like a column that every drop has"),
        ({"name": "is_failure", "type": "flag"}, "'is_failure' is named like a column that every drop has"),
        ({"name": "x; drop table", "type": "text"}, r"\$\.conditions\[0\]\.name"),
        ({"name": 'a"b', "type": "text"}, r"\$\.conditions\[0\]\.name"),
        ({"name": "x" * 64, "type": "text"}, r"\$\.conditions\[0\]\.name"),
        ({"name": "heat", "type": "number"}, r"\$\.conditions\[0\]\.type"),
        ({"name": "heat", "type": "real", "label": "a\x1bb"}, r"\$\.conditions\[0\]\.label"),
        ({"name": "heat", "type": "real", "colour": "red"}, "unknown field `colour`"),
        ({"name": "heat", "type": "real", "range": [5, 1]}, "'heat' is declared with the range 5 to 1"),
        ({"name": "heat", "type": "text", "range": [1, 5]}, "'heat' is of type text and has a range"),
        ({"name": "heat", "type": "flag", "unit": "°C"}, "'heat' is of type flag and has a range or unit"),
        ({"name": "heat", "type": "real", "levels": ["a"]}, "'heat' is of type real and has levels"),
        ({"name": "heat", "type": "text", "levels": ["a", "a"]}, "'heat' is declared with the level 'a' twice"),
        ({"name": "heat", "type": "text", "levels": [str(i) for i in range(10_000)]}, "'heat' is declared with 10,000"),
    ],
)
def test_a_declaration_that_cannot_be_taken_is_refused_by_name(
    site: Site, condition: dict[str, object], words: str
) -> None:
    declare(site, attempt(), conditions=[condition])
    with pytest.raises(DropError, match=words):
        site.ingest()


def test_too_many_conditions_and_one_declared_twice_are_refused(site: Site) -> None:
    many = [{"name": f"c{index}", "type": "real"} for index in range(101)]
    declare(site, attempt(), conditions=many)
    with pytest.raises(DropError, match="at most 100 conditions, found 101"):
        site.ingest()
    declare(site, attempt(), conditions=[ORDER, ORDER])
    with pytest.raises(DropError, match="'order' is declared twice"):
        site.ingest()


def test_a_manifest_of_the_first_version_declares_nothing(site: Site) -> None:
    site.deliver(attempt(), conditions=[ORDER])
    with pytest.raises(DropError, match="unknown field `conditions`"):
        site.ingest()


def test_sixty_conditions_are_taken(site: Site) -> None:
    many = [{"name": f"c{index}", "type": "real"} for index in range(60)]
    declare(site, attempt(**{f"c{index}": index / 2 for index in range(60)}), conditions=many)
    site.ingest()
    assert validated(site)["c59"].to_list() == [29.5]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "home")


def deliver(
    workspace: Workspace, drop: str, *conditions: object, build: str = "face-1.2", firmware: object = "2.1"
) -> None:
    """Deliver a drop whose one attempt logs its firmware."""
    site = Site(workspace.landing, workspace.lake, Path(workspace.settings.landing))
    lines = [*background(), event("attempt", ATTEMPT, firmware=firmware, temperature=21.5)]
    data = compressed(*lines)
    site.deliver_files(
        {"events-0.jsonl.zst": data}, rows=len(lines), schema_version=2, conditions=conditions, build_id=build
    )
    if drop != DROP_ID:
        folder = Path(workspace.settings.landing)
        (folder / DROP_ID).rename(folder / drop)
        path = folder / drop / "manifest.json"
        path.write_text(path.read_text().replace(DROP_ID, drop))


def test_drops_of_one_build_declare_a_condition_alike(workspace: Workspace) -> None:
    deliver(workspace, OTHER_DROP, FIRMWARE)
    do(workspace, "parse", drop=OTHER_DROP)
    other = {**FIRMWARE, "levels": ["2.0", "2.1", "2.2"]}
    deliver(workspace, DROP_ID, other)
    with pytest.raises(DropError) as caught:
        do(workspace, "parse", drop=DROP_ID)
    assert DROP_ID in str(caught.value)
    assert OTHER_DROP in str(caught.value)
    assert '"levels":["2.0","2.1","2.2"]' in str(caught.value)
    verdict = read_verdict(workspace.lake, "parse", TableKey(drop=DROP_ID))
    assert verdict is not None
    assert "declares" in verdict.failures[0].name


def test_corrected_declarations_of_all_drops_of_a_build_are_taken(workspace: Workspace) -> None:
    drops = (OTHER_DROP, DROP_ID)
    for drop in drops:
        deliver(workspace, drop, FIRMWARE)
        do(workspace, "parse", "validate", drop=drop)
    corrected = {**FIRMWARE, "label": "firmware of the camera"}
    for drop in drops:
        path = Path(workspace.settings.landing) / drop / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"conditions": [corrected]}))
    for drop in drops:
        do(workspace, "parse", "validate", drop=drop)


TEMPERATURE = {"name": "temperature", "type": "real", "unit": "°C", "range": [-20, 60]}


def test_another_build_may_change_a_range_but_not_a_unit(workspace: Workspace) -> None:
    deliver(workspace, OTHER_DROP, TEMPERATURE)
    do(workspace, "parse", drop=OTHER_DROP)
    deliver(workspace, DROP_ID, {**TEMPERATURE, "range": [-40, 80]}, build="face-1.1")
    do(workspace, "parse", drop=DROP_ID)
    deliver(workspace, DROP_ID, {**TEMPERATURE, "unit": "°F"}, build="face-1.1")
    with pytest.raises(DropError, match=r"°F.*°C"):
        do(workspace, "parse", drop=DROP_ID)


def test_a_column_of_the_task_is_no_name_for_a_condition(workspace: Workspace) -> None:
    deliver(workspace, DROP_ID, {"name": "outcome", "type": "text"})
    with pytest.raises(DropError, match="'outcome' is a column of every attempt_outcomes"):
        do(workspace, "parse", drop=DROP_ID)


def test_a_condition_of_the_modality_is_not_declared_again(workspace: Workspace) -> None:
    deliver(workspace, DROP_ID, {"name": "illuminance_lux", "type": "real"})
    with pytest.raises(DropError, match="face has a condition 'illuminance_lux' of its own"):
        do(workspace, "parse", drop=DROP_ID)


def test_a_condition_that_no_event_logs_fails_the_gate(workspace: Workspace) -> None:
    deliver(workspace, DROP_ID, FIRMWARE, TEMPERATURE, ORDER)
    do(workspace, "parse", drop=DROP_ID)
    result = do(workspace, "validate", drop=DROP_ID)
    assert result.verdict is not None
    assert [item.name for item in result.verdict.failures] == ["the declared condition order is logged by some event"]
    names = [item.name for item in result.verdict.expectations]
    assert "temperature lies in [-20, 60]" in names
    assert "firmware is one of 2.0, 2.1" in names


def writer(landing: Path) -> DropWriter:
    ratio = DeclaredCondition(name="lux_ratio", type="real", range=(0, 1))
    return drop_writer(landing, [ratio, DeclaredCondition(name="w", type="text", levels=("a",))])


def test_the_writer_declares_conditions_in_a_folder(tmp_path: Path) -> None:
    with writer(tmp_path / "landing") as drop:
        drop.add_event("attempt", **ATTEMPT, lux_ratio=0.5, w="a")
    manifest = read_manifest(open_site(tmp_path).landing, DROP_ID)
    assert [item.name for item in manifest.conditions] == ["lux_ratio", "w"]
    assert manifest.schema_version == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lux_ratio": 1.5}, "'lux_ratio': expected a number from 0 to 1, found 1.5"),
        ({"w": "b"}, "'w': expected one of a, found 'b'"),
        ({"attempt_number": 0}, "'attempt_number': expected a number from 1 to 1000, found 0"),
        ({"session_id": "a b"}, "'session_id': expected text that matches"),
        ({"lux_ratios": 0.5}, "no field 'lux_ratios'.*lux_ratio"),
    ],
)
def test_the_writer_refuses_what_taking_in_would_reject(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words), writer(tmp_path) as drop:
        drop.add_event("attempt", **{**ATTEMPT, **fields})
