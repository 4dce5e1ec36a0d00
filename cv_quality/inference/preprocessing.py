"""From decoded frames to the tensor that a model eats: the registry's preprocessing steps as pure functions.

Every step maps one float32 batch `[n, c, h, w]` with values in [0, 1] (before `scale`) to another. Decoding lives in
`cv_quality.drops.images`, face alignment in `cv_quality.inference.alignment`, and the order of steps in the registry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelError, RegistryError, near

Frame = NDArray[np.uint8]
Batch = NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's "L"
MAX_SIDE_PX = 4096
BAND_ROWS = 16
WORK_BYTES = 16 << 20
"""Of float32 pixels made at a time, before they are resized."""


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
class Resize:
    """Bilinear resampling to `width_px` x `height_px`, antialiased when it shrinks (Pillow's BILINEAR)."""

    width_px: int
    height_px: int

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:  # noqa: ARG002
        return self.down(self.across(batch))

    def across(self, batch: Batch) -> Batch:
        """Resample every row, each by itself."""
        if batch.shape[3] == self.width_px:
            return batch
        narrower = np.empty((*batch.shape[:3], self.width_px), dtype=np.float32)
        for rows, columns, weights in resampling_bands(batch.shape[3], self.width_px):
            narrower[..., rows] = batch[..., columns] @ weights.T
        return narrower

    def down(self, batch: Batch) -> Batch:
        """Resample every column."""
        if batch.shape[2] == self.height_px:
            return batch
        lower = np.empty((*batch.shape[:2], self.height_px, batch.shape[3]), dtype=np.float32)
        for rows, columns, weights in resampling_bands(batch.shape[2], self.height_px):
            lower[:, :, rows] = weights @ batch[:, :, columns]
        return lower


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

    Frames of one size are processed together, as many as `WORK_BYTES` allows; a larger one in bands of its rows.

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


def resampling_weights(size_in: int, size_out: int, *, rows: range) -> NDArray[np.float32]:
    """Compute rows of the matrix `[size_out, size_in]` of a triangle filter, widened when shrinking; rows sum to one.

    Output pixel i lies at `(i + 1/2) * size_in / size_out` (pixel centres at halves), as in Pillow's resampling.

    Args:
        size_in, size_out: pixels before and after.
        rows: which output pixels.
    """
    scale = size_in / size_out
    width = max(scale, 1.0)
    centres = (np.arange(rows.start, rows.stop) + 0.5) * scale
    distance = np.abs(np.arange(size_in)[None, :] + 0.5 - centres[:, None]) / width
    weights = np.clip(1.0 - distance, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


@lru_cache(maxsize=64)
def resampling_bands(size_in: int, size_out: int) -> tuple[tuple[slice, slice, NDArray[np.float32]], ...]:
    """Cut the resampling matrix into blocks of rows with the columns they need: (rows, columns, weights).

    The matrix is almost all zeros; blocks of 16 rows halve the time of 112 x 92 to 64 x 64 against one product.
    """
    bands = []
    for start in range(0, size_out, BAND_ROWS):
        stop = min(start + BAND_ROWS, size_out)
        weights = resampling_weights(size_in, size_out, rows=range(start, stop))
        used = np.flatnonzero(weights.any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((slice(start, stop), columns, np.ascontiguousarray(weights[:, columns])))
    return tuple(bands)


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
    together = WORK_BYTES // size
    starts = range(0, len(frames), together)
    parts = [_applied(steps, _as_batch(frames[at : at + together]), lux=lux[at : at + together]) for at in starts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _run_large(frame: Frame, *, steps: Sequence[Step], lux: NDArray[np.float64]) -> Batch:
    """One frame in bands of rows up to the point where its rows are resized: every step before sees pixels alone."""
    first = next((index for index, step in enumerate(steps) if isinstance(step, Resize)), None)
    if first is None:
        return _applied(steps, _as_batch([frame]), lux=lux)
    resize = cast(Resize, steps[first])
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


def _resize(arguments: object, where: str) -> Step:
    sides = arguments if isinstance(arguments, list) else []
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= MAX_SIDE_PX for side in sides):
        raise RegistryError(f"{where}: expected [width, height] in pixels, 1 to {MAX_SIDE_PX}, found {arguments!r}")
    return Resize(width_px=sides[0], height_px=sides[1])


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
    "resize": _resize,
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
