"""Whatever a log holds, no row is lost and no valid event changes."""

import tempfile
from codecs import BOM_UTF8
from datetime import datetime
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cv_quality.drops.tables import QUARANTINE_PARSE, RAW_TABLES
from cv_quality.lake.schema import Column
from cv_quality_tests.drops.small_drops import FACES, Site, open_site

Line = tuple[str | None, dict[str, object], bytes]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "text": TEXT,
    "integer": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "flag": st.booleans(),
    "instant": st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)).map(
        lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    ),
}


def values(column: Column) -> st.SearchStrategy[object]:
    return st.none() | VALUES[column.kind] if column.nullable else VALUES[column.kind]


@st.composite
def valid_events(draw: st.DrawFn) -> Line:
    kind = draw(st.sampled_from(sorted(FACES.fields)))
    fields = {column.name: draw(values(column)) for column in FACES.fields[kind]}
    return kind, fields, msgspec.json.encode({"kind": kind, **fields})


@st.composite
def garbage(draw: st.DrawFn) -> Line:
    """Bytes without a newline that are no event: any bytes, or an event with a bite taken out of it."""
    _, _, line = draw(valid_events())
    start = draw(st.integers(1, len(line) - 1))
    bitten = line[:start] + draw(st.binary(max_size=3)) + line[start + 1 :] * draw(st.integers(0, 1))
    data = draw(st.binary(max_size=40) | st.just(bitten)).replace(b"\n", b"")
    return None, {}, data


def ingested(site: Site, lines: list[Line]) -> int:
    site.deliver(*(line for _, _, line in lines))
    summary = site.ingest()
    assert summary.rows_in == summary.rows_valid + summary.rows_quarantined
    assert summary.rows_quarantined == site.rows(QUARANTINE_PARSE).height
    assert summary.rows_valid == sum(site.rows(table).height for table in FACES.raw.values())
    return summary.rows_in


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(valid_events() | garbage(), max_size=12))
@example([(None, {}, BOM_UTF8)])
def test_every_line_is_a_row_or_a_rejection_and_valid_events_survive(lines: list[Line]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = open_site(Path(folder))
        # A byte-order mark at its start belongs to the file and not to the first line.
        expected = b"\n".join(line for _, _, line in lines).removeprefix(BOM_UTF8).split(b"\n")
        assert ingested(site, lines) == sum(bool(line.strip()) for line in expected)
        found = {
            (kind, row["source_line"]): row for kind, table in FACES.raw.items() for row in site.rows(table).to_dicts()
        }
        for number, (kind, fields, _) in enumerate(lines, start=1):
            if kind is not None:
                assert survived(found[kind, number], fields)


def survived(row: dict[str, object], fields: dict[str, object]) -> bool:
    moment = row["occurred_at"]
    assert isinstance(moment, datetime)
    found = row | {"occurred_at": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    return {name: found[name] for name in fields} == fields


@settings(max_examples=25)
@given(st.lists(garbage(), max_size=6), st.integers(0, 5))
def test_garbage_does_not_disturb_its_neighbours(noise: list[Line], place: int) -> None:
    fields: dict[str, object] = {"event_id": "d1", "device_id": "x", "device_model": "m"}
    fields |= {"occurred_at": "2026-09-01T12:30:00.000000Z", "os_version": None, "camera_supplier": None}
    line = msgspec.json.encode({"kind": "device", **fields})
    with tempfile.TemporaryDirectory() as folder:
        site = open_site(Path(folder))
        ingested(site, [*noise[:place], ("device", fields, line), *noise[place:]])
        rows = site.rows(RAW_TABLES["device"]).filter(source_line=len(noise[:place]) + 1).to_dicts()
        assert survived(rows[0], fields)
