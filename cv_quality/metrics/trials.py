"""Trials of pair rates: how many comparisons each two different subjects share, without listing them.

The variance of a pair rate needs sums over all pairs of subjects, also those without an error. Where every reference
met every probe those sums are products of totals; only listed comparisons have to be walked. Rates and intervals are
in `cv_quality.metrics.dyadic` and `cv_quality.metrics.fixed_fmr`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics import bootstrap_kernels as kernels
from cv_quality.metrics.compiled import compiled

Codes = NDArray[np.int64]
Counts = NDArray[np.int64]


class Trials(Protocol):
    """Comparisons of different subjects, the codes 0 to n_subjects - 1; m_ij counts those of the dyad {i, j}.

    Subjects who belong together, as families do, may be made one cluster each (`clustered`): then the codes are those
    of clusters, and m_ii counts the comparisons between subjects of one cluster.
    """

    @property
    def n(self) -> int:
        """Number of comparisons of different subjects: the sum of m_ij over i <= j."""

    @property
    def n_subjects(self) -> int:
        """Number of subject codes, also of subjects without a comparison."""

    def per_subject(self) -> Counts:
        """Count the comparisons that each subject took part in, on either or both sides; shape (n_subjects,)."""

    def own(self) -> Counts:
        """Count m_ii, the comparisons within each cluster; shape (n_subjects,), all 0 for subjects."""

    def of_dyads(self, i: ArrayLike, j: ArrayLike) -> Counts:
        """Count m_ij of each pair of codes, in either order; shape (k,)."""

    def sum_of_squares(self) -> float:
        """Sum m_ij squared over i <= j."""

    def weighted(self, weights: ArrayLike) -> NDArray[np.float64]:
        """Sum w_i w_j m_ij over i < j and w_i m_ii for each row of weights, shape (replicates, n_subjects)."""

    def clustered(self, clusters: ArrayLike) -> "Trials":
        """Count the same comparisons by cluster, given the cluster's code of each subject, shape (n_subjects,)."""

    def between(self, in_one: ArrayLike, in_other: ArrayLike) -> "Trials":
        """Keep the comparisons with one subject in each mask, shape (n_subjects,), each comparison once."""


