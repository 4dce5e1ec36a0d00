"""`cvq gc`: what runs left behind and nobody needs any more, listed and removed."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import JSON, open_deployment, print_rows, say

if TYPE_CHECKING:
    import dagster as dg

    from cv_quality.workspace import Workspace

SECONDS_A_DAY = 86_400
OLD_DAYS = 30


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that may go.

    Attributes:
        kind: what it is, for people.
        name: the run, object or path.
        size: in bytes.
    """

    kind: str
    name: str
    size: int
    remove: Callable[[], None]


@click.command()
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(min=1),
    default=OLD_DAYS,
    show_default=True,
    help="Only what has lain there for so many days.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@JSON
def gc(days: int, dry_run: bool, as_json: bool) -> None:
    """Free what old runs left behind and nobody needs any more.

    \b
    Goes                                          Stays
      runs of which no asset shows anything         drops, tables, verdicts, reports, the warehouse
      logs of other runs                            their records, and what their assets show
      blocks that no build's pairs are made of      blocks that are read again
      unfinished writes of killed processes         those of processes that live
      unfinished uploads to an object store         objects
      unused local copies of its objects            those used since
    """
    from cv_quality.pipeline.instance import opened

    workspace = open_deployment()
    before = time.time() - days * SECONDS_A_DAY
    with opened(workspace) as instance:
        found = [
            *_runs(instance, before),
            *_blocks(workspace, before),
            *_unfinished(workspace, before),
            *_copies(workspace, before),
        ]
        if not dry_run:
            for item in found:
                item.remove()
    _print(found, as_json=as_json)
    if not as_json:
        say(f"{'would free' if dry_run else 'freed'} {sum(item.size for item in found) / 1e6:,.1f} MB")


def _print(found: Sequence[Leftover], *, as_json: bool) -> None:
    if as_json:
        rows = [{"kind": item.kind, "name": item.name, "bytes": item.size} for item in found]
    else:
        kinds = {kind: [item.size for item in found if item.kind == kind] for kind in _kinds(found)}
        rows = [{"what": kind, "count": len(sizes), "bytes": sum(sizes)} for kind, sizes in kinds.items()]
    print_rows(rows, as_json=as_json, title="left behind")


def _kinds(found: Sequence[Leftover]) -> list[str]:
    return list(dict.fromkeys(item.kind for item in found))


def _runs(instance: "dg.DagsterInstance", before: float) -> Iterator[Leftover]:
    from cv_quality.pipeline.retention import forget, old_runs

    for run in old_runs(instance, before=datetime.fromtimestamp(before, UTC)):
        kind = "logs of runs" if run.is_shown else "runs"
        yield Leftover(kind, run.run_id, run.size, partial(forget, instance, run))


def _blocks(workspace: "Workspace", before: float) -> Iterator[Leftover]:
    from cv_quality.tasks.verification.impostors import unused_blocks
    from cv_quality.tasks.verification.task import VERIFICATION

    store = workspace.lake.store
    for info in unused_blocks(workspace, VERIFICATION):
        if info.modified_ns < before * 1e9:
            yield Leftover("blocks of no build", info.key, info.size, partial(store.delete, info.key))


def _unfinished(workspace: "Workspace", before: float) -> Iterator[Leftover]:
    """Folders and files of writes that a kill broke off, in every local folder that is written to, and of uploads."""
    from cv_quality.lake.staging import abandoned_folders
    from cv_quality.lake.store import LocalStore, S3Store

    settings = workspace.settings
    stores = (workspace.lake.store, workspace.landing, workspace.published())
    roots = [store.root for store in stores if isinstance(store, LocalStore)]
    staged = [(folder, "cvq-") for folder in sorted({store.staging for store in stores})]
    staged.append((settings.warehouse.parent, f".{settings.warehouse.name}-"))
    folders = [folder for parent, prefix in staged for folder in abandoned_folders(parent, prefix=prefix)]
    parts = [path for root in (*roots, settings.reports, settings.cache) for path in root.rglob(".*.part")]
    for path in (*folders, *parts):
        if path.stat().st_mtime < before:
            files = path.rglob("*") if path.is_dir() else [path]
            size = sum(file.stat().st_size for file in files if file.is_file())
            yield Leftover("unfinished writes", str(path), size, partial(_delete, path))
    for store in (store for store in stores if isinstance(store, S3Store)):
        for upload in store.unfinished():
            if upload.begun < before:
                yield Leftover("unfinished uploads", f"{store.uri}/{upload.key}", 0, partial(store.give_up, upload))


def _copies(workspace: "Workspace", before: float) -> Iterator[Leftover]:
    """Local copies of remote objects that nobody has used since; what is read again is fetched again."""
    for path in workspace.settings.cache.glob("[0-9a-f][0-9a-f]/[0-9a-f]*"):
        found = path.stat()
        if found.st_mtime < before:
            yield Leftover("local copies", str(path), found.st_size, partial(_delete, path))


def _delete(path: Path) -> None:
    if path.is_dir():
        rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
