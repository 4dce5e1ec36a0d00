"""The worst failures as pictures, for subjects who agreed to it and for nobody else.

An image is biometric data: it is shown only here, only decoded and drawn anew at thumbnail size, so no metadata of the
original travels along. The choice of attempts is by score alone; what may be shown of them is decided, and read, by
`cv_quality.drops.consent`.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cv_quality.drops.consent import Consents, FrameName, read_consents, read_shown
from cv_quality.drops.tables import FRAME_INDEX, VALIDATED_ENROLS
from cv_quality.errors import FrameError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.modality import Modality, of_modality
from cv_quality.reports.pictures import GONE, NO_CONSENT, NO_FRAME, UNREADABLE, Picture, data_uri
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.root_causes.report.records import AttemptName, PicturedAttempt
from cv_quality.tasks.verification.outcomes import NON_MATCH
from cv_quality.tasks.verification.report.data import mated
from cv_quality.tasks.verification.report.wording import comparator_of
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, COMPARISONS

if TYPE_CHECKING:
    import polars as pl

MAX_SHOWN = 12
SIDE_PX = 132
ENCODING: Mapping[str, Mapping[str, Any]] = {"png": {"optimize": True}, "webp": {"quality": 60, "method": 4}}
"""How an image is encoded, by its kind."""


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
class _Candidate:
    row: Mapping[str, Any]
    has_agreed: bool
    frame: str | None
    reference_frame: str | None

    @property
    def shown_frames(self) -> list[str]:
        """The frames that a page would show; none of a subject who did not agree."""
        named = (self.frame, self.reference_frame)
        return [frame for frame in named if frame is not None and self.has_agreed]

    def picture(self, frame: str | None, pictures: Mapping[FrameName, Picture]) -> Picture:
        """The picture of one of the frames, or the words in its place."""
        if frame is None:
            return Picture(uri=None, placeholder=NO_FRAME)
        if not self.has_agreed:
            return Picture(uri=None, placeholder=NO_CONSENT)
        return pictures.get((self.row["drop_id"], frame), Picture(uri=None, placeholder=NO_FRAME))


def read_failures(source: ReportSource, *, limit: int = MAX_SHOWN) -> tuple[PicturedFailure, ...]:
    """Read the genuine attempts with the worst comparison scores that miss the build's threshold.

    Of every subject the worst comes first, the worst of them on top; second ones are read where subjects are few.
    """
    lake = source.lake
    if source.scope.is_recorded and not _has_frames(source):
        return ()
    consents = read_consents(lake)
    candidates = [
        _Candidate(row, _has_agreed(row, consents), row["frame"], _reference_frame(lake, row))
        for row in _worst(source, limit=limit).to_dicts()
    ]
    wanted = [(item.row["drop_id"], frame) for item in candidates for frame in item.shown_frames]
    pictures = pictures_of(source, wanted, consents=consents)
    return tuple(_failure(item, pictures, modality=source.modality) for item in candidates)


def read_attempts(source: ReportSource, *, wanted: Iterable[AttemptName]) -> dict[AttemptName, PicturedAttempt]:
    """Read attempts as the build's model judged them; one without an outcome is left out."""
    import polars as pl

    names, lake = set(wanted), source.lake
    rows: list[dict[str, Any]] = []
    for drop in sorted({drop for drop, _ in names}):
        ids = sorted(attempt for other, attempt in names if other == drop)
        outcomes = lake.read(ATTEMPT_OUTCOMES, TableKey(build=source.scope.build, drop=drop))
        rows += outcomes.filter(pl.col("attempt_id").is_in(ids)).to_dicts()
    consents = read_consents(lake) if rows else Consents(frozenset(), frozenset())
    found = [_Candidate(row, _has_agreed(row, consents), row["frame"], None) for row in rows]
    pictures = pictures_of(
        source, [(item.row["drop_id"], frame) for item in found for frame in item.shown_frames], consents=consents
    )
    return {
        (item.row["drop_id"], item.row["attempt_id"]): PicturedAttempt(
            **{name: item.row[name] for name in ("attempt_id", "drop_id", "subject_id", "score", "outcome")},
            conditions=_conditions(item.row, source.modality),
            picture=item.picture(item.frame, pictures),
        )
        for item in found
    }


def _has_frames(source: ReportSource) -> bool:
    drops = (TableKey(drop=drop) for drop in source.scope.drops)
    return any(source.lake.first(FRAME_INDEX, drop, columns=("frame",)) for drop in drops)


