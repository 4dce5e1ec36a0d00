"""The page of score files: its numbers are the evaluation's, it names nobody, and it says no more than is known."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.reports import evaluation_charts as drawn
from cv_quality.reports import evaluation_finding as finding
from cv_quality.reports.drawing import Chart
from cv_quality.reports.evaluation_page import read_content, set_names, short_names
from cv_quality.scores.evaluation import evaluate
from cv_quality.scores.reading import read_scores
from cv_quality.scores.score_set import ScoreSet
from cv_quality.text import figures
from cv_quality_tests.reports.score_pages import (
    SUBJECT,
    Case,
    Text,
    evaluated,
    full_page,
    page,
    page_of_two,
    table,
    words,
)

HOSTILE = "<script>alert(1)</script>&\"'"


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return full_page(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return page_of_two(tmp_path_factory.mktemp("pair"))


def charted(chart: Chart) -> list[dict[str, Any]]:
    """All rows that a chart draws, once each."""
    datasets = chart.spec["datasets"].values()
    return [row for rows in datasets for row in rows]


def score_set(genuine: NDArray[np.float64], impostor: NDArray[np.float64]) -> ScoreSet:
    """A set as reading gives it, without a file."""
    labels = [*[True] * len(genuine), *[False] * len(impostor)]
    rows = pl.DataFrame({"score": np.concatenate([genuine, impostor]), "is_genuine": labels})
    return ScoreSet(
        rows, rows.clear(), rows.clear(), ("x",), "table", "verification", "similarity", "declared", None, (), ()
    )


def test_every_defined_rate_is_on_the_page_with_its_counts_and_what_they_are_worth(full: Case, pair: Case) -> None:
    n_seen = 0
    for case in (full, pair):
        for _, evaluation in case.evaluated:
            for point in evaluation.operating_points:
                for rate in (point.fmr, point.fnmr):
                    if rate is not None:
                        n_seen += 1
                        assert f'value="{rate.value}"' in case.html
                        assert f"{rate.numerator:,} / {rate.denominator:,}" in case.text
                        assert rate.n_effective is None or f"n effective {figures(rate.n_effective)}" in case.text
            assert f'value="{evaluation.eer.value}"' in case.html
    assert n_seen >= 20


def test_an_undefined_point_has_its_reason_and_no_number(pair: Case) -> None:
    undefined = [point for point in pair.evaluation.operating_points if point.status == "undefined"]
    assert [point.fmr_target for point in undefined] == [1e-4, 1e-5, 1e-6]
    for point in undefined:
        row = re.search(rf"{point.fmr_target:.0e}".replace("-0", "-") + r"</th>(.*?)</tr>", pair.html, re.S)
        assert row is not None
        assert words(row[1]) == f"undefined{point.reason} undefined"


def test_the_finding_gives_the_strictest_firm_target_with_its_interval(full: Case) -> None:
    firm = [point for point in full.evaluation.operating_points if point.status == "ok"][-1]
    assert firm.fnmr is not None
    sentence = finding.sentence(full.evaluation)
    assert sentence.startswith(f"FNMR {100 * (firm.fnmr.value or 0):.3g} % (95 % interval ")
    assert f"at FMR 1e-{-round(np.log10(firm.fmr_target or 1))}" in sentence
    assert sentence.endswith("the scores do not suffice")
    assert f"lab: {sentence}." in full.text


def test_without_subjects_the_finding_says_what_it_assumes(pair: Case) -> None:
    assert "if comparisons are independent" in finding.sentence(pair.evaluation)


def test_a_given_threshold_is_what_the_finding_is_about(pair: Case) -> None:
    sentence = finding.sentence(pair.evaluated[1][1])
    assert sentence.startswith("FNMR ")
    assert "at the threshold −1.25 that was given" in sentence


def test_reversed_scores_are_called_reversed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    table().select("score", "is_genuine").write_csv(path)
    scores = read_scores(path, polarity="distance")
    sentence = finding.sentence(evaluate(scores, replicates=100))
    assert sentence.startswith("the scores look reversed: EER ")
    assert "FNMR" not in sentence


def test_too_few_errors_are_said_in_the_finding(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    pl.DataFrame({"score": [0.1, 0.2, 0.3, 0.8, 0.9, 0.25], "is_genuine": [False] * 3 + [True] * 3}).write_csv(path)
    _, evaluation = evaluated(path)
    assert all(point.status != "ok" for point in evaluation.operating_points)
    assert re.search("do not rely|do not suffice|cannot be told", finding.sentence(evaluation))


def test_a_warning_of_all_sets_stands_once(pair: Case) -> None:
    shared = set(pair.evaluation.warnings) & set(pair.evaluated[1][1].warnings)
    assert shared
    for warning in shared:
        assert pair.text.count(warning) == 1
        assert f"all sets: {warning}." in pair.text


def test_every_warning_and_note_is_on_the_page(full: Case, pair: Case) -> None:
    for case in (full, pair):
        for _, evaluation in case.evaluated:
            for sentence in (*evaluation.warnings, *evaluation.notes):
                assert " ".join(sentence.split()) in case.text


def test_distances_keep_the_units_of_their_files(pair: Case) -> None:
    scores, evaluation = pair.evaluated[1]
    assert evaluation.accept_when == "<="
    bins = drawn.histogram(scores)
    assert bins is not None
    assert bins.low == pytest.approx(-scores.rows["score"].to_numpy().max())
    assert "accepted when score ≤ threshold" in pair.text
    genuine = np.average([item.low for item in bins.genuine], weights=[item.count for item in bins.genuine])
    assert genuine == pytest.approx(-2.5, abs=0.2)


def test_all_sets_share_one_curve_with_bands(pair: Case) -> None:
    content = read_content(pair.evaluated)
    assert content.det is not None
    rows = charted(content.det)
    assert {row["model"] for row in rows} == {"alike", "apart"}
    assert all(row["low"] <= row["fnmr"] <= row["high"] for row in rows if row["low"] is not None)
    assert len(pair.html.split('data-chart="chart-det"')) == 2


def test_a_set_without_an_error_has_a_page_without_a_curve(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    pl.DataFrame({"score": [0.1, 0.2, 0.8, 0.9], "is_genuine": [False, False, True, True]}).write_csv(path)
    case = page([evaluated(path)], tmp_path)
    assert "No curve: it needs errors of both kinds" in case.text


def test_a_set_with_one_score_value_has_a_page(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    pl.DataFrame({"score": [0.5] * 8, "is_genuine": [False, True] * 4}).write_csv(path)
    case = page([evaluated(path)], tmp_path)
    assert "EER 50 %" in case.text
    assert 'id="set-1-scores"' in case.html


def test_infinite_scores_are_counted_and_not_drawn(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("score,is_genuine\n" + "0.9,true\n0.1,false\n0.2,false\n0.7,true\n-inf,true\n" * 8)
    assert "Not drawn: 8 infinite." in page([evaluated(path)], tmp_path).text


def test_without_qualities_one_sentence_stands_for_the_curve(pair: Case, full: Case) -> None:
    sentence = "The files hold no quality values, so error versus reject cannot be drawn."
    assert pair.text.count(sentence) == 2
    assert sentence not in full.text


def test_error_versus_reject_starts_at_the_fnmr_of_the_firm_threshold(full: Case) -> None:
    (view,) = read_content(full.evaluated).sets
    assert view.reject is not None
    point = finding.firm(full.evaluation)
    assert point is not None
    assert point.fnmr is not None
    rows = [row for row in charted(view.reject) if "counts" in row]
    assert rows[0]["fnmr"] == pytest.approx(point.fnmr.value)
    assert rows[-1]["fnmr"] < rows[0]["fnmr"] / 2, "qualities that predict errors lower the FNMR"
    assert len(rows) <= drawn.STEPS_DRAWN


def test_groups_are_shown_with_their_rates_and_the_verdict(full: Case) -> None:
    found = full.evaluation.differentials
    assert found is not None
    for group in found.groups:
        assert f'value="{group.fnmr.value}"' in full.html
        assert group.fmr is not None
        assert f'value="{group.fmr.value}"' in full.html
    assert "25 % worse than all together" in full.text
    assert full.html.count("set-1-groups-fmr") == 2


def test_an_extrapolation_is_marked_as_one(full: Case) -> None:
    beyond = full.evaluation.beyond
    assert beyond is not None
    for point in beyond.points:
        if point.threshold is not None:
            assert f'value="{point.threshold}"' in full.html
    assert "An extrapolation (ISO/IEC 5152), not a count" in full.text
    assert 'id="set-1-tail-shape"' in full.html


def test_no_subject_and_no_path_of_this_machine_is_on_the_page(full: Case, pair: Case) -> None:
    for case in (full, pair):
        assert str(case.path.parent) not in case.html
    assert "enrolled-person" not in full.html


def test_a_subject_that_a_warning_quotes_is_left_out(tmp_path: Path) -> None:
    """A matrix with one failed enrolment: reading it names the column."""
    rng, n = np.random.default_rng(1), 60
    values = rng.normal(0, 1, (n, n)) + 3 * np.eye(n)
    values[:, 7] = -50.0
    path = tmp_path / "matrix.csv"
    names = [SUBJECT.format(code) for code in range(n)]
    lines = [
        ",".join(["", *names]),
        *(",".join([name, *map(str, row)]) for name, row in zip(names, values, strict=True)),
    ]
    path.write_text("\n".join(lines))
    scores, evaluation = evaluated(path)
    assert any(SUBJECT.format(7) in warning for warning in evaluation.warnings)
    case = page([(scores, evaluation)], tmp_path)
    assert "enrolled-person" not in case.html
    assert "failed enrolment" in case.text


def test_text_from_the_files_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    renamed = pl.when(pl.col("group_a") == "north").then(pl.lit(HOSTILE)).otherwise("group_a")
    rows = table().filter(pl.int_range(pl.len()) % 4 == 0)
    rows.with_columns(group_a=renamed, group_b=renamed.alias("group_b")).with_columns(
        group_b=pl.when(pl.col("group_b") == "north").then(pl.lit(HOSTILE)).otherwise("group_b")
    ).write_csv(path)
    case = page([evaluated(path, name=HOSTILE)], tmp_path)
    assert "<script>alert" not in case.html
    assert HOSTILE in case.text
    scripts = Text(case.html).scripts
    assert len([1 for attributes in scripts if "type" not in attributes]) == 1
    assert {attributes.get("type") for attributes in scripts} == {"application/json", None}


def test_the_page_refers_to_nothing_outside_itself(full: Case) -> None:
    head = full.html.partition("<body>")[0]
    assert "default-src 'none'" in head
    assert "unsafe-eval" not in head
    outside = full.html.partition("<script>")[0]
    assert not re.search(r"url\(|@import|https?:", outside)
    assert all(target.startswith(("#", "data:")) for target in re.findall(r'(?:href|src)="([^"]*)"', outside))


def test_the_page_is_small_and_holds_no_single_comparison(full: Case) -> None:
    assert len(full.html) < 1_500_000
    charts = "".join(re.findall(r'<script type="application/json".*?</script>', full.html, re.S))
    evaluation = full.evaluation
    thresholds = {point.threshold for point in evaluation.curve}
    thresholds |= {point.threshold for point in evaluation.operating_points if point.threshold is not None}
    scores = set(full.evaluated[0][0].rows["score"].head(2_000)) - thresholds
    assert not [score for score in scores if repr(score) in charts]


def test_another_process_with_another_hash_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    table().filter(pl.int_range(pl.len()) % 4 == 0).write_csv(tmp_path / "lab.csv")
    code = (
        "import sys; from pathlib import Path\n"
        "from cv_quality.reports.evaluation_page import write_evaluation_report\n"
        "from cv_quality.scores.evaluation import evaluate; from cv_quality.scores.reading import read_scores\n"
        "scores = read_scores(sys.argv[1])\n"
        "write_evaluation_report([(scores, evaluate(scores, replicates=100))], target=Path(sys.argv[2]))"
    )
    written = [tmp_path / "one.html", tmp_path / "other.html"]
    for seed, path in enumerate(written):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", code, str(tmp_path / "lab.csv"), str(path)]
        subprocess.run(command, env=environment, check=True)
    assert written[0].read_bytes() == written[1].read_bytes()


def test_sets_of_one_name_are_told_apart(pair: Case) -> None:
    evaluation = pair.evaluation
    twice = set_names([evaluation, evaluation], short_names(evaluation.files))
    assert len(set(twice)) == 2
    assert all(name.startswith("alike (alike_genuine.txt") for name in twice)


@given(st.lists(st.integers(-300, 300), min_size=2, max_size=60), st.sampled_from([1, 10, 100]))
def test_bins_of_scores_on_a_grid_hold_as_many_values_each(values: list[int], per_unit: int) -> None:
    values = [*values, 1]
    scores = np.array(values) / per_unit
    bins = drawn.histogram(score_set(scores, scores))
    assert bins is not None
    edges = {round(edge * per_unit, 6) for item in bins.genuine for edge in (item.low, item.high)}
    assert all(edge % 1 == 0.5 for edge in edges)
    assert len({round((item.high - item.low) * per_unit, 6) for item in bins.genuine}) == 1
    assert sum(item.count for item in bins.genuine) == len(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80))
def test_every_score_is_drawn_or_counted_as_left_out(values: list[float]) -> None:
    scores = np.array(values)
    bins = drawn.histogram(score_set(scores, -scores))
    if bins is None:
        return
    n_drawn = sum(item.count for item in (*bins.genuine, *bins.impostor))
    assert n_drawn + bins.n_beyond + bins.n_infinite == 2 * len(values)
    assert sum(item.share for item in bins.genuine) <= 1 + 1e-9


def test_one_far_score_does_not_flatten_the_others() -> None:
    rng = np.random.default_rng(0)
    genuine = np.append(rng.normal(1, 0.1, 5_000), 1e9)
    bins = drawn.histogram(score_set(genuine, rng.normal(0, 0.1, 5_000)))
    assert bins is not None
    assert bins.n_beyond == 1
    assert len(bins.genuine) > 10


def test_no_rule_of_a_threshold_crosses_the_name_of_another(full: Case, pair: Case) -> None:
    for _, evaluation in (*full.evaluated, *pair.evaluated):
        marks = drawn.threshold_marks(evaluation, low=-1e9, high=1e9)
        assert len(marks) >= 3
        steps = [(mark["threshold"], mark["line"]) for mark in marks]
        order = sorted(steps, reverse=not marks[0]["is_right"])
        assert [line for _, line in order] == list(range(len(marks)))


def test_twenty_eight_sets_look_different() -> None:
    series = drawn.series([str(index) for index in range(28)])
    assert len({(item.ink, item.dash) for item in series}) == 28


def test_importing_the_page_draws_in_no_heavy_library() -> None:
    heavy = "('altair', 'torch', 'polars', 'vl_convert', 'jinja2', 'numba', 'scipy')"
    code = f"import sys, cv_quality.reports.evaluation_page\nprint([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
