"""Sanity checks of saliency maps: planted cues, deletion and insertion, and a model whose weights were drawn anew.

A map is shown only if its method passes all three on the very model and pairs. Every check looks at maps in squares,
eight along a side, which is what occlusion resolves: finer detail is not claimed, so it is not tested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.explanations.aggregation import pooled
from cv_quality.error_analysis.explanations.pair_score import Pairs, PairScore
from cv_quality.error_analysis.explanations.saliency import CELLS, Explainer, Image
from cv_quality.metrics.bootstrap_kernels import Floats
from cv_quality.metrics.resampling import seeded

Groups = Mapping[str, tuple[Pairs, NDArray[np.float32]]]
"""Pairs and their maps `[n, h, w]` by the name of the group."""

CHECKED_PAIRS = 16
"""Failures, and as many passes, that the checks are made on; the first ones are of the most subjects."""
ALPHA = 0.05
CUE_SHARE = 0.25
"""Side of a planted cue, as a share of the image's: a sixteenth of its area."""
CUE_MATTERS = 0.02
"""A cue that moves the score by less, in cosine, is nothing to point at."""
MIN_CUES = 8
MIN_HIT_SHARE = 0.5
LEVELS = 8
RANDOM_ORDERS = 2
REDRAWS = 3
MAX_CORRELATION = 0.5
"""Of maps with those of a redrawn model: a map that ignores the model has 1, unrelated maps of 8 x 8 about 0.1."""


@dataclass(frozen=True, slots=True)
class Pointing:
    """How often the map's best square lies in a planted cue.

    Attributes:
        hits, cues: cues pointed at, and cues that moved the score.
        chance: the share that a map without knowledge would hit.
        p_value: one-sided binomial test of the hits against chance.
    """

    hits: int
    cues: int
    chance: float
    p_value: float

    @property
    def share(self) -> float | None:
        return self.hits / self.cues if self.cues else None

    @property
    def objection(self) -> str | None:
        """Why the check is not passed."""
        if self.cues < MIN_CUES:
            return f"only {self.cues} planted cues moved the score, pointing takes {MIN_CUES}"
        if self.p_value >= ALPHA or self.hits < MIN_HIT_SHARE * self.cues:
            return f"it pointed at {self.hits} of {self.cues} planted cues, at least half are needed"
        return None


@dataclass(frozen=True, slots=True)
class Ordering:
    """Area under the score while squares of the probe give way to the baseline, or come in its place.

    Attributes:
        kind: "deletion" or "insertion".
        map_area, random_area: mean over all pairs, cosine; in the order of the maps, and in random orders.
        p_value: one-sided t test of the paired gains, one mean a subject, in the group where it is largest: maps that
            hold for passes need not hold for failures, and both are shown.
        group: that group.
    """

    kind: str
    map_area: float
    random_area: float
    p_value: float
    group: str

    @property
    def objection(self) -> str | None:
        if self.p_value < ALPHA:
            return None
        return f"{self.kind} in its order is no better than in random order (p = {self.p_value:.2g} in {self.group})"


@dataclass(frozen=True, slots=True)
class Randomisation:
    """Mean absolute Spearman correlation of maps with those of the same network with its weights drawn anew."""

    correlation: float | None

    @property
    def objection(self) -> str | None:
        if self.correlation is None:
            return "the weights of the model cannot be drawn anew, so it cannot be told from a map of edges"
        if self.correlation > MAX_CORRELATION:
            return f"it is like the map of a model with random weights (rank correlation {self.correlation:.2f})"
        return None


@dataclass(frozen=True, slots=True)
class Checks:
    """All three checks of one method on one slice."""

    pointing: Pointing
    deletion: Ordering
    insertion: Ordering
    randomisation: Randomisation

    @property
    def objections(self) -> tuple[str, ...]:
        """What speaks against showing the map; none means that it is shown."""
        checks = (self.pointing, self.deletion, self.insertion, self.randomisation)
        return tuple(text for check in checks if (text := check.objection) is not None)


def check_maps(explain: Explainer, score: PairScore, groups: Groups, *, baseline: Image, seed: int) -> Checks:
    """Check the maps of one method on one slice.

    Args:
        explain, score: the method, and what it explains.
        groups: "failures" and "passes".
        baseline, seed: of the maps, and of cues and random orders.
    """
    (failures, of_failures), (passes, of_passes) = groups["failures"], groups["passes"]
    deletion, insertion = delete_and_insert(score, groups, baseline=baseline, seed=seed)
    return Checks(
        point_at_cues(explain, score, passes, baseline=baseline, maps=of_passes, seed=seed),
        deletion,
        insertion,
        redraw_weights(explain, score, failures, baseline=baseline, maps=of_failures, seed=seed),
    )


