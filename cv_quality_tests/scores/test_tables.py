"""Tables with named columns: canonical CSV and Parquet, bob's CSV, and everything that can be wrong with a header."""

from pathlib import Path

import polars as pl
import pytest

from cv_quality.errors import ScoreFileError
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import write


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_line_ends_and_byte_order_marks_do_not_matter(
    tmp_path: Path, separator: str, ending: str, mark: str
) -> None:
    lines = [("Subject_A", "SCORE", "is_genuine"), ("ann", "0.9", "true"), ("bob", "0.1", "FALSE")]
    text = mark + "".join(separator.join(line) + ending for line in lines)
    found = read_scores(write(tmp_path, "x.dat", text))
    assert found.rows.rows() == [(0.9, True, "ann"), (0.1, False, "bob")]


@pytest.mark.parametrize(("yes", "no"), [("true", "false"), ("1", "0"), ("genuine", "impostor"), ("1.0", "-1e0")])
def test_truth_is_understood_in_the_words_of_the_field(tmp_path: Path, yes: str, no: str) -> None:
    found = read_scores(write(tmp_path, "x.csv", f"score,is_genuine\n0.9,{yes}\n0.1,{no}\n"))
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([0.9], [0.1])


def test_quotes_may_hold_separators_and_quotes(tmp_path: Path) -> None:
    text = '"score","is_genuine","subject_a"\n0.9,"TRUE","Doe, Ann"\n0.1,FALSE,"the ""b"""\n0.2,FALSE,cyd\n'
    found = read_scores(write(tmp_path, "x.csv", text))
    assert found.rows["subject_a"].to_list() == ["Doe, Ann", 'the "b"', "cyd"]


def test_a_quote_that_is_not_closed_is_refused_at_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", 'score,is_genuine,subject_a\n0.9,1,"a\n0.8,1,b\n0.7,0,c"\n0.1,0,d"\n')
    with pytest.raises(ScoreFileError, match="expected 3 fields") as caught:
        read_scores(path)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("scoer,is_genuine", "needs a column score.*did you mean scoer"),
        ("score,is_genuin", "needs a column is_genuine.*did you mean is_genuin"),
        ("similarity,distance,label", "2 columns could mean score: similarity, distance; say which"),
        ("score,label,target", "2 columns could mean is_genuine: label, target; say which"),
        ("score,is_genuine,Score", "two columns mean score: score and Score"),
    ],
)
def test_header_that_lacks_or_repeats_a_column_is_refused_with_the_near_name(
    tmp_path: Path, header: str, message: str
) -> None:
    path = write(
        tmp_path, "x.csv", f"{header}\n" + "".join(",".join([bit] * (header.count(",") + 1)) + "\n" for bit in "10")
    )
    with pytest.raises(ScoreFileError, match=message):
        read_scores(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("abc,1", "expected a number as score, found 'abc'"),
        (",1", "expected a number as score, found ''"),
        ("0.5,maybe", "expected a label.*found 'maybe'"),
        ("0.5", "expected 2 fields"),
        ("0.5,1,2", "expected 2 fields"),
        ("0.5,", "expected a label"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, "x.csv", f"score,is_genuine\n0.9,1\n\n{line}\n0.1,0\n")
    with pytest.raises(ScoreFileError, match=message) as caught:
        read_scores(path)
    assert caught.value.line == 4
    found = read_scores(path, on_error="skip")
    assert (found.n_genuine, found.n_impostor) == (1, 1)
    assert found.excluded["line"].to_list() == [4]


def test_further_columns_and_empty_lines_are_passed_over_and_said(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "x.csv", "score,when,is_genuine,\n\n0.9,noon,1,\n0.1,noon,0,\n"))
    assert found.rows.columns == ["score", "is_genuine"]
    assert any("2 further columns not read" in note for note in found.notes)
    assert any("1 empty line passed over" in note for note in found.notes)


