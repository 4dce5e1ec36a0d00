"""Tables with planted slices: what fails, and how often, is known, so that a search for slices can be marked.

A kind and a seed give a population: columns, slices and their failure rates. Rows are drawn from it, any number of
them, and again with another `draw`. The searches are measured in `benchmarks.slices` and `benchmarks.slice_coverage`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_quality.error_analysis.slices import Predicate, Slice, Value
from cv_quality.errors import SliceError

Kind = Literal[
    "planted",
    "planted_subjects",
    "null_subjects",
    "null",
    "thresholds",
    "joined",
    "overlap",
    "child",
    "zipf",
    "missing",
    "weak",
    "ten",
    "order4",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

SUBJECT, OUTCOME = "subject", "failed"
BASE_RATE = 0.02
SUPPORT = (0.003, 0.03)
SIMILAR = 0.8
"""The row Jaccard index from which a found slice counts as a planted one."""
LEAST_COLUMNS = 8
REFERENCE_ROWS = 50_000
TRIES, POPULATIONS = 1_000, 50
"""Slices tried before the columns are drawn anew, and how often they are."""
OWN_SHARE, OVERLAPPING_OWN_SHARE = 0.7, 0.45
"""The least part of a planted slice's rows that no other planted slice has."""
NARROWING = 1.6
"""Each condition leaves out enough rows that the slice without it is not similar to the slice."""
LEVELS = 65_536
"""Values are drawn by looking 16 random bits up, faster than `Generator.choice`; shares are multiples of one in it."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Planted:
    """A table with the truth about it.

    Attributes:
        subject: the subject column; None where rows are independent.
        outcome: the boolean column of failures.
        slices: the planted slices.
        rates: the true failure rate of each of them over its rows, averaged over subjects.
        chances: the true failure rate of every row, averaged over subjects, the highest of its slices'.
    """

    frame: pl.DataFrame
    subject: str | None
    outcome: str
    slices: tuple[Slice, ...]
    rates: tuple[float, ...]
    kind: Kind
    seed: int
    chances: Floats


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes a kind.

    Attributes:
        orders: of the planted slices, repeated as long as slices are wanted; none in a null table.
        rates: the range of the planted slices' rates.
        effect: standard deviation of the subjects' log-odds.
        rows_per_subject: None where there is no subject column.
    """

    orders: tuple[int, ...] = (1, 2, 2, 3, 3)
    rates: tuple[float, float] = (0.08, 0.30)
    effect: float = 0.0
    rows_per_subject: int | None = None


