"""Columns by the names that other tools give: what they mean, which way scores point, and when the caller is asked."""

from pathlib import Path

import polars as pl
import pytest

from cv_quality.errors import ScoreFileError
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import assert_holds, comparisons, write

ROWS = comparisons()


def table(tmp_path: Path, header: str, yes: str = "1", no: str = "0", *, is_turned: bool = False) -> Path:
    """A table of label and score under two names, in either order of the header."""
    first = header.split(",")[-1] in ("score", "similarity", "distance", "attack_score", "sim", "LLR")
    cells = [(yes if row.is_genuine else no, 1 - row.score if is_turned else row.score) for row in ROWS]
    body = [f"{truth},{score:.4f}" if first else f"{score:.4f},{truth}" for truth, score in cells]
    return write(tmp_path, "x.csv", "\n".join([header, *body]) + "\n")


@pytest.mark.parametrize("name", ["label", "target", "genuine", "is_same", "issame", "ground_truth", "Key", "y_true"])
@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("True", "False"), ("target", "nontarget"), ("Yes", "No")])
def test_labels_are_found_under_the_names_of_other_tools(tmp_path: Path, name: str, yes: str, no: str) -> None:
    assert_holds(read_scores(table(tmp_path, f"{name},score", yes, no)), ROWS)


@pytest.mark.parametrize("name", ["similarity", "sim", "LLR"])
def test_names_of_similarities_declare_that_higher_is_more_alike(tmp_path: Path, name: str) -> None:
    found = read_scores(table(tmp_path, f"label,{name}"))
    assert (found.polarity, found.polarity_source) == ("similarity", "declared")
    assert any(f"took label for is_genuine, {name} for score" in note for note in found.notes)
    assert_holds(found, ROWS)


def test_a_distance_is_turned_by_its_name_however_few_rows_there_are(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "x.csv", "file_x,file_y,same,distance\na,b,1,0.2\na,c,0,0.9\n"))
    assert (found.polarity, found.polarity_source, found.genuine.tolist()) == ("distance", "declared", [-0.2])
    turned = read_scores(table(tmp_path, "label,distance"))
    assert any("the scores say the reverse" in warning for warning in turned.warnings)


@pytest.mark.parametrize(
    ("header", "yes", "no"),
    [
        ("is_attack,score", "0", "1"),
        ("spoof,score", "no", "yes"),
        ("attack,score", "real", "attack"),
        ("is_attack,score", "genuine", "attack"),
    ],
)
def test_yes_in_a_column_of_attacks_means_not_genuine(tmp_path: Path, header: str, yes: str, no: str) -> None:
    found = read_scores(table(tmp_path, header, yes, no))
    assert found.kind == "liveness"
    assert_holds(found, ROWS)


def test_scores_of_an_attack_are_turned_by_their_name(tmp_path: Path) -> None:
    found = read_scores(table(tmp_path, "is_bonafide,attack_score", is_turned=True))
    assert (found.kind, found.polarity, found.polarity_source) == ("liveness", "attack", "declared")
    assert found.genuine.mean() > found.impostor.mean()


def test_bob_pads_table_is_of_liveness_with_its_attacks(tmp_path: Path) -> None:
    text = (
        "claimed_id,test_label,is_bonafide,attack_type,score\n1,a,True,,0.9\n1,b,False,print,0.2\n2,c,False,mask,nan\n"
    )
    found = read_scores(write(tmp_path, "x.csv", text))
    assert (found.kind, found.genuine.tolist(), found.impostor.tolist()) == ("liveness", [0.9], [0.2])
    assert found.rows["species"].to_list() == [None, "print"]
    assert found.excluded_by_reason() == {"failure_to_acquire": 1}


def test_only_a_column_that_holds_labels_is_taken_for_one(tmp_path: Path) -> None:
    text = "score,label,target\n0.9,1,t7\n0.1,0,t8\n"
    found = read_scores(write(tmp_path, "x.csv", text))
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([0.9], [0.1])
    assert any("1 further column not read (target)" in note for note in found.notes)


def test_a_decision_that_follows_from_the_scores_is_no_truth(tmp_path: Path) -> None:
    decided = "score,decision\n" + "".join(f"{row.score},{int(row.score > 0.5)}\n" for row in ROWS)
    path = write(tmp_path, "x.csv", decided)
    with pytest.raises(ScoreFileError, match="column decision follows from a threshold of the scores"):
        read_scores(path)
    assert read_scores(path, columns="is_genuine=decision").n_genuine > 0
    assert_holds(read_scores(table(tmp_path, "Decision,similarity", "Yes", "No")), ROWS)


def test_the_caller_names_columns_that_are_called_otherwise(tmp_path: Path) -> None:
    path = table(tmp_path, "foo,bar")
    with pytest.raises(ScoreFileError, match=r"needs a column score, found 'foo', 'bar'.*columns=\"score=NAME\""):
        read_scores(path)
    assert_holds(read_scores(path, columns="score=foo,is_genuine=bar"), ROWS)
    with pytest.raises(ScoreFileError, match="there is no column 'fo' for score; the columns are 'foo', 'bar'"):
        read_scores(path, columns="score=fo,is_genuine=bar")
    with pytest.raises(ScoreFileError, match="expected MEANING=NAME"):
        read_scores(path, columns="score")


def test_the_callers_names_overrule_those_of_the_file(tmp_path: Path) -> None:
    text = "score,raw,label\n" + "".join(f"0.5,{row.score},{int(row.is_genuine)}\n" for row in ROWS)
    assert_holds(read_scores(write(tmp_path, "x.csv", text), columns="score=raw"), ROWS)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_the_index_of_pandas_is_no_identity_of_a_matrix(tmp_path: Path, separator: str) -> None:
    head = separator.join(["", "label", "similarity"])
    body = "".join(
        separator.join([str(at), str(int(row.is_genuine)), str(row.score)]) + "\n" for at, row in enumerate(ROWS)
    )
    assert_holds(read_scores(write(tmp_path, "x.csv", f"{head}\n{body}")), ROWS)
    with pytest.raises(ScoreFileError, match="needs a column score, found 'foo', 'bar'"):
        read_scores(write(tmp_path, "y.csv", f"{separator}foo{separator}bar\n{body}"))


def test_parquet_is_read_under_the_same_names(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "__index_level_0__": range(len(ROWS)),
            "distance": [1 - row.score for row in ROWS],
            "label": [row.is_genuine for row in ROWS],
        }
    )
    frame.write_parquet(tmp_path / "x.parquet")
    found = read_scores(tmp_path / "x.parquet")
    assert (found.polarity, found.n_genuine, found.n_impostor) == ("distance", 60, 240)
    frame.rename({"distance": "d", "label": "l"}).write_parquet(tmp_path / "y.parquet")
    named = read_scores(tmp_path / "y.parquet", columns="score=d,is_genuine=l", polarity="distance")
    assert named.rows.equals(found.rows)
