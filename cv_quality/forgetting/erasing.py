"""Removes what was made of a delivery, and everything else that holds a subject; what may be made anew is.

What stands in a database or in a chain of records is replaced in place. What is looked for is decided in `words`.
"""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from typing import Final

import msgspec

from cv_quality.errors import AssignmentError, CvQualityError, ForgettingError, RegistryError
from cv_quality.forgetting.places import Place
from cv_quality.forgetting.reading import sqlite_tables
from cv_quality.forgetting.words import Words
from cv_quality.freshness import Freshness
from cv_quality.publishing.publish import INDEX
from cv_quality.studies.assignment import SheetRecord
from cv_quality.studies.records import FOLDER as STUDIES
from cv_quality.studies.records import read_chain, record_digest, record_key, written
from cv_quality.tasks import TASKS
from cv_quality.tasks.verification.impostors import unused_blocks
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace

KEPT_FOLDERS: Final = ("forgotten", "monitors", "ended_monitors", STUDIES)
"""Of the lake: what is no result of a stage."""
KEPT_CACHE: Final = "proven_models"
"""Takes minutes to make again, and is of models alone."""
_SQLITE = b"SQLite format 3\0"


def affected_builds(workspace: Workspace, drops: Collection[str]) -> set[str]:
    """The builds that were recorded in some drops, and those that follow them, whose pages tell of them."""
    found = set[str]()
    for task in TASKS:
        freshness = Freshness(workspace, task)
        own = {build for drop, build in freshness.drops.items() if drop in drops}
        found |= own
        for build in freshness.builds:
            with suppress(RegistryError):
                found |= {build} if own.intersection(freshness.predecessors(build)) else set()
    return found


def made_of(workspace: Workspace, drops: Collection[str], builds: Collection[str]) -> Iterator[Place]:
    """Everything that was made of some drops: tables, verdicts, pages, editions, the warehouse, caches."""
    lake, settings, names = workspace.lake.store, workspace.settings, {*drops, *builds}
    if not names:
        return
    for info in lake.list():
        folder, last = info.key.split("/")[0], info.key.split("/")[-1]
        if folder not in KEPT_FOLDERS and last.removesuffix(".parquet").removesuffix(".json") in names:
            yield Place("lake", info.key, store=lake)
    published = workspace.published()
    for info in published.list():
        if info.key.split("/")[0] in builds or info.key == INDEX:
            yield Place("published", info.key, store=published)
    beside = settings.warehouse.parent.glob(f"*{settings.warehouse.name}*")
    pages = (workspace.report_path(build) for build in builds)
    for path in (*pages, *beside):
        if path.is_file() and not path.name.endswith(".lock"):
            yield Place("home", path.name, path=path)
    for path in sorted(settings.cache.rglob("*")):
        if path.is_file() and path.relative_to(settings.cache).parts[0] != KEPT_CACHE:
            yield Place("home", path.relative_to(settings.home).as_posix(), path=path)


def blocks(workspace: Workspace) -> Iterator[Place]:
    """Counts of impostor pairs that no build's tables lead to any more."""
    with suppress(CvQualityError):
        for info in unused_blocks(workspace, VERIFICATION):
            yield Place("lake", info.key, store=workspace.lake.store)


def erase(workspace: Workspace, place: Place, words: Words, *, alias: str) -> None:
    """Remove a subject from one place: the record in a database or study, else the whole file.

    Args:
        workspace, place: what holds it.
        words: that are looked for.
        alias: stands for it in the sheets of studies.

    Raises:
        ForgettingError: the database is in use.
    """
    if _is_study(place):
        _rewrite_sheets(workspace, place.key.split("/")[1], words.subject, alias)
    elif _is_sqlite(place):
        _scrub(place, words)
    else:
        place.delete()


def is_rewritten(place: Place) -> bool:
    """Tell whether a place is written anew without a subject, and not deleted."""
    return _is_study(place) or _is_sqlite(place)


def _is_study(place: Place) -> bool:
    return place.version is None and place.where == "lake" and place.key.startswith(f"{STUDIES}/")


def _is_sqlite(place: Place) -> bool:
    if place.path is None:
        return False
    with suppress(FileNotFoundError), place.path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE
    return False


def _scrub(place: Place, words: Words) -> None:
    """Replace the subject in every row of an SQLite database, and write the file without what was there before."""
    try:
        with closing(sqlite3.connect(str(place.path), timeout=10)) as database:
            database.create_function("forgotten", 1, lambda value: _replaced(value, words), deterministic=True)
            database.execute("PRAGMA secure_delete = ON")
            for table, columns in sqlite_tables(database):
                for column in columns:
                    database.execute(
                        f'UPDATE "{table}" SET "{column}" = forgotten("{column}") '
                        f'WHERE typeof("{column}") IN (\'text\', \'blob\') AND forgotten("{column}") <> "{column}"'
                    )
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise ForgettingError(f"{place}: {error}; end what uses the database, then forget again") from error


def _replaced(value: str | bytes | int | float | None, words: Words) -> str | bytes | int | float | None:
    if isinstance(value, bytes):
        return words.replaced(value.decode("latin-1")).encode("latin-1")
    return words.replaced(value) if isinstance(value, str) else value


def _rewrite_sheets(workspace: Workspace, study: str, subject: str, alias: str) -> None:
    """Write a study's sheets anew with a name in place of the subject; each still names the one before."""
    store = workspace.lake.store
    sheets = read_chain(store, study, "sheet", SheetRecord, error=AssignmentError)
    parent: str | None = None
    for sheet in sheets:
        rows = tuple(
            msgspec.structs.replace(row, subject_id=alias) if row.subject_id == subject else row for row in sheet.rows
        )
        renamed = msgspec.structs.replace(sheet, rows=rows, parent=parent)
        store.write_bytes(record_key(study, "sheet", sheet.number), written(renamed))
        parent = record_digest(renamed)


def empty_folders(workspace: Workspace) -> None:
    """Remove folders of editions and caches that nothing lies in any more."""
    for root in (workspace.settings.cache, workspace.settings.home / "published"):
        for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
