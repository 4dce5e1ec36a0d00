"""Demographic differentials: error rates of groups at one global threshold, against each other and against all.

FMR, FNMR and FTA of each group and FMR of each pair of groups, with intervals from `cv_quality.metrics.rates` and
`cv_quality.metrics.dyadic`, the summary measures of `cv_quality.metrics.inequity`, and the rule of NIST SP 800-63A-4
that no group be more than 25 % worse than overall. The threshold is taken as given, the same for all.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.dyadic import pair_rate, pair_variance
from cv_quality.metrics.inequity import (
    ALPHA,
    Measure,
    fairness_discrepancy,
    garbe,
    gini,
    max_over_min,
    worst_over_geometric_mean,
)
from cv_quality.metrics.rates import LEVEL, NO_TRIAL, Rate, clustered_rate, percent, require_level
from cv_quality.metrics.resampling import scores_array
from cv_quality.metrics.results import Result
from cv_quality.metrics.trials import ListedTrials, Trials, dyad_codes, require_different, subject_codes
from cv_quality.metrics.validation import column, truth, whole_numbers
from cv_quality.text import span

RateName = Literal["fmr", "fnmr", "fta"]
CheckResult = Literal["pass", "fail", "insufficient"]
ScoredCodes = tuple[ArrayLike, ArrayLike]
ScoredPairs = tuple[ArrayLike, ArrayLike, ArrayLike]
Counts = tuple[ArrayLike, ArrayLike]
Groups = ArrayLike | Sequence[str | None]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]

UNKNOWN = "unknown"
ALLOWED_RATIO = 1.25
RATIO_RAISED_BY = 0.5
"""Relative standard errors by which the variance of a group's FMR is raised in a ratio: a few subjects with most of the
errors are missing from a sample more often than they are too many, and the variance is then too low."""


class Acquisitions(NamedTuple):
    """Attempts to acquire a sample, one row per subject or several, also of subjects who never succeeded.

    Attributes:
        subjects, groups: identifiers and groups, shape (n,).
        attempts, failures: whole numbers, shape (n,).
    """

    subjects: ArrayLike
    groups: Groups
    attempts: ArrayLike
    failures: ArrayLike


@dataclass(frozen=True, slots=True)
class GroupRates(Result):
    """The error rates of one group; a `reason` in a rate says why that rate is not ranked.

    Attributes:
        group: its name; "unknown" collects subjects without one, shown but never ranked.
        n_subjects: subjects of the group.
        fmr: of comparisons within the group, the headline, as an impostor of one's own group is the one most often
            mistaken (NIST IR 8429). None for "unknown", which is no group.
        fmr_involving: of all comparisons with at least one subject of the group.
        fnmr: of genuine comparisons.
        fta: of attempts; None where none were given.
    """

    group: str
    n_subjects: int
    fmr: Rate | None
    fmr_involving: Rate
    fnmr: Rate
    fta: Rate | None


@dataclass(frozen=True, slots=True)
class PairRates(Result):
    """FMR of comparisons between two groups, in either role; both names are the same for comparisons within one.

    Attributes:
        group_a, group_b: in ascending order.
    """

    group_a: str
    group_b: str
    fmr: Rate


@dataclass(frozen=True, slots=True)
class Overall(Result):
    """The rates of all subjects together.

    Attributes:
        fmr: of all comparisons of different subjects.
        fmr_within: of those within a group, all named groups together: what a group's `fmr` is held against.
        fnmr, fta: of all subjects, those of unknown group among them.
    """

    fmr: Rate
    fmr_within: Rate
    fnmr: Rate
    fta: Rate | None


@dataclass(frozen=True, slots=True)
class Spread(Result):
    """How much one rate differs over the groups that are ranked.

    Attributes:
        rate: which rate.
        worst, best: the groups with the highest and the lowest rate; None where fewer than two are ranked.
    """

    rate: RateName
    worst: str | None
    best: str | None
    worst_over_geometric_mean: Measure
    max_over_min: Measure
    gini: Measure


@dataclass(frozen=True, slots=True)
class RatioCheck(Result):
    """Whether a group's rate is at most 1.25 times that of all together.

    The ratio R of a group's rate to that of all has log R +- t sqrt(V) as bounds, V = (1 - s_g)^2 v_g + sum_{h != g}
    s_h^2 v_h by the delta method, with v the squared relative errors of the groups' rates and s their shares of the
    errors; groups are independent, as no subject is in two. Every check is at its level by itself: of 20 groups that
    lie exactly at 1.25 about one is found to fail by chance.

    Attributes:
        ratio: the group's rate over that of all, the group itself among them; None where it is undefined.
        low, high: two-sided bounds of the ratio.
        verdict: "fail" where `low` exceeds 1.25, "pass" where `high` is at most 1.25, "insufficient" in between and
            for groups that are not ranked; it never counts as a pass.
        method: how the bounds were computed.
        reason: why it is insufficient.
    """

    rate: RateName
    group: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: CheckResult
    method: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Differentials(Result):
    """Everything about groups at one threshold.

    Attributes:
        threshold: accept when score >= threshold, for everyone.
        groups: by name, "unknown" last.
        pairs: FMR of each unordered pair of groups.
        spreads: of FMR within groups, of FNMR, and of FTA where attempts were given.
        garbe, fdr: over the groups that are ranked by both FMR and FNMR, with the weight `alpha` of FMR.
        checks: FMR within and FNMR of each named group against 1.25 times that of all.
        verdict: "fail" where any check fails, "pass" where all pass, else "insufficient".
    """

    threshold: float
    alpha: float
    overall: Overall
    groups: tuple[GroupRates, ...]
    pairs: tuple[PairRates, ...]
    spreads: tuple[Spread, ...]
    garbe: Measure
    fdr: Measure
    checks: tuple[RatioCheck, ...]
    verdict: CheckResult


def differentials(
    *,
    groups: Groups,
    threshold: float,
    genuine: ScoredCodes,
    impostor: ScoredPairs,
    trials: Trials,
    floor: float | None = None,
    acquisitions: Counts | None = None,
    alpha: float = ALPHA,
    level: float = LEVEL,
) -> Differentials:
    """Compare the rates of groups and of pairs of groups at one threshold.

    Subjects are codes 0 to S - 1, as in `trials`. FNMR and FTA are clustered by subject, FMR by both subjects. A cell
    with fewer than 5 errors expected, were its rate that of all, is "insufficient": shown, neither ranked nor passed.

    Args:
        groups: the group of each subject, shape (S,); None, NaN or "" where it is unknown.
        threshold: accept at or above, the same for all groups.
        genuine: scores of comparisons within a subject, and the subject's code, both of shape (n,).
        impostor: scores of comparisons of different subjects and both codes, all of shape (m,); every comparison, or
            at least every one whose score reaches the threshold.
        trials: how many comparisons there were between which subjects, listed or not.
        floor: every impostor comparison at or above it is listed; by default the lowest score that is.
        acquisitions: attempts and failures to acquire of each subject, both of shape (S,).
        alpha, level: weight of FMR in GARBE and FDR, 0 to 1; level of two-sided intervals.

    Raises:
        MetricError: there are fewer than two named groups, or as many as subjects; one class has no comparison; the
            listed impostor scores do not reach down to the threshold; or codes, shapes or scores are malformed.

    >>> from cv_quality.metrics.trials import CrossTrials
    >>> found = differentials(
    ...     groups=["a"] * 20 + ["b"] * 20,
    ...     threshold=0.5,
    ...     genuine=([0.4, 0.9] * 40, [*range(40), *range(40)]),
    ...     impostor=([0.6] * 7, [0, 1, 2, 3, 4, 20, 0], [9, 8, 7, 10, 11, 30, 25]),
    ...     trials=CrossTrials.all_pairs([1] * 40),
    ...     floor=0.5,
    ... )
    >>> [(row.group, row.fmr.numerator, row.fmr.reason) for row in found.groups]
    [('a', 5, 'insufficient: 3 errors expected, 5 needed'), ('b', 1, 'insufficient: 3 errors expected, 5 needed')]
    >>> found.verdict
    'insufficient'
    """
    require_level(level)
    if not math.isfinite(threshold):
        raise MetricError(f"expected a finite threshold, the same for all groups, found {threshold}")
    people = _People(*_memberships(groups, trials.n_subjects), trials, level)
    matches = _false_matches(impostor, trials, threshold, floor)
    scores, subjects = scores_array(genuine[0], "genuine"), subject_codes(genuine[1], n_subjects=trials.n_subjects)
    if scores.size == 0 or subjects.size != scores.size:
        raise MetricError(f"expected genuine scores with a subject each, found {scores.size} and {subjects.size}")
    missed, every = (np.bincount(who, minlength=trials.n_subjects) for who in (subjects[scores < threshold], subjects))
    attempts = None
    if acquisitions is not None:
        made, failed = (whole_numbers(side, name="acquisitions", size=trials.n_subjects) for side in acquisitions)
        attempts = failed, made
    return _compared(people, matches, (missed, every), attempts, threshold=threshold, alpha=alpha)


def _compared(
    people: "_People",
    matches: tuple[Codes, Codes],
    misses: tuple[Codes, Codes],
    attempts: tuple[Codes, Codes] | None,
    *,
    threshold: float,
    alpha: float,
) -> Differentials:
    """All rates, from false matches (their subjects), misses and failures (errors and trials of each subject)."""
    trials, level = people.trials, people.level
    within = _within_groups(people, matches)
    fnmr, fta = _by_group(people, misses), None if attempts is None else _by_group(people, attempts)
    acquired: list[tuple[RateName, list[_Cell]]] = [] if fta is None else [("fta", fta)]
    overall = Overall(
        fmr=pair_rate(matches, trials=trials, level=level),
        fmr_within=_pooled(within, level),
        fnmr=clustered_rate(*misses, level=level),
        fta=None if attempts is None else clustered_rate(*attempts, level=level),
    )
    judged: tuple[tuple[RateName, list[_Cell]], ...] = (("fmr", within), ("fnmr", fnmr))
    checks = tuple(_check(rate, people, cells, group) for rate, cells in judged for group in people.named)
    results = {check.verdict for check in checks}
    both = [group for group in people.named if within[group].is_ranked and fnmr[group].is_ranked]
    fmrs, fnmrs = _values(both, within), _values(both, fnmr)
    return Differentials(
        threshold=threshold,
        alpha=alpha,
        overall=overall,
        groups=_rows(people, matches, overall, within, fnmr, fta),
        pairs=_pairs(people, matches, overall, within),
        spreads=tuple(_spread(rate, people, cells) for rate, cells in (*judged, *acquired)),
        garbe=_named(garbe(fmrs, fnmrs, alpha=alpha), people, both),
        fdr=_named(fairness_discrepancy(fmrs, fnmrs, alpha=alpha), people, both),
        checks=checks,
        verdict="fail" if "fail" in results else "pass" if results == {"pass"} else "insufficient",
    )


def listed_differentials(
    scores: ArrayLike,
    is_genuine: ArrayLike,
    *,
    subjects: tuple[ArrayLike, ArrayLike],
    groups: tuple[Groups, Groups],
    threshold: float,
    acquisitions: Acquisitions | None = None,
    alpha: float = ALPHA,
    level: float = LEVEL,
) -> Differentials:
    """Compare the rates of groups for comparisons that are listed one by one, as in a score file.

    Args:
        scores, is_genuine: of every comparison; whether both sides are of one subject, bool; shape (n,).
        subjects, groups: identifiers and groups of both sides, two of shape (n,); a group is None, NaN or "" where
            unknown.
        threshold, alpha, level, acquisitions: as for `differentials`, the last subject by subject.

    Raises:
        MetricError: as `differentials`; a subject is in two groups; or a call contradicts its subjects.

    >>> found = listed_differentials(
    ...     [0.9, 0.2, 0.9, 0.1, 0.3, 0.7, 0.2, 0.1],
    ...     [True, True, True, True, False, False, False, False],
    ...     subjects=(["p", "q", "r", "s", "p", "p", "q", "r"], ["p", "q", "r", "s", "q", "r", "s", "s"]),
    ...     groups=(list("aabbaaab"), list("aabbabbb")),
    ...     threshold=0.5,
    ... )
    >>> [(row.group_a, row.group_b, row.fmr.numerator, row.fmr.denominator) for row in found.pairs]
    [('a', 'a', 0, 1), ('a', 'b', 1, 2), ('b', 'b', 0, 1)]
    """
    values = scores_array(scores, "comparison")
    is_same_subject = truth(is_genuine, name="is_genuine", size=values.size)
    own = [column(side, name="subject", size=values.size).astype(str) for side in subjects]
    known = [_names(side, size=values.size) for side in groups]
    if acquisitions is not None:
        own.append(column(acquisitions.subjects, name="subject of acquisitions").astype(str))
        known.append(_names(acquisitions.groups, size=own[-1].size))
    everyone, codes = np.unique(np.concatenate(own), return_inverse=True)
    acquired = None if acquisitions is None else np.zeros((2, everyone.size), np.int64)
    if acquisitions is not None and acquired is not None:
        for total, counts in zip(acquired, (acquisitions.attempts, acquisitions.failures), strict=True):
            np.add.at(total, codes[2 * values.size :], whole_numbers(counts, name="acquisitions", size=own[-1].size))
    one, other = codes[: values.size], codes[values.size : 2 * values.size]
    wrong, impostor = np.flatnonzero(is_same_subject != (one == other)), ~is_same_subject
    if wrong.size:
        said, are = ("genuine", "differ") if is_same_subject[wrong[0]] else ("impostor", "are the same")
        first = f"first at index {wrong[0]}: called {said}, though its subjects {are}"
        raise MetricError(f"{wrong.size} comparisons contradict their subjects, {first}")
    return differentials(
        groups=_one_group_each(codes, np.concatenate(known), everyone.size),
        threshold=threshold,
        genuine=(values[is_same_subject], one[is_same_subject]),
        impostor=(values[impostor], one[impostor], other[impostor]),
        trials=ListedTrials.of(one[impostor], other[impostor], n_subjects=everyone.size),
        acquisitions=None if acquired is None else (acquired[0], acquired[1]),
        alpha=alpha,
        level=level,
    )


class _People(NamedTuple):
    """Who is in which group, and who was compared with whom.

    Attributes:
        names: of the groups, ascending, "unknown" last where there is such a subject.
        members: index into `names` of each subject.
    """

    names: tuple[str, ...]
    members: Codes
    trials: Trials
    level: float

    @property
    def named(self) -> range:
        return range(len(self.names) - (self.names[-1] == UNKNOWN))

    def mask(self, group: int) -> Mask:
        is_member: Mask = self.members == group
        return is_member


class _Cell(NamedTuple):
    """One rate of one group.

    Attributes:
        spread: squared relative standard error of the rate; None where it cannot be told, as without an error.
        freedom: degrees of freedom of `spread`.
    """

    rate: Rate
    spread: float | None
    freedom: float

    @property
    def is_ranked(self) -> bool:
        return self.rate.value is not None and self.rate.reason is None


def _memberships(groups: Groups, n_subjects: int) -> tuple[tuple[str, ...], Codes]:
    own = _names(groups, size=n_subjects)
    named = sorted(set(own.tolist()) - {UNKNOWN})
    known = int(np.count_nonzero(own != UNKNOWN))
    if len(named) < 2:
        raise MetricError(f"expected at least 2 groups to compare, found {len(named)} with {known} subjects")
    if len(named) >= own.size:
        raise MetricError(
            f"{len(named)} groups of {own.size} subjects: no group has two; group by something they share"
        )
    names = (*named, UNKNOWN) if known < own.size else tuple(named)
    index = {name: number for number, name in enumerate(names)}
    return names, np.array([index[name] for name in own.tolist()], np.int64)


def _names(groups: Groups, *, size: int) -> NDArray[np.str_]:
    array: NDArray[np.object_] = np.asarray(groups, dtype=np.object_)
    if array.shape != (size,):
        raise MetricError(f"expected one group for each of {size} entries, found shape {array.shape}")
    texts = [UNKNOWN if value is None or value != value else str(value) or UNKNOWN for value in array.tolist()]
    return np.array(texts, dtype=np.str_)


def _false_matches(impostor: ScoredPairs, trials: Trials, threshold: float, floor: float | None) -> tuple[Codes, Codes]:
    scores = scores_array(impostor[0], "impostor")
    one, other = dyad_codes(impostor[1], impostor[2], n_subjects=trials.n_subjects)
    if one.size != scores.size or scores.size > trials.n:
        raise MetricError(
            f"expected at most {trials.n} impostor scores, as many as comparisons, each with its subjects; found "
            f"{scores.size} scores with {one.size}"
        )
    require_different(one, other)
    if trials.n == 0:
        raise MetricError("no impostor comparison: FMR of groups needs comparisons of different subjects")
    lowest = floor if floor is not None else float(scores.min(initial=math.inf))
    if scores.size < trials.n and lowest > threshold:
        raise MetricError(
            f"the {scores.size} listed of {trials.n} impostor scores end at {lowest:g}, above the threshold "
            f"{threshold:g}: list every score from the threshold on, and give the floor of the list"
        )
    accepted = scores >= threshold
    return one[accepted], other[accepted]


def _by_group(people: _People, counts: tuple[Codes, Codes]) -> list[_Cell]:
    errors, trials = counts
    share = errors.sum() / max(trials.sum(), 1)
    cells = []
    for group in range(len(people.names)):
        own = people.mask(group)
        expected = float(share * trials[own].sum())
        rate = clustered_rate(errors[own], trials[own], expected_errors=expected, level=people.level)
        spread = (1 - rate.value) / (rate.value * rate.n_effective) if rate.value and rate.n_effective else None
        cells.append(_Cell(rate, spread, max((rate.n_subjects or 0) - 1.0, 1.0)))
    return cells


def _within_groups(people: _People, matches: tuple[Codes, Codes]) -> list[_Cell]:
    found = [_between(people, matches, group, group) for group in people.named]
    errors = sum(erring[0].size for erring, _ in found)
    share = errors / max(sum(trials.n for _, trials in found), 1)
    cells = []
    for erring, trials in found:
        rate = pair_rate(erring, trials=trials, level=people.level, expected_errors=share * trials.n)
        variance = pair_variance(erring, trials=trials)
        spread = None if variance is None else variance.raised(RATIO_RAISED_BY) / variance.rate**2
        cells.append(_Cell(rate, spread, 1.0 if variance is None else variance.df))
    return cells


def _between(
    people: _People, matches: tuple[Codes, Codes], one: int, other: int | None
) -> tuple[tuple[Codes, Codes], Trials]:
    """False matches and trials between two groups, or between one and everybody."""
    first = people.mask(one)
    second = people.mask(other) if other is not None else np.ones_like(first)
    i, j = matches
    kept = (first[i] & second[j]) | (first[j] & second[i])
    return (i[kept], j[kept]), people.trials.between(first, second)


def _pair_cell(people: _People, matches: tuple[Codes, Codes], overall: Rate, one: int, other: int | None) -> Rate:
    errors, trials = _between(people, matches, one, other)
    return pair_rate(errors, trials=trials, level=people.level, expected_errors=(overall.value or 0.0) * trials.n)


def _pairs(
    people: _People, matches: tuple[Codes, Codes], overall: Overall, within: list[_Cell]
) -> tuple[PairRates, ...]:
    rows = []
    for one, name in enumerate(people.names):
        for other in range(one, len(people.names)):
            is_within = one == other and one in people.named
            rate = within[one].rate if is_within else _pair_cell(people, matches, overall.fmr, one, other)
            rows.append(PairRates(name, people.names[other], rate))
    return tuple(rows)


def _rows(
    people: _People,
    matches: tuple[Codes, Codes],
    overall: Overall,
    within: list[_Cell],
    fnmr: list[_Cell],
    fta: list[_Cell] | None,
) -> tuple[GroupRates, ...]:
    return tuple(
        GroupRates(
            group=name,
            n_subjects=int(people.mask(group).sum()),
            fmr=within[group].rate if group in people.named else None,
            fmr_involving=_pair_cell(people, matches, overall.fmr, group, None),
            fnmr=fnmr[group].rate,
            fta=None if fta is None else fta[group].rate,
        )
        for group, name in enumerate(people.names)
    )


def _pooled(cells: list[_Cell], level: float) -> Rate:
    """The rate of independent groups together, on the log scale; groups without an error add no variance."""
    errors, n = (sum(getattr(cell.rate, name) for cell in cells) for name in ("numerator", "denominator"))
    if n == 0:
        return NO_TRIAL
    subjects, p = sum(cell.rate.n_subjects or 0 for cell in cells), errors / n
    parts = [(cell.rate.numerator / errors, cell) for cell in cells if cell.rate.numerator]
    width = _half_width(parts, level)
    if width is None:
        reason = "no group has an error: no bounds" if errors == 0 else "the variance of a group is unknown: no bounds"
        return Rate(p, errors, n, None, None, None, subjects, reason, None)
    half, variance = width
    method = f"sum over independent groups, log scale, {percent(level)}"
    low, high = p * math.exp(-half), min(1.0, p * math.exp(half))
    return Rate(p, errors, n, low, high, method, subjects, None, (1 - p) / (p * variance))


def _half_width(parts: Sequence[tuple[float, _Cell]], level: float) -> tuple[float, float] | None:
    """t sqrt(V) and V = sum w^2 v, with Satterthwaite's degrees of freedom; None where one v is unknown."""
    from scipy import special

    variances = [(weight**2 * cell.spread, cell.freedom) for weight, cell in parts if cell.spread is not None]
    total = sum(variance for variance, _ in variances)
    if len(variances) < len(parts) or total <= 0:
        return None
    worth = sum(variance**2 / freedom for variance, freedom in variances)
    upper = (1 + level) / 2
    t = special.stdtrit(total**2 / worth, upper) if worth > 0 else special.ndtri(upper)
    return float(t) * math.sqrt(total), total


