"""Ways to find slices, ours and others, each as a function from a table to a list of slices, best first.

What a tool needs prepared (codes, bins, one-hot columns) is prepared here and counts as its time, as it does for who
uses it. sliceline, divexplorer and lightgbm are no dependencies of the project; `missing_package` says what is not
installed. They are run side by side in `benchmarks.slices`.
"""

import importlib
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_quality.error_analysis.slices import Predicate, Slice, Value

TOP = 20
"""SliceLine and DivExplorer rank and do not test; the first 20 count as their reports."""
LEAST_SUPPORT, DIVEXPLORER_SUPPORT = 0.003, 0.01
"""Shares of the rows; DivExplorer takes a minute for 100,000 rows with 0.01 and does not finish with 0.003."""
DEPTH, LIFT = 6, 2.0
BINS = 10

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Search = Callable[[pl.DataFrame, str, "str | None"], list[Slice]]


class Interval(NamedTuple):
    """low < x <= high."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Discrete:
    """A column as codes, and what each code stands for."""

    column: str
    codes: Codes
    values: "list[Value | Interval]"

    def predicates(self, code: int) -> list[Predicate]:
        value = self.values[code]
        return _interval(self.column, value) if isinstance(value, Interval) else [Predicate(self.column, "==", value)]


class Step(NamedTuple):
    """One turn on the way from a tree's root to a leaf: a bound, or values that are kept or left out."""

    column: str
    op: Literal["<=", ">", "in", "not in"]
    bound: float = 0.0
    values: "frozenset[Value]" = frozenset()


def ours(frame: pl.DataFrame, outcome: str, subject: str | None) -> list[Slice]:
    from cv_quality.error_analysis.discovery import find_slices

    return [found.where for found in find_slices(frame, outcome=outcome, subject=subject).slices]


def sliceline(frame: pl.DataFrame, outcome: str, subject: str | None) -> list[Slice]:
    """Order 2, alpha 0.95: order 3 runs out of memory at 100,000 rows x 15 columns."""
    made = importlib.import_module("sliceline.slicefinder").Slicefinder
    columns = _discrete(frame, outcome, subject)
    codes = np.column_stack([column.codes + 1 for column in columns])
    floor = max(1, int(LEAST_SUPPORT * frame.height))
    finder = cast("_Slicefinder", made(alpha=0.95, k=TOP, max_l=2, min_sup=floor, verbose=False))
    rows = finder.fit(codes, frame[outcome].to_numpy().astype(np.float64)).top_slices_[:TOP]
    return [
        _conjunction(columns, [(i, int(code) - 1) for i, code in enumerate(row) if code is not None]) for row in rows
    ]


def divexplorer(frame: pl.DataFrame, outcome: str, subject: str | None) -> list[Slice]:
    """Support of 1 %; the itemsets of the highest t whose rate lies above the mean."""
    import pandas as pd

    explorer = importlib.import_module("divexplorer").DivergenceExplorer
    columns = _discrete(frame, outcome, subject)
    table = pd.DataFrame({str(i): column.codes for i, column in enumerate(columns)})
    table["failed"] = frame[outcome].to_numpy()
    found = cast(
        "pd.DataFrame",
        explorer(table).get_pattern_divergence(min_support=DIVEXPLORER_SUPPORT, boolean_outcomes=["failed"]),
    )
    top = found[found["failed_div"] > 0].nlargest(TOP, "failed_t")["itemset"]
    pairs = [[tuple(int(part) for part in str(item).split("=")) for item in sorted(items)] for items in top]
    return [_conjunction(columns, [(i, code) for i, code in items]) for items in pairs]


