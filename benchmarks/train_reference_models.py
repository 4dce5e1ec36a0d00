"""Train the two reference embeddings of the simulated fleet and write them with their registry entries.
Run as `python -m benchmarks.train_reference_models --out DIR --seed 0`; the people it trains and tunes on
come from seed streams that no evaluation draws from. Loading models for an evaluation is `cv_quality.inference`'s task.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from cv_quality.inference.preprocessing import parse_steps, prepare
from cv_quality.metrics.verification import eer, rates_at
from cv_quality.simulation.conditions import (
    CaptureConditions,
    FloatArray,
    benign_conditions,
    harsh_conditions,
    low_light_conditions,
)
from cv_quality.simulation.fleet import CAMERAS
from cv_quality.simulation.identity import IdentitySpace, draw_people
from cv_quality.simulation.rendering import render

if TYPE_CHECKING:
    import torch
    from torch import nn

logger = logging.getLogger(__name__)

EMBEDDING_DIM: Final = 64
INPUT_SIZE: Final = 64
BELOW_LUX: Final = 10.0
RIGHT_GAMMA: Final = 0.5
WRONG_GAMMA: Final = 1.4
_MEAN, _STD = 0.5, 0.25
_BATCH: Final = 96
_SCALE: Final = 24.0
_MARGIN: Final = 0.2
# Reading the drawn traits off the embedding teaches geometry in a tenth of the steps that labels alone need.
_TRAIT_WEIGHT: Final = 8.0
TARGET_FMR: Final = {"face-a": 1e-2, "face-b": 1e-3}
"""The older model is set to the FMR at which it is of use: at 1e-3 it rejects a quarter of the genuine attempts."""
_TUNING_PEOPLE: Final = 400

ConditionSampler = Callable[..., CaptureConditions]
CONDITION_SETS: Final[dict[str, ConditionSampler]] = {
    "benign": benign_conditions,
    "harsh": harsh_conditions,
    "low_light": low_light_conditions,
}
Embed = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is built: people and frames it learns from, passes over them, width of its four stages."""

    name: str
    people: int
    frames: dict[str, int]
    epochs: int
    widths: tuple[int, int, int, int]
    is_refined: bool


RECIPES: Final = (
    Recipe("face-a", 1000, {"benign": 4, "harsh": 2, "low_light": 2}, 20, (16, 24, 48, 64), is_refined=False),
    Recipe("face-b", 4000, {"benign": 5, "harsh": 4, "low_light": 4}, 11, (16, 32, 64, 96), is_refined=True),
)


@dataclass(frozen=True, slots=True)
class Build:
    """One build of the registry: which model, after which build, and the exponent of its low-light tone curve."""

    build_id: str
    follows: str | None
    model: str
    gamma: float


BUILDS: Final = (
    Build("face-1.0", None, "face-a", RIGHT_GAMMA),
    Build("face-1.1", "face-1.0", "face-b", RIGHT_GAMMA),
    Build("face-1.2", "face-1.1", "face-b", WRONG_GAMMA),
)


def _preprocessing_steps(gamma: float) -> list[str | dict[str, object]]:
    """Make the registry's preprocessing list of a build whose tone curve has this exponent."""
    return [
        "gray",
        {"tone_curve": {"below_lux": BELOW_LUX, "gamma": gamma}},
        {"resize": [INPUT_SIZE, INPUT_SIZE]},
        {"scale": {"mean": _MEAN, "std": _STD}},
    ]


def _preprocess(frames: NDArray[np.uint8], illuminance_lux: FloatArray, *, gamma: float) -> NDArray[np.float32]:
    """What the model of a build with this tone curve eats: float32[n, 1, 64, 64] of frames uint8[n, h, w]."""
    steps = parse_steps(_preprocessing_steps(gamma), where="preprocessing")
    return prepare(list(frames), steps=steps, illuminance_lux=illuminance_lux.tolist())


