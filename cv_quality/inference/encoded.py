"""What an encoder gives: templates of biometric samples, why there is none, and what it measured on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Encoded:
    """Samples as a build's encoder sees them.

    Attributes:
        statuses: "ok" or one of the modality's failures, one a sample.
        templates: shape (samples, ...), vectors in float32 or packed bits in uint64; only rows whose status is "ok"
            are kept.
        measured: figures of the samples by the column of the dimension, shape (samples,); NaN where there is none.
    """

    statuses: Sequence[str]
    templates: NDArray[np.float32] | NDArray[np.uint64]
    measured: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
