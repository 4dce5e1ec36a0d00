"""Clusters in an embedding that fail more than the rest, confirmed on other subjects and described by slices.

They are searched and tested like slices, for causes that no column names. A build's embeddings are clustered in
`cv_quality.tasks.root_causes.clusters`; slices of a table are found in `cv_quality.error_analysis.discovery`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.error_analysis.candidate_search import MIN_LIFT, outcome_totals
from cv_quality.error_analysis.cube import cell_gains
from cv_quality.error_analysis.discovery import find_slices
from cv_quality.error_analysis.encoding import Bounds
from cv_quality.error_analysis.halves import Codes, Flags, Half, split_by_failing
from cv_quality.error_analysis.holdout import MIN_SUBJECTS, HoldoutResult, holdout_test, holm
from cv_quality.error_analysis.slice_report import CONFIRMATION_LEVEL
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError
from cv_quality.metrics.rates import Rate, clustered_rate
from cv_quality.metrics.resampling import seeded
from cv_quality.metrics.results import Result, percent

if TYPE_CHECKING:
    import polars as pl

CANDIDATE_LEVEL: Final = 0.01
MAX_CANDIDATES: Final = 10
MIN_CLUSTER_ROWS: Final = 10
ROWS_PER_COMPONENT: Final = 20
SIZES: Final = (2, 3, 4, 6, 8, 12, 16, 24)
"""Numbers of clusters looked at side by side: a cause may be a third of the attempts or a thirtieth."""
DIMENSIONS: Final = 16
"""Principal components kept. Of 80 tables with a planted cluster, shifted by 0.7 to 1.2 of the length of the noise:
mixture over 16 components 70 found, mean Jaccard 0.88; over 32 71 found, 0.85; k-means over 16 57 found, 0.80. HDBSCAN
found at most 2 of 12 at a shift of 1, where both others found 12."""
MAX_FITTED: Final = 10_000
"""Rows that a mixture is fitted to; every row is then assigned."""
BLOCK_ROWS: Final = 65_536
MIN_PRECISION, MIN_RECALL = 0.5, 0.5
"""A description holds where at least half of the described rows are in the cluster, and it covers half of it."""
MAX_EXAMPLES: Final = 6

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """The slice that tells a cluster's rows from the others best, by the harmonic mean of precision and recall.

    Attributes:
        precision, recall: part of the slice's rows that are in the cluster, and of the cluster's that are in the slice.
    """

    where: Slice
    precision: float
    recall: float

    @property
    def holds(self) -> bool:
        return self.precision >= MIN_PRECISION and self.recall >= MIN_RECALL


@dataclass(frozen=True, slots=True)
class Cluster(Result):
    """A cluster that fails more than the rest, confirmed on subjects who had no part in its search.

    Attributes:
        rate, low, high: failures per row among the cluster's rows of the confirmation subjects, with the 95 % interval.
        failures, trials: numerator and denominator of `rate`.
        rest_rate: the same outside of this cluster and of the candidates before it.
        support, subjects: rows and subjects of the cluster in the whole table.
        p_adjusted: of the one-sided test against the rest, adjusted by Holm over all candidates.
        share_of_failures: the part of all failures that lies in it.
        nearest: the slice that comes nearest to it, None where metadata show none; it describes it if it `holds`.
        examples: rows of the failures nearest to its centre, each of another subject, the nearest first.
    """

    rate: float
    low: float
    high: float
    failures: int
    trials: int
    rest_rate: float
    support: int
    subjects: int
    p_adjusted: float
    share_of_failures: float
    nearest: ClusterDescription | None
    examples: tuple[int, ...]
    sentence: str

    @property
    def description(self) -> ClusterDescription | None:
        """What describes the cluster, or None."""
        return self.nearest if self.nearest is not None and self.nearest.holds else None


@dataclass(frozen=True, slots=True)
class InsufficientCluster(Result):
    """A cluster that stands out but rests on too few subjects; its rates are of the discovery half."""

    rate: float
    rest_rate: float
    support: int
    subjects: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Clusters(Result):
    """The answer of a search, the cluster with the largest share of failures first.

    Attributes:
        base_rate: failures per row; None without a row.
        n_candidates: clusters that stood out among the subjects of the discovery half.
        membership: int64 (n,), the place of each row's cluster among `clusters`, from 1; 0 for none of them.
        conclusion: one plain sentence on whether anything is real.
    """

    n_rows: int
    n_subjects: int
    n_failures: int
    base_rate: float | None
    n_candidates: int
    clusters: tuple[Cluster, ...]
    insufficient: tuple[InsufficientCluster, ...]
    membership: Codes
    conclusion: str
    seed: int


@dataclass(frozen=True, slots=True)
class _ClusterCandidate:
    """Rows of a cluster outside of the earlier ones, with those, and how it stood out, or was confirmed."""

    inside: Flags
    earlier: Flags
    seen: HoldoutResult


@dataclass(frozen=True, slots=True)
class _Sample:
    """The rows in an order that does not depend on how they were given."""

    vectors: Vectors
    is_failure: Flags
    subjects: Codes
    origins: Vectors | None
    attributes: "pl.DataFrame"
    order: Codes
    trial: str = "attempt"
    unit: str = "subject"

    @property
    def n_subjects(self) -> int:
        return int(self.subjects.max()) + 1 if len(self.subjects) else 0

    def half(self) -> Half:
        """Put all rows as holdout tests read them; no column is searched here."""
        none = np.empty((0, len(self.order)), np.uint8)
        return Half(none, self.is_failure.astype(np.float64), self.subjects, self.n_subjects, is_rate=True)


def cluster_failures(
    embeddings: ArrayLike,
    *,
    is_failure: ArrayLike,
    subjects: Sequence[object] | NDArray[np.generic] | None,
    attributes: "pl.DataFrame",
    origins: ArrayLike | None = None,
    seed: int = 0,
    bounds: Bounds | None = None,
    trial: str = "attempt",
    unit: str = "subject",
    threads: int = 2,
) -> Clusters:
    """Find clusters of rows in an embedding that fail more than the rest, and the slices that describe them.

    An embedding made to tell people apart groups rows by person. So each row is replaced by the direction in which it
    departs from its subject: its part at right angles to the subject's origin, brought to unit length. Only the
    direction counts: a failure is a template far from its reference, so with the distance itself kept, 60 of 60 tables
    without a cause gave a cluster ("far from the reference"), against none by direction. On half of the subjects
    candidates are searched: Gaussian mixtures of 2 to 24 components, of which the cluster whose failures stand out most
    is taken, its rows set aside, and again. They are tested on the other half, as for slices: one-sided, clustered by
    subject, t with the cluster's subjects - 1 degrees of freedom, Holm over the candidates at a level of 0.5 %.

    Args:
        embeddings, is_failure: finite numbers, shape (n, d); true or 1 for a failure, shape (n,).
        subjects: whose row it is, shape (n,); None takes every row for itself.
        attributes: n rows; the columns in whose terms a cluster may be described.
        origins: what each row's subject looks like when all is well, shape (n, d), such as the claimed reference's
            template; a row of NaN where unknown. The mean of the subject's rows stands in, failures included: the mean
            over passes alone lies nearer to passes by construction. It cannot show what all rows of a subject share.
        bounds: of the search of the description, as of `discovery.find_slices`.
        trial, unit: what a row and a subject are called.
        seed, threads: of the split and the mixtures, and for that search.

    Raises:
        SliceError: shapes disagree, a number is not finite, a subject is missing, or a flag is neither true nor false.
    """
    sample = _sample(embeddings, is_failure=is_failure, subjects=subjects, attributes=attributes, origins=origins)
    sample = replace(sample, trial=trial, unit=unit)
    reason = _nothing_to_find(sample)
    if reason is not None:
        return _answer(sample, [], [], seed=seed, n_candidates=0, conclusion=reason)
    discovery = split_by_failing(sample.is_failure, sample.subjects, seed=seed)
    points = _points(sample, discovery, seed=seed)
    candidates = _candidates(sample, discovery, _labelings(points, discovery, seed=seed))
    half, enough, small = sample.half(), list[_ClusterCandidate](), list[InsufficientCluster]()
    for item in candidates:
        everyone, others = (len(np.unique(sample.subjects[rows])) for rows in (item.inside, item.inside & ~discovery))
        if everyone >= MIN_SUBJECTS and others >= MIN_SUBJECTS // 2:
            enough.append(item)
        else:
            small.append(_insufficient(sample, item))
    tests = ((item.inside & ~discovery, ~(item.inside | item.earlier | discovery)) for item in enough)
    results = [holdout_test(half, inside, rest) for inside, rest in tests]
    adjusted = holm([1.0 if result is None else result.p for result in results])
    confirmed = [
        replace(item, seen=replace(result, p=p))
        for item, result, p in zip(enough, results, adjusted, strict=True)
        if result is not None and p <= CONFIRMATION_LEVEL
    ]
    describe = partial(_described, sample, bounds=bounds, seed=seed, threads=threads)
    found = [_cluster(sample, item, points, discovery, nearest=describe(item.inside)) for item in confirmed]
    return _answer(sample, found, small, seed=seed, n_candidates=len(candidates))


def _sample(
    embeddings: ArrayLike,
    *,
    is_failure: ArrayLike,
    subjects: Sequence[object] | NDArray[np.generic] | None,
    attributes: "pl.DataFrame",
    origins: ArrayLike | None,
) -> _Sample:
    vectors = _matrix(embeddings, "embeddings")
    n = len(vectors)
    if not np.isfinite(vectors).all():
        bad = f"{int((~np.isfinite(vectors)).any(axis=1).sum())} rows with NaN or infinity"
        raise SliceError(f"expected finite embeddings, found {bad}: leave out rows without one")
    failed = np.asarray(is_failure)
    if failed.shape != (n,) or not np.isin(failed, (0, 1)).all():
        found = f"shape {failed.shape} or other values"
        raise SliceError(f"expected is_failure as {n} flags of true or false, found {found}")
    known = None if origins is None else _matrix(origins, "origins")
    if known is not None and known.shape != vectors.shape:
        raise SliceError(f"expected an origin a row, shape {vectors.shape}, found {known.shape}")
    if attributes.height != n and attributes.width:
        raise SliceError(f"expected attributes with a row an embedding, {n}, found {attributes.height}")
    codes = _codes(subjects, n)
    # Rows equal in all of this are interchangeable.
    order = np.lexsort((failed, *vectors.T[:8], codes))
    origins = None if known is None else known[order]
    attributes = attributes[order] if attributes.width else attributes
    return _Sample(vectors[order], failed[order].astype(np.bool_), codes[order], origins, attributes, order)


def _matrix(values: ArrayLike, name: str) -> Vectors:
    try:
        matrix = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise SliceError(f"expected {name} as numbers of shape (n, d), found {error}") from error
    if matrix.ndim != 2:
        raise SliceError(f"expected {name} of shape (n, d), found {matrix.shape}")
    return matrix


def _codes(subjects: Sequence[object] | NDArray[np.generic] | None, n: int) -> Codes:
    if subjects is None:
        return np.arange(n)
    ids = np.asarray(subjects)
    if ids.shape != (n,):
        raise SliceError(f"expected a subject a row, {n}, found shape {ids.shape}")
    if ids.dtype.kind == "f" and np.isnan(ids).any():
        raise SliceError(f"expected a subject a row, found {int(np.isnan(ids).sum())} rows without one")
    try:
        return np.unique(ids, return_inverse=True)[1].astype(np.int64)
    except TypeError as error:
        raise SliceError(f"expected ids of subjects of one type and none missing, found {error}") from error


def _nothing_to_find(sample: _Sample) -> str | None:
    n, failures = len(sample.order), int(sample.is_failure.sum())
    if n == 0:
        return "Nothing to cluster: no rows."
    if failures in (0, n):
        return f"Nothing to cluster: of {n} rows {'all fail' if failures else 'none fails'}."
    if sample.n_subjects < MIN_SUBJECTS:
        return f"Too few {sample.unit}s to tell: {sample.n_subjects}, at least {MIN_SUBJECTS} needed."
    return None


def _points(sample: _Sample, discovery: Flags, *, seed: int) -> Vectors:
    """The leading principal components, fitted on the discovery half, of each row's departure from its subject."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    fitted = _drawn(discovery, seed=seed)
    origins = _origins(sample)
    kept = min(DIMENSIONS, len(fitted), sample.vectors.shape[1])
    departures = _departures(sample.vectors[fitted], origins[fitted])
    if not np.ptp(departures, axis=0).any():
        return np.zeros((len(discovery), 1), np.float32)
    blocks = (slice(start, start + BLOCK_ROWS) for start in range(0, len(discovery), BLOCK_ROWS))
    with threadpool_limits(1):  # sums in another order are other sums
        model = PCA(kept, random_state=seed).fit(departures)
        parts = [model.transform(_departures(sample.vectors[rows], origins[rows])) for rows in blocks]
    points: Vectors = np.concatenate(parts).astype(np.float32)
    return points