def tree(frame: pl.DataFrame, outcome: str, subject: str | None) -> list[Slice]:
    """A scikit-learn tree on one-hot columns and numbers; leaves that fail twice as often as all rows."""
    from sklearn.tree import DecisionTreeClassifier

    attributes = _attributes(frame, outcome, subject)
    features, cells = _one_hot(attributes)
    failed = frame[outcome].to_numpy()
    least = max(1, int(LEAST_SUPPORT * frame.height))
    model = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=least, random_state=0).fit(cells, failed)

    def walk(node: int, path: tuple[Step, ...]) -> Iterator[tuple[float, tuple[Step, ...]]]:
        grown = model.tree_
        if grown.children_left[node] < 0:
            yield float(grown.value[node][0][1]), path
            return
        column, value = features[grown.feature[node]]
        left, right = _turns(column, value, float(grown.threshold[node]))
        yield from walk(int(grown.children_left[node]), (*path, left))
        yield from walk(int(grown.children_right[node]), (*path, right))

    return _bad_leaves(list(walk(0, ())), attributes, base=float(failed.mean()))


def error_tree(frame: pl.DataFrame, outcome: str, subject: str | None) -> list[Slice]:
    """One LightGBM tree of depth 6 as Responsible AI's error tree grows it: 31 leaves, at least 20 rows each."""
    made = importlib.import_module("lightgbm").LGBMClassifier
    attributes = _attributes(frame, outcome, subject)
    columns = [_coded(series) if series.dtype == pl.String else series for series in attributes]
    cells = np.column_stack([column.codes if isinstance(column, Discrete) else column.to_numpy() for column in columns])
    failed = frame[outcome].to_numpy()
    categorical = [i for i, column in enumerate(columns) if isinstance(column, Discrete)]
    model = made(n_estimators=1, num_leaves=31, max_depth=DEPTH, min_child_samples=20, verbose=-1, n_jobs=2)
    model.fit(cells, failed, categorical_feature=categorical)
    leaf = model.booster_.predict(cells, pred_leaf=True).reshape(-1)
    rates = np.bincount(leaf, failed) / np.maximum(np.bincount(leaf), 1)

    def walk(node: "dict[str, object]", path: tuple[Step, ...]) -> Iterator[tuple[float, tuple[Step, ...]]]:
        if "split_feature" not in node:
            yield float(rates[cast("int", node.get("leaf_index", 0))]), path
            return
        column = columns[cast("int", node["split_feature"])]
        if isinstance(column, Discrete):
            kept = frozenset(cast("Value", column.values[int(code)]) for code in str(node["threshold"]).split("||"))
            left, right = Step(column.column, "in", values=kept), Step(column.column, "not in", values=kept)
        else:
            left, right = _turns(column.name, _NUMBER, cast("float", node["threshold"]))
        yield from walk(cast("dict[str, object]", node["left_child"]), (*path, left))
        yield from walk(cast("dict[str, object]", node["right_child"]), (*path, right))

    root = model.booster_.dump_model()["tree_info"][0]["tree_structure"]
    return _bad_leaves(list(walk(root, ())), attributes, base=float(failed.mean()))


SEARCHES: dict[str, tuple[Search, str | None]] = {
    "cv_quality": (ours, None),
    "SliceLine": (sliceline, "sliceline"),
    "DivExplorer": (divexplorer, "divexplorer"),
    "tree": (tree, None),
    "error tree": (error_tree, "lightgbm"),
}
"""Each method, and the package that it needs besides the project's."""


def missing_package(method: str) -> str | None:
    """The package that is not installed and without which the method does not run."""
    package = SEARCHES[method][1]
    return package if package and importlib.util.find_spec(package) is None else None


class _Slicefinder(Protocol):
    top_slices_: "NDArray[np.object_]"

    def fit(self, X: Codes, errors: Floats) -> "_Slicefinder": ...


_NUMBER = object()
"""Stands where a one-hot feature has its value, for a feature that is a number."""


def _attributes(frame: pl.DataFrame, outcome: str, subject: str | None) -> list[pl.Series]:
    return frame.drop([outcome] if subject is None else [outcome, subject]).get_columns()


def _discrete(frame: pl.DataFrame, outcome: str, subject: str | None) -> list[Discrete]:
    attributes = _attributes(frame, outcome, subject)
    return [_coded(series) if series.dtype == pl.String else _binned(series) for series in attributes]


