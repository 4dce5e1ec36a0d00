"""Train the liveness detector of the simulated fleet and write it with its registry entries.

Run as `python -m benchmarks.train_liveness_model --out DIR --seed 0`; the people whom it sees come from the training
and validation seed streams, from which no simulation draws. `pad-1.0` and `pad-1.1` are one model: the latter halves
its frames first. It never learns what a photo on the finest screen looks like then, as it was trained for whole frames.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.train_reference_models import export
from cv_quality.inference.liveness.scorer import scores_of
from cv_quality.inference.preprocessing import parse_steps, prepare
from cv_quality.simulation.attacks.artefacts import REPLAY_PHOTO, SERIES, Shown, render_attacks
from cv_quality.simulation.attacks.plan import PRESENTED
from cv_quality.simulation.conditions import CaptureConditions, benign_conditions
from cv_quality.simulation.fleet import CAMERAS
from cv_quality.simulation.identity import IdentitySpace, draw_people
from cv_quality.simulation.rendering import FRAME_SIZE, render

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

MODEL: Final = "pad-a"
BONA_FIDE: Final = 1
FINEST: Final = (REPLAY_PHOTO, "oled-460")
HALF: Final = FRAME_SIZE // 2
_BATCH: Final = 64
_HALVED_SHARE: Final = 0.4
_SMOOTHING: Final = 0.05
_MEAN, _STD = 0.5, 0.25

Step = str | dict[str, object]
WHOLE: Final[list[Step]] = ["gray", {"resize": [FRAME_SIZE, FRAME_SIZE]}, {"scale": {"mean": _MEAN, "std": _STD}}]
HALVED: Final[list[Step]] = ["gray", {"resize": [HALF, HALF]}, *WHOLE[1:]]
BUILDS: Final = {"pad-1.0": (None, WHOLE), "pad-1.1": ("pad-1.0", HALVED)}


def presented(count: int, *, seed: int) -> CaptureConditions:
    """Draw conditions under which detectors are presented with faces and artefacts, as `plan.PRESENTED` says."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(311,)))
    drawn = {name: drawing(rng, count).astype(np.float32) for name, drawing in PRESENTED.items()}
    others = benign_conditions(count, seed=seed, camera_count=len(CAMERAS))
    return replace(others, **drawn, eyewear=rng.choice(2, count, p=[0.65, 0.35]))  # type: ignore[arg-type]


def examples(
    space: IdentitySpace, *, seed: int, people: int, threads: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[tuple[str, str]]]:
    """Render frames uint8[n, 96, 96] of people and of artefacts, with 1 where bona fide, and what each shows."""
    identities = draw_people(space, seed=seed, count=people)
    kinds = [(species, series) for species, all_series in SERIES.items() for series in all_series]
    who = np.tile(np.arange(people), len(kinds))
    live = render(identities[who], presented(len(who), seed=seed + 1), cameras=CAMERAS, threads=threads)
    what = [kind for kind in kinds for _ in range(people)]
    shown = [
        Shown(species, series, identities[person], seed=int(place) + 1_000_003 * (seed + 2))
        for place, (person, (species, series)) in enumerate(zip(who, what, strict=True))
    ]
    attacks = render_attacks(shown, presented(len(shown), seed=seed + 3), cameras=CAMERAS, threads=threads)
    labels = np.repeat([BONA_FIDE, 0], [len(live), len(attacks)])
    return np.concatenate([live, attacks]), labels, [("", "")] * len(live) + what


def prepared(frames: NDArray[np.uint8], steps: Sequence[Step]) -> NDArray[np.float32]:
    """What the model eats of frames, after the steps of a registry entry: float32[n, 1, 96, 96]."""
    lux = [None] * len(frames)
    return prepare(list(frames), steps=parse_steps(list(steps), where="preprocessing"), illuminance_lux=lux)


def build_network() -> nn.Sequential:
    """Build five convolutions, the first at full resolution, averaged over the picture: 21 thousand parameters."""
    from torch import nn

    def stage(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*stage(1, 8, 1), *stage(8, 16, 2), *stage(16, 24, 2), *stage(24, 32, 2), *stage(32, 32, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))


