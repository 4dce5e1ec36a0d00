"""The inner loops over packed codes; importing this module imports Numba, so callers do it when they count.

Four codes, at one rotation, meet eight at a time: one loop over the words, in registers, whose vectors of eight words
lie side by side in memory. Processors without a vector population count run the same code with what they have.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, register_jitable
from numpy.typing import NDArray

from cv_quality.metrics.iris.rules import GRADIENT, MEAN, OFFSET, TYPICAL_BITS
from cv_quality.metrics.pair_kernels import Pairing
from cv_quality.metrics.score_bins import BINS, BINS_PER_UNIT

Words = NDArray[np.uint64]
Counts = NDArray[np.int64]
Reals = NDArray[np.float64]

LANES, QUAD = 8, 4
"""Columns, and rows, of a tile that are compared at once."""
RAW, LINEAR, DAUGMAN = 0, 1, 2
_inserted = cast("Callable[[Any, Any, str], Any]", get_or_insert_function)
_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I64, LANES)

_FourByEight = Callable[[Words, int, Words, int, int, int, Counts, Counts], None]


@intrinsic
def _four_by_eight(
    typing: Any,  # noqa: ARG001 - as Numba asks
    lanes: Any,
    lanes_at: Any,
    rows: Any,
    rows_at: Any,
    stride: Any,
    words: Any,
    differing: Any,
    compared: Any,
) -> Any:
    """Count the bits that differ, and those compared, of four codes against eight: 32 numbers each.

    Args:
        lanes: codes and masks of eight columns, word by word: eight codes, then their eight masks.
        lanes_at: where they begin.
        rows: codes and masks of rows, word by word: a code, then its mask.
        rows_at, stride: where the first row begins, and how far it is to the next.
        words: of a code.
        differing, compared: get the counts, eight of the first row, then of the second.
    """
    signature = types.void(lanes, lanes_at, rows, rows_at, stride, words, differing, compared)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(place: int) -> Any:
            return context.make_array(signature.args[place])(context, builder, arguments[place]).data

        def number(place: int) -> Any:
            return context.cast(builder, arguments[place], signature.args[place], types.int64)

        lanes, rows, differing, compared = (data(place) for place in (0, 2, 6, 7))
        lanes_at, rows_at, stride, words = (number(place) for place in (1, 3, 4, 5))
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        starts = [builder.add(rows_at, builder.mul(stride, _I64(row))) for row in range(QUAD)]
        builder.branch(loop)
        builder.position_at_end(loop)
        word = builder.phi(_I64)
        sums = [builder.phi(_VECTOR) for _ in range(2 * QUAD)]
        word.add_incoming(_I64(0), before)
        for total in sums:
            total.add_incoming(ir.Constant(_VECTOR, [0] * LANES), before)
        at = builder.add(lanes_at, builder.mul(word, _I64(2 * LANES)))
        codes, masks = (_loaded(builder, lanes, builder.add(at, _I64(offset))) for offset in (0, LANES))
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        population = _inserted(builder.module, kind, "llvm.ctpop.v8i64")
        counted = []
        for row, total in enumerate(sums[:QUAD]):
            own = builder.add(starts[row], builder.mul(word, _I64(2)))
            code, mask = (_spread(builder, rows, builder.add(own, _I64(offset))) for offset in (0, 1))
            valid = builder.and_(mask, masks)
            wrong = builder.and_(builder.xor(code, codes), valid)
            counted.append(builder.add(total, builder.call(population, [wrong])))
            counted.append(builder.add(sums[QUAD + row], builder.call(population, [valid])))
        counted = counted[::2] + counted[1::2]
        following = builder.add(word, _I64(1))
        word.add_incoming(following, loop)
        for total, value in zip(sums, counted, strict=True):
            total.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, words), loop, after)
        builder.position_at_end(after)
        for row in range(QUAD):
            for target, value in ((differing, counted[row]), (compared, counted[QUAD + row])):
                place = builder.bitcast(builder.gep(target, [_I64(row * LANES)]), _VECTOR.as_pointer())
                builder.store(value, place).align = 8
        return context.get_dummy_value()

    return signature, generate


def _loaded(builder: Any, array: Any, place: Any) -> Any:
    vector = builder.load(builder.bitcast(builder.gep(array, [place]), _VECTOR.as_pointer()))
    vector.align = 8
    return vector


def _spread(builder: Any, array: Any, place: Any) -> Any:
    word = builder.load(builder.gep(array, [place]))
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), word, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )


four_by_eight = cast(_FourByEight, _four_by_eight)


@intrinsic
def _population(typing: Any, word: Any) -> Any:  # noqa: ARG001 - as Numba asks
    """Count the bits of a word."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


population = cast("Callable[[np.uint64], int]", _population)