def _check(rate: RateName, people: _People, cells: list[_Cell], group: int) -> RatioCheck:
    own, name = cells[group], people.names[group]
    errors, n = sum(cell.rate.numerator for cell in cells), sum(cell.rate.denominator for cell in cells)
    if own.rate.value is None or errors == 0:
        reason = own.rate.reason if own.rate.value is None else "no group has an error: no ratio is defined"
        return RatioCheck(rate, name, None, None, None, "insufficient", None, reason)
    ratio = own.rate.value / (errors / n)
    low, high, method = _ratio_bounds(ratio, cells, group, errors / n, people.level)
    verdict: CheckResult = "insufficient"
    if not own.is_ranked:
        reason = own.rate.reason
    elif low is None or high is None:
        reason = "the variance of a rate is unknown"
    elif low <= ALLOWED_RATIO < high:
        reason = f"{ALLOWED_RATIO} lies within {span(low, high)}: more comparisons are needed"
    else:
        verdict, reason = "fail" if low > ALLOWED_RATIO else "pass", None
    return RatioCheck(rate, name, ratio, low, high, verdict, method, reason)


def _ratio_bounds(
    ratio: float, cells: list[_Cell], group: int, overall: float, level: float
) -> tuple[float | None, float | None, str | None]:
    own, errors = cells[group].rate, sum(cell.rate.numerator for cell in cells)
    if own.numerator == 0:
        high = None if own.high is None else own.high / overall
        return 0.0, high, f"upper bound of the group's rate over the rate of all, {percent(level)}"
    parts = [
        (float(number == group) - cell.rate.numerator / errors, cell)
        for number, cell in enumerate(cells)
        if cell.rate.numerator
    ]
    width = _half_width(parts, level)
    if width is None:
        return None, None, None
    return ratio * math.exp(-width[0]), ratio * math.exp(width[0]), f"log ratio, delta method, {percent(level)}"