def point_at_cues(
    explain: Explainer, score: PairScore, passes: Pairs, *, baseline: Image, maps: NDArray[np.float32], seed: int
) -> Pointing:
    """Stamp a dark square into each pass at a place of its own, and see where its map changes most.

    The square takes the darkest value of the probe; its place is drawn within the middle of the image, where a face is.
    The map of the stamped probe minus that of the clean one, in the direction in which the score moved, must have its
    highest square within the cue: the same subtraction that makes the aggregate of failures and passes.

    Args:
        explain, score: the method, and what it explains.
        passes, seed: to be stamped, and of the places.
        baseline, maps: of the passes without a cue, `[c, h, w]` and `[n, h, w]`.
    """
    from scipy import stats

    boxes, inputs = _cue_boxes(passes, seed=seed), passes.inputs.copy()
    for image, (top, left, bottom, right) in zip(inputs, boxes, strict=True):
        image[:, top:bottom, left:right] = image.min()
    stamped = passes.showing(inputs)
    moved = score.of(stamped) - score.of(passes)
    counted = np.flatnonzero(np.abs(moved) >= CUE_MATTERS)
    if not len(counted):
        return Pointing(0, 0, CUE_SHARE**2, 1.0)
    change = explain(score, stamped.take(counted), baseline) - maps[counted]
    squares = pooled(change * np.sign(moved[counted])[:, None, None], rows=CELLS, columns=CELLS)
    highest = np.unravel_index(squares.reshape(len(squares), -1).argmax(axis=1), squares.shape[1:])
    scale = np.array(maps.shape[1:]) / np.array(squares.shape[1:])
    best = np.asarray((np.stack(highest, axis=1) + 0.5) * scale, dtype=np.int64)
    inside = (best >= boxes[counted, :2]) & (best < boxes[counted, 2:])
    hits = int(inside.all(axis=1).sum())
    share = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).mean() / np.prod(maps.shape[1:])
    p_value = stats.binomtest(hits, len(counted), float(share), alternative="greater").pvalue
    return Pointing(hits, len(counted), float(share), float(p_value))


def delete_and_insert(score: PairScore, groups: Groups, *, baseline: Image, seed: int) -> tuple[Ordering, Ordering]:
    """Delete and insert squares (Petsiuk et al., arXiv:1806.07421) in the map's order, and in random orders.

    Single pixels in random order would be no fair rival: they turn the probe into noise, which no model was trained on.

    Args:
        score, groups: what is explained; each group must pass by itself.
        baseline: what takes the place of squares, `[c, h, w]`.
        seed: of the random orders.
    """
    rng = seeded(seed)
    areas = {
        name: _both_areas(score, pairs, maps, baseline=baseline, rng=rng) for name, (pairs, maps) in groups.items()
    }
    subjects = {name: pairs.subjects for name, (pairs, _) in groups.items()}
    deleted, inserted = ({name: rows[:, place] for name, rows in areas.items()} for place in (0, 1))
    return _ordering("deletion", deleted, subjects), _ordering("insertion", inserted, subjects)


def redraw_weights(
    explain: Explainer, score: PairScore, pairs: Pairs, *, baseline: Image, maps: NDArray[np.float32], seed: int
) -> Randomisation:
    """Randomise the parameters (Adebayo et al., arXiv:1810.03292): maps must not survive the loss of what was learnt.

    Args:
        explain, score: the method, and what it explains, whose model is redrawn.
        pairs, seed: that are explained, and of the weights.
        baseline, maps: of the pairs under the model as it is, `[c, h, w]` and `[n, h, w]`.
    """
    models = [score.redraw(seed + number) if score.redraw else None for number in range(REDRAWS)]
    others = [explain(model, pairs, baseline) for model in models if model is not None]
    # Numbers may overflow in a network of which nothing fits any more: such a map is like nothing, and says nothing.
    correlations = [_rank_correlation(_cells(maps), _cells(other)) for other in others if np.isfinite(other).all()]
    return Randomisation(float(np.mean(correlations)) if correlations else None)


