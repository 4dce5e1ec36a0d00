"""How much of a bare model's rate the embedder keeps: frames are uint8 arrays in memory, the model gets the tensor.

    python -m benchmarks.inference [REGISTRY BUILD]

Without arguments the packaged reference model runs on the simulator's 96 x 96 frames, then a small untrained network on
frames of its own size and on frames that must be resized. Both sides have the same number of threads and run in turn,
many short rounds in one process; wall time counts, and the median of the rounds.
"""

import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from cv_quality.inference.embedder import DEFAULT_BATCH_SIZE, load_embedder
from cv_quality.inference.preprocessing import Frame, prepare
from cv_quality.inference.registry import ModelEntry, ModelRegistry
from cv_quality.inference.runners import OnnxRunner, Runner, TorchExportRunner
from cv_quality.settings import REFERENCE_MODELS
from cv_quality.tasks.verification.modalities.face import FACE

ROUNDS = 40
FRAMES_A_ROUND = 512
THREADS = os.cpu_count() or 1


def toy_registry(folder: Path) -> str:
    """A registry with one untrained grey 64 x 64 network, about the size that a demonstration trains."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 16, 3, stride=2, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU()),
        *(torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.BatchNorm2d(32), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(512, 64)),
    ).eval()
    batch = torch.export.Dim("n", min=1, max=4096)
    program = torch.export.export(net, (torch.zeros(2, 1, 64, 64),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "toy.pt2")
    steps = [
        "gray",
        {"tone_curve": {"below_lux": 10, "gamma": 0.5}},
        {"resize": [64, 64]},
        {"scale": {"mean": 0.5, "std": 0.25}},
    ]
    entry = {
        "build_id": "toy",
        "modality": "face",
        "follows": None,
        "format": "torch_export",
        "file": "toy.pt2",
        "sha256": hashlib.sha256((folder / "toy.pt2").read_bytes()).hexdigest(),
        "embedding_dim": 64,
        "decision_threshold": 0.5,
        "preprocessing": steps,
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(entry))
    return str(folder)


def crops_only(entry: ModelEntry) -> ModelEntry:
    """The entry without its detector: its rate is that of preprocessing and the embedding model alone."""
    return replace(entry, detector=None)


def bare(runner: Runner, batch: np.typing.NDArray[np.float32], *, is_mirrored: bool) -> None:
    """The model alone, in the embedder's batches."""
    for start in range(0, len(batch), DEFAULT_BATCH_SIZE):
        rows = batch[start : start + DEFAULT_BATCH_SIZE]
        runner(rows)
        if is_mirrored:
            runner(rows)


def rate(run: Callable[[], object], *, count: int) -> float:
    """Frames a second of one run."""
    start = time.perf_counter()
    run()
    return count / (time.perf_counter() - start)


def compare(registry: ModelRegistry, *, build_id: str, shape: tuple[int, ...], count: int) -> None:
    """Print bare rate, embedder rate and the median of their ratios."""
    entry = crops_only(registry.model_entry(build_id))
    data = registry.model_file(entry).read_bytes()
    kind = TorchExportRunner if entry.format == "torch_export" else OnnxRunner
    embedder = load_embedder(entry, registry=registry, threads=THREADS)
    runner = kind(data, name=entry.file, threads=THREADS)
    generator = np.random.default_rng(0)
    frames: list[Frame] = list(generator.integers(0, 256, size=(count, *shape), dtype=np.uint8))
    lux: list[float | None] = [float(value) for value in generator.uniform(0, 100, size=count)]
    batch = prepare(frames, steps=entry.preprocessing, illuminance_lux=lux)
    rounds = []
    for _ in range(ROUNDS if entry.format == "torch_export" else ROUNDS // 8):
        with torch_threads(THREADS):
            alone = rate(lambda: bare(runner, batch, is_mirrored=entry.flip_augment), count=count)
        with torch_threads(1):
            rounds.append((alone, rate(lambda: embedder.embed(frames, illuminance_lux=lux), count=count)))
    ratio = statistics.median(through / alone for alone, through in rounds)
    alone, through = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{build_id} {shape}, {THREADS} threads: bare {alone:.0f}/s, embedder {through:.0f}/s, ratio {ratio:.3f}")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch's own threads, a setting of the process: all for the bare model, one for each of the embedder's workers."""
    import torch

    torch.set_num_threads(count)
    yield


def main(arguments: list[str]) -> None:
    """Measure the packaged and the toy network, or a registered build on colour crops of 112 x 112."""
    if arguments:
        compare(
            ModelRegistry(arguments[0], modalities={"face": FACE}), build_id=arguments[1], shape=(112, 112, 3), count=64
        )
        return
    compare(
        ModelRegistry(REFERENCE_MODELS, modalities={"face": FACE}),
        build_id="face-1.1",
        shape=(96, 96),
        count=FRAMES_A_ROUND,
    )
    with tempfile.TemporaryDirectory() as folder:
        registry = ModelRegistry(toy_registry(Path(folder)), modalities={"face": FACE})
        compare(registry, build_id="toy", shape=(64, 64), count=FRAMES_A_ROUND)
        compare(registry, build_id="toy", shape=(112, 92), count=FRAMES_A_ROUND)


if __name__ == "__main__":
    main(sys.argv[1:])
