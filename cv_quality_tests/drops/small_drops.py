"""Small drops for the tests of drops: sound ones, and files of any bytes under a manifest that vouches for them."""

import hashlib
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa

from cv_quality.drops.conditions import DeclaredCondition
from cv_quality.drops.device_scores import DeviceScores
from cv_quality.drops.ingest import IngestSummary, ingest_drop
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.validation import ValidationSummary, validate_drop
from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store, open_store
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.modalities import MODALITIES

FACES = DropSchema(FACE)
DROP_ID = "2026-09-01_face-1.2_site-a"
START = datetime(2026, 9, 1, 12, tzinfo=UTC)
UNTIL = START + timedelta(hours=1)
WHEN = "2026-09-01T12:30:00.000000Z"

DEVICE: dict[str, Scalar] = {"event_id": "d1", "occurred_at": WHEN, "device_id": "dev-1", "device_model": "model-a"}
SUBJECT: dict[str, Scalar] = {"event_id": "s1", "occurred_at": WHEN, "subject_id": "p1", "has_image_consent": True}
ENROL: dict[str, Scalar] = {
    "event_id": "e1",
    "occurred_at": WHEN,
    "subject_id": "p1",
    "device_id": "dev-1",
    "session_id": "x1",
    "reference_id": "r1",
    "is_enrolled": True,
}
ATTEMPT: dict[str, Scalar] = {
    "event_id": "a1",
    "occurred_at": WHEN,
    "subject_id": "p1",
    "claimed_subject_id": "p1",
    "device_id": "dev-1",
    "session_id": "x1",
    "transaction_id": "t1",
    "attempt_number": 1,
    "presentation": "bona_fide",
    "reference_id": "r1",
    "device_stage": "matching",
    "device_score": 0.5,
}
STREAM_FRAME: dict[str, Scalar] = {
    "event_id": "f1",
    "occurred_at": WHEN,
    "stream_id": "v1",
    "device_id": "dev-1",
    "frame_number": 0,
    "deadline_ms": 33.3,
    "is_dropped": False,
}
BACKGROUND = (("device", DEVICE), ("subject", SUBJECT), ("enrol", ENROL))


@dataclass(frozen=True, slots=True)
class Site:
    """A landing area and a lake in one temporary folder."""

    landing: Store
    lake: Lake
    root: Path

    def ingest(self) -> IngestSummary:
        return ingest_drop(landing=self.landing, lake=self.lake, drop_id=DROP_ID, modalities=MODALITIES)

    def validate(self) -> ValidationSummary:
        return validate_drop(landing=self.landing, lake=self.lake, drop_id=DROP_ID, schema=FACES)

    def rows(self, table: Table) -> pl.DataFrame:
        return self.lake.read(table, TableKey(drop=DROP_ID))

    def deliver(self, *lines: bytes, **changes: object) -> None:
        """A drop whose one events file holds exactly these lines."""
        self.deliver_files({"events-0.jsonl.zst": compressed(*lines)}, rows=len(lines), **changes)

    def deliver_files(self, files: dict[str, bytes], /, *, rows: int = 1_000_000, **changes: object) -> None:
        """A drop of these files under a manifest that vouches for them, by default for more rows than there are.

        `changes` overwrite its fields.
        """
        for name, data in files.items():
            self.landing.write_bytes(f"{DROP_ID}/{name}", data)
        manifest = {
            "schema_version": 1,
            "drop_id": DROP_ID,
            "build_id": "face-1.2",
            "site": "site-a",
            "modality": "face",
            "protocol": "enrolled",
            "captured_from": "2026-09-01T12:00:00Z",
            "captured_until": "2026-09-01T13:00:00Z",
            "files": [
                {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": rows}
                for name, data in files.items()
            ],
        }
        self.landing.write_bytes(f"{DROP_ID}/manifest.json", json.dumps(manifest | changes).encode())


def open_site(root: Path) -> Site:
    return Site(open_store(str(root / "landing")), Lake(open_store(str(root / "lake"))), root)


def drop_writer(
    landing: Store | Path,
    conditions: Sequence[DeclaredCondition] = (),
    /,
    *,
    events_per_file: int = 250_000,
    frames_per_shard: int = 5_000,
    device_scores: DeviceScores | None = None,
    drop_id: str = DROP_ID,
) -> DropWriter:
    return DropWriter(
        landing,
        modality=FACE,
        drop_id=drop_id,
        build_id="face-1.2",
        site="site-a",
        protocol="enrolled",
        captured_from=START,
        captured_until=UNTIL,
        conditions=conditions,
        events_per_file=events_per_file,
        frames_per_shard=frames_per_shard,
        device_scores=device_scores,
    )


def event(kind: str, base: dict[str, Scalar], **changes: object) -> bytes:
    """One line of a log; a field changed to None is left out."""
    fields = {"kind": kind, **base, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def attempt(**changes: object) -> bytes:
    return event("attempt", ATTEMPT, **changes)


def background() -> list[bytes]:
    """The events that every attempt here refers to."""
    return [event(kind, base) for kind, base in BACKGROUND]


def compressed(*lines: bytes) -> bytes:
    return zstd(b"".join(line + b"\n" for line in lines))


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


def png(*, width_px: int = 2, height_px: int = 2) -> bytes:
    """A grey PNG whose header claims any size; its pixels are those of a 2 x 2 image."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\1\2" * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tar(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                file.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()
