"""The slice search next to faces that no one here made, and to scikit-learn's trees on tables that come with it."""

from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.tree import DecisionTreeClassifier

from cv_quality.error_analysis.cube import cell_gains
from cv_quality.error_analysis.discovery import find_slices
from cv_quality.error_analysis.holdout import MIN_SUBJECTS
from cv_quality.error_analysis.slice_report import SliceReport
from cv_quality.error_analysis.slices import Predicate, Slice

Shared = Callable[[str], Path]
THRESHOLD = 0.55
"""A cosine that nearly all pairs of sharp images of one person exceed."""


def genuine_pairs(folder: Path, name: str) -> pl.DataFrame:
    """Every pair of images of one person with its cosine and what its image names and the detector say."""
    with np.load(folder / f"{name}_emb.npz", allow_pickle=False) as stored:
        vectors, who, files, det = (stored[key] for key in ("emb", "ids", "files", "det"))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [pair for pair in combinations(range(len(who)), 2) if who[pair[0]] == who[pair[1]]]
    return pl.DataFrame(
        {
            "subject": [str(who[one]) for one, _ in pairs],
            "set": name,
            "condition": [Path(str(files[other])).stem.split(".")[-1] for _, other in pairs],
            "detector": [float(min(det[one], det[other])) for one, other in pairs],
            "is_even": [(one + other) % 2 == 0 for one, other in pairs],
            "cosine": [float(vectors[one] @ vectors[other]) for one, other in pairs],
        }
    )


def not_recognised(rows: pl.DataFrame, *columns: str) -> SliceReport:
    table = rows.with_columns(failed=pl.col("cosine") < THRESHOLD)
    return find_slices(table, outcome="failed", subject="subject", columns=columns)


@pytest.fixture
def orl(shared_data: Shared) -> pl.DataFrame:
    """The same people at two sizes."""
    folder = shared_data("derived_embeddings")
    return pl.concat([genuine_pairs(folder, name) for name in ("orl", "orl_23x28")])


def test_of_people_photographed_at_two_sizes_the_small_size_is_what_fails(orl: pl.DataFrame) -> None:
    found = not_recognised(orl, "set", "is_even")
    assert [item.where.sentence() for item in found.slices] == ["set is orl_23x28"]
    (item,) = found.slices
    failed = (orl["cosine"] < THRESHOLD).to_numpy()
    small = (orl["set"] == "orl_23x28").to_numpy()
    assert item.low <= failed[small].mean() <= item.high
    assert item.rest_rate == pytest.approx(failed[~small].mean(), abs=0.03)
    assert item.support == small.sum()
    assert "is_even" not in {name for away in found.explained_away for name in away.where.columns}


def test_the_detectors_score_keeps_company_with_the_size_and_adds_less(orl: pl.DataFrame) -> None:
    found = not_recognised(orl, "set", "detector", "is_even")
    assert found.slices
    assert all(set(item.where.columns) <= {"set", "detector"} for item in found.slices)
    assert found.slices[0].share_of_failures > 0.5


def test_within_the_sharp_set_there_is_nothing_to_find(orl: pl.DataFrame) -> None:
    found = not_recognised(orl.filter(pl.col("set") == "orl"), "is_even")
    assert found.slices == ()


def test_fifteen_people_are_too_few_to_name_the_condition_and_the_report_says_so(shared_data: Shared) -> None:
    rows = genuine_pairs(shared_data("derived_embeddings"), "yale_a").with_columns(loss=1 - pl.col("cosine"))
    found = find_slices(rows, outcome="loss", subject="subject", columns=["condition"])
    assert found.n_subjects == 15 < MIN_SUBJECTS
    assert found.slices == ()
    assert found.conclusion.startswith("Too small to tell: 825 rows of 15 subjects")
    worst = rows.group_by("condition").agg(pl.col("loss").mean()).sort("loss").row(-1)[0]
    assert worst in {value for item in found.insufficient for p in item.where.where for value in p.values}


@pytest.mark.parametrize(
    ("load", "column"),
    [
        (load_breast_cancer, "worst perimeter"),
        (load_breast_cancer, "mean concave points"),
        (load_wine, "proline"),
        (load_wine, "flavanoids"),
    ],
)
def test_the_best_threshold_gains_what_the_first_split_of_a_tree_gains(
    load: Callable[[], Mapping[str, NDArray[np.float64]]], column: str
) -> None:
    data = load()
    values = data["data"][:, list(data["feature_names"]).index(column)]
    failed = data["target"] == 0
    n = len(values)
    tree = DecisionTreeClassifier(criterion="entropy", max_depth=1, min_samples_leaf=5).fit(values[:, None], failed)
    inner = tree.tree_
    shares = inner.n_node_samples[1:] / n
    bits = float(inner.impurity[0] - shares @ inner.impurity[1:])

    def gain(inside: NDArray[np.bool_]) -> float:
        count, total = np.array([float(inside.sum())]), np.array([float(failed[inside].sum())])
        whole = (float(n), float(failed.sum()), -1.0)
        return float(cell_gains(count, total, totals=whole, least=1, lift=1.0)[0])

    left = values <= inner.threshold[0]
    worse = left if failed[left].mean() > failed[~left].mean() else ~left
    assert gain(worse) == pytest.approx(n * np.log(2) * bits, rel=1e-5)
    found = find_slices(pl.DataFrame({column: values, "failed": failed}), outcome="failed")
    (predicate,) = found.slices[0].where.where
    assert predicate.op == ("<=" if worse is left else ">")
    inside = pl.DataFrame({column: values}).select(found.slices[0].where.expression().alias("held"))["held"].to_numpy()
    assert gain(inside) > 0.85 * n * np.log(2) * bits, "half of the rows chose it"


def test_a_cause_of_two_values_is_named_where_a_small_tree_mixes_it() -> None:
    """Two values of two columns: a tree of as many conditions cuts by the order of the codes and mixes others in."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 6, (4, 30_000))
    inside = (codes[0] == 2) & (codes[1] == 3)
    failed = rng.random(30_000) < np.where(inside, 0.3, 0.02)
    frame = pl.DataFrame({f"c{i}": [f"v{code}" for code in row] for i, row in enumerate(codes.tolist())})
    found = find_slices(frame.with_columns(failed=pl.Series(failed)), outcome="failed")
    expected = Slice((Predicate("c0", "==", "v2"), Predicate("c1", "==", "v3")))
    assert [item.where for item in found.slices] == [expected]
    tree = DecisionTreeClassifier(max_depth=2, min_samples_leaf=30).fit(codes.T, failed)
    worst = tree.predict_proba(codes.T)[:, 1].max()
    assert found.slices[0].rate > worst