def _spread(rate: RateName, people: _People, cells: list[_Cell]) -> Spread:
    ranked = [group for group in people.named if cells[group].is_ranked]
    values = _values(ranked, cells)
    order = sorted(range(len(ranked)), key=lambda at: values[at])

    worst = max(values, default=0.0)
    # With the upper bound of each rate without an error instead of 0, but none above the worst rate.
    raised = [value or min(cells[group].rate.high or worst, worst) for value, group in zip(values, ranked, strict=True)]

    def ratio(measure: Callable[[Sequence[float]], Measure]) -> Measure:
        at_least = None if worst == 0.0 or all(values) else measure(raised).value
        return replace(_named(measure(values), people, ranked), at_least=at_least)

    return Spread(
        rate=rate,
        worst=people.names[ranked[order[-1]]] if len(ranked) >= 2 else None,
        best=people.names[ranked[order[0]]] if len(ranked) >= 2 else None,
        worst_over_geometric_mean=ratio(worst_over_geometric_mean),
        max_over_min=ratio(max_over_min),
        gini=_named(gini(values), people, ranked),
    )


def _values(groups: Sequence[int], cells: list[_Cell]) -> list[float]:
    return [cells[group].rate.value or 0.0 for group in groups]


def _named(measure: Measure, people: _People, ranked: Sequence[int]) -> Measure:
    names = tuple(people.names[group] for group in ranked)
    return replace(measure, groups=names, left_out=tuple(name for name in people.names if name not in names))


def _one_group_each(codes: Codes, groups: NDArray[np.str_], n_subjects: int) -> list[str]:
    """The group of each subject; an unknown entry says nothing against a known one.

    Raises:
        MetricError: a subject is in two groups.
    """
    known = groups != UNKNOWN
    names, numbers = np.unique(groups[known], return_inverse=True)
    rows = np.unique(np.stack([codes[known], numbers], axis=1), axis=0)
    subjects, counts = np.unique(rows[:, 0], return_counts=True)
    torn = subjects[counts > 1]
    if torn.size:
        first = ", ".join(names[rows[rows[:, 0] == torn[0], 1]].tolist())
        raise MetricError(f"{torn.size} subjects are in more than one group, the first in {first}: give each one group")
    own = [UNKNOWN] * n_subjects
    for subject, number in rows.tolist():
        own[subject] = str(names[number])
    return own