RECIPES: dict[Kind, Recipe] = {
    "planted": Recipe(),
    "planted_subjects": Recipe(effect=1.0, rows_per_subject=50),
    "null_subjects": Recipe(orders=(), effect=1.0, rows_per_subject=200),
    "null": Recipe(orders=()),
    "thresholds": Recipe(),
    "joined": Recipe(),
    "overlap": Recipe(orders=(2, 2, 2, 3, 3)),
    "child": Recipe(),
    "zipf": Recipe(),
    "missing": Recipe(),
    "weak": Recipe(rates=(0.04, 0.08)),
    "ten": Recipe(),
    "order4": Recipe(orders=(1, 2, 3, 4, 4)),
}


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is drawn.

    Attributes:
        shares: of its values v0, v1, ...; empty for a column of floats.
        parent: the column whose value it copies in `copied` of the rows; elsewhere it draws its own.
        is_per_subject: one value for all rows of a subject.
        missing: the share of cells that are null.
    """

    name: str
    shares: Floats
    parent: int | None = None
    copied: float = 0.0
    is_per_subject: bool = False
    missing: float = 0.0

    @property
    def is_number(self) -> bool:
        return len(self.shares) == 0


def generate(
    kind: Kind,
    *,
    rows: int,
    seed: int,
    columns: int = 15,
    rows_per_subject: int | None = None,
    n_slices: int | None = None,
    draw: int = 0,
) -> Planted:
    """A table of a kind; the same arguments give the same table.

    Kind, seed, columns and n_slices fix the population; rows, rows_per_subject and draw only what is drawn from it.

    Args:
        rows_per_subject: 50, in null_subjects 200, unless given; other kinds have no subject column.
        n_slices: 5, in ten 10, in the null kinds 0, unless given.

    Raises:
        SliceError: the kind is unknown, or too few columns to plant so many slices in.
    """
    if kind not in RECIPES:
        raise SliceError(f"expected a kind of {', '.join(KINDS)}, found {kind!r}")
    if columns < LEAST_COLUMNS:
        raise SliceError(f"expected at least {LEAST_COLUMNS} columns to plant slices in, found {columns}")
    recipe, rng = RECIPES[kind], np.random.default_rng([seed, 0])
    wanted = (10 if kind == "ten" else 5) if n_slices is None else n_slices
    orders = [recipe.orders[i % len(recipe.orders)] for i in range(wanted)] if recipe.orders else []
    plan, slices = _population(rng, kind, columns=columns, orders=orders)
    rates = rng.uniform(*recipe.rates, len(slices))
    rng = np.random.default_rng([seed, 1, draw])
    per_subject = (rows_per_subject or recipe.rows_per_subject) if recipe.rows_per_subject else None
    subjects = np.arange(rows) // (per_subject or 1)
    frame = _draw(rng, plan, subjects)
    masks = _masks(frame, slices)
    chances = np.full(rows, BASE_RATE)
    for mask, rate in zip(masks, rates, strict=True):
        chances[mask] = np.maximum(chances[mask], rate)
    failed = pl.Series(OUTCOME, _fail(rng, chances, subjects, effect=recipe.effect))
    if per_subject:
        names = pl.Series(SUBJECT, [f"s{draw}_{i}" for i in range(int(subjects[-1]) + 1)])
        frame = frame.insert_column(0, names.gather(subjects))
    true = tuple(float(chances[mask].mean()) if mask.any() else float(r) for mask, r in zip(masks, rates, strict=True))
    subject = SUBJECT if per_subject else None
    return Planted(frame.with_columns(failed), subject, OUTCOME, slices, true, kind, seed, chances)


def recovered(planted: Planted, found: Sequence[Slice]) -> tuple[int, int, int]:
    """(planted slices that were recovered, false reports, reports).

    A report and a planted slice are the same if their conditions are equal, or if at least 0.8 of the rows that either
    has are in both. Anything else is a false report, a part of a planted slice and one that contains it too.
    """
    same = similar(planted, found)
    return int(same.any(axis=1).sum()), int((~same.any(axis=0)).sum()), len(found)


def similar(planted: Planted, found: Sequence[Slice]) -> Flags:
    """Whether a planted slice (first axis) and a found one (second) are the same."""
    truths, reports = _masks(planted.frame, planted.slices), _masks(planted.frame, found)
    same = np.zeros((len(truths), len(reports)), bool)
    for i, truth in enumerate(truths):
        for j, report in enumerate(reports):
            is_similar = jaccard(truth, report) >= SIMILAR
            same[i, j] = is_similar or _canonical(planted.slices[i]) == _canonical(found[j])
    return same


def jaccard(left: Flags, right: Flags) -> float:
    """Rows in both over rows in either; 0 where both are empty.

    >>> jaccard(np.array([True, True, False]), np.array([True, False, False]))
    0.5
    """
    either = int((left | right).sum())
    return int((left & right).sum()) / either if either else 0.0


def _canonical(found: Slice) -> frozenset[tuple[str, str, frozenset[Value]]]:
    """The conditions without their order; `in` with one value is `==`."""
    ops = {"in": "=="}
    return frozenset((p.column, ops.get(p.op, p.op), frozenset(p.values)) for p in found.where)


def _differ_in_one_value(left: Slice, right: Slice) -> bool:
    """Two such slices of similar rates are one with joined values: a search that says so is right."""
    return set(left.columns) == set(right.columns) and len(set(left.where) - set(right.where)) <= 1


def _masks(frame: pl.DataFrame, slices: Sequence[Slice]) -> list[Flags]:
    held = frame.select(item.expression().alias(str(i)) for i, item in enumerate(slices))
    return [held[str(i)].to_numpy() for i in range(len(slices))]


def _population(
    rng: np.random.Generator, kind: Kind, *, columns: int, orders: Sequence[int]
) -> tuple[list[Column], tuple[Slice, ...]]:
    for _ in range(POPULATIONS):
        plan = _columns(rng, kind, columns)
        slices = _Planter(rng, kind, plan).plant(orders)
        if slices is not None:
            return plan, slices
    raise SliceError(
        f"{kind}: found no {len(orders)} slices in {columns} columns that can be told apart; "
        "ask for more columns or fewer slices"
    )


def _columns(rng: np.random.Generator, kind: Kind, n: int) -> list[Column]:
    """Roots first, then a third of children, each with a root as parent."""
    roots = n - n // 3
    plan = [_root(rng, kind, i, roots) for i in range(roots)]
    for i in range(roots, n):
        parent = int(rng.integers(roots))
        missing = plan[parent].missing
        plan.append(Column(f"c{i:02}", plan[parent].shares, parent, rng.uniform(0.70, 0.95), missing=missing))
    return plan


def _root(rng: np.random.Generator, kind: Kind, i: int, roots: int) -> Column:
    shares: Floats = rng.dirichlet(np.ones(rng.integers(4, 13)))
    if kind == "zipf":
        shares = np.arange(1.0, rng.integers(20, 201) + 1.0) ** -rng.uniform(0.9, 1.4)
    if kind == "thresholds" and i < (roots + 1) // 2:
        shares = np.empty(0)
    missing = 0.0
    if kind == "missing" and i < roots * 0.9:
        missing = rng.uniform(0.005, 0.025) if i < 2 else rng.uniform(0.10, 0.20)
    is_per_subject = kind in ("planted_subjects", "null_subjects") and i < (roots + 2) // 3
    return Column(f"c{i:02}", shares, is_per_subject=is_per_subject, missing=missing)


def _draw(rng: np.random.Generator, plan: Sequence[Column], subjects: NDArray[np.int64]) -> pl.DataFrame:
    """The columns without outcome and subject; `subjects` is the number of each row's subject, ascending."""
    drawn: list[NDArray[np.uint8] | Floats] = []
    for i, column in enumerate(plan):
        kind_of = i if column.parent is None else column.parent
        if column.is_per_subject:
            drawn.append(_cells(rng, column, kind_of, int(subjects[-1]) + 1)[subjects])
            continue
        cells = _cells(rng, column, kind_of, len(subjects))
        if column.parent is not None:
            is_copied = rng.random(len(cells), np.float32) < column.copied
            cells = np.where(is_copied, drawn[column.parent], cells)
        drawn.append(cells)
    return pl.DataFrame([_series(rng, column, cells) for column, cells in zip(plan, drawn, strict=True)])


