"""How bits become templates, what a rotation does to them, and which templates a rule refuses."""

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.metrics.iris.codes import check_templates, pack, unpack
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality_tests.metrics.iris.plain import Shape, random_templates, rotate, rule_of

SHAPES: list[Shape] = [(8, 128, 2), (3, 7, 1), (1, 8, 1), (5, 50, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_unpacking_gives_the_bits_and_nothing_under_the_mask(shape: Shape) -> None:
    rng = np.random.default_rng(3)
    codes, masks = rng.random((4, *shape)) < 0.5, rng.random((4, *shape)) < 0.7
    rows, columns, planes = shape
    found = unpack(pack(codes, masks), rows=rows, columns=columns, planes=planes)
    assert np.array_equal(found[0], codes & masks)
    assert np.array_equal(found[1], masks)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rotation_rolls_the_columns(shape: Shape) -> None:
    rows, columns, planes = shape
    templates, rule = random_templates(3, shape, seed=4), rule_of(shape, shifts=3)
    turned = unpack(rotate(templates, rule=rule, shift=2), rows=rows, columns=columns, planes=planes)
    plain = unpack(templates, rows=rows, columns=columns, planes=planes)
    assert all(np.array_equal(new, np.roll(old, 2, axis=2)) for new, old in zip(turned, plain, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 2048, "step": 7}, "columns of equal size"),
        ({"bits": 65_536, "step": 16}, "at most 32,768 bits, found 65,536"),
        ({"bits": 2048, "step": 16, "shifts": 4}, "an odd number of shifts"),
        ({"bits": 64, "step": 16, "shifts": 5}, "a code of 4 columns has no 5 different shifts"),
        ({"bits": 64, "step": 16, "shifts": 3, "minimum_bits": 65}, "from 1 to 64 minimum bits"),
        ({"bits": 64, "step": 16, "shifts": 3, "norm": "cosine"}, "raw, linear, daugman"),
    ],
)
def test_a_rule_whose_numbers_do_not_go_together_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        HammingRule(**settings)  # type: ignore[arg-type]


def test_templates_of_other_codes_are_refused() -> None:
    templates, rule = random_templates(2, (3, 7, 1), seed=5), HammingRule(bits=128, step=4)
    with pytest.raises(MetricError, match=r"128 bits, uint64 of shape \(n, 2, 2\), found .* \(2, 2, 1\)"):
        check_templates(templates, rule, name="probes")
    templates[0, 1, 0] |= np.uint64(1) << np.uint64(21)
    with pytest.raises(MetricError, match="bits are set beyond the 21"):
        check_templates(templates, rule_of((3, 7, 1), shifts=3), name="probes")
    with pytest.raises(MetricError, match="other numbers than 0 and 1"):
        pack(np.full((1, 2, 3, 1), 2), np.ones((1, 2, 3, 1)))
    with pytest.raises(MetricError, match="codes have the shape"):
        pack(np.zeros((1, 2, 3, 1)), np.ones((1, 2, 4, 1)))
