"""The registry entry of a video build: its model, the steps before and after it, and what its results must reach."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from cv_quality.errors import RegistryError
from cv_quality.inference.preprocessing import Step, parse_steps
from cv_quality.inference.registry import SHA256, BuildEntry, EntryFields, Fields, ModelFormat
from cv_quality.inference.video.postprocessing import MAX_LABEL, Output, PostStep, parse_postprocessing

Layout = Literal["nchw", "nhwc"]
REQUIRED_QUALITY = 0.5
"""Of a frame: J above it is what the DAVIS benchmark counts as recalled."""
_MODEL_KEYS: Final = frozenset({"format", "file", "sha256", "preprocessing"})
_OPTIONAL_MODEL_KEYS: Final = frozenset({"postprocessing", "layout", "output_name", "states", "prompt"})
_COMMON_KEYS: Final = frozenset({"classes", "requirement"})
_PROMPT_KEYS: Final = frozenset({"encoder", "embeddings", "points", "labels", "file", "sha256"})
_OPTIONAL_PROMPT_KEYS: Final = frozenset({"zeros", "scores"})
_DIGEST = "64 lowercase hex digits"


@dataclass(frozen=True, slots=True)
class EncoderEntry:
    """The model that turns a picture into embeddings, once, whatever is asked of it; where its file lies."""

    format: ModelFormat
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """What makes a model promptable: an encoder before it, and a file of points and boxes.

    Attributes:
        encoder: gives embeddings of a picture; the entry's own file is the decoder.
        embeddings: outputs of the encoder by the input of the decoder that takes them.
        points, labels: inputs of the decoder for x and y in pixels of the encoder's input, and for what each is.
        file, sha256: the prompts.
        zeros: inputs of the decoder that are fed zeros.
        scores: output that rates the masks of one prompt, of which the best is taken; None for the first mask.
    """

    encoder: EncoderEntry
    embeddings: Mapping[str, str]
    points: str
    labels: str
    file: str
    sha256: str
    zeros: tuple[str, ...] = ()
    scores: str | None = None


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """One video build as its registry file declares it.

    Attributes:
        build_id, task, modality, follows, format, file, sha256: as of `ModelEntry`.
        output: what the model gives.
        preprocessing: steps before the model, in order.
        postprocessing: steps after it, in order.
        layout: where the channels of its input and output planes are.
        output_name: the output that is read; None for the first that is no state.
        classes: labels of the output by the name of the class that the truth knows; empty where the truth's labels are
            the model's.
        states: outputs that are passed on to inputs at the next frame, by the name of the input.
        prompt: of a promptable model.
        requirement: quality of a frame (1 - loss) below which it is a miss.
        decision_threshold: none.
    """

    build_id: str
    task: str
    modality: str
    follows: str | None
    format: ModelFormat
    file: str
    sha256: str
    output: Output
    preprocessing: tuple[Step, ...]
    postprocessing: tuple[PostStep, ...] = ()
    layout: Layout = "nchw"
    output_name: str | None = None
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    prompt: PromptEntry | None = None
    requirement: float = REQUIRED_QUALITY
    decision_threshold: None = None

    @property
    def model_sha256(self) -> str:
        """The digest of the model: of its file, or of the digests of encoder, decoder and prompts together."""
        if self.prompt is None:
            return self.sha256
        parts = f"{self.prompt.encoder.sha256}{self.sha256}{self.prompt.sha256}"
        return hashlib.sha256(parts.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RecordedVideoEntry:
    """One video build that is evaluated as its devices recorded it: results in the drop, no model.

    Attributes:
        output: what the shards `results-*.tar` hold; boxes and landmarks are events.
        build_id, task, modality, follows, classes, requirement, decision_threshold: as of `VideoEntry`.
    """

    build_id: str
    task: str
    modality: str
    follows: str | None
    output: Output
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    requirement: float = REQUIRED_QUALITY
    decision_threshold: None = None
    sha256: None = None


def parse_video_entry(fields: EntryFields) -> BuildEntry:
    """Read the entry of a video build.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    fields.check(required=_MODEL_KEYS | {"output"}, optional=_OPTIONAL_MODEL_KEYS | _COMMON_KEYS)
    output = _output(fields)
    states, prompt = _names(fields, "states"), _prompt(fields, output=output)
    if states and prompt:
        raise RegistryError(f"{fields.where}: states: a promptable model has none, found {dict(states)!r}")
    return VideoEntry(
        build_id=fields.build_id,
        task=fields.task,
        modality=fields.modality.name,
        follows=fields.follows,
        format=_format(fields),
        file=fields.text("file", "a path or URI"),
        sha256=fields.text("sha256", _DIGEST, SHA256),
        output=output,
        preprocessing=parse_steps(fields.value("preprocessing"), where=f"{fields.where}: preprocessing"),
        postprocessing=parse_postprocessing(
            fields.value("postprocessing"), output=output, where=f"{fields.where}: postprocessing"
        ),
        layout=cast(Layout, fields.choice("layout", get_args(Layout))) if "layout" in fields else "nchw",
        output_name=_optional_name(fields, "output_name"),
        classes=_classes(fields, output=output),
        states=states,
        prompt=prompt,
        requirement=_requirement(fields),
    )


