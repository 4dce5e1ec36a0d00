"""Lists of a label, a score and ids in any order: what the columns mean is proven on the lines, or asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cv_quality.errors import ScoreFileError
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import Comparison, assert_holds, comparisons, write

ROWS = comparisons()
Line = Callable[[int, Comparison], str]


def label(row: Comparison, yes: str = "1", no: str = "0") -> str:
    return yes if row.is_genuine else no


def person(path: str) -> int:
    return int(path[2:5])


def lines(form: Line) -> str:
    return "".join(f"{form(number, row)}\n" for number, row in enumerate(ROWS))


LISTS: dict[str, Line] = {
    "VoxCeleb": lambda _, row: f"{label(row)} {row.a} {row.b} {row.score}",
    "VoxCeleb, -1 and tabs": lambda _, row: f"{label(row, '1', '-1')}\t{row.a}\t{row.b}\t{row.score}",
    "IJB": lambda at, row: f"{100 + at % 90} {500 + at} {label(row)} {row.score}",
    "wespeaker": lambda _, row: f"{row.a} {row.b} {row.score} {label(row, 'target', 'nontarget')}",
    "score first": lambda _, row: f"{row.score},{label(row, 'True', 'False')},{row.a},{row.b}",
    "one id": lambda at, row: f"u{at};{row.score};{label(row, 'yes', 'no')}",
    "numbered": lambda at, row: f"{at},{row.score},{label(row)}",
    "numeric ids, label first": lambda _, row: f"{label(row)} {person(row.a)} {person(row.b)} {row.score}",
    "numeric ids, label last": lambda _, row: f"{person(row.a)} {person(row.b)} {row.score} {label(row)}",
    "numeric ids that never repeat": lambda at, row: f"{label(row)} {person(row.a)} {1000 + at} {row.score}",
    "numbered numeric ids": lambda at, row: f"{at} {label(row)} {person(row.a)} {person(row.b)} {row.score}",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_with_labels_gives_every_comparison_its_truth(tmp_path: Path, name: str) -> None:
    found = read_scores(write(tmp_path, "x.txt", lines(LISTS[name])))
    assert found.format == "labelled"
    assert_holds(found, ROWS)


def test_ids_name_the_subjects_only_where_the_labels_prove_it(tmp_path: Path) -> None:
    by_folder = read_scores(write(tmp_path, "a.txt", lines(LISTS["VoxCeleb"])))
    whole = read_scores(write(tmp_path, "b.txt", lines(LISTS["numeric ids, label first"])))
    assert by_folder.subject_codes().names == tuple(f"id{number:03d}" for number in range(12))
    assert len(whole.subject_codes().names) == 12
    assert not read_scores(write(tmp_path, "c.txt", lines(LISTS["IJB"]))).has_subjects
    swapped = lines(LISTS["VoxCeleb"]).replace("0 id001/s1/001.wav", "1 id001/s1/001.wav")
    assert not read_scores(write(tmp_path, "d.txt", swapped)).has_subjects


def test_whole_scores_are_told_from_whole_ids_or_asked_for(tmp_path: Path) -> None:
    ours = write(tmp_path, "a.txt", lines(lambda _, r: f"{label(r)} {person(r.a)} {person(r.b)} {int(r.score * 1e4)}"))
    assert sorted(read_scores(ours).genuine) == sorted(int(row.score * 1e4) for row in ROWS if row.is_genuine)
    either = write(tmp_path, "b.txt", lines(lambda at, row: f"{label(row)} {person(row.a)} {1000 + at}"))
    with pytest.raises(ScoreFileError, match=r"columns 2 and 3 hold whole numbers.*columns=\"score=3,is_genuine=1\""):
        read_scores(either)


def test_trials_without_scores_are_told_from_scores(tmp_path: Path) -> None:
    numeric = write(tmp_path, "a.txt", lines(lambda _, row: f"{label(row)} {person(row.a)} {person(row.b)}"))
    words = write(tmp_path, "b.txt", lines(lambda _, row: f"{row.a} {row.b} {label(row, 'target', 'nontarget')}"))
    for path in (numeric, words):
        with pytest.raises(ScoreFileError, match=r'a list of trials\? give it as trials="FILE" beside the scores'):
            read_scores(path)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda _, row: f"{row.a} {row.b} {row.score}", 'nothing says which pairs are genuine.*trials="FILE"'),
        (lambda at, row: f"{row.a} {row.b} x{at} {row.score}", "none of which holds labels of both classes"),
        (lambda at, row: f"u{at} {row.score}", "two columns, and none holds labels"),
        (lambda _, row: f"{label(row)} {row.a} {row.b} 0.5", "none that could hold scores"),
        (
            lambda _, row: f"{label(row)} {row.a} {row.b} {row.score} {row.score / 2}",
            "columns 4 and 5 could all be scores",
        ),
        (lambda _, row: f"{label(row)} {label(row)} {row.a} {row.score}", "columns 1 and 2 could all be labels"),
        (
            lambda _, row: f"{label(row, '1', '2')} {person(row.a)} {person(row.b)} {row.score}",
            "a probe has several identities and there are two models",
        ),
        (lambda at, row: f"{at % 2} {at // 2 % 2} p{at // 2 % 2}_{at} {row.score}", 'or declare format="bob4"'),
    ],
)
def test_columns_of_two_readings_or_of_none_are_asked_for(tmp_path: Path, form: Line, message: str) -> None:
    path = write(tmp_path, "x.txt", lines(form))
    with pytest.raises(ScoreFileError, match=message) as caught:
        read_scores(path)
    assert str(path) in str(caught.value)
    assert "(taken for " in str(caught.value)


def test_columns_can_be_named_by_their_numbers(tmp_path: Path) -> None:
    text = lines(lambda _, row: f"{label(row)} {label(row)} {row.a} {row.score} {row.score / 2}")
    path = write(tmp_path, "x.txt", text)
    assert_holds(read_scores(path, columns="score=4,is_genuine=1"), ROWS)
    assert_holds(read_scores(path, columns={"score": "4", "is_genuine": "2", "sample_a": "3"}), ROWS)
    with pytest.raises(ScoreFileError, match="there is no column '9' for score"):
        read_scores(path, columns="score=9,is_genuine=1")
    with pytest.raises(ScoreFileError, match=r"cannot mean 'scores'.*did you mean score"):
        read_scores(path, columns="scores=4")


def test_identities_in_two_columns_are_labels_where_the_caller_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "x.txt", lines(lambda _, row: f"{row.a[:5]} {row.b[:5]} {row.score}"))
    assert_holds(read_scores(path, columns="subject_a=1,subject_b=2,score=3"), ROWS)


def test_bob_s_four_columns_stay_bobs_with_numeric_ids_and_scores_of_0_and_1(tmp_path: Path) -> None:
    numeric = write(tmp_path, "a.txt", lines(lambda at, row: f"{person(row.a)} {person(row.b)} {at} {row.score}"))
    found = read_scores(numeric)
    assert found.format == "bob4"
    assert_holds(found, ROWS)
    binary = lines(lambda at, row: f"{person(row.a)} {person(row.b)} p{at} {int(row.score > 0.5)}")
    assert read_scores(write(tmp_path, "b.txt", binary)).format == "bob4"


def test_a_broken_line_of_a_list_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    text = lines(LISTS["VoxCeleb"]).splitlines()
    text[6], text[8] = text[6].rsplit(" ", 1)[0], text[8].rsplit(" ", 1)[0] + " oops"
    path = write(tmp_path, "x.txt", "\n".join(text))
    with pytest.raises(ScoreFileError, match=r"expected 4 fields \(label, id, id, score\)") as caught:
        read_scores(path)
    assert caught.value.line == 7
    found = read_scores(path, on_error="skip")
    assert found.excluded["line"].to_list() == [7, 9]
    assert_holds(found, [row for at, row in enumerate(ROWS) if at not in (6, 8)])


ASVSPOOF: dict[str, Line] = {
    "CM": lambda at, row: (
        f"LA_E_{at} {label(row, '-', f'A{at % 13 + 7:02d}')} {label(row, 'bonafide', 'spoof')} {row.score}"
    ),
    "CM without attacks": lambda at, row: f"LA_E_{at} {label(row, 'bonafide', 'spoof')} {row.score}",
    "CM protocol": lambda at, row: (
        f"LA_{at % 20:04d} LA_E_{at} - {label(row, '-', 'A07')} {label(row, 'bonafide', 'spoof')} {row.score}"
    ),
}


@pytest.mark.parametrize("name", ASVSPOOF)
def test_countermeasure_scores_of_asvspoof_are_of_liveness_with_their_attacks(tmp_path: Path, name: str) -> None:
    found = read_scores(write(tmp_path, "cm.txt", lines(ASVSPOOF[name])))
    assert found.kind == "liveness"
    assert_holds(found, ROWS)
    has_attacks = name != "CM without attacks"
    assert ("species" in found.rows.columns) == has_attacks
    assert not has_attacks or "A07" in found.rows["species"].to_list()


@pytest.mark.parametrize("none", ["-", "bonafide"])
def test_spoofed_trials_of_asvspoof_count_neither_as_target_nor_nontarget(tmp_path: Path, none: str) -> None:
    text = lines(lambda _, row: f"{none} {label(row, 'target', 'nontarget')} {row.score}")
    found = read_scores(write(tmp_path, "asv.txt", text + "A07 spoof 0.61\nA08 spoof 0.44\n"))
    assert found.kind == "verification"
    assert_holds(found, ROWS)
    assert found.attacks.select("score", "species").rows() == [(0.61, "A07"), (0.44, "A08")]
    assert any("2 presentation attacks (A07 1, A08 1) are kept apart" in note for note in found.notes)


@pytest.mark.parametrize("head", ["", "300\n", "10\t30\n"])
def test_lfw_pairs_with_scores_are_genuine_where_one_name_stands(tmp_path: Path, head: str) -> None:
    text = lines(
        lambda at, row: (
            f"P_{person(row.a)}\t1\t{'' if row.is_genuine else f'P_{person(row.b)}' + chr(9)}{at}\t{row.score}"
        )
    )
    found = read_scores(write(tmp_path, "pairs.txt", head + text))
    assert (found.format, found.has_subjects) == ("lfw", True)
    assert_holds(found, ROWS)
    assert found.rows["sample_b"][0] == "P_0_0000"
