"""The scene: head, features, hair, eyewear, coverings and light, drawn as soft masks on planes [n, h, w].
Measures come from `geometry.py`; what the camera makes of the scene is in `camera.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.simulation.conditions import COVERINGS, EYEWEAR, CaptureConditions, FloatArray
from cv_quality.simulation.geometry import MOLE_COUNT, TEXTURE_WAVES

Measures = dict[str, FloatArray]

_HEAD_SCALE: Final = 0.68
_REFERENCE_CM: Final = 40.0
# The phone keeps the face in view by zooming, so size falls far slower than 1 / distance; the rest is lost as blur.
_SIZE_EXPONENT: Final = 0.35
_HEAD_DEPTH: Final = 0.80

NUISANCES: Final = (
    *("shift_x", "shift_y", "roll", "size", "smile", "mouth_open", "brow_raise", "blink", "gaze", "light_x", "light_y"),
    *("ambient", "background", "background_slope", "clothing", "reflection", "reflection_place", "worn_shade"),
    *("worn_level", "motion_angle", "frame_width", "frame_height"),
)
"""What differs between two captures of one person: one N(0, 1) draw each a frame."""


@dataclass(frozen=True, slots=True)
class HeadPlanes:
    """Coordinates of every pixel, float32[n, h, w]: `x`, `y` on the upright head, `u`, `v` on the turned face,
    `r` the elliptic radius (1 on the outline), `facing` the cosine of the surface to the camera."""

    x: FloatArray
    y: FloatArray
    u: FloatArray
    v: FloatArray
    r: FloatArray
    facing: FloatArray


def _bump(squared: FloatArray) -> FloatArray:
    """A smooth hill of height 1 that ends where the squared distance reaches 1."""
    hill = np.maximum(np.float32(0), 1 - squared)
    return np.asarray(hill * hill, np.float32)


def _inside(signed: FloatArray, softness: float | FloatArray) -> FloatArray:
    """A mask that is 1 where `signed` is well below 0 and falls to 0 over a band of width `softness`."""
    return np.asarray(np.clip(0.5 - signed / softness, 0, 1), np.float32)


def _ellipse(u: FloatArray, v: FloatArray, width: FloatArray | float, height: FloatArray | float) -> FloatArray:
    """Squared elliptic distance of offsets (u, v) for half axes `width` and `height`."""
    across, down = u / width, v / height
    return np.asarray(across * across + down * down, np.float32)


def _paint(canvas: FloatArray, mask: FloatArray, value: FloatArray | float) -> None:
    """Blend `value` into `canvas` where `mask` says so, in place."""
    canvas += mask * (value - canvas)


def head_planes(measures: Measures, conditions: CaptureConditions, nuisance: Measures, *, size: int) -> HeadPlanes:
    """Turn image pixels into head and face coordinates: shift, size, roll, then yaw and pitch of an ellipsoid.

    Positive yaw turns the face to the right of the image, positive pitch turns it up.

    Args:
        measures, conditions: of the faces; distance and pose.
        nuisance, size: what differs between captures; of the image, pixels.
    """
    axis = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    scale = _HEAD_SCALE * (_REFERENCE_CM / conditions.distance_cm[:, None, None]) ** _SIZE_EXPONENT
    scale = scale * (1 + 0.025 * nuisance["size"])
    ix = (axis[None, None, :] - 0.02 * nuisance["shift_x"]) / scale
    iy = (axis[None, :, None] - 0.02 * nuisance["shift_y"] - 0.02) / scale
    cos_roll, sin_roll = np.cos(0.035 * nuisance["roll"]), np.sin(0.035 * nuisance["roll"])
    x, y = cos_roll * ix + sin_roll * iy, cos_roll * iy - sin_roll * ix
    r2 = _outline(x, y, measures)
    depth = np.sqrt(np.maximum(1 - r2, 0))
    u, v = _turn(x, y, _HEAD_DEPTH * depth, conditions)
    return HeadPlanes(x, y, u + measures["asymmetry"] * v, v, np.sqrt(r2), depth)


def _outline(x: FloatArray, y: FloatArray, measures: Measures) -> FloatArray:
    down = np.clip(y, -1.1, 1.3)
    half_width = measures["head_width"] * (1 - measures["jaw_taper"] * down - 0.1 * down * down)
    half_width += measures["head_width"] * measures["cheek_fullness"] * _bump((down - 0.3) ** 2 * 4)
    across, along = x / half_width, y / measures["head_height"]
    across2, along2 = across * across, along * along
    return np.asarray(across2 + along2 - measures["chin_squareness"] * across2 * along2, np.float32)


def _turn(x: FloatArray, y: FloatArray, z: FloatArray, conditions: CaptureConditions) -> tuple[FloatArray, FloatArray]:
    yaw, pitch = np.deg2rad(conditions.yaw_deg)[:, None, None], np.deg2rad(conditions.pitch_deg)[:, None, None]
    u = x * np.cos(yaw) - z * np.sin(yaw)
    z_after = z * np.cos(yaw) + x * np.sin(yaw)
    v = y * np.cos(pitch) + z_after * np.sin(pitch)
    return np.asarray(u, np.float32), np.asarray(v, np.float32)


def draw_scene(
    measures: Measures,
    *,
    texture: FloatArray,
    mole_places: FloatArray,
    conditions: CaptureConditions,
    nuisance: Measures,
    size: int,
) -> FloatArray:
    """Draw the radiance float32[n, size, size] in [0, ~1] of n scenes.

    Drawn back to front: background, shoulders, hair, head, features, what is worn; then light.

    Args:
        measures, conditions, nuisance: of the faces, of each scene, and what differs between captures.
        texture, mole_places: amplitudes as from `texture_coefficients`, places as from `moles`.
        size: of the image, pixels.
    """
    planes = head_planes(measures, conditions, nuisance, size=size)
    canvas = _background(planes, measures, nuisance)
    face = _skin(planes, measures, texture, mole_places)
    _draw_nose(face, planes, measures)
    _draw_mouth(face, planes, measures, nuisance)
    _draw_eyes(face, planes, measures, nuisance)
    _draw_brows(face, planes, measures, nuisance)
    _draw_hair(face, planes, measures)
    _draw_eyewear(face, planes, measures, conditions, nuisance)
    face *= _light(planes, measures, nuisance)
    _paint(canvas, _inside(planes.r - 1, 0.07), face)
    _draw_covering(canvas, planes, conditions, nuisance)
    return canvas


def _background(planes: HeadPlanes, measures: Measures, nuisance: Measures) -> FloatArray:
    level = 0.42 + 0.16 * np.tanh(nuisance["background"])
    canvas = np.asarray(level + 0.05 * nuisance["background_slope"] * planes.x - 0.05 * planes.y, np.float32)
    canvas = canvas.clip(0.05, 0.9)
    x, y = planes.x, planes.y
    shoulders = _inside(1.12 + 0.38 * np.abs(x) ** 2 - y, 0.06)
    _paint(canvas, shoulders, (0.24 + 0.14 * np.tanh(nuisance["clothing"])) * (1 - 0.12 * np.abs(x)))
    neck = _inside(np.abs(x) - 0.40, 0.06) * _inside(y - 1.3 + 0.35 * np.abs(x), 0.08) * _inside(0.4 - y, 0.06)
    _paint(canvas, neck, measures["skin"] * (0.48 + 0.25 * np.clip(y - 0.8, 0, 1)))
    volume = measures["hair_volume"]
    long_hair = np.clip(0.35 - measures["beard"] - 3 * measures["hair_part"], 0, 1)
    radius = np.sqrt(_ellipse(x, y + 0.08, measures["head_width"] + 0.75 * volume, 1 + volume))
    _paint(canvas, _inside(radius - 1, 0.07) * _inside(y - 0.1 - 0.9 * long_hair, 0.25), 0.8 * measures["hair"])
    ear = _ellipse(np.abs(x) - measures["head_width"] * 1.0, y - 0.02, 0.09, 0.19)
    _paint(canvas, _inside(ear - 1, 0.7), 0.72 * measures["skin"])
    return canvas


def _skin(planes: HeadPlanes, measures: Measures, texture: FloatArray, mole_places: FloatArray) -> FloatArray:
    u, v = planes.u, planes.v
    tint = _texture_field(u, v, texture)
    for index in range(MOLE_COUNT):
        place_u, place_v, depth = (mole_places[:, index, part, None, None] for part in range(3))
        tint -= depth * _bump(((u - place_u) ** 2 + (v - place_v) ** 2) * np.float32(1 / 0.055**2))
    au = np.abs(u)
    tint -= 0.16 * _bump(_ellipse(au - measures["eye_spacing"], v - measures["eye_level"], 0.27, 0.20))
    tint -= 0.12 * measures["age"] * _bump(_ellipse(au - 0.30, v - 0.32, 0.06, 0.22))
    under_eye = _ellipse(au - measures["eye_spacing"], v - measures["eye_level"] - 0.14, 0.16, 0.045)
    tint -= 0.15 * measures["age"] * _bump(under_eye)
    face = measures["skin"] * (1 + tint)
    jaw = _inside(0.30 + 0.9 * _bump(_ellipse(u, v - 0.35, 0.42, 0.45)) - v, 0.35)
    moustache = _inside(np.abs(v - 0.46) - 0.05, 0.05) * _inside(au - 0.28, 0.1)
    _paint(face, measures["beard"] * np.maximum(jaw, moustache), measures["hair"])
    return np.asarray(face, np.float32)


def _texture_field(u: FloatArray, v: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Sum of cosine products over both axes; higher waves by the Chebyshev recurrence instead of more cosines."""
    waves_u, waves_v = _waves(u + 0.3), _waves(v - 0.2)
    total = np.zeros_like(u)
    for i in range(TEXTURE_WAVES):
        row = np.zeros_like(v)
        for j in range(TEXTURE_WAVES):
            row += coefficients[:, i, j, None, None] * waves_v[j]
        total += row * waves_u[i]
    return total


