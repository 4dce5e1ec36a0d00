"""The model registry: one YAML file a build, read strictly, and model files that are used only if their digest fits.

A registry is a folder or an `s3://` prefix. How a model file is loaded is the business of
`cv_quality.inference.runners`; the steps before it are parsed in `cv_quality.inference.preprocessing`.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeGuard, cast, get_args

import yaml

from cv_quality.errors import ModelError, ObjectNotFound, RegistryError, near
from cv_quality.inference.preprocessing import Step, parse_steps
from cv_quality.lake.store import open_store
from cv_quality.settings import S3Options

ModelFormat = Literal["torch_export", "onnx"]

_BUILD_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MODEL_KEYS = frozenset({"format", "file", "sha256", "embedding_dim", "decision_threshold", "preprocessing"})
_REQUIRED = _MODEL_KEYS | {"build_id", "modality", "follows"}
_OPTIONAL = frozenset({"detector", "flip_augment"})
_DETECTOR_KEYS = frozenset({"format", "file", "sha256", "score_threshold"})


@dataclass(frozen=True, slots=True)
class DetectorEntry:
    """A face detector that runs before the preprocessing steps; its scores lie in [0, 1]."""

    format: Literal["onnx"]
    file: str
    sha256: str
    score_threshold: float


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One build as its registry file declares it.

    Attributes:
        build_id: the build, also the name of its file.
        follows: the baseline build, or None.
        file: model file, relative to the registry, absolute, or a URI.
        sha256: hex digest of the model file.
        embedding_dim: length of an embedding.
        decision_threshold: cosine in [-1, 1]; a comparison is accepted when its score is >= this.
        preprocessing: steps in order.
        detector: face detector, or None when frames are crops already.
        flip_augment: whether the mirrored image's embedding is added.
    """

    build_id: str
    modality: str
    follows: str | None
    format: ModelFormat
    file: str
    sha256: str
    embedding_dim: int
    decision_threshold: float
    preprocessing: tuple[Step, ...]
    detector: DetectorEntry | None = None
    flip_augment: bool = False

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides an embedding: model, preprocessing, detector and mirroring.

        Two builds may share a model file and still embed differently, which the file's digest cannot show.
        """
        parts = {
            "model": self.sha256,
            "preprocessing": [repr(step) for step in self.preprocessing],
            "detector": None if self.detector is None else [self.detector.sha256, self.detector.score_threshold],
            "flip_augment": self.flip_augment,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class BuildEntry(Protocol):
    """What every build's entry says, whatever its task and modality."""

    @property
    def build_id(self) -> str: ...
    @property
    def modality(self) -> str: ...
    @property
    def follows(self) -> str | None: ...
    @property
    def sha256(self) -> str: ...
    @property
    def decision_threshold(self) -> float: ...


class ModelRegistry:
    """The builds that a folder or an `s3://` prefix describes."""

    def __init__(
        self,
        uri: str,
        *,
        modalities: Mapping[str, object] | None = None,
        s3: S3Options | None = None,
        cache: Path | None = None,
    ) -> None:
        """Open the registry.

        Args:
            uri: folder or `s3://bucket/prefix` of the entries.
            s3: endpoint options, for the registry and for every model file that an entry names by an `s3://` URI.
            cache: folder for local copies of remote files; see `open_store`.
        """
        self.uri = uri
        self._open = partial(open_store, s3=s3, cache=cache)
        self._store = self._open(uri)

    def build_ids(self) -> list[str]:
        """The known builds, sorted."""
        keys = (info.key for info in self._store.list())
        return sorted(key.removesuffix(".yaml") for key in keys if key.endswith(".yaml") and "/" not in key)

    def entry(self, build_id: str) -> ModelEntry:
        """The entry of one build.

        Raises:
            RegistryError: no such build (with the near names), or a malformed file.
        """
        known = self.build_ids()
        if build_id not in known:
            raise RegistryError(f"no build {build_id!r} in the registry {self.uri}; {near(build_id, known)}")
        return parse_model_entry(self._store.read_bytes(f"{build_id}.yaml"), file=f"{build_id}.yaml")

    def baseline(self, build_id: str) -> str | None:
        """The build that `build_id` is measured against, or None for a first build.

        Raises:
            RegistryError: `build_id`, or the build that it follows, is unknown.
        """
        follows = self.entry(build_id).follows
        known = self.build_ids()
        if follows is not None and follows not in known:
            raise RegistryError(f"{build_id}.yaml: follows: no build {follows!r}; {near(follows, known)}")
        return follows

    def model_file(self, entry: ModelEntry | DetectorEntry) -> Path:
        """A local path of the entry's file, whose digest has just been verified.

        Raises:
            ModelError: the file is missing, or its digest is not the entry's.
        """
        path = self._located(entry.file)
        verified_bytes(path, sha256=entry.sha256)
        return path

    def _located(self, file: str) -> Path:
        """A local path for a `file` that is relative to the registry, absolute, or a URI."""
        folder, _, name = file.rpartition("/")
        is_elsewhere = "://" in file or file.startswith("/")
        try:
            return self._open(folder or "/").local(name) if is_elsewhere else self._store.local(file)
        except ObjectNotFound as error:
            raise ModelError(f"model file {file!r}: {error}; restore it or correct 'file' in the registry") from error


