"""Small strips of irises."""

import io

import numpy as np
from PIL import Image


def strip(seed: int, *, width: int = 64) -> bytes:
    """Draw a strip of noise as a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, width), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()