def _waves(along: FloatArray) -> list[FloatArray]:
    first = np.cos(np.float32(2.0) * along + np.float32(0.7))
    waves = [np.asarray(0.7 + 0.3 * first, np.float32), first]
    previous = np.ones_like(first)
    for _ in range(TEXTURE_WAVES - 2):
        previous, following = waves[-1] if len(waves) > 2 else first, 2 * first * waves[-1] - previous
        waves.append(np.asarray(following, np.float32))
    return waves


def _draw_nose(face: FloatArray, planes: HeadPlanes, measures: Measures) -> None:
    u, v = planes.u, planes.v
    top = measures["eye_level"]
    tip = top + measures["nose_length"]
    width = measures["nose_width"]
    along = np.clip((v - top) / measures["nose_length"], 0, 1)
    bridge = 0.45 * width + 0.55 * width * along * along
    within = _inside(v - tip, 0.05) * _inside(top - 0.05 - v, 0.2)
    ridge = u / bridge
    relief = 0.55 * _bump(ridge * ridge * 1.6) - 0.75 * _bump((np.abs(ridge) - 1.05) ** 2 * 4)
    face *= 1 + within * (measures["nose_relief"] * relief)
    wing = _bump(_ellipse(np.abs(u) - 0.8 * width, v - tip + 0.02, 0.5 * width, 0.05))
    under = _bump(_ellipse(u, v - tip - 0.035, 1.15 * width, 0.04))
    face *= 1 - 0.30 * under - 0.18 * wing
    nostril = _bump(_ellipse(np.abs(u) - 0.50 * width, v - tip, 0.38 * width, 0.030))
    face *= 1 - 0.75 * nostril


