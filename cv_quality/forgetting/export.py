"""Everything that is held of one person, for whoever asks what that is: events, rows of tables, pictures.

Other subjects in these rows are not named. What is a subject's is decided in `cv_quality.drops.forgotten`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from cv_quality.drops.forgotten import Told, find_withdrawn, rows_of
from cv_quality.errors import ForgettingError
from cv_quality.forgetting.forget import checked_subject
from cv_quality.forgetting.landing import logs_of, members_of, shards_of
from cv_quality.lake.staging import staging_folder
from cv_quality.lake.store import PRIVATE_FILE, make_private
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

SOMEBODY: Final = "another subject"
_SUBJECT_ENDING: Final = "subject_id"


def export_subject(workspace: Workspace, subject: str, target: Path) -> dict[str, int]:
    """Write what is held of a subject into a private folder; rows and pictures by kind.

    Args:
        workspace: what is searched.
        subject: its id.
        target: a folder that is not there yet, or empty.

    Raises:
        ForgettingError: the folder holds something.
    """
    told: Told = checked_subject(subject).__eq__
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ForgettingError(f"{target} holds something already: name a new folder")
    parent = target.absolute().parent
    with staging_folder(parent, prefix=f".{target.name}-") as staging:
        whole = staging / "export"
        make_private(whole)
        counts, events = {"events": 0, "pictures": 0}, dict[str, set[str]]()
        for drop in workspace.landing.folders():
            events[drop] = _write_delivery(workspace, drop, told, whole, counts)
        counts |= _write_tables(workspace, subject, events, whole)
        _write(whole / "about.json", msgspec.json.format(msgspec.json.encode(counts), indent=1))
        if target.exists():
            target.rmdir()
        whole.rename(target)
    return counts


def _write_delivery(workspace: Workspace, drop: str, told: Told, whole: Path, counts: dict[str, int]) -> set[str]:
    """Write the events that are about the subject as they were delivered, and its pictures; ids of the events."""
    logs = logs_of(workspace.landing, drop)
    found = find_withdrawn(logs, told)
    own = {row.event_id for row in found.rows if row.event_id and (row.subject_id is None or told(row.subject_id))}
    lines = [line for *_, row, line in rows_of(logs) if row is not None and row.event_id in own]
    if lines:
        _write(whole / "events" / f"{drop}.jsonl", b"\n".join(lines) + b"\n")
        counts["events"] += len(lines)
    shards = shards_of(workspace.landing, drop) if found.frames or found.streams or found.clips else {}
    for path in shards.values():
        for member, archive in members_of(path):
            opened = archive.extractfile(member) if member.isfile() and found.has_member(member.name) else None
            if opened:
                counts["pictures"] += 1
                ending = Path(member.name).suffix[:6]
                _write(whole / "pictures" / drop / f"{counts['pictures']:06d}{ending}", opened.read())
    return own


def _write_tables(workspace: Workspace, subject: str, events: dict[str, set[str]], whole: Path) -> dict[str, int]:
    """Write the subject's rows of every table of the lake as JSON lines."""
    import polars as pl

    counts: dict[str, int] = {}
    for info in workspace.lake.store.list():
        table, *parts = info.key.removesuffix(".parquet").split("/")
        if not info.key.endswith(".parquet") or not parts:
            continue
        rows = pl.scan_parquet(workspace.lake.store.local(info.key), glob=False)
        names = rows.collect_schema().names()
        subjects = [name for name in names if name.endswith(_SUBJECT_ENDING)]
        own = [pl.col(name) == subject for name in subjects]
        if "event_id" in names and "subject_id" not in names:
            own.append(pl.col("event_id").is_in(sorted(events.get(parts[-1], set()))))
        if not own:
            continue
        found = rows.filter(pl.any_horizontal(own)).with_columns(_unnamed(name, subject) for name in subjects).collect()
        if found.height:
            path = whole / "tables" / table / f"{'_'.join(parts)}.jsonl"
            make_private(path.parent)
            _write(path, found.write_ndjson().encode())
            counts[table] = counts.get(table, 0) + found.height
    return counts


def _unnamed(column: str, subject: str) -> "pl.Expr":
    import polars as pl

    value = pl.col(column)
    return pl.when(value.is_null() | (value == subject)).then(value).otherwise(pl.lit(SOMEBODY)).alias(column)


def _write(path: Path, data: bytes) -> None:
    make_private(path.parent)
    path.touch(mode=PRIVATE_FILE)
    path.write_bytes(data)
