"""Logs of others for the tests of their import: bytes and a mapping become drops, and their events are read again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cv_quality.drops.importers.logs import ImportedLogs, import_logs
from cv_quality.drops.importers.mapping import read_mapping
from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.manifest import read_manifest
from cv_quality.drops.schema import schema_of
from cv_quality.drops.tables import QUARANTINE_VALIDATE, RAW_TABLES
from cv_quality.drops.validation import validate_drop
from cv_quality.lake.lake import TableKey
from cv_quality.modality import of_modality
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.drops.small_drops import Site
from cv_quality_tests.modalities import MODALITIES

DOCS = Path(__file__).parents[2] / "docs"
HEAD = "build: face-1.1\nsite: site-a\n"
FIELDS = "fields:\n  occurred_at: at\n  subject_id: who\n  device_id: phone\n"
ROW = {"at": "2026-09-01T12:30:00Z", "who": "p1", "phone": "d1"}


def import_bytes(site: Site, logs: Mapping[str, bytes], mapping: str = HEAD + FIELDS, **options: Any) -> ImportedLogs:
    """Import logs, given by name, through the text of a mapping; no row may be lost."""
    (site.root / "map.yaml").write_text(mapping)
    for name, data in logs.items():
        (site.root / name).write_bytes(data)
    found = import_logs(
        [site.root / name for name in logs],
        mapping=read_mapping(site.root / "map.yaml"),
        landing=site.landing,
        modality=FACE,
        **options,
    )
    assert found.rows == found.written + found.context + sum(found.reasons.values())
    return found


def drop_of(found: ImportedLogs) -> str:
    (drop,) = found.drops
    return drop


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def events(site: Site, drop: str, kind: str = "attempt") -> pl.DataFrame:
    """Take a drop in, expect every row of it to be sound, and read those of a kind."""
    taken = ingest_drop(landing=site.landing, lake=site.lake, drop_id=drop, modalities=MODALITIES)
    conditions = read_manifest(site.landing, drop).conditions
    schema = schema_of("face", MODALITIES, conditions=conditions, where=drop)
    validate_drop(landing=site.landing, lake=site.lake, drop_id=drop, schema=schema)
    assert sum(file.rows_quarantined for file in taken.files) == 0
    assert site.lake.read(QUARANTINE_VALIDATE, TableKey(drop=drop))["detail"].to_list() == []
    return site.lake.read(of_modality(RAW_TABLES[kind], schema.modality), TableKey(drop=drop))


def listed(found: ImportedLogs) -> list[dict[str, object]]:
    assert found.quarantine is not None
    return [json.loads(line) for line in Path(found.quarantine).read_bytes().splitlines()]


def mapping_of_docs(title: str) -> str:
    """The mapping that a section of the docs shows."""
    section = (DOCS / "logs.md").read_text().partition(f"{title}\n")[2]
    return section.partition("```yaml\n")[2].partition("```")[0]