def build_network(recipe: Recipe) -> nn.Sequential:
    """Build four strided convolution stages, a linear map to 64 numbers; 110 to 230 thousand parameters."""
    from torch import nn

    def stage(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.PReLU(outputs)]

    first, second, third, last = recipe.widths
    layers = stage(1, first, 2) + stage(first, second, 2)
    layers += stage(second, second, 1) if recipe.is_refined else []
    layers += stage(second, third, 2)
    layers += stage(third, third, 1) if recipe.is_refined else []
    layers += stage(third, last, 2)
    cells = (INPUT_SIZE // 16) ** 2
    head = nn.Linear(last * cells, EMBEDDING_DIM, bias=False)
    return nn.Sequential(*layers, nn.Flatten(), head, nn.BatchNorm1d(EMBEDDING_DIM))


def _training_set(recipe: Recipe, *, seed: int, threads: int) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Preprocessed frames float16[n, 1, 64, 64] and the number of the person in each."""
    people = draw_people(IdentitySpace.TRAINING, seed=seed, count=recipe.people)
    images, labels = [], []
    for name, repeats in recipe.frames.items():
        who = np.repeat(np.arange(recipe.people), repeats)
        conditions = CONDITION_SETS[name](len(who), seed=seed + 17, camera_count=len(CAMERAS))
        for start in range(0, len(who), 2000):
            rows = slice(start, start + 2000)
            frames = render(people[who[rows]], conditions.take(rows), cameras=CAMERAS, threads=threads)
            inputs = _preprocess(frames, conditions.illuminance_lux[rows], gamma=RIGHT_GAMMA)
            images.append(inputs.astype(np.float16))
        labels.append(who)
    return np.concatenate(images), np.concatenate(labels)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What a network learns against: a direction for each person, and a reader of their standardised traits."""

    network: nn.Sequential
    classes: torch.nn.Parameter
    reader: nn.Linear
    traits: torch.Tensor

    def losses(self, inputs: torch.Tensor, who: torch.Tensor, *, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the margin loss of one batch, and the mean squared error of the traits read off its embeddings."""
        embeddings = self.network(inputs)
        misread = (self.reader(embeddings) - self.traits[who]).square().mean()
        return _margin_loss(embeddings, self.classes, who, margin=margin), misread


def train(recipe: Recipe, *, seed: int, threads: int) -> nn.Sequential:
    """Train a network, returned in eval mode: cosine-margin softmax (CosFace, arXiv:1801.09414) and trait reading.

    Args:
        recipe: of the model.
        seed: of people, frames and weights.
        threads: of torch and rendering.
    """
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    images, labels = _training_set(recipe, seed=seed, threads=threads)
    logger.info("%s: %d frames of %d people", recipe.name, len(labels), recipe.people)
    lesson = _lesson(recipe, seed=seed)
    parameters = [*lesson.network.parameters(), *lesson.reader.parameters(), lesson.classes]
    steps = recipe.epochs * (len(labels) // _BATCH)
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps, pct_start=0.15)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(55,)))
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(labels))
        history = []
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            rows = order[start : start + _BATCH]
            inputs = torch.from_numpy(_augment(images[rows].astype(np.float32), rng))
            # A margin from the first step stalls a young network at the loss of a blind guess.
            margin = _MARGIN * min(1.0, 3 * schedule.last_epoch / steps)
            loss, misread = lesson.losses(inputs, torch.from_numpy(labels[rows]), margin=margin)
            optimiser.zero_grad()
            torch.autograd.backward([loss + _TRAIT_WEIGHT * misread])
            optimiser.step()
            schedule.step()
            history.append([float(loss.detach()), float(misread.detach())])
        mean_loss, mean_misread = np.mean(history, axis=0)
        logger.info("%s: epoch %d, loss %.3f, traits %.3f", recipe.name, epoch + 1, mean_loss, mean_misread)
    torch.use_deterministic_algorithms(False)
    return lesson.network.eval()


def _lesson(recipe: Recipe, *, seed: int) -> _Lesson:
    import torch

    network = build_network(recipe)
    classes = torch.nn.Parameter(torch.randn(recipe.people, EMBEDDING_DIM))
    people = draw_people(IdentitySpace.TRAINING, seed=seed, count=recipe.people)
    traits = torch.from_numpy(_visible_traits(people))
    return _Lesson(network, classes, torch.nn.Linear(EMBEDDING_DIM, traits.shape[1]), traits)


def _visible_traits(people: NDArray[np.float32]) -> NDArray[np.float32]:
    """The identity vectors float32[n, 35] standardised by column: what an embedding ought to know of a face."""
    return np.asarray((people - people.mean(axis=0)) / people.std(axis=0), np.float32)


def _augment(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shift each image [1, 64, 64] by up to two pixels and change its brightness and contrast a little."""
    moved = np.empty_like(images)
    for row, (down, right) in enumerate(rng.integers(-2, 3, (len(images), 2))):
        moved[row] = np.roll(images[row], (down, right), axis=(1, 2))
    gain = 1 + 0.06 * rng.standard_normal((len(images), 1, 1, 1), np.float32)
    offset = 0.10 * rng.standard_normal((len(images), 1, 1, 1), np.float32)
    return np.asarray(moved * gain + offset, np.float32)


def _margin_loss(
    embeddings: torch.Tensor, classes: torch.Tensor, labels: torch.Tensor, *, margin: float
) -> torch.Tensor:
    """Cross entropy over cosines, the own class's cosine lowered by the margin before scaling."""
    from torch.nn import functional

    cosines = functional.linear(functional.normalize(embeddings), functional.normalize(classes))
    penalty = functional.one_hot(labels, cosines.shape[1]) * margin
    return functional.cross_entropy(_SCALE * (cosines - penalty), labels)


def export(network: nn.Sequential, path: Path, *, example: torch.Tensor) -> None:
    """Write the network as a torch.export archive with a dynamic batch dimension, without the paths of this machine.

    Args:
        network: in eval mode.
        path: of the archive.
        example: an input of two images.
    """
    import torch

    from cv_quality.inference.archive import harmless_archive

    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(harmless_archive(buffer.getvalue(), name=path.name).getvalue())


def _embed_with(network: nn.Module, *, gamma: float) -> Embed:
    """Make a function from frames uint8[n, h, w] and their lux to unit embeddings float32[n, 64]."""
    import torch

    def embed(frames: NDArray[np.uint8], illuminance_lux: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            raw = network(torch.from_numpy(_preprocess(frames, illuminance_lux, gamma=gamma))).numpy()
        return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), np.float32)

    return embed


@dataclass(frozen=True, slots=True)
class ProbeFrames:
    """Rendered frames of unseen people: three enrolment frames and four attempts each, with the attempts' lux."""

    enrolment: NDArray[np.uint8]
    enrolment_lux: NDArray[np.float32]
    attempts: NDArray[np.uint8]
    attempts_lux: NDArray[np.float32]
    people: int


def probe_frames(space: IdentitySpace, condition_set: str, *, seed: int, people: int, threads: int = 1) -> ProbeFrames:
    """Render benign enrolments and attempts of people of one identity space.

    Args:
        space: a seed stream.
        condition_set: of the attempts, one of `CONDITION_SETS`.
        seed: of people and conditions.
        people: how many.
        threads: of rendering.
    """
    who = draw_people(space, seed=seed, count=people)
    enrol = benign_conditions(3 * people, seed=seed + 1, camera_count=len(CAMERAS))
    attempt = CONDITION_SETS[condition_set](4 * people, seed=seed + 2, camera_count=len(CAMERAS))
    return ProbeFrames(
        render(np.repeat(who, 3, axis=0), enrol, cameras=CAMERAS, threads=threads),
        enrol.illuminance_lux,
        render(np.repeat(who, 4, axis=0), attempt, cameras=CAMERAS, threads=threads),
        attempt.illuminance_lux,
        people,
    )


def probe_scores(frames: ProbeFrames, embed: Embed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score genuine pairs [4 n] and all impostor scores [4 n (n - 1)] against references fused from three frames."""
    enrolment = embed(frames.enrolment, frames.enrolment_lux).reshape(frames.people, 3, -1).sum(axis=1)
    references = enrolment / np.linalg.norm(enrolment, axis=1, keepdims=True)
    scores = embed(frames.attempts, frames.attempts_lux) @ references.T
    is_genuine = np.repeat(np.eye(frames.people, dtype=bool), 4, axis=0)
    return scores[is_genuine], scores[~is_genuine]


def threshold_at_fmr(impostor: NDArray[np.float32], *, fmr: float) -> float:
    """Find the lowest threshold that accepts at most a share `fmr` of the impostor scores, rounded up to 1e-4."""
    highest_kept = float(np.quantile(impostor, 1 - fmr, method="higher"))
    return round(math.floor(highest_kept * 1e4 + 1) / 1e4, 4)


def registry_entry(build: Build, *, sha256: str, threshold: float) -> dict[str, object]:
    """Make the registry mapping of one build.

    Args:
        build: which model it has.
        sha256: digest of the model file.
        threshold: of the decision.
    """
    return {
        "build_id": build.build_id,
        "modality": "face",
        "follows": build.follows,
        "format": "torch_export",
        "file": f"{build.model}.pt2",
        "sha256": sha256,
        "embedding_dim": EMBEDDING_DIM,
        "decision_threshold": threshold,
        "preprocessing": _preprocessing_steps(build.gamma),
    }


def write_registry(
    out: Path, networks: dict[str, nn.Sequential], *, seed: int, threads: int, people: int = _TUNING_PEOPLE
) -> dict[str, float]:
    """Export each network and write one YAML a build; a model's threshold is tuned once, with the right curve.

    Returns the decision threshold of each model.

    Args:
        out: folder of the registry.
        networks: by name of the model.
        seed: of the tuning people.
        threads: of rendering.
        people: that thresholds are tuned on.
    """
    import torch

    tuning = probe_frames(IdentitySpace.VALIDATION, "benign", seed=seed + 900, people=people, threads=threads)
    digests, thresholds = {}, {}
    for name, network in networks.items():
        export(network, out / f"{name}.pt2", example=torch.zeros(2, 1, INPUT_SIZE, INPUT_SIZE))
        digests[name] = hashlib.sha256((out / f"{name}.pt2").read_bytes()).hexdigest()
        _, impostor = probe_scores(tuning, _embed_with(network, gamma=RIGHT_GAMMA))
        thresholds[name] = threshold_at_fmr(impostor, fmr=TARGET_FMR[name])
    for build in BUILDS:
        if build.model in networks:
            entry = registry_entry(build, sha256=digests[build.model], threshold=thresholds[build.model])
            text = yaml.safe_dump(entry, sort_keys=False, default_flow_style=None)
            (out / f"{build.build_id}.yaml").write_text(text, encoding="utf-8")
    return thresholds


def _log_error_rates(
    networks: dict[str, nn.Sequential], *, thresholds: dict[str, float], seed: int, threads: int
) -> None:
    """Log EER, and FMR and FNMR at the decision threshold, of every build under each condition set.

    The people are neither trained nor tuned on.
    """
    for name in CONDITION_SETS:
        frames = probe_frames(IdentitySpace.VALIDATION, name, seed=seed + 901, people=300, threads=threads)
        for build in BUILDS:
            if build.model not in networks:
                continue
            genuine, impostor = probe_scores(frames, _embed_with(networks[build.model], gamma=build.gamma))
            rates = rates_at(genuine, impostor, threshold=thresholds[build.model])
            crossing = eer(genuine, impostor).value
            logger.info("%s %s: EER %.4f, FMR %.5f, FNMR %.4f", build.build_id, name, crossing, rates.fmr, rates.fnmr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the models and write the registry folder, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=[recipe.name for recipe in RECIPES], default=None)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    networks = {}
    for recipe in RECIPES:
        if options.only in (None, recipe.name):
            started = time.monotonic()
            networks[recipe.name] = train(recipe, seed=options.seed, threads=options.threads)
            logger.info("%s: trained in %.0f s", recipe.name, time.monotonic() - started)
    thresholds = write_registry(options.out, networks, seed=options.seed, threads=options.threads)
    _log_error_rates(networks, thresholds=thresholds, seed=options.seed, threads=options.threads)


if __name__ == "__main__":
    main()
