"""The worst failures as pictures, for subjects who agreed to it and for nobody else.

An image is biometric data: it leaves the lake only here, only decoded and drawn anew at thumbnail size, so no metadata
of the original travels along. The choice of attempts is by score alone; consent decides what is shown of them.
"""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cv_quality.drops.tables import FRAME_INDEX, SUBJECTS, VALIDATED_ENROLS
from cv_quality.errors import FrameError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.modality import Modality
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.report.data import mated
from cv_quality.tasks.verification.report.wording import comparator_of
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, COMPARISONS

if TYPE_CHECKING:
    import polars as pl

AttemptName = tuple[str, str]
"""Drop and id of an attempt."""
MAX_SHOWN = 12
SIDE_PX = 132
NO_CONSENT = "no consent for images"
NO_FRAME = "no image in the drop"
UNREADABLE = "image cannot be read"


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG as a data URI, or the words that stand in its place."""

    uri: str | None
    placeholder: str | None = None


@dataclass(frozen=True, slots=True)
class PicturedFailure:
    """A genuine attempt with a comparison that the build rejects: scores, conditions and pictures."""

    attempt_id: str
    drop_id: str
    subject_id: str
    device_model: str
    score: float
    baseline_score: float | None
    device_score: float | None
    conditions: tuple[str, ...]
    has_image_consent: bool
    probe: Picture
    reference: Picture


@dataclass(frozen=True, slots=True)
class PicturedAttempt:
    """Any genuine attempt as it is shown: what became of it, under which conditions, and its picture."""

    attempt_id: str
    drop_id: str
    subject_id: str
    score: float | None
    outcome: str
    conditions: tuple[str, ...]
    picture: Picture


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: Mapping[str, Any]
    has_consent: bool
    frame: str | None
    reference_frame: str | None


def read_failures(source: ReportSource, *, limit: int = MAX_SHOWN) -> tuple[PicturedFailure, ...]:
    """Read the genuine attempts with the worst comparison scores that miss the build's threshold, worst first."""
    lake = source.lake
    candidates = [
        _Candidate(row, _has_consent(lake, row), row["frame"], _reference_frame(lake, row))
        for row in _worst(source, limit=limit).to_dicts()
    ]
    pictures: dict[tuple[str, str], Picture] = {}
    for drop in dict.fromkeys(item.row["drop_id"] for item in candidates):
        consented = [item for item in candidates if item.row["drop_id"] == drop and item.has_consent]
        wanted = [frame for item in consented for frame in (item.frame, item.reference_frame) if frame is not None]
        found = _pictures(source, drop, list(dict.fromkeys(wanted)))
        pictures.update({(drop, frame): picture for frame, picture in found.items()})
    return tuple(_failure(item, pictures, modality=source.modality) for item in candidates)


def read_attempts(source: ReportSource, *, wanted: Iterable[AttemptName]) -> dict[AttemptName, PicturedAttempt]:
    """Read attempts as the build's model judged them; one without an outcome is left out."""
    import polars as pl

    names, lake = set(wanted), source.lake
    shown: dict[AttemptName, PicturedAttempt] = {}
    for drop in sorted({drop for drop, _ in names}):
        ids = sorted(attempt for other, attempt in names if other == drop)
        outcomes = lake.read(ATTEMPT_OUTCOMES, TableKey(build=source.scope.build, drop=drop))
        rows = outcomes.filter(pl.col("attempt_id").is_in(ids)).to_dicts()
        consented = [row["frame"] for row in rows if row["frame"] is not None and _has_consent(lake, row)]
        pictures = _pictures(source, drop, list(dict.fromkeys(consented)))
        for row in rows:
            absent = Picture(uri=None, placeholder=NO_FRAME if _has_consent(lake, row) else NO_CONSENT)
            shown[drop, row["attempt_id"]] = PicturedAttempt(
                **{name: row[name] for name in ("attempt_id", "drop_id", "subject_id", "score", "outcome")},
                conditions=_conditions(row, source.modality),
                picture=pictures.get(row["frame"], absent) if _has_consent(lake, row) else absent,
            )
    return shown


