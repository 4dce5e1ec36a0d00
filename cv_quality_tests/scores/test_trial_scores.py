"""Scores joined to a list of trials, as speech and face benchmarks publish the two."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_quality.errors import ScoreFileError
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import Comparison, assert_holds, comparisons, write, write_workbook

ROWS = comparisons()
SHUFFLED = [ROWS[at] for at in np.random.default_rng(1).permutation(len(ROWS))]
Line = Callable[[int, Comparison], str]
NUMBERS = {id(row): at for at, row in enumerate(ROWS)}


def lines(form: Line, rows: list[Comparison] = ROWS, head: str = "") -> str:
    return head + "".join(f"{form(NUMBERS[id(row)], row)}\n" for row in rows)


def label(row: Comparison, yes: str = "1", no: str = "0") -> str:
    return yes if row.is_genuine else no


def target(row: Comparison) -> str:
    return label(row, "target", "nontarget")


def kaldi(path: str) -> str:
    return path.replace("/", "-").removesuffix(".wav")


VOXCELEB = lines(lambda _, row: f"{label(row)} {row.a} {row.b}")
SRE_HEAD = "modelid\tsegmentid\tside\ttargettype\tgender\n"
SRE = lines(
    lambda at, row: f"{at % 12}_m\tx{at // 2}.sph\t{'ab'[at % 2]}\t{target(row)}\t{'mf'[at % 3 // 2]}", head=SRE_HEAD
)
SRE_OLD = lines(lambda at, row: f"{at % 12}_m x{at // 2}:{'ab'[at % 2]} {target(row)}")
IJB = lines(lambda at, row: f"{100 + at % 90} {500 + at} {label(row)}")
CM = lines(lambda at, row: f"LA_{at % 20} E_{at} - {label(row, '-', 'A07')} {label(row, 'bonafide', 'spoof')}")
CM_2021 = lines(lambda at, row: f"LA_{at % 20} E_{at} alaw ita A07 {label(row, 'bonafide', 'spoof')} notrim eval")
CASES: dict[str, tuple[str, str]] = {
    "VoxCeleb, scores alone": (VOXCELEB, lines(lambda _, row: f"{row.score}")),
    "VoxCeleb, ids then score": (VOXCELEB, lines(lambda _, row: f"{row.a} {row.b} {row.score}", SHUFFLED)),
    "VoxSRC, score then ids": (VOXCELEB, lines(lambda _, row: f"{row.score} {row.a} {row.b}", SHUFFLED)),
    "VoxCeleb, ids of Kaldi": (VOXCELEB, lines(lambda _, row: f"{kaldi(row.a)} {kaldi(row.b)} {row.score}", SHUFFLED)),
    "VoxCeleb, CSV": (
        VOXCELEB,
        lines(lambda _, row: f"{row.a},{row.b},{row.score}", SHUFFLED, head="enroll,test,score\n"),
    ),
    "labels in both": (VOXCELEB, lines(lambda _, row: f"{row.a} {row.b} {row.score} {target(row)}", SHUFFLED)),
    "Kaldi": (
        lines(lambda _, row: f"{row.a} {row.b} {target(row)}"),
        lines(lambda _, row: f"{row.a} {row.b} {row.score}", SHUFFLED),
    ),
    "SRE, with a header": (
        SRE,
        lines(
            lambda at, row: f"{at % 12}_m\tx{at // 2}.sph\t{'ab'[at % 2]}\t{row.score}",
            SHUFFLED,
            head="modelid\tsegmentid\tside\tLLR\n",
        ),
    ),
    "SRE, sides joined to segments in the scores": (
        SRE,
        lines(lambda at, row: f"{at % 12}_m x{at // 2}.sph:{'ab'[at % 2]} {row.score}", SHUFFLED),
    ),
    "SRE, sides joined to segments in the trials": (
        SRE_OLD,
        lines(lambda at, row: f"{at % 12}_m x{at // 2} {'ab'[at % 2]} {row.score}", SHUFFLED),
    ),
    "IJB, scores alone": (IJB, lines(lambda _, row: f"{row.score}")),
    "IJB, templates and score": (IJB, lines(lambda at, row: f"{100 + at % 90} {500 + at} {row.score}", SHUFFLED)),
    "ASVspoof CM": (CM, lines(lambda at, row: f"E_{at} {row.score}", SHUFFLED)),
    "ASVspoof 2021": (CM_2021, lines(lambda at, row: f"E_{at} {row.score}", SHUFFLED)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_score_finds_the_label_of_its_trial(tmp_path: Path, name: str) -> None:
    trials, scores = CASES[name]
    found = read_scores(write(tmp_path, "s.txt", scores), trials=write(tmp_path, "t.txt", trials))
    assert found.format == "scores of trials"
    assert found.n_excluded() == 0
    assert_holds(found, ROWS)


@pytest.mark.parametrize("head", ["10\t300\n", "500\n", ""])
@pytest.mark.parametrize("named", [True, False])
def test_lfw_pairs_take_scores_in_order_or_by_file(tmp_path: Path, head: str, *, named: bool) -> None:
    rows = [*(row for row in ROWS if row.is_genuine), *(row for row in ROWS if not row.is_genuine)]
    name = "P_{}".format
    pairs = [
        f"{name(row.a[2:5])}\t{at % 5 + 1}\t{'' if row.is_genuine else name(row.b[2:5]) + chr(9)}{at + 7}"
        for at, row in enumerate(rows)
    ]
    files = [
        " ".join(f"{who}/{who}_{n:04d}.jpg" for who, n in ((name(row.a[2:5]), at % 5 + 1), (name(row.b[2:5]), at + 7)))
        + " "
        for at, row in enumerate(rows)
    ]
    scores = "".join(f"{file if named else ''}{row.score}\n" for file, row in zip(files, rows, strict=True))
    trials = write(tmp_path, "pairs.txt", head + "\n".join(pairs))
    found = read_scores(write(tmp_path, "s.txt", scores), trials=trials)
    assert_holds(found, ROWS)
    assert len(found.subject_codes().names) == 12


def test_scores_in_an_array_stand_in_the_order_of_the_trials(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([row.score for row in ROWS]))
    assert_holds(read_scores(tmp_path / "s.npy", trials=write(tmp_path, "t.txt", VOXCELEB)), ROWS)


def test_spoofed_trials_of_a_protocol_are_kept_apart(tmp_path: Path) -> None:
    trials = lines(lambda at, row: f"s{at % 9} E_{at} bonafide {target(row)}") + "s1 E_x A07 spoof\ns2 E_y A08 spoof\n"
    scores = lines(lambda at, row: f"s{at % 9} E_{at} {row.score}", SHUFFLED) + "s1 E_x 0.6\ns2 E_y 0.4\n"
    found = read_scores(write(tmp_path, "s.txt", scores), trials=write(tmp_path, "t.txt", trials))
    assert_holds(found, ROWS)
    assert found.attacks.select("score", "species").sort("score").rows() == [(0.4, "A08"), (0.6, "A07")]


def test_the_subjects_of_trials_are_those_that_their_labels_prove(tmp_path: Path) -> None:
    scores = write(tmp_path, "s.txt", lines(lambda _, row: f"{row.score}"))
    assert len(read_scores(scores, trials=write(tmp_path, "t.txt", VOXCELEB)).subject_codes().names) == 12


def test_a_trial_that_stands_twice_takes_its_own_score_each_time(tmp_path: Path) -> None:
    trials = write(tmp_path, "t.txt", "1 a b\n0 a c\n1 a b\n0 b c\n")
    found = read_scores(write(tmp_path, "s.txt", "a b 0.91\nb c 0.2\na c 0.1\na b 0.81\n"), trials=trials)
    assert sorted(found.genuine) == [0.81, 0.91]
    once = read_scores(write(tmp_path, "o.txt", "a b 0.91\nb c 0.2\na c 0.1\n"), trials=trials)
    assert (once.genuine.tolist(), sorted(once.impostor)) == ([0.91, 0.91], [0.1, 0.2])


def test_a_trial_without_a_score_and_a_score_without_a_trial_are_refused_or_set_apart(tmp_path: Path) -> None:
    trials = write(tmp_path, "t.txt", VOXCELEB)
    known = lines(lambda _, row: f"{row.a} {row.b} {row.score}")
    short = write(tmp_path, "short.txt", known.split("\n", 1)[1])
    with pytest.raises(ScoreFileError, match=rf"expected a score in {short} for every trial, found 'id000") as caught:
        read_scores(short, trials=trials)
    assert (caught.value.file, caught.value.line) == (str(trials), 1)
    long = write(tmp_path, "long.txt", known + "x y 0.5\n")
    with pytest.raises(ScoreFileError, match=f"expected a trial in {trials} for every score, found 'x y'"):
        read_scores(long, trials=trials)
    found = read_scores(long, trials=trials, on_error="skip")
    assert_holds(found, ROWS)
    assert found.excluded.select("line", "text").rows() == [(301, "x y")]


@pytest.mark.parametrize(
    ("trials", "scores", "message"),
    [
        (VOXCELEB, "0.5\n0.4\n", "2 scores without ids for 300 trials"),
        (VOXCELEB, "u1 v1 0.5\nu2 v2 0.4\n", "its ids do not agree with those of .*: here the first are 'u1 v1'"),
        (VOXCELEB, '{"a": 0.5}', "s.txt: is json; expected a table that names score, found no table"),
        ("PAR1PAR1", "0.5\n", "t.txt: is damaged or no Parquet file"),
        (VOXCELEB, "a b c\nd e f\n", "holds no numbers in any column"),
        (lines(lambda _, row: f"{row.a} {row.b}"), "0.5\n", "no column holds labels of both classes.*blind list"),
        (lines(lambda _, row: f"{label(row)} {label(row)} {row.a}"), "0.5\n", "columns 1 and 2 could all be labels"),
        (
            lines(lambda at, row: f"m{at % 7} {at} {label(row)}"),
            lines(lambda at, row: f"m{at % 7} {row.score}"),
            "do not tell its trials apart",
        ),
    ],
)
def test_trials_and_scores_that_do_not_fit_are_refused_by_file(
    tmp_path: Path, trials: str, scores: str, message: str
) -> None:
    with pytest.raises(ScoreFileError, match=message) as caught:
        read_scores(write(tmp_path, "s.txt", scores), trials=write(tmp_path, "t.txt", trials))
    assert str(caught.value).startswith(str(tmp_path))
    assert "(taken for " in str(caught.value)


def test_scores_called_distances_are_turned(tmp_path: Path) -> None:
    scores = lines(lambda _, row: f"{row.a}\t{row.b}\t{1 - row.score:.4f}", head="enrol\ttest\tdistance\n")
    found = read_scores(write(tmp_path, "s.tsv", scores), trials=write(tmp_path, "t.txt", VOXCELEB))
    assert (found.polarity, found.polarity_source) == ("distance", "declared")
    assert found.genuine.mean() > found.impostor.mean()


def write_table(path: Path, kind: str, columns: dict[str, list[str]]) -> Path:
    """A table as a file of a kind."""
    frame = pl.DataFrame(columns)
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "json":
        path.write_text(json.dumps(frame.to_dicts()))
    elif kind == "json lines":
        frame.write_ndjson(path)
    else:
        write_workbook(path, {"S": [["made by us"], list(columns), *map(list, frame.rows())]})
    return path


@pytest.mark.parametrize("kind", ["parquet", "json", "json lines", "workbook"])
def test_trials_and_scores_may_be_tables_of_any_kind(tmp_path: Path, kind: str) -> None:
    of_trials = {"enroll": [row.a for row in ROWS], "test": [row.b for row in ROWS], "label": [*map(label, ROWS)]}
    of_scores = {
        "enroll": [row.a for row in SHUFFLED],
        "test": [row.b for row in SHUFFLED],
        "score": [str(row.score) for row in SHUFFLED],
    }
    trials, scores = (write_table(tmp_path / name, kind, of) for name, of in (("t", of_trials), ("s", of_scores)))
    assert_holds(read_scores(scores, trials=trials), ROWS)
    assert_holds(read_scores(write(tmp_path, "v.txt", CASES["VoxCeleb, ids then score"][1]), trials=trials), ROWS)


def test_names_above_scores_are_passed_over_whatever_they_are(tmp_path: Path) -> None:
    scores = lines(lambda at, row: f"E_{at}\t{row.score}", SHUFFLED, head="filename\tcountermeasure\n")
    assert_holds(read_scores(write(tmp_path, "s.tsv", scores), trials=write(tmp_path, "t.txt", CM)), ROWS)


def test_ids_with_spaces_are_split_where_their_quotes_say(tmp_path: Path) -> None:
    trials = lines(lambda at, row: f'"my file {at}","other {at}",{label(row)}')
    scores = lines(lambda at, row: f'"my file {at}","other {at}",{row.score}', SHUFFLED)
    assert_holds(read_scores(write(tmp_path, "s.csv", scores), trials=write(tmp_path, "t.csv", trials)), ROWS)
