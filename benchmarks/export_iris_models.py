"""Train the segmenter of the simulated iris builds, and write it with their registry entries.

Run as `python -m benchmarks.export_iris_models --out DIR`; it takes about ten minutes on two cores. A small U-Net
learns on rendered eyes (`cv_quality.simulation.iris.eyes`), none of which a simulated drop shows, what is sclera, iris
and pupil.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import yaml
from numpy.typing import NDArray

from cv_quality.metrics.video.flow import opencv
from cv_quality.simulation.iris.eyes import ContactLens, EyeState, Spectacles, draw_texture, render_eye

if TYPE_CHECKING:
    from torch import nn

WIDTH_PX, HEIGHT_PX = 160, 120
CHANNELS: Final = (10, 20, 40)
EYES, HELD_OUT, STEPS, BATCH, RATE = 2_400, 200, 2_600, 16, 4e-3
SEED: Final = 90_210
LIDS_UP_TO_DEG: Final = 19.0
"""Of the second build, whose encoder looks for lids and lashes no farther off axis."""
_NAME: Final = "iris-eyes"


def draw_state(rng: np.random.Generator) -> EyeState:
    """Draw how an eye may be, over all that devices see."""
    return EyeState(
        illuminance_lux=float(10 ** rng.uniform(0.3, 3.5)),
        pupil_noise=float(rng.normal(0, 0.04)),
        gaze_deg=float(rng.uniform(0, 42)),
        gaze_direction_deg=float(rng.uniform(0, 360)),
        torsion_deg=float(rng.normal(0, 4)),
        opening=float(rng.uniform(0.35, 1.05)),
        lash_px=float(rng.uniform(6, 28)),
        blur_px=float(rng.uniform(0.4, 2.6)),
        spectacles=cast(Spectacles, rng.choice(["none", "clear", "tinted"], p=[0.6, 0.25, 0.15])),
        contact_lens=cast(ContactLens, rng.choice(["none", "soft", "patterned"], p=[0.75, 0.2, 0.05])),
        x_px=float(rng.normal(0, 14)),
        y_px=float(rng.normal(0, 10)),
        noise=float(rng.uniform(2, 9)),
        seed=int(rng.integers(2**31)),
    )


def draw_eyes(count: int, *, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Render eyes at the model's size; images in [0, 1] of shape (n, 1, height, width), labels (n, height, width)."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for _ in range(count):
        image, label = render_eye(draw_texture(int(rng.integers(2**31))), draw_state(rng))
        small = opencv().resize(image, (WIDTH_PX, HEIGHT_PX), interpolation=opencv().INTER_AREA)
        level = (small / 255 - 0.5) * rng.uniform(0.7, 1.2) + 0.5 + rng.uniform(-0.1, 0.1)
        images.append(np.clip(level, 0, 1))
        labels.append(label[::2, ::2])
    return np.array(images, np.float32)[:, None], np.array(labels, np.int64)


def build_segmenter() -> nn.Module:
    """Build the network: two poolings, and what was before each beside what comes after."""
    import torch
    from torch import nn

    def block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            low, middle, high = CHANNELS
            self.down = nn.ModuleList([block(1, low), block(low, middle), block(middle, high)])
            self.deep = block(high, high)
            self.up = nn.ModuleList([block(high + middle, middle), block(middle + low, low)])
            self.classes = nn.Conv2d(low, 4, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            one = self.down[0](image)
            two = self.down[1](nn.functional.max_pool2d(one, 2))
            three = self.deep(self.down[2](nn.functional.max_pool2d(two, 2)))
            wide = nn.functional.interpolate(three, scale_factor=2.0, mode="nearest")
            two = self.up[0](torch.cat([wide, two], dim=1))
            wide = nn.functional.interpolate(two, scale_factor=2.0, mode="nearest")
            return cast(torch.Tensor, self.classes(self.up[1](torch.cat([wide, one], dim=1))))

    return Segmenter()


def train(network: Any) -> float:
    """Train a network in place; returns the share of held-out pixels that it labels rightly."""
    import torch

    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    images, labels = (torch.from_numpy(part) for part in draw_eyes(EYES, seed=SEED))
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for step in range(STEPS):
        chosen = torch.from_numpy(rng.integers(0, EYES, BATCH))
        loss = torch.nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {STEPS}: loss {loss.item():.3f}", flush=True)
    unseen, truth = (torch.from_numpy(part) for part in draw_eyes(HELD_OUT, seed=SEED + 1))
    with torch.no_grad():
        found = torch.cat([network(part).argmax(dim=1) for part in torch.split(unseen, BATCH)])
    for label in range(4):
        both, either = ((found == label) & (truth == label)).sum(), ((found == label) | (truth == label)).sum()
        print(f"IoU of class {label} on {HELD_OUT} unseen eyes: {(both / either).item():.3f}", flush=True)
    return float((found == truth).float().mean())


def export(network: nn.Module, *, name: str) -> bytes:
    """Write a network as a torch.export archive without the paths of this machine.

    Its weights lie channels last, and so do the planes they make: two thirds of the time on processors.
    """
    import torch

    from cv_quality.inference.archive import harmless_archive

    batch = torch.export.Dim("batch", min=1, max=256)
    example = torch.zeros(2, 1, HEIGHT_PX, WIDTH_PX)
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return harmless_archive(buffer.getvalue(), name=name).getvalue()


def write_registry(folder: Path) -> None:
    """Write the model, and the entries of iris-1.0 and iris-1.1, of which the second takes lids off axis for iris."""
    folder.mkdir(parents=True, exist_ok=True)
    network = build_segmenter()
    print(f"pixels labelled rightly: {train(network):.4f}")
    data = export(network, name=f"{_NAME}.pt2")
    (folder / f"{_NAME}.pt2").write_bytes(data)
    for number in (0, 1):
        entry: dict[str, object] = {
            "build_id": f"iris-1.{number}",
            "modality": "iris",
            "follows": "iris-1.0" if number else None,
            "input": "eye_image",
            "decision_threshold": 0.35,
            "segmentation": {
                "format": "torch_export",
                "file": f"{_NAME}.pt2",
                "sha256": hashlib.sha256(data).hexdigest(),
                "height": HEIGHT_PX,
                "width": WIDTH_PX,
                "classes": {"sclera": 1, "iris": 2, "pupil": 3},
            },
            "comparison": {"shifts": 15},
        }
        if number:
            entry["mask"] = {"lids_up_to_deg": LIDS_UP_TO_DEG}
        text = yaml.safe_dump(entry, sort_keys=False, default_flow_style=None)
        (folder / f"iris-1.{number}.yaml").write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Write the registry into the folder given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and entries")
    write_registry(parser.parse_args(arguments).out)


if __name__ == "__main__":
    main(sys.argv[1:])
