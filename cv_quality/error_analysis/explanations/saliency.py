"""Saliency maps of a pair score: what each place of the probe adds to it, by integrated gradients or occlusion.

Both compare the probe with one baseline image, an average face, so that a place is credited for how it departs from
what an average face shows there. Whether a map may be believed is decided in `sanity`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.explanations.pair_score import PAIRS_AT_ONCE, Pairs, PairScore
from cv_quality.errors import ModelError

Method = Literal["integrated_gradients", "occlusion"]
METHODS: tuple[Method, ...] = ("integrated_gradients", "occlusion")
Image: TypeAlias = NDArray[np.float32]
Explainer = Callable[[PairScore, Pairs, Image], NDArray[np.float32]]
"""Pairs and a baseline `[c, h, w]` to maps `[n, h, w]`."""

MIN_STEPS, MAX_STEPS = 8, 128
"""Gauss-Legendre nodes to begin with, and at most."""
TOLERANCE = 0.02
"""Largest gap, in cosine, between the sum of a map and the score that it accounts for."""
CELLS = 8
"""Occluded squares along the longer side: 64 model calls a pair."""
NO_GRADIENTS = "integrated gradients need the gradient of the model, which ONNX Runtime does not give"


@dataclass(frozen=True, slots=True)
class IntegratedMaps:
    """Integrated gradients of pairs.

    Attributes:
        maps: float32 `[n, h, w]`, summed over the channels; each adds up to score(probe) - score(baseline) but `gaps`.
        gaps: sum of the map minus the difference of the scores, `[n]`.
        steps: gradients taken of each pair, `[n]`.
    """

    maps: NDArray[np.float32]
    gaps: NDArray[np.float64]
    steps: NDArray[np.int64]


def average_face(pairs: Pairs) -> Image:
    """Average the probes in the model's input coordinates, as a baseline, float32 `[c, h, w]`.

    Taken over matched passes, it makes the mean map of failures minus that of the passes add up to the score that
    the failures lost: the two scores of the baseline cancel where both are of one subject. A black or blurred image
    would not do: black lies far from everything that the models were trained on, and a blurred probe keeps the light
    that the failure may be about.
    """
    return np.asarray(pairs.inputs.mean(axis=0, dtype=np.float64), dtype=np.float32)


def integrate(score: PairScore, pairs: Pairs, *, baseline: Image, tolerance: float = TOLERANCE) -> IntegratedMaps:
    """Integrate gradients (Sundararajan et al., arXiv:1703.01365): (x - b) times the mean gradient from b to x.

    Args:
        score, pairs: what is explained, and its arguments.
        baseline: b, `[c, h, w]`.
        tolerance: a pair whose map misses the difference of its scores by more is done again with twice the steps.

    Raises:
        ModelError: the score has no gradient.
    """
    if not score.is_differentiable:
        raise ModelError(f"{NO_GRADIENTS}; export the model with torch.export, or use occlusion")
    owed = score.of(pairs) - score.of(pairs.showing(np.broadcast_to(baseline, pairs.inputs.shape).copy()))
    maps = np.zeros((len(pairs), *pairs.inputs.shape[2:]), np.float32)
    gaps, taken = np.full(len(pairs), np.inf), np.zeros(len(pairs), np.int64)
    count = MIN_STEPS
    while len(open_rows := np.flatnonzero(np.abs(gaps) > tolerance)) and count <= MAX_STEPS:
        maps[open_rows] = _integrated(score, pairs.take(open_rows), baseline=baseline, steps=count)
        gaps[open_rows] = maps[open_rows].sum(axis=(1, 2), dtype=np.float64) - owed[open_rows]
        taken[open_rows] = count
        count *= 2
    return IntegratedMaps(maps, gaps, taken)


def integrated_gradients(score: PairScore, pairs: Pairs, baseline: Image) -> NDArray[np.float32]:
    """Compute the maps of `integrate`; arguments and shape as of an `Explainer`."""
    return integrate(score, pairs, baseline=baseline).maps


def occlusion(score: PairScore, pairs: Pairs, baseline: Image, *, cells: int = CELLS) -> NDArray[np.float32]:
    """Compute the score that is lost when a square shows the baseline instead of the probe (arXiv:1311.2901).

    A map does not add up to the score.

    Args:
        score, pairs: what is explained, and its arguments.
        baseline: what a square shows, `[c, h, w]`.
        cells: squares, side by side, along the longer side.
    """
    import torch
    from captum.attr import Occlusion

    channels, height, width = pairs.inputs.shape[1:]
    side = max(1, ceil(max(height, width) / cells))
    square = (channels, min(side, height), min(side, width))
    shown, method = torch.from_numpy(baseline)[None], Occlusion(score)
    parts = [np.zeros((0, height, width), np.float32)]
    with torch.inference_mode():
        for rows in _chunks(pairs):
            credit = method.attribute(
                torch.from_numpy(rows.inputs),
                sliding_window_shapes=square,
                strides=square,
                baselines=shown.expand(len(rows), -1, -1, -1),
                additional_forward_args=(torch.from_numpy(rows.references),),
                perturbations_per_eval=max(1, PAIRS_AT_ONCE // len(rows)),
            )
            # Captum credits a square to each of its channels.
            parts.append(credit.mean(dim=1).numpy().astype(np.float32))
    return np.concatenate(parts)


def in_parallel(explain: Explainer, *, threads: int) -> Explainer:
    """Share the pairs of an explainer out over threads; torch's own are best set to one then.

    Torch's threads wait for each other at every layer, which costs a hundredfold where the cores are busy otherwise.
    """

    def explained(score: PairScore, pairs: Pairs, baseline: Image) -> NDArray[np.float32]:
        shares = [rows for rows in np.array_split(np.arange(len(pairs)), threads) if len(rows)]
        with ThreadPoolExecutor(max(1, len(shares))) as pool:
            maps = list(pool.map(lambda rows: explain(score, pairs.take(rows), baseline), shares))
        return np.concatenate(maps) if maps else np.zeros((0, *pairs.inputs.shape[2:]), np.float32)

    return explained


EXPLAINERS: dict[Method, Explainer] = {"integrated_gradients": integrated_gradients, "occlusion": occlusion}


def _integrated(score: PairScore, pairs: Pairs, *, baseline: Image, steps: int) -> NDArray[np.float32]:
    import torch
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(score)
    parts = []
    for rows in _chunks(pairs):
        credit = method.attribute(
            torch.from_numpy(rows.inputs),
            baselines=torch.from_numpy(baseline)[None].expand(len(rows), -1, -1, -1),
            additional_forward_args=(torch.from_numpy(rows.references),),
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=PAIRS_AT_ONCE,
        )
        parts.append(credit.sum(dim=1).detach().numpy().astype(np.float32))
    return np.concatenate(parts)


def _chunks(pairs: Pairs) -> list[Pairs]:
    starts = range(0, len(pairs), PAIRS_AT_ONCE)
    return [pairs.take(range(start, min(start + PAIRS_AT_ONCE, len(pairs)))) for start in starts]
