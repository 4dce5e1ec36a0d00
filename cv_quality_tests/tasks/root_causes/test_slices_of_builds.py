"""A build's own attempts are searched outcome by outcome; what is found is written with its trend and examples."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import polars as pl
import pytest

from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX
from cv_quality.error_analysis.population import Population
from cv_quality.errors import MissingTable
from cv_quality.gates.runner import run_gate
from cv_quality.gates.verdicts import Verdict
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.root_causes.slices import find_build_slices, read_slices
from cv_quality.tasks.root_causes.tables import EXAMPLES, FAILURE_SLICES, SLICE_SEARCHES, SLICE_TRENDS
from cv_quality.tasks.verification.dimensions import searched_columns
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.populations import (
    attempt_population,
    comparison_population,
    genuine_attempts,
    stage_populations,
)
from cv_quality.tasks.verification.stages import SLICES
from cv_quality.tasks.verification.tables import COMPARISONS, OUTCOME_WATERFALL
from cv_quality.tasks.verification.waterfall import write_waterfall
from cv_quality_tests.modalities import ATTEMPT_OUTCOMES
from cv_quality_tests.tasks.verification.scored_drops import THRESHOLD, score_drop
from cv_quality_tests.tasks.verification.tiny_drops import Sample, unit, write_drop

SUBJECTS, ATTEMPTS = 80, 25
BUILD = TableKey(build="b2")
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
DROP_FILE = {
    "build_id": "b2",
    "site": "lab",
    "modality": "face",
    "protocol": "enrolled",
    "captured_from": NOON,
    "captured_until": NOON,
    "manifest_sha256": "0" * 64,
    "conditions": None,
    "device_scores": None,
    "file": "events-0.jsonl.zst",
    "content": "events",
    **dict.fromkeys(("bytes", "rows_declared", "rows_in", "rows_valid", "rows_quarantined", "rows_forgotten"), 0),
}


def attempts(
    *, seed: int = 1, subjects: int = SUBJECTS, dark_rate: float = 0.0, base_rate: float = 0.02
) -> pl.DataFrame:
    """Genuine attempts of which those below 10 lux fail more often; dim light comes with one camera supplier more."""
    rng = np.random.default_rng(seed)
    n = subjects * ATTEMPTS
    lux = np.round(10 ** rng.uniform(0, 3, n), 2)
    is_dark = lux < 10
    supplier = np.where(rng.random(n) < np.where(is_dark, 0.8, 0.3), "lens-2", "lens-1")
    fails = rng.random(n) < np.where(is_dark, max(dark_rate, base_rate), base_rate)
    return pl.DataFrame(
        {
            "attempt_id": [f"a{index:05d}" for index in range(n)],
            "subject_id": [f"s{index // ATTEMPTS:03d}" for index in range(n)],
            "illuminance_lux": lux,
            "camera_supplier": supplier,
            "eyewear": rng.choice(["none", "glasses"], n),
            "device_model": rng.choice(["phone-a", "phone-b"], n),
            "outcome": np.where(fails, "non_match", "accepted"),
        }
    )


def write_outcomes(lake: Lake, rows: pl.DataFrame, *, model: str = "b2", drop: str = "d1") -> None:
    """`rows` as the ledger of a drop under a model; what they leave out is null or usual."""
    usual = {
        "build_id": model,
        "drop_id": drop,
        "occurred_at": NOON,
        "is_genuine": True,
        "presentation": "bona_fide",
        "device_id": "x",
        "has_image_consent": True,
        "decision_threshold": 0.5,
    }
    filled = rows.with_columns(
        claimed_subject_id=pl.col("subject_id"),
        score=pl.when(outcome="accepted").then(0.9).otherwise(0.2),
        **{name: pl.lit(value) for name, value in usual.items() if name not in rows.columns},
    )
    missing = [pl.lit(None).alias(name) for name in ATTEMPT_OUTCOMES.names if name not in filled.columns]
    lake.write(ATTEMPT_OUTCOMES, TableKey(build=model, drop=drop), filled.with_columns(missing))
    lake.write(DROP_FILES, TableKey(drop=drop), pl.DataFrame([DROP_FILE | {"drop_id": drop}]))


def rejects(lake: Lake, build: str, drops: Sequence[str], *, model: str | None = None) -> Population:
    rows = genuine_attempts(lake, build=build, drops=drops, modality=FACE, model=model)
    return attempt_population(rows, modality=FACE)


def search(
    lake: Lake,
    *,
    build: str = "b2",
    drops: Sequence[str] = ("d1",),
    models: Sequence[str] = (),
    before: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """What the stage `slices` writes of a build."""
    own = rejects(lake, build, drops)
    compared = comparison_population(lake, build=build, drops=drops, modality=FACE)
    others = [*stage_populations(own, modality=FACE), *([compared] if compared else [])]
    earlier = ((name, rejects(lake, name, theirs)) for name, theirs in before.items())
    find_build_slices(lake, build=build, populations=[own, *others], before=earlier)
    write_waterfall(lake, build, {model: rejects(lake, build, drops, model=model).rows for model in models or (build,)})


def slices_verdict(lake: Lake, key: TableKey = BUILD) -> Verdict:
    return run_gate(lake, SLICES.suite(FACE), key)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A build that fails in the dark after one that did not, both searched for."""
    from cv_quality.lake.store import open_store

    lake = Lake(open_store(str(tmp_path_factory.mktemp("searched"))))
    write_outcomes(lake, attempts(dark_rate=0.4))
    write_outcomes(lake, attempts(), model="b1")
    write_outcomes(lake, attempts(seed=2), model="b1", drop="d0")
    search(lake, models=["b2", "b1"], before={"b1": ["d0"]})
    return lake


