"""Adjusted p-values and e-values, to the printed digits of published implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.studies.multiplicity import benjamini_hochberg, e_bh, holm

P = [0.001, 0.008, 0.012, 0.021, 0.039, 0.041, 0.042, 0.060, 0.074, 0.205]


def test_adjusted_values_are_those_of_the_reference() -> None:
    assert holm(P) == pytest.approx([0.010, 0.072, 0.096, 0.147, *[0.234] * 4, 0.234, 0.234], abs=1e-12)
    expected = [0.01, 0.04, 0.04, 0.0525, 0.06, 0.06, 0.06, 0.075, 0.0822222222, 0.205]
    assert benjamini_hochberg(P) == pytest.approx(expected, abs=1e-9)


def test_e_bh_chooses_the_largest_that_suffice() -> None:
    e = [300, 90, 50, 41, 12, 1]
    assert e_bh(e, alpha=0.1).tolist() == [True] * 5 + [False]
    assert e_bh(e, alpha=0.05).tolist() == [True] * 4 + [False] * 2
    assert not e_bh([1.0, 1.0], alpha=0.05).any()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_order_does_not_matter_and_nothing_becomes_smaller(values: list[float]) -> None:
    order = np.random.default_rng(len(values)).permutation(len(values))
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(values)
        assert np.all(adjusted >= np.array(values) - 1e-15)
        assert adjusted[order] == pytest.approx(adjust(np.array(values)[order]))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(MetricError, match="p-values from 0 to 1"):
        holm([0.1, 1.2])
    with pytest.raises(MetricError, match="e-values of at least 0"):
        e_bh([-1.0], alpha=0.1)
    with pytest.raises(MetricError, match="alpha between 0 and 1"):
        e_bh([1.0], alpha=1.0)
