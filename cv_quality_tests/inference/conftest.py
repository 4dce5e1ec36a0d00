"""Small models and registries made on the spot: nothing trained, nothing downloaded."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SIDE_PX = 16
DIMENSION = 8


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A torch.export archive: grey 16 x 16 in, 8 numbers out, any batch size."""
    import torch

    torch.manual_seed(5)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.PReLU(4),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16, DIMENSION),
    ).eval()
    batch = torch.export.Dim("n", min=1, max=1024)
    program = torch.export.export(net, (torch.zeros(2, 1, SIDE_PX, SIDE_PX),), dynamic_shapes=({0: batch},))
    path = tmp_path_factory.mktemp("model") / "toy.pt2"
    torch.export.save(program, path)
    return path.read_bytes()


Registered = Callable[..., str]


@pytest.fixture
def registered(tmp_path: Path) -> Registered:
    """A function that writes a model and its entry into a registry folder and returns the folder."""

    def write(model: bytes, *, build_id: str = "toy-1", **changes: Any) -> str:
        (tmp_path / f"{build_id}.pt2").write_bytes(model)
        entry: dict[str, Any] = {
            "build_id": build_id,
            "modality": "face",
            "follows": None,
            "format": "torch_export",
            "file": f"{build_id}.pt2",
            "sha256": hashlib.sha256(model).hexdigest(),
            "embedding_dim": DIMENSION,
            "decision_threshold": 0.4,
            "preprocessing": ["gray", {"resize": [SIDE_PX, SIDE_PX]}, {"scale": {"mean": 0.5, "std": 0.25}}],
        }
        entry.update(changes)
        kept = {key: value for key, value in entry.items() if value != "absent"}
        (tmp_path / f"{build_id}.yaml").write_text(yaml.safe_dump(kept))
        return str(tmp_path)

    return write