@dataclass(frozen=True, slots=True)
class CrossTrials:
    """Trials of complete sets: m_ij = sum over k of scale_k (left_ki right_kj + right_ki left_kj) / 2.

    Attributes:
        scale: whole numbers, shape (terms,).
        left, right: samples per subject, shape (terms, subjects).
        within: comparisons within each cluster, shape (subjects,).

    Everything is exact and takes time and memory in proportion to the subjects.

    >>> CrossTrials.enrolled(references=[1, 1, 1], probes=[2, 0, 3]).n
    10
    >>> CrossTrials.all_pairs([2, 1, 3]).of_dyads([0, 2], [1, 0]).tolist()
    [2, 6]
    """

    scale: Counts
    left: Counts
    right: Counts
    within: Counts

    @classmethod
    def enrolled(cls, references: ArrayLike, probes: ArrayLike) -> "CrossTrials":
        """Count every reference against every probe of another subject: m_ij = a_i b_j + a_j b_i.

        Args:
            references, probes: how many each subject has, shape (subjects,).

        Raises:
            MetricError: the shapes differ, or a count is negative or no whole number.
        """
        return cls.of_drops(references, probes, np.zeros(np.shape(references), np.int64))

    @classmethod
    def all_pairs(cls, frames: ArrayLike) -> "CrossTrials":
        """Count every unordered pair of frames of different subjects once: m_ij = c_i c_j.

        Args:
            frames: how many each subject has, shape (subjects,).

        Raises:
            MetricError: a count is negative or no whole number.
        """
        counts = _whole_numbers(frames, "frames per subject")
        return _cross([(1, counts, counts)], counts.size)

    @classmethod
    def of_drops(cls, references: ArrayLike, probes: ArrayLike, frames: ArrayLike) -> "CrossTrials":
        """Count over drops of both kinds, each side of any drop against the other side of any drop.

        A frame of an all-pairs drop is a reference and a probe; it meets the references and the probes of enrolled
        drops, while two such frames meet once: m_ij = (a + c)_i (b + c)_j + (b + c)_i (a + c)_j - c_i c_j.

        Args:
            references, probes: totals of each subject over the enrolled drops, shape (subjects,).
            frames: totals of each subject over the all-pairs drops, shape (subjects,).

        Raises:
            MetricError: the shapes differ, or a count is negative or no whole number.

        >>> CrossTrials.of_drops(references=[1, 0], probes=[0, 2], frames=[0, 0]).n
        2
        >>> CrossTrials.of_drops(references=[1, 0], probes=[0, 2], frames=[1, 1]).n
        6
        """
        a, b = _whole_numbers(references, "references per subject"), _whole_numbers(probes, "probes per subject")
        c = _whole_numbers(frames, "frames per subject")
        _require_same_shape(a, b, "references and probes")
        _require_same_shape(a, c, "references and frames")
        return _cross([(2, a + c, b + c), (-1, c, c)], a.size)

    @property
    def n(self) -> int:
        return int(self._between_others().sum()) // 2 + int(self.within.sum())

    @property
    def n_subjects(self) -> int:
        return int(self.left.shape[1])

    def per_subject(self) -> Counts:
        return self._between_others() + self.within

    def own(self) -> Counts:
        return self.within

    def _between_others(self) -> Counts:
        left_rest, right_rest = (side.sum(axis=1, keepdims=True) - side for side in (self.left, self.right))
        doubled: Counts = self.scale @ (self.left * right_rest + self.right * left_rest)
        return doubled // 2

    def of_dyads(self, i: ArrayLike, j: ArrayLike) -> Counts:
        one, other = dyad_codes(i, j, n_subjects=self.n_subjects)
        met = self.left[:, one] * self.right[:, other] + self.right[:, one] * self.left[:, other]
        doubled: Counts = self.scale @ met
        return np.where(one == other, self.within[one], doubled // 2)

    def sum_of_squares(self) -> float:
        """Sum the squares of all entries of the matrix U V', less its diagonal, and halve it.

        Squared entries of U V' add up to the product, entry by entry, of U'U and V'V.
        """
        factors = np.concatenate([self.left * self.scale[:, None], self.right * self.scale[:, None]]) / 2
        others = np.concatenate([self.right, self.left]).astype(np.float64)
        diagonal = (factors * others).sum(axis=0)
        every = ((factors @ factors.T) * (others @ others.T)).sum()
        own = float(np.square(self.within.astype(np.float64)).sum())
        return max(float(every - diagonal @ diagonal), 0.0) / 2 + own

    def weighted(self, weights: ArrayLike) -> NDArray[np.float64]:
        w = _weights_of(weights, self.n_subjects)
        left, right = self.left.astype(np.float64), self.right.astype(np.float64)
        products = (w @ left.T) * (w @ right.T) - np.square(w) @ (left * right).T
        total: NDArray[np.float64] = products @ (self.scale / 2) + w @ self.within
        return total

    def clustered(self, clusters: ArrayLike) -> "CrossTrials":
        codes, size = _cluster_codes(clusters, self.n_subjects)
        terms, own = [], np.zeros(size, np.int64)
        np.add.at(own, codes, 2 * self.within)
        for scale, left, right in zip(self.scale.tolist(), self.left, self.right, strict=True):
            both = np.zeros((3, size), np.int64)
            for total, counts in zip(both, (left, right, left * right), strict=True):
                np.add.at(total, codes, counts)
            terms.append((scale, both[0], both[1]))
            own += scale * (both[0] * both[1] - both[2])
        return _cross(terms, size, own // 2)

    def between(self, in_one: ArrayLike, in_other: ArrayLike) -> "CrossTrials":
        one, other = mask_of(in_one, self.n_subjects), mask_of(in_other, self.n_subjects)
        both = one & other
        terms = []
        for scale, left, right in zip(self.scale.tolist(), self.left, self.right, strict=True):
            terms += [(scale, left * one, right * other), (scale, left * other, right * one)]
            terms += [(-scale, left * both, right * both)]
        return _cross(terms, self.n_subjects, self.within * both)


@dataclass(frozen=True, slots=True)
class ListedTrials:
    """Trials of comparisons that are listed one by one; build it with `ListedTrials.of`.

    Attributes:
        one, other: codes of each compared dyad with one < other, ascending and without repeats, shape (dyads,); the
            same code twice stands for the comparisons within a cluster.
        counts: its comparisons, shape (dyads,).
    """

    one: Codes
    other: Codes
    counts: Counts
    n_subjects: int

    @classmethod
    def of(cls, i: ArrayLike, j: ArrayLike, *, n_subjects: int | None = None) -> "ListedTrials":
        """Count listed comparisons from their two subject codes, in either role.

        Args:
            i, j: codes, shape (comparisons,).
            n_subjects: number of codes; by default the highest code plus one.

        Raises:
            MetricError: as `dyad_codes`, or a comparison is of one subject with itself.

        >>> ListedTrials.of([0, 1, 2], [1, 0, 1]).of_dyads([0, 0], [1, 2]).tolist()
        [2, 0]
        """
        one, other = dyad_codes(i, j, n_subjects=n_subjects)
        require_different(one, other)
        size = n_subjects if n_subjects is not None else int(max(one.max(initial=-1), other.max(initial=-1))) + 1
        return cls._counted(one, other, np.ones(one.size, np.int64), size)

    @classmethod
    def _counted(cls, one: Codes, other: Codes, counts: Counts, size: int) -> "ListedTrials":
        keys = _keys(one, other, size)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: keys.size])
        sums = np.add.reduceat(counts[order], starts) if keys.size else counts
        return cls(keys[starts] // max(size, 1), keys[starts] % max(size, 1), sums, size)

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    def per_subject(self) -> Counts:
        sums = np.zeros(self.n_subjects, np.int64)
        np.add.at(sums, self.one, self.counts)
        np.add.at(sums, self.other, self.counts)
        return sums - self.own()

    def own(self) -> Counts:
        sums, is_own = np.zeros(self.n_subjects, np.int64), self.one == self.other
        sums[self.one[is_own]] = self.counts[is_own]
        return sums

    def of_dyads(self, i: ArrayLike, j: ArrayLike) -> Counts:
        one, other = dyad_codes(i, j, n_subjects=self.n_subjects)
        if not len(self.counts):
            return np.zeros(len(one), np.int64)
        known, asked = _keys(self.one, self.other, self.n_subjects), _keys(one, other, self.n_subjects)
        at = np.searchsorted(known, asked).clip(0, len(known) - 1)
        return np.where(known[at] == asked, self.counts[at], 0)

    def sum_of_squares(self) -> float:
        return float(np.square(self.counts.astype(np.float64)).sum())

    def weighted(self, weights: ArrayLike) -> NDArray[np.float64]:
        w, counts = _weights_of(weights, self.n_subjects), self.counts.astype(np.float64)
        return compiled(kernels.weight_of_dyads)(w, self.one, self.other, counts)

    def clustered(self, clusters: ArrayLike) -> "ListedTrials":
        codes, size = _cluster_codes(clusters, self.n_subjects)
        return ListedTrials._counted(codes[self.one], codes[self.other], self.counts, size)

    def between(self, in_one: ArrayLike, in_other: ArrayLike) -> "ListedTrials":
        first, second = mask_of(in_one, self.n_subjects), mask_of(in_other, self.n_subjects)
        kept = (first[self.one] & second[self.other]) | (second[self.one] & first[self.other])
        return ListedTrials(self.one[kept], self.other[kept], self.counts[kept], self.n_subjects)


def dyad_codes(i: ArrayLike, j: ArrayLike, *, n_subjects: int | None = None) -> tuple[Codes, Codes]:
    """Check both sides of some comparisons as subject codes.

    Args:
        i, j: codes of the two sides, shape (comparisons,).
        n_subjects: codes lie below it, where given.

    Raises:
        MetricError: the shapes differ, or a code is negative, at or above `n_subjects`, or no whole number.
    """
    one, other = subject_codes(i, n_subjects=n_subjects), subject_codes(j, n_subjects=n_subjects)
    _require_same_shape(one, other, "the two sides of the comparisons")
    return one, other


def subject_codes(codes: ArrayLike, *, n_subjects: int | None = None) -> Codes:
    """Check subject codes: whole numbers from 0, below `n_subjects` where that is given.

    Raises:
        MetricError: a code is negative, too high, or no whole number.
    """
    values = _whole_numbers(codes, "subject codes")
    highest = int(values.max(initial=-1))
    if n_subjects is not None and highest >= n_subjects:
        raise MetricError(f"expected subject codes below {n_subjects}, found {highest}: number the subjects from 0")
    return values


def require_different(one: Codes, other: Codes) -> None:
    """Refuse comparisons of a subject with itself: they are genuine, not trials of a pair rate.

    Raises:
        MetricError: naming the first such comparison.
    """
    same = np.flatnonzero(one == other)
    if same.size:
        raise MetricError(
            f"expected comparisons of different subjects, found {same.size} of a subject with itself, first at index "
            f"{same[0]} (subject {one[same[0]]}): leave genuine comparisons out"
        )


def subjects_of(
    genuine: NDArray[np.float64],
    genuine_subjects: ArrayLike,
    impostor: NDArray[np.float64],
    impostor_subjects: tuple[ArrayLike, ArrayLike],
    *,
    trials: Trials,
) -> tuple[Codes, Codes, Codes]:
    """Check the subject of each genuine score and the two of each impostor score, which differ unless in a cluster.

    Raises:
        MetricError: as `dyad_codes` and `require_different`, or the shapes differ from those of the scores.
    """
    codes = subject_codes(genuine_subjects, n_subjects=trials.n_subjects)
    one, other = dyad_codes(*impostor_subjects, n_subjects=trials.n_subjects)
    if not trials.own().any():
        require_different(one, other)
    if codes.shape != genuine.shape or one.shape != impostor.shape:
        raise MetricError(
            f"expected a subject for each genuine score and two for each impostor score, found {codes.size} for "
            f"{genuine.size} and {one.size} for {impostor.size}"
        )
    return codes, one, other


def _cluster_codes(clusters: ArrayLike, n_subjects: int) -> tuple[Codes, int]:
    codes = subject_codes(clusters)
    if codes.shape != (n_subjects,):
        raise MetricError(f"expected the cluster of each of {n_subjects} subjects, found {codes.size}")
    return codes, int(codes.max(initial=-1)) + 1


def mask_of(mask: ArrayLike, n_subjects: int) -> NDArray[np.bool_]:
    """Check a mask of subjects.

    Raises:
        MetricError: it is not boolean, or not of one entry per subject.
    """
    values = np.asarray(mask)
    if values.dtype != np.bool_ or values.shape != (n_subjects,):
        raise MetricError(f"expected a boolean mask of {n_subjects} subjects, found {values.dtype} of {values.shape}")
    return values


def _cross(terms: list[tuple[int, Counts, Counts]], n_subjects: int, within: Counts | None = None) -> CrossTrials:
    kept = [term for term in terms if term[1].any() and term[2].any()]
    none = np.zeros((0, n_subjects), np.int64)
    scale = np.array([scale for scale, _, _ in kept], np.int64)
    left, right = (np.stack([term[side] for term in kept]) if kept else none for side in (1, 2))
    return CrossTrials(scale, left, right, np.zeros(n_subjects, np.int64) if within is None else within)


def _keys(one: Codes, other: Codes, size: int) -> Codes:
    return np.minimum(one, other) * size + np.maximum(one, other)


def _whole_numbers(values: ArrayLike, name: str) -> Counts:
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or np.any(array < 0):
        raise MetricError(
            f"expected {name} as one row of whole numbers >= 0, found {array.dtype} of shape {array.shape}"
            + (f", lowest {array.min()}" if array.size and np.issubdtype(array.dtype, np.number) else "")
        )
    return array.astype(np.int64)


def _weights_of(weights: ArrayLike, n_subjects: int) -> NDArray[np.float64]:
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != n_subjects or not np.all(np.isfinite(array)):
        raise MetricError(f"expected finite weights of shape (replicates, {n_subjects}), found shape {array.shape}")
    return array


def _require_same_shape(one: NDArray[np.int64], other: NDArray[np.int64], name: str) -> None:
    if one.shape != other.shape:
        raise MetricError(f"expected {name} to be of one shape, found {one.shape} and {other.shape}")
