"""Identity vectors of simulated faces: their layout, and the three seed streams they are drawn from.
No pixels here (see `rendering.py`) and no study attributes beyond those that show in a face (see `population.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

LATENT_DIM: Final = 32
"""Independent N(0, 1) numbers that move geometry and texture."""

SKIN_TONE_COLUMN: Final = LATENT_DIM
AGE_COLUMN: Final = LATENT_DIM + 1
MASCULINITY_COLUMN: Final = LATENT_DIM + 2
IDENTITY_DIM: Final = LATENT_DIM + 3
"""Latents, then Monk skin tone 1..10, age 0 (18 years) .. 1 (80 years), masculinity -1..1."""

AGE_BANDS: Final = ("18-29", "30-44", "45-59", "60+")
_AGE_RANGES: Final = ((0.0, 0.19), (0.19, 0.43), (0.43, 0.67), (0.67, 1.0))
_MASCULINITY: Final = {"female": -0.8, "other": 0.0, "male": 0.8}


class IdentitySpace(IntEnum):
    """The disjoint seed streams: nobody who trained or tuned a model is ever met in an evaluation."""

    TRAINING = 1
    VALIDATION = 2
    EVALUATION = 3


def draw_latents(space: IdentitySpace, *, seed: int, indices: Sequence[int]) -> NDArray[np.float32]:
    """Draw latents of numbered people of one space, float32[n, 32].

    The space is part of the seed sequence's key, so equal seeds and indices of two spaces are unrelated people.

    Args:
        space, seed: a seed stream, and the seed of the simulation.
        indices: numbers of the people.
    """
    keys = [np.random.SeedSequence(seed, spawn_key=(int(space), int(index))) for index in indices]
    rows = [np.random.Generator(np.random.SFC64(key)).standard_normal(LATENT_DIM, np.float32) for key in keys]
    return np.stack(rows) if rows else np.empty((0, LATENT_DIM), np.float32)


def build_identities(
    latents: NDArray[np.float32],
    *,
    skin_tones: NDArray[np.int64],
    ages: NDArray[np.float32],
    masculinity: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Build identity vectors float32[n, 35].

    Args:
        latents: float32[n, 32].
        skin_tones, ages, masculinity: the three visible attributes, each [n].
    """
    visible = np.stack([skin_tones.astype(np.float32), ages, masculinity], axis=1)
    return np.concatenate([latents, visible], axis=1).astype(np.float32)


def draw_people(space: IdentitySpace, *, seed: int, count: int) -> NDArray[np.float32]:
    """Draw identity vectors float32[count, 35] with uniform skin tone, age and sex, to train and tune models.

    Args:
        space, seed, count: a seed stream, the seed of the simulation, and the number of people.
    """
    latents = draw_latents(space, seed=seed, indices=range(count))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(space), 0, count, 7)))
    return build_identities(
        latents,
        skin_tones=rng.integers(1, 11, count),
        ages=rng.random(count, np.float32),
        masculinity=rng.choice(np.array([-0.8, 0.8], np.float32), count),
    )


def age_in_band(age_band: str, *, position: float) -> float:
    """Convert a band of `AGE_BANDS` to the renderer's age 0..1; `position` 0..1 is the place inside the band."""
    low, high = _AGE_RANGES[AGE_BANDS.index(age_band)]
    return low + (high - low) * position


def masculinity_of(sex: str, *, offset: float) -> float:
    """Convert a recorded sex to the renderer's scale -1..1; `offset` is the person's own shift."""
    return float(np.clip(_MASCULINITY[sex] + offset, -1.0, 1.0))
