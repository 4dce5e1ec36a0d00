"""Counting the scores of all cross-subject pairs: a histogram of all of them, and the highest exactly.

Either a set of templates against itself, or a block of references against probes; scores are never held all at once.
Which blocks a build has, and who owns a reference that several drops repeat, is decided in
`cv_quality.tasks.verification.impostors`; how the pairs are gone through in `cv_quality.metrics.pair_engine`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.score_bins import BINS, UNIT, ScoreScale
from cv_quality.metrics.verification import ScoreTail
from cv_quality.text import told_apart

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.metrics.pair_counters import Counting, Found, Operand
    from cv_quality.metrics.pair_engine import Tally
    from cv_quality.metrics.pair_kernels import Pairing

ALGORITHM = "pairs-2"
"""Part of the address of a block: change it whenever the same inputs would give another block."""

Vectors = NDArray[np.float64] | NDArray[np.float32]
TemplateArray = NDArray[np.floating] | NDArray[np.unsignedinteger]
"""Vectors or packed bits, one template a row; shape (n, ...)."""
Rows = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Pairs, by the rows of references and of probes."""
Score = Callable[[TemplateArray, TemplateArray, Rows], NDArray[np.float64]]
"""Scores listed pairs of references and probes; a score depends on its two templates only."""
Names = NDArray[np.generic]
Grade = Literal["fp32", "certified"]
GRADES: tuple[Grade, ...] = ("fp32", "certified")

KEEP_ALL_PAIRS = 200_000
KEEP_PAIRS = 20_000
KEEP_SHARE = 1e-2
TAIL_FMR = 1e-4
ROUNDING = 1e-12
"""Slack when a product such as 0.001 * 7000 is compared with the whole number that it means."""


