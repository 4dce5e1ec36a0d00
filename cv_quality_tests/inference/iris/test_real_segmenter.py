"""A segmentation model that others trained (RITnet) runs behind an entry; what it cannot find has its reason."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cv_quality.tasks.verification.modalities.iris import IRIS
from cv_quality_tests.inference.iris.drawn_eyes import draw, encoded, encoder_of, strip_entry, texture


def test_ritnet_finds_the_pupil_of_drawn_eyes(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    file = shared_data("models_vision") / "ritnet.onnx"
    segmentation = {
        "format": "onnx",
        "file": str(file),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "height": 240,
        "width": 320,
        "classes": {"sclera": 1, "iris": 2, "pupil": 3},
        "gamma": 0.8,
        "clahe_clip": 1.5,
        "mean": 0.5,
        "scale": 0.5,
    }
    encoder = encoder_of(
        tmp_path, strip_entry(input="eye_image", segmentation=segmentation, acquire={"min_visible": 0})
    )
    drawn = [draw(strip=texture(1), pupil=radius)[0] for radius in (20, 30)]
    rng = np.random.default_rng(0)
    nothing = [np.zeros((240, 320), np.uint8), rng.integers(0, 256, (100, 700, 3), dtype=np.uint8)]
    found = encoded(encoder, drawn + nothing)
    assert set(found.statuses) <= {"ok", *IRIS.failure_statuses}
    assert list(found.statuses[2:]) == ["no_eye", "no_eye"]
    diameters = found.measured["pupil_iris_ratio"] * found.measured["iris_diameter_px"]
    assert diameters[:2].tolist() == pytest.approx([40, 60], abs=4)