def test_the_planted_cause_is_the_first_slice_and_its_correlate_is_none(searched: Lake) -> None:
    (found,) = read_slices(searched, "b2", "frr")
    assert found.columns == ("illuminance_lux",)
    (bound,) = found.where
    assert bound.op == "<="
    assert isinstance(bound.value, float)
    assert 8 < bound.value < 12
    rows = searched.read(FAILURE_SLICES, BUILD)
    away = rows.filter(finding="explained_away", outcome="frr")
    assert "camera_supplier is lens-2" in away["condition"].to_list()
    assert all(text == found.sentence() for text in away["explained_by"])


def test_what_is_written_passes_its_gate(searched: Lake) -> None:
    verdict = slices_verdict(searched)
    assert verdict.failures == ()
    assert verdict.passed


def test_the_trend_is_the_rate_of_the_slice_in_each_build_on_its_own_drops(searched: Lake) -> None:
    (found,) = read_slices(searched, "b2", "frr")
    trend = searched.read(SLICE_TRENDS, BUILD)
    assert trend["trend_build_id"].to_list() == ["b2", "b1"]
    for model, drop, rate, n in zip(("b2", "b1"), ("d1", "d0"), trend["value"], trend["denominator"], strict=True):
        inside = genuine_attempts(searched, build=model, drops=[drop], modality=FACE).filter(found.expression())
        assert n == inside.height
        assert rate == pytest.approx(inside["is_failure"].mean())
    assert trend["value"][0] > 5 * trend["value"][1]


def test_the_waterfall_shows_both_models_on_the_builds_own_drops(searched: Lake) -> None:
    rows = searched.read(OUTCOME_WATERFALL, BUILD)
    assert set(rows["model_build_id"]) == {"b2", "b1"}
    for model in ("b2", "b1"):
        ledger = genuine_attempts(searched, build="b2", drops=["d1"], modality=FACE, model=model)
        whole = rows.filter(model_build_id=model, slice_rank=0)
        assert dict(whole.select("outcome", "n_attempts").rows())["non_match"] == int(ledger["is_failure"].sum())


def test_examples_are_attempts_of_the_slice(searched: Lake) -> None:
    (found,) = read_slices(searched, "b2", "frr")
    failures = searched.read(EXAMPLES, BUILD).filter(role="failure")
    ledger = genuine_attempts(searched, build="b2", drops=["d1"], modality=FACE).filter(
        found.expression(), pl.col("is_failure")
    )
    assert failures.height > 0
    assert set(failures["attempt_id"]) <= set(ledger["attempt_id"])


def test_a_build_without_a_cause_has_no_slice(lake: Lake) -> None:
    write_outcomes(lake, attempts(seed=3))
    search(lake)
    assert read_slices(lake, "b2", "frr") == []
    (row,) = lake.read(SLICE_SEARCHES, BUILD).iter_rows(named=True)
    assert (row["outcome"], row["n_slices"], row["n_attempts"]) == ("frr", 0, SUBJECTS * ATTEMPTS)
    assert lake.read(SLICE_TRENDS, BUILD).is_empty()
    assert slices_verdict(lake).passed


@pytest.mark.parametrize(("timeouts", "sought"), [(200, ["frr", "non_match", "timeout"]), (20, ["frr", "timeout"])])
def test_a_single_stage_is_searched_unless_rare_or_nearly_all_false_rejects(
    lake: Lake, timeouts: int, sought: list[str]
) -> None:
    rows = attempts(seed=4, dark_rate=0.3).with_row_index()
    timed_out, rejected = pl.col("index") < timeouts, pl.col("index") == timeouts
    outcome = pl.when(timed_out).then(pl.lit("timeout")).when(rejected).then(pl.lit("quality_reject"))
    write_outcomes(lake, rows.with_columns(outcome=outcome.otherwise(pl.col("outcome"))).drop("index"))
    search(lake)
    searches = lake.read(SLICE_SEARCHES, BUILD)
    assert searches["outcome"].to_list() == sought
    if "non_match" in sought:
        assert searches["n_failures"][0] == searches["n_failures"][1] + timeouts + 1
        assert len(read_slices(lake, "b2", "non_match")) == 1


