"""Eight bits never rule out a pair wrongly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.metrics.products import STEP, full_precision
from cv_quality.metrics.quantised import LARGEST, has_int8, int8_product, quantised


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    dimension=st.integers(1, 200),
    spread=st.floats(0.0, 10.0),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_the_bound_covers_the_error_of_every_pair(
    seed: int, dimension: int, spread: float, dtype: type[np.float32 | np.float64]
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(60, dimension)) * np.exp(spread * rng.normal(size=dimension))
    vectors[1::3] = vectors[::3] + 1e-3 * rng.normal(size=dimension)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype).astype(np.float64)
    one, other = quantised(vectors[:25]), quantised(vectors[25:])
    scales = one.scales[:, None].astype(np.float64) * other.scales
    products = one.codes[:25].astype(np.float64) @ other.codes[:35].T.astype(np.float64)
    error = np.abs(scales * products - vectors[:25] @ vectors[25:].T)
    bound = one.norms[:, None].astype(np.float64) * other.residuals + one.residuals[:, None] * other.code_norms
    assert np.all(error <= bound + 1e-12)


def test_codes_and_norms_are_those_of_the_rows_in_order() -> None:
    vectors = np.eye(70)[:, :3] + 1e-3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.random.default_rng(0).permutation(70)
    found, plain = quantised(vectors, order), quantised(vectors[order])
    assert found.codes.shape == (2 * STEP, STEP)
    assert np.array_equal(found.codes, plain.codes)
    assert np.array_equal(found.scales, plain.scales)
    assert np.abs(found.codes[:70]).max(axis=1).tolist() == [LARGEST] * 70
    assert not found.codes[70:].any()
    left = vectors[order] - found.scales[:, None].astype(np.float64) * found.codes[:70, :3]
    for norms, rows in (
        (found.norms, vectors[order]),
        (found.residuals, left),
        (found.code_norms, vectors[order] - left),
    ):
        exact = np.linalg.norm(rows, axis=1)
        assert np.all((exact <= norms) & (norms <= exact * (1 + 1e-6) + 1e-11))


@pytest.mark.parametrize("dimension", [1, 64, 100, 1_024])
def test_a_machine_that_uses_eight_bits_multiplies_them_exactly(dimension: int) -> None:
    with full_precision():
        if not has_int8(dimension):
            return
        codes = np.random.default_rng(0).choice(
            np.array([-LARGEST, LARGEST], np.int8), (STEP, -(-dimension // STEP) * STEP)
        )
        assert np.array_equal(int8_product(codes, codes), codes.astype(np.int64) @ codes.T.astype(np.int64))
