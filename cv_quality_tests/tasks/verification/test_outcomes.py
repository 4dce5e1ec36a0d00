"""Every attempt ends in exactly one stage, decided by the device's log or by the re-inferred score."""

import numpy as np
import polars as pl

from cv_quality.lake.lake import Lake
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES
from cv_quality_tests.tasks.verification.scored_drops import THRESHOLD, mixed_drop, score_drop
from cv_quality_tests.tasks.verification.tiny_drops import Sample, rows_of, unit, write_drop


def test_every_attempt_ends_in_the_stage_that_decided_it(lake: Lake) -> None:
    mixed_drop(lake, "d1", seed=1)
    score_drop(lake, "d1")
    rows = rows_of(lake, ATTEMPT_OUTCOMES, build="b1", drop="d1")
    outcome = dict(rows.select("attempt_id", "outcome").rows())
    assert outcome["a-d1-timeout"] == "timeout"
    assert outcome["a-d1-quality"] == "quality_reject"
    assert outcome["a-d1-liveness"] == "liveness_reject"
    assert outcome["a-d1-acquire"] == outcome["a-d1-noface"] == "not_acquired"
    matched = rows.filter(pl.col("score").is_not_null()).select("score", "outcome").rows()
    assert all(outcome == ("accepted" if score >= THRESHOLD else "non_match") for score, outcome in matched)
    assert rows.filter(attempt_id="a-d1-noface")["illuminance_band"].item() == "<10"


def test_the_best_score_of_all_pairs_is_over_all_other_frames(lake: Lake) -> None:
    rng = np.random.default_rng(5)
    vectors = [unit(rng.normal(size=16)) for _ in range(4)]
    frames = [f"f{index}.png" for index in range(4)]
    enrols = [Sample(f"e{i}", "ann", vectors[i], reference=f"r{i}", frame=frames[i]) for i in range(4)]
    attempts = [Sample(f"a{i}", "ann", vectors[i], frame=frames[i]) for i in range(4)]
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts, protocol="all_pairs")
    score_drop(lake, "d1")
    matrix = np.array(vectors, dtype=float) @ np.array(vectors, dtype=float).T
    np.fill_diagonal(matrix, -2.0)
    rows = rows_of(lake, ATTEMPT_OUTCOMES, build="b1", drop="d1").sort("attempt_id")
    np.testing.assert_allclose(rows["score"].to_numpy(), matrix.max(1), atol=1e-6)
