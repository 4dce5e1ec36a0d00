"""Planted clusters come back with their description, people and chance do not, and hostile input gets an answer."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.error_analysis.clusters import ClusterDescription, Clusters, cluster_failures
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import SliceError
from cv_quality.metrics.rates import clustered_rate

DIMENSION = 32
NOISE = 0.12


@dataclass(frozen=True, slots=True)
class Table:
    """Templates of people under conditions that move them; `cause` marks the rows that one condition moved."""

    vectors: NDArray[np.float32]
    failed: NDArray[np.bool_]
    subjects: NDArray[np.int64]
    origins: NDArray[np.float32]
    attributes: pl.DataFrame
    cause: NDArray[np.bool_]

    def clusters(self, **changes: Any) -> Clusters:
        given = {
            "is_failure": self.failed,
            "subjects": self.subjects,
            "attributes": self.attributes,
            "origins": self.origins,
        }
        return cluster_failures(self.vectors, **{**given, **changes})

    def taken(self, rows: NDArray[np.int64]) -> "Table":
        return Table(*(getattr(self, field.name)[rows] for field in fields(self)))


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    units: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return units


def table(
    seed: int, *, subjects: int = 90, rows: int = 8, base: float = 0.05, caused: float = 0.45, spread: float = 0.7
) -> Table:
    """Glasses and light move a template as far as noise does; light (the cause) makes it fail at the rate `caused`."""
    rng = np.random.default_rng(seed)
    n, who = subjects * rows, np.repeat(np.arange(subjects), rows)
    people = unit(rng.normal(size=(subjects, DIMENSION)))
    glasses, cause = rng.random(n) < 0.3, rng.random(n) < 0.2
    shift = NOISE * np.sqrt(DIMENSION)
    vectors = people[who] + NOISE * rng.normal(size=(n, DIMENSION))
    for condition, length in ((glasses, 0.9), (cause, 1.5)):
        vectors = vectors + length * shift * condition[:, None] * unit(rng.normal(size=DIMENSION))
    odds = np.where(cause, caused, base) / (1 - np.where(cause, caused, base))
    odds = odds * np.exp(spread * rng.normal(size=subjects))[who]
    references = people + NOISE / 2 * rng.normal(size=people.shape)
    lux = np.where(cause, rng.uniform(1, 9, n), rng.uniform(11, 900, n))
    return Table(
        unit(vectors).astype(np.float32),
        rng.random(n) < odds / (1 + odds),
        who,
        unit(references)[who].astype(np.float32),
        pl.DataFrame({"lux": lux, "eyewear": np.where(glasses, "glasses", "none"), "lens": rng.integers(0, 3, n)}),
        cause,
    )


def jaccard(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("has_origins", [True, False])
def test_a_planted_cluster_is_found_and_described(has_origins: bool) -> None:
    planted = table(2)
    found = planted.clusters(origins=planted.origins if has_origins else None)
    (cluster,) = found.clusters
    assert jaccard(found.membership == 1, planted.cause) > 0.8
    described = cluster.description
    assert described is not None
    assert described.where.columns == ("lux",)
    (bound,) = described.where.where
    assert bound.op == "<="
    assert described.precision > 0.8
    assert described.recall > 0.8
    assert "It is described by lux <= " in cluster.sentence
    assert found.conclusion.startswith("1 cluster fails more than the rest")
    assert "metadata describe 1 of 1" in found.conclusion


def test_the_numbers_of_a_cluster_are_those_of_its_rows() -> None:
    planted = table(2)
    found = planted.clusters()
    (cluster,) = found.clusters
    inside = found.membership == 1
    assert cluster.support == inside.sum()
    assert cluster.subjects == len(set(planted.subjects[inside].tolist()))
    assert cluster.share_of_failures == pytest.approx(planted.failed[inside].sum() / planted.failed.sum())
    assert cluster.description is not None
    described = planted.attributes.select(cluster.description.where.expression()).to_series().to_numpy()
    assert cluster.description.precision == pytest.approx((described & inside).sum() / described.sum())
    assert cluster.description.recall == pytest.approx((described & inside).sum() / inside.sum())
    assert 0 < cluster.trials < cluster.support
    assert cluster.rate == cluster.failures / cluster.trials
    assert cluster.low < cluster.rate < cluster.high
    assert cluster.low > cluster.rest_rate


def test_the_counts_and_the_interval_are_those_of_half_of_the_subjects() -> None:
    planted = table(2)
    found = planted.clusters()
    (cluster,) = found.clusters
    inside = found.membership == 1
    everyone = clustered_rate(
        np.bincount(planted.subjects[inside], weights=planted.failed[inside]), np.bincount(planted.subjects[inside])
    )
    assert everyone.low is not None
    assert everyone.high is not None
    assert everyone.denominator * 0.35 < cluster.trials < everyone.denominator * 0.65
    assert cluster.high - cluster.low > everyone.high - everyone.low


def test_examples_are_failures_of_the_cluster_of_different_subjects() -> None:
    planted = table(2)
    found = planted.clusters()
    rows = list(found.clusters[0].examples)
    assert 3 <= len(rows) <= 6
    assert planted.failed[rows].all()
    assert (found.membership[rows] == 1).all()
    assert len(set(planted.subjects[rows].tolist())) == len(rows)


@pytest.mark.parametrize("columns", [["lens"], []])
def test_a_cluster_that_no_metadata_describe_is_shown_as_such(columns: list[str]) -> None:
    planted = table(2)
    found = planted.clusters(attributes=planted.attributes.select(columns))
    (cluster,) = found.clusters
    assert cluster.description is None
    assert jaccard(found.membership == 1, planted.cause) > 0.8
    assert "No metadata describe it" in cluster.sentence
    assert "metadata describe 0 of 1" in found.conclusion


def test_a_description_holds_only_with_half_of_both() -> None:
    where = Slice((Predicate("lux", "<=", 9.0),))
    assert ClusterDescription(where, precision=0.5, recall=0.5).holds
    assert not ClusterDescription(where, precision=0.49, recall=1.0).holds
    assert not ClusterDescription(where, precision=1.0, recall=0.49).holds


def test_tables_without_a_cause_stay_silent() -> None:
    """Subjects differ in how often they fail, conditions move templates, and no condition matters."""
    reports = 0
    for seed in range(20):
        null = table(1000 + seed, subjects=60, base=0.1, caused=0.1, spread=1.0)
        reports += bool(null.clusters(seed=seed, attributes=pl.DataFrame()).clusters)
    assert reports <= 1


def test_failing_far_from_the_reference_is_no_finding() -> None:
    """A failure is a low score of this very embedding, some people scatter more, and no condition matters."""
    reports = 0
    for seed in range(5):
        rng, who = np.random.default_rng(seed), np.repeat(np.arange(160), 12)
        people, scatter = unit(rng.normal(size=(160, DIMENSION))), NOISE * np.exp(0.35 * rng.normal(size=160))
        vectors = unit(people[who] + scatter[who, None] * rng.normal(size=(len(who), DIMENSION)))
        references = unit(people + NOISE / 2 * rng.normal(size=people.shape))[who]
        scores = np.einsum("ij,ij->i", vectors, references)
        found = cluster_failures(
            vectors,
            is_failure=scores < np.quantile(scores, 0.1),
            subjects=who,
            attributes=pl.DataFrame(),
            origins=references,
        )
        reports += bool(found.clusters)
    assert reports == 0


def looking_alike(seed: int) -> Table:
    """People of three kinds of looks, one of which fails at 40 %, whatever the conditions."""
    made = table(seed, caused=0.05, spread=0.3)
    rng = np.random.default_rng(seed)
    kind = np.arange(90) % 3
    people = unit(unit(rng.normal(size=(3, DIMENSION)))[kind] + 0.05 * rng.normal(size=(90, DIMENSION)))
    vectors = unit(people[made.subjects] + 0.03 * rng.normal(size=made.vectors.shape)).astype(np.float32)
    failed = rng.random(len(vectors)) < np.where(kind[made.subjects] == 0, 0.4, 0.05)
    return replace(made, vectors=vectors, failed=failed, origins=people[made.subjects].astype(np.float32))


@pytest.mark.parametrize("has_origins", [True, False])
def test_people_are_not_reported_as_clusters(has_origins: bool) -> None:
    alike = looking_alike(4)
    assert not alike.clusters(origins=alike.origins if has_origins else None).clusters
    # Without what identifies a subject taken away, the very same people are one.
    assert alike.clusters(origins=np.ones_like(alike.vectors)).clusters


def test_a_cluster_does_not_know_its_subjects() -> None:
    planted = table(2)
    inside = planted.clusters().membership == 1
    both = [0 < inside[planted.subjects == subject].mean() < 1 for subject in range(90)]
    assert np.mean(both) > 0.6


def test_few_subjects_are_listed_apart_and_not_confirmed() -> None:
    """Twelve subjects meet the cause, always, and fail under it: too few to tell it from them."""
    planted = table(6, subjects=60, rows=12, caused=0.05)
    kept = ~planted.cause | (planted.subjects < 12)
    few = planted.taken(np.flatnonzero(kept))
    failed = np.where(few.cause, True, few.failed)
    found = replace(few, failed=failed).clusters()
    assert not found.clusters
    (small,) = found.insufficient
    assert small.subjects < 20
    assert "too few" in small.sentence
    assert "On too few subjects to tell: 1 more." in found.conclusion


def test_the_same_seed_gives_the_same_answer_and_another_seed_another_split() -> None:
    planted = table(3)
    first, again, other = (planted.clusters(seed=seed) for seed in (5, 5, 6))
    assert first.to_dict() == again.to_dict()
    assert first.clusters[0].trials != other.clusters[0].trials


def test_permuted_rows_give_the_same_answer_in_their_order() -> None:
    planted = table(3)
    order = np.random.default_rng(0).permutation(len(planted.failed))
    first, second = planted.clusters(), planted.taken(order).clusters()
    np.testing.assert_array_equal(first.membership[order], second.membership)
    for one, other in zip(first.clusters, second.clusters, strict=True):
        assert one.examples == tuple(order[list(other.examples)])
        assert replace(one, examples=()) == replace(other, examples=())


def test_names_of_subjects_do_not_matter_where_their_order_is_kept() -> None:
    planted = table(3)
    named = planted.clusters(subjects=[f"s-{subject:03d}" for subject in planted.subjects])
    assert named.to_dict() == planted.clusters().to_dict()


def test_rows_without_subjects_stand_for_themselves() -> None:
    planted = table(1, spread=0)
    found = planted.clusters(subjects=None)
    assert found.n_subjects == found.n_rows
    assert jaccard(found.membership == 1, planted.cause) > 0.8


def test_unknown_origins_fall_back_to_the_subjects_mean() -> None:
    planted = table(2)
    unknown = np.full_like(planted.origins, np.nan)
    assert planted.clusters(origins=unknown).to_dict() == planted.clusters(origins=None).to_dict()


def test_columns_may_have_any_name() -> None:
    planted = table(2)
    renamed = planted.attributes.rename({"lux": "is in the cluster", "lens": "subject of the row"})
    (cluster,) = planted.clusters(attributes=renamed).clusters
    assert cluster.description is not None
    assert cluster.description.where.columns == ("is in the cluster",)


@pytest.mark.parametrize(
    ("rows", "failed", "conclusion"),
    [
        (0, None, "Nothing to cluster: no rows."),
        (8, None, "Too few subjects to tell: 1, at least 20 needed."),
        (720, False, "Nothing to cluster: of 720 rows none fails."),
        (720, True, "Nothing to cluster: of 720 rows all fail."),
    ],
)
def test_a_table_in_which_nothing_can_be_found_says_why(rows: int, failed: bool | None, conclusion: str) -> None:
    given = table(2).taken(np.arange(rows))
    if failed is not None:
        given = replace(given, failed=np.full(rows, failed))
    elif rows:
        given = replace(given, failed=np.arange(rows) % 2 == 0)
    found = given.clusters()
    assert found.conclusion == conclusion
    assert (found.clusters, found.insufficient) == ((), ())
    assert found.membership.tolist() == [0] * rows


def test_fewer_rows_than_clusters_give_no_cluster() -> None:
    tiny = table(1, rows=1, subjects=25)
    tiny = replace(tiny, failed=np.arange(25) % 5 == 0)
    assert tiny.clusters().clusters == ()
    assert "No cluster is confirmed" in tiny.clusters().conclusion


def test_templates_that_are_all_alike_give_no_cluster() -> None:
    planted = table(2)
    same = replace(planted, vectors=np.ones_like(planted.vectors), origins=np.ones_like(planted.origins))
    assert same.clusters().clusters == ()
    zero = replace(planted, vectors=np.zeros_like(planted.vectors))
    assert zero.clusters().clusters == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_failure": np.ones(3)}, "is_failure as 720 flags"),
        ({"is_failure": np.full(720, 0.5)}, "is_failure as 720 flags"),
        ({"is_failure": np.full(720, np.nan)}, "is_failure as 720 flags"),
        ({"subjects": ["a"]}, "a subject a row, 720, found shape"),
        ({"subjects": [None, *["a"] * 719]}, "ids of subjects of one type and none missing"),
        ({"subjects": np.full(720, np.nan)}, "720 rows without one"),
        ({"origins": np.ones((720, 3))}, r"an origin a row, shape \(720, 32\), found \(720, 3\)"),
        ({"attributes": pl.DataFrame({"lux": [1.0]})}, "attributes with a row an embedding, 720, found 1"),
    ],
)
def test_input_that_does_not_fit_together_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SliceError, match=message):
        table(2).clusters(**changes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    vectors = table(2).vectors.copy()
    vectors[5, 3] = value
    with pytest.raises(SliceError, match="found 1 rows with NaN or infinity"):
        replace(table(2), vectors=vectors).clusters()


@pytest.mark.parametrize("vectors", [np.ones(720), [["a"]], np.ones((2, 2, 2))])
def test_embeddings_are_a_matrix_of_numbers(vectors: object) -> None:
    with pytest.raises(SliceError, match=r"embeddings.* of shape \(n, d\)"):
        cluster_failures(vectors, is_failure=[], subjects=None, attributes=pl.DataFrame())  # type: ignore[arg-type]


@settings(max_examples=20)
@given(rows=st.integers(0, 60), width=st.integers(1, 5), people=st.integers(1, 40), seed=st.integers(0, 2**16))
def test_any_small_table_gets_an_answer(rows: int, width: int, people: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = cluster_failures(
        np.round(rng.normal(size=(rows, width))),
        is_failure=rng.random(rows) < 0.5,
        subjects=rng.integers(0, people, rows),
        attributes=pl.DataFrame({"a": rng.integers(0, 3, rows)}),
        seed=seed,
    )
    assert found.conclusion.endswith(".")
    assert found.membership.shape == (rows,)
