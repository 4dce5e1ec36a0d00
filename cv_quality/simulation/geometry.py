"""Measures of a face from its identity vector: one declared table of parameters, one latent each.
Lengths are in head units (half the height of an average head); drawing them is in `drawing.py`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cv_quality.simulation.conditions import FloatArray
from cv_quality.simulation.identity import AGE_COLUMN, LATENT_DIM, MASCULINITY_COLUMN, SKIN_TONE_COLUMN

# Name, mean, standard deviation. The row number is the latent that moves it.
_MEASURES: Final = (
    ("head_width", 0.760, 0.063),
    ("head_height", 1.000, 0.054),
    ("jaw_taper", 0.100, 0.066),
    ("cheek_fullness", 0.100, 0.060),
    ("chin_squareness", 0.050, 0.080),
    ("hairline", -0.600, 0.098),
    ("hairline_curve", 0.350, 0.286),
    ("hair_part", 0.000, 0.182),
    ("hair_volume", 0.120, 0.052),
    ("hair_darkness", 0.650, 0.260),
    ("eye_spacing", 0.325, 0.041),
    ("eye_level", -0.110, 0.056),
    ("eye_width", 0.150, 0.026),
    ("eye_height", 0.068, 0.019),
    ("eye_tilt", 0.000, 0.174),
    ("iris_albedo", 0.160, 0.131),
    ("brow_gap", 0.165, 0.041),
    ("brow_thickness", 0.042, 0.016),
    ("brow_width", 0.205, 0.032),
    ("brow_tilt", -0.060, 0.189),
    ("brow_arch", 0.500, 0.652),
    ("nose_length", 0.390, 0.061),
    ("nose_width", 0.125, 0.032),
    ("nose_relief", 0.300, 0.145),
    ("mouth_gap", 0.245, 0.046),
    ("mouth_width", 0.265, 0.055),
    ("upper_lip", 0.050, 0.019),
    ("lower_lip", 0.068, 0.023),
    ("mouth_curve", 0.000, 0.377),
    ("lip_contrast", 0.420, 0.189),
    ("beard_tendency", 0.000, 1.000),
    ("asymmetry", 0.000, 0.024),
)
assert len(_MEASURES) == LATENT_DIM

_MASCULINE_SHIFTS: Final = {
    "brow_thickness": 0.008,
    "jaw_taper": -0.030,
    "upper_lip": -0.007,
    "nose_width": 0.008,
    "lip_contrast": -0.07,
}
_OLDER_SHIFTS: Final = {"hairline": -0.11, "hair_volume": -0.035, "upper_lip": -0.012, "eye_height": -0.010}

TEXTURE_WAVES: Final = 4
MOLE_COUNT: Final = 3
_TEXTURE_AMPLITUDE: Final = 0.075

# Reflectance of the ten Monk tones, lightest first. The span is narrower than skin's own so that one sensor exposure
# serves all tones, as face cameras are metered for.
_MONK_ALBEDO: Final = np.array([0.74, 0.70, 0.66, 0.60, 0.52, 0.43, 0.36, 0.30, 0.25, 0.21], np.float32)


def _blend(latents: FloatArray, *, columns: int, stream: int) -> FloatArray:
    """N(0, 1) blends float32[n, columns] of latents float32[n, 32], summed in an order that no batch size changes."""
    rng = np.random.default_rng(np.random.SeedSequence(20_260_901, spawn_key=(stream,)))
    matrix = rng.standard_normal((LATENT_DIM, columns))
    mixing = np.asarray(matrix / np.linalg.norm(matrix, axis=0), np.float32)
    return np.asarray((latents[:, :, None] * mixing[None]).sum(axis=1), np.float32)


def face_measures(identities: FloatArray) -> dict[str, FloatArray]:
    """Compute all measures of n faces, each float32[n, 1, 1] so that it multiplies planes [n, h, w].

    Latents are clipped to +-2.5 so that no face falls apart.
    """
    latents = identities[:, :LATENT_DIM].clip(-2.5, 2.5)
    measures: dict[str, FloatArray] = {
        name: mean + spread * latents[:, i] for i, (name, mean, spread) in enumerate(_MEASURES)
    }
    for column, shifts in ((MASCULINITY_COLUMN, _MASCULINE_SHIFTS), (AGE_COLUMN, _OLDER_SHIFTS)):
        for name, shift in shifts.items():
            measures[name] = measures[name] + shift * identities[:, column]
    measures |= _albedos(identities, measures)
    return {name: np.asarray(value, np.float32)[:, None, None] for name, value in measures.items()}


def _albedos(identities: FloatArray, measures: dict[str, FloatArray]) -> dict[str, FloatArray]:
    tone = identities[:, SKIN_TONE_COLUMN]
    skin = np.interp(tone, np.arange(1, 11), _MONK_ALBEDO).astype(np.float32)
    grey = np.clip(2.2 * (identities[:, AGE_COLUMN] - 0.5), 0.0, 1.0)
    # Light hair on dark skin is rare: the share of the latent that lightens hair falls with the tone.
    natural = np.clip(0.62 - 0.62 * measures["hair_darkness"], 0.03, 0.45) * np.clip(1.25 - tone / 10, 0.2, 1.0)
    hair = natural + grey * (0.55 - natural)
    is_bearded = np.clip(measures["beard_tendency"] - 0.1, 0.0, 1.0) * (identities[:, MASCULINITY_COLUMN] > 0.3)
    return {
        "skin": skin,
        "hair": np.maximum(hair, 0.03),
        "brow": np.maximum(0.8 * hair, 0.03),
        "iris": np.clip(measures["iris_albedo"] - 0.008 * tone, 0.03, 0.35),
        "beard": 0.75 * is_bearded,
        "age": identities[:, AGE_COLUMN],
    }


def texture_coefficients(identities: FloatArray) -> FloatArray:
    """Compute amplitudes float32[n, 4, 4] of the smooth skin texture's cosine products."""
    flat = _blend(identities[:, :LATENT_DIM], columns=TEXTURE_WAVES**2, stream=11)
    decay = 1.0 / (1.0 + 0.35 * np.add.outer(np.arange(TEXTURE_WAVES), np.arange(TEXTURE_WAVES)))
    shaped = flat.reshape(-1, TEXTURE_WAVES, TEXTURE_WAVES) * decay
    return np.asarray(_TEXTURE_AMPLITUDE * shaped, np.float32)


def moles(identities: FloatArray) -> FloatArray:
    """Compute place (u, v) and depth 0..0.6 of each person's moles, float32[n, 3, 3]."""
    raw = _blend(identities[:, :LATENT_DIM], columns=3 * MOLE_COUNT, stream=12).reshape(-1, MOLE_COUNT, 3)
    place_u = 0.55 * np.tanh(raw[..., 0])
    place_v = 0.15 + 0.55 * np.tanh(raw[..., 1])
    depth = np.clip(0.45 * raw[..., 2], 0.0, 0.6)
    return np.stack([place_u, place_v, depth], axis=-1).astype(np.float32)
