"""The model registry: one YAML file a build, read strictly, and model files that are used only if their digest fits.

A registry is a folder or an `s3://` prefix. How a model file is loaded is the business of
`cv_quality.inference.runners`; the steps before it are parsed in `cv_quality.inference.preprocessing`. What an entry
must say beyond the keys of every build is its modality's to check.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, cast, get_args

import yaml

from cv_quality.errors import ModelError, ObjectNotFound, RegistryError, near
from cv_quality.inference.preprocessing import Step, is_number, parse_steps
from cv_quality.inference.probe import Prover
from cv_quality.lake.kept import Kept
from cv_quality.lake.schema import IDENTIFIER
from cv_quality.lake.store import ObjectInfo, open_store
from cv_quality.modality import Modality
from cv_quality.settings import S3Options

ModelFormat = Literal["torch_export", "onnx"]

SHA256 = re.compile(r"[0-9a-f]{64}")
_BUILD_ID = re.compile(IDENTIFIER)
_MODEL_KEYS = frozenset({"format", "file", "sha256", "embedding_dim", "decision_threshold", "preprocessing"})
_OPTIONAL_MODEL_KEYS = frozenset({"detector", "flip_augment"})
_COMMON_KEYS = frozenset({"build_id", "modality", "follows"})
_OPTIONAL_COMMON_KEYS = frozenset({"task", "recorded"})
_NOT_RECORDED = _MODEL_KEYS - {"decision_threshold"} | _OPTIONAL_MODEL_KEYS
_HOW = {False: "is evaluated by its model", True: "as recorded on its devices"}
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
        task, modality: what is measured of it, and what its samples are.
        follows: the baseline build, or None.
        file, sha256: model file, relative to the registry, absolute, or a URI, and its hex digest.
        embedding_dim: length of an embedding.
        decision_threshold: the score at which a comparison is accepted, within the range of the modality's scores.
        preprocessing: steps in order.
        detector: face detector, or None when frames are crops already.
        flip_augment: whether the mirrored image's embedding is added.
    """

    build_id: str
    task: str
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


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """One build that is evaluated as its devices recorded it: what they decided and scored, without a model.

    Attributes:
        build_id, task, modality, follows: as of `ModelEntry`.
        decision_threshold: the devices' own; decides attempts whose decision was not logged. None where it is unknown.
    """

    build_id: str
    task: str
    modality: str
    follows: str | None
    decision_threshold: float | None = None
    sha256: None = None


