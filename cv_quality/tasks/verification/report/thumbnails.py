"""The worst failures as pictures, for subjects who agreed to it and for nobody else.

An image is biometric data: it leaves the lake only here, only decoded and drawn anew at thumbnail size, so no metadata
of the original travels along. The choice of attempts is by score alone; consent decides what is shown of them.
"""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.drops.tables import FRAME_INDEX, SUBJECTS, VALIDATED_ENROLS
from cv_quality.errors import FrameError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store
from cv_quality.tasks.verification.modalities.face import CONDITIONS
from cv_quality.tasks.verification.report.facts import Scope, mated
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, COMPARISONS

if TYPE_CHECKING:
    import polars as pl

MAX_SHOWN = 12
SIDE_PX = 132

_WORDS = {
    "illuminance_lux": "{} lux",
    "distance_cm": "{} cm",
    "yaw_deg": "yaw {}°",
    "pitch_deg": "pitch {}°",
    "motion_blur_px": "blur {} px",
    "eyewear": "{}",
    "covering": "{}",
    "thermal_state": "thermal state {}",
    "condition_label": "{}",
}

NO_CONSENT = "no consent for images"
NO_FRAME = "no image in the drop"
UNREADABLE = "image cannot be read"


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG as a data URI, or the words that stand in its place."""

    uri: str | None
    placeholder: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
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
class Attempt:
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
    row: Mapping[str, object]
    has_consent: bool
    reference_frame: str | None

    @property
    def drop_id(self) -> str:
        return str(self.row["drop_id"])

    @property
    def frame(self) -> str | None:
        return str(self.row["frame"]) if self.row["frame"] is not None else None


def read_failures(lake: Lake, *, landing: Store, scope: Scope, limit: int = MAX_SHOWN) -> tuple[Failure, ...]:
    """The genuine attempts with the lowest comparison scores below the build's threshold, worst first."""
    candidates = [_candidate(lake, row) for row in _worst(lake, scope=scope, limit=limit).to_dicts()]
    pictures: dict[tuple[str, str], Picture] = {}
    for drop in dict.fromkeys(item.drop_id for item in candidates):
        wanted = _allowed_frames(item for item in candidates if item.drop_id == drop)
        pictures.update({(drop, frame): picture for frame, picture in _pictures(lake, landing, drop, wanted).items()})
    return tuple(_failure(item, pictures) for item in candidates)


def read_attempts(
    lake: Lake, *, landing: Store, build: str, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Attempt]:
    """The attempts named by drop and id, as the build's model judged them; one that the ledger lacks is left out."""
    import polars as pl

    names = set(wanted)
    shown: dict[tuple[str, str], Attempt] = {}
    for drop in sorted({drop for drop, _ in names}):
        ledger = lake.read(ATTEMPT_OUTCOMES, TableKey(build=build, drop=drop))
        ids = sorted(attempt for other, attempt in names if other == drop)
        rows = ledger.filter(pl.col("attempt_id").is_in(ids)).to_dicts()
        frames = [str(row["frame"]) for row in rows if row["frame"] is not None and _has_consent(lake, row)]
        pictures = _pictures(lake, landing, drop, list(dict.fromkeys(frames))) if frames else {}
        shown |= {(drop, str(row["attempt_id"])): _attempt(lake, row, pictures) for row in rows}
    return shown


def _attempt(lake: Lake, row: Mapping[str, object], pictures: Mapping[str, Picture]) -> Attempt:
    absent = Picture(uri=None, placeholder=NO_FRAME if _has_consent(lake, row) else NO_CONSENT)
    return Attempt(
        attempt_id=str(row["attempt_id"]),
        drop_id=str(row["drop_id"]),
        subject_id=str(row["subject_id"]),
        score=_real(row["score"]),
        outcome=str(row["outcome"]),
        conditions=_conditions(row),
        picture=pictures.get(str(row["frame"]), absent) if _has_consent(lake, row) else absent,
    )