def _draw_mouth(face: FloatArray, planes: HeadPlanes, measures: Measures, nuisance: Measures) -> None:
    u = planes.u
    width = measures["mouth_width"] * (1 + 0.03 * nuisance["smile"])
    centre = measures["eye_level"] + measures["nose_length"] + measures["mouth_gap"]
    across = u / width
    curve = (0.06 * measures["mouth_curve"] + 0.018 * nuisance["smile"]) * (across * across - 0.4)
    v = planes.v - centre + curve
    taper = np.maximum(1 - across * across, 1e-3)
    opening = 0.012 * np.maximum(nuisance["mouth_open"], 0)
    upper, lower = measures["upper_lip"] * taper, (measures["lower_lip"] + opening) * taper
    cupid = 0.25 * measures["upper_lip"] * _bump(across * across * 20)
    lip_tone = measures["skin"] * (1 - measures["lip_contrast"])
    span = _inside(np.abs(across) - 1, 0.15)
    _paint(face, span * _inside(-v - upper + cupid, 0.03) * _inside(v - 0.01, 0.02), 0.85 * lip_tone)
    _paint(face, span * _inside(v - lower, 0.03) * _inside(-v, 0.02), 1.05 * lip_tone)
    seam = _inside(np.abs(v) - 0.010 - opening * taper, 0.022)
    _paint(face, 0.85 * span * seam, 0.18 * measures["skin"])
    face *= 1 - 0.13 * _bump(_ellipse(u, v - 0.14, 0.8 * width, 0.06))


