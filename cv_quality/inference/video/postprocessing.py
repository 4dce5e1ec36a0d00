"""From the numbers that a video model gives to a frame's labels, landmarks, vector, depth or picture, in its pixels.

Steps stand in a build's registry entry, in order. Values of planes are float32 `[channels, rows, columns]`, labels
uint8 `[rows, columns]`. Where in the picture a plane lies is said by a `View` of `cv_quality.inference.framing`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, RegistryError, near
from cv_quality.inference.framing import View
from cv_quality.inference.preprocessing import is_number

Output = Literal["mask", "landmarks", "embedding", "depth", "image"]
Values = NDArray[np.float32]
Labels = NDArray[np.uint8]
Planes = NDArray[np.generic]
MAX_LABEL: Final = 255
MAX_DEPTH_MM: Final = 65_535
"""Of a 16-bit picture: what is further is written as this."""
Resampling = Literal["nearest", "nearest_exact", "bilinear", "none"]
PointScale = Literal["pixels", "share"]


class PostStep(Protocol):
    """A step after the model, over one frame; the outputs that it is for."""

    outputs: ClassVar[tuple[Output, ...]]


@dataclass(frozen=True, slots=True)
class Argmax:
    """The label of a pixel is the place of its largest channel."""

    outputs: ClassVar[tuple[Output, ...]] = ("mask",)


@dataclass(frozen=True, slots=True)
class Softmax:
    """Channels become probabilities that sum to one."""

    outputs: ClassVar[tuple[Output, ...]] = ("mask",)


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """Logits become probabilities, each by itself."""

    outputs: ClassVar[tuple[Output, ...]] = ("mask", "depth", "image")


@dataclass(frozen=True, slots=True)
class Threshold:
    """The label is the place of the largest channel, from 1, where it reaches `least`; elsewhere 0."""

    least: float
    outputs: ClassVar[tuple[Output, ...]] = ("mask",)


@dataclass(frozen=True, slots=True)
class ToPicture:
    """Resample to the size of the picture here, or, with "none", leave the size that the model gives."""

    resampling: Resampling
    outputs: ClassVar[tuple[Output, ...]] = ("mask", "depth", "image")


@dataclass(frozen=True, slots=True)
class DecodePoints:
    """Numbers become x and y, in each row of `columns`, in pixels of the model's input or in shares of its sides."""

    columns: int
    scale: PointScale
    outputs: ClassVar[tuple[Output, ...]] = ("landmarks",)


@dataclass(frozen=True, slots=True)
class UnitLength:
    """The vector is divided by its length."""

    outputs: ClassVar[tuple[Output, ...]] = ("embedding",)


@dataclass(frozen=True, slots=True)
class Multiply:
    """Values are multiplied: 1000 makes millimetres of metres."""

    by: float
    outputs: ClassVar[tuple[Output, ...]] = ("depth", "image")


@dataclass(frozen=True, slots=True)
class Reciprocal:
    """1 by the value: depth from inverse depth."""

    outputs: ClassVar[tuple[Output, ...]] = ("depth",)


_DEFAULT_RESAMPLING: Final[Mapping[str, Resampling]] = {"mask": "nearest", "depth": "nearest", "image": "bilinear"}


def parse_postprocessing(value: object, *, output: Output, where: str) -> tuple[PostStep, ...]:
    """Parse the registry's `postprocessing` list into typed steps, those that the output can have.

    Args:
        value: as read from YAML; None for no steps.
        output: what the build gives.
        where: for errors.

    Raises:
        RegistryError: an unknown step (with the near name), one of another output, or arguments out of range.
    """
    if not isinstance(value, list | None):
        raise RegistryError(f"{where}: expected a list of steps, found {value!r}")
    steps = tuple(_parse_step(item, output=output, where=f"{where}[{index}]") for index, item in enumerate(value or []))
    kinds = [type(step) for step in steps]
    if output == "landmarks" and kinds != [DecodePoints]:
        raise RegistryError(f"{where}: expected one step 'landmarks: {{columns: 2 or more, scale: pixels or share}}'")
    if sum(kind in (Argmax, Threshold) for kind in kinds) > 1:
        raise RegistryError(f"{where}: expected one of argmax and threshold, found both")
    if kinds.count(ToPicture) > 1:
        raise RegistryError(f"{where}: expected resize once, found it twice")
    return steps


