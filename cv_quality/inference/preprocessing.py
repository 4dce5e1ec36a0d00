"""From decoded frames to the tensor that a model eats: the registry's preprocessing steps as pure functions.

Every step maps one float32 batch `[n, c, h, w]` with values in [0, 1] (before `scale` and `levels`) to another. Steps
that change what is where lie in `cv_quality.inference.framing`, decoding in `cv_quality.drops.images`, face alignment
in `cv_quality.inference.alignment`; the order of steps is the registry's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeGuard, cast, get_args

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelError, RegistryError, near
from cv_quality.inference.framing import (
    FRAMING_STEPS,
    Batch,
    CentreCrop,
    Crop,
    FramingStep,
    Letterbox,
    LetterboxAlign,
    Resize,
    ResizePlain,
    ResizeShort,
    View,
)

Frame = NDArray[np.uint8]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's "L"
MAX_SIDE_PX = 4096
WORK_BYTES = 16 << 20
"""Of float32 pixels made at a time of one frame, before they are resized."""
TOGETHER_BYTES = 1 << 20
"""Of float32 pixels of several frames: what stays in a core's cache is resized in half the time."""


class Step(Protocol):
    """One preprocessing step; it may change the batch in place and returns the result."""

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch: ...


@dataclass(frozen=True, slots=True)
class Gray:
    """One luma channel (ITU-R BT.601); a batch that is grey already passes unchanged."""

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:  # noqa: ARG002
        return batch if batch.shape[1] == 1 else np.einsum("nchw,c->nhw", batch, LUMA)[:, None]


@dataclass(frozen=True, slots=True)
class Rgb:
    """Three channels; a grey batch is repeated."""

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:  # noqa: ARG002
        return batch if batch.shape[1] == 3 else np.repeat(batch, 3, axis=1)


@dataclass(frozen=True, slots=True)
class Bgr:
    """Three channels, blue first; a grey batch is repeated."""

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:
        return Rgb()(batch, illuminance_lux=illuminance_lux)[:, ::-1]


@dataclass(frozen=True, slots=True)
class Levels:
    """Grey levels from 0 to 255 in place of values in [0, 1], for models that take them, as bytes or as numbers."""

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:  # noqa: ARG002
        return batch * np.float32(255)


@dataclass(frozen=True, slots=True)
class ToneCurve:
    """Brighten dark frames: `x ** gamma` where illuminance is known and below `below_lux`."""

    below_lux: float
    gamma: float

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:
        is_dark = illuminance_lux < self.below_lux  # NaN, the unknown illuminance, compares false
        if is_dark.any():
            batch[is_dark] = np.clip(batch[is_dark], 0.0, 1.0) ** np.float32(self.gamma)
        return batch