def verified_bytes(path: Path, *, sha256: str) -> bytes:
    """The content of a model file, read once, so that what was hashed is what gets loaded.

    Raises:
        ModelError: the digest differs.
    """
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{path.name}: expected sha256 {sha256}, found {found}: the file is damaged or was replaced; "
            "restore it, or record its digest in the registry if the change is meant"
        )
    return data


def parse_model_entry(data: bytes, *, file: str) -> ModelEntry:
    """Read one registry file strictly: no unknown, missing or mistyped key.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    fields = Fields(_yaml(data, file=file), where=file, required=_REQUIRED, optional=_OPTIONAL)
    entry = ModelEntry(
        build_id=fields.text("build_id", "a build id [A-Za-z0-9._-]{1,128}", _BUILD_ID),
        modality=fields.text("modality", "a modality", _BUILD_ID),
        follows=fields.text_or_none("follows", "a build id or null", _BUILD_ID),
        format=cast(ModelFormat, fields.choice("format", get_args(ModelFormat))),
        file=fields.text("file", "a path or URI"),
        sha256=fields.text("sha256", "64 lowercase hex digits", _SHA256),
        embedding_dim=int(fields.number("embedding_dim", "a whole number from 2 to 65536", _is_dimension)),
        decision_threshold=fields.number("decision_threshold", "a cosine from -1 to 1", lambda x: -1 <= x <= 1),
        preprocessing=parse_steps(fields.value("preprocessing"), where=f"{file}: preprocessing"),
        detector=_detector(fields.value("detector"), where=f"{file}: detector"),
        flip_augment=fields.flag("flip_augment"),
    )
    if f"{entry.build_id}.yaml" != file:
        raise RegistryError(f"{file}: build_id: expected {file.removesuffix('.yaml')!r}, found {entry.build_id!r}")
    return entry


def _detector(value: object, *, where: str) -> DetectorEntry | None:
    if value is None:
        return None
    fields = Fields(value, where=where, required=_DETECTOR_KEYS, optional=frozenset())
    fields.choice("format", ("onnx",))
    return DetectorEntry(
        format="onnx",
        file=fields.text("file", "a path or URI"),
        sha256=fields.text("sha256", "64 lowercase hex digits", _SHA256),
        score_threshold=fields.number("score_threshold", "a number from 0 to 1", lambda x: 0 <= x <= 1),
    )


def _yaml(data: bytes, *, file: str) -> object:
    try:
        return cast(object, yaml.safe_load(data))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{file}: not YAML: {error}") from error


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_dimension(value: float) -> bool:
    return isinstance(value, int) and 2 <= value <= 65536


class Fields:
    """A mapping from YAML whose keys are checked at once and whose values are checked as they are taken."""

    def __init__(self, value: object, *, where: str, required: frozenset[str], optional: frozenset[str]) -> None:
        if not isinstance(value, dict):
            raise RegistryError(f"{where}: expected a mapping, found {type(value).__name__}")
        for key in value:
            if key not in required | optional:
                raise RegistryError(f"{where}: unknown key {key!r}; {near(str(key), required | optional)}")
        missing = sorted(required - value.keys())
        if missing:
            raise RegistryError(f"{where}: missing key {', '.join(map(repr, missing))}")
        self._value: Mapping[str, object] = value
        self._where = where

    def value(self, key: str) -> object:
        return self._value.get(key)

    def text(self, key: str, expected: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.value(key)
        if not isinstance(value, str) or not value or (pattern is not None and pattern.fullmatch(value) is None):
            raise self._unexpected(key, expected)
        return value

    def text_or_none(self, key: str, expected: str, pattern: re.Pattern[str]) -> str | None:
        return None if self.value(key) is None else self.text(key, expected, pattern)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.value(key)
        if value not in allowed:
            hint = f"; {near(value, allowed)}" if isinstance(value, str) else ""
            raise RegistryError(f"{self._where}: {key}: expected {' or '.join(allowed)}, found {value!r}{hint}")
        return cast(str, value)

    def number(self, key: str, expected: str, is_allowed: Callable[[float], bool]) -> float:
        value = self.value(key)
        if not _is_number(value) or not is_allowed(value):
            raise self._unexpected(key, expected)
        return value

    def flag(self, key: str) -> bool:
        value = self._value.get(key, False)
        if not isinstance(value, bool):
            raise self._unexpected(key, "true or false")
        return value

    def _unexpected(self, key: str, expected: str) -> RegistryError:
        return RegistryError(f"{self._where}: {key}: expected {expected}, found {self.value(key)!r}")