def _parse_step(item: object, *, output: Output, where: str) -> PostStep:
    named = {item: None} if isinstance(item, str) else item
    if not isinstance(named, dict) or len(named) != 1 or not all(isinstance(key, str) for key in named):
        raise RegistryError(f"{where}: expected a step name or a mapping with one key, found {item!r}")
    ((name, arguments),) = named.items()
    if name not in _PARSERS:
        raise RegistryError(f"{where}: unknown step {name!r}; {near(name, _PARSERS)}")
    step = _PARSERS[name](arguments, f"{where}.{name}")
    if output not in step.outputs:
        raise RegistryError(f"{where}: {name}: a step of output {' or '.join(step.outputs)}, found output {output!r}")
    return step


def _plain(step: PostStep) -> Callable[[object, str], PostStep]:
    def parse(arguments: object, where: str) -> PostStep:
        if arguments is not None:
            raise RegistryError(f"{where}: expected no arguments, found {arguments!r}")
        return step

    return parse


def _threshold(arguments: object, where: str) -> PostStep:
    if not is_number(arguments):
        raise RegistryError(f"{where}: expected a finite number, found {arguments!r}")
    return Threshold(float(arguments))


def _multiply(arguments: object, where: str) -> PostStep:
    if not is_number(arguments) or arguments <= 0:
        raise RegistryError(f"{where}: expected a number > 0, found {arguments!r}")
    return Multiply(float(arguments))


def _resize(arguments: object, where: str) -> PostStep:
    if arguments not in get_args(Resampling):
        raise RegistryError(f"{where}: expected {' or '.join(get_args(Resampling))}, found {arguments!r}")
    return ToPicture(cast(Resampling, arguments))


def _landmarks(arguments: object, where: str) -> PostStep:
    if not isinstance(arguments, dict) or set(arguments) != {"columns", "scale"}:
        raise RegistryError(f"{where}: expected a mapping with columns, scale, found {arguments!r}")
    columns, scale = arguments["columns"], arguments["scale"]
    if type(columns) is not int or not 2 <= columns <= 16:
        raise RegistryError(f"{where}.columns: expected a whole number from 2 to 16, found {columns!r}")
    if scale not in get_args(PointScale):
        raise RegistryError(f"{where}.scale: expected pixels or share, found {scale!r}")
    return DecodePoints(columns, cast(PointScale, scale))


_PARSERS: Final[Mapping[str, Callable[[object, str], PostStep]]] = {
    "argmax": _plain(Argmax()),
    "softmax": _plain(Softmax()),
    "sigmoid": _plain(Sigmoid()),
    "threshold": _threshold,
    "resize": _resize,
    "landmarks": _landmarks,
    "unit_length": _plain(UnitLength()),
    "multiply": _multiply,
    "reciprocal": _plain(Reciprocal()),
}


def decode_planes(
    planes: Values | NDArray[np.integer],
    steps: Sequence[PostStep],
    *,
    output: Output,
    view: View,
    size: tuple[int, int],
) -> Values | Labels:
    """Make a frame's labels, depth in mm or picture of what the model gave.

    Args:
        planes: `[channels, rows, columns]`; whole numbers are labels as they are.
        steps: in order.
        output: "mask", "depth" or "image".
        view: what the model saw of the picture.
        size: of the picture, width and height.

    Returns:
        Labels uint8 `[height, width]`, depth in mm float32 `[height, width]` or RGB uint8 `[height, width, 3]`.

    Raises:
        ModelDoesNotFit: what is there after the steps is not of the output's kind.
    """
    values: Planes = planes
    is_placed = False
    for step in steps:
        if isinstance(step, ToPicture):
            values, is_placed = resample(values, view=view, size=size, how=step.resampling), True
        else:
            values = _apply(step, cast(Values, values))
    if not is_placed:
        values = resample(values, view=view, size=size, how=_DEFAULT_RESAMPLING[output])
    if output == "depth":
        return _as_depth(values)
    return _as_labels(values) if output == "mask" else _as_picture(values)


def _apply(step: PostStep, values: Values) -> Planes:
    match step:
        case Argmax():
            return _places(values)
        case Threshold(least=least):
            is_there = values.max(axis=0, keepdims=True) >= least
            return is_there.view(np.uint8) if len(values) == 1 else np.where(is_there, 1 + _places(values), 0)
        case Softmax():
            powers = np.exp(values - values.max(axis=0))
            return np.asarray(powers / powers.sum(axis=0), np.float32)
        case Sigmoid():
            return np.asarray(1 / (1 + np.exp(-values.astype(np.float32))), np.float32)
        case Multiply(by=factor):
            return np.asarray(values * np.float32(factor))
        case Reciprocal():
            with np.errstate(divide="ignore"):
                return np.asarray(1 / values)
    raise TypeError(f"no step over planes: {step}")


def _places(values: Values) -> Planes:
    """Which channel is the largest: bytes where they reach."""
    places = np.asarray(values.argmax(axis=0, keepdims=True))
    return places.astype(np.uint8) if len(values) < MAX_LABEL else places


