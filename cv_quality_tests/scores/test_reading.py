"""Every format gives back the comparisons that were written into it, and says what it set apart."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.errors import ScoreFileError
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import Truth, write, write_every_format

SCORES = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=12).map(tuple)
TRUTHS = st.builds(Truth, genuine=SCORES, impostor=SCORES)


@settings(max_examples=25)
@given(truth=TRUTHS)
def test_every_format_gives_back_exactly_what_was_written(truth: Truth) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, paths in write_every_format(Path(folder), truth).items():
            found = read_scores(paths, sentinel="keep", polarity="similarity")
            assert found.format == name.split()[0]
            assert sorted(found.genuine) == sorted(truth.genuine), name
            assert sorted(found.impostor) == sorted(truth.impostor), name
            assert found.n_excluded() == 0


@settings(max_examples=25)
@given(truth=TRUTHS)
def test_a_distance_is_negated_and_its_thresholds_map_back(truth: Truth) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for paths in write_every_format(Path(folder), truth).values():
            found = read_scores(paths, sentinel="keep", polarity="distance")
            assert sorted(-found.genuine) == sorted(truth.genuine)
            assert sorted(map(found.in_file_units, found.impostor)) == sorted(truth.impostor)


@settings(max_examples=25)
@given(
    n=st.integers(1, 30), at=st.integers(0, 29), blanks=st.integers(0, 3), junk=st.sampled_from(["a b x", "a b x y"])
)
def test_the_broken_line_is_named_with_its_number_in_the_file(n: int, at: int, blanks: int, junk: str) -> None:
    lines = ["\n"] * blanks + [f"a {'a' if i % 2 else 'b'} x {i}\n" for i in range(n)]
    at = blanks + at % n
    lines[at] = junk + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "broken.txt", "".join(lines))
        with pytest.raises(ScoreFileError, match="found") as caught:
            read_scores(path, format="bob4")
        assert (caught.value.file, caught.value.line) == (str(path), at + 1)


def test_broken_lines_can_be_skipped_and_are_kept_with_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "x.txt", "a a p 0.9\na b p\na b p 0.1\na b p zero\na a p 0.8\n")
    found = read_scores(path, on_error="skip")
    assert (found.n_genuine, found.n_impostor) == (2, 1)
    assert found.excluded.select("line", "reason", "text").rows() == [
        (2, "broken_line", "a b p"),
        (4, "broken_line", "zero"),
    ]
    assert "2 broken lines skipped" in found.warnings


def test_nan_in_bobs_files_is_a_failure_to_acquire_and_not_a_comparison(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "x.txt", "1 0.9\n-1 nan\n-1 0.1\n1 NaN\n"))
    assert (found.n_genuine, found.n_impostor) == (1, 1)
    assert found.excluded_by_reason() == {"failure_to_acquire": 2}
    assert found.excluded["is_genuine"].to_list() == [False, True]
    assert "2 of 4 rows have NaN" in found.warnings[0]


def test_nan_in_a_canonical_table_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", "score,is_genuine\n0.9,1\nnan,0\n0.1,0\n")
    with pytest.raises(ScoreFileError, match="found 'NaN'") as caught:
        read_scores(path)
    assert caught.value.line == 3
    assert read_scores(path, on_error="skip").excluded_by_reason() == {"not_a_number": 1}


def test_an_infinite_score_is_a_score(tmp_path: Path) -> None:
    text = "score,is_genuine\n-inf,1\n0.9,1\n0.5,0\n"
    found = read_scores(write(tmp_path, "x.csv", text), polarity="similarity")
    assert sorted(found.genuine) == [-np.inf, 0.9]
    assert not any("infinite" in warning for warning in found.warnings)
    turned = read_scores(write(tmp_path, "y.csv", text), polarity="distance")
    assert any("1 score of infinite likeness" in warning for warning in turned.warnings)


def test_several_complete_files_are_pooled_in_their_order(tmp_path: Path) -> None:
    first = write(tmp_path, "a.txt", "1 0.9\n0 0.2\n")
    second = write(tmp_path, "b.csv", "score,is_genuine,subject_a,subject_b\n0.8,1,ann,ann\n0.1,0,ann,bob\n")
    found = read_scores([first, second])
    assert found.format == "two-column + table"
    assert found.genuine.tolist() == [0.9, 0.8]
    assert found.rows["subject_a"].to_list() == [None, None, "ann", "ann"]
    assert not found.has_subjects
    with pytest.raises(ScoreFileError, match="do not name both subjects"):
        found.subject_codes()


def test_subject_codes_are_the_same_on_either_side(tmp_path: Path) -> None:
    text = "score,is_genuine,subject_a,subject_b\n1,0,cyd,ann\n2,1,bob,bob\n3,0,ann,cyd\n"
    codes = read_scores(write(tmp_path, "x.csv", text)).subject_codes()
    assert codes.names == ("ann", "bob", "cyd")
    assert (codes.a.tolist(), codes.b.tolist()) == ([2, 1, 0], [0, 1, 2])


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "x.txt", "1 0.9\n0 0.1\n")
    with pytest.raises(ScoreFileError, match="named twice"):
        read_scores([path, path])


def test_one_class_alone_is_read_and_said(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "x_true.txt", "0.9\n0.8\n"))
    assert (found.n_genuine, found.n_impostor) == (2, 0)
    assert any("do not hold both classes" in warning for warning in found.warnings)


def test_a_declared_format_overrules_detection_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "x_true.txt", "a b 0.9\na c 0.8\n")
    assert read_scores(path, format="list").genuine.tolist() == [0.9, 0.8]
    with pytest.raises(ScoreFileError, match=r"no format 'lists'.*did you mean list"):
        read_scores(path, format="lists")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"polarity": "upwards"}, "polarity is one of"),
        ({"on_error": "ignore"}, 'on_error is "raise" or "skip"'),
        ({"sentinel": "none"}, 'sentinel is "detect"'),
        ({"sentinel": float("nan")}, "finite number"),
    ],
)
def test_an_argument_out_of_its_range_is_refused(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    path = write(tmp_path, "x.txt", "1 0.9\n0 0.1\n")
    with pytest.raises(ScoreFileError, match=message):
        read_scores(path, **arguments)  # type: ignore[arg-type]


def test_a_pair_that_stands_twice_is_counted_aloud_and_kept(tmp_path: Path) -> None:
    rows = [f"{i / 10},0,s{i},t{i},p{i}" for i in range(9)] + ["0.9,1,ann,ann,p", "0.7,1,ann,ann,p"]
    text = "score,is_genuine,subject_a,subject_b,sample_b\n" + "\n".join(rows)
    found = read_scores(write(tmp_path, "x.csv", text))
    assert found.n_genuine == 2
    assert any("1 row repeat a pair of samples" in warning for warning in found.warnings)


def test_equal_scores_of_a_pair_are_duplicates_only_beyond_chance(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({"subject_a": rng.choice(list("abcd"), 2000), "subject_b": rng.choice(list("abcd"), 2000)})
    frame = frame.with_columns((pl.col("subject_a") == pl.col("subject_b")).alias("is_genuine"))
    frame.with_columns(pl.Series("score", rng.integers(0, 50, 2000))).write_csv(tmp_path / "whole.csv")
    assert not any("repeat" in warning for warning in read_scores(tmp_path / "whole.csv").warnings)
    once = frame.with_columns(pl.Series("score", rng.normal(size=2000)))
    pl.concat([once, once.head(20)]).write_csv(tmp_path / "some_twice.csv")
    assert any("20 rows repeat" in warning for warning in read_scores(tmp_path / "some_twice.csv").warnings)


def test_files_named_by_class_need_no_telling_names_but_may_not_hold_both(tmp_path: Path) -> None:
    ours, others = write(tmp_path, "a.txt", "0.9\n0.8\n"), write(tmp_path, "b.txt", "0.1\n")
    found = read_scores(genuine=ours, impostor=[others])
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([0.9, 0.8], [0.1])
    both = write(tmp_path, "c.txt", "1 0.9\n0 0.1\n")
    with pytest.raises(ScoreFileError, match="holds both classes"):
        read_scores(genuine=both)