def lay_columns(templates: Words, lanes: Words) -> None:
    """Lay templates out as columns of a tile: word by word, eight codes, then their eight masks; absent ones are 0.

    Args:
        templates: shape (n, 2, words).
        lanes: gets them; flat, a multiple of eight templates.
    """
    words = templates.shape[2]
    lanes[:] = np.uint64(0)
    for column in range(templates.shape[0]):
        at = (column // LANES) * words * 2 * LANES + column % LANES
        for word in range(words):
            lanes[at + word * 2 * LANES] = templates[column, 0, word]
            lanes[at + word * 2 * LANES + LANES] = templates[column, 1, word]


def turn_rows(templates: Words, turns: Counts, bits: int, ring: Words, rows: Words) -> None:
    """Lay templates out as rows of a tile, each at every rotation: word by word, the code, then the mask.

    Args:
        templates: shape (n, 2, words).
        turns: of each rotation, in bits, from 0 to `bits` - 1.
        bits: of a code.
        ring: room for two codes and one word, one after the other.
        rows: gets them; flat, in the order of templates, rotations, words; absent templates are 0.
    """
    words = templates.shape[2]
    rows[:] = np.uint64(0)
    for row in range(templates.shape[0]):
        for side in range(2):
            lay_ring(templates[row, side], bits, ring)
            for turn in range(turns.size):
                at = (row * turns.size + turn) * words * 2 + side
                read_turned(ring, bits, turns[turn], rows[at : at + words * 2 : 2])


@register_jitable
def lay_ring(code: Words, bits: int, ring: Words) -> None:
    """Lay a code out twice, its second copy right behind the last bit of the first."""
    words, shift = code.size, np.uint64(bits % 64)
    ring[:] = np.uint64(0)
    for word in range(words):
        ring[word] |= code[word]
        at = (bits // 64) + word
        ring[at] |= code[word] << shift
        if shift:
            ring[at + 1] |= code[word] >> (np.uint64(64) - shift)


@register_jitable
def read_turned(ring: Words, bits: int, turn: int, code: Words) -> None:
    """Read the code that `ring` holds, turned to higher bits by `turn`, from 0 to `bits` - 1."""
    first = bits - turn if turn else 0
    for word in range(code.size):
        at, shift = first >> 6, np.uint64(first & 63)
        value = ring[at] >> shift
        if shift:
            value |= ring[at + 1] << (np.uint64(64) - shift)
        code[word] = value
        first += 64
        if first >= bits:
            first -= bits
    if bits & 63:
        code[code.size - 1] &= (np.uint64(1) << np.uint64(bits & 63)) - np.uint64(1)


def score_tile(
    lanes: Words,
    rows: Words,
    shape: tuple[int, int, int],
    rule: tuple[int, int],
    room: tuple[Counts, Counts, Reals, Reals],
    scores: Reals,
) -> None:
    """Score a tile: the smallest normalised distance over the rotations, oriented; NaN where none can be compared.

    Args:
        lanes, rows: the sides, from `lay_columns` and `turn_rows`.
        shape: rows, rotations and words.
        rule: normalisation (RAW, LINEAR, DAUGMAN) and the least of bits to compare.
        room: for 32 counts of each kind, and for the best distance of 32 pairs in two numbers.
        scores: gets them, shape (1, rows, columns); or, at its first index, those after 1, 3, 5, ... rotations.
    """
    height, shifts, words = shape
    norm, minimum = rule
    differing, compared, best, best_n = room
    stride = shifts * words * 2
    for quad in range(0, height, QUAD):
        for block in range(scores.shape[2] // LANES):
            best[:] = np.inf
            best_n[:] = 0.0
            for shift in range(shifts):
                four_by_eight(
                    lanes,
                    block * words * 2 * LANES,
                    rows,
                    quad * stride + shift * words * 2,
                    stride,
                    words,
                    differing,
                    compared,
                )
                if norm == RAW:
                    keep_smaller_share(differing, compared, minimum, best, best_n)
                else:
                    keep_smaller(differing, compared, minimum, norm, best)
                if shift % 2 == 0 and (scores.shape[0] > 1 or shift == shifts - 1):
                    for pair in range(QUAD * LANES):
                        value = best[pair]
                        if norm == RAW and best_n[pair] > 0.0:
                            value = best[pair] / best_n[pair]
                        at = quad + pair // LANES, block * LANES + pair % LANES
                        scores[min(shift // 2, scores.shape[0] - 1), at[0], at[1]] = (
                            np.nan if value == np.inf else 0.0 - value
                        )


@register_jitable
def keep_smaller_share(differing: Counts, compared: Counts, minimum: int, best: Reals, best_n: Reals) -> None:
    """Keep the smaller share of differing bits, as its two numbers: shares are compared without a division."""
    for pair in range(QUAD * LANES):
        d, n = np.float64(differing[pair]), np.float64(compared[pair])
        is_better = (compared[pair] >= minimum) & ((best_n[pair] == 0.0) | (d * best_n[pair] < best[pair] * n))
        best[pair] = d if is_better else best[pair]
        best_n[pair] = n if is_better else best_n[pair]


@register_jitable
def keep_smaller(differing: Counts, compared: Counts, minimum: int, norm: int, best: Reals) -> None:
    """Keep the smaller normalised distance."""
    for pair in range(QUAD * LANES):
        value = normalised(differing[pair], max(compared[pair], 1), norm)
        is_better = (compared[pair] >= minimum) & (value < best[pair])
        best[pair] = value if is_better else best[pair]


@register_jitable
def normalised(differing: int, compared: int, norm: int) -> float:
    """Normalise a distance, as `HammingRule.normalised`."""
    n = np.float64(compared)
    raw = differing / n
    if norm == LINEAR:
        return max(0.0, MEAN - (MEAN - raw) * (GRADIENT * n + OFFSET))
    if norm == DAUGMAN:
        return 0.5 - (0.5 - raw) * float(np.sqrt(n / TYPICAL_BITS))
    return float(raw)


def compare_pairs(
    sides: tuple[Words, Words],
    places: tuple[Counts, Counts],
    turns: Counts,
    rule: tuple[int, int, int],
    ring: Words,
    found: tuple[Counts, Counts, Counts, Counts],
    scores: Reals,
) -> None:
    """Compare listed pairs, the second of each turned.

    Args:
        sides: templates of references and of probes, shape (n, 2, words).
        places: the reference and the probe of each pair.
        turns: of each rotation, in bits, in the order in which they are tried.
        rule: bits of a code, normalisation, the least of bits to compare.
        ring: room for the code and the mask of a probe, shape (2, two codes and a word).
        found: get the bits that differ and those compared at the best rotation, its number in that order (-1 without
            one), and how many rotations could be compared.
        scores: get the normalised distance; NaN without one.
    """
    references, probes = sides
    bits, norm, minimum = rule
    differing, compared, best, valid = found
    turned = np.empty((2, references.shape[2]), np.uint64)
    for pair in range(places[0].size):
        reference = references[places[0][pair]]
        for side in range(2):
            lay_ring(probes[places[1][pair], side], bits, ring[side])
        best[pair], valid[pair], scores[pair] = -1, 0, np.nan
        differing[pair], compared[pair] = 0, 0
        for turn in range(turns.size):
            d = n = 0
            read_turned(ring[0], bits, turns[turn], turned[0])
            read_turned(ring[1], bits, turns[turn], turned[1])
            for word in range(reference.shape[1]):
                both = reference[1, word] & turned[1, word]
                n += population(both)
                d += population((reference[0, word] ^ turned[0, word]) & both)
            if n < minimum:
                continue
            valid[pair] += 1
            value = normalised(d, n, norm)
            if best[pair] < 0 or value < scores[pair]:
                best[pair], scores[pair], differing[pair], compared[pair] = turn, value, d, n


def count_scores(
    scores: Reals,
    at: tuple[int, int],
    pairing: Pairing,
    limits: tuple[float, float],
    scale: tuple[float, float],
    counts: tuple[Counts, Counts, Counts],
    found: tuple[NDArray[np.int32], Reals],
) -> int:
    """Add a tile's pairs to the histogram and to the matches of their subjects, and list those at or above a floor.

    Args:
        scores: of the rows and columns from `at` on, oriented; may have more than there are.
        at: first row and column.
        pairing: which pairs count.
        limits: the floor of the list, and the threshold of a match.
        scale: middle and half width of the bins' range; a half width of infinity is of all numbers.
        counts: the histogram; matches by subject; and the pairs that cannot be compared, one number.
        found: get rows and columns, and scores, of the pairs listed.

    Returns:
        How many are listed.
    """
    histogram, matches, missing = counts
    middle, half = scale
    n, width = 0, min(scores.shape[1], pairing.column_codes.size - at[1])
    for i in range(min(scores.shape[0], pairing.row_codes.size - at[0])):
        code = pairing.row_codes[at[0] + i]
        for j in range(max(pairing.starts[at[0] + i] - at[1], 0), width):
            other = pairing.column_codes[at[1] + j]
            if other == code:
                continue
            score = scores[i, j]
            if np.isnan(score):
                missing[0] += 1
                continue
            place = score / (1 + abs(score)) if half == np.inf else (score - middle) / half
            index = np.int64(np.floor(place * BINS_PER_UNIT)) + BINS_PER_UNIT
            histogram[min(max(index, np.int64(0)), np.int64(BINS - 1))] += 1
            if score >= limits[1]:
                matches[code] += 1
                matches[other] += 1
            if score >= limits[0]:
                found[0][0, n], found[0][1, n], found[1][n] = at[0] + i, at[1] + j, score
                n += 1
    return n