@dataclass(frozen=True, slots=True)
class Scale:
    """`(x - mean) / std` with one number for all channels, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:  # noqa: ARG002
        for values, key in ((self.mean, "mean"), (self.std, "std")):
            if len(values) not in {1, batch.shape[1]}:
                raise ModelError(f"scale.{key} has {len(values)} numbers, the frames have {batch.shape[1]} channels")
        batch -= np.asarray(self.mean, dtype=np.float32)[:, None, None]
        batch /= np.asarray(self.std, dtype=np.float32)[:, None, None]
        return batch


def prepare(frames: Sequence[Frame], *, steps: Sequence[Step], illuminance_lux: Sequence[float | None]) -> Batch:
    """Run preprocessing steps over frames: float32 `[n, c, h, w]`.

    Frames of one size are processed together, as many as `TOGETHER_BYTES` allows; one above `WORK_BYTES` in bands of
    its rows.

    Args:
        frames: `[h, w]` or `[h, w, 3]`, of possibly different sizes.
        steps: in order.
        illuminance_lux: of each frame; None where unknown.

    Raises:
        ModelError: the steps leave the frames in different shapes (a `resize`, `gray` or `rgb` is missing).
    """
    lux = np.array([np.nan if value is None else value for value in illuminance_lux], dtype=np.float64)
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(frame.shape, []).append(index)
    done = [_run([frames[i] for i in rows], steps=steps, lux=lux[rows]) for rows in groups.values()]
    if len(done) == 1:
        return np.ascontiguousarray(done[0])
    if len({part.shape[1:] for part in done}) > 1:
        shapes = ", ".join(sorted(str(part.shape[1:]) for part in done))
        raise ModelError(
            f"preprocessing leaves frames of different shapes ({shapes}): add 'resize' and 'gray' or 'rgb'"
        )
    result = np.empty((len(frames), *done[0].shape[1:]), dtype=np.float32)
    for rows, part in zip(groups.values(), done, strict=True):
        result[rows] = part
    return result


def view_of(steps: Sequence[Step], *, width_px: int, height_px: int) -> View:
    """Tell which part of a picture the batch shows after the steps.

    Raises:
        ModelError: a crop leaves the picture.
    """
    view = View.whole(width_px, height_px)
    for step in steps:
        if isinstance(step, FRAMING_STEPS):
            view = cast(FramingStep, step).reframe(view)
    return view


def parse_steps(value: object, *, where: str) -> tuple[Step, ...]:
    """Parse the registry's `preprocessing` list into typed steps.

    Raises:
        RegistryError: an unknown step (with the near name), or arguments of a wrong type or range.
    """
    if not isinstance(value, list) or not value:
        raise RegistryError(f"{where}: expected a list of steps, found {value!r}")
    return tuple(_parse_step(item, where=f"{where}[{index}]") for index, item in enumerate(value))


def _run(frames: Sequence[Frame], *, steps: Sequence[Step], lux: NDArray[np.float64]) -> Batch:
    """Frames of one shape, a few at a time."""
    size = 4 * frames[0].size
    if size > WORK_BYTES:
        return np.concatenate([_run_large(frame, steps=steps, lux=lux[[row]]) for row, frame in enumerate(frames)])
    together = max(1, TOGETHER_BYTES // size)
    starts = range(0, len(frames), together)
    parts = [_applied(steps, _as_batch(frames[at : at + together]), lux=lux[at : at + together]) for at in starts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _run_large(frame: Frame, *, steps: Sequence[Step], lux: NDArray[np.float64]) -> Batch:
    """One frame in bands of rows up to the point where its rows are resized: every step before sees pixels alone."""
    first = next((index for index, step in enumerate(steps) if isinstance(step, FRAMING_STEPS)), 0)
    resize = steps[first] if steps else None
    if not isinstance(resize, Resize):
        return _applied(steps, _as_batch([frame]), lux=lux)
    height = max(1, WORK_BYTES // (4 * frame[0].size))
    bands = (frame[top : top + height] for top in range(0, len(frame), height))
    narrower = [resize.across(_applied(steps[:first], _as_batch([band]), lux=lux)) for band in bands]
    return _applied(steps[first + 1 :], resize.down(np.concatenate(narrower, axis=2)), lux=lux)


def _as_batch(frames: Sequence[Frame]) -> Batch:
    stack = np.stack(frames) if len(frames) > 1 else frames[0][None]
    channels_first = stack[:, None] if stack.ndim == 3 else stack.transpose(0, 3, 1, 2)
    return np.divide(channels_first, np.float32(255), order="C", dtype=np.float32)


def _applied(steps: Sequence[Step], batch: Batch, *, lux: NDArray[np.float64]) -> Batch:
    for step in steps:
        batch = step(batch, illuminance_lux=lux)
    return batch


def _parse_step(item: object, *, where: str) -> Step:
    named = {item: None} if isinstance(item, str) else item
    if not isinstance(named, dict) or len(named) != 1 or not all(isinstance(key, str) for key in named):
        raise RegistryError(f"{where}: expected a step name or a mapping with one key, found {item!r}")
    ((name, arguments),) = named.items()
    if name not in _PARSERS:
        raise RegistryError(f"{where}: unknown step {name!r}; {near(name, _PARSERS)}")
    return _PARSERS[name](arguments, f"{where}.{name}")


def _without_arguments(step: Step, arguments: object, where: str) -> Step:
    if arguments is not None:
        raise RegistryError(f"{where}: expected no arguments, found {arguments!r}")
    return step


def _size(arguments: object, where: str) -> tuple[int, int]:
    sides = arguments if isinstance(arguments, list) else []
    if len(sides) != 2 or not all(_is_side(side) for side in sides):
        raise RegistryError(f"{where}: expected [width, height] in pixels, 1 to {MAX_SIDE_PX}, found {arguments!r}")
    return sides[0], sides[1]


def _is_side(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIDE_PX


def _resize(arguments: object, where: str) -> Step:
    if not isinstance(arguments, dict):
        return Resize(*_size(arguments, where))
    fields = _fields(arguments, keys=("size", "antialias"), where=where)
    if not isinstance(fields["antialias"], bool):
        raise RegistryError(f"{where}.antialias: expected true or false, found {fields['antialias']!r}")
    return (Resize if fields["antialias"] else ResizePlain)(*_size(fields["size"], f"{where}.size"))


def _centre_crop(arguments: object, where: str) -> Step:
    return CentreCrop(*_size(arguments, where))


def _resize_short(arguments: object, where: str) -> Step:
    if not _is_side(arguments):
        raise RegistryError(f"{where}: expected the shorter side in pixels, 1 to {MAX_SIDE_PX}, found {arguments!r}")
    return ResizeShort(cast(int, arguments))


def _crop(arguments: object, where: str) -> Step:
    edges = arguments if isinstance(arguments, list) else []
    if len(edges) != 4 or not all(type(edge) is int and 0 <= edge <= MAX_SIDE_PX for edge in edges) or 0 in edges[2:]:
        raise RegistryError(f"{where}: expected [left, top, width, height] in pixels, found {arguments!r}")
    return Crop(*edges)


def _letterbox(arguments: object, where: str) -> Step:
    if isinstance(arguments, list):
        return Letterbox(*_size(arguments, where))
    fields = _fields(arguments, keys=("size", "align"), where=where)
    if fields["align"] not in get_args(LetterboxAlign):
        raise RegistryError(f"{where}.align: expected centre or top_left, found {fields['align']!r}")
    return Letterbox(*_size(fields["size"], f"{where}.size"), cast(LetterboxAlign, fields["align"]))


def _tone_curve(arguments: object, where: str) -> Step:
    fields = _fields(arguments, keys=("below_lux", "gamma"), where=where)
    below_lux, gamma = fields["below_lux"], fields["gamma"]
    if not is_number(below_lux) or below_lux < 0:
        raise RegistryError(f"{where}.below_lux: expected a number >= 0, found {below_lux!r}")
    if not is_number(gamma) or gamma <= 0:
        raise RegistryError(f"{where}.gamma: expected a number > 0, found {gamma!r}")
    return ToneCurve(below_lux=float(below_lux), gamma=float(gamma))


def _scale(arguments: object, where: str) -> Step:
    fields = _fields(arguments, keys=("mean", "std"), where=where)
    mean, std = (_per_channel(fields[key], where=f"{where}.{key}") for key in ("mean", "std"))
    if min(std) <= 0:
        raise RegistryError(f"{where}.std: expected numbers > 0, found {fields['std']!r}")
    return Scale(mean=mean, std=std)


_PARSERS: dict[str, Callable[[object, str], Step]] = {
    "gray": partial(_without_arguments, Gray()),
    "rgb": partial(_without_arguments, Rgb()),
    "bgr": partial(_without_arguments, Bgr()),
    "levels": partial(_without_arguments, Levels()),
    "resize": _resize,
    "resize_short": _resize_short,
    "crop": _crop,
    "centre_crop": _centre_crop,
    "letterbox": _letterbox,
    "tone_curve": _tone_curve,
    "scale": _scale,
}


def _fields(arguments: object, *, keys: Sequence[str], where: str) -> Mapping[str, object]:
    if not isinstance(arguments, dict):
        raise RegistryError(f"{where}: expected a mapping with {', '.join(keys)}, found {arguments!r}")
    for key in arguments:
        if key not in keys:
            raise RegistryError(f"{where}: unknown key {key!r}; {near(str(key), keys)}")
    for key in keys:
        if key not in arguments:
            raise RegistryError(f"{where}: missing key {key!r}")
    return arguments


def _per_channel(value: object, *, where: str) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    if len(values) not in {1, 3} or not all(is_number(item) for item in values):
        raise RegistryError(f"{where}: expected one finite number or a list of three, found {value!r}")
    return tuple(float(item) for item in values)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value read from YAML is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
