"""A slice is what most splits of the subjects confirm, in one wording, with the share of the splits that hold it."""

import numpy as np
import polars as pl
import pytest

from benchmarks.planted import generate
from cv_quality.error_analysis import splits as splits_module
from cv_quality.error_analysis.discovery import find_slices
from cv_quality.error_analysis.encoding import Encoded, encode
from cv_quality.error_analysis.halves import Masks
from cv_quality.error_analysis.holdout import HoldoutResult
from cv_quality.error_analysis.near_duplicates import HoldoutCandidate
from cv_quality.error_analysis.slice_report import CONFIRMATION_LEVEL
from cv_quality.error_analysis.splits import ENOUGH, SPLITS, Split, _is_decided, agree

N = 20_000
SURE, UNSURE = 1e-9, 0.9 * CONFIRMATION_LEVEL


def table(edge: float = 10.0) -> pl.DataFrame:
    rng = np.random.default_rng(4)
    lux = np.round(rng.uniform(0, 100, N), 2)
    lens = rng.choice(list("abcd"), N)
    failed = rng.random(N) < np.where(lux <= edge, 0.5, 0.03)
    return pl.DataFrame({"who": rng.integers(0, 400, N), "lux": lux, "lens": lens, "failed": failed})


def searched(frame: pl.DataFrame, **bounds: list[float]) -> Encoded:
    return encode(frame.lazy(), outcome="failed", subject="who", bounds=bounds)


def below(found: Encoded, bound: float) -> Masks:
    edges = np.array(found.columns[0].edges)
    return {0: np.arange(256) <= int(np.argmin(np.abs(edges - bound)))}


def split(found: Encoded, masks: Masks | None, *, p: float = SURE, seed: int = 0) -> Split:
    """A split that confirms one slice, or none."""
    assert found.subjects is not None
    is_first = np.random.default_rng(seed).random(found.n_subjects)[found.subjects] < 0.5
    result = HoldoutResult(100, 50.0, 0.03, 50, SURE)
    items = () if masks is None else (HoldoutCandidate(masks, 0, result, 1.0, p_adjusted=p),)
    return Split(is_first, items, ())


def agreed(found: Encoded, *wordings: Masks | None, p: float = SURE) -> list[tuple[str, float, float]]:
    splits = [split(found, masks, p=p, seed=seed) for seed, masks in enumerate(wordings)]
    return [
        (found.slice_of(one.item.masks).sentence(), one.stability, one.item.p_adjusted) for one in agree(found, splits)
    ]


@pytest.mark.parametrize(("confirming", "is_reported"), [(0, False), (2, False), (3, True), (5, True)])
def test_a_slice_needs_more_than_half_of_the_splits(confirming: int, is_reported: bool) -> None:
    found = searched(table())
    wordings = [below(found, 10.0)] * confirming + [None] * (SPLITS - confirming)
    told = agreed(found, *wordings)
    assert bool(told) is is_reported
    assert [stability for _, stability, _ in told] == [confirming / SPLITS] * is_reported


def test_the_p_value_over_the_splits_pays_for_choosing_among_them() -> None:
    found = searched(table())
    masks = below(found, 10.0)
    assert agreed(found, *[masks] * SPLITS, p=UNSURE) == [], "5 / 3 of it is above the level"
    ((_, _, p),) = agreed(found, *[masks] * SPLITS, p=UNSURE / 2)
    assert p == pytest.approx(5 / 3 * UNSURE / 2)


def test_the_wording_that_most_splits_share_is_taken() -> None:
    """Three splits hold nearly the same rows, and two a slice of half of them that fails as much."""
    found = searched(table())
    wordings = [below(found, bound) for bound in (9.0, 9.9, 10.0, 5.0, 5.1)]
    ((sentence, stability, _),) = agreed(found, *wordings)
    assert sentence in {found.slice_of(item).sentence() for item in wordings[:3]}
    assert stability == 3 / SPLITS