@pytest.mark.parametrize("change", ["nobody", "nobody fails", "everybody fails", "one subject"])
def test_a_build_that_cannot_be_told_apart_says_so_and_passes_its_gate(lake: Lake, change: str) -> None:
    rows = attempts(seed=5, subjects=30)
    altered = {
        "nobody": rows.head(0),
        "nobody fails": rows.with_columns(outcome=pl.lit("accepted")),
        "everybody fails": rows.with_columns(outcome=pl.lit("non_match")),
        "one subject": rows.with_columns(subject_id=pl.lit("s1")),
    }
    write_outcomes(lake, altered[change])
    search(lake)
    (row,) = lake.read(SLICE_SEARCHES, BUILD).iter_rows(named=True)
    assert row["n_slices"] == 0
    assert row["conclusion"].endswith(".")
    assert (row["base_rate"] is None) == (change == "nobody")
    verdict = slices_verdict(lake)
    assert verdict.failures == ()


def images(drop: str, *, noise: float, people: int = 40, each: int = 5) -> tuple[list[Sample], list[Sample]]:
    """Images of people, each its own reference and attempt; the noisier, the less alike those of one person are."""
    enrols, shown = [], []
    for person in range(people):
        centre = np.random.default_rng(person).normal(size=16)
        for index in range(each):
            rng = np.random.default_rng([person, index])
            vector, frame = unit(centre + noise * rng.normal(size=16)), f"{drop}/{person}-{index}.png"
            name = f"{drop}-{person}-{index}"
            enrols.append(Sample(f"e-{name}", f"s{person}", vector, reference=f"r-{name}", frame=frame))
            shown.append(Sample(f"a-{name}", f"s{person}", vector, frame=frame))
    return enrols, shown


def write_images(lake: Lake, drop: str, *, noise: float, height_px: int) -> None:
    enrols, shown = images(drop, noise=noise)
    write_drop(lake, drop=drop, build="b1", enrols=enrols, attempts=shown, protocol="all_pairs")
    rows = [
        {
            "drop_id": drop,
            "frame": sample.frame,
            "shard": "frames-0.tar",
            "byte_offset": 0,
            "byte_count": 1,
            "sha256": "0" * 64,
            "image_format": "PNG",
            "width_px": height_px,
            "height_px": height_px,
        }
        for sample in shown
    ]
    lake.write(FRAME_INDEX, TableKey(drop=drop), pl.DataFrame(rows))
    score_drop(lake, drop)


def test_comparisons_are_searched_by_images_where_all_images_are_compared(lake: Lake) -> None:
    write_images(lake, "sharp", noise=0.3, height_px=112)
    write_images(lake, "small", noise=0.8, height_px=28)
    search(lake, build="b1", drops=["sharp", "small"])
    searches = lake.read(SLICE_SEARCHES, TableKey(build="b1"))
    comparisons = pl.concat(
        [lake.read(COMPARISONS, TableKey(build="b1", drop=drop)).filter("is_genuine") for drop in ("sharp", "small")]
    )
    (row,) = searches.filter(outcome="fnmr").iter_rows(named=True)
    assert row["n_attempts"] == 2 * comparisons.height
    assert row["n_failures"] == 2 * int((comparisons["score"] < THRESHOLD).sum())
    assert [found.sentence() for found in read_slices(lake, "b1", "fnmr")] == ["image_height_px is 28"]
    assert slices_verdict(lake, TableKey(build="b1")).failures == ()


def test_where_references_are_enrolled_only_attempts_are_searched(searched: Lake) -> None:
    assert "fnmr" not in searched.read(SLICE_SEARCHES, BUILD)["outcome"].to_list()


def test_impostors_and_attacks_are_not_searched(lake: Lake) -> None:
    rows = attempts(seed=6, subjects=30).with_columns(
        is_genuine=pl.col("attempt_id") != "a00001",
        presentation=pl.when(attempt_id="a00002").then(pl.lit("mask")).otherwise(pl.lit("bona_fide")),
    )
    write_outcomes(lake, rows)
    assert genuine_attempts(lake, build="b2", drops=["d1"], modality=FACE).height == 30 * ATTEMPTS - 2


def test_the_same_attempts_give_the_same_bytes(lake: Lake) -> None:
    write_outcomes(lake, attempts(dark_rate=0.4))
    tables = (SLICE_SEARCHES, FAILURE_SLICES, SLICE_TRENDS, OUTCOME_WATERFALL, EXAMPLES)
    search(lake)
    first = [lake.path(table, BUILD).read_bytes() for table in tables]
    search(lake)
    assert [lake.path(table, BUILD).read_bytes() for table in tables] == first


def test_a_build_whose_drops_are_not_scored_cannot_be_searched(lake: Lake) -> None:
    with pytest.raises(MissingTable, match="attempt_outcomes has no rows for b2/d1"):
        search(lake)


def test_no_id_no_score_and_no_derived_band_is_searched() -> None:
    searched_by = searched_columns(FACE)
    assert set(searched_by) <= set(ATTEMPT_OUTCOMES.names)
    assert not [name for name in searched_by if name.endswith(("_id", "score", "_ms"))]
    assert "illuminance_band" not in searched_by


def test_skipped_columns_say_why(lake: Lake) -> None:
    write_outcomes(lake, attempts(seed=7))
    search(lake)
    skipped = json.loads(lake.read(SLICE_SEARCHES, BUILD)["skipped_json"][0])
    assert "thermal_state" in skipped