def _coded(series: pl.Series) -> Discrete:
    """Missing is a value of its own."""
    values = series.unique().sort().to_list()
    codes = series.replace_strict(values, list(range(len(values))), return_dtype=pl.Int64)
    return Discrete(series.name, codes.to_numpy(), values)


def _binned(series: pl.Series) -> Discrete:
    """Ten bins with as many rows each."""
    numbers = series.to_numpy()
    edges = [-np.inf, *np.unique(np.quantile(numbers, np.arange(1, BINS) / BINS)).tolist(), np.inf]
    bins: list[Value | Interval] = [Interval(low, high) for low, high in itertools.pairwise(edges)]
    return Discrete(series.name, np.searchsorted(edges[1:-1], numbers, side="left"), bins)


def _one_hot(attributes: Sequence[pl.Series]) -> "tuple[list[tuple[str, object]], NDArray[np.float32]]":
    """The features, as a column and its value, and the cells in the tree's own type."""
    features: list[tuple[str, object]] = []
    cells: list[NDArray[np.float32]] = []
    for series in attributes:
        if series.dtype != pl.String:
            features.append((series.name, _NUMBER))
            cells.append(series.to_numpy().astype(np.float32))
            continue
        coded = _coded(series)
        features += [(series.name, value) for value in coded.values]
        cells += [(coded.codes == code).astype(np.float32) for code in range(len(coded.values))]
    return features, np.column_stack(cells)


def _turns(column: str, value: object, bound: float) -> tuple[Step, Step]:
    """The left and the right turn at a split; a one-hot feature is 0 on the left."""
    if value is _NUMBER:
        return Step(column, "<=", bound), Step(column, ">", bound)
    kept = frozenset([cast("Value", value)])
    return Step(column, "not in", values=kept), Step(column, "in", values=kept)


def _bad_leaves(
    leaves: Sequence[tuple[float, tuple[Step, ...]]], attributes: Sequence[pl.Series], *, base: float
) -> list[Slice]:
    """Those with at least twice the base rate, as conjunctions, worst first."""
    bad = sorted((leaf for leaf in leaves if leaf[0] >= LIFT * base and leaf[1]), key=lambda leaf: -leaf[0])
    values = {series.name: frozenset(series.unique()) for series in attributes if series.dtype == pl.String}
    return [_folded(path, values) for _, path in bad]


def _folded(path: Sequence[Step], values: "dict[str, frozenset[Value]]") -> Slice:
    """All turns on one column as one condition, or two for an interval."""
    where: list[Predicate] = []
    for column in dict.fromkeys(step.column for step in path):
        low, high, left = -np.inf, np.inf, values.get(column, frozenset())
        for step in path:
            if step.column != column:
                continue
            low = max(low, step.bound) if step.op == ">" else low
            high = min(high, step.bound) if step.op == "<=" else high
            left = left & step.values if step.op == "in" else left
            left = left - step.values if step.op == "not in" else left
        where += _listed(column, left) if column in values else _interval(column, Interval(low, high))
    return Slice(tuple(where))


def _listed(column: str, values: "frozenset[Value]") -> list[Predicate]:
    ordered = sorted(values, key=lambda value: (value is None, str(value)))
    return [Predicate(column, "==", ordered[0]) if len(ordered) == 1 else Predicate(column, "in", tuple(ordered))]


def _interval(column: str, bounds: Interval) -> list[Predicate]:
    low = [Predicate(column, ">", bounds.low)] if np.isfinite(bounds.low) else []
    return low + ([Predicate(column, "<=", bounds.high)] if np.isfinite(bounds.high) else [])


def _conjunction(columns: Sequence[Discrete], pairs: Sequence[tuple[int, int]]) -> Slice:
    """Of (column, code) pairs."""
    return Slice(tuple(predicate for i, code in pairs for predicate in columns[i].predicates(code)))