def parse_recorded_video_entry(fields: EntryFields) -> BuildEntry:
    """Read the entry of a video build that is evaluated as its devices recorded it.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    fields.refuse_model(_MODEL_KEYS | _OPTIONAL_MODEL_KEYS)
    fields.check(required={"output"}, optional=_COMMON_KEYS)
    output = _output(fields)
    return RecordedVideoEntry(
        build_id=fields.build_id,
        task=fields.task,
        modality=fields.modality.name,
        follows=fields.follows,
        output=output,
        classes=_classes(fields, output=output),
        requirement=_requirement(fields),
    )


def _output(fields: Fields) -> Output:
    return cast(Output, fields.choice("output", get_args(Output)))


def _format(fields: Fields) -> ModelFormat:
    return cast(ModelFormat, fields.choice("format", get_args(ModelFormat)))


def _requirement(fields: Fields) -> float:
    if "requirement" not in fields:
        return REQUIRED_QUALITY
    return fields.number("requirement", "a quality from 0 to 1", lambda value: 0 <= value <= 1)


def _optional_name(fields: Fields, key: str) -> str | None:
    return fields.text(key, "the name of an output") if key in fields else None


def _names(fields: Fields, key: str) -> dict[str, str]:
    """Names by names."""
    value = fields.value(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and name for pair in value.items() for name in pair
    ):
        raise fields.unexpected(key, "names of outputs by names of inputs")
    if len(set(value.values())) != len(value):
        raise fields.unexpected(key, "each output once")
    return value


def _classes(fields: Fields, *, output: Output) -> dict[str, tuple[int, ...]]:
    """Labels by class; a label is of one class."""
    value = fields.value("classes")
    if value is None:
        return {}
    if output != "mask":
        raise RegistryError(f"{fields.where}: classes: labels are of output mask, found output {output!r}")
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) and name for name in value):
        raise fields.unexpected("classes", "labels by the name of the class")
    classes = {name: _labels(labels, where=f"{fields.where}: classes.{name}") for name, labels in value.items()}
    owners: dict[int, str] = {}
    for name, labels in classes.items():
        for label in labels:
            if label in owners:
                raise RegistryError(f"{fields.where}: classes.{name}: label {label} is of class {owners[label]!r} too")
            owners[label] = name
    return classes


def _labels(value: object, *, where: str) -> tuple[int, ...]:
    labels = value if isinstance(value, list) else [value]
    if not labels or not all(type(label) is int and 0 <= label <= MAX_LABEL for label in labels):
        raise RegistryError(f"{where}: expected a label from 0 to {MAX_LABEL}, or a list of them, found {value!r}")
    return tuple(labels)


def _prompt(fields: EntryFields, *, output: Output) -> PromptEntry | None:
    value = fields.value("prompt")
    if value is None:
        return None
    if output != "mask":
        raise RegistryError(f"{fields.where}: prompt: promptable models give output mask, found output {output!r}")
    prompt = Fields(value, where=f"{fields.where}: prompt")
    prompt.check(required=_PROMPT_KEYS, optional=_OPTIONAL_PROMPT_KEYS)
    embeddings = _names(prompt, "embeddings")
    if not embeddings:
        raise prompt.unexpected("embeddings", "outputs of the encoder by inputs of the decoder")
    zeros = prompt.value("zeros") or []
    if not isinstance(zeros, list) or not all(isinstance(name, str) and name for name in zeros):
        raise prompt.unexpected("zeros", "a list of names of inputs")
    return PromptEntry(
        encoder=_encoder(prompt),
        embeddings=embeddings,
        points=prompt.text("points", "the name of an input"),
        labels=prompt.text("labels", "the name of an input"),
        file=prompt.text("file", "a path or URI"),
        sha256=prompt.text("sha256", _DIGEST, SHA256),
        zeros=tuple(zeros),
        scores=_optional_name(prompt, "scores"),
    )


def _encoder(prompt: Fields) -> EncoderEntry:
    fields = Fields(prompt.value("encoder"), where=f"{prompt.where}.encoder")
    fields.check(required={"format", "file", "sha256"})
    return EncoderEntry(
        format=_format(fields),
        file=fields.text("file", "a path or URI"),
        sha256=fields.text("sha256", _DIGEST, SHA256),
    )