def _cells(rng: np.random.Generator, column: Column, shape: int, n: int) -> "NDArray[np.uint8] | Floats":
    """Codes of values, or floats: normal, log-normal, uniform or exponential, by turns."""
    if column.is_number:
        draws = rng.normal, rng.lognormal, rng.uniform, rng.exponential
        return np.asarray(draws[shape % 4](size=n), np.float64)
    edges = np.round(np.cumsum(column.shares) / column.shares.sum() * LEVELS).astype(int)
    table: NDArray[np.uint8] = np.repeat(np.arange(len(edges), dtype=np.uint8), np.diff(edges, prepend=0))
    return np.take(table, rng.integers(0, LEVELS, n, np.uint16))


def _series(rng: np.random.Generator, column: Column, cells: "NDArray[np.uint8] | Floats") -> pl.Series:
    if column.is_number:
        series = pl.Series(column.name, cells)
    else:
        series = pl.Series(column.name, [f"v{i}" for i in range(len(column.shares))]).gather(cells)
    if column.missing:
        is_there = pl.Series(rng.random(len(cells), np.float32) >= column.missing)
        series = pl.select(pl.when(is_there).then(series).alias(column.name)).to_series()
    return series


def _fail(rng: np.random.Generator, chances: Floats, subjects: NDArray[np.int64], *, effect: float) -> Flags:
    """Outcomes of rows whose chance over all subjects is given."""
    if effect:
        distinct, which = np.unique(chances, return_inverse=True)
        centre = np.array([_centre(chance, effect) for chance in distinct])[which]
        shift = rng.normal(0.0, effect, int(subjects[-1]) + 1)[subjects]
        chances = 1.0 / (1.0 + np.exp(-(centre + shift)))
    return rng.random(len(chances)) < chances