def test_truth_that_contradicts_the_identities_counts_and_is_said(tmp_path: Path) -> None:
    text = "score,is_genuine,subject_a,subject_b\n0.9,1,ann,ann\n0.8,1,ann,bob\n0.1,0,ann,cyd\n"
    found = read_scores(write(tmp_path, "x.csv", text))
    assert found.n_genuine == 2
    assert any("in 1 row is_genuine contradicts" in warning for warning in found.warnings)


def test_groups_are_columns_only_where_a_file_has_them(tmp_path: Path) -> None:
    text = "score,is_genuine,group_a,group_b,subject_a\n0.9,1,f,f,\n0.1,0,f,m,\n"
    found = read_scores(write(tmp_path, "x.csv", text))
    assert found.rows.select("group_a", "group_b").rows() == [("f", "f"), ("f", "m")]
    assert found.rows.columns == ["score", "is_genuine", "group_a", "group_b"]


def test_bobs_table_makes_equal_identities_genuine_and_keeps_attacks_apart(tmp_path: Path) -> None:
    text = (
        "bio_ref_subject_id,probe_subject_id,probe_key,probe_attack_type,score\r\n"
        "x,x,1,,7\r\nx,y,2,,3\r\nx,x,3,mask,5\r\nx,y,4,,nan\r\n"
    )
    found = read_scores(write(tmp_path, "x.csv", text))
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([7.0], [3.0])
    assert found.attacks.select("score", "species").rows() == [(5.0, "mask")]
    assert found.excluded_by_reason() == {"failure_to_acquire": 1}
    assert found.kind == "verification"


def test_set_whose_other_rows_are_all_attacks_is_one_of_liveness(tmp_path: Path) -> None:
    text = "score,is_genuine,species\n0.9,1,bona_fide\n0.8,1,\n0.3,0,mask\n0.2,0,print\n"
    found = read_scores(write(tmp_path, "x.csv", text))
    assert found.kind == "liveness"
    assert found.rows["species"].to_list() == [None, None, "mask", "print"]
    torn = write(tmp_path, "y.csv", text + "0.1,1,mask\n")
    with pytest.raises(ScoreFileError, match="no attack species in a genuine row"):
        read_scores(torn)


@pytest.mark.parametrize("kind", [pl.Float32, pl.Float64, pl.Int16])
def test_parquet_keeps_float32_and_widens_everything_else(tmp_path: Path, kind: type[pl.DataType]) -> None:
    frame = pl.DataFrame({"score": pl.Series([3, 1], dtype=kind), "is_genuine": [True, False], "other": [[1], [2]]})
    frame.write_parquet(tmp_path / "x.parquet")
    found = read_scores(tmp_path / "x.parquet", polarity="distance")
    assert found.rows["score"].dtype == (pl.Float32 if kind == pl.Float32 else pl.Float64)
    assert found.genuine.tolist() == [-3]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"score": ["0.9"], "is_genuine": [True]}), "column score is String"),
        (pl.DataFrame({"score": [0.9], "is_genuine": [[True]]}), "column is_genuine is List"),
        (pl.DataFrame({"score": [0.9, None], "is_genuine": [True, False]}), "row 2: expected a number as score"),
        (pl.DataFrame({"score": [0.9, float("nan")], "is_genuine": [True, False]}), "row 2: .*found 'NaN'"),
        (pl.DataFrame({"score": [0.9, 0.1], "is_genuine": [True, None]}), "row 2: expected a label"),
        (pl.DataFrame({"skore": [0.9], "is_genuine": [True]}), "did you mean skore"),
        (
            pl.DataFrame({"score": [], "is_genuine": []}, schema={"score": pl.Float64, "is_genuine": pl.Boolean}),
            "no rows",
        ),
    ],
)
def test_a_parquet_file_that_is_no_table_of_scores_is_refused(
    tmp_path: Path, frame: pl.DataFrame, message: str
) -> None:
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ScoreFileError, match=message):
        read_scores(tmp_path / "x.parquet")
