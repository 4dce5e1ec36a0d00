"""Units that logs are written in, and how a number in one becomes a number in another.

Only pairs that are known here are converted; everything else is refused by `conversion`.
"""

from dataclasses import dataclass
from typing import Final

from cv_quality.errors import MappingError, near


@dataclass(frozen=True, slots=True)
class Conversion:
    """A number in another unit: `factor * number + offset`."""

    factor: float = 1.0
    offset: float = 0.0


_SCALES: Final[dict[str, dict[str, tuple[float, float]]]] = {
    "time": {"ns": (1e-9, 0), "us": (1e-6, 0), "ms": (1e-3, 0), "s": (1, 0), "min": (60, 0), "h": (3600, 0)},
    "length": {"mm": (1e-3, 0), "cm": (1e-2, 0), "m": (1, 0), "km": (1e3, 0), "in": (0.0254, 0), "ft": (0.3048, 0)},
    "angle": {"deg": (1, 0), "rad": (57.29577951308232, 0)},
    "share": {"1": (1, 0), "%": (0.01, 0), "‰": (0.001, 0)},
    "illuminance": {"lux": (1, 0), "klx": (1e3, 0)},
    "temperature": {"K": (1, 0), "°C": (1, 273.15), "°F": (5 / 9, 273.15 - 32 * 5 / 9)},
}
_OTHER_NAMES: Final = {
    "µs": "us",
    "μs": "us",
    "sec": "s",
    "°": "deg",
    "lx": "lux",
    "C": "°C",
    "F": "°F",
    "percent": "%",
}


def conversion(unit: str, to: str, *, where: str) -> Conversion:
    """Find how numbers in `unit` become numbers in `to`.

    >>> conversion("s", "ms", where="latency").factor
    1000.0

    Args:
        where: what is converted, for the error.

    Raises:
        MappingError: a unit is unknown, or the two measure different things.
    """
    unit, to = _OTHER_NAMES.get(unit, unit), _OTHER_NAMES.get(to, to)
    known = {name: (quantity, *scale) for quantity, scales in _SCALES.items() for name, scale in scales.items()}
    for name in (unit, to):
        if name not in known:
            raise MappingError(f"{where}: unit {name!r} is not known; {near(name, known)}")
    (quantity, factor, offset), (other, to_factor, to_offset) = known[unit], known[to]
    if quantity != other:
        raise MappingError(f"{where}: {unit} is a unit of {quantity} and {to} one of {other}: they do not convert")
    ratio = factor / to_factor
    rounded = round(ratio)
    exact = float(rounded) if rounded and abs(ratio - rounded) < 1e-9 * ratio else ratio
    return Conversion(exact, (offset - to_offset) / to_factor)
