"""Liveness models: what an entry may say, what a model sees of a frame, and real weights on real pictures."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cv_quality.errors import ModelDoesNotFit, RegistryError
from cv_quality.inference.framing import ResizePlain
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.inference.liveness.scorer import LivenessScorer, cut_out, load_scorer, scores_of
from cv_quality.inference.registry import ModelRegistry
from cv_quality.metrics.video.flow import opencv
from cv_quality.tasks.liveness.modality import LIVENESS_MODALITY
from cv_quality_tests.inference.onnx_files import model, node, value_info

MEAN = model(
    [node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["y"])],
    inputs=[value_info("x", ["n", 1, 8, 8])],
    outputs=[value_info("y", ["n", 1])],
)
"""The mean grey level of a picture of 8 x 8."""
SHARED = {"F1": (189, 117, 191, 240), "F2": (143, 211, 216, 300), "T1": (115, 109, 183, 259)}
"""Boxes of the faces in the three pictures, as YuNet finds them."""


def registry_with(folder: Path, data: bytes = MEAN, /, **changes: object) -> ModelRegistry:
    """A registry of one build whose model is in `data`."""
    (folder / "m.onnx").write_bytes(data)
    steps: list[object] = ["gray", {"resize": [8, 8]}]
    entry: dict[str, object] = {
        "build_id": "pad-1",
        "modality": "liveness",
        "follows": None,
        "decision_threshold": 0.5,
        "score": "scalar",
        "models": [own_model(data, steps)],
        **changes,
    }
    (folder / "pad-1.yaml").write_text(yaml.safe_dump({key: value for key, value in entry.items() if value != "none"}))
    return ModelRegistry(str(folder), modalities={"liveness": LIVENESS_MODALITY})


def own_model(data: bytes, steps: list[object]) -> Mapping[str, object]:
    return {"format": "onnx", "file": "m.onnx", "sha256": hashlib.sha256(data).hexdigest(), "preprocessing": steps}


def scorer_of(registry: ModelRegistry) -> LivenessScorer:
    entry = registry.entry("pad-1")
    assert isinstance(entry, LivenessEntry)
    return load_scorer(entry, registry=registry)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": "none"}, "expected 'models', or 'recorded: true'"),
        ({"models": []}, "models: expected a list of models"),
        ({"score": "logit"}, "scalar, or {softmax: INDEX}"),
        ({"score": {"softmax": -1}}, "scalar, or {softmax: INDEX}"),
        ({"score": {"softmax": 1}, "decision_threshold": 1.5}, "a number from 0 to 1"),
        ({"models": [own_model(MEAN, [{"face_crop": 0}, "gray"])]}, "face_crop: expected a number above 0"),
        ({"models": [own_model(MEAN, ["gray", {"face_crop": 2}])]}, "unknown step 'face_crop'"),
        ({"parity_tolerance": -1}, "parity_tolerance: expected a number from 0"),
        ({"embedding_dim": 4}, "unknown key 'embedding_dim'"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(RegistryError) as refused:
        registry_with(tmp_path, MEAN, **changes).entry("pad-1")
    assert words in str(refused.value)


def test_a_detector_without_a_crop_is_refused(tmp_path: Path) -> None:
    detector = {"format": "onnx", "file": "y.onnx", "sha256": "0" * 64, "score_threshold": 0.5}
    with pytest.raises(RegistryError, match="no model has a face_crop"):
        registry_with(tmp_path, detector=detector).entry("pad-1")


def test_the_digest_follows_what_makes_a_score_and_not_the_threshold(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    plain = own_model(MEAN, ["gray", {"resize": {"size": [8, 8], "antialias": False}}])
    changes: list[dict[str, object]] = [{}, {"decision_threshold": 0.9}, {"models": [plain]}]
    digests = [registry_with(tmp_path / "b", MEAN, **change).entry("pad-1").sha256 for change in changes]
    assert digests[0] == digests[1] != digests[2]


def test_a_scalar_is_the_score_and_the_mean_over_models_that_of_the_build(tmp_path: Path) -> None:
    frames = [np.full((20, 30), level, np.uint8) for level in (0, 51, 255)]
    dark = own_model(MEAN, ["gray", {"resize": [8, 8]}, {"scale": {"mean": 0.2, "std": 1.0}}])
    both = [own_model(MEAN, ["gray", {"resize": [8, 8]}]), dark]
    found = scorer_of(registry_with(tmp_path, models=both)).score(frames, boxes=[None] * 3, illuminance_lux=[None] * 3)
    assert found.statuses == ("ok",) * 3
    np.testing.assert_allclose(found.scores, [-0.1, 0.1, 0.9], atol=1e-6)


def test_only_what_surrounds_the_given_box_is_scored(tmp_path: Path) -> None:
    frame = np.zeros((100, 100), np.uint8)
    frame[20:40, 20:40] = 255
    cropped = own_model(MEAN, [{"face_crop": 2.0}, "gray", {"resize": [8, 8]}])
    scorer = scorer_of(registry_with(tmp_path, models=[cropped]))
    boxes = [(25.0, 25.0, 10.0, 10.0), (70.0, 70.0, 10.0, 10.0), None, (300.0, 0.0, 9.0, 9.0), (5.0, 5.0, 0.0, 9.0)]
    found = scorer.score([frame] * 5, boxes=boxes, illuminance_lux=[None] * 5)
    assert found.statuses == ("ok", "ok", "no_face", "no_face", "no_face")
    assert found.scores[0] > 0.85
    assert found.scores[1] == 0
    assert np.isnan(found.scores[2:]).all()


@pytest.mark.parametrize("score", ["scalar", {"softmax": 2}])
def test_a_model_with_other_outputs_than_the_entry_says_is_refused(tmp_path: Path, score: object) -> None:
    two = model(
        [node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["y"])],
        inputs=[value_info("x", ["n", 2 + 1, 8, 8])],
        outputs=[value_info("y", ["n", 3])],
    )
    data, index = (two, score) if score == "scalar" else (MEAN, score)
    steps: list[object] = ["rgb" if score == "scalar" else "gray", {"resize": [8, 8]}]
    with pytest.raises(ModelDoesNotFit, match=r"one number a frame|of a softmax"):
        scorer_of(registry_with(tmp_path, data, score=index, models=[own_model(data, steps)]))


def test_a_softmax_does_not_depend_on_what_is_added_to_all_outputs() -> None:
    outputs = np.array([[1.0, 2.0, 0.0], [1001.0, 1002.0, 1000.0]], np.float32)
    found = scores_of(outputs, bona_fide=1)
    np.testing.assert_allclose(found, np.exp(2) / (np.exp(1) + np.exp(2) + 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("box", "factor", "rows", "columns"),
    [
        ((40, 40, 20, 20), 2.0, (30, 71), (30, 71)),
        ((0, 40, 20, 20), 2.0, (30, 71), (0, 41)),
        ((85, 85, 20, 20), 2.0, (59, 100), (59, 100)),
        ((40, 40, 20, 40), 4.0, (0, 100), (25, 75)),
    ],
)
def test_a_crop_is_made_to_fit_into_the_frame(
    box: tuple[float, float, float, float], factor: float, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
    np.testing.assert_array_equal(cut_out(frame, box, factor=factor), frame[slice(*rows), slice(*columns)])


def test_plain_resizing_is_that_of_opencv() -> None:
    frame = np.random.default_rng(0).random((1, 1, 67, 91), np.float32)
    for width, height in ((80, 80), (13, 20), (200, 150)):
        found = ResizePlain(width, height)(frame, illuminance_lux=np.array([np.nan]))
        wanted = opencv().resize(frame[0, 0], (width, height), interpolation=opencv().INTER_LINEAR)
        np.testing.assert_allclose(found[0, 0], wanted, atol=1e-5)


def upright(path: Path) -> NDArray[np.uint8]:
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def test_minifasnet_tells_a_print_and_a_replay_from_a_face(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    weights, yunet = shared_data("models_pad"), shared_data("model_yunet")
    detector = next(yunet.glob("*.onnx"))
    models = []
    for factor, name in ((2.7, "2.7_80x80_MiniFASNetV2.onnx"), (4.0, "4_0_0_80x80_MiniFASNetV1SE.onnx")):
        shutil.copy(weights / name, tmp_path)
        steps = [{"face_crop": factor}, "bgr", {"resize": {"size": [80, 80], "antialias": False}}, "levels"]
        models.append({**own_model((weights / name).read_bytes(), list[object](steps)), "file": name})
    finder = {"format": "onnx", "file": str(detector), "score_threshold": 0.6}
    finder["sha256"] = hashlib.sha256(detector.read_bytes()).hexdigest()
    scorer = scorer_of(registry_with(tmp_path, models=models, score={"softmax": 1}, detector=finder))
    frames = [upright(weights / f"image_{name}.jpg") for name in SHARED]
    for boxes in (list(SHARED.values()), [None] * 3):
        scores = scorer.score(frames, boxes=boxes, illuminance_lux=[None] * 3).scores
        # .335 with another detector's box: the second model sees most of the frame, and its edge weighs.
        assert scores[0] == pytest.approx(0.335, abs=0.06)
        assert scores[1] == pytest.approx(0.003, abs=0.002)
        assert scores[2] == pytest.approx(1.000, abs=0.001)
