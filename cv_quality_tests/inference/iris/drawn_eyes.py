"""Eyes drawn from their geometry, a segmentation model that knows them by grey level, and registries of iris builds."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cv_quality.inference.encoded import Encoded
from cv_quality.inference.iris.encoder import IrisEncoder, load_iris_encoder
from cv_quality.inference.iris.entry import IrisEntry
from cv_quality.inference.iris.geometry import IRIS, PUPIL, SCLERA
from cv_quality.inference.registry import ModelRegistry
from cv_quality.tasks.verification.modalities.iris import IRIS as MODALITY
from cv_quality_tests.inference.onnx_files import model, node, tensor, value_info

BUILD = "iris-1"
WIDTH, HEIGHT = 320, 240
GREY = {0: 150, SCLERA: 215, IRIS: 105, PUPIL: 25}
"""Of the parts; the model tells them apart by it."""
CONTRAST = 6.0
COMPARISON = {"shifts": 15}


def texture(seed: int, *, height: int = 48, width: int = 432) -> NDArray[np.float64]:
    """A strip of band-limited noise that closes around, of unit deviation."""
    rng = np.random.default_rng(seed)
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    gain = np.exp(-((down * 12) ** 2) - (np.abs(across) * 20 - 1) ** 2 * 2)
    strip = np.fft.ifft2(np.fft.fft2(rng.normal(size=(height, width))) * gain).real
    clipped: NDArray[np.float64] = np.clip(strip / strip.std(), -2.5, 2.5)
    return clipped


def draw(
    *,
    strip: NDArray[np.float64] | None = None,
    x: float = 160,
    y: float = 120,
    iris: float = 70,
    pupil: float = 25,
    opening: float = 1.3,
    off_axis_deg: float = 0.0,
    towards: float = 0.0,
    highlight: float = 0.0,
    pupil_off: float = 0.0,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw an eye; the picture and its true parts.

    Args:
        strip: texture of the iris, from the right downwards, of unit deviation.
        x, y: centre of the iris.
        iris, pupil: radii in pixels.
        opening: half of the distance of the lids, by the iris's radius.
        off_axis_deg, towards: gaze: how far off axis, and in which direction of the picture (radians).
        highlight: radius of a white spot on the iris, below the pupil.
        pupil_off: distance of the centre of the pupil to the right of that of the iris.
    """
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    across, down = columns - x, rows - y
    cosine, sine = np.cos(towards), np.sin(towards)
    along = (across * cosine + down * sine) / np.cos(np.radians(off_axis_deg))
    beside = -across * sine + down * cosine
    u, v = along * cosine - beside * sine, along * sine + beside * cosine
    radius, inner = np.hypot(u, v), np.hypot(u - pupil_off, v)
    is_open = (across / (2.0 * iris)) ** 2 + (down / (opening * iris)) ** 2 < 1
    parts = np.select([is_open & (inner < pupil), is_open & (radius < iris), is_open], [PUPIL, IRIS, SCLERA], 0)
    picture = np.vectorize(GREY.get)(parts).astype(float)
    if strip is not None:
        places = ((radius - pupil) / (iris - pupil) * strip.shape[0]).astype(int).clip(0, strip.shape[0] - 1)
        angles = np.rint(np.arctan2(v, u) / (2 * np.pi) * strip.shape[1]).astype(int) % strip.shape[1]
        picture += np.where(parts == IRIS, CONTRAST * strip[places, angles], 0.0)
    picture[np.hypot(across, down - (pupil + iris) / 2) < highlight] = 255
    return np.rint(picture).astype(np.uint8), parts.astype(np.uint8)


def levels_model(*, classes: int = 4) -> bytes:
    """An ONNX model whose planes are the nearness to the grey levels of the parts."""
    levels = np.array([GREY[part] / 255 for part in range(classes)], np.float32).reshape(1, classes, 1, 1)
    nodes = [node("Sub", ["x", "levels"], ["d"]), node("Mul", ["d", "d"], ["q"]), node("Neg", ["q"], ["y"])]
    return model(
        nodes,
        tensors=[tensor("levels", levels)],
        inputs=[value_info("x", ["n", 1, HEIGHT, WIDTH])],
        outputs=[value_info("y", ["n", classes, HEIGHT, WIDTH])],
    )


def strip_entry(**changes: Any) -> dict[str, Any]:
    """An entry of a build whose frames are strips."""
    fields = {
        "build_id": BUILD,
        "modality": "iris",
        "follows": None,
        "input": "strip",
        "comparison": COMPARISON,
        "decision_threshold": 0.4,
    }
    return {key: value for key, value in (fields | changes).items() if key == "follows" or value is not None}


def eye_entry(folder: Path, data: bytes | None = None, *, segmentation: Any = None, **changes: Any) -> dict[str, Any]:
    """An entry of a build whose frames are drawn eyes.

    Args:
        folder: of the registry; the model is written there.
        data: the model, if another than that of the levels.
        segmentation: keys that change.
        changes: other keys that change.
    """
    content = data or levels_model()
    (folder / "parts.onnx").write_bytes(content)
    settings = {
        "format": "onnx",
        "file": "parts.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "height": HEIGHT,
        "width": WIDTH,
        "classes": {"sclera": SCLERA, "iris": IRIS, "pupil": PUPIL},
    }
    return strip_entry(input="eye_image", segmentation=settings | (segmentation or {}), **changes)


def entry_of(folder: Path, fields: dict[str, Any]) -> IrisEntry:
    """The entry as the registry reads it."""
    entry = _registry(folder, fields).entry(BUILD)
    assert isinstance(entry, IrisEntry)
    return entry


def encoder_of(folder: Path, fields: dict[str, Any], *, threads: int = 1) -> IrisEncoder:
    """The encoder of an entry."""
    return load_iris_encoder(entry_of(folder, fields), _registry(folder, fields), threads)


def encoded(encoder: IrisEncoder, frames: Sequence[NDArray[np.uint8]]) -> Encoded:
    """Frames without names or conditions, encoded."""
    return encoder.encode(frames, [{} for _ in frames], ["" for _ in frames])


def _registry(folder: Path, fields: dict[str, Any]) -> ModelRegistry:
    (folder / f"{BUILD}.yaml").write_text(yaml.safe_dump(fields))
    return ModelRegistry(str(folder), modalities={"iris": MODALITY}, cache=folder / "cache")
