"""Folders of clips in the layouts of public sets, small: a square that moves over a gradient, with its mask."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.uint8]
SIZE = (48, 64)


def square(number: int, *, label: int = 1, shift: int = 0, size: tuple[int, int] = SIZE) -> Labels:
    """A mask of 12 x 12 pixels that moves two pixels a frame."""
    mask = np.zeros(size, np.uint8)
    mask[10:22, 4 + 2 * number + shift : 16 + 2 * number + shift] = label
    return mask


def picture(number: int) -> NDArray[np.uint8]:
    """A textured picture with a bright square where the mask is."""
    image = np.random.default_rng(0).integers(40, 120, (*SIZE, 3), np.uint8)
    image[square(number) > 0] = (240, 220, 90)
    return image


def png(pixels: NDArray[np.uint8], *, palette: bool = False) -> bytes:
    """Encode a picture, or a mask with a palette."""
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(bytes(37 * number % 256 for number in range(768)))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def put(path: Path, data: bytes) -> Path:
    """Write a file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def put_masks(folder: Path, masks: Iterable[Labels], *, first: int = 0, form: str = "{:05d}.png") -> Path:
    """Write masks by their number."""
    for number, mask in enumerate(masks, first):
        put(folder / form.format(number), png(mask, palette=True))
    return folder


def put_pictures(folder: Path, n: int, *, first: int = 0, form: str = "{:05d}.jpg") -> Path:
    """Write pictures by their number."""
    for number in range(n):
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(folder / form.format(number + first))
    return folder


def put_tar(path: Path, masks: Iterable[Labels], *, form: str = "{:05d}.png") -> Path:
    """Write a tar file of masks."""
    with tarfile.open(path, "w") as tar:
        for number, mask in enumerate(masks):
            data = png(mask, palette=True)
            member = tarfile.TarInfo(form.format(number))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
