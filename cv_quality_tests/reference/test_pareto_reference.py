"""The generalised Pareto likelihood against SciPy's distribution and plain minimisation."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from cv_quality.metrics import pareto

Floats = NDArray[np.float64]


def sample(shape: float, size: int, *, seed: int) -> Floats:
    drawn: Floats = stats.genpareto.rvs(shape, scale=0.03, size=size, random_state=np.random.default_rng(seed))
    return drawn


def log_likelihood(excesses: Floats, shape: float, scale: float) -> float:
    return float(stats.genpareto.logpdf(excesses, shape, scale=scale).sum())


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.0, 0.3])
@pytest.mark.parametrize("size", [100, 2_000])
def test_the_fit_is_as_likely_as_scipys(shape: float, size: int) -> None:
    excesses = sample(shape, size, seed=1)
    best = pareto.fit(excesses)
    theirs, _, scale = stats.genpareto.fit(excesses, floc=0)
    assert log_likelihood(excesses, float(best.shape[0]), float(best.scale[0])) > (
        log_likelihood(excesses, theirs, scale) - 1e-6
    )
    assert best.shape[0] == pytest.approx(theirs, abs=1e-3)


def test_whole_weights_are_repeated_excesses() -> None:
    excesses = sample(-0.1, 300, seed=2)
    weights = np.random.default_rng(3).poisson(1.0, (4, 300)).astype(np.float64)
    near = pareto.fit(excesses)
    weighted = pareto.fit(excesses, weights, near=float(near.shape[0] / near.scale[0]))
    for row, shape, scale in zip(weights, weighted.shape, weighted.scale, strict=True):
        repeated = pareto.fit(np.repeat(excesses, row.astype(int)))
        assert (repeated.shape[0], repeated.scale[0]) == pytest.approx((shape, scale), abs=1e-7)


def test_survival_and_excess_are_those_of_scipy_and_undo_each_other() -> None:
    for shape in (-0.3, 0.0, 0.2):
        excesses = np.linspace(0.001, 0.09, 20)
        ours = pareto.log_survival(excesses, shape=shape, scale=0.03)
        np.testing.assert_allclose(ours, stats.genpareto.logsf(excesses, shape, scale=0.03), rtol=1e-5)
        np.testing.assert_allclose(pareto.excess_at(ours, shape=shape, scale=0.03), excesses, rtol=1e-6)
    assert pareto.log_survival(np.array([0.2]), shape=-0.3, scale=0.03)[0] == -np.inf


@pytest.mark.parametrize(
    ("shape", "rate", "excess"),
    [(-0.1, 1e-6, 0.12), (-0.1, 1e-7, 0.15), (0.1, 1e-7, 0.5), (-0.3, 1e-7, 0.095), (-0.3, 1e-8, 0.1)],
)
def test_the_profile_loses_what_plain_minimisation_loses(shape: float, rate: float, excess: float) -> None:
    excesses, n = sample(shape, 400, seed=4), 1_000_000
    best = pareto.fit(excesses)
    profile = pareto.Profile.of(excesses, best, n=n, cutoff=40.0)
    highest = log_likelihood(excesses, best.shape[0], best.scale[0]) + 400 * np.log(400 / n) - 400

    def lost(point: tuple[float, float]) -> float:
        xi, sigma = point[0], np.exp(point[1])
        reach = 1 + xi * excess / sigma
        if abs(xi) < 1e-9 or xi <= -1 or reach <= 0:
            return 1e9
        share = rate * reach ** (1 / xi)
        if not 0 < share < 1 or 1 + xi * excesses.max() / sigma <= 0:
            return 1e9
        return float(highest - log_likelihood(excesses, xi, sigma) - 400 * np.log(share) + n * share)

    starts = [(best.shape[0] + step, np.log(best.scale[0])) for step in (-0.1, -0.02, 0.02, 0.1)]
    options = {"xatol": 1e-10, "fatol": 1e-10, "maxiter": 5_000}
    found = min(optimize.minimize(lost, start, method="Nelder-Mead", options=options).fun for start in starts)
    assert profile.ratio(log_rate=np.log(rate), excess=excess) == pytest.approx(2 * found, abs=2e-3)


def test_the_profile_loses_nothing_at_the_fit() -> None:
    excesses = sample(-0.2, 500, seed=5)
    best = pareto.fit(excesses)
    profile = pareto.Profile.of(excesses, best, n=100_000, cutoff=10.0)
    for log_rate in np.log([1e-4, 1e-6, 1e-9]):
        excess = float(pareto.excess_at(log_rate - np.log(500 / 100_000), shape=best.shape, scale=best.scale)[0])
        assert profile.ratio(log_rate=log_rate, excess=excess) == pytest.approx(0, abs=1e-4)


@pytest.mark.filterwarnings("error")
def test_an_excess_far_beyond_every_score_loses_ever_more() -> None:
    excesses = sample(-0.2, 110, seed=6)
    profile = pareto.Profile.of(excesses, pareto.fit(excesses), n=45_000, cutoff=80.0)
    lost = [profile.ratio(log_rate=np.log(1e-7), excess=10.0**power) for power in (0, 2, 5, 10, 100)]
    assert np.all(np.isfinite(lost))
    assert lost == sorted(lost)
