"""Small models of our own making: redness, remembered redness, depth, and objects of the colour of a point."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

ROWS, COLUMNS = 48, 64
KEEP = 0.5
"""Of the memory, from one frame to the next."""
RED, GREEN, GREY = (220, 30, 30), (30, 200, 40), (90, 90, 90)


class Redness(nn.Module):
    """Red above the other channels, `[n, 1, rows, columns]`."""

    def forward(self, frame: Tensor) -> Tensor:
        return frame[:, :1] - torch.maximum(frame[:, 1:2], frame[:, 2:3])


class RememberedRedness(nn.Module):
    """The same through an exponential filter, whose state is passed on."""

    def forward(self, frame: Tensor, memory: Tensor) -> dict[str, Tensor]:
        redness = frame[:, :1] - torch.maximum(frame[:, 1:2], frame[:, 2:3])
        kept = KEEP * memory + (1 - KEEP) * redness
        return {"mask": kept * 1.0, "memory_out": kept}


class Features(nn.Module):
    """Colours of 4 x 4 pixels, `[1, 3, rows / 4, columns / 4]`."""

    def forward(self, frame: Tensor) -> tuple[Tensor]:
        return (nn.functional.avg_pool2d(frame, 4),)


class LikeThePoints(nn.Module):
    """How near each place is to the colour at the points of the object, `[1, 1, rows / 4, columns / 4]`; 0 is far."""

    def forward(self, features: Tensor, points: Tensor, kinds: Tensor) -> Tensor:
        down = (torch.arange(ROWS // 4) * 4 + 2.0)[None, :, None]
        across = (torch.arange(COLUMNS // 4) * 4 + 2.0)[None, None, :]
        at = points[0, :, :, None, None]
        distance = (across - at[:, 0]) ** 2 + (down - at[:, 1]) ** 2
        weights = torch.exp(-distance / 8) * (kinds[0] == 1).to(torch.float32)[:, None, None]
        total = weights.sum(dim=0)
        colour = (features[0] * total).sum(dim=(1, 2)) / total.sum()
        return 0.05 - ((features[0] - colour[:, None, None]) ** 2).sum(dim=0)[None, None]


@cache
def _exported(module: Callable[[], nn.Module], shapes: tuple[tuple[int, ...], ...], free: bool) -> bytes:
    import io

    inputs = tuple(torch.zeros(shape) for shape in shapes)
    dynamic: Any = None
    if module is LikeThePoints:
        inputs = (*inputs[:2], torch.zeros(shapes[2], dtype=torch.int64))
        count = torch.export.Dim("n", min=1, max=64)
        dynamic = (None, {1: count}, {1: count})
    elif free:
        dynamic = ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.export.export(module().eval(), inputs, dynamic_shapes=dynamic)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def exported(
    folder: Path, module: Callable[[], nn.Module], *shapes: Sequence[int], name: str = "model", free: bool = False
) -> Path:
    """Export a model into a folder; its first dimension is free where asked for."""
    path = folder / f"{name}.pt2"
    path.write_bytes(_exported(module, tuple(map(tuple, shapes)), free))
    return path


def redness_file(folder: Path, *, free: bool = True) -> Path:
    return exported(folder, Redness, (2 if free else 1, 3, ROWS, COLUMNS), free=free)


def memory_file(folder: Path) -> Path:
    return exported(folder, RememberedRedness, (1, 3, ROWS, COLUMNS), (1, 1, ROWS, COLUMNS))


def prompt_files(folder: Path) -> tuple[Path, Path]:
    """The encoder and the decoder."""
    encoder = exported(folder, Features, (1, 3, ROWS, COLUMNS), name="encoder")
    features = (1, 3, ROWS // 4, COLUMNS // 4)
    return encoder, exported(folder, LikeThePoints, features, (1, 2, 2), (1, 2), name="decoder")


def scene(
    *objects: tuple[int, int, tuple[int, int, int]], rows: int = ROWS, columns: int = COLUMNS
) -> NDArray[np.uint8]:
    """Grey, with squares of 16 pixels: left, top and colour of each."""
    picture = np.full((rows, columns, 3), GREY, np.uint8)
    for left, top, colour in objects:
        picture[top : top + 16, left : left + 16] = colour
    return picture


def square(left: int, top: int, *, rows: int = ROWS, columns: int = COLUMNS, side: int = 16) -> NDArray[np.bool_]:
    mask = np.zeros((rows, columns), bool)
    mask[top : top + side, left : left + side] = True
    return mask
