"""Write the two segmenters of the simulated video builds with their registry entries.

Run as `python -m benchmarks.export_video_models --out DIR`. Nothing is learned: the weights are the colours that
`cv_quality.simulation.video.compositing` paints with, so a pixel is of the class whose tint is nearest. The second
model averages what it finds over time, and lags behind whatever moves fast.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from cv_quality.simulation.video.compositing import OBJECT_COLOURS, WALL_COLOUR
from cv_quality.simulation.video.scenes import CLASSES

if TYPE_CHECKING:
    from torch import nn

WIDTH_PX: Final = 160
HEIGHT_PX: Final = 120
HISTORY_WEIGHT: Final = 0.72
"""Of what was before; half of a step in the picture is seen after log(0.5) / log(0.72) = 2.1 frames."""
SHARPNESS: Final = 1000.0
"""Of the softmax over squared distances between tints."""
_ENCODING_GAMMA: Final = 1 / 1.9
_NAMES: Final = ("segment-a", "segment-b")
_PREPROCESSING: Final = ["rgb", {"resize": [WIDTH_PX, HEIGHT_PX]}]


def build_segmenter(*, has_history: bool) -> nn.Module:
    """Build a segmenter that gives float32 `[n, 4, 120, 160]`, the wall and the classes of objects.

    Args:
        has_history: whether it takes its last output as a second input and averages over time.
    """
    import torch
    from torch import nn

    colours = torch.tensor([WALL_COLOUR, *(OBJECT_COLOURS[name] for name in CLASSES)]) ** _ENCODING_GAMMA
    tints = colours / colours.sum(dim=1, keepdim=True)
    # A squared distance without the pixel's own square, which is the same for every class and so none to a softmax.
    nearness = nn.Conv2d(3, len(tints), 1)
    weights = {"weight": (2 * SHARPNESS * tints)[:, :, None, None], "bias": -SHARPNESS * (tints**2).sum(dim=1)}
    nearness.load_state_dict(weights)

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nearness = nearness

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.nearness(picture / (picture.sum(dim=1, keepdim=True) + 1e-3)), dim=1)

    class SmoothedSegmenter(Segmenter):
        def forward(self, picture: torch.Tensor, history: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return HISTORY_WEIGHT * history + (1 - HISTORY_WEIGHT) * super().forward(picture)

    return (SmoothedSegmenter() if has_history else Segmenter()).eval()


def export(network: nn.Module, *, name: str, has_history: bool) -> bytes:
    """Write a network as a torch.export archive without the paths of this machine.

    Args:
        network: from `build_segmenter`.
        name: of the file.
        has_history: a network with one runs on one picture at a time, another on any number.
    """
    import torch

    from cv_quality.inference.archive import harmless_archive

    pictures = torch.zeros(1 if has_history else 2, 3, HEIGHT_PX, WIDTH_PX)
    history = torch.zeros(1, 1 + len(CLASSES), HEIGHT_PX, WIDTH_PX)
    if has_history:
        program = torch.export.export(network, (pictures, history))
    else:
        batch = torch.export.Dim("batch", min=1, max=256)
        program = torch.export.export(network, (pictures,), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return harmless_archive(buffer.getvalue(), name=name).getvalue()


def write_registry(folder: Path) -> None:
    """Write both models and the entries of the builds segment-1.0 and segment-1.1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(_NAMES):
        data = export(build_segmenter(has_history=bool(number)), name=f"{name}.pt2", has_history=bool(number))
        (folder / f"{name}.pt2").write_bytes(data)
        entry: dict[str, object] = {
            "build_id": f"segment-1.{number}",
            "modality": "video",
            "follows": "segment-1.0" if number else None,
            "format": "torch_export",
            "file": f"{name}.pt2",
            "sha256": hashlib.sha256(data).hexdigest(),
            "output": "mask",
            "preprocessing": _PREPROCESSING,
            "postprocessing": ["argmax"],
            "classes": {class_name: label for label, class_name in enumerate(CLASSES, start=1)},
        }
        if number:
            entry["states"] = {"history": "output"}
        text = yaml.safe_dump(entry, sort_keys=False, default_flow_style=None)
        (folder / f"segment-1.{number}.yaml").write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Write the registry into the folder given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the models and entries")
    write_registry(parser.parse_args(arguments).out)


if __name__ == "__main__":
    main(sys.argv[1:])
