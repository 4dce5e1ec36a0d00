"""The registry says no precisely: file, key, what was expected, and the near name."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cv_quality.errors import ModelError, RegistryError
from cv_quality.inference.framing import Resize
from cv_quality.inference.preprocessing import Gray, Scale, ToneCurve
from cv_quality.inference.registry import EntryFields, ModelRegistry
from cv_quality.settings import S3Options
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.modalities import MODALITIES
from cv_quality_tests.servers import CREDENTIALS, moto_server, s3_client

Registered = Callable[..., str]


def test_an_entry_is_read_as_it_was_written(registered: Registered) -> None:
    uri = registered(
        b"weights",
        build_id="face-1.2",
        follows="face-1.1",
        preprocessing=[
            "gray",
            {"tone_curve": {"below_lux": 10, "gamma": 0.5}},
            {"resize": [64, 48]},
            {"scale": {"mean": [0.1, 0.2, 0.3], "std": 2}},
        ],
        detector={"format": "onnx", "file": "d.onnx", "sha256": "0" * 64, "score_threshold": 0.6},
        flip_augment=True,
    )
    entry = ModelRegistry(uri, modalities=MODALITIES).model_entry("face-1.2")
    assert entry.preprocessing == (
        Gray(),
        ToneCurve(below_lux=10.0, gamma=0.5),
        Resize(width_px=64, height_px=48),
        Scale(mean=(0.1, 0.2, 0.3), std=(2.0,)),
    )
    assert (entry.follows, entry.flip_augment, entry.decision_threshold) == ("face-1.1", True, 0.4)
    assert entry.detector is not None
    assert entry.detector.score_threshold == 0.6


def test_builds_are_listed_sorted_and_nested_files_are_not_builds(registered: Registered, tmp_path: Path) -> None:
    for build_id in ("b-2", "a-1"):
        registered(b"x", build_id=build_id)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "z-0.yaml").write_text("{}")
    assert ModelRegistry(str(tmp_path), modalities=MODALITIES).build_ids() == ["a-1", "b-2"]


def test_an_unknown_build_suggests_the_near_one(registered: Registered) -> None:
    registry = ModelRegistry(registered(b"x", build_id="face-1.1"), modalities=MODALITIES)
    with pytest.raises(RegistryError, match=r"face-1\.l.*did you mean face-1\.1"):
        registry.entry("face-1.l")


def test_the_baseline_is_the_build_that_is_followed(registered: Registered) -> None:
    registered(b"x", build_id="face-1.0")
    registry = ModelRegistry(registered(b"x", build_id="face-1.1", follows="face-1.0"), modalities=MODALITIES)
    assert registry.baseline("face-1.1") == "face-1.0"
    assert registry.baseline("face-1.0") is None


def test_a_baseline_that_is_not_registered_is_an_error(registered: Registered) -> None:
    registry = ModelRegistry(registered(b"x", build_id="face-1.1", follows="face-1.0"), modalities=MODALITIES)
    with pytest.raises(RegistryError, match=r"face-1\.1\.yaml: follows"):
        registry.baseline("face-1.1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decision_treshold": 0.3}, r"unknown key 'decision_treshold'; did you mean decision_threshold"),
        ({"sha256": "absent"}, r"missing key 'sha256' \(a build of modality face\)"),
        ({"task": "liveness"}, r"task: expected verification, found 'liveness'"),
        ({"follows": "absent"}, r"missing key 'follows'"),
        ({"sha256": "ABC"}, r"sha256: expected 64 lowercase hex digits, found 'ABC'"),
        ({"embedding_dim": "64"}, r"embedding_dim: expected a whole number"),
        ({"embedding_dim": 64.0}, r"embedding_dim: expected a whole number"),
        ({"embedding_dim": True}, r"embedding_dim: expected a whole number"),
        ({"decision_threshold": 1.5}, r"decision_threshold: expected a score from -1 to 1"),
        ({"decision_threshold": float("nan")}, r"decision_threshold: expected a score from -1 to 1"),
        ({"format": "onxx"}, r"format: expected torch_export or onnx, found 'onxx'; did you mean onnx"),
        ({"format": "pickle"}, r"format: expected torch_export or onnx"),
        ({"modality": "iris"}, r"modality: expected face, found 'iris'"),
        ({"follows": "../x"}, r"follows: expected a build id"),
        ({"flip_augment": "yes"}, r"flip_augment: expected true or false"),
        ({"preprocessing": []}, r"preprocessing: expected a list of steps"),
        ({"preprocessing": ["grey"]}, r"preprocessing\[0\]: unknown step 'grey'; did you mean gray"),
        ({"preprocessing": [{"gray": 1}]}, r"preprocessing\[0\]\.gray: expected no arguments"),
        ({"preprocessing": ["gray", {"resize": [0, 4]}]}, r"preprocessing\[1\]\.resize: expected \[width, height\]"),
        ({"preprocessing": [{"resize": [4, 4], "gray": None}]}, r"expected a step name or a mapping with one key"),
        ({"preprocessing": [{"scale": {"mean": 0, "sdt": 1}}]}, r"unknown key 'sdt'; did you mean std"),
        ({"preprocessing": [{"scale": {"mean": 0}}]}, r"scale: missing key 'std'"),
        ({"preprocessing": [{"scale": {"mean": 0, "std": 0}}]}, r"scale\.std: expected numbers > 0"),
        (
            {"preprocessing": [{"tone_curve": {"below_lux": 10, "gamma": 0}}]},
            r"tone_curve\.gamma: expected a number > 0",
        ),
        ({"preprocessing": [{"tone_curve": {"below_lux": -1, "gamma": 1}}]}, r"tone_curve\.below_lux"),
        ({"detector": {"format": "onnx"}}, r"detector: missing key"),
        ({"detector": "yunet"}, r"detector: expected a mapping"),
    ],
)
def test_a_malformed_entry_names_its_file_and_key(
    registered: Registered, changes: dict[str, Any], message: str
) -> None:
    registry = ModelRegistry(registered(b"x", **changes), modalities=MODALITIES)
    with pytest.raises(RegistryError, match=r"toy-1\.yaml: .*" + message):
        registry.entry("toy-1")


def test_an_entry_without_a_task_belongs_to_that_of_its_modality(registered: Registered) -> None:
    registry = ModelRegistry(registered(b"x"), modalities=MODALITIES)
    assert registry.entry("toy-1").task == "verification"
    registered(b"x", task="verification")
    assert registry.entry("toy-1").task == "verification"


@dataclass(frozen=True, slots=True)
class GaitEntry:
    """A build that has no model file."""

    build_id: str
    task: str
    modality: str
    follows: str | None
    sha256: str
    decision_threshold: float


def gait_entry(fields: EntryFields) -> GaitEntry:
    fields.check(required={"decision_threshold"})
    common = (fields.build_id, fields.task, fields.modality.name, fields.follows)
    return GaitEntry(*common, "0" * 64, fields.score("decision_threshold"))


ANY_SCORE = replace(FACE.comparator, score_range=(0.0, math.inf), accepts_none=math.inf, accepts_all=0.0)
GAIT = replace(FACE, name="gait", conditions=(), comparator=ANY_SCORE, parse_entry=gait_entry)
NO_MODEL = dict.fromkeys(("format", "file", "sha256", "embedding_dim", "preprocessing"), "absent")


def test_a_modality_reads_only_the_keys_that_its_builds_have(registered: Registered) -> None:
    uri = registered(b"", modality="gait", decision_threshold=40, **NO_MODEL)
    registry = ModelRegistry(uri, modalities=MODALITIES | {"gait": GAIT})
    assert registry.entry("toy-1").decision_threshold == 40
    with pytest.raises(RegistryError, match=r"toy-1\.yaml: .*gait"):
        registry.model_entry("toy-1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "onnx"}, r"unknown key 'format'.* \(a build of modality gait\)"),
        ({"decision_threshold": "absent"}, r"missing key 'decision_threshold' \(a build of modality gait\)"),
        ({"decision_threshold": -0.1}, r"decision_threshold: expected a score from 0 to inf, found -0\.1"),
    ],
)
def test_what_a_modality_asks_of_an_entry_is_named_with_it(
    registered: Registered, changes: dict[str, Any], message: str
) -> None:
    uri = registered(b"", **NO_MODEL | {"modality": "gait", "decision_threshold": 1} | changes)
    with pytest.raises(RegistryError, match=r"toy-1\.yaml: " + message):
        ModelRegistry(uri, modalities={"gait": GAIT}).entry("toy-1")


def test_a_file_may_not_carry_another_builds_name(registered: Registered, tmp_path: Path) -> None:
    registry = ModelRegistry(registered(b"x"), modalities=MODALITIES)
    (tmp_path / "toy-1.yaml").rename(tmp_path / "toy-2.yaml")
    with pytest.raises(RegistryError, match=r"toy-2\.yaml: build_id: expected 'toy-2', found 'toy-1'"):
        registry.entry("toy-2")


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "!!python/object/apply:os.getcwd []", "\x00"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "toy.yaml").write_text(text)
    with pytest.raises(RegistryError, match=r"toy\.yaml"):
        ModelRegistry(str(tmp_path), modalities=MODALITIES).entry("toy")


def test_an_altered_model_file_is_refused_with_both_digests(registered: Registered, tmp_path: Path) -> None:
    registry = ModelRegistry(registered(b"weights"), modalities=MODALITIES)
    entry = registry.model_entry("toy-1")
    assert registry.model_file(entry).read_bytes() == b"weights"
    (tmp_path / "toy-1.pt2").write_bytes(b"other weights")
    with pytest.raises(ModelError, match=rf"expected sha256 {entry.sha256}, found [0-9a-f]{{64}}"):
        registry.model_file(entry)


def test_a_missing_model_file_is_named(registered: Registered) -> None:
    registry = ModelRegistry(registered(b"x", file="gone.pt2"), modalities=MODALITIES)
    with pytest.raises(ModelError, match=r"gone\.pt2"):
        registry.model_file(registry.model_entry("toy-1"))


def test_a_model_file_may_lie_elsewhere_by_absolute_path(
    registered: Registered, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("models") / "m.pt2"
    elsewhere.write_bytes(b"weights")
    registry = ModelRegistry(registered(b"weights", file=str(elsewhere)), modalities=MODALITIES)
    assert registry.model_file(registry.model_entry("toy-1")) == elsewhere


def test_entries_and_model_files_on_s3_are_read_through_the_endpoint(
    registered: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    folder = Path(registered(b"weights", file="s3://models/faces/m.pt2"))
    with moto_server(tmp_path / "moto.log") as endpoint:
        client = s3_client(endpoint)
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="faces/m.pt2", Body=b"weights")
        client.put_object(Bucket="models", Key="registry/toy-1.yaml", Body=(folder / "toy-1.yaml").read_bytes())
        for uri in (str(folder), "s3://models/registry"):
            registry = ModelRegistry(
                uri, modalities=MODALITIES, s3=S3Options(endpoint_url=endpoint), cache=tmp_path / "cache"
            )
            path = registry.model_file(registry.model_entry("toy-1"))
            assert path.read_bytes() == b"weights"
            assert path.is_relative_to(tmp_path / "cache")


def test_the_example_registry_of_the_documentation_is_well_formed() -> None:
    folder = Path(__file__).parents[2] / "docs" / "examples" / "registry-faces"
    entry = ModelRegistry(str(folder), modalities=MODALITIES).model_entry("mobilefacenet")
    assert entry.embedding_dim == 128
    assert entry.detector is not None


RECORDED = NO_MODEL | {"recorded": True}


def test_a_build_as_recorded_has_no_model_and_any_finite_threshold(registered: Registered) -> None:
    registry = ModelRegistry(registered(b"", decision_threshold=60, **RECORDED), modalities=MODALITIES)
    entry = registry.entry("toy-1")
    assert (entry.decision_threshold, entry.sha256, registry.is_recorded("toy-1")) == (60, None, True)
    with pytest.raises(RegistryError, match="a build evaluated as recorded names no model file"):
        registry.model_entry("toy-1")
    registered(b"", decision_threshold="absent", **RECORDED)
    assert registry.entry("toy-1").decision_threshold is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, r"sha256: a build that is evaluated as recorded has no model; take sha256 out"),
        ({"flip_augment": False}, r"flip_augment: a build that is evaluated as recorded has no model"),
        ({"threshold": 3}, r"unknown key 'threshold'; did you mean decision_threshold"),
        ({"decision_threshold": math.inf}, r"decision_threshold: expected a finite number or null, found inf"),
        ({"recorded": "yes"}, r"recorded: expected true or false, found 'yes'"),
        ({"recorded": False}, r"missing key 'embedding_dim'"),
    ],
)
def test_an_entry_as_recorded_is_read_as_strictly(
    registered: Registered, changes: dict[str, Any], message: str
) -> None:
    uri = registered(b"", **RECORDED | {"decision_threshold": 1} | changes)
    with pytest.raises(RegistryError, match=r"toy-1\.yaml: " + message):
        ModelRegistry(uri, modalities=MODALITIES).entry("toy-1")


def test_a_build_is_not_held_against_one_that_is_evaluated_otherwise(registered: Registered) -> None:
    registered(b"x")
    registered(b"", build_id="toy-2", follows="toy-1", decision_threshold="absent", **RECORDED)
    registry = ModelRegistry(registered(b"x", build_id="toy-3", follows="toy-2"), modalities=MODALITIES)
    for build, words in (("toy-2", "toy-2 as recorded on its devices, toy-1 is"), ("toy-3", "toy-3 is evaluated by")):
        with pytest.raises(RegistryError, match=rf"{build}\.yaml: follows: {words}.*follow a build that is evaluated"):
            registry.baseline(build)
    registered(b"", build_id="toy-1", decision_threshold="absent", **RECORDED)
    assert registry.baseline("toy-2") == "toy-1"
