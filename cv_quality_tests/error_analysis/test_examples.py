"""Examples are what they are said to be: typical, nearest, and one condition apart, whatever the order of the rows."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.error_analysis import examples
from cv_quality.error_analysis.examples import MAX_PAIRS, MAX_TYPICAL, TOLERANCE, choose_examples
from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import SliceError
from cv_quality.lake.schema import Column
from cv_quality.modality import Bands, Dimension

LIGHT = Dimension(
    Column("illuminance_lux", "real", "light"),
    "light in lux",
    bands=Bands("illuminance_band", (10.0,), ("<10", ">=10"), "light in lux"),
    is_logarithmic=True,
)
DARK = Slice((Predicate("illuminance_lux", "<=", 10.0),))
GLASSES = Slice((Predicate("eyewear", "==", "glasses"),))
NUMBERS = ("illuminance_lux", "yaw_deg")
CATEGORIES = ("eyewear", "covering")


def _attempts(n: int = 400, *, seed: int = 0, n_subjects: int = 40) -> pl.DataFrame:
    """Attempts that fail in the dark, with missing values."""
    rng = np.random.default_rng(seed)
    lux = np.round(10 ** rng.uniform(0, 3, n), 1)
    failed = rng.random(n) < np.where(lux <= 10, 0.6, 0.05)
    score = np.where(failed, 0.3, 0.8) + rng.normal(0, 0.05, n)
    return pl.DataFrame(
        {
            "drop_id": rng.choice(["site-a", "site-b"], n),
            "attempt_id": [f"a-{index:05d}" for index in range(n)],
            "subject_id": [f"s-{index:03d}" for index in rng.integers(0, n_subjects, n)],
            "score": [None if rng.random() < 0.03 else float(value) for value in score],
            "illuminance_lux": [None if rng.random() < 0.05 else float(value) for value in lux],
            "yaw_deg": [None if rng.random() < 0.05 else float(value) for value in rng.normal(0, 10, n)],
            "eyewear": [None if rng.random() < 0.1 else str(value) for value in rng.choice(["none", "glasses"], n)],
            "covering": rng.choice(["none", "mask"], n, p=[0.8, 0.2]),
            "is_failure": failed,
        }
    )


def _distances(attempts: pl.DataFrame, one: dict[str, object], other: dict[str, object]) -> dict[str, float]:
    """Distance in each column, computed one pair at a time from the definition."""
    found: dict[str, float] = {}
    for name in NUMBERS:
        is_logarithmic = name == "illuminance_lux"
        values = attempts[name].drop_nulls().to_numpy()
        low, high = np.quantile(np.log10(values) if is_logarithmic else values, (0.05, 0.95))
        a, b = one[name], other[name]
        if isinstance(a, float) and isinstance(b, float):
            apart = abs(np.log10(a) - np.log10(b)) if is_logarithmic else abs(a - b)
            found[name] = min(float(apart / (high - low)), 1.0)
        else:
            found[name] = float(a != b)
    return found | {name: float(one[name] != other[name]) for name in CATEGORIES}


def chosen_of(attempts: pl.DataFrame, slices: Sequence[Slice], *, seed: int = 0) -> pl.DataFrame:
    """The examples of slices with what identifies them, one row each."""
    compared = tuple(name for name in (*NUMBERS, *CATEGORIES, "motion_blur_px") if name in attempts.columns)
    population = Population(
        Outcome("frr"),
        attempts,
        failed="is_failure",
        unit="subject_id",
        columns=compared,
        key=("drop_id", "attempt_id"),
        score="score",
        dimensions=(LIGHT,),
    )
    rows: list[dict[str, object]] = []
    for item in choose_examples(population, slices=slices, seed=seed):
        own = attempts.row(item.row, named=True)
        other = {} if item.partner is None else attempts.row(item.partner, named=True)
        rows.append(
            {name: getattr(item, name) for name in ("rank", "role", "position", "difference")}
            | {name: own[name] for name in ("drop_id", "attempt_id", "subject_id")}
            | {f"partner_{name}": other.get(name) for name in ("drop_id", "attempt_id")}
        )
    schema = dict.fromkeys(("role", "difference", "drop_id", "attempt_id", "subject_id"), pl.String)
    schema |= dict.fromkeys(("partner_drop_id", "partner_attempt_id"), pl.String)
    return pl.DataFrame(rows, schema={"rank": pl.Int64, "position": pl.Int64, **schema})


def _row(attempts: pl.DataFrame, drop: str, attempt: str) -> dict[str, object]:
    return attempts.filter(drop_id=drop, attempt_id=attempt).row(0, named=True)


def _of(chosen: pl.DataFrame, role: str, rank: int = 1) -> list[dict[str, str]]:
    return chosen.filter(role=role, rank=rank).sort("position").to_dicts()


def test_every_slice_has_examples_each_under_a_key_of_its_own() -> None:
    chosen = chosen_of(_attempts(), [DARK, GLASSES])
    keys = chosen.select("rank", "role", "position")
    assert keys.is_unique().all()
    assert set(chosen["rank"]) == {1, 2}


def test_typical_failures_are_failures_in_the_slice_of_different_subjects() -> None:
    attempts = _attempts()
    failures = _of(chosen_of(attempts, [DARK]), "failure")
    assert len(failures) == MAX_TYPICAL == len({row["subject_id"] for row in failures})
    inside = attempts.filter("is_failure", DARK.expression())["attempt_id"].to_list()
    assert all(row["attempt_id"] in inside for row in failures)


def test_the_first_failure_is_the_nearest_to_the_centre() -> None:
    """Three failures at one place and one far off: the odd one is last."""
    rows = {"drop_id": "d", "score": 0.3, "eyewear": "none", "is_failure": True}
    attempts = pl.DataFrame(
        [
            {**rows, "attempt_id": f"a{index}", "subject_id": f"s{index}", "illuminance_lux": lux, "yaw_deg": yaw}
            for index, (lux, yaw) in enumerate([(1.0, 60.0), (4.0, 1.0), (4.0, 0.0), (4.1, 2.0)])
        ]
    )
    failures = _of(chosen_of(attempts, [DARK]), "failure")
    assert [row["attempt_id"] for row in failures][-1] == "a0"
    assert failures[0]["attempt_id"] == "a1"


def test_the_nearest_pass_is_the_subjects_own_and_no_other_is_nearer() -> None:
    attempts = _attempts()
    chosen = chosen_of(attempts, [DARK])
    checked = 0
    for failure, near in zip(_of(chosen, "failure"), _of(chosen, "nearest_pass"), strict=True):
        assert (near["partner_drop_id"], near["partner_attempt_id"]) == (failure["drop_id"], failure["attempt_id"])
        own = attempts.filter(~pl.col("is_failure"), subject_id=failure["subject_id"])
        if own.is_empty():
            continue
        one = _row(attempts, failure["drop_id"], failure["attempt_id"])
        means = {row["attempt_id"]: np.mean(list(_distances(attempts, one, row).values())) for row in own.to_dicts()}
        assert means[near["attempt_id"]] == pytest.approx(min(means.values()), abs=1e-5)
        checked += 1
    assert checked >= 3


def test_a_subject_who_never_passed_is_shown_beside_anyone() -> None:
    attempts = _attempts().with_columns(
        subject_id=pl.when("is_failure").then(pl.lit("fails-always")).otherwise("subject_id")
    )
    (near,) = _of(chosen_of(attempts, [DARK]), "nearest_pass")
    assert near["subject_id"] != "fails-always"


def test_pairs_differ_in_one_condition_of_the_slice_and_in_no_other() -> None:
    attempts = _attempts(3_000, n_subjects=60)
    pairs = _of(chosen_of(attempts, [DARK]), "differs_in_one")
    assert len(pairs) == MAX_PAIRS
    for pair in pairs:
        failure = _row(attempts, pair["drop_id"], pair["attempt_id"])
        passed = _row(attempts, pair["partner_drop_id"], pair["partner_attempt_id"])
        distances = _distances(attempts, failure, passed)
        assert failure["is_failure"]
        assert not passed["is_failure"]
        assert distances.pop("illuminance_lux") > TOLERANCE
        assert all(distances[name] <= TOLERANCE + 1e-5 for name in NUMBERS if name in distances)
        assert all(distances[name] == 0 for name in CATEGORIES)
        assert attempts.filter(DARK.expression(), attempt_id=str(passed["attempt_id"])).is_empty()


def test_a_pair_of_one_subject_goes_before_a_nearer_pair_of_two() -> None:
    shared = {"drop_id": "d", "covering": "none", "score": 0.5}
    rows = [
        ("f", "anna", 4.0, 0.0, True),
        ("own", "anna", 200.0, 2.0, False),
        ("other", "berta", 200.0, 0.0, False),
        *((f"x{index}", "carla", 400.0, float(yaw), False) for index, yaw in enumerate((-20, -10, 10, 20))),
    ]
    names = ("attempt_id", "subject_id", "illuminance_lux", "yaw_deg", "is_failure")
    attempts = pl.DataFrame([{**shared, **dict(zip(names, row, strict=True))} for row in rows])
    (pair,) = _of(chosen_of(attempts, [DARK]), "differs_in_one")
    assert pair["partner_attempt_id"] == "own"
    assert pair["difference"] == "illuminance_lux 4 against 200"


def test_a_slice_of_a_band_is_told_in_the_number_behind_it() -> None:
    attempts = _attempts(3_000).with_columns(
        illuminance_band=pl.when(pl.col("illuminance_lux") < 10).then(pl.lit("<10")).otherwise(pl.lit(">=10"))
    )
    pairs = _of(chosen_of(attempts, [Slice((Predicate("illuminance_band", "==", "<10"),))]), "differs_in_one")
    assert pairs
    assert all(pair["difference"].startswith("illuminance_lux ") for pair in pairs)


def test_failures_of_an_earlier_slice_do_not_stand_for_a_later_one() -> None:
    attempts = _attempts(2_000)
    chosen = chosen_of(attempts, [DARK, GLASSES])
    for row in _of(chosen, "failure", rank=2):
        lux = _row(attempts, row["drop_id"], row["attempt_id"])["illuminance_lux"]
        assert lux is None or lux > 10  # type: ignore[operator]


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_rows_does_not_matter(seed: int) -> None:
    attempts = _attempts(300)
    shuffled = attempts.sample(fraction=1, shuffle=True, seed=seed)
    assert chosen_of(attempts, [DARK, GLASSES]).equals(chosen_of(shuffled, [DARK, GLASSES]))


def test_a_sample_gives_the_same_for_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "PASSES_SEARCHED", 50)
    monkeypatch.setattr(examples, "FAILURES_SEARCHED", 20)
    attempts = _attempts(1_000)
    first, second = (chosen_of(attempts, [DARK], seed=3) for _ in range(2))
    assert first.equals(second)
    assert len(_of(first, "failure")) == MAX_TYPICAL


@pytest.mark.parametrize(
    "attempts",
    [
        _attempts().head(0),
        _attempts().with_columns(is_failure=pl.lit(False)),
        _attempts().with_columns(illuminance_lux=pl.lit(None, pl.Float64)),
    ],
    ids=["no attempts", "no failures", "nobody in the slice"],
)
def test_without_failures_in_the_slice_there_is_nothing_to_show(attempts: pl.DataFrame) -> None:
    chosen = chosen_of(attempts, [DARK])
    assert chosen.is_empty()
    assert "difference" in chosen.columns


def test_where_nobody_passed_there_are_failures_only() -> None:
    chosen = chosen_of(_attempts().with_columns(is_failure=pl.lit(True)), [DARK])
    assert set(chosen["role"]) == {"failure"}


def test_infinite_and_constant_conditions_do_not_disturb_the_choice() -> None:
    attempts = _attempts().with_columns(
        yaw_deg=pl.when(pl.int_range(pl.len()) % 7 == 0).then(float("inf")).otherwise(float("nan")),
        motion_blur_px=pl.lit(1.0),
    )
    chosen = chosen_of(attempts, [DARK])
    assert len(_of(chosen, "failure")) == MAX_TYPICAL


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SliceError, match="eyewear"):
        chosen_of(_attempts().drop("eyewear"), [GLASSES])
