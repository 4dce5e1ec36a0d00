"""A small lake with random templates, written table by table, for tests of everything after inference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from cv_quality.drops.tables import DEVICES, DROP_FILES, SUBJECTS, VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.modality import of_modality
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.tables import EMBEDDINGS

SHA = "0" * 64
START = datetime(2026, 9, 1, 12, tzinfo=UTC)
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Sample:
    """One enrolment or attempt of a test: who, with which template, under which claim and conditions."""

    sample_id: str
    subject: str
    vector: NDArray[np.float64] | None
    reference: str | None = None
    frame: str | None = None
    claimed: str | None = None
    columns: Row = field(default_factory=dict)


def write_drop(
    lake: Lake,
    *,
    drop: str,
    build: str,
    enrols: Sequence[Sample],
    attempts: Sequence[Sample],
    protocol: str = "enrolled",
    models: Sequence[str] = (),
    devices: Mapping[str, str] = MappingProxyType({"d1": "phone-a"}),
) -> None:
    """Write the tables that a validated and inferred drop leaves; each model gets the same templates.

    Args:
        devices: device models by device.
    """
    subjects = sorted({sample.subject for sample in (*enrols, *attempts)})
    _write(lake, DROP_FILES, TableKey(drop=drop), [_drop_file(drop, build, protocol, len(enrols) + len(attempts))])
    _write(lake, SUBJECTS, TableKey(drop=drop), [_subject(drop, name) for name in subjects])
    _write(lake, DEVICES, TableKey(drop=drop), [_device(drop, *item) for item in devices.items()])
    _write(lake, VALIDATED_ENROLS, TableKey(drop=drop), [_enrol(drop, sample) for sample in enrols])
    _write(lake, VALIDATED_ATTEMPTS, TableKey(drop=drop), [_attempt(drop, sample) for sample in attempts])
    for model in models or (build,):
        rows = [_embedding(model, drop, "reference", sample) for sample in enrols]
        rows += [_embedding(model, drop, "probe", sample) for sample in attempts]
        _write(lake, EMBEDDINGS, TableKey(build=model, drop=drop), rows)


def random_drop(
    *, seed: int, subjects: Sequence[str], attempts: int, dimension: int = 16, prefix: str = "", noise: float = 0.5
) -> tuple[list[Sample], list[Sample]]:
    """Two enrolment samples per subject and `attempts` mated probes; a subject's templates depend on its name only."""
    rng = np.random.default_rng(seed)
    enrols, probes = [], []
    for name in subjects:
        own = np.random.default_rng(abs(hash_of(name)))
        centre = own.normal(size=dimension)
        for index in range(2):
            vector = unit(centre + noise * own.normal(size=dimension))
            enrols.append(Sample(f"e-{name}-{index}", name, vector, reference=f"r-{name}"))
        for index in range(attempts):
            vector = unit(centre + noise * rng.normal(size=dimension))
            probes.append(Sample(f"a-{prefix}{name}-{index}", name, vector, reference=f"r-{name}"))
    return enrols, probes


def all_pairs_samples(frames: Mapping[str, int], *, seed: int = 3) -> tuple[list[Sample], list[Sample]]:
    """Every frame as its own reference and as an attempt, as an all-pairs drop has it."""
    rng = np.random.default_rng(seed)
    enrols, attempts = [], []
    for name, count in frames.items():
        for index in range(count):
            template, frame = unit(rng.normal(size=8)), f"frames/{name}-{index}.png"
            enrols.append(Sample(f"e-{name}-{index}", name, template, reference=f"r-{name}-{index}", frame=frame))
            attempts.append(Sample(f"a-{name}-{index}", name, template, frame=frame))
    return enrols, attempts


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector as inference stores it: unit norm, float32."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def hash_of(name: str) -> int:
    """A number from a name that is the same in every process."""
    return int.from_bytes(name.encode(), "big") % 2**32


def _write(lake: Lake, table: Table, key: TableKey, rows: Sequence[Row]) -> None:
    table = of_modality(table, FACE)
    filled = [{column: row.get(column) for column in table.names} for row in rows]
    lake.write(table, key, pa.Table.from_pylist(filled, schema=table.arrow_schema))


def _common(drop: str, event_id: str) -> dict[str, object]:
    return {
        "event_id": event_id,
        "occurred_at": START,
        "drop_id": drop,
        "source_file": "events-0.jsonl.zst",
        "source_line": 1,
    }


def _drop_file(drop: str, build: str, protocol: str, rows: int) -> Row:
    return {
        "drop_id": drop,
        "build_id": build,
        "site": "site-a",
        "modality": "face",
        "protocol": protocol,
        "captured_from": START,
        "captured_until": START + timedelta(hours=1),
        "manifest_sha256": SHA,
        "conditions": None,
        "device_scores": None,
        "file": "events-0.jsonl.zst",
        "content": "events",
        "bytes": 1,
        "rows_declared": rows,
        "rows_in": rows,
        "rows_valid": rows,
        "rows_quarantined": 0,
        "rows_forgotten": 0,
    }


def _subject(drop: str, name: str) -> Row:
    facts = {"subject_id": name, "age_band": "18-29", "sex": "female", "skin_tone": 1 + len(name) % 10}
    return _common(drop, f"s-{name}") | facts | {"has_image_consent": True}


def _device(drop: str, device: str, model: str) -> Row:
    facts = {"device_id": device, "device_model": model, "camera_supplier": "lens-1"}
    return _common(drop, f"d-{device}") | facts


def _enrol(drop: str, sample: Sample) -> Row:
    row = {"subject_id": sample.subject, "device_id": "d1", "session_id": "x", "reference_id": sample.reference}
    return _common(drop, sample.sample_id) | row | {"frame": sample.frame, "is_enrolled": True}


def _attempt(drop: str, sample: Sample) -> Row:
    row = {
        "subject_id": sample.subject,
        "claimed_subject_id": sample.claimed or sample.subject,
        "device_id": "d1",
        "session_id": "x",
        "transaction_id": sample.sample_id,
        "attempt_number": 1,
        "presentation": "bona_fide",
        "reference_id": sample.reference,
        "frame": sample.frame,
        "device_stage": "matching",
        "device_latency_ms": 100.0,
        "thermal_state": "nominal",
    }
    return _common(drop, sample.sample_id) | row | dict(sample.columns)


def _embedding(model: str, drop: str, role: str, sample: Sample) -> Row:
    return {
        "build_id": model,
        "drop_id": drop,
        "sample_id": sample.sample_id,
        "role": role,
        "subject_id": sample.subject,
        "reference_id": sample.reference,
        "frame": sample.frame,
        "status": "no_face" if sample.vector is None else "ok",
        "embedding": None if sample.vector is None else sample.vector.tolist(),
        "model_sha256": SHA,
    }


def rows_of(lake: Lake, table: Table, *, build: str | None = None, drop: str | None = None) -> pl.DataFrame:
    """The rows of one key."""
    return lake.read(table, TableKey(build=build, drop=drop))
