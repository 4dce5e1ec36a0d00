"""Turns logs of devices, as a mapping explains them, into a drop: every row is an event of it, or is set aside.

All rows are read and judged before anything is written; those that do not fit are listed beside the drop, with file,
line and reason. Mappings are read in `mapping`, logs in `sources`, cells in `values`; `judging` judges the rows.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cv_quality.drops.conditions import with_conditions
from cv_quality.drops.device_scores import with_device_scores
from cv_quality.drops.importers.judging import RowJudge, first_line
from cv_quality.drops.importers.log_pictures import open_pictures
from cv_quality.drops.importers.mapping import LogMapping
from cv_quality.drops.importers.sources import opened_log
from cv_quality.drops.importers.spool import DEFINED, EventSpool, window_of
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import RAW_TABLES
from cv_quality.drops.writer import DropWriter
from cv_quality.errors import MappingError, SchemaError, near
from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER
from cv_quality.lake.store import Store
from cv_quality.modality import Modality

QUARANTINE_ENDING: Final = ".quarantine.jsonl"
"""Of the list of rows set aside, which lies beside the drop under its name."""
_ORDER: Final = (*DEFINED, *(kind for kind in RAW_TABLES if kind not in DEFINED))


@dataclass(frozen=True, slots=True)
class ImportedLogs:
    """What became of the rows of some logs.

    Attributes:
        drop_id: the drop.
        rows: of the logs; each is an event or set aside.
        written: rows that are events.
        events: of the drop by kind, those of subjects and devices that were made included.
        reasons: rows set aside, by reason.
        quarantine: key of their list in the landing area; None where there are none.
        notes: what was understood, for people.
    """

    drop_id: str
    rows: int
    written: int
    events: Mapping[str, int]
    reasons: Mapping[str, int]
    quarantine: str | None
    notes: tuple[str, ...] = ()


def import_logs(files: Sequence[Path], *, mapping: LogMapping, landing: Store, modality: Modality) -> ImportedLogs:
    """Write the rows of the logs as one drop.

    Args:
        files: JSON lines, CSV or the like, or Parquet; compressed or not.
        mapping: what their columns are.
        landing, modality: where drops arrive, and whose conditions events have.

    Raises:
        MappingError: the mapping does not fit the modality or the logs, or no row fits it.
        TableError: a file cannot be read.
        DropError: the drop would break a rule of the contract.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cvq-import-")))
        set_aside = folder / "quarantine.jsonl"
        with set_aside.open("w", encoding="utf-8") as quarantine:
            judge = RowJudge(
                mapping,
                DropSchema(_completed(modality, mapping)),
                EventSpool(folder),
                quarantine,
                pictures=stack.enter_context(open_pictures(mapping.frames)) if mapping.frames else None,
            )
            logs = [stack.enter_context(opened_log(path, is_lines=mapping.is_lines)) for path in files]
            for log in logs:
                log.require(judge.sources)
            for number, log in enumerate(logs, 1):
                judge.judge(log, file_number=number)
        judge.require_use(first_line(set_aside))
        notes = [f"{log.path.name}: {note}" for log in logs for note in log.notes]
        return _write(judge, set_aside, landing=landing, modality=modality, notes=notes)


def _completed(modality: Modality, mapping: LogMapping) -> Modality:
    try:
        return with_device_scores(with_conditions(modality, mapping.conditions), mapping.device_scores)
    except SchemaError as error:
        raise MappingError(f"{error}: move it from 'conditions' to 'fields'") from error


def _write(
    judge: RowJudge, set_aside: Path, *, landing: Store, modality: Modality, notes: Sequence[str]
) -> ImportedLogs:
    mapping, spool = judge.mapping, judge.spool
    if spool.first is None:
        raise MappingError("no event has a time; map 'occurred_at'")
    since, until = judge.window or window_of(spool)
    drop_id = _drop_id(mapping, since)
    n_written = spool.counts.total()
    writer = DropWriter(
        landing,
        modality=modality,
        drop_id=drop_id,
        build_id=mapping.build,
        site=mapping.site,
        protocol=mapping.protocol,
        captured_from=since,
        captured_until=until,
        conditions=mapping.conditions,
        device_scores=mapping.device_scores,
    )
    contradictions = list(spool.contradictions())
    key = f"{drop_id}{QUARANTINE_ENDING}"
    with writer as drop:
        for kind in _ORDER:
            for rows in spool.events(kind, since=since):
                drop.add_events(kind, rows)
        for frame in sorted(judge.frames):
            assert judge.pictures is not None
            drop.add_frame(frame, judge.pictures.read(frame))
        if judge.reasons:
            landing.put_file(key, set_aside)
        elif landing.exists(key):
            landing.delete(key)
    return ImportedLogs(
        drop_id,
        judge.rows,
        n_written,
        dict(spool.counts),
        dict(judge.reasons.most_common()),
        key if judge.reasons else None,
        (*notes, *contradictions),
    )


def _drop_id(mapping: LogMapping, since: datetime) -> str:
    parts = {"date": f"{since:%Y-%m-%d}", "build": mapping.build, "site": mapping.site}
    unknown = [part for part in re.findall(r"\{(.*?)\}", mapping.drop) if part not in parts]
    if unknown:
        raise MappingError(f"drop: {{{unknown[0]}}} is no part of a name; {near(unknown[0], parts)}")
    name = re.sub(NOT_IN_IDENTIFIER, "-", re.sub(r"\{(.*?)\}", lambda found: parts[str(found[1])], mapping.drop))
    if not re.fullmatch(IDENTIFIER, name):
        raise MappingError(f"drop: expected a name that matches {IDENTIFIER}, found {name!r}")
    return name
