"""Models that were not made here run from an entry alone: as published for them, or as they answer when called bare."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from cv_quality.inference.video.outputs import VideoModel
from cv_quality.metrics.video.masks import MaskClass, pooled_iou, score_masks
from cv_quality_tests.inference.video.registries import loaded, of_size

Picture = NDArray[np.uint8]
Shared = Callable[[str], Path]


def real(shared_data: Shared, folder: Path, name: str, **changes: Any) -> VideoModel:
    return loaded(folder, shared_data("models_vision") / f"{name}.onnx", **{"layout": "nhwc", **changes})


def session_of(shared_data: Shared, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(shared_data("models_vision") / f"{name}.onnx")


def picture_of(shared_data: Shared) -> Picture:
    return np.asarray(Image.open(shared_data("image_bird") / "bird_segmentation.bmp").convert("RGB"))


def highway(shared_data: Shared, number: int) -> tuple[Picture, Picture]:
    clip = shared_data("video_cdnet_highway")
    picture = Image.open(clip / "input" / f"in{number:06d}.jpg").convert("RGB")
    return np.asarray(picture), np.asarray(Image.open(clip / "groundtruth" / f"gt{number:06d}.png"))


@pytest.mark.parametrize(("name", "iou"), [("deeplabv3_mnv2_pascal", 0.9052), ("deeplabv3_mnv2_dm05_pascal", 0.8188)])
def test_the_bird_is_found_as_published(name: str, iou: float, shared_data: Shared, tmp_path: Path) -> None:
    model = real(shared_data, tmp_path, name, preprocessing=of_size(513, "levels"), classes={"bird": 3})
    truth = np.asarray(Image.open(shared_data("image_bird") / "bird_segmentation_mask.bmp"))
    [found] = model.run([picture_of(shared_data)])
    assert found.value is not None
    assert (found.value.dtype.name, found.value.shape) == ("uint8", truth.shape)
    bird = MaskClass("bird", (3,), model.entry.classes["bird"])
    assert pooled_iou(score_masks([(truth, found.value)], [bird])).value == pytest.approx(iou, abs=0.005)


def test_labels_of_traffic_are_those_of_the_bare_model(shared_data: Shared, tmp_path: Path) -> None:
    name = "deeplabv3_mnv2_dm05_pascal"
    model = real(shared_data, tmp_path, name, preprocessing=of_size(513, "levels"))
    picture, _ = highway(shared_data, 1060)
    grown = Image.fromarray(picture).resize((513, 513), Image.Resampling.BILINEAR)
    [labels] = session_of(shared_data, name).run(None, {"input": np.asarray(grown)[None]})
    bare = cv2.resize(labels[0].astype(np.uint8), (320, 240), interpolation=cv2.INTER_NEAREST)
    [found] = model.run([picture])
    assert found.value is not None
    assert set(np.unique(found.value)) & {6, 7, 14}
    assert (found.value == bare).all()


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "iou"), [("deeplabv3_mnv2_pascal", 0.6467), ("deeplabv3_mnv2_dm05_pascal", 0.6479)])
def test_traffic_is_found_as_published(name: str, iou: float, shared_data: Shared, tmp_path: Path) -> None:
    model = real(shared_data, tmp_path, name, preprocessing=of_size(513, "levels"), classes={"vehicle": [6, 7, 14]})
    pairs = []
    for number in range(1000, 1120):
        picture, truth = highway(shared_data, number)
        [found] = model.run([picture])
        assert found.value is not None
        pairs.append((truth, found.value))
    vehicle = MaskClass("vehicle", (255,), model.entry.classes["vehicle"])
    assert pooled_iou(score_masks(pairs, [vehicle], ignored=(85, 170))).value == pytest.approx(iou, abs=0.002)


def test_embeddings_are_those_of_the_bare_model(shared_data: Shared, tmp_path: Path) -> None:
    name = "mobilenet_v1_embedding"
    model = real(shared_data, tmp_path, name, output="embedding", preprocessing=of_size(224, "levels"))
    pictures = [highway(shared_data, number)[0] for number in (1000, 1040, 1080)]
    session = session_of(shared_data, name)
    for picture, found in zip(pictures, model.run(pictures), strict=True):
        shrunk = Image.fromarray(picture).resize((224, 224), Image.Resampling.BILINEAR)
        bare = session.run(None, {"input": np.asarray(shrunk)[None]})[0].ravel()
        assert found.value is not None
        assert found.value.shape == (1024,)
        cosine = found.value @ bare / np.linalg.norm(found.value) / np.linalg.norm(bare)
        assert cosine == pytest.approx(1, abs=1e-4)


def test_a_person_mask_comes_from_one_channel_and_a_threshold(shared_data: Shared, tmp_path: Path) -> None:
    name = "selfie_segmentation"
    model = real(shared_data, tmp_path, name, preprocessing=of_size(256), postprocessing=[{"threshold": 0.3}])
    picture = picture_of(shared_data)
    [found] = model.run([picture])
    shrunk = Image.fromarray(picture).resize((256, 256), Image.Resampling.BILINEAR)
    [bare] = session_of(shared_data, name).run(None, {"input": np.asarray(shrunk, np.float32)[None] / 255})
    assert found.value is not None
    expected = cv2.resize(
        (bare[0, ..., 0] >= 0.3).astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST
    )
    assert (found.value == expected).mean() > 0.99


@pytest.mark.parametrize(("name", "side", "points"), [("face_landmark_468", 192, 468), ("hand_landmark_lite", 224, 21)])
def test_landmarks_of_a_crop_are_moved_to_the_picture(
    name: str, side: int, points: int, shared_data: Shared, tmp_path: Path
) -> None:
    steps = ["rgb", {"crop": [40, 20, 150, 120]}, {"resize": [side, side]}]
    after = [{"landmarks": {"columns": 3, "scale": "pixels"}}]
    model = real(shared_data, tmp_path, name, output="landmarks", preprocessing=steps, postprocessing=after)
    picture, _ = highway(shared_data, 1000)
    [found] = model.run([picture])
    crop = Image.fromarray(picture[20:140, 40:190]).resize((side, side), Image.Resampling.BILINEAR)
    bare = session_of(shared_data, name).run(["output"], {"input": np.asarray(crop, np.float32)[None] / 255})[0]
    expected = bare.reshape(points, 3)[:, :2] * [150 / side, 120 / side] + [40, 20]
    assert found.value is not None
    np.testing.assert_allclose(found.value, expected, atol=0.5)


def test_a_model_of_any_size_takes_pictures_as_they_are(shared_data: Shared, tmp_path: Path) -> None:
    steps = ["gray", {"letterbox": [160, 128]}, {"scale": {"mean": 0.5, "std": 0.5}}]
    model = real(shared_data, tmp_path, "ritnet", layout="nchw", preprocessing=steps, postprocessing=["argmax"])
    [found] = model.run([highway(shared_data, 1000)[0]])
    assert found.value is not None
    assert (found.value.shape, found.value.max() <= 3) == ((240, 320), True)