def _origins(sample: _Sample) -> Vectors:
    """What each row departs from: the given origin, else its subject's mean, else the mean of all."""
    counts = np.bincount(sample.subjects)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = np.add.reduceat(sample.vectors, starts, axis=0, dtype=np.float64) / counts[:, None]
    # A single row does not depart from its own mean.
    means[counts == 1] = sample.vectors.mean(axis=0, dtype=np.float64)
    found: Vectors = means.astype(np.float32)[sample.subjects]
    if sample.origins is None:
        return found
    return np.where(np.isfinite(sample.origins).all(axis=1, keepdims=True), sample.origins, found)


def _departures(vectors: Vectors, origins: Vectors) -> Vectors:
    """The part of each row at right angles to its origin, of unit length; 0 where it does not depart."""
    squares = np.einsum("ij,ij->i", origins, origins)
    along = np.einsum("ij,ij->i", vectors, origins) / np.where(squares > 0, squares, 1)
    departures = vectors - along[:, None] * origins
    lengths, sizes = np.linalg.norm(departures, axis=1), np.linalg.norm(vectors, axis=1)
    is_noise = lengths <= 1e-5 * sizes
    unit: Vectors = departures / np.where(is_noise, np.inf, lengths)[:, None]
    return unit


def _drawn(discovery: Flags, *, seed: int) -> Codes:
    rows = np.flatnonzero(discovery)
    if len(rows) > MAX_FITTED:
        rows = np.sort(seeded(seed).choice(rows, MAX_FITTED, replace=False))
    return rows


