"""A product gives each pair the same bits in every place, within its bound, and leaves the process as it was."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

from cv_quality.metrics.pair_counters import device_product
from cv_quality.metrics.products import (
    PRODUCTS,
    STEP,
    TILE,
    Float32s,
    Onto,
    Product,
    float32_error,
    full_precision,
    is_faithful,
    product_for,
)

MULTIPLES = (1, 2, 3, 5, 8, 13)
SHAPES = tuple((STEP * m, STEP * n) for m, n in itertools.product(MULTIPLES, repeat=2))
DIMENSIONS = (1, 2, 3, 16, 100, 128, 256, 512, 513)


def multiplied(onto: Onto, left: Float32s, right: Float32s) -> Float32s:
    with full_precision():
        return onto(right)(left)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_chosen_product_is_faithful_for_every_multiple_of_a_step(dimension: int) -> None:
    with full_precision():
        assert is_faithful(product_for(dimension).onto, dimension, shapes=SHAPES)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_a_product_that_passes_the_probe_passes_every_shape(product: Product) -> None:
    """The probe takes four shapes; those that it lets through must hold for all that are used."""
    with full_precision():
        for dimension in (16, 128, 256):
            probed = ((STEP, STEP), (STEP, TILE[1]), (TILE[0], STEP), TILE)
            if is_faithful(product.onto, dimension, shapes=probed):
                assert is_faithful(product.onto, dimension, shapes=SHAPES)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_a_set_against_itself_gives_the_bits_of_a_copy(product: Product) -> None:
    """Some libraries turn to another routine when both operands are one array."""
    rows = np.random.default_rng(0).normal(size=(3 * STEP, 100)).astype(np.float32)
    itself, copied = multiplied(product.onto, rows, rows), multiplied(product.onto, rows, rows.copy())
    assert np.array_equal(itself, copied)


def test_the_probe_finds_a_product_that_depends_on_the_place() -> None:
    def misplaced(right: Float32s) -> Callable[[Float32s], Float32s]:
        def multiply(left: Float32s) -> Float32s:
            scores: Float32s = np.einsum("ik,jk->ij", left, right)
            scores[-1, -1] = np.nextafter(scores[-1, -1], np.float32(2))
            return scores

        return multiply

    def rough(right: Float32s) -> Callable[[Float32s], Float32s]:
        return lambda left: np.einsum("ik,jk->ij", left, right) + np.float32(1e-3)

    def absent(right: Float32s) -> Callable[[Float32s], Float32s]:
        raise NotImplementedError(f"{right.shape}")

    for onto in (misplaced, rough, absent):
        assert not is_faithful(onto, 64, shapes=((STEP, STEP),))


def test_torch_on_a_device_is_faithful_in_the_one_shape_that_it_uses() -> None:
    with full_precision():
        assert is_faithful(device_product("cpu"), 64, shapes=((512, 512),))


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), dimension=st.integers(1, 300), scale=st.floats(0.0, 20.0))
def test_no_score_is_further_off_than_the_bound(product: Product, seed: int, dimension: int, scale: float) -> None:
    """Coordinates over many orders of magnitude, and vectors nearly the same or opposite."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(STEP, dimension)) * np.exp(scale * rng.normal(size=dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[1::2] = -vectors[::2]
    narrow = vectors.astype(np.float32)
    error = np.abs(multiplied(product.onto, narrow, narrow) - vectors @ vectors.T)
    assert error.max() <= float32_error(dimension)


MATMULS = (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)  # type: ignore[attr-defined]


def precisions() -> list[str]:
    return [matmul.fp32_precision for matmul in MATMULS]


def settings_of_the_process() -> tuple[object, ...]:
    pools = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
    return torch.get_num_threads(), precisions(), pools


@pytest.fixture(params=["highest", "high", "medium", "bf16"])
def lowered(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a user may have set, in torch's old way or its new one, which do not mix."""
    if request.param == "bf16":
        MATMULS[0].fp32_precision = request.param
        yield
        MATMULS[0].fp32_precision = "none"
    else:
        torch.set_float32_matmul_precision(request.param)
        yield
        torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("lowered")
def test_threads_and_precision_are_set_back_even_after_an_error() -> None:
    before, within = settings_of_the_process(), []

    def fails() -> None:
        with full_precision():
            within.append((torch.get_num_threads(), precisions()))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert within == [(1, ["ieee", "ieee"])]
    assert settings_of_the_process() == before
