"""Small strips of irises."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from cv_quality.lake.schema import Column
from cv_quality.modality import Dimension
from cv_quality.tasks.verification.modalities.face import FACE

IRIS = replace(
    FACE,
    name="iris",
    instance="eye",
    conditions=(
        Dimension(Column("eye", "text", "which eye", nullable=True, levels=("left", "right", "unknown")), "eye"),
        Dimension(Column("spectacles", "text", "worn", nullable=True, levels=("none", "clear")), "spectacles"),
    ),
)


def strip(seed: int, *, width: int = 64) -> bytes:
    """Draw a strip of noise as a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, width), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()