def _draw_eyes(face: FloatArray, planes: HeadPlanes, measures: Measures, nuisance: Measures) -> None:
    side = np.abs(planes.u) - measures["eye_spacing"]
    rise = planes.v - measures["eye_level"] + measures["eye_tilt"] * side
    # One frame in about 25 catches a blink; else the lids vary by a tenth.
    is_blink = nuisance["blink"] > 1.75
    openness = np.where(is_blink, 0.25, 1 + 0.06 * np.clip(nuisance["blink"], -2, 1))
    width, height = measures["eye_width"], measures["eye_height"] * openness
    across = side / width
    lid = height * np.maximum(1 - across * across, 0)
    opening = _inside(np.abs(rise) - lid, 0.035) * _inside(np.abs(across) - 1, 0.2)
    _paint(face, opening, 0.30 + 0.55 * measures["skin"])
    gaze = 0.016 * nuisance["gaze"] * np.sign(planes.u)
    radius2 = (side - gaze) ** 2 + rise * rise
    iris_radius = 0.066
    _paint(face, opening * _inside(radius2 / iris_radius**2 - 1, 0.8), measures["iris"])
    _paint(face, opening * _inside(radius2 / (0.42 * iris_radius) ** 2 - 1, 1.0), 0.02)
    _paint(face, opening * _bump(((side - gaze - 0.02) ** 2 + (rise + 0.025) ** 2) / 0.026**2), 0.9)
    crease = _inside(np.abs(rise + lid) - 0.010, 0.024) * _inside(np.abs(across) - 1.05, 0.2)
    _paint(face, 0.8 * crease, 0.22 * measures["skin"])
    fold = _inside(np.abs(rise + 1.75 * lid + 0.012) - 0.006, 0.022)
    _paint(face, 0.35 * fold * _inside(np.abs(across) - 1, 0.3), 0.5 * measures["skin"])


def _draw_brows(face: FloatArray, planes: HeadPlanes, measures: Measures, nuisance: Measures) -> None:
    side = np.abs(planes.u) - measures["eye_spacing"] - 0.01
    across = side / measures["brow_width"]
    line = measures["eye_level"] - measures["brow_gap"] - 0.014 * nuisance["brow_raise"]
    line = line + measures["brow_tilt"] * side + 0.055 * measures["brow_arch"] * (across * across - 0.35)
    thickness = measures["brow_thickness"] * (1 - 0.45 * np.clip(across, -1, 1))
    mask = _inside(np.abs(planes.v - line) - thickness, 0.035) * _inside(np.abs(across) - 1, 0.25)
    _paint(face, 0.85 * mask, np.minimum(measures["brow"], 0.55 * measures["skin"]))


def _draw_hair(face: FloatArray, planes: HeadPlanes, measures: Measures) -> None:
    u, v = planes.u, planes.v
    line = measures["hairline"] + measures["hairline_curve"] * u * u + measures["hair_part"] * u
    temples = _inside(0.86 * measures["head_width"] + 0.25 * v - np.abs(planes.x), 0.08) * _inside(v + 0.05, 0.2)
    strands = 1 + 0.13 * np.cos(30 * u + 9 * v + 8 * measures["hair_part"])
    _paint(face, np.maximum(_inside(v - line, 0.07), temples), measures["hair"] * strands)


def _draw_eyewear(
    face: FloatArray, planes: HeadPlanes, measures: Measures, conditions: CaptureConditions, nuisance: Measures
) -> None:
    rows = np.flatnonzero(conditions.eyewear)
    if rows.size == 0:
        return
    part = {name: measures[name][rows] for name in ("eye_spacing", "eye_level", "head_width")}
    worn = {name: nuisance[name][rows] for name in ("frame_width", "frame_height", "reflection", "reflection_place")}
    is_dark = (conditions.eyewear[rows] == EYEWEAR.index("sunglasses"))[:, None, None]
    u, v = planes.u[rows], planes.v[rows] - part["eye_level"] - 0.02
    side = np.abs(u) - part["eye_spacing"] - 0.015
    lens = _lens_distance(side, v, worn, is_dark)
    layer = face[rows]
    streak = _bump((0.8 * u + v - 0.12 * worn["reflection_place"]) ** 2 / 0.10**2)
    glare = np.clip(0.25 + 0.25 * worn["reflection"], 0.05, 0.8) * streak
    glass = _inside(lens - 1, 0.12)
    _paint(layer, glass * np.where(is_dark, 0.97, 0.06), np.where(is_dark, 0.025, 0.75))
    _paint(layer, glass * np.where(is_dark, 0.25 * glare, glare), 0.95)
    rim = _inside(np.abs(lens - 1) - 0.10, 0.10)
    bar = _inside(np.abs(v + 0.02) - 0.014, 0.03) * _inside(1 - lens, 0.1)
    _paint(layer, 0.92 * np.maximum(rim, bar), 0.04)
    face[rows] = layer