def train(*, seed: int, people: int, epochs: int, threads: int) -> nn.Sequential:
    """Train the network, returned in eval mode.

    Args:
        seed: of people, frames and weights.
        people: each before the camera once for every series of artefacts, and in an artefact of it.
        epochs: passes over the frames.
        threads: of torch and rendering.
    """
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    frames, labels, what = examples(IdentitySpace.TRAINING, seed=seed, people=people, threads=threads)
    whole, halved = (prepared(frames, steps).astype(np.float16) for steps in (WHOLE, HALVED))
    may_be_halved = np.array([kind != FINEST for kind in what])
    logger.info("%d frames of %d people", len(frames), people)
    network = build_network()
    steps = epochs * (len(labels) // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=6e-3, total_steps=steps, pct_start=0.2)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(56,)))
    for epoch in range(epochs):
        order, history = rng.permutation(len(labels)), []
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            rows = order[start : start + _BATCH]
            is_halved = may_be_halved[rows] & (rng.random(_BATCH) < _HALVED_SHARE)
            images = np.where(is_halved[:, None, None, None], halved[rows], whole[rows])
            outputs = network(torch.from_numpy(_augmented(images.astype(np.float32), rng)))
            loss = functional.cross_entropy(outputs, torch.from_numpy(labels[rows]), label_smoothing=_SMOOTHING)
            optimiser.zero_grad()
            torch.autograd.backward([loss])
            optimiser.step()
            schedule.step()
            history.append(float(loss.detach()))
        logger.info("epoch %d, loss %.3f", epoch + 1, np.mean(history))
    torch.use_deterministic_algorithms(False)
    return network.eval()


def _augmented(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Mirror half of the images, and change brightness and contrast a little."""
    mirrored = np.where(rng.random((len(images), 1, 1, 1)) < 0.5, images, images[..., ::-1])
    gain = 1 + 0.06 * rng.standard_normal((len(images), 1, 1, 1), np.float32)
    offset = 0.10 * rng.standard_normal((len(images), 1, 1, 1), np.float32)
    return np.ascontiguousarray(mirrored * gain + offset, np.float32)


def scored(network: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Score prepared frames, as a build does."""
    import torch

    with torch.inference_mode():
        parts = [network(torch.from_numpy(inputs[at : at + 256])).numpy() for at in range(0, len(inputs), 256)]
    return scores_of(np.concatenate(parts), bona_fide=BONA_FIDE)


def write_registry(out: Path, network: nn.Sequential, *, threshold: float) -> None:
    """Write the model and the entries of both builds."""
    import torch

    export(network, out / f"{MODEL}.pt2", example=torch.zeros(2, 1, FRAME_SIZE, FRAME_SIZE))
    digest = hashlib.sha256((out / f"{MODEL}.pt2").read_bytes()).hexdigest()
    for build, (follows, steps) in BUILDS.items():
        model = {"format": "torch_export", "file": f"{MODEL}.pt2", "sha256": digest, "preprocessing": steps}
        entry = {
            "build_id": build,
            "modality": "liveness",
            "follows": follows,
            "decision_threshold": threshold,
            "score": {"softmax": BONA_FIDE},
            "models": [model],
        }
        text = yaml.safe_dump(entry, sort_keys=False, default_flow_style=None)
        (out / f"{build}.yaml").write_text(text, encoding="utf-8")


def tuned_threshold(network: nn.Sequential, *, seed: int, people: int, threads: int) -> float:
    """Choose the threshold that rejects 2 % of unseen people, and log the errors of both builds there."""
    frames, labels, what = examples(IdentitySpace.VALIDATION, seed=seed + 900, people=people, threads=threads)
    live = scored(network, prepared(frames[labels == BONA_FIDE], WHOLE))
    threshold = round(float(np.quantile(live, 0.02)), 4)
    for build, (_, steps) in BUILDS.items():
        found = scored(network, prepared(frames, steps))
        logger.info("%s: BPCER %.4f", build, np.mean(found[labels == BONA_FIDE] < threshold))
        for kind in dict.fromkeys(what):
            rows = np.array([item == kind for item in what])
            logger.info("  %s %s: %.4f at or above", *kind, np.mean(found[rows] >= threshold))
    return threshold


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the model and write the registry folder, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    network = train(seed=options.seed, people=options.people, epochs=options.epochs, threads=options.threads)
    logger.info("trained in %.0f s", time.monotonic() - started)
    threshold = tuned_threshold(network, seed=options.seed, people=60, threads=options.threads)
    write_registry(options.out, network, threshold=threshold)


if __name__ == "__main__":
    main()