class BuildEntry(Protocol):
    """What every build's entry says, whatever its task and modality.

    Attributes:
        sha256: of its model's file; None for a build that is evaluated as its devices recorded it.
    """

    @property
    def build_id(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def modality(self) -> str: ...
    @property
    def follows(self) -> str | None: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def decision_threshold(self) -> float | None: ...


class ModelFile(Protocol):
    """Where a file of a registry lies, and what it must be."""

    @property
    def file(self) -> str: ...
    @property
    def sha256(self) -> str: ...


class ModelRegistry:
    """The builds that a folder or an `s3://` prefix describes."""

    def __init__(
        self,
        uri: str,
        *,
        modalities: Mapping[str, Modality],
        s3: S3Options | None = None,
        cache: Path | None = None,
    ) -> None:
        """Open the registry.

        Args:
            uri: folder or `s3://bucket/prefix` of the entries.
            modalities: those known, by name; each reads the entries of its builds.
            s3: endpoint options, for the registry and for every model file that an entry names by an `s3://` URI.
            cache: folder for local copies of remote files (see `open_store`), and for what models were found to keep.
        """
        self.uri = uri
        self.modalities = modalities
        self.cache = cache
        self.prover = Prover(cache / "proven_models" if cache else None)
        self._open = partial(open_store, s3=s3, cache=cache)
        self._store = self._open(uri)
        self._entries: Kept[BuildEntry] = Kept()

    def build_ids(self) -> list[str]:
        """The known builds, sorted."""
        return sorted(self._files())

    def _files(self) -> dict[str, ObjectInfo]:
        """The file of each known build."""
        files = (info for info in self._store.list() if info.key.endswith(".yaml") and "/" not in info.key)
        return {info.key.removesuffix(".yaml"): info for info in files}

    def _file(self, build_id: str) -> ObjectInfo:
        known = self._files()
        if build_id not in known:
            raise RegistryError(f"no build {build_id!r} in the registry {self.uri}; {near(build_id, known)}")
        return known[build_id]

    def entry(self, build_id: str) -> BuildEntry:
        """The entry of one build.

        Raises:
            RegistryError: no such build (with the near names), a malformed file, a modality that no task evaluates, or
                a key that the modality needs and the file lacks.
        """
        file = self._file(build_id)

        def read() -> BuildEntry:
            return parse_entry(self._store.read_bytes(file.key), file=file.key, modalities=self.modalities)

        return self._entries.value(file, read)

    def entry_file(self, build_id: str) -> bytes:
        """The entry of one build as it is written.

        Raises:
            RegistryError: no such build, with the near names.
        """
        return self._store.read_bytes(self._file(build_id).key)

    def model_entry(self, build_id: str) -> ModelEntry:
        """The entry of a build whose model is a file that turns frames into vectors.

        Raises:
            RegistryError: as of `entry`, or builds of its modality have no such model.
        """
        entry = self.entry(build_id)
        if not isinstance(entry, ModelEntry):
            kind = "evaluated as recorded" if entry.sha256 is None else f"of modality {entry.modality}"
            raise RegistryError(f"{build_id}.yaml: a build {kind} names no model file of vectors")
        return entry

    def baseline(self, build_id: str) -> str | None:
        """The build that `build_id` is measured against, or None for a first build.

        Raises:
            RegistryError: `build_id`, or the build that it follows, is unknown; or one of them is evaluated by its
                model and the other as recorded.
        """
        follows = self.entry(build_id).follows
        known = self.build_ids()
        if follows is not None and follows not in known:
            raise RegistryError(f"{build_id}.yaml: follows: no build {follows!r}; {near(follows, known)}")
        if follows is not None and self.is_recorded(follows) is not self.is_recorded(build_id):
            how = [f"{name} {_HOW[self.is_recorded(name)]}" for name in (build_id, follows)]
            raise RegistryError(
                f"{build_id}.yaml: follows: {how[0]}, {how[1]}: their numbers do not compare; follow a build that is "
                "evaluated alike, or null"
            )
        return follows

    def is_recorded(self, build_id: str) -> bool:
        """Tell whether a build is evaluated as its devices recorded it, not by a model.

        Raises:
            RegistryError: as of `entry`.
        """
        return self.entry(build_id).sha256 is None

    def model_file(self, entry: "ModelFile") -> Path:
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


def parse_entry(data: bytes, *, file: str, modalities: Mapping[str, Modality]) -> BuildEntry:
    """Read one registry file strictly: no unknown, missing or mistyped key.

    Args:
        file: its name, that of the build and `.yaml`.
        modalities: those known, by name; that of the build reads what only its own entries have.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    fields = EntryFields(load_yaml(data, file=file), where=file, modalities=modalities)
    if f"{fields.build_id}.yaml" != file:
        raise RegistryError(f"{file}: build_id: expected {file.removesuffix('.yaml')!r}, found {fields.build_id!r}")
    modality = fields.modality
    return modality.parse_recorded_entry(fields) if fields.flag("recorded") else modality.parse_entry(fields)


def parse_recorded_entry(fields: "EntryFields", *, more: Set[str] = frozenset()) -> RecordedEntry:
    """Read the entry of a build whose decisions and scores are its devices'; the drops declare the scores' range.

    Args:
        fields: of the registry file.
        more: keys that the modality reads besides.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    fields.refuse_model(_NOT_RECORDED)
    fields.check(required=frozenset(), optional=frozenset({"decision_threshold"}) | more)
    threshold = None
    if fields.value("decision_threshold") is not None:
        threshold = fields.number("decision_threshold", "a finite number or null", math.isfinite)
    return RecordedEntry(fields.build_id, fields.task, fields.modality.name, fields.follows, threshold)


def parse_model_entry(fields: "EntryFields") -> ModelEntry:
    """Read the entry of a build whose model is a file that turns frames into vectors.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    fields.check(required=_MODEL_KEYS, optional=_OPTIONAL_MODEL_KEYS)
    expected = "a whole number from 2 to 65536"
    dimension = fields.number("embedding_dim", expected, lambda x: isinstance(x, int) and 2 <= x <= 65536)
    return ModelEntry(
        build_id=fields.build_id,
        task=fields.task,
        modality=fields.modality.name,
        follows=fields.follows,
        format=cast(ModelFormat, fields.choice("format", get_args(ModelFormat))),
        file=fields.text("file", "a path or URI"),
        sha256=fields.text("sha256", "64 lowercase hex digits", SHA256),
        embedding_dim=int(dimension),
        decision_threshold=fields.score("decision_threshold"),
        preprocessing=parse_steps(fields.value("preprocessing"), where=f"{fields.where}: preprocessing"),
        detector=parse_detector(fields.value("detector"), where=f"{fields.where}: detector"),
        flip_augment=fields.flag("flip_augment"),
    )


def parse_detector(value: object, *, where: str) -> DetectorEntry | None:
    """Read the face detector of an entry, where it has one; `where` names it in errors.

    Raises:
        RegistryError: names the key, what was expected and what was found.
    """
    if value is None:
        return None
    fields = Fields(value, where=where)
    fields.check(required=_DETECTOR_KEYS)
    fields.choice("format", ("onnx",))
    return DetectorEntry(
        format="onnx",
        file=fields.text("file", "a path or URI"),
        sha256=fields.text("sha256", "64 lowercase hex digits", SHA256),
        score_threshold=fields.number("score_threshold", "a number from 0 to 1", lambda x: 0 <= x <= 1),
    )


def load_yaml(data: bytes, *, file: str) -> object:
    """Read a YAML file.

    Raises:
        RegistryError: the bytes are no YAML; `file` names them.
    """
    try:
        return cast(object, yaml.safe_load(data))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{file}: not YAML: {error}") from error


class Fields:
    """A mapping from YAML whose values are checked as they are taken."""

    def __init__(self, value: object, *, where: str) -> None:
        if not isinstance(value, dict):
            raise RegistryError(f"{where}: expected a mapping, found {type(value).__name__}")
        self._value: Mapping[str, object] = value
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def check(self, *, required: Set[str], optional: Set[str] = frozenset()) -> None:
        """Refuse a key that is neither required nor optional, and the lack of a required one.

        Raises:
            RegistryError: names the key.
        """
        for key in self._value:
            if key not in required | optional:
                raise RegistryError(f"{self.where}: unknown key {key!r}; {near(str(key), required | optional)}")
        missing = sorted(required - self._value.keys())
        if missing:
            raise RegistryError(f"{self.where}: missing key {', '.join(map(repr, missing))}")

    def value(self, key: str) -> object:
        return self._value.get(key)

    def text(self, key: str, expected: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.value(key)
        if not isinstance(value, str) or not value or (pattern is not None and pattern.fullmatch(value) is None):
            raise self.unexpected(key, expected)
        return value

    def text_or_none(self, key: str, expected: str, pattern: re.Pattern[str]) -> str | None:
        return None if self.value(key) is None else self.text(key, expected, pattern)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.value(key)
        if value not in allowed:
            hint = f"; {near(value, allowed)}" if isinstance(value, str) else ""
            raise RegistryError(f"{self.where}: {key}: expected {' or '.join(allowed)}, found {value!r}{hint}")
        return cast(str, value)

    def number(self, key: str, expected: str, is_allowed: Callable[[float], bool]) -> float:
        value = self.value(key)
        if not is_number(value) or not is_allowed(value):
            raise self.unexpected(key, expected)
        return value

    def flag(self, key: str) -> bool:
        value = self._value.get(key, False)
        if not isinstance(value, bool):
            raise self.unexpected(key, "true or false")
        return value

    def unexpected(self, key: str, expected: str) -> RegistryError:
        """Make the error that names the key, what was expected and what was found."""
        return RegistryError(f"{self.where}: {key}: expected {expected}, found {self.value(key)!r}")


class EntryFields(Fields):
    """The fields of a registry file; those that every build has are attributes.

    Attributes:
        build_id: the build.
        task: what is measured of it; where the file does not say, the task that evaluates the modality.
        modality: what its samples are.
        follows: the baseline build, or None.
    """

    def __init__(self, value: object, *, where: str, modalities: Mapping[str, Modality]) -> None:
        super().__init__(value, where=where)
        self.build_id = self.text("build_id", "a build id [A-Za-z0-9._-]{1,128}", _BUILD_ID)
        self.modality = modalities[self.choice("modality", tuple(modalities))]
        self.task = self.choice("task", (self.modality.task,)) if "task" in self else self.modality.task
        self.follows = self.text_or_none("follows", "a build id or null", _BUILD_ID)

    def check(self, *, required: Set[str], optional: Set[str] = frozenset()) -> None:
        """Refuse a key that a build of the modality has no use for, and the lack of one that it needs.

        Args:
            required, optional: keys beside those of every build.

        Raises:
            RegistryError: names the file, the key and the modality.
        """
        try:
            super().check(required=required | _COMMON_KEYS, optional=optional | _OPTIONAL_COMMON_KEYS)
        except RegistryError as error:
            raise RegistryError(f"{error} (a build of modality {self.modality.name})") from None

    def refuse_model(self, keys: Set[str]) -> None:
        """Refuse keys of a model in the entry of a build that is evaluated as recorded.

        Raises:
            RegistryError: names the first of them.
        """
        for key in sorted(keys):
            if key in self:
                raise RegistryError(
                    f"{self.where}: {key}: a build that is evaluated as recorded has no model; take {key} out, or "
                    "'recorded: true', to run the model on the frames"
                )

    def score(self, key: str) -> float:
        """A score within the modality's range."""
        low, high = self.modality.bounds["score"]
        least, most = -math.inf if low is None else low, math.inf if high is None else high
        return self.number(key, f"a score from {least:g} to {most:g}", lambda value: least <= value <= most)
