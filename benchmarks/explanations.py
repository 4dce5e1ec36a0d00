"""Pairs a second of both maps of a pair score, integrated gradients and occlusion together, on two threads.

    python -m benchmarks.explanations

Networks for 112 x 112: the packaged reference network with a head for that size, and one of MobileFaceNet's plan
(arXiv:1804.07573; 1 million parameters, 220 million multiplications an image). Neither is trained: what a gradient
costs does not depend on the weights, but how many a map takes does, so they are shown. The packaged reference models
run at their own 64 x 64, trained, on rendered faces. Wall time, the best of several rounds; and what the CPU time says,
which a busy machine disturbs less.
"""

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.train_reference_models import EMBEDDING_DIM, RECIPES, build_network, probe_frames
from cv_quality.error_analysis.explanations.pair_score import (
    Pairs,
    PairScore,
    load_explained_model,
    module_score,
    torch_threads,
)
from cv_quality.error_analysis.explanations.saliency import EXPLAINERS, average_face, in_parallel, integrate
from cv_quality.inference.framing import Batch
from cv_quality.inference.registry import ModelRegistry
from cv_quality.settings import REFERENCE_MODELS
from cv_quality.simulation.identity import IdentitySpace
from cv_quality.tasks.verification.modalities.face import FACE

if TYPE_CHECKING:
    from torch import nn

THREADS = 2
PAIRS = 16
ROUNDS = 3
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, repeats and stride of MobileFaceNet's blocks."""


def reference_network_at_112() -> "nn.Module":
    """The network of face-1.1 and face-1.2 with a head for 112 x 112."""
    import torch

    torch.manual_seed(0)
    network = build_network(RECIPES[1])
    network[-2] = torch.nn.Linear(RECIPES[1].widths[-1] * 7 * 7, EMBEDDING_DIM, bias=False)
    return network.eval()


def mobile_network() -> "nn.Module":
    """A network of MobileFaceNet's plan, untrained: `[n, 3, 112, 112]` to `[n, 128]`."""
    import torch
    from torch import nn

    def convolution(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        padding = size // 2 if size < 7 else 0
        layer = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        return [layer, nn.BatchNorm2d(outputs)]

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, outputs: int, *, wider: int, stride: int) -> None:
            super().__init__()
            inner = wider * inputs
            self.is_residual = stride == 1 and inputs == outputs
            self.layers = nn.Sequential(
                *(*convolution(inputs, inner, 1), nn.PReLU(inner)),
                *(*convolution(inner, inner, 3, stride=stride, groups=inner), nn.PReLU(inner)),
                *convolution(inner, outputs, 1),
            )

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layers(batch)
            return batch + found if self.is_residual else found

    torch.manual_seed(0)
    layers = [*convolution(3, 64, 3, stride=2), nn.PReLU(64), *convolution(64, 64, 3, groups=64), nn.PReLU(64)]
    channels = 64
    for wider, outputs, repeats, stride in BOTTLENECKS:
        for number in range(repeats):
            layers.append(Bottleneck(channels, outputs, wider=wider, stride=stride if number == 0 else 1))
            channels = outputs
    layers += [*convolution(128, 512, 1), nn.PReLU(512), *convolution(512, 512, 7, groups=512)]
    layers += [*convolution(512, 128, 1), nn.Flatten()]
    return nn.Sequential(*layers).eval()


def random_pairs(*, channels: int, side: int, dimension: int) -> Pairs:
    """Smooth random images and random unit references."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(PAIRS, channels, side // 8, side // 8)).astype(np.float32)
    inputs = np.kron(coarse, np.ones((1, 1, 8, 8), np.float32)) + 0.1 * rng.normal(size=(PAIRS, channels, side, side))
    references = rng.normal(size=(PAIRS, dimension)).astype(np.float32)
    references /= np.linalg.norm(references, axis=1, keepdims=True)
    return Pairs(inputs.astype(np.float32), references, tuple(map(str, range(PAIRS))))


def rendered_pairs(build: str) -> tuple[PairScore, Pairs]:
    """A packaged build, and attempts of rendered people in harsh conditions with the references of their own."""
    registry = ModelRegistry(REFERENCE_MODELS, modalities={"face": FACE})
    model = load_explained_model(registry.model_entry(build), registry=registry, threads=1)
    frames = probe_frames(IdentitySpace.VALIDATION, "harsh", seed=0, people=PAIRS)
    inputs, _ = model.inputs(list(frames.attempts[::4]), illuminance_lux=frames.attempts_lux[::4].tolist())
    enrolled, _ = model.inputs(list(frames.enrolment[::3]), illuminance_lux=frames.enrolment_lux[::3].tolist())
    return model.score, Pairs(inputs, embedded(model.score, enrolled), tuple(map(str, range(PAIRS))))


def embedded(score: PairScore, inputs: Batch) -> NDArray[np.float32]:
    """Unit vectors of a batch."""
    import torch

    with torch.inference_mode():
        vectors = torch.nn.functional.normalize(score.embed(torch.from_numpy(inputs)), dim=1)
    return np.asarray(vectors.numpy(), dtype=np.float32)


def measure(name: str, score: PairScore, pairs: Pairs) -> None:
    """Print pairs a second of each map and of both, and how many steps the gradients took."""
    baseline = average_face(pairs)
    explainers = [in_parallel(explain, threads=THREADS) for explain in EXPLAINERS.values()]
    rounds, started = [], 0.0
    for number in range(ROUNDS + 1):
        if number == 1:  # the first round warms up
            started = time.process_time()
        times = [time.perf_counter()]
        for explain in explainers:
            explain(score, pairs, baseline)
            times.append(time.perf_counter())
        rounds.append(np.diff(times))
    free = THREADS * ROUNDS * len(pairs) / (time.process_time() - started)
    seconds = np.array(rounds[1:])
    gradients, occlusions = len(pairs) / seconds.min(axis=0)
    steps = np.bincount(integrate(score, pairs, baseline=baseline).steps)
    taken = ", ".join(f"{steps[count]} pairs {count} steps" for count in np.flatnonzero(steps))
    size = "x".join(map(str, pairs.inputs.shape[1:]))
    print(f"{name} {size}, {THREADS} threads: integrated gradients {gradients:.1f}/s ({taken})", end="")
    print(f", occlusion {occlusions:.1f}/s, both {(len(pairs) / seconds.sum(axis=1)).max():.1f} pairs/s", end="")
    print(f" ({free:.1f} by the CPU time of {THREADS} cores)", flush=True)


def main() -> None:
    with torch_threads(1):
        for build in ("face-1.0", "face-1.1"):
            measure(build, *rendered_pairs(build))
        at_112 = random_pairs(channels=1, side=112, dimension=EMBEDDING_DIM)
        measure("the network of face-1.1", module_score(reference_network_at_112()), at_112)
        mobile = random_pairs(channels=3, side=112, dimension=128)
        measure("a network like MobileFaceNet", module_score(mobile_network()), mobile)


if __name__ == "__main__":
    main()
