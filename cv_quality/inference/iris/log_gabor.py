"""Codes of normalised iris strips: the phase of a one-dimensional log-Gabor filter along the angle, band by band.

After Daugman (1993) with the filter of Field (1987) as Masek (2003) uses it on irises: G(f) = exp(-ln(f / f0)^2 /
(2 ln(sigma / f0)^2)) on positive frequencies, so that the response to a row is complex; its real and imaginary parts,
and where asked its magnitude against that of the row, each give a bit.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Plane = Literal["real", "imaginary", "magnitude"]
PLANES: tuple[Plane, ...] = get_args(Plane)
Strips = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LogGabor:
    """What turns a strip into a code.

    The defaults were chosen on half of the identities of IITD's strips and did best on the other half too
    (`docs/iris.md`): the magnitude outdoes the imaginary part as the second bit.

    Attributes:
        rows: bands of the strip, each the mean of its rows.
        columns: angular positions of the code.
        wavelength_px: of the filter's centre, in columns of the strip.
        sigma_on_f: width of the filter by its centre frequency.
        planes: the bits of each place.
        fragile_share: of the places of each plane, those whose response is weakest are not valid.
    """

    rows: int = 12
    columns: int = 108
    wavelength_px: float = 32.0
    sigma_on_f: float = 0.4
    planes: tuple[Plane, ...] = ("real", "magnitude")
    fragile_share: float = 0.0

    @property
    def step(self) -> int:
        """Bits of one column."""
        return self.rows * len(self.planes)

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.columns * self.step

    def encode(self, strips: Strips, valid: Bits) -> tuple[Bits, Bits]:
        """Encode strips.

        Args:
            strips: grey levels, shape (n, height, width); `rows` divides the height, `columns` the width.
            valid: pixels that show iris, of that shape.

        Returns:
            Codes and masks, shape (n, rows, columns, planes). A bit is valid where most of its band's pixels are.
        """
        count, height, width = strips.shape
        of_bands = (count, self.rows, height // self.rows, width)
        shown = valid.reshape(of_bands)
        known = shown.sum(axis=2)
        bands = np.where(shown, strips.reshape(of_bands), 0.0).sum(axis=2) / np.maximum(known, 1)
        means = (bands * known).sum(axis=2, keepdims=True) / np.maximum(known.sum(axis=2, keepdims=True), 1)
        response = self._filtered(np.where(known > 0, bands, means))[..., :: width // self.columns]
        seen = (known * 2 > height // self.rows)[..., :: width // self.columns]
        values = np.stack([_part(response, seen, plane) for plane in self.planes], axis=-1)
        masks = np.broadcast_to(seen[..., None], values.shape) & self._sturdy(np.abs(values), seen)
        return (values > 0) & masks, masks

    def _filtered(self, bands: NDArray[np.float64]) -> NDArray[np.complex128]:
        frequencies = np.fft.fftfreq(bands.shape[-1])
        gain = np.zeros_like(frequencies)
        above = frequencies > 0
        spread = 2 * np.log(self.sigma_on_f) ** 2
        gain[above] = np.exp(-(np.log(frequencies[above] * self.wavelength_px) ** 2) / spread)
        return np.fft.ifft(np.fft.fft(bands, axis=-1) * gain, axis=-1)

    def _sturdy(self, strengths: NDArray[np.float64], seen: Bits) -> Bits:
        """Whether a bit's response is not among the weakest of its plane that are seen."""
        if self.fragile_share == 0.0:
            return np.ones(strengths.shape, np.bool_)
        least = [_quantile(strengths[..., plane], seen, self.fragile_share) for plane in range(strengths.shape[-1])]
        sturdy: Bits = strengths >= np.stack(least, axis=-1)
        return sturdy


def _part(response: NDArray[np.complex128], seen: Bits, plane: Plane) -> NDArray[np.float64]:
    """The numbers whose signs are the bits of a plane."""
    if plane == "real":
        return response.real
    if plane == "imaginary":
        return response.imag
    strength = np.abs(response)
    excess: NDArray[np.float64] = strength - _quantile(strength, seen, 0.5)
    return excess


def _quantile(values: NDArray[np.float64], seen: Bits, share: float) -> NDArray[np.float64]:
    """The quantile of what is seen of each code, between two values by their distance; 0 where nothing is.

    NumPy's warns of a code without any, which is no accident here.

    Args:
        values: shape (n, rows, columns).
        seen: which of them count.
        share: of the values that lie below.
    """
    count = len(values)
    ordered = np.sort(np.where(seen, values, np.inf).reshape(count, -1), axis=1)
    ordered[~np.isfinite(ordered)] = 0.0
    place = share * np.maximum(seen.reshape(count, -1).sum(axis=1) - 1, 0)
    below = np.floor(place).astype(np.int64)
    each, above = np.arange(count), np.ceil(place).astype(np.int64)
    found = ordered[each, below] + (place - below) * (ordered[each, above] - ordered[each, below])
    quantiles: NDArray[np.float64] = found[:, None, None]
    return quantiles
