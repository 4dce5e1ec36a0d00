"""Registries of video builds, and small models made on the spot."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from cv_quality.inference.registry import ModelRegistry
from cv_quality.inference.video.entry import VideoEntry
from cv_quality.inference.video.models import load_video_model
from cv_quality.inference.video.outputs import VideoModel
from cv_quality.tasks.video.modality import VIDEO_MODALITY

BUILD = "seg-1"


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_entry(folder: Path, file: Path, **changes: Any) -> None:
    """Register a model file as build `seg-1`, with keys changed; None takes one away."""
    fields: dict[str, Any] = {
        "build_id": BUILD,
        "modality": "video",
        "follows": None,
        "format": "onnx" if file.suffix == ".onnx" else "torch_export",
        "file": str(file),
        "sha256": digest(file),
        "output": "mask",
        "preprocessing": ["rgb"],
    }
    text = yaml.safe_dump(
        {key: value for key, value in (fields | changes).items() if value is not None or key == "follows"}
    )
    (folder / f"{BUILD}.yaml").write_text(text)


def registry_of(folder: Path) -> ModelRegistry:
    return ModelRegistry(str(folder), modalities={"video": VIDEO_MODALITY}, cache=folder / "cache")


def loaded(folder: Path, file: Path, *, threads: int | None = 1, **changes: Any) -> VideoModel:
    """The model behind an entry, see `write_entry`."""
    write_entry(folder, file, **changes)
    registry = registry_of(folder)
    entry = registry.entry(BUILD)
    assert isinstance(entry, VideoEntry)
    return load_video_model(entry, registry=registry, threads=threads)


def of_size(side: int, *more: Any) -> list[Any]:
    """Preprocessing to a square in colour."""
    return ["rgb", {"resize": [side, side]}, *more]
