"""What changed against the baseline is the data's part and then the model's, slice by slice, as rows of the lake."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from cv_quality.error_analysis.population import Population
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import MissingTable
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.root_causes.attribution import AttributionSummary, ComparedPopulations, attribute_build
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.populations import attempt_population, genuine_attempts
from cv_quality_tests.modalities import ATTEMPT_OUTCOMES

DARK = Slice((Predicate("illuminance_lux", "<=", 10.0),))
DROPS = {"old": ("old-a", "old-b"), "new": ("new-a", "new-b")}
SEEDS = {drop: seed for seed, drop in enumerate((*DROPS["old"], *DROPS["new"]))}
FILLED: dict[str, object] = {
    "occurred_at": datetime(2026, 9, 1, tzinfo=UTC),
    "device_id": "device",
    "device_model": "model",
    "presentation": "bona_fide",
    "is_genuine": True,
    "has_image_consent": False,
    "decision_threshold": 0.6,
}


def write_outcomes(lake: Lake, *, model: str, drop: str, dark: float, fails_in_the_dark: float, n: int = 240) -> None:
    """Attempts of twenty subjects, the same for every model; outside of the dark every model fails at the same ones."""
    attempts, chance = np.random.default_rng(SEEDS[drop]), np.random.default_rng([SEEDS[drop], 1])
    lux = np.where(attempts.random(n) < dark, 5.0, 300.0)
    fails = chance.random(n) < np.where(lux < 10, fails_in_the_dark, 0.05)
    rows = [
        {
            "attempt_id": f"{drop}-{index}",
            "subject_id": f"subject-{index % 20}",
            "claimed_subject_id": f"subject-{index % 20}",
            "illuminance_lux": float(lux[index]),
            "outcome": "non_match" if fails[index] else "accepted",
        }
        for index in range(n)
    ]
    rows[0] |= {"outcome": "not_acquired"}
    # An impostor who got in and a mask that was stopped: neither counts.
    rows += [rows[1] | {"attempt_id": f"{drop}-impostor", "is_genuine": False, "outcome": "accepted"}]
    rows += [rows[1] | {"attempt_id": f"{drop}-mask", "presentation": "mask", "outcome": "liveness_reject"}]
    filled = [FILLED | {"build_id": model, "drop_id": drop} | row for row in rows]
    lake.write(
        ATTEMPT_OUTCOMES,
        TableKey(build=model, drop=drop),
        pa.Table.from_pylist(filled, schema=ATTEMPT_OUTCOMES.arrow_schema),
    )


@pytest.fixture
def two_builds(lake: Lake) -> Lake:
    """The new build meets more darkness, and its model fails there."""
    for drop in DROPS["old"]:
        write_outcomes(lake, model="old", drop=drop, dark=0.1, fails_in_the_dark=0.4)
    for drop in DROPS["new"]:
        write_outcomes(lake, model="old", drop=drop, dark=0.4, fails_in_the_dark=0.4)
        write_outcomes(lake, model="new", drop=drop, dark=0.4, fails_in_the_dark=0.9)
    return lake


def population(lake: Lake, model: str, drops: Sequence[str]) -> Population:
    return attempt_population(genuine_attempts(lake, build=model, drops=drops, modality=FACE), modality=FACE)


def change(lake: Lake, *, has_drops: bool = True) -> ComparedPopulations:
    before = population(lake, "old", DROPS["old"]) if has_drops else None
    return ComparedPopulations("old", before, *(population(lake, model, DROPS["new"]) for model in ("old", "new")))


def attributed(lake: Lake) -> tuple[AttributionSummary, pl.DataFrame]:
    summary = attribute_build(lake, build="new", change=change(lake), slices=[DARK])
    return summary, lake.read(CHANGE_ATTRIBUTION, TableKey(build="new"))


def frr(lake: Lake, model: str, drops: tuple[str, ...]) -> float:
    rows = pl.concat([lake.read(ATTEMPT_OUTCOMES, TableKey(build=model, drop=drop)) for drop in drops])
    rows = rows.filter(pl.col("is_genuine"), presentation="bona_fide")
    return float((rows["outcome"] != "accepted").to_numpy().mean())


def test_the_data_and_the_model_together_are_the_whole_change_of_the_frr(two_builds: Lake) -> None:
    summary, rows = attributed(two_builds)
    before, after = frr(two_builds, "old", DROPS["old"]), frr(two_builds, "new", DROPS["new"])
    assert (summary.rate_before, summary.rate_after) == (before, after)
    assert summary.data is not None
    assert summary.algorithm is not None
    assert summary.data + summary.algorithm == pytest.approx(after - before, abs=1e-15)
    assert rows.filter(pl.col("part") > 0)["change"].sum() == pytest.approx(after - before, abs=1e-15)


def test_the_parts_of_each_comparison_add_up_to_its_first_row(two_builds: Lake) -> None:
    summary, rows = attributed(two_builds)
    assert summary.rows == rows.height == 6
    assert rows["part"].to_list() == [0, 1, 2, 0, 1, 2]
    for comparison in ("algorithm", "data"):
        whole, *parts = rows.filter(comparison=comparison).iter_rows(named=True)
        for column in (
            "mix",
            "rate",
            "change",
            "failures_before",
            "attempts_before",
            "failures_after",
            "attempts_after",
        ):
            assert sum(part[column] for part in parts) == whole[column]


def test_the_same_attempts_under_two_models_differ_in_rates_alone(two_builds: Lake) -> None:
    _, rows = attributed(two_builds)
    algorithm = rows.filter(comparison="algorithm")
    assert set(algorithm["mix"]) == set(algorithm["mix_low"]) == set(algorithm["mix_high"]) == {0.0}
    assert (algorithm["attempts_before"] == algorithm["attempts_after"]).all()
    assert algorithm["n_paired"].to_list() == algorithm["n_subjects"].to_list() == [20, 20, 20]


def test_the_slice_in_which_the_new_model_fails_carries_the_change_of_the_model(two_builds: Lake) -> None:
    summary, rows = attributed(two_builds)
    whole, dark, rest = rows.filter(comparison="algorithm").iter_rows(named=True)
    assert dark["change"] == whole["change"] > 0
    assert dark["rate_low"] > 0 == rest["rate_low"] == rest["rate"]
    assert "lies where illuminance_lux <= 10" in summary.algorithm_conclusion
    assert summary.algorithm_conclusion.startswith("FRR rose from")


def test_more_darkness_under_the_same_model_is_mix(two_builds: Lake) -> None:
    _, rows = attributed(two_builds)
    dark = rows.filter(comparison="data", part=1).row(0, named=True)
    assert dark["mix_low"] > 0
    assert dark["rate_low"] < 0 < dark["rate_high"]
    assert dark["attempts_after"] > 2 * dark["attempts_before"]


def test_a_row_names_its_slice_and_the_build_compared_with(two_builds: Lake) -> None:
    _, rows = attributed(two_builds)
    assert rows["condition"].to_list()[:3] == ["all attempts", "illuminance_lux <= 10", "the rest"]
    assert [text and Slice.from_list(json.loads(text)) for text in rows["where_json"]][:3] == [None, DARK, None]
    assert set(rows["baseline_build_id"]) == {"old"}
    assert set(rows["build_id"]) == {"new"}
    assert rows["method"].null_count() == rows["change_low"].null_count() == 0


def test_a_build_without_a_baseline_has_no_rows_and_says_why(two_builds: Lake) -> None:
    summary = attribute_build(two_builds, build="new", change=None, slices=[DARK])
    assert two_builds.read(CHANGE_ATTRIBUTION, TableKey(build="new")).is_empty()
    assert (summary.rows, summary.algorithm) == (0, None)
    assert summary.data_conclusion == "Nothing to compare with: no baseline."


def test_without_drops_of_the_baseline_only_the_models_are_compared(two_builds: Lake) -> None:
    summary = attribute_build(two_builds, build="new", change=change(two_builds, has_drops=False), slices=[])
    rows = two_builds.read(CHANGE_ATTRIBUTION, TableKey(build="new"))
    assert set(rows["comparison"]) == {"algorithm"}
    assert (summary.data, summary.data_conclusion) == (None, "Nothing to compare with: no genuine attempt of old.")
    assert summary.algorithm is not None


def test_a_build_without_a_genuine_attempt_has_no_rows_and_says_why(two_builds: Lake) -> None:
    for model in ("old", "new"):
        for drop in DROPS["new"]:
            empty = two_builds.read(ATTEMPT_OUTCOMES, TableKey(build=model, drop=drop)).filter(~pl.col("is_genuine"))
            two_builds.write(ATTEMPT_OUTCOMES, TableKey(build=model, drop=drop), empty)
    summary, rows = attributed(two_builds)
    assert (summary.rows, rows.height) == (0, 0)
    assert "no genuine attempt" in summary.algorithm_conclusion


def test_without_a_slice_the_rest_is_the_whole(two_builds: Lake) -> None:
    attribute_build(two_builds, build="new", change=change(two_builds), slices=[])
    rows = two_builds.read(CHANGE_ATTRIBUTION, TableKey(build="new"))
    assert rows["condition"].to_list() == ["all attempts", "the rest"] * 2
    for one, other in (rows.rows()[:2], rows.rows()[2:]):
        assert one[rows.columns.index("failures_before") :] == other[rows.columns.index("failures_before") :]


def test_the_same_seed_writes_the_same_rows_and_another_one_other_bounds_alone(two_builds: Lake) -> None:
    found = []
    for seed in (1, 1, 2):
        attribute_build(two_builds, build="new", change=change(two_builds), slices=[DARK], seed=seed)
        found.append(two_builds.read(CHANGE_ATTRIBUTION, TableKey(build="new")))
    assert found[0].equals(found[1])
    bounds = [name for name in found[0].columns if name.endswith(("_low", "_high"))]
    assert found[0].drop(bounds).equals(found[2].drop(bounds))
    assert not found[0].equals(found[2])


def test_a_drop_that_the_baseline_did_not_score_is_named(two_builds: Lake) -> None:
    two_builds.store.delete("attempt_outcomes/old/new-b.parquet")
    with pytest.raises(MissingTable, match="old/new-b"):
        attributed(two_builds)