def _as_labels(values: Planes) -> Labels:
    if len(values) != 1 or not (np.issubdtype(values.dtype, np.integer) or values.dtype == np.bool_):
        raise ModelDoesNotFit(
            f"postprocessing: expected one whole-number label a pixel, found {len(values)} channels of "
            f"{values.dtype}; add 'argmax' or 'threshold'"
        )
    if values.dtype not in (np.uint8, np.bool_):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > MAX_LABEL:
            raise ModelDoesNotFit(f"postprocessing: expected labels from 0 to {MAX_LABEL}, found {low} to {high}")
    labels: Labels = values[0].astype(np.uint8)
    return labels


def _as_depth(values: Planes) -> Values:
    if len(values) != 1:
        raise ModelDoesNotFit(f"postprocessing: expected one depth a pixel, found {len(values)} channels")
    depth = values[0].astype(np.float32)
    return np.where(depth > 0, np.minimum(depth, MAX_DEPTH_MM), 0).astype(np.float32)


def _as_picture(values: Planes) -> Labels:
    if len(values) not in (1, 3):
        raise ModelDoesNotFit(f"postprocessing: expected a picture of 1 or 3 channels, found {len(values)}")
    picture = np.broadcast_to(values, (3, *values.shape[1:])).transpose(1, 2, 0)
    if picture.dtype != np.uint8:
        picture = np.rint(np.clip(picture.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(picture)


def resample(values: Planes, *, view: View, size: tuple[int, int], how: Resampling) -> Planes:
    """Bring planes that lie over the view to the picture's pixels; 0 where the view does not reach.

    Args:
        values: `[channels, rows, columns]`, of any number of rows and columns.
        view: the rectangle of the picture that they lie over.
        size: of the picture, width and height.
        how: "nearest_exact" takes the pixel that a centre falls into; "nearest", as OpenCV and torch mean it, the one
            that a pixel's upper left corner falls into, which shifts by up to half a pixel; "bilinear" the four around
            a centre.
    """
    width, height = size
    is_whole = (view.left_px, view.top_px, view.width_px, view.height_px) == (0, 0, width, height)
    if how == "none" or (is_whole and values.shape[1:] == (height, width)):
        return values
    place = 0.0 if how == "nearest" else 0.5
    down = (np.arange(height) + place - view.top_px) * values.shape[1] / view.height_px
    across = (np.arange(width) + place - view.left_px) * values.shape[2] / view.width_px
    rows, columns = (
        np.flatnonzero((at >= 0) & (at < n)) for at, n in zip((down, across), values.shape[1:], strict=True)
    )
    take = _linear if how == "bilinear" else _nearest
    found = take(take(values, down[rows], axis=1), across[columns], axis=2)
    if found.shape[1:] == (height, width):
        return found
    placed = np.zeros((len(values), height, width), found.dtype)
    placed[:, rows[:, None], columns] = found
    return placed


def _nearest(values: Planes, at: NDArray[np.float64], *, axis: int) -> Planes:
    return values.take(at.astype(np.intp), axis=axis)


def _linear(values: Planes, at: NDArray[np.float64], *, axis: int) -> Planes:
    low = np.clip(at - 0.5, 0, values.shape[axis] - 1)
    first = low.astype(np.intp)
    second = np.minimum(first + 1, values.shape[axis] - 1)
    weight = np.expand_dims((low - first).astype(np.float32), tuple(range(1, values.ndim - axis)))
    floats = values.astype(np.float32)
    return np.asarray(floats.take(first, axis=axis) * (1 - weight) + floats.take(second, axis=axis) * weight)


def decode_points(numbers: Values, step: DecodePoints, *, view: View) -> NDArray[np.float64]:
    """Make landmarks float64 `[n, 2]` in pixels of the picture of what the model gave.

    Raises:
        ModelDoesNotFit: the numbers are not whole rows.
    """
    if numbers.size == 0 or numbers.size % step.columns:
        raise ModelDoesNotFit(f"postprocessing: expected rows of {step.columns} numbers, found {numbers.size} numbers")
    points = numbers.reshape(-1, step.columns)[:, :2].astype(np.float64)
    if step.scale == "share":
        points *= [view.columns, view.rows]
    return view.to_picture(points)


def decode_vector(numbers: Values, steps: Sequence[PostStep]) -> Values:
    """Make the vector of a frame; tokens and feature maps were averaged before."""
    vector = numbers.astype(np.float32)
    if any(isinstance(step, UnitLength) for step in steps):
        with np.errstate(invalid="ignore", divide="ignore"):
            vector = vector / np.linalg.norm(vector)
    return vector
