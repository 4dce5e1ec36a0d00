"""Ranks and open-set rates against a search that sorts every candidate list."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics import identification
from cv_quality.metrics.identification import (
    Searches,
    cmc,
    dir_at_fpir,
    open_set_curve,
    open_set_rates,
    searches,
    searches_of_lists,
)

LEVELS = [-math.inf, -1.0, 0.0, 1.0, 2.0, math.inf]


@st.composite
def galleries(draw: st.DrawFn) -> tuple[list[list[float]], list[str], list[str]]:
    """Scores of probes against entries, and whose they are: strangers among them, and subjects with two entries."""
    entries = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6))
    probes = draw(st.lists(st.sampled_from("abcdxy"), min_size=1, max_size=8))
    row = st.lists(st.sampled_from(LEVELS), min_size=len(entries), max_size=len(entries))
    return draw(st.lists(row, min_size=len(probes), max_size=len(probes))), probes, entries


def searched(case: tuple[list[list[float]], list[str], list[str]]) -> Searches:
    return searches(case[0], probe_subject=case[1], gallery_subject=case[2])


def best_of(row: list[float], entries: list[str]) -> dict[str, float]:
    return {name: max(s for s, owner in zip(row, entries, strict=True) if owner == name) for name in set(entries)}


def sorted_rank(best: dict[str, float], own: str) -> int:
    """The place of the own identity in the list sorted by score, behind all of equal score."""
    listed = sorted(best, key=lambda name: (-best[name], name == own))
    return listed.index(own) + 1


@given(case=galleries())
def test_ranks_are_those_of_sorted_lists_with_ties_against_the_own_identity(
    case: tuple[list[list[float]], list[str], list[str]],
) -> None:
    found, (rows, probes, entries) = searched(case), case
    bests = [best_of(row, entries) for row in rows]
    mated = [(best, own) for best, own in zip(bests, probes, strict=True) if own in best]
    assert found.mated_rank.tolist() == [sorted_rank(best, own) for best, own in mated]
    assert found.mated_score.tolist() == [best[own] for best, own in mated]
    assert found.unmated_best.tolist() == [
        max(best.values()) for best, own in zip(bests, probes, strict=True) if own not in best
    ]
    assert found.n_identities == len(set(entries))


@given(case=galleries(), threshold=st.sampled_from(LEVELS), rank=st.integers(1, 4))
def test_open_set_rates_count_hits_and_false_positives(
    case: tuple[list[list[float]], list[str], list[str]], threshold: float, rank: int
) -> None:
    found, (rows, probes, entries) = searched(case), case
    rank = min(rank, found.n_identities)
    rates = open_set_rates(found, threshold=threshold, rank=rank)
    bests = [(best_of(row, entries), own) for row, own in zip(rows, probes, strict=True)]
    hits = [b[own] >= threshold and sorted_rank(b, own) <= rank for b, own in bests if own in b]
    false = [max(b.values()) >= threshold for b, own in bests if own not in b]
    assert rates.dir == (np.mean(hits) if hits else None)
    assert rates.fpir == (np.mean(false) if false else None)
    assert (rates.reason is None) == bool(hits and false)
    if rates.dir is not None:
        assert rates.fnir == pytest.approx(1 - rates.dir)


@given(case=galleries(), rank=st.integers(1, 4), fpir=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_dir_at_fpir_is_the_best_over_every_threshold(
    case: tuple[list[list[float]], list[str], list[str]], rank: int, fpir: float
) -> None:
    found = searched(case)
    rank = min(rank, found.n_identities)
    if not len(found.mated_rank) or not len(found.unmated_best):
        with pytest.raises(MetricError, match="search"):
            dir_at_fpir(found, fpir=fpir, rank=rank)
        return
    answer = dir_at_fpir(found, fpir=fpir, rank=rank)
    everywhere = [open_set_rates(found, threshold=t, rank=rank) for t in LEVELS]
    allowed = [r for r in everywhere if r.fpir is not None and r.fpir <= fpir]
    if answer.rates is None:
        assert answer.reason is not None
        assert not allowed or 0 < fpir < 1 / len(found.unmated_best)
        return
    assert answer.rates.fpir is not None
    assert answer.rates.fpir <= fpir
    assert answer.rates.dir == max(r.dir for r in allowed if r.dir is not None)
    curve = open_set_curve(found, rank=rank)
    assert np.all(np.diff(curve.dir) <= 0)
    assert np.any((curve.dir >= answer.rates.dir) & (curve.fpir <= answer.rates.fpir))


@given(case=galleries())
def test_match_characteristic_rises_to_one_and_is_dir_without_a_threshold(
    case: tuple[list[list[float]], list[str], list[str]],
) -> None:
    found = searched(case)
    if not len(found.mated_rank):
        with pytest.raises(MetricError, match="no mated search"):
            cmc(found)
        return
    curve = cmc(found)
    assert len(curve.hit_rate) == found.n_identities
    assert np.all(np.diff(curve.hit_rate) >= 0)
    assert curve.hit_rate[-1] == 1.0
    for rank in range(1, found.n_identities + 1):
        assert curve.hit_rate[rank - 1] == open_set_rates(found, threshold=-math.inf, rank=rank).dir
    assert cmc(found, max_rank=1).n_hits.tolist() == curve.n_hits[:1].tolist()


@given(case=galleries())
def test_blocks_of_rows_and_other_types_change_nothing(case: tuple[list[list[float]], list[str], list[str]]) -> None:
    expected = searched(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification, "SCORES_AT_ONCE", 3)
        found = searches(
            np.array(case[0], np.float32, order="F"),
            probe_subject=pl.Series(case[1]),
            gallery_subject=np.array(case[2], object),
        )
    assert found.mated_rank.tolist() == expected.mated_rank.tolist()
    assert found.unmated_best.tolist() == expected.unmated_best.tolist()
    assert found.mated_score.dtype == np.float32


def test_lists_and_a_matrix_give_the_same_searches() -> None:
    matrix = searches(
        [[0.9, 0.2, 0.9], [0.1, 0.3, 0.2], [0.5, 0.6, 0.7]], probe_subject=[0, 1, 7], gallery_subject=[0, 1, 2]
    )
    lists = searches_of_lists([([0.9], [0.2, 0.9]), ([0.3], [0.1, 0.2]), ([], [0.5, 0.6, 0.7])])
    assert matrix.mated_rank.tolist() == lists.mated_rank.tolist() == [2, 1]
    assert matrix.unmated_best.tolist() == lists.unmated_best.tolist()
    assert matrix.n_identities == lists.n_identities == 3


def test_a_failed_probe_stands_at_the_last_rank() -> None:
    found = searches([[-math.inf] * 3], probe_subject=["a"], gallery_subject=["a", "b", "c"])
    assert found.mated_rank.tolist() == [3]


def test_too_few_strangers_leave_a_target_undefined() -> None:
    found = searches_of_lists([([0.9], [0.1]), (None, [0.3])])
    assert dir_at_fpir(found, fpir=0.01).reason == "non-mated searches: needs >= 100 trials, has 1"
    with pytest.raises(MetricError, match="an FPIR target lies in"):
        dir_at_fpir(found, fpir=1.5)


def test_searches_that_are_unclear_are_refused() -> None:
    with pytest.raises(MetricError, match=r"\(probes, entries\)"):
        searches([0.1, 0.2], probe_subject=["a"], gallery_subject=["a", "b"])
    with pytest.raises(MetricError, match="1 of 2 search scores are NaN"):
        searches([[0.1, math.nan]], probe_subject=["a"], gallery_subject=["a", "b"])
    with pytest.raises(MetricError, match=r"gallery_subject of shape \(2,\)"):
        searches([[0.1, 0.2]], probe_subject=["a"], gallery_subject=["a"])
    with pytest.raises(MetricError, match="both as numbers"):
        searches([[0.1]], probe_subject=["1"], gallery_subject=[1])
    with pytest.raises(MetricError, match="1 of 1 entries of probe_subject are missing"):
        searches([[0.1]], probe_subject=pl.Series([None], dtype=pl.String), gallery_subject=["a"])
    with pytest.raises(MetricError, match="probe 2 has no score"):
        searches_of_lists([([0.1], [0.2]), (None, [])])
    with pytest.raises(MetricError, match="no probe"):
        searches_of_lists([])
    with pytest.raises(MetricError, match="a rank lies in 1 to 2"):
        cmc(searches_of_lists([([0.1], [0.2])]), max_rank=3)
