"""Takes one drop into the lake: manifest, events, frames, in one pass over its files.

A file is hashed while it is parsed, and nothing is published before every file has proved to be what the manifest
says. Whether rows make sense together is asked next, in `cv_quality.drops.validation`.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cv_quality.drops.conditions import encode_conditions
from cv_quality.drops.device_scores import encode_device_scores
from cv_quality.drops.forgotten import NOBODY, Forgotten, Withdrawn, find_withdrawn
from cv_quality.drops.frames import FrameEntry, index_shard
from cv_quality.drops.lines import Expansion, HashingReader, read_pieces
from cv_quality.drops.manifest import CONTENTS, MANIFEST, FileEntry, Manifest, check_file_set, read_manifest
from cv_quality.drops.media import MediaEntry, index_media
from cv_quality.drops.parsing import LineSource, parse_pieces
from cv_quality.drops.quarantine import QuarantineWriter, Rejection
from cv_quality.drops.schema import DropSchema, schema_of
from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX, MEDIA_INDEX, QUARANTINE_PARSE
from cv_quality.drops.tablewriter import TableWriter
from cv_quality.errors import DropError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store
from cv_quality.modality import Modality

MAX_REJECTED_ROWS = 100_000
"""Rejected rows of a drop after which it is refused as soon as they outnumber the sound ones."""
_FRAME_BATCH = 1_000
_MANIFEST_COLUMNS = tuple(name for name in DROP_FILES.names if name in Manifest.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What one file held: `rows_in` = `rows_valid` + `rows_quarantined` + `rows_forgotten`."""

    file: str
    rows_declared: int
    rows_valid: int
    rows_quarantined: int
    rows_forgotten: int = 0

    @property
    def rows_in(self) -> int:
        return self.rows_valid + self.rows_quarantined + self.rows_forgotten


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """What taking in a drop gave.

    Attributes:
        rows: typed rows by event kind.
        n_frames: images in the frame index.
        n_media: members of the media index.
        files: counts by file, in the order of their names.
    """

    drop_id: str
    build_id: str
    manifest_sha256: str
    rows: dict[str, int]
    n_frames: int
    n_media: int
    files: tuple[FileCounts, ...]

    @property
    def rows_in(self) -> int:
        return sum(file.rows_in for file in self.files)

    @property
    def rows_valid(self) -> int:
        return sum(file.rows_valid for file in self.files)

    @property
    def rows_quarantined(self) -> int:
        return sum(file.rows_quarantined for file in self.files)

    @property
    def rows_forgotten(self) -> int:
        return sum(file.rows_forgotten for file in self.files)


def ingest_drop(
    *,
    landing: Store,
    lake: Lake,
    drop_id: str,
    modalities: Mapping[str, Modality],
    threads: int = 2,
    admit: Callable[[Manifest, DropSchema], None] = lambda _manifest, _schema: None,
    forgotten: Forgotten = NOBODY,
    progress: Callable[[FileCounts], None] | None = None,
) -> IngestSummary:
    """Parse a drop into its raw tables, `QUARANTINE_PARSE`, `FRAME_INDEX` and `DROP_FILES`.

    An earlier delivery is replaced: every table of the key is written, with no rows where there are none. A drop
    without events is for the gate to refuse. Memory stays flat in the size of the drop.

    Args:
        landing: where the drop has arrived.
        lake: where its tables go.
        modalities: those known, by name.
        threads: parsers working at once.
        admit: called before anything but the manifest is read; raises what refuses the drop.
        forgotten: whose rows and pictures are set aside, counted and not kept.
        progress: called after each file.

    Raises:
        DropError: the manifest or the file set is wrong, no task evaluates the modality, or a file is not the one that
            the manifest describes; nothing of the lake has changed then.
    """
    manifest = read_manifest(landing, drop_id)
    schema = schema_of(
        manifest.modality,
        modalities,
        conditions=manifest.conditions,
        device_scores=manifest.device_scores,
        where=f"{drop_id}/{MANIFEST}",
    )
    admit(manifest, schema)
    check_file_set(landing, manifest)
    withdrawn = _withdrawn(landing, manifest, forgotten)
    with ExitStack() as stack:
        job = _Job(manifest, schema, withdrawn, landing=landing, lake=lake, threads=threads, stack=stack)
        counts = []
        for entry in (entry for content in CONTENTS for entry in manifest.entries(content)):
            counts.append(job.take(entry))
            if progress is not None:
                progress(counts[-1])
        job.finish(counts)
    return IngestSummary(
        drop_id=drop_id,
        build_id=manifest.build_id,
        manifest_sha256=manifest.manifest_sha256,
        rows={kind: writer.n_rows for kind, writer in job.raw.items()},
        n_frames=job.index.n_rows,
        n_media=job.media.n_rows if job.media else 0,
        files=tuple(counts),
    )


