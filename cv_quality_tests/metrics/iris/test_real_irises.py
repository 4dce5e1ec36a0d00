"""The strips of IIT Delhi, all pairs at every number of rotations, as the card has them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cv_quality.inference.iris.log_gabor import LogGabor
from cv_quality.metrics.iris.code_counters import scale_of
from cv_quality.metrics.iris.codes import pack
from cv_quality.metrics.iris.counting import shift_curves
from cv_quality.metrics.iris.rotations import RotationRates, rotation_rates
from cv_quality.metrics.iris.rules import HammingRule, default_minimum
from cv_quality.metrics.pairs import Side
from cv_quality_tests.inference.iris.test_log_gabor import iitd

FILTERS, BRIGHT_FROM = LogGabor(), 250
RULE = HammingRule(FILTERS.bits, FILTERS.step, shifts=31, minimum_bits=default_minimum(FILTERS.bits))


@pytest.fixture(scope="module")
def rates(shared_data: Callable[[str], Path]) -> dict[int, RotationRates]:
    pictures, identities = iitd(shared_data("iris_iitd_normalized"))
    codes = pack(*FILTERS.encode(pictures, pictures < BRIGHT_FROM))
    eyes = Side(codes, identities.astype(str), np.arange(len(identities)))
    one, other = (side.astype(np.int64) for side in np.triu_indices(len(identities), 1))
    own = identities[one] == identities[other]
    genuine = shift_curves(eyes, eyes, rule=RULE, rows=(one[own], other[own]))
    impostor = shift_curves(eyes, eyes, rule=RULE)
    return {item.shifts: item for item in rotation_rates(genuine, impostor, scale=scale_of(RULE), decided=None)}


@pytest.mark.parametrize(
    ("shifts", "eer", "distance", "fnmr"),
    [
        (1, 0.0197, 0.3963, 0.0353),
        (3, 0.0191, 0.3921, 0.0326),
        (7, 0.0165, 0.3904, 0.0312),
        (15, 0.0165, 0.3901, 0.0317),
        (31, 0.0170, 0.3900, 0.0317),
    ],
)
def test_more_shifts_have_the_rates_of_the_card(
    rates: dict[int, RotationRates], shifts: int, eer: float, distance: float, fnmr: float
) -> None:
    found = rates[shifts]
    assert (found.n_genuine, found.n_impostor) == (2_240, 624_400)
    assert found.threshold is not None
    assert (found.eer, -found.threshold, found.fnmr) == pytest.approx((eer, distance, fnmr), abs=6e-5)
