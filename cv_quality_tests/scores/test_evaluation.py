"""A score set evaluated: every number against a count of its own, every bound around its number, nothing made up."""

import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.cli import scores as cli_scores
from cv_quality.errors import MetricError
from cv_quality.metrics import FMR_TARGETS, CostWeights, min_dcf
from cv_quality.scores.evaluation import STEPS, Evaluation, evaluate
from cv_quality.scores.reading import read_scores
from cv_quality.text import figures
from cv_quality_tests.scores.score_files import comparisons, write

N_SUBJECTS = 40


def table(*, seed: int = 0, attempts: int = 4) -> pl.DataFrame:
    """Every subject against every other, and each against itself several times; some people are hard to match."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(0, 0.5, N_SUBJECTS)
    one, other = np.nonzero(~np.eye(N_SUBJECTS, dtype=bool))
    own = np.repeat(np.arange(N_SUBJECTS), attempts)
    quality = rng.uniform(0, 1, own.size)
    genuine = rng.normal(2.6 + skill[own] + quality, 0.6)
    impostor = rng.normal(0.2 * (skill[one] + skill[other]), 0.7)
    return pl.DataFrame(
        {
            "score": np.concatenate([genuine, impostor]),
            "is_genuine": np.repeat([True, False], [own.size, one.size]),
            "subject_a": [f"s{code}" for code in (*own, *one)],
            "subject_b": [f"s{code}" for code in (*own, *other)],
            "quality_a": np.concatenate([quality, np.ones(one.size)]),
            "quality_b": np.ones(own.size + one.size),
        }
    )


def evaluated(frame: pl.DataFrame, folder: Path, **options: object) -> Evaluation:
    frame.write_parquet(folder / "scores.parquet")
    return evaluate(read_scores(folder / "scores.parquet"), **options)  # type: ignore[arg-type]


def cvq(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def ordered(*values: float | None) -> bool:
    """Whether all values are there and none falls."""
    known = [value for value in values if value is not None]
    return len(known) == len(values) and known == sorted(known)


def split(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    genuine, impostor = (frame.filter(is_genuine=side)["score"].to_numpy() for side in (True, False))
    return genuine, impostor


@pytest.mark.parametrize("has_subjects", [True, False])
def test_every_rate_is_a_count_at_its_threshold_and_lies_in_its_interval(tmp_path: Path, has_subjects: bool) -> None:
    frame = table()
    shown = frame if has_subjects else frame.select("score", "is_genuine")
    found = evaluated(shown, tmp_path, fmr_targets=(0.1, *FMR_TARGETS))
    genuine, impostor = split(frame)
    measured = [point for point in found.operating_points if point.status != "undefined"]
    assert [point.fmr_target for point in measured] == [0.1, 0.01, 0.001]
    for point in measured:
        assert point.threshold is not None
        assert point.fmr is not None
        assert point.fnmr is not None
        assert point.fmr.numerator == (impostor >= point.threshold).sum()
        assert ordered(point.fmr.value, point.fmr_target)
        assert point.fnmr.numerator == (genuine < point.threshold).sum()
        for rate in (point.fmr, point.fnmr):
            assert ordered(rate.low, rate.value, rate.high)
        assert ordered(point.threshold_low, point.threshold, point.threshold_high)
    assert found.n_subjects == (N_SUBJECTS if has_subjects else None)
    assert any("name no subjects" in warning for warning in found.warnings) is not has_subjects


def test_fmr_targets_are_those_of_builds_and_of_the_help(tmp_path: Path) -> None:
    found = evaluated(table(), tmp_path)
    assert tuple(point.fmr_target for point in found.operating_points) == FMR_TARGETS
    assert (FMR_TARGETS[0], FMR_TARGETS[-1]) == (0.01, 1e-6)
    assert "[0.01 to 1e-6]" in " ".join(cvq("--help").stdout.split())


def test_targets_beyond_the_comparisons_are_undefined_and_name_their_need(tmp_path: Path) -> None:
    found = evaluated(table(), tmp_path, fmr_targets=[1e-6])
    (point,) = found.operating_points
    assert (point.status, point.threshold, point.fmr, point.fnmr) == ("undefined", None, None, None)
    assert point.reason == "needs >= 1,000,000 trials, has 1,560"


def test_intervals_by_subject_are_wider_than_of_independent_comparisons(tmp_path: Path) -> None:
    frame = table()
    known = evaluated(frame, tmp_path, fmr_targets=[0.01]).operating_points[0].fmr
    unknown = evaluated(frame.select("score", "is_genuine"), tmp_path, fmr_targets=[0.01]).operating_points[0].fmr
    assert known is not None
    assert unknown is not None
    assert known.high - known.low > 1.3 * (unknown.high - unknown.low)  # type: ignore[operator]


def test_distances_give_the_same_rates_at_thresholds_in_their_own_units(tmp_path: Path) -> None:
    frame = table()
    alike = evaluated(frame, tmp_path, fmr_targets=[0.01], threshold=1.5)
    apart = evaluated(frame.with_columns(-pl.col("score")), tmp_path, fmr_targets=[0.01], threshold=-1.5)
    one, other = alike.operating_points[0], apart.operating_points[0]
    assert (alike.accept_when, apart.accept_when) == (">=", "<=")
    assert one.threshold == -other.threshold  # type: ignore[operator]
    assert (one.fmr, one.fnmr) == (other.fmr, other.fnmr)
    assert ordered(other.threshold_low, other.threshold, other.threshold_high)
    assert alike.fixed is not None
    assert apart.fixed is not None
    assert (alike.fixed.fmr, alike.fixed.fnmr) == (apart.fixed.fmr, apart.fixed.fnmr)


def with_families(frame: pl.DataFrame, size: int) -> pl.DataFrame:
    """The subjects in families of a size; every second family is named on one side only."""
    code = {side: pl.col(f"subject_{side}").str.slice(1).cast(pl.Int64) // size for side in "ab"}
    return frame.with_columns(
        pl.format("f{}", code["a"]).alias("family_a"),
        pl.when(code["b"] % 2 == 0).then(pl.format("f{}", code["b"])).alias("family_b"),
    )


def test_families_that_are_named_take_the_place_of_subjects(tmp_path: Path) -> None:
    frame = table()
    alone, related = (
        evaluated(one, tmp_path, fmr_targets=[0.01], threshold=1.5) for one in (frame, with_families(frame, 4))
    )
    assert (alone.n_subjects, related.n_subjects) == (N_SUBJECTS, N_SUBJECTS)
    assert "the intervals are by family, 10 families of 40 subjects" in related.notes
    assert alone.fixed is not None
    assert related.fixed is not None
    for one, other in ((alone.fixed.fmr, related.fixed.fmr), (alone.fixed.fnmr, related.fixed.fnmr)):
        assert one is not None
        assert other is not None
        assert (one.value, one.numerator, one.denominator) == (other.value, other.numerator, other.denominator)
        assert (one.n_subjects, other.n_subjects) == (N_SUBJECTS, N_SUBJECTS // 4)
        assert other.low is not None
    by_itself = evaluated(with_families(frame, 1), tmp_path, fmr_targets=[0.01], threshold=1.5)
    assert by_itself.operating_points == alone.operating_points
    assert by_itself.eer == alone.eer


def test_a_subject_of_two_families_is_said_and_families_are_not_used(tmp_path: Path) -> None:
    frame = with_families(table(), 4).with_columns(
        family_a=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("another")).otherwise("family_a")
    )
    found = evaluated(frame, tmp_path, fmr_targets=[0.01])
    assert f"1 of {N_SUBJECTS} subjects are in several families: families are not used" in found.warnings
    assert found.operating_points == evaluated(table(), tmp_path, fmr_targets=[0.01]).operating_points


def test_each_step_of_an_evaluation_is_said_before_it(tmp_path: Path) -> None:
    said: list[str] = []
    evaluated(table(), tmp_path, starting=said.append)
    assert said == list(STEPS)


def test_many_subjects_are_evaluated_in_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4_000, (2, 100_000))
    other = np.where(rng.random(100_000) < 0.02, one, other)
    frame = pl.DataFrame(
        {
            "score": np.where(one == other, rng.normal(0.7, 0.1, 100_000), rng.normal(0.1, 0.1, 100_000)),
            "is_genuine": one == other,
            "subject_a": one.astype(str),
            "subject_b": other.astype(str),
        }
    )
    began = time.process_time()
    found = evaluated(frame, tmp_path, fmr_targets=[0.01, 0.001, 1e-6])
    assert found.operating_points[1].status == "ok"
    assert found.beyond is not None
    assert time.process_time() - began < 20


def test_the_curve_is_exact_at_every_point_and_lies_in_its_band(tmp_path: Path) -> None:
    frame = table()
    found = evaluated(frame, tmp_path)
    genuine, impostor = split(frame)
    assert len(found.curve) > 30
    for point in found.curve:
        assert point.fmr == np.mean(impostor >= point.threshold)
        assert point.fnmr == np.mean(genuine < point.threshold)
        assert point.low is None or ordered(point.low, point.fnmr, point.high)
    assert sum(point.low is not None for point in found.curve) > 20


def test_rejecting_the_worst_quality_lowers_errors_that_quality_predicts(tmp_path: Path) -> None:
    found = evaluated(table(attempts=20), tmp_path)
    assert found.erc is not None
    half = int(np.searchsorted(found.erc.rejected, 0.5))
    assert found.erc.fnmr[half] < 0.5 * found.erc.fnmr[0]
    assert evaluated(table().drop("quality_b"), tmp_path).erc is None


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    frame = table()
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=3)
    one, other = evaluated(frame, tmp_path).to_dict(), evaluated(shuffled, tmp_path).to_dict()
    assert one["operating_points"] == other["operating_points"]
    assert one["curve"] == other["curve"]


def test_a_subject_that_is_its_own_impostor_is_said_and_not_used(tmp_path: Path) -> None:
    frame = table().with_columns(subject_b=pl.when(pl.col("is_genuine")).then("subject_b").otherwise("subject_a"))
    found = evaluated(frame, tmp_path)
    assert found.n_subjects is None
    assert any("name one subject twice" in warning for warning in found.warnings)


@pytest.mark.parametrize("target", [0.0, -0.1, 1.5, float("nan")])
def test_an_fmr_target_outside_its_range_is_refused(tmp_path: Path, target: float) -> None:
    with pytest.raises(MetricError, match="above 0 and up to 1"):
        evaluated(table(), tmp_path, fmr_targets=[target])


def test_the_json_document_has_the_promised_keys(tmp_path: Path) -> None:
    table(attempts=20).write_csv(tmp_path / "scores.csv")
    done = cvq(tmp_path / "scores.csv", "--json", "--fmr", 0.01, "--fmr", 1e-6, "--seed", 4)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "cv_quality/evaluation/1"
    assert (document["n_genuine"], document["n_impostor"], document["n_subjects"]) == (800, 1560, 40)
    assert {"value", "low", "high", "threshold"} <= document["eer"].keys()
    firm, undefined = document["operating_points"]
    assert {"fmr_target", "threshold", "fmr", "fnmr", "status"} <= firm.keys()
    assert {"value", "low", "high"} <= firm["fmr"].keys()
    assert {"value", "low", "high", "method", "n_effective"} <= firm["fnmr"].keys()
    assert (firm["status"], undefined["status"], undefined["fnmr"]) == ("ok", "undefined", None)
    assert isinstance(document["warnings"], list)


def test_several_sets_give_a_list_and_a_pair_of_files_one_document(tmp_path: Path) -> None:
    for name, seed in (("exp1", 1), ("exp2", 2)):
        for kind, scores in zip(("true", "false"), split(table(seed=seed)), strict=True):
            np.savetxt(tmp_path / f"{name}_{kind}.txt", scores)
    one = json.loads(cvq(*sorted(tmp_path.glob("exp1*")), "--json").stdout)
    both = json.loads(cvq(*sorted(tmp_path.glob("exp*")), "--json").stdout)
    assert [document["name"] for document in both] == ["exp1", "exp2"]
    assert both[0] == one


def test_the_terminal_shows_a_table_and_warnings_apart_from_it(tmp_path: Path) -> None:
    table().select("score", "is_genuine").write_csv(tmp_path / "scores.csv")
    done = cvq(tmp_path / "scores.csv")
    assert done.exit_code == 0
    assert "EER" in done.stdout
    assert "undefined" in done.stdout
    assert "warning" not in done.stdout
    assert "name no subjects" in done.stderr


def test_one_class_is_an_error_that_says_so(tmp_path: Path) -> None:
    table().filter(is_genuine=True).write_csv(tmp_path / "scores.csv")
    done = cvq(tmp_path / "scores.csv")
    assert done.exit_code == 1
    assert "no impostor score" in done.stderr


def test_target_beyond_the_comparisons_is_extrapolated_apart_from_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    impostor, genuine = rng.normal(0, 1, 100_000), rng.normal(5, 1, 500)
    frame = pl.DataFrame({"score": [*genuine, *impostor], "is_genuine": [True] * 500 + [False] * 100_000})
    found = evaluated(frame, tmp_path, fmr_targets=[1e-3, 1e-6])
    assert found.operating_points[1].status == "undefined"
    assert found.beyond is not None
    (point,) = found.beyond.points
    assert ordered(point.low, 4.7534, point.high)
    assert "extrapolated beyond 100000 comparisons" in found.beyond.note
    apart = evaluated(frame.with_columns(-pl.col("score")), tmp_path, fmr_targets=[1e-6]).beyond
    assert apart is not None
    assert apart.points[0].threshold == -point.threshold  # type: ignore[operator]
    assert ordered(apart.points[0].low, apart.points[0].threshold, apart.points[0].high)
    assert evaluated(table(), tmp_path, fmr_targets=[1e-6]).beyond is None


def with_groups(frame: pl.DataFrame) -> pl.DataFrame:
    """Even subjects are in group "even", the others in "odd"."""
    is_even = [pl.col(f"subject_{side}").str.slice(1).cast(pl.Int64) % 2 == 0 for side in ("a", "b")]
    names = [pl.when(even).then(pl.lit("even")).otherwise(pl.lit("odd")) for even in is_even]
    return frame.with_columns(group_a=names[0], group_b=names[1])


def test_groups_get_their_rates_at_one_threshold_for_all(tmp_path: Path) -> None:
    frame = with_groups(table(attempts=20))
    found = evaluated(frame, tmp_path, fmr_targets=[0.01])
    assert found.differentials is not None
    threshold = found.operating_points[0].threshold
    assert found.differentials.threshold == threshold
    for row in found.differentials.groups:
        genuine = frame.filter(pl.col("is_genuine") & (pl.col("group_a") == row.group))["score"]
        within = frame.filter(
            ~pl.col("is_genuine") & (pl.col("group_a") == row.group) & (pl.col("group_b") == row.group)
        )
        assert row.fnmr.numerator == (genuine < threshold).sum()
        assert row.fmr is not None
        assert row.fmr.numerator == (within["score"] >= threshold).sum()
    assert evaluated(table(), tmp_path).differentials is None


def test_a_subject_in_two_groups_is_said_and_gives_no_rates_by_group(tmp_path: Path) -> None:
    frame = with_groups(table(attempts=20)).with_columns(group_b=pl.lit("odd"))
    found = evaluated(frame, tmp_path, fmr_targets=[0.01])
    assert found.differentials is None
    assert any("in several groups" in warning for warning in found.warnings)
    unnamed = evaluated(frame.drop("subject_a", "subject_b"), tmp_path, fmr_targets=[0.01])
    assert any("need subjects" in warning for warning in unnamed.warnings)


def test_without_a_terminal_each_later_step_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table().write_parquet(tmp_path / "scores.parquet")
    assert "curve" not in cvq(tmp_path / "scores.parquet").stderr
    monkeypatch.setattr(cli_scores, "SECONDS_UNSAID", -1.0)
    lines = cvq(tmp_path / "scores.parquet").stderr.splitlines()
    assert [line.partition(", ")[2] for line in lines if line.startswith("0 s")][-2:] == [
        "scores: groups",
        "scores: extrapolation",
    ]


def test_scores_of_trials_give_their_rates_and_costs_in_one_command(tmp_path: Path) -> None:
    rows = comparisons()
    trials = write(tmp_path, "trials.txt", "".join(f"{int(row.is_genuine)} {row.a} {row.b}\n" for row in rows))
    scores = write(tmp_path, "scores.txt", "".join(f"{row.a} {row.b} {row.score}\n" for row in rows))
    arguments = (scores, "--trials", trials, "--dcf", "0.05", "--dcf", "0.01,10,1", "--json")
    document = json.loads(cvq(*arguments).stdout)
    genuine, impostor = ([row.score for row in rows if row.is_genuine is truth] for truth in (True, False))
    expected = [min_dcf(genuine, impostor, weights=weights) for weights in (CostWeights(0.05), CostWeights(0.01, 10))]
    assert [found["value"] for found in document["min_dcf"]] == [found.value for found in expected]
    assert document["min_dcf"][1]["weights"] == {"p_target": 0.01, "c_miss": 10.0, "c_fa": 1.0}
    assert (document["n_genuine"], document["n_impostor"], document["n_subjects"]) == (60, 240, 12)
    done = cvq(*arguments[:-1])
    assert "scores: taken for scores of trials" in done.stderr
    assert f"note: {scores}: scores joined to the trials by 2 ids" in done.stderr
    shown = done.stdout
    assert f"minDCF {figures(expected[1].value)} at P 0.01, costs 10 and 1" in shown


def test_columns_of_other_names_are_given_or_asked_for_in_options(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", "foo,bar\n" + "".join(f"{r.score},{int(r.is_genuine)}\n" for r in comparisons()))
    refused = cvq(path)
    assert f"{path}: needs a column score" in refused.stderr
    assert "name it: --columns score=NAME" in refused.stderr
    assert "taken for table, --format NAME" in refused.stderr
    assert json.loads(cvq(path, "--columns", "score=foo,is_genuine=bar", "--json").stdout)["n_genuine"] == 60


@pytest.mark.parametrize("text", ["0", "1", "half", "0.05,1", "0.05,0,1", "0.05,1,1,1"])
def test_a_cost_that_is_none_is_refused_by_its_option(tmp_path: Path, text: str) -> None:
    found = cvq(write(tmp_path, "x.txt", "1 0.9\n0 0.1\n"), "--dcf", text)
    assert found.exit_code == 2
    assert "--dcf" in found.stderr


def test_an_eer_is_shown_to_a_hundredth_of_a_point_with_the_convention_of_others(tmp_path: Path) -> None:
    path = write(tmp_path, "x.txt", "1 2\n1 5\n1 5\n1 5\n0 6\n0 2\n0 2\n" + "0 0\n" * 7)
    assert "EER 15 %, 17.5 % where both rates are nearest," in cvq(path, "--polarity", "similarity").stdout


def test_attacks_among_comparisons_give_iapar_by_species_and_a_cost(tmp_path: Path) -> None:
    rows = [
        *((score, "target", "") for score in (5, 6, 7, 8)),
        *((score, "nontarget", "") for score in (1, 2, 3, 6.5)),
        *((score, "spoof", kind) for score, kind in ((0, "print"), (4, "print"), (5.5, "mask"), (7.5, "mask"))),
    ]
    text = "score,key,species\n" + "".join(f"{score},{key},{kind}\n" for score, key, kind in rows)
    path = tmp_path / "sasv.csv"
    path.write_text(text)
    found = evaluate(read_scores(path, polarity="similarity"), threshold=6.0).attacks
    assert found is not None
    assert round(found.a_dcf.value, 6) == 0.666667
    assert (found.frr, found.a_dcf.threshold) == (0.25, 6.0)
    rates = {one.species: (one.iapar.numerator, one.iapar.denominator, one.riapar) for one in found.species}
    assert rates == {"print": (0, 2, 0.25), "mask": (1, 2, 0.75)}
    turned = tmp_path / "distances.csv"
    turned.write_text("distance,key,species\n" + "".join(f"{-score},{key},{kind}\n" for score, key, kind in rows))
    other = evaluate(read_scores(turned), threshold=-6.0).attacks
    assert other is not None
    assert (other.species, other.a_dcf.threshold, other.a_dcf.value) == (found.species, -6.0, found.a_dcf.value)
