"""The registry entry of a liveness build: its models, what each sees of a frame, and how its output becomes a score.

What an entry says is done in `cv_quality.inference.liveness.scorer`.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Final, cast, get_args

from cv_quality.errors import RegistryError
from cv_quality.inference.preprocessing import Step, is_number, parse_steps
from cv_quality.inference.registry import (
    SHA256,
    DetectorEntry,
    EntryFields,
    Fields,
    ModelFormat,
    parse_detector,
)

ALGORITHM: Final = "liveness-1"
"""Part of the digest of a build: change it whenever the same frame would get another score."""
FACE_CROP: Final = "face_crop"
MAX_CROP: Final = 20.0
PARITY_TOLERANCE: Final = 0.02
NO_FACE, NON_FINITE = "no_face", "non_finite"
SCORE_FAILURES: Final = (NO_FACE, NON_FINITE)
"""Why a frame that could be read has no score."""


@dataclass(frozen=True, slots=True)
class LivenessModel:
    """One model of a build.

    Attributes:
        format, file, sha256: as of `ModelEntry`.
        face_crop: how many times as large as the face's box the part of the frame is that it sees; None sees the frame.
        preprocessing: steps in order, after that.
    """

    format: ModelFormat
    file: str
    sha256: str
    face_crop: float | None
    preprocessing: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class LivenessEntry:
    """One liveness build that is evaluated by its models.

    Attributes:
        build_id, task, modality, follows: as of `ModelEntry`.
        sha256: of all that makes a score: the settings, and the digests of the models.
        decision_threshold: a presentation is taken for bona fide when its score is at least this.
        models: each gives a score; the build's is their mean.
        bona_fide: which output of a softmax is the score; None where models give one number, which is it.
        detector: finds the face where the drop does not say where it is; None where it must.
        parity_tolerance: how far a device's score may lie from the models'.
        profiles: that the build is held against, by name or file.
    """

    build_id: str
    task: str
    modality: str
    follows: str | None
    sha256: str
    decision_threshold: float
    models: tuple[LivenessModel, ...]
    bona_fide: int | None
    detector: DetectorEntry | None = None
    parity_tolerance: float = PARITY_TOLERANCE
    profiles: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        return ", ".join(dict.fromkeys(model.format for model in self.models))

    @property
    def file(self) -> str:
        return ", ".join(model.file for model in self.models)


def parse_liveness_entry(fields: EntryFields) -> LivenessEntry:
    """Read the entry of a liveness build with models, but for the profiles that it may name.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    if "models" not in fields:
        raise RegistryError(
            f"{fields.where}: expected 'models', or 'recorded: true' for a build that is evaluated as its devices "
            "recorded it (with a decision_threshold where drops hold scores without decisions)"
        )
    fields.check(
        required={"models", "score", "decision_threshold"}, optional={"detector", "parity_tolerance", "profiles"}
    )
    bona_fide = _score_form(fields)
    models, detector = _models(fields), parse_detector(fields.value("detector"), where=f"{fields.where}: detector")
    if detector is not None and all(model.face_crop is None for model in models):
        raise RegistryError(f"{fields.where}: detector: no model has a face_crop, so none needs a face; take it out")
    nameless = tuple(replace(model, file="") for model in models)
    made_of = (ALGORITHM, nameless, bona_fide, detector and replace(detector, file=""))
    return LivenessEntry(
        build_id=fields.build_id,
        task=fields.task,
        modality=fields.modality.name,
        follows=fields.follows,
        sha256=hashlib.sha256(repr(made_of).encode()).hexdigest(),
        decision_threshold=_threshold(fields, is_share=bona_fide is not None),
        models=models,
        bona_fide=bona_fide,
        detector=detector,
        parity_tolerance=_tolerance(fields),
    )


def _threshold(fields: EntryFields, *, is_share: bool) -> float:
    expected = "a number from 0 to 1, as softmaxes are" if is_share else "a finite number"
    return float(fields.number("decision_threshold", expected, lambda value: not is_share or 0 <= value <= 1))


def _tolerance(fields: EntryFields) -> float:
    if "parity_tolerance" not in fields:
        return PARITY_TOLERANCE
    return float(fields.number("parity_tolerance", "a number from 0 on", lambda value: value >= 0))


def _score_form(fields: EntryFields) -> int | None:
    """Which output of a softmax is the score; None for a scalar."""
    value = fields.value("score")
    if value == "scalar":
        return None
    index = value.get("softmax") if isinstance(value, dict) and set(value) == {"softmax"} else None
    if type(index) is not int or not 0 <= index < 1_000:
        raise fields.unexpected("score", "scalar, or {softmax: INDEX} with the output that is bona fide, from 0")
    return index


def _models(fields: EntryFields) -> tuple[LivenessModel, ...]:
    value = fields.value("models")
    if not isinstance(value, list) or not value:
        raise fields.unexpected("models", "a list of models")
    return tuple(_model(item, where=f"{fields.where}: models[{number}]") for number, item in enumerate(value))


def _model(value: object, *, where: str) -> LivenessModel:
    found = Fields(value, where=where)
    found.check(required={"format", "file", "sha256", "preprocessing"})
    face_crop, steps = _face_crop(found.value("preprocessing"), where=f"{where}: preprocessing")
    return LivenessModel(
        format=cast(ModelFormat, found.choice("format", get_args(ModelFormat))),
        file=found.text("file", "a path or URI"),
        sha256=found.text("sha256", "64 lowercase hex digits", SHA256),
        face_crop=face_crop,
        preprocessing=parse_steps(steps, where=f"{where}: preprocessing"),
    )


def _face_crop(steps: object, *, where: str) -> tuple[float | None, object]:
    """The factor of a first step `face_crop`, and the steps after it."""
    first = steps[0] if isinstance(steps, list) and steps else None
    if not isinstance(first, dict) or set(first) != {FACE_CROP}:
        return None, steps
    factor = first[FACE_CROP]
    if not is_number(factor) or not 0 < factor <= MAX_CROP:
        raise RegistryError(
            f"{where}[0].{FACE_CROP}: expected a number above 0 and up to {MAX_CROP:g}, found {factor!r}"
        )
    return float(factor), cast("list[object]", steps)[1:]
