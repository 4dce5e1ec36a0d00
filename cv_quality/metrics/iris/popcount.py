"""The innermost step of comparing bits, in vector instructions: written for LLVM, run by Numba.

`add_common_bits` and `count_ones` are called by the loops of `cv_quality.metrics.iris.hamming_kernels`. LLVM makes one
instruction of a count of ones where the processor has it (AVX-512 VPOPCNTDQ), and several elsewhere. Numba keeps a
compiled loop as long as the loop's own file stays as it is: touch that file after a change here.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.compiled import COMPILING, compiled
from cv_quality.metrics.iris.rules import GRADIENT, MEAN, NORMS, OFFSET, TYPICAL_BITS

if TYPE_CHECKING:
    from llvmlite import ir

P = ParamSpec("P")
R = TypeVar("R")

LINEAR, DAUGMAN = NORMS.index("linear"), NORMS.index("daugman")
LANES = 8
"""Columns side by side in a vector of 512 bits."""
ROWS = 4
"""Rows compared at once: their eight sums stay in registers, and what is loaded of the columns serves all of them."""
LINE = 64
"""Bytes at which a vector of columns begins."""


def compiled_bits(loop: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop that calls the functions of this module."""
    with COMPILING:
        _register()
        return compiled(loop)


def add_common_bits(
    columns: NDArray[np.uint64], at: int, rows: NDArray[np.uint64], row: int, words: int, sums: NDArray[np.int64]
) -> None:
    """Count the bits in which ROWS rows and LANES columns differ, and those valid in both.

    Args:
        columns: words of the columns, beginning at a multiple of LINE bytes: for each word LANES of codes, then LANES
            of masks.
        at: where these columns begin.
        rows: words of each row, its code and then its mask.
        row: where the first row begins; there are ROWS of them.
        words: of a code.
        sums: gets the bits that differ and then those compared, for each row and column; shape (2 * ROWS * LANES,).
    """
    raise NotImplementedError("it has machine code only: call it from a loop compiled by compiled_bits")


def count_ones(word: np.uint64) -> int:
    """Count the ones of a word."""
    return int(np.bitwise_count(word))


def normalised(differing: int, compared: int, norm: int) -> float:
    """Normalise the distance of bits at one rotation, as `HammingRule.normalised`.

    Args:
        differing, compared: how many bits; of the second at least 1.
        norm: place of the normalisation in `NORMS`.
    """
    n = float(compared)
    raw = differing / n
    if norm == LINEAR:
        return max(0.0, MEAN - (MEAN - raw) * (GRADIENT * n + OFFSET))
    if norm == DAUGMAN:
        return 0.5 - (0.5 - raw) * math.sqrt(n / TYPICAL_BITS)
    return raw


@cache
def _register() -> None:
    """Give Numba the machine code of these functions; it asks for their arguments by name, used or not."""
    from numba.core import types
    from numba.extending import intrinsic, overload, register_jitable

    @intrinsic
    def common(_: Any, columns: Any, at: Any, rows: Any, row: Any, words: Any, sums: Any) -> Any:  # noqa: ARG001
        def generate(context: Any, builder: "ir.IRBuilder", signature: Any, values: Any) -> Any:
            data = [
                context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, values, strict=True)
            ]
            _emit_common_bits(builder, *data)
            return context.get_dummy_value()

        return types.void(columns, types.intp, rows, types.intp, types.intp, sums), generate

    @intrinsic
    def ones(_: Any, word: Any) -> Any:
        return types.int64(word), lambda _context, builder, _signature, values: builder.ctpop(values[0])

    # Numba passes the first argument of an intrinsic itself.
    add, count = cast("Callable[..., None]", common), cast("Callable[..., int]", ones)

    @overload(add_common_bits, strict=False)
    def _(columns: Any, at: Any, rows: Any, row: Any, words: Any, sums: Any) -> Any:  # noqa: ARG001
        return lambda columns, at, rows, row, words, sums: add(columns, at, rows, row, words, sums)

    @overload(count_ones, strict=False)
    def _(word: Any) -> Any:  # noqa: ARG001
        return lambda word: count(word)

    register_jitable(normalised)


def _emit_common_bits(
    builder: "ir.IRBuilder",
    columns: "ir.Value",
    at: "ir.Value",
    rows: "ir.Value",
    row: "ir.Value",
    words: "ir.Value",
    sums: "ir.Value",
) -> None:
    """Write the loop over the words; arrays are pointers to their data."""
    from llvmlite import ir
    from numba.core import cgutils

    inserted = cast("Callable[..., ir.Value]", cgutils.get_or_insert_function)
    reserved = cast("Callable[..., ir.Value]", cgutils.alloca_once_value)
    word, place = ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(word, LANES)
    undefined, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(place, LANES), [0] * LANES)
    ones = inserted(builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{LANES}i64")

    def loaded(base: "ir.Value", index: "ir.Value") -> "ir.Value":
        value = builder.load(builder.gep(base, [index]))
        value.align = LINE
        return value

    def spread(base: "ir.Value", index: "ir.Value") -> "ir.Value":
        """One word in all lanes."""
        single = builder.insert_element(undefined, builder.load(builder.gep(base, [index])), ir.Constant(place, 0))
        return builder.shuffle_vector(single, undefined, first)

    column = builder.bitcast(builder.gep(columns, [at]), vector.as_pointer())
    begin = builder.gep(rows, [row])
    totals = [reserved(builder, ir.Constant(vector, [0] * LANES)) for _ in range(2 * ROWS)]
    with cgutils.for_range(builder, words) as loop:
        twice = builder.add(loop.index, loop.index)
        codes, masks = loaded(column, twice), loaded(column, builder.add(twice, ir.Constant(word, 1)))
        for i in range(ROWS):
            where = builder.add(builder.mul(words, ir.Constant(word, 2 * i)), loop.index)
            both = builder.and_(masks, spread(begin, builder.add(where, words)))
            differ = builder.and_(builder.xor(codes, spread(begin, where)), both)
            for total, bits in ((totals[i], differ), (totals[ROWS + i], both)):
                builder.store(builder.add(builder.load(total), builder.call(ones, [bits])), total)
    found = builder.bitcast(sums, vector.as_pointer())
    for i, total in enumerate(totals):
        builder.store(builder.load(total), builder.gep(found, [ir.Constant(word, i)])).align = 8
