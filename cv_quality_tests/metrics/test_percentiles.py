"""Percentiles of clustered values: against order statistics, values repeated by hand, coverage, and the edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cv_quality.errors import MetricError
from cv_quality.metrics import bootstrap_kernels as kernels
from cv_quality.metrics.percentiles import Method, cluster_percentiles

METHODS: tuple[Method, ...] = ("inverted", "bootstrap")


@given(
    values=st.lists(st.integers(0, 20).map(float), min_size=1, max_size=60),
    clusters=st.integers(1, 6),
    quantile=st.sampled_from([0.1, 0.5, 0.95]),
    seed=st.integers(0, 99),
)
def test_value_is_the_inverted_distribution_function_in_any_order(
    values: list[float], clusters: int, quantile: float, seed: int
) -> None:
    names = np.arange(len(values)) % clusters
    (found,) = cluster_percentiles(values, names, quantiles=[quantile])
    assert found.value == np.quantile(values, quantile, method="inverted_cdf")
    order = np.random.default_rng(seed).permutation(len(values))
    shuffled = cluster_percentiles(np.array(values)[order], names[order], quantiles=[quantile])
    assert shuffled == (found,)
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.high >= found.value


@given(seed=st.integers(0, 9_999))
def test_a_replicate_is_the_percentile_of_values_repeated_by_their_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, codes = np.sort(rng.integers(0, 9, 30).astype(np.float64)), rng.integers(0, 5, 30)
    weights = rng.multinomial(5, [0.2] * 5, 1).astype(np.float64)
    repeated = np.repeat(values, weights[0][codes].astype(int))
    if repeated.size == 0:
        return
    sizes, quantiles = np.bincount(codes, minlength=5).astype(np.float64), np.array([0.25, 0.5, 0.9])
    found = kernels.weighted_quantiles(weights, values, codes, sizes, quantiles)
    np.testing.assert_array_equal(found[0], np.quantile(repeated, quantiles, method="inverted_cdf"))


def test_independent_values_get_about_the_interval_of_order_statistics() -> None:
    values = np.random.default_rng(1).exponential(1, 4_000)
    for method in METHODS:
        (found,) = cluster_percentiles(values, np.arange(4_000), quantiles=[0.95], method=method, seed=2)
        low, high = np.sort(values)[stats.binom.ppf([0.025, 0.975], 4_000, 0.95).astype(int)]
        assert (found.low, found.high) == pytest.approx((low, high), rel=0.02)


def test_correlation_within_devices_widens_the_interval_and_lowers_n_effective() -> None:
    rng = np.random.default_rng(2)
    device = np.repeat(np.arange(40), 25)
    noise, own = rng.normal(0, 1, 1_000), rng.normal(0, 1, 40)
    apart = cluster_percentiles(noise, device, quantiles=[0.5])[0]
    alike = cluster_percentiles(noise + 3 * own[device], device, quantiles=[0.5])[0]
    assert None not in (apart.low, apart.high, alike.low, alike.high, apart.n_effective, alike.n_effective)
    assert alike.high - alike.low > 5 * (apart.high - apart.low)  # type: ignore[operator]
    assert alike.n_effective < apart.n_effective / 5  # type: ignore[operator]


def test_coverage_of_the_95th_percentile_holds_where_devices_differ() -> None:
    rng, device, covered = np.random.default_rng(3), np.repeat(np.arange(40), 25), 0
    truth = math.exp(1.6449 * math.hypot(0.15, 0.3))
    for _ in range(200):
        values = np.exp(rng.normal(0, 0.15, 40)[device] + rng.normal(0, 0.3, 1_000))
        (found,) = cluster_percentiles(values, device, quantiles=[0.95])
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert covered / 200 >= 0.9


def test_a_bound_beyond_the_highest_value_is_missing_with_a_reason() -> None:
    (found,) = cluster_percentiles(np.arange(200.0), np.arange(200) % 20, quantiles=[0.99])
    assert found.value == 197.0
    assert found.high is None
    assert found.low is not None
    assert found.reason == "insufficient: a bound lies beyond the highest of 200 values"


def test_the_bootstrap_repeats_itself_and_names_its_seed() -> None:
    values, names = np.random.default_rng(4).random(300), np.array(["a", "b", "c", "d", "e"] * 60)
    first = cluster_percentiles(values, names, method="bootstrap", seed=5)
    assert first == cluster_percentiles(values, names, method="bootstrap", seed=5)
    assert first[0].method is not None
    assert first[0].method.endswith("1000 replicates, seed 5")
    assert first[0].reason == "insufficient: 5 clusters, 10 needed"


def test_one_cluster_has_percentiles_without_bounds_and_no_value_has_none() -> None:
    for method in METHODS:
        (alone,) = cluster_percentiles([3.0, 1.0, 2.0], ["x"] * 3, quantiles=[0.5], method=method, seed=1)
        assert (alone.value, alone.low, alone.high, alone.method) == (2.0, None, None, None)
        (none,) = cluster_percentiles([], [], quantiles=[0.5], method=method, seed=1)
        assert (none.value, none.n, none.reason) == (None, 0, "no value")


def test_what_never_ended_is_an_infinite_value() -> None:
    (found,) = cluster_percentiles([1.0, 2.0, math.inf, math.inf], ["a", "b", "c", "d"], quantiles=[0.9])
    assert found.value == math.inf
    assert found.to_dict()["value"] == "inf"


def test_input_that_is_no_sample_is_refused() -> None:
    with pytest.raises(MetricError, match="a cluster for each value"):
        cluster_percentiles([1.0, 2.0], ["a"])
    with pytest.raises(MetricError, match="NaN"):
        cluster_percentiles([1.0, math.nan], ["a", "b"])
    with pytest.raises(MetricError, match="the 95th percentile"):
        cluster_percentiles([1.0], ["a"], quantiles=[95])
    with pytest.raises(MetricError, match='"bootstrap" with a seed'):
        cluster_percentiles([1.0], ["a"], method="bootstrap")
