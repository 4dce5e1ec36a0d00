"""The spread of impostor distances against plain NumPy, and degrees of freedom that are known."""

import math

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.metrics.iris.codes import Codes
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.iris.spread import degrees_of_freedom, impostor_spread
from cv_quality.metrics.pairs import Side
from cv_quality_tests.metrics.iris.plain import plain_distances, random_templates

N = 90
RULE = HammingRule(bits=512, step=16, shifts=5, norm="linear")
NAMES = np.array([f"s{index // 3:02d}" for index in range(N)])


def frames(templates: Codes) -> Side:
    return Side(templates, NAMES, np.arange(len(templates)))


def test_degrees_of_freedom_are_those_of_daugmans_binomial() -> None:
    assert round(degrees_of_freedom(0.499, 0.0317)) == 249
    assert degrees_of_freedom(0.5, math.sqrt(0.25 / 957)) == pytest.approx(957)
    assert math.isnan(degrees_of_freedom(0.5, 0.0))
    assert math.isnan(degrees_of_freedom(math.nan, 0.1))
    with pytest.raises(MetricError, match=r"a mean in \[0, 1\]"):
        degrees_of_freedom(1.5, 0.1)
    with pytest.raises(MetricError, match="a standard deviation above 0"):
        degrees_of_freedom(0.5, -0.1)


def test_spread_and_its_interval_are_those_of_plain_numpy() -> None:
    templates = random_templates(N, (8, 32, 2), seed=1)
    templates[7] = 0
    zero = HammingRule(bits=512, step=16, shifts=1)
    distances = plain_distances(templates, templates, zero)
    first, second = np.triu_indices(N, 1)
    kept = (NAMES[first] != NAMES[second]) & ~np.isnan(distances[first, second])
    first, second = first[kept], second[kept]
    values = distances[first, second]
    found = impostor_spread(frames(templates), frames(templates), rule=RULE, threads=2)
    assert found.n == values.size
    assert found.mean == pytest.approx(values.mean(), abs=1e-9)
    assert found.sd == pytest.approx(values.std(), abs=1e-7)
    parts = []
    for name in np.unique(NAMES):
        rest = values[(NAMES[first] != name) & (NAMES[second] != name)]
        parts.append(math.log(rest.mean() * (1 - rest.mean()) / rest.var()))
    error = math.sqrt((len(parts) - 1) * np.var(parts))
    assert math.log(found.high / found.low) / 2 == pytest.approx(error * 2.0452, rel=1e-3)
    assert found.low < found.degrees_of_freedom < found.high


def test_independent_bits_are_as_many_degrees_of_freedom() -> None:
    templates = random_templates(N, (8, 32, 2), seed=2, valid=1.0)
    found = impostor_spread(frames(templates), frames(templates), rule=RULE)
    assert found.low < 512 < found.high


def test_copies_of_templates_do_not_narrow_the_interval() -> None:
    templates = random_templates(N, (8, 32, 2), seed=3)[::3]
    once = Side(templates, NAMES[::3], np.arange(30))
    twice = Side(np.repeat(templates, 2, axis=0), np.repeat(NAMES[::3], 2), np.arange(60))
    narrow, wide = impostor_spread(once, once, rule=RULE), impostor_spread(twice, twice, rule=RULE)
    assert wide.n == 4 * narrow.n
    assert wide.high / wide.low == pytest.approx(narrow.high / narrow.low, rel=1e-6)


def test_nobody_has_no_spread() -> None:
    nobody = Side(np.empty((0, 2, 8), np.uint64), np.empty(0, str))
    found = impostor_spread(nobody, nobody, rule=RULE)
    assert found.n == 0
    assert all(math.isnan(value) for value in (found.mean, found.sd, found.degrees_of_freedom, found.low))