def _cue_boxes(pairs: Pairs, *, seed: int) -> NDArray[np.int64]:
    """One box a pair, `[n, 4]` as top, left, bottom, right; within the middle three quarters of the image."""
    sides = np.array(pairs.inputs.shape[2:])
    size, margin = np.maximum(np.round(CUE_SHARE * sides).astype(np.int64), 1), sides // 8
    room = np.maximum(sides - 2 * margin - size, 0)
    corner = margin + seeded(seed).integers(0, room + 1, (len(pairs), 2))
    return np.concatenate([corner, corner + size], axis=1)


def _cells(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    return pooled(maps, rows=CELLS, columns=CELLS).reshape(len(maps), -1)


def _both_areas(
    score: PairScore, pairs: Pairs, maps: NDArray[np.float32], *, baseline: Image, rng: np.random.Generator
) -> Floats:
    """`[2, 2, n]`: in the maps' order and in random order; deletion and insertion; pairs."""
    cells = _cells(maps)
    by_map = _areas(score, pairs, baseline=baseline, order=np.argsort(-cells, axis=1, kind="stable"))
    orders = [np.argsort(keys, axis=1) for keys in rng.random((RANDOM_ORDERS, *cells.shape))]
    return np.stack([by_map, np.mean([_areas(score, pairs, baseline=baseline, order=o) for o in orders], axis=0)])


def _areas(score: PairScore, pairs: Pairs, *, baseline: Image, order: NDArray[np.intp]) -> Floats:
    """Areas `[2, n]` under the score, as squares are deleted from, and inserted into, each probe in `order` [n, cells].

    Each is the mean score over the share of squares changed, from none to all, by the trapezoidal rule.
    """
    place = np.argsort(order, axis=1)
    counts = np.unique(np.linspace(0, order.shape[1], LEVELS + 1).round().astype(int))
    curves = np.array([_scores_at(score, pairs, baseline=baseline, changed=place < count) for count in counts])
    weights = np.diff(counts) / counts[-1]
    return np.asarray(np.einsum("l,lkn->kn", weights, (curves[1:] + curves[:-1]) / 2))


def _scores_at(score: PairScore, pairs: Pairs, *, baseline: Image, changed: NDArray[np.bool_]) -> Floats:
    """Scores `[2, n]` with the changed squares deleted, and with only them inserted."""
    height, width = pairs.inputs.shape[2:]
    rows, columns = (np.arange(side) * min(CELLS, side) // side for side in (height, width))
    mask = changed[:, rows[:, None] * min(CELLS, width) + columns][:, None]
    deleted, inserted = np.where(mask, baseline, pairs.inputs), np.where(mask, pairs.inputs, baseline)
    return np.stack([score.of(pairs.showing(deleted)), score.of(pairs.showing(inserted))])


def _ordering(kind: str, areas: Mapping[str, Floats], subjects: Mapping[str, Sequence[str]]) -> Ordering:
    """Means over all pairs, and the largest p value of the groups; `areas` has `[2, n]` of each group."""
    sign = -1.0 if kind == "deletion" else 1.0
    p_values = {name: _p_of_gain(sign * (rows[0] - rows[1]), subjects[name]) for name, rows in areas.items()}
    group = max(p_values, key=lambda name: p_values[name])
    means = np.concatenate(list(areas.values()), axis=1).mean(axis=1)
    return Ordering(kind, float(means[0]), float(means[1]), p_values[group], group)


def _p_of_gain(gain: Floats, subjects: Sequence[str]) -> float:
    """One-sided t test over the subjects' mean gains; 1 where they have no spread: one subject, or maps of nothing."""
    from scipy import stats

    _, codes = np.unique(np.array(subjects), return_inverse=True)
    means = np.bincount(codes, weights=gain) / np.bincount(codes)
    if len(means) < 2 or float(np.ptp(means)) == 0.0:
        return 1.0
    return float(stats.ttest_1samp(means, 0.0, alternative="greater").pvalue)


def _rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean over rows of the absolute Spearman correlation; a constant map is like nothing."""
    from scipy import stats

    ranks = [np.asarray(stats.rankdata(side, axis=1)) for side in (one, other)]
    left, right = (side - side.mean(axis=1, keepdims=True) for side in ranks)
    norm = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    product = np.abs((left * right).sum(axis=1))
    return float(np.divide(product, norm, out=np.zeros_like(norm), where=norm > 0).mean())