def _worst(lake: Lake, *, scope: Scope, limit: int) -> "pl.DataFrame":
    """One row an attempt: its lowest comparison below the threshold, with the attempt's conditions and consent."""
    import polars as pl

    pair = ["drop_id", "attempt_id", "reference_id"]
    attempts = lake.scan(ATTEMPT_OUTCOMES, scope.grid(scope.build)).drop(
        "score", "device_score", "build_id", "subject_id"
    )
    baseline = scope.grid(scope.baseline) if scope.baseline else []
    before = lake.scan(COMPARISONS, baseline).select(*pair, baseline_score="score")
    return (
        lake.scan(COMPARISONS, scope.grid(scope.build))
        .filter(mated())
        .select(*pair, "subject_id", "score", "device_score")
        .join(attempts, on=["drop_id", "attempt_id"])
        .filter(pl.col("score") < pl.col("decision_threshold"))
        .sort("score", *pair)
        .unique(["drop_id", "attempt_id"], keep="first", maintain_order=True)
        .head(limit)
        .join(before, on=pair, how="left", maintain_order="left")
        .collect()
    )


def _candidate(lake: Lake, row: Mapping[str, object]) -> _Candidate:
    return _Candidate(
        row=row,
        has_consent=_has_consent(lake, row),
        reference_frame=_reference_frame(lake, row, drop=str(row["drop_id"])),
    )


def _has_consent(lake: Lake, row: Mapping[str, object]) -> bool:
    """Consent holds only when both the outcome ledger and the drop's own subject record say so."""
    import polars as pl

    subjects = lake.read(SUBJECTS, TableKey(drop=str(row["drop_id"])), columns=["subject_id", "has_image_consent"])
    recorded = subjects.filter(pl.col("subject_id") == row["subject_id"])["has_image_consent"].to_list()
    return bool(row["has_image_consent"]) and bool(recorded) and all(recorded)


def _reference_frame(lake: Lake, row: Mapping[str, object], *, drop: str) -> str | None:
    """The first image of the subject's own reference that the attempt was compared with."""
    import polars as pl

    enrols = lake.read(VALIDATED_ENROLS, TableKey(drop=drop)).filter(
        (pl.col("reference_id") == row["reference_id"]) & (pl.col("subject_id") == row["subject_id"])
    )
    frames = enrols.filter(pl.col("frame").is_not_null()).sort("event_id")["frame"]
    return None if frames.is_empty() else str(frames[0])


def _allowed_frames(candidates: Iterable[_Candidate]) -> list[str]:
    consented = [item for item in candidates if item.has_consent]
    frames = [frame for item in consented for frame in (item.frame, item.reference_frame) if frame is not None]
    return list(dict.fromkeys(frames))


def _pictures(lake: Lake, landing: Store, drop: str, frames: list[str]) -> dict[str, Picture]:
    from cv_quality.drops.frames import FrameReader

    index = lake.read(FRAME_INDEX, TableKey(drop=drop))
    known = set(index["frame"].to_list())
    reader = FrameReader(landing, drop, index)
    return {frame: picture_of(data) for frame, data in reader.read([frame for frame in frames if frame in known])}


def picture_of(data: bytes) -> Picture:
    """An encoded image as a small PNG that fits a square of SIDE_PX; placeholder words when it cannot be decoded."""
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


def _failure(item: _Candidate, pictures: Mapping[tuple[str, str], Picture]) -> Failure:
    row = item.row
    return Failure(
        attempt_id=str(row["attempt_id"]),
        drop_id=item.drop_id,
        subject_id=str(row["subject_id"]),
        device_model=str(row["device_model"]),
        score=_real(row["score"]) or 0.0,
        baseline_score=_real(row["baseline_score"]),
        device_score=_real(row["device_score"]),
        conditions=_conditions(row),
        has_image_consent=item.has_consent,
        probe=_shown(item, item.frame, pictures),
        reference=_shown(item, item.reference_frame, pictures),
    )


def _shown(item: _Candidate, frame: str | None, pictures: Mapping[tuple[str, str], Picture]) -> Picture:
    if not item.has_consent:
        return Picture(uri=None, placeholder=NO_CONSENT)
    if frame is None:
        return Picture(uri=None, placeholder=NO_FRAME)
    return pictures.get((item.drop_id, frame), Picture(uri=None, placeholder=NO_FRAME))


def _conditions(row: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(words for column in CONDITIONS if (words := _words(column.name, row[column.name])))


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, float) else None


def _words(name: str, value: object) -> str | None:
    """A condition for people; None for what was not recorded or is not worth a word ("no eyewear")."""
    if value is None or value in ("none", "nominal"):
        return None
    return _WORDS[name].format(f"{value + 0.0:.3g}" if isinstance(value, float) else value)  # no "-0"