def _lens_distance(side: FloatArray, v: FloatArray, worn: Measures, is_dark: NDArray[np.bool_]) -> FloatArray:
    """Distance of a rounded square around the eye, 1 on its rim; lenses of sunglasses are a quarter larger."""
    grow = np.where(is_dark, np.float32(1.22), np.float32(1))
    across = side / (grow * (0.225 + 0.012 * np.tanh(worn["frame_width"])))
    down = v / (grow * (0.165 + 0.015 * np.tanh(worn["frame_height"])))
    return np.asarray(np.sqrt(np.sqrt(across**4 + down**4)), np.float32)


def _light(planes: HeadPlanes, measures: Measures, nuisance: Measures) -> FloatArray:
    """Lambert shading of the ellipsoid plus ambient light, about 1 where the surface faces the lamp."""
    lx, ly = 0.28 * np.tanh(nuisance["light_x"]), -0.30 + 0.14 * np.tanh(nuisance["light_y"])
    lz = np.sqrt(1 - lx * lx - ly * ly)
    lambert = np.maximum(lx * planes.x / measures["head_width"] + ly * planes.y + lz * planes.facing, 0)
    ambient = 0.42 + 0.06 * np.tanh(nuisance["ambient"])
    return np.asarray(ambient + (1.04 - ambient) * lambert, np.float32)


def _draw_covering(canvas: FloatArray, planes: HeadPlanes, conditions: CaptureConditions, nuisance: Measures) -> None:
    for name, painter in (("mask", _mask_layer), ("scarf", _scarf_layer)):
        rows = np.flatnonzero(conditions.covering == COVERINGS.index(name))
        if rows.size == 0:
            continue
        part = HeadPlanes(*(getattr(planes, field.name)[rows] for field in fields(planes)))
        layer = canvas[rows]
        painter(layer, part, 0.08 * np.tanh(nuisance["worn_shade"][rows]), nuisance["worn_level"][rows])
        canvas[rows] = layer


def _mask_layer(layer: FloatArray, planes: HeadPlanes, shade: FloatArray, level: FloatArray) -> None:
    """A surgical mask: cloth from the nose to the chin, three pleats, and straps to the ears."""
    edge = 0.10 + 0.03 * np.tanh(level) + 0.30 * planes.u * planes.u
    strap_line = 0.12 + 0.02 * np.tanh(level)
    strap = _inside(np.abs(planes.v - strap_line) - 0.010, 0.03) * _inside(0.40 - np.abs(planes.u), 0.05)
    _paint(layer, 0.9 * strap * _inside(planes.r - 1.0, 0.05), 0.66)
    cloth = _inside(edge - planes.v, 0.04) * _inside(planes.r - 1.03, 0.06) * _inside(np.abs(planes.u) - 0.62, 0.08)
    folds = 1 - 0.10 * _bump(((planes.v - 0.42) % 0.17 - 0.085) ** 2 / 0.045**2)
    _paint(layer, cloth, (0.66 + shade) * folds * (0.55 + 0.45 * planes.facing))


def _scarf_layer(layer: FloatArray, planes: HeadPlanes, shade: FloatArray, level: FloatArray) -> None:
    """A knitted scarf over mouth, chin and neck, wider than the head."""
    edge = 0.33 + 0.04 * np.tanh(level) + 0.12 * planes.x * planes.x
    cloth = _inside(edge - planes.y, 0.05) * _inside(np.abs(planes.x) - 0.86 - 0.1 * planes.y, 0.06)
    knit = 1 + 0.16 * np.cos(26 * planes.y + 5 * np.cos(5 * planes.x)) * np.cos(17 * planes.x)
    _paint(layer, cloth, (0.27 + shade) * knit * (0.6 + 0.4 * np.maximum(planes.facing, 0.3)))