@dataclass(frozen=True, slots=True)
class Side:
    """The references or the probes of a block.

    Attributes:
        vectors: templates, shape (n, ...); for `count_block` unit vectors, float64 or float32.
        subjects: whose they are, shape (n,), str.
        ranks: where set on both sides, only pairs with reference rank < probe rank count; shape (n,), int64.
    """

    vectors: TemplateArray
    subjects: NDArray[np.str_]
    ranks: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class MatchCounts:
    """Cross-subject pairs at or above one threshold, counted exactly wherever the tail ends.

    Attributes:
        threshold: compared with float64 scores.
        of_subjects: columns subject_id and count, the pairs of each subject that is in one, in either role; in the
            order of subjects.
    """

    threshold: float
    of_subjects: "pl.DataFrame"

    @property
    def n(self) -> int:
        """Number of pairs; each counts for its two subjects."""
        return int(self.of_subjects["count"].sum()) // 2

    def __add__(self, other: "MatchCounts") -> "MatchCounts":
        """The counts of both.

        Raises:
            MetricError: they are of different thresholds.
        """
        import polars as pl

        if self.threshold != other.threshold:
            raise MetricError(
                f"matches at {self.threshold} and {other.threshold} do not add up: count both at one threshold"
            )
        both = pl.concat([self.of_subjects, other.of_subjects])
        return MatchCounts(self.threshold, both.group_by("subject_id").agg(pl.col("count").sum()).sort("subject_id"))


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Scores of cross-subject pairs, added up.

    Attributes:
        histogram: pairs per bin, BINS equal bins of the scale, int64. A cosine in float32 that is within
            `float32_error` of an edge (d = 256: half a bin, d = 1,024: about two) may lie on its other side. On one
            machine a pair is always in the same bin: histograms of parts add up exactly to that of the whole.
        tail: columns score (float64), subject_id (of the probe), reference_subject_id; every pair at or above `floor`.
        floor: -inf when the tail holds every pair.
        scale: the bins of the scores.
        matches: pairs at or above a threshold that was given; None without one.
        n_incomparable: further pairs that have no score; in no bin, no tail and no match.
    """

    histogram: NDArray[np.int64]
    tail: "pl.DataFrame"
    floor: float
    scale: ScoreScale = UNIT
    matches: MatchCounts | None = None
    n_incomparable: int = 0

    @property
    def n(self) -> int:
        """Number of pairs that have a score."""
        return int(self.histogram.sum())

    @classmethod
    def empty(cls, scale: ScoreScale = UNIT) -> "PairCounts":
        """No pair: what adding starts from."""
        return cls(np.zeros(BINS, np.int64), _no_tail(), -np.inf, scale)

    def __add__(self, other: "PairCounts") -> "PairCounts":
        """The counts of both; the tail reaches as far down as both tails do.

        Raises:
            MetricError: their scores are on different scales.
        """
        if self.scale != other.scale:
            raise MetricError(f"counts of {self.scale} and {other.scale} do not add up: count both with one comparator")
        tail, floor = _joined(self, other)
        if not self.n or not other.n:
            matches = other.matches if not self.n else self.matches
        else:
            matches = self.matches + other.matches if self.matches and other.matches else None
        n_incomparable = self.n_incomparable + other.n_incomparable
        return PairCounts(self.histogram + other.histogram, tail, floor, self.scale, matches, n_incomparable)

    def trimmed(self, keep: int) -> "PairCounts":
        """The same counts with at least the `keep` highest scores in the tail, equal scores kept together."""
        tail, floor = _trimmed(self, keep)
        return replace(self, tail=tail, floor=floor)

    def score_tail(self) -> ScoreTail:
        """Return the tail as the exact metrics take it."""
        return ScoreTail(np.sort(self.tail["score"].to_numpy()), self.n)


@dataclass(frozen=True, slots=True)
class TailCounts:
    """How many cross-subject pairs there are, and the highest scores; what the certified grade gives.

    Attributes:
        n: number of pairs.
        tail, floor: as in `PairCounts`.
    """

    n: int
    tail: "pl.DataFrame"
    floor: float

    @classmethod
    def empty(cls) -> "TailCounts":
        """No pair: what adding starts from."""
        return cls(0, _no_tail(), -np.inf)

    def __add__(self, other: "TailCounts") -> "TailCounts":
        """The counts of both; the tail reaches as far down as both tails do."""
        return TailCounts(self.n + other.n, *_joined(self, other))

    def trimmed(self, keep: int) -> "TailCounts":
        """The same counts with at least the `keep` highest scores in the tail, equal scores kept together."""
        return TailCounts(self.n, *_trimmed(self, keep))

    def score_tail(self) -> ScoreTail:
        """Return the tail as the exact metrics take it."""
        return ScoreTail(np.sort(self.tail["score"].to_numpy()), self.n)


AnyCounts = PairCounts | TailCounts


@overload
def count_pairs(
    vectors: ArrayLike,
    subjects: ArrayLike,
    *,
    grade: Literal["fp32"] = "fp32",
    tail_fmr: float = TAIL_FMR,
    floor: float | None = None,
    threads: int | None = None,
) -> PairCounts: ...


@overload
def count_pairs(
    vectors: ArrayLike,
    subjects: ArrayLike,
    *,
    grade: Literal["certified"],
    tail_fmr: float = TAIL_FMR,
    floor: float | None = None,
    threads: int | None = None,
) -> TailCounts: ...


@overload
def count_pairs(
    vectors: ArrayLike,
    subjects: ArrayLike,
    *,
    grade: Grade,
    tail_fmr: float = TAIL_FMR,
    floor: float | None = None,
    threads: int | None = None,
) -> AnyCounts: ...


def count_pairs(
    vectors: ArrayLike,
    subjects: ArrayLike,
    *,
    grade: Grade = "fp32",
    tail_fmr: float = TAIL_FMR,
    floor: float | None = None,
    threads: int | None = None,
) -> AnyCounts:
    """Count all unordered pairs of different subjects of one set; a score is the cosine, higher means more alike.

    Every pair is scored once. Grade "fp32" scores it in float32, which gives the histogram, and again in float64 where
    it may belong to the tail. Grade "certified" scores in eight bits first, and in float64 every pair that the error of
    the eight bits (Cauchy-Schwarz, `cv_quality.metrics.quantised`) does not rule out: it is faster, has no histogram,
    and the same tail. Memory beyond the vectors is a float32 or int8 copy of them, 15 MB a thread, and the tail.

    Args:
        vectors: unit vectors, shape (n, dimension), float32 or float64; divide each by its norm beforehand.
        subjects: whose they are, names or whole numbers, shape (n,).
        tail_fmr: the tail holds at least this share of the pairs, in (0, 1]. It begins at an edge of a bin, and leaves
            out a bin that would make it more than 4 times as long.
        floor: where the tail begins instead, a cosine.
        threads: by default as many as the machine has.

    Returns:
        In the tail `reference_subject_id` is the subject that sorts first. Scores are sums over the dimensions in their
        order: the same bits on any machine, in any grade and for any order of the rows.

    Raises:
        MetricError: a vector is not finite or not of unit norm, shapes or types do not fit, or the tail that is asked
            for has more than 2,000,000 rows.

    >>> counts = count_pairs([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], ["a", "b", "b"], tail_fmr=1.0)
    >>> counts.n, counts.tail["score"].to_list()
    (2, [0.0, 0.6])
    """
    from cv_quality.metrics.pair_counters import Operand
    from cv_quality.metrics.pair_engine import pairing_of, pairs_in

    if grade not in GRADES:
        raise MetricError(f"expected a grade of {' or '.join(GRADES)}, found {grade!r}")
    units = _unit_vectors(vectors, name="vectors")
    names, codes = np.unique(_names(subjects, count=len(units), name="vectors"), return_inverse=True)
    if len(units) == 0:
        return PairCounts.empty() if grade == "fp32" else TailCounts.empty()
    pairing = pairing_of(codes, codes, np.arange(1, len(codes) + 1))
    wanted = None if floor is not None else _wanted(pairs_in(pairing), tail_fmr=tail_fmr)
    one = Operand(units)
    done = _counted((one, one), pairing, grade=grade, wanted=wanted, floor=floor, threads=threads)
    first, second = codes[done.found.rows], codes[done.found.columns]
    tail = _tail(done.found, names, references=np.minimum(first, second), probes=np.maximum(first, second))
    if done.histogram is None:
        return TailCounts(pairs_in(pairing), tail, done.floor)
    return PairCounts(done.histogram, tail, done.floor)


def count_block(
    references: Side,
    probes: Side,
    *,
    threshold: float | None = None,
    keep_all: int = KEEP_ALL_PAIRS,
    keep: int = KEEP_PAIRS,
    threads: int | None = None,
) -> PairCounts:
    """Count the pairs of different subjects between two sides, in the grade "fp32" of `count_pairs`.

    Args:
        threshold: at which matches are counted exactly in the same pass, wherever the tail ends.
        keep_all: largest block, in pairs of any subjects, of which every score is kept.
        keep: at least this many, and 1 % of the pairs (up to 2,000,000), are kept of a larger block.

    Raises:
        MetricError: a vector is not finite or not of unit norm, or shapes or types do not fit.

    >>> one = Side(np.array([[1.0, 0.0]]), np.array(["a"]))
    >>> two = Side(np.array([[0.6, 0.8], [1.0, 0.0]]), np.array(["b", "a"]))
    >>> count_block(one, two).tail.row(0)
    (0.6, 'b', 'a')
    """
    from cv_quality.metrics.pair_counters import Operand

    if len(references) == 0 or len(probes) == 0:
        return PairCounts.empty()
    left = _unit_vectors(references.vectors, name="references")
    right = _unit_vectors(probes.vectors, name="probes")
    if left.shape[1] != right.shape[1]:
        raise MetricError(
            f"references have {left.shape[1]} dimensions, probes {right.shape[1]}: embed them with one model"
        )
    block = paired(references, probes)
    sides = Operand(left, block.orders[0]), Operand(right, block.orders[1])
    wanted = kept_pairs(block.pairing, keep_all=keep_all, keep=keep)
    done = _counted(sides, block.pairing, grade="fp32", wanted=wanted, floor=None, threads=threads, threshold=threshold)
    return block_counts(done, block, UNIT, threshold)


def count_scored(
    references: Side,
    probes: Side,
    *,
    score: Score,
    scale: ScoreScale,
    threshold: float | None = None,
    keep_all: int = KEEP_ALL_PAIRS,
    keep: int = KEEP_PAIRS,
    threads: int | None = None,
) -> PairCounts:
    """Count the pairs of different subjects between two sides by any score; every pair is scored once, in float64.

    Args:
        score: gives listed pairs of templates their scores, higher meaning more alike, NaN where a pair has none;
            called from several threads.
        scale: of these scores.
        threshold, keep_all, keep, threads: as in `count_block`.

    Raises:
        MetricError: shapes or types of subjects and ranks do not fit, or the score refuses the templates.

    >>> def score(left, right, rows):
    ...     return -np.abs(left[rows[0], 0] - right[rows[1], 0])
    >>> one, two = Side(np.array([[1.0]]), np.array(["a"])), Side(np.array([[4.0], [2.0]]), np.array(["b", "a"]))
    >>> count_scored(one, two, score=score, scale=ScoreScale(-math.inf, 0.0)).tail.row(0)
    (-3.0, 'b', 'a')
    """
    from cv_quality.metrics.pair_counters import ScoredCounting, ScoredPairs
    from cv_quality.metrics.pair_engine import tally

    if len(references) == 0 or len(probes) == 0:
        return PairCounts.empty(scale)
    block = paired(references, probes)
    pairs = ScoredPairs(score, (references.vectors, probes.vectors), block.orders)
    counting = ScoredCounting(pairs, block.pairing, scale, threshold)
    wanted = kept_pairs(block.pairing, keep_all=keep_all, keep=keep)
    done = tally(counting, block.pairing, pairs, wanted=wanted, scale=scale, threads=threads)
    return block_counts(done, block, scale, threshold)


def subject_counts(counts: AnyCounts, *, threshold: float) -> "pl.DataFrame":
    """Pairs that score at least the threshold, for each subject that is in one of them, in either role.

    Returns:
        Columns subject_id and count, in the order of subjects; a subject that is missing has none.

    Raises:
        MetricError: the tail does not reach down to the threshold.

    >>> counts = count_pairs([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], ["a", "b", "c"], tail_fmr=1.0)
    >>> subject_counts(counts, threshold=0.5).rows()
    [('a', 1), ('b', 1), ('c', 2)]
    """
    import polars as pl

    rows = _reached(counts, threshold)
    both = pl.concat([rows["subject_id"], rows["reference_subject_id"]])
    return pl.DataFrame({"subject_id": both}).group_by("subject_id").agg(pl.len().alias("count")).sort("subject_id")


def group_pair_counts(counts: AnyCounts, groups: Mapping[str, str], *, threshold: float) -> "pl.DataFrame":
    """Pairs that score at least the threshold, by the groups of their two subjects, whichever is the reference.

    Args:
        groups: the group of every subject in the tail.

    Returns:
        Columns group_a, group_b and count, with group_a <= group_b, in that order; a missing pair of groups has none.

    Raises:
        MetricError: the tail does not reach down to the threshold, or a subject has no group.

    >>> counts = count_pairs([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], ["a", "b", "c"], tail_fmr=1.0)
    >>> group_pair_counts(counts, {"a": "x", "b": "y", "c": "x"}, threshold=0.5).rows()
    [('x', 'x', 1), ('x', 'y', 1)]
    """
    import polars as pl

    rows = _reached(counts, threshold)
    found = pl.concat([rows["subject_id"], rows["reference_subject_id"]]).unique()
    strangers = sorted(set(found.to_list()) - set(groups))
    if strangers:
        raise MetricError(f"{len(strangers)} subjects of the tail have no group, the first is {strangers[0]!r}")
    sides = [pl.col(name).replace_strict(dict(groups), return_dtype=pl.String) for name in rows.columns[1:]]
    pair = [pl.min_horizontal(*sides).alias("group_a"), pl.max_horizontal(*sides).alias("group_b")]
    return rows.group_by(pair).agg(pl.len().alias("count")).sort("group_a", "group_b")


def _reached(counts: AnyCounts, threshold: float) -> "pl.DataFrame":
    import polars as pl

    if not threshold >= counts.floor:
        raise MetricError(f"the tail begins at {counts.floor}, above threshold {threshold}: count with a lower floor")
    return counts.tail.filter(pl.col("score") >= threshold)


def _counted(
    sides: "tuple[Operand, Operand]",
    pairing: "Pairing",
    *,
    grade: Grade,
    wanted: int | None,
    floor: float | None,
    threads: int | None,
    threshold: float | None = None,
) -> "Tally":
    from cv_quality.metrics import pair_counters as ways
    from cv_quality.metrics.pair_engine import tally, tally_above
    from cv_quality.metrics.products import full_precision
    from cv_quality.metrics.quantised import has_int8

    with full_precision():
        dimension = sides[0].vectors.shape[1]
        counting: Counting
        if (device := ways.faithful_device(dimension)) is not None:
            counting = ways.DeviceCounting(ways.CosinePairs(*sides), pairing, device, threshold)
        elif grade == "certified" and has_int8(dimension):
            counting = ways.CertifiedCounting.of(*sides, pairing)
        else:
            counting = ways.Float32Counting(ways.Cosine.of(*sides), pairing, threshold)
        if wanted is not None:
            done = tally(counting, pairing, ways.CosinePairs(*sides), wanted=wanted, threads=threads)
        elif floor is None or math.isnan(floor):
            raise MetricError(f"the floor of the tail is a cosine, found {floor}")
        else:
            done = tally_above(counting, pairing, floor=floor, threads=threads)
    return done if grade == "fp32" else replace(done, histogram=None)


def _wanted(n: int, *, tail_fmr: float) -> int:
    from cv_quality.metrics.pair_engine import MOST_ROWS

    if not 0.0 < tail_fmr <= 1.0:
        raise MetricError(f"the share of the tail lies in (0, 1], found {tail_fmr}")
    wanted = math.ceil(tail_fmr * n * (1 - ROUNDING))
    if wanted > MOST_ROWS:
        raise MetricError(f"a tail of {wanted:,} of {n:,} pairs is longer than {MOST_ROWS:,}: ask for a lower tail_fmr")
    return wanted


class PairedSides(NamedTuple):
    """Names of the subjects, both sides in the order of ranks where they have them, and which pairs count."""

    names: Names
    orders: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]
    pairing: "Pairing"


def paired(references: Side, probes: Side) -> PairedSides:
    """Name the subjects of two sides, and tell which pairs count.

    Raises:
        MetricError: shapes or types of subjects or ranks do not fit.
    """
    from cv_quality.metrics.pair_engine import pairing_of

    owners = _names(references.subjects, count=len(references), name="references")
    others = _names(probes.subjects, count=len(probes), name="probes")
    names, codes = np.unique(np.concatenate([owners, others]), return_inverse=True)
    row_codes, column_codes = codes[: len(references)], codes[len(references) :]
    if references.ranks is None or probes.ranks is None:
        return PairedSides(names, (None, None), pairing_of(row_codes, column_codes))
    ranks = [np.asarray(references.ranks), np.asarray(probes.ranks)]
    for found, count in zip(ranks, (len(references), len(probes)), strict=True):
        if found.shape != (count,) or found.dtype.kind not in "iu":
            raise MetricError(
                f"expected a whole rank for each of {count} vectors, found {found.dtype} of shape {found.shape}"
            )
    rows, columns = (np.argsort(rank, kind="stable") for rank in ranks)
    starts = np.searchsorted(ranks[1][columns], ranks[0][rows], side="right")
    return PairedSides(names, (rows, columns), pairing_of(row_codes[rows], column_codes[columns], starts))


def kept_pairs(pairing: "Pairing", *, keep_all: int, keep: int) -> int:
    """Choose how many pairs the tail of a block holds at least; see `count_block`."""
    from cv_quality.metrics.pair_engine import MOST_ROWS, pairs_in

    n = pairs_in(pairing)
    is_small = pairing.row_codes.size * pairing.column_codes.size <= keep_all
    return n if is_small else min(n, MOST_ROWS, max(keep, int(KEEP_SHARE * n)))


def block_counts(done: "Tally", block: PairedSides, scale: ScoreScale, threshold: float | None) -> PairCounts:
    """Give what was counted the names of subjects.

    Args:
        done, block: what was counted, and of whom.
        scale: of the scores.
        threshold: at which matches were counted.
    """
    rows, columns = block.pairing.row_codes[done.found.rows], block.pairing.column_codes[done.found.columns]
    assert done.histogram is not None
    tail = _tail(done.found, block.names, references=rows, probes=columns)
    matches = None
    if threshold is not None and done.matches is not None:
        matches = MatchCounts(threshold, _match_rows(block.names, done.matches))
    return PairCounts(done.histogram, tail, done.floor, scale, matches, done.n_incomparable)


def _match_rows(names: Names, matches: NDArray[np.int64]) -> "pl.DataFrame":
    import polars as pl

    found = np.flatnonzero(matches)
    subjects = pl.Series("subject_id", names[found].astype(str).tolist(), dtype=pl.String)
    return pl.DataFrame([subjects, pl.Series("count", matches[found])])


def _unit_vectors(vectors: ArrayLike, *, name: str) -> Vectors:
    """The same vectors, if they can be compared.

    Raises:
        MetricError: they are no matrix of real numbers, or a row is not finite or not of unit norm.
    """
    from cv_quality.metrics.products import NORM_TOLERANCE

    found = _matrix(vectors, name=name)
    norms = np.sqrt(np.einsum("ij,ij->i", found, found).astype(np.float64))
    is_wrong = ~(np.abs(norms - 1.0) <= NORM_TOLERANCE)
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        what = f"has norm {told_apart([float(norms[row]), 1.0])[0]}, expected 1: divide each vector by its norm"
        if not np.isfinite(found[row]).all():
            what = "holds NaN or infinity: leave it out or embed it again"
        elif norms[row] == 0.0:
            what = "is zero and has no direction: leave it out"
        raise MetricError(f"{name}: row {row} of {len(found)} {what}; {is_wrong.sum()} rows cannot be compared")
    return found


def _matrix(vectors: ArrayLike, *, name: str) -> Vectors:
    try:
        found = np.asarray(vectors)
    except ValueError as error:
        raise MetricError(f"{name}: rows differ in length; embed them with one model") from error
    if found.size == 0:
        return np.empty((0, 0))
    if found.dtype.kind not in "fiu" or found.ndim != 2:
        raise MetricError(
            f"{name}: expected real numbers of shape (n, dimension), found {found.dtype} of shape {found.shape}"
        )
    kept = found if found.dtype in (np.float32, np.float64) else found.astype(np.float64)
    matrix: Vectors = np.ascontiguousarray(kept)
    return matrix


def _names(subjects: ArrayLike, *, count: int, name: str) -> Names:
    found = np.asarray(subjects)
    if found.shape != (count,):
        raise MetricError(f"{name}: expected one subject for each of {count} vectors, found shape {found.shape}")
    if found.dtype.kind == "O" and not all(isinstance(subject, str | int) for subject in found):
        row = next(place for place, subject in enumerate(found) if not isinstance(subject, str | int))
        raise MetricError(f"{name}: the subject of row {row} is {found[row]!r}, expected a name or a whole number")
    if count and found.dtype.kind not in "UOiu":
        raise MetricError(f"{name}: subjects are names or whole numbers, found {found.dtype}")
    return found if found.dtype.kind in "iu" else found.astype(str)


def _tail(found: "Found", names: Names, *, references: NDArray[np.int64], probes: NDArray[np.int64]) -> "pl.DataFrame":
    import polars as pl

    labels = pl.Series(names.astype(str).tolist(), dtype=pl.String)
    scores = pl.Series("score", found.scores)
    return pl.DataFrame(
        [scores, labels.gather(probes).alias("subject_id"), labels.gather(references).alias("reference_subject_id")]
    )


def _no_tail() -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame(schema={"score": pl.Float64, "subject_id": pl.String, "reference_subject_id": pl.String})


def _joined(one: AnyCounts, other: AnyCounts) -> "tuple[pl.DataFrame, float]":
    """Both tails, as far down as both reach, and where that is."""
    import polars as pl

    floor = max(one.floor, other.floor)
    return pl.concat([one.tail, other.tail]).filter(pl.col("score") >= floor), floor


def _trimmed(counts: AnyCounts, keep: int) -> "tuple[pl.DataFrame, float]":
    import polars as pl

    if counts.tail.height <= keep:
        return counts.tail, counts.floor
    scores = counts.tail["score"].to_numpy()
    floor = float(np.partition(scores, len(scores) - keep)[len(scores) - keep])
    return counts.tail.filter(pl.col("score") >= floor), floor