def _labelings(points: Vectors, discovery: Flags, *, seed: int) -> list[Codes]:
    """For each number of clusters: the most likely component of each row, under a mixture fitted on the discovery half.

    Numbers that leave fewer than 20 rows a component are skipped.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    fitted, labelings = points[_drawn(discovery, seed=seed)].astype(np.float64), list[Codes]()
    scale = float(fitted.var(axis=0).mean())
    mixture = partial(GaussianMixture, covariance_type="diag", init_params="k-means++", n_init=3, random_state=seed)
    with warnings.catch_warnings(), threadpool_limits(1):
        # Whether the last digits have settled does not matter: candidates are tested.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for k in SIZES if scale > 0 else ():
            if k * ROWS_PER_COMPONENT <= len(fitted):
                model = mixture(k, reg_covar=0.01 * scale).fit(fitted)
                blocks = (points[start : start + BLOCK_ROWS] for start in range(0, len(points), BLOCK_ROWS))
                labels = [model.predict(block.astype(np.float64)) for block in blocks]
                labelings.append(np.concatenate(labels).astype(np.int64))
    return labelings


def _candidates(sample: _Sample, discovery: Flags, labelings: Sequence[Codes]) -> list[_ClusterCandidate]:
    """The cluster whose failures stand out most in the discovery half; again without its rows, and so on."""
    half, candidates = sample.half(), list[_ClusterCandidate]()
    taken = np.zeros(len(discovery), np.bool_)
    while len(candidates) < MAX_CANDIDATES:
        left = discovery & ~taken
        for labels, component in _standing_out(sample, left, labelings):
            inside = (labels == component) & ~taken
            seen = holdout_test(half, inside & discovery, left & ~inside)
            if seen is not None and seen.p <= CANDIDATE_LEVEL:
                break
        else:
            break
        candidates.append(_ClusterCandidate(inside, taken.copy(), seen))
        taken |= inside
    return candidates


def _standing_out(sample: _Sample, left: Flags, labelings: Sequence[Codes]) -> Iterator[tuple[Codes, int]]:
    """The clusters that a failure rate of their own explains, by the log-likelihood that it gains."""
    failed = sample.is_failure[left].astype(np.float64)
    totals = outcome_totals(failed, is_rate=True)
    found: list[tuple[float, int, Codes, int]] = []
    for labels in labelings:
        counts = np.bincount(labels[left]).astype(np.float64)
        sums = np.bincount(labels[left], weights=failed).astype(np.float64)
        gains = cell_gains(counts, sums, totals=totals, least=MIN_CLUSTER_ROWS, lift=MIN_LIFT)
        found += [(float(gain), len(found), labels, index) for index, gain in enumerate(gains) if gain > 0]
    for *_, labels, component in sorted(found, key=lambda item: (-item[0], item[1])):
        yield labels, component


def _cluster(
    sample: _Sample,
    item: _ClusterCandidate,
    points: Vectors,
    discovery: Flags,
    *,
    nearest: "ClusterDescription | None",
) -> tuple[Cluster, Flags]:
    rows, n = item.inside & ~discovery, sample.n_subjects
    errors = np.bincount(sample.subjects[rows], weights=sample.is_failure[rows], minlength=n)
    rate = clustered_rate(errors, np.bincount(sample.subjects[rows], minlength=n))
    assert rate.value is not None
    assert rate.low is not None
    assert rate.high is not None
    share = float(sample.is_failure[item.inside].sum() / sample.is_failure.sum())
    cluster = Cluster(
        rate=rate.value,
        low=rate.low,
        high=rate.high,
        failures=rate.numerator,
        trials=rate.denominator,
        rest_rate=item.seen.rest_rate,
        support=int(item.inside.sum()),
        subjects=len(np.unique(sample.subjects[item.inside])),
        p_adjusted=item.seen.p,
        share_of_failures=share,
        nearest=nearest,
        examples=_examples(sample, item.inside, points),
        sentence=_sentence(sample, rate, item.seen.rest_rate, share, nearest),
    )
    return cluster, item.inside


def _described(
    sample: _Sample, inside: Flags, *, bounds: Bounds | None, seed: int, threads: int
) -> ClusterDescription | None:
    """The slice that comes nearest to the cluster, among those that the search for "in the cluster" confirms."""
    import polars as pl

    columns = sample.attributes.columns
    if not columns:
        return None
    longest = max(map(len, columns))  # names that are longer are unlike any column's
    flag, subject = "is in the cluster".ljust(longest + 1, "_"), "subject of the row".ljust(longest + 1, "_")
    table = sample.attributes.with_columns(pl.Series(flag, inside), pl.Series(subject, sample.subjects))
    search = partial(find_slices, table, outcome=flag, subject=subject, columns=columns, keep=columns)
    found = search(bounds=bounds, seed=seed, threads=threads)
    described = []
    for item in found.slices:
        rows = table.select(item.where.expression()).to_series().to_numpy()
        both = float((rows & inside).sum())
        described.append(ClusterDescription(item.where, both / float(rows.sum()), both / float(inside.sum())))
    return max(described, key=lambda item: item.precision * item.recall / (item.precision + item.recall), default=None)


def _examples(sample: _Sample, inside: Flags, points: Vectors) -> tuple[int, ...]:
    distances = np.linalg.norm(points - points[inside].mean(axis=0), axis=1)
    rows = np.flatnonzero(inside & sample.is_failure)
    rows = rows[np.argsort(distances[rows], kind="stable")]
    first = np.sort(np.unique(sample.subjects[rows], return_index=True)[1])
    return tuple(int(row) for row in sample.order[rows[first[:MAX_EXAMPLES]]])


def _insufficient(sample: _Sample, item: _ClusterCandidate) -> InsufficientCluster:
    rate, rest_rate = item.seen.rate, item.seen.rest_rate
    support, subjects = int(item.inside.sum()), len(np.unique(sample.subjects[item.inside]))
    sentence = (
        f"{percent(rate)} of a cluster of {support} {sample.trial}s fail, {percent(rest_rate)} of the rest, but it "
        f"rests on {subjects} {sample.unit}s: too few to confirm it on others."
    )
    return InsufficientCluster(rate, rest_rate, support, subjects, sentence)


def _sentence(sample: _Sample, rate: Rate, rest_rate: float, share: float, nearest: ClusterDescription | None) -> str:
    counts = (
        f"{percent(rate.value)} of the cluster's {sample.trial}s fail ({rate.numerator} of {rate.denominator}, 95 % "
        f"interval {percent(rate.low)} to {percent(rate.high)}) against {percent(rest_rate)} of the rest; it holds "
        f"{percent(share)} of all failures."
    )
    if nearest is None:
        return f"{counts} No metadata describe it: look at its images."
    fit = (
        f"{percent(nearest.precision)} of such {sample.trial}s are in it, and they are {percent(nearest.recall)} of it"
    )
    if nearest.holds:
        return f"{counts} It is described by {nearest.where.sentence()}: {fit}."
    return f"{counts} No metadata describe it; {nearest.where.sentence()} comes nearest: {fit}. Look at its images."


def _answer(
    sample: _Sample,
    confirmed: Sequence[tuple[Cluster, Flags]],
    small: Sequence[InsufficientCluster],
    *,
    seed: int,
    n_candidates: int,
    conclusion: str | None = None,
) -> Clusters:
    ranked = sorted(confirmed, key=lambda item: -item[0].share_of_failures)
    membership = np.zeros(len(sample.order), np.int64)
    for place, (_, inside) in enumerate(ranked, start=1):
        membership[sample.order[inside]] = place
    clusters = tuple(cluster for cluster, _ in ranked)
    return Clusters(
        n_rows=len(sample.order),
        n_subjects=sample.n_subjects,
        n_failures=int(sample.is_failure.sum()),
        base_rate=float(sample.is_failure.mean()) if len(sample.order) else None,
        n_candidates=n_candidates,
        clusters=clusters,
        insufficient=tuple(small),
        membership=membership,
        conclusion=conclusion or _conclusion(sample, clusters, small, n_candidates),
        seed=seed,
    )


def _conclusion(
    sample: _Sample, clusters: Sequence[Cluster], small: Sequence[InsufficientCluster], n_candidates: int
) -> str:
    many, others = len(clusters), f" On too few {sample.unit}s to tell: {len(small)} more." if small else ""
    if not clusters:
        return (
            f"No cluster is confirmed to fail more than the rest, in {len(sample.order)} {sample.trial}s of "
            f"{sample.n_subjects} {sample.unit}s ({n_candidates} proposed).{others}"
        )
    described = sum(cluster.description is not None for cluster in clusters)
    share = sum(cluster.share_of_failures for cluster in clusters)
    what = "1 cluster fails" if many == 1 else f"{many} clusters fail"
    return (
        f"{what} more than the rest, confirmed on {sample.unit}s that did not propose, with {percent(share)} of all "
        f"failures; metadata describe {described} of {many}.{others}"
    )
