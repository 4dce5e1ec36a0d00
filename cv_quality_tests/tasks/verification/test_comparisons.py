"""What is compared with what, against scores computed one pair at a time."""

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cv_quality.drops.device_scores import DeviceScores
from cv_quality.errors import MissingTable
from cv_quality.lake.lake import Lake
from cv_quality.tasks.verification.comparisons import compare_drop
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.tables import COMPARISONS
from cv_quality_tests.tasks.verification.tiny_drops import (
    Sample,
    all_pairs_samples,
    random_drop,
    rows_of,
    unit,
    write_drop,
)

RNG = np.random.default_rng(3)


def test_a_probe_is_scored_against_the_fused_reference_that_it_claims(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=1, subjects=["ann", "bob"], attempts=3)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    compare_drop(lake, build="b1", drop="d1", modality=FACE)
    for row in rows_of(lake, COMPARISONS, build="b1", drop="d1").iter_rows(named=True):
        parts = [e.vector.astype(float) for e in enrols if e.reference == row["reference_id"] and e.vector is not None]
        mean = np.sum([part / np.linalg.norm(part) for part in parts], axis=0)
        probe = next(a.vector for a in attempts if a.sample_id == row["attempt_id"])
        assert probe is not None
        cosine = float(mean @ probe.astype(float) / np.linalg.norm(mean) / np.linalg.norm(probe.astype(float)))
        assert row["score"] == pytest.approx(cosine, abs=1e-12)


def test_a_device_score_on_another_scale_need_not_agree(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=1, subjects=["ann", "bob"], attempts=3)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    expected = {}
    for scale in (None, DeviceScores(low=0, high=100, accepts="at_or_above")):
        compare_drop(lake, build="b1", drop="d1", modality=replace(FACE, device_scores=scale))
        rows = rows_of(lake, COMPARISONS, build="b1", drop="d1")
        expected[scale] = set(rows["is_parity_expected"])
    assert list(expected.values()) == [{True}, {False}]


def test_an_impostor_attempt_that_really_happened_is_not_genuine(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=1, subjects=["ann", "bob"], attempts=1)
    attempts.append(Sample("a-bob-as-ann", "bob", vector=vector_like(enrols[0]), reference="r-ann", claimed="ann"))
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts, models=("b1", "b0"))
    summary = compare_drop(lake, build="b0", drop="d1", modality=FACE)
    rows = rows_of(lake, COMPARISONS, build="b0", drop="d1")
    assert (summary.n_genuine, summary.n_impostor) == (2, 1)
    assert rows.filter(~pl.col("is_genuine")).select("attempt_id", "reference_subject_id").rows() == [
        ("a-bob-as-ann", "ann")
    ]
    assert not rows["is_parity_expected"].any()


def test_attempts_without_template_reference_or_matching_are_not_compared(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=1, subjects=["ann"], attempts=1)
    attempts += [
        Sample("a-noface", "ann", None, reference="r-ann"),
        Sample("a-noref", "ann", vector_like(enrols[0]), reference="r-nobody"),
        Sample("a-blurred", "ann", vector_like(enrols[0]), reference="r-ann", columns={"device_stage": "quality"}),
    ]
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    summary = compare_drop(lake, build="b1", drop="d1", modality=FACE)
    assert (summary.n_attempts, summary.n_genuine, summary.n_not_compared) == (4, 1, 3)


def test_all_pairs_hold_each_pair_of_a_subject_once_later_frame_as_probe(lake: Lake) -> None:
    enrols, attempts = all_pairs_samples({"ann": 4, "bob": 3, "cyd": 1})
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts, protocol="all_pairs")
    compare_drop(lake, build="b1", drop="d1", modality=FACE)
    found = rows_of(lake, COMPARISONS, build="b1", drop="d1").select("attempt_id", "reference_id").rows()
    expected = {
        (f"a-{name}-{later}", f"r-{name}-{earlier}")
        for name, frames in {"ann": 4, "bob": 3}.items()
        for earlier, later in itertools.combinations(range(frames), 2)
    }
    assert len(found) == len(expected)
    assert set(found) == expected


def test_a_drop_without_inference_is_refused_by_name(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=1, subjects=["ann"], attempts=1)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    with pytest.raises(MissingTable, match="embeddings has no rows for b9/d1"):
        compare_drop(lake, build="b9", drop="d1", modality=FACE)


def vector_like(sample: Sample) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    assert sample.vector is not None
    return unit(RNG.normal(size=len(sample.vector)))