def _withdrawn(landing: Store, manifest: Manifest, forgotten: Forgotten) -> Withdrawn | None:
    if not forgotten:
        return None
    logs = {entry.name: landing.local(f"{manifest.drop_id}/{entry.name}") for entry in manifest.entries("events")}
    return find_withdrawn(logs, forgotten)


class _Job:
    """The open writers of one drop; leaving `stack` without an error publishes their files, `DROP_FILES` last."""

    def __init__(
        self,
        manifest: Manifest,
        schema: DropSchema,
        withdrawn: Withdrawn | None,
        *,
        landing: Store,
        lake: Lake,
        threads: int,
        stack: ExitStack,
    ) -> None:
        self._manifest = manifest
        self._schema = schema
        self._withdrawn = withdrawn
        self._landing = landing
        self._threads = threads
        key = TableKey(drop=manifest.drop_id)
        self._files = TableWriter(DROP_FILES, stack.enter_context(lake.writing(DROP_FILES, key)))
        self.raw = {
            kind: TableWriter(table, stack.enter_context(lake.writing(table, key)))
            for kind, table in schema.raw.items()
        }
        self.index = TableWriter(FRAME_INDEX, stack.enter_context(lake.writing(FRAME_INDEX, key)))
        self.media = None
        if schema.has_media:
            self.media = TableWriter(MEDIA_INDEX, stack.enter_context(lake.writing(MEDIA_INDEX, key)))
        path = stack.enter_context(lake.writing(QUARANTINE_PARSE, key))
        self._quarantine = QuarantineWriter(QUARANTINE_PARSE, path, drop_id=manifest.drop_id, stage="parse")
        self._pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="parse"))
        self._frames: set[str] = set()
        self._members: set[tuple[str, ...]] = set()
        self._expansion = Expansion(manifest.drop_id, compressed=sum(e.bytes for e in manifest.entries("events")))
        self._n_valid = self._n_rejected = 0

    def take(self, entry: FileEntry) -> FileCounts:
        """Parse one file while hashing it.

        Raises:
            DropError: its bytes are not those that the manifest describes, it holds more rows, or the drop is
                hopeless: see `MAX_REJECTED_ROWS`, `Expansion`.
        """
        path = self._landing.local(f"{self._manifest.drop_id}/{entry.name}")
        n_valid = n_rejected = n_forgotten = 0
        with path.open("rb") as file:
            reader = HashingReader(file)
            for part in self._parts(entry, path, reader):
                self._quarantine.add(entry.name, part.rejections)
                n_valid += part.n_sound
                n_rejected += len(part.rejections)
                n_forgotten += part.n_forgotten
                self._check_rows(entry, n_valid + n_rejected + n_forgotten, is_broken=part.is_broken)
                self._check_hope(entry, part.n_sound, part.rejections)
            digest = reader.hexdigest()
        if (digest, reader.bytes_read) != (entry.sha256, entry.bytes):
            raise DropError(
                f"{self._manifest.drop_id}/{entry.name}: expected {entry.bytes} bytes with sha256 {entry.sha256}, "
                f"found {reader.bytes_read} with {digest}; deliver the file again"
            )
        return FileCounts(entry.name, entry.rows, n_valid, n_rejected, n_forgotten)

    def _check_rows(self, entry: FileEntry, n_rows: int, *, is_broken: bool) -> None:
        """That a file breaks off is told like a row, and is none."""
        if n_rows - is_broken > entry.rows:
            raise DropError(
                f"{self._manifest.drop_id}/{entry.name}: expected {entry.rows:,} rows as the manifest says, found "
                "more; correct one of them and deliver the drop again"
            )

    def _check_hope(self, entry: FileEntry, n_sound: int, rejections: list[Rejection]) -> None:
        self._n_valid += n_sound
        self._n_rejected += len(rejections)
        if rejections and self._n_rejected > max(MAX_REJECTED_ROWS, self._n_valid):
            last = rejections[-1]
            raise DropError(
                f"{self._manifest.drop_id}/{entry.name}: {self._n_rejected:,} rows rejected and {self._n_valid:,} "
                f"sound so far, the last one in line {last.line} ({last.reason}: {last.detail}); correct the logs and "
                "deliver the drop again"
            )

    def finish(self, counts: list[FileCounts]) -> None:
        """Complete every file."""
        entries = {entry.name: entry for entry in self._manifest.files}
        of_drop = {name: getattr(self._manifest, name) for name in _MANIFEST_COLUMNS}
        of_drop["conditions"] = encode_conditions(self._manifest.conditions)
        of_drop["device_scores"] = encode_device_scores(self._manifest.device_scores)
        rows = []
        for count in counts:
            entry = entries[count.file]
            own = {"content": entry.content, "bytes": entry.bytes, "rows_in": count.rows_in}
            rows.append(of_drop | asdict(count) | own)
        self._files.add(pa.Table.from_pylist(rows, schema=DROP_FILES.arrow_schema))
        self._quarantine.close()
        for writer in (self._files, self.index, *([self.media] if self.media else []), *self.raw.values()):
            writer.close()

    def _parts(self, entry: FileEntry, path: Path, reader: HashingReader) -> "Iterator[_Part]":
        if entry.content == "events":
            return self._events(entry, path, reader)
        if entry.content == "frames":
            seen = index_shard(reader, drop_id=self._manifest.drop_id, shard=entry.name, seen=self._frames)
            return self._indexed(entry, seen, self.index)
        if self.media is None:
            raise DropError(
                f"{self._manifest.drop_id}/{entry.name}: drops of modality {self._manifest.modality} hold no "
                f"{entry.content}; leave the file out, or correct the modality"
            )
        found = index_media(
            reader,
            drop_id=self._manifest.drop_id,
            shard=entry.name,
            content=entry.content,
            seen=self._members,
        )
        return self._indexed(entry, found, self.media)

    def _events(self, entry: FileEntry, path: Path, reader: HashingReader) -> "Iterator[_Part]":
        """Add typed rows piece by piece, without those of forgotten subjects."""
        source = LineSource(self._manifest.drop_id, entry.name, self._schema)
        pieces = read_pieces(path, reader, expansion=self._expansion)
        theirs = self._withdrawn.lines.get(entry.name, set[int]()) if self._withdrawn else set[int]()
        numbers = pa.array(sorted(theirs), pa.int64())
        for parsed in parse_pieces(pieces, source=source, pool=self._pool, ahead=self._threads + 2):
            n_sound = 0
            for kind, table in parsed.tables.items():
                rows = table.filter(pc.invert(pc.is_in(table["source_line"], numbers))) if theirs else table
                self.raw[kind].add(rows)
                n_sound += rows.num_rows
            yield self._part(entry, parsed.rejections, n_sound, n_forgotten=parsed.n_valid - n_sound)

    def _indexed(
        self,
        entry: FileEntry,
        found: Iterator[FrameEntry | Rejection] | Iterator[MediaEntry | Rejection],
        index: TableWriter,
    ) -> "Iterator[_Part]":
        """Index members batch by batch, without those of forgotten subjects."""
        while batch := list(islice(found, _FRAME_BATCH)):
            rejections = [item for item in batch if isinstance(item, Rejection)]
            entries = [item for item in batch if not isinstance(item, Rejection)]
            kept = [item for item in entries if not self._is_theirs(item, entry)]
            index.add(pa.Table.from_pylist([asdict(item) for item in kept], schema=index.schema))
            yield self._part(entry, rejections, len(kept), n_forgotten=len(entries) - len(kept))

    def _part(self, entry: FileEntry, rejections: list[Rejection], n_sound: int, *, n_forgotten: int) -> "_Part":
        is_broken = bool(rejections) and rejections[-1].reason == "truncated_file"
        kept = [item for item in rejections if not self._is_theirs(item, entry)]
        return _Part(n_sound, kept, n_forgotten + len(rejections) - len(kept), is_broken)

    def _is_theirs(self, item: FrameEntry | MediaEntry | Rejection, entry: FileEntry) -> bool:
        return self._withdrawn is not None and self._withdrawn.has(item, file=entry.name)


@dataclass(frozen=True, slots=True)
class _Part:
    """What some of a file's rows gave, and whether the file breaks off with them."""

    n_sound: int
    rejections: list[Rejection]
    n_forgotten: int
    is_broken: bool