def test_a_preferred_bound_takes_the_place_of_one_that_parts_nearly_the_same_rows() -> None:
    frame = table()
    found = searched(frame, lux=[10.37])
    masks = below(found, 10.0)
    splits = [split(found, masks, seed=seed) for seed in range(SPLITS)]
    (near,) = agree(found, splits, bounds={"lux": [10.37]})
    (far,) = agree(found, splits, bounds={"lux": [30.0]})
    assert found.slice_of(near.item.masks).sentence() == "lux <= 10.37"
    assert found.slice_of(far.item.masks) == found.slice_of(masks)


def test_one_cause_has_one_threshold_in_two_searches_of_a_table() -> None:
    frame = table()
    first = find_slices(frame, outcome="failed", subject="who", bounds={"lux": [10.5]})
    again = frame.with_columns(failed=pl.col("failed") & (pl.Series(np.random.default_rng(8).random(N)) < 0.6))
    second = find_slices(again, outcome="failed", subject="who", bounds={"lux": [10.5]})
    assert [item.where.sentence() for item in (*first.slices, *second.slices)] == ["lux <= 10.5", "lux <= 10.5"]


def test_a_plain_cause_holds_in_all_splits_and_under_every_seed() -> None:
    found = [find_slices(table(), outcome="failed", subject="who", seed=seed) for seed in range(3)]
    assert {item.stability for report in found for item in report.slices} == {1.0}
    rows = [table().select(report.slices[0].where.expression()).to_series().to_numpy() for report in found]
    assert all(np.sum(one & other) >= 0.9 * np.sum(one | other) for one in rows for other in rows)
    assert all(f"It holds in all {report.n_splits} splits" in report.slices[0].sentence for report in found)


def worded(*values: str) -> pl.DataFrame:
    """A cause that can be said in one way only, and that nothing else looks like."""
    rng = np.random.default_rng(4)
    lens, light = rng.choice(list("abcd"), N), rng.choice(["dim", "day", "sun"], N)
    failed = rng.random(N) < np.where(np.isin(lens, values), 0.3, 0.03)
    return pl.DataFrame({"who": rng.integers(0, 400, N), "lens": lens, "light": light, "failed": failed})


@pytest.mark.parametrize(("values", "n_slices"), [(("b",), 1), ((), 0)])
def test_splits_that_agree_in_every_word_end_the_search(values: tuple[str, ...], n_slices: int) -> None:
    found = find_slices(worded(*values), outcome="failed", subject="who")
    assert (found.n_splits, len(found.slices)) == (ENOUGH, n_slices)


@pytest.mark.parametrize("seed", range(4))
def test_a_search_that_ends_early_finds_what_all_splits_find(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = generate("planted", rows=40_000, seed=seed)
    early = find_slices(planted.frame, outcome=planted.outcome, seed=seed)
    monkeypatch.setattr(splits_module, "_is_decided", lambda _: False)
    late = find_slices(planted.frame, outcome=planted.outcome, seed=seed)
    assert late.n_splits == SPLITS
    assert [item.where for item in early.slices] == [item.where for item in late.slices]
    assert [item.rate for item in early.slices] == [item.rate for item in late.slices]


def test_splits_that_differ_in_a_word_or_are_unsure_do_not_end_the_search() -> None:
    found = searched(table())
    same, other = below(found, 10.0), below(found, 9.0)
    assert _is_decided([split(found, same)] * ENOUGH)
    assert _is_decided([split(found, None)] * ENOUGH)
    assert not _is_decided([split(found, same)] * (ENOUGH - 1))
    assert not _is_decided([*[split(found, same)] * (ENOUGH - 1), split(found, other)])
    assert not _is_decided([*[split(found, same)] * (ENOUGH - 1), split(found, None)])
    assert not _is_decided([*[split(found, same)] * (ENOUGH - 1), split(found, same, p=UNSURE)]), "5 / 3 of p"