def _worst(source: ReportSource, *, limit: int) -> "pl.DataFrame":
    """One row an attempt: its worst comparison that is rejected, with the attempt's conditions and consent."""
    import polars as pl

    lake, scope = source.lake, source.scope
    pair = ["drop_id", "attempt_id", "reference_id"]
    attempts = lake.scan(ATTEMPT_OUTCOMES, scope.grid(scope.build)).drop(
        "score", "device_score", "build_id", "subject_id"
    )
    baseline = scope.grid(scope.baseline) if scope.baseline else []
    before = lake.scan(COMPARISONS, baseline).select(*pair, baseline_score="score")
    comparator = comparator_of(source)
    return (
        lake.scan(COMPARISONS, scope.grid(scope.build))
        .filter(mated())
        .select(*pair, "subject_id", "score", "device_score")
        .join(attempts, on=["drop_id", "attempt_id"])
        .filter(~comparator.accepts(pl.col("score"), pl.col("decision_threshold")))
        .sort(comparator.oriented(pl.col("score")), *pair)
        .unique(["drop_id", "attempt_id"], keep="first", maintain_order=True)
        .head(limit)
        .join(before, on=pair, how="left", maintain_order="left")
        .collect()
    )


def _has_consent(lake: Lake, row: Mapping[str, Any]) -> bool:
    """Consent holds only when both the attempt's outcome and the drop's own subject record say so."""
    import polars as pl

    subjects = lake.read(SUBJECTS, TableKey(drop=str(row["drop_id"])), columns=["subject_id", "has_image_consent"])
    recorded = subjects.filter(pl.col("subject_id") == row["subject_id"])["has_image_consent"].to_list()
    return bool(row["has_image_consent"]) and bool(recorded) and all(recorded)


def _reference_frame(lake: Lake, row: Mapping[str, Any]) -> str | None:
    """The first image of the subject's own reference that the attempt was compared with."""
    import polars as pl

    enrols = lake.read(VALIDATED_ENROLS, TableKey(drop=row["drop_id"])).filter(
        (pl.col("reference_id") == row["reference_id"]) & (pl.col("subject_id") == row["subject_id"])
    )
    frames = enrols.filter(pl.col("frame").is_not_null()).sort("event_id")["frame"]
    return None if frames.is_empty() else str(frames[0])


def _pictures(source: ReportSource, drop: str, frames: list[str]) -> dict[str, Picture]:
    from cv_quality.drops.frames import FrameReader

    index = source.lake.read(FRAME_INDEX, TableKey(drop=drop))
    known = set(index["frame"].to_list())
    reader = FrameReader(source.landing, drop, index)
    return {frame: picture_of(data) for frame, data in reader.read([frame for frame in frames if frame in known])}


def picture_of(data: bytes) -> Picture:
    """Draw an encoded image anew as a PNG that fits a square of SIDE_PX; words where it cannot be decoded."""
    from PIL import Image

    from cv_quality.drops.images import decode_image

    try:
        image = Image.fromarray(decode_image(data))
    except FrameError as error:
        return Picture(uri=None, placeholder=f"{UNREADABLE} ({error.reason})")
    scale = SIDE_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, format="PNG", optimize=True)
    return Picture(uri=f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}")


def _failure(item: _Candidate, pictures: Mapping[tuple[str, str], Picture], *, modality: Modality) -> PicturedFailure:
    row = item.row
    copied = ("attempt_id", "drop_id", "subject_id", "device_model", "score", "baseline_score", "device_score")

    def shown(frame: str | None) -> Picture:
        if not item.has_consent:
            return Picture(uri=None, placeholder=NO_CONSENT)
        return pictures.get((row["drop_id"], frame or ""), Picture(uri=None, placeholder=NO_FRAME))

    return PicturedFailure(
        **{name: row[name] for name in copied},
        conditions=_conditions(row, modality),
        has_image_consent=item.has_consent,
        probe=shown(item.frame),
        reference=shown(item.reference_frame),
    )


def _conditions(row: Mapping[str, Any], modality: Modality) -> tuple[str, ...]:
    return tuple(words for item in modality.conditions if (words := item.words(row[item.name])))