def _worst(source: ReportSource, *, limit: int) -> "pl.DataFrame":
    """One row an attempt: its worst comparison that is rejected, with the attempt's conditions and consent."""
    import polars as pl

    lake, scope = source.lake, source.scope
    pair = ["drop_id", "attempt_id", "reference_id"]
    attempts = lake.scan(of_modality(ATTEMPT_OUTCOMES, source.modality), scope.grid(scope.build)).drop(
        "score", "device_score", "build_id", "subject_id"
    )
    baseline = scope.grid(scope.baseline) if scope.baseline else []
    before = lake.scan(COMPARISONS, baseline).select(*pair, baseline_score="score")
    comparator = comparator_of(source)
    is_rejected = ~comparator.accepts(pl.col("score"), pl.col("decision_threshold"))
    if scope.is_recorded:
        is_rejected = pl.col("outcome") == NON_MATCH
    return (
        lake.scan(COMPARISONS, scope.grid(scope.build))
        .filter(mated())
        .select(*pair, "subject_id", "score", "device_score")
        .join(attempts, on=["drop_id", "attempt_id"])
        .filter(is_rejected)
        .sort(comparator.oriented(pl.col("score")), *pair)
        .unique(["drop_id", "attempt_id"], keep="first", maintain_order=True)
        .sort(pl.int_range(pl.len()).over("subject_id"), maintain_order=True)
        .head(limit)
        .join(before, on=pair, how="left", maintain_order="left")
        .collect()
    )


def _has_agreed(row: Mapping[str, Any], consents: Consents) -> bool:
    """Whether the attempt's subject agreed, by the attempt's outcome and by everything else that the lake holds."""
    return bool(row["has_image_consent"]) and row["subject_id"] in consents.agreed


def _reference_frame(lake: Lake, row: Mapping[str, Any]) -> str | None:
    """The first image of the subject's own reference that the attempt was compared with."""
    import polars as pl

    enrols = lake.read(VALIDATED_ENROLS, TableKey(drop=row["drop_id"])).filter(
        (pl.col("reference_id") == row["reference_id"]) & (pl.col("subject_id") == row["subject_id"])
    )
    frames = enrols.filter(pl.col("frame").is_not_null()).sort("event_id")["frame"]
    return None if frames.is_empty() else str(frames[0])


def picture_of(data: bytes, *, side: int = SIDE_PX, kind: Literal["png", "webp"] = "png") -> Picture:
    """Draw an encoded image anew, small enough for a square; words where it cannot be decoded.

    Args:
        side: of the square, in pixels.
        kind: how it is encoded.
    """
    from PIL import Image

    from cv_quality.drops.images import decode_image

    try:
        image = Image.fromarray(decode_image(data))
    except FrameError as error:
        return Picture(uri=None, placeholder=f"{UNREADABLE} ({error.reason})")
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, format=kind, **ENCODING[kind])
    return Picture(uri=data_uri(buffer.getvalue(), kind=kind))


def pictures_of(
    source: ReportSource,
    frames: Iterable[FrameName],
    *,
    consents: Consents,
    draw: Callable[[bytes], Picture] = picture_of,
) -> dict[FrameName, Picture]:
    """Read the pictures of frames that may be shown, and the words in place of those that show somebody else too.

    Args:
        frames: of subjects who agreed.
        consents: as `cv_quality.drops.consent.read_consents` gives them.
        draw: draws an encoded image anew.
    """
    wanted = set(frames)
    shown = read_shown(source.lake, source.landing, wanted, consents=consents)
    indexed = {
        (drop, frame)
        for drop in {drop for drop, _ in wanted}
        for frame in source.lake.read(FRAME_INDEX, TableKey(drop=drop), columns=["frame"])["frame"]
    }
    hidden = dict.fromkeys(wanted & indexed, Picture(uri=None, placeholder=NO_CONSENT))
    gone = Picture(uri=None, placeholder=GONE)
    return hidden | {name: gone if data is None else draw(data) for name, data in shown.items()}


def _failure(item: _Candidate, pictures: Mapping[FrameName, Picture], *, modality: Modality) -> PicturedFailure:
    row = item.row
    copied = ("attempt_id", "drop_id", "subject_id", "device_model", "score", "baseline_score", "device_score")

    return PicturedFailure(
        **{name: row[name] for name in copied},
        conditions=_conditions(row, modality),
        has_image_consent=item.has_agreed,
        probe=item.picture(item.frame, pictures),
        reference=item.picture(item.reference_frame, pictures),
    )


def _conditions(row: Mapping[str, Any], modality: Modality) -> tuple[str, ...]:
    return tuple(words for item in modality.conditions if (words := item.words(row[item.name])))