def _centre(chance: float, effect: float) -> float:
    """The log-odds that, shifted by a normal of this deviation, give the chance on average."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float(weights @ (1 / (1 + np.exp(-(middle + effect * nodes))))) / float(weights.sum())
        low, high = (middle, high) if mean < chance else (low, middle)
    return (low + high) / 2


class _Planter:
    """Chooses slices of a population, on a reference sample of it, until all of them can be told apart."""

    def __init__(self, rng: np.random.Generator, kind: Kind, plan: Sequence[Column]) -> None:
        self.rng, self.kind, self.plan = rng, kind, plan
        self.sample = _draw(rng, plan, np.arange(REFERENCE_ROWS) // 10)
        self.roots = [i for i, column in enumerate(plan) if column.parent is None]
        self.own_share = OVERLAPPING_OWN_SHARE if kind == "overlap" else OWN_SHARE
        self.held: dict[Predicate, Flags] = {}

    def plant(self, orders: Sequence[int]) -> tuple[Slice, ...] | None:
        """One slice of each order; None where these columns have no such slices."""
        slices: list[Slice] = []
        for order in orders:
            found = self._next(order, slices)
            if found is None:
                return None
            slices.append(found)
        return tuple(slices)

    def _next(self, order: int, earlier: Sequence[Slice]) -> Slice | None:
        tried = (self._propose(order, earlier) for _ in range(TRIES))
        return next((found for found in tried if found and self._is_distinct(found, earlier)), None)

    def _propose(self, order: int, earlier: Sequence[Slice]) -> Slice | None:
        """Conditions that some row of the sample meets, so that the slice is not empty; None if they do not fit."""
        shared = self._shared(earlier) if self.kind == "overlap" and earlier else ()
        chosen = self._choose(order - len(shared), {predicate.column for predicate in shared}, len(earlier))
        row = int(self.rng.integers(REFERENCE_ROWS))
        special = int(self.rng.integers(len(chosen)))
        where = list(shared)
        for position, column in enumerate(chosen):
            is_special = position == special
            predicate = self._condition(column, row, order, is_special=is_special, index=len(earlier))
            if predicate is None:
                return None
            where.append(predicate)
        return Slice(tuple(where))

    def _shared(self, earlier: Sequence[Slice]) -> tuple[Predicate, ...]:
        """A condition of the slice before; by no more than two, or it would itself look like a cause."""
        used = [predicate for item in earlier[:-1] for predicate in item.where]
        where = [predicate for predicate in earlier[-1].where if predicate not in used]
        return (where[int(self.rng.integers(len(where)))],)

    def _choose(self, order: int, taken: set[str], index: int) -> list[int]:
        """Columns of the conditions: roots, at most one of them constant per subject; in child, one child."""
        free = [i for i in self.roots if self.plan[i].name not in taken]
        varying = [i for i in free if not self.plan[i].is_per_subject]
        if self.kind == "child":
            child = int(self.rng.integers(len(self.roots), len(self.plan)))
            others = [i for i in free if i != self.plan[child].parent]
            return [child, *self.rng.choice(others, order - 1, replace=False).tolist()]
        if self.kind == "thresholds":
            numbers = [i for i in free if self.plan[i].is_number]
            words = [i for i in free if not self.plan[i].is_number]
            n = 1 if order == 1 else 1 + index % 2
            chosen = self.rng.choice(numbers, n, replace=False).tolist()
            return [*chosen, *self.rng.choice(words, order - n, replace=False).tolist()]
        chosen = [int(i) for i in self.rng.choice(varying, order, replace=False)]
        constant = [i for i in free if self.plan[i].is_per_subject]
        if constant and order > 1 and self.rng.random() < 0.5:
            chosen[0] = int(self.rng.choice(constant))
        return chosen

    def _condition(self, column: int, row: int, order: int, *, is_special: bool, index: int) -> Predicate | None:
        """The condition on a column; the special one of a slice is joined or missing where that is the kind."""
        name, cells = self.plan[column].name, self.sample[self.plan[column].name]
        if self.plan[column].is_number:
            tail = self.rng.uniform(*SUPPORT) if order == 1 else self.rng.uniform(0.05, 0.6)
            is_low = bool(self.rng.random() < 0.5)
            bound = float(np.quantile(cells.to_numpy(), tail if is_low else 1 - tail))
            return Predicate(name, "<=" if is_low else ">", bound)
        if self.kind == "missing" and is_special and index % 2 == 0:
            return Predicate(name, "==", None) if self.plan[column].missing else None
        n_values = len(self.plan[column].shares)
        value = f"v{self.rng.integers(n_values)}" if order == 1 else cells[row]
        if value is None:
            return None
        if self.kind == "joined" and is_special:
            others = [f"v{i}" for i in range(n_values) if f"v{i}" != value]
            joined = self.rng.choice(others, int(self.rng.integers(1, 3)), replace=False).tolist()
            return Predicate(name, "in", tuple(sorted([value, *joined])))
        return Predicate(name, "==", value)

    def _is_distinct(self, found: Slice, earlier: Sequence[Slice]) -> bool:
        """Whether support, each condition, each joined value, and the rows of its own are enough, also the others'."""
        if any(_differ_in_one_value(found, item) for item in earlier):
            return False
        mask = self._mask(found.where)
        if not SUPPORT[0] <= mask.mean() <= SUPPORT[1] or not self._is_minimal(found, mask):
            return False
        masks = [self._mask(item.where) for item in earlier] + [mask]
        times = np.sum(masks, axis=0)
        if self.kind == "overlap" and earlier and (times[mask] > 1).mean() < 0.05:
            return False
        return all((times[item] == 1).mean() >= self.own_share for item in masks)

    def _is_minimal(self, found: Slice, mask: Flags) -> bool:
        where = found.where
        without = [self._mask(where[:i] + where[i + 1 :]).sum() for i in range(len(where))]
        parts = [
            (mask & self._mask((Predicate(predicate.column, "==", value),))).sum()
            for predicate in where
            if predicate.op == "in"
            for value in predicate.values
        ]
        return min(without) >= NARROWING * mask.sum() and all(part >= 0.2 * mask.sum() for part in parts)

    def _mask(self, where: Sequence[Predicate]) -> Flags:
        mask = np.ones(REFERENCE_ROWS, bool)
        for predicate in where:
            if predicate not in self.held:
                self.held[predicate] = _masks(self.sample, [Slice((predicate,))])[0]
            mask = mask & self.held[predicate]
        return mask
