"""Lists, histograms, pairs, matrices, JSON and arrays: what each format can say, and what it cannot."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.errors import ScoreFileError
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import matrix_text, write


@settings(max_examples=30)
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=20).filter(any))
def test_a_histogram_stands_for_as_many_scores_as_its_counts(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("h") / "hist"
    ours = write(folder, "e_true.txt", "7\n8\n")
    others = write(folder, "e_false.txt", "".join(f"{count}\n" for count in counts))
    found = read_scores([ours, others], sentinel="keep", polarity="similarity")
    assert found.genuine.tolist() == [7.0, 8.0]
    assert np.bincount(found.impostor.astype(int), minlength=len(counts)).tolist() == counts


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [("3\n0.25\n", "normalised histogram", 2), ("3\n-1\n", "found -1", 2), ("3\ninf\n", "found inf", 2)],
)
def test_a_histogram_without_whole_counts_is_refused(tmp_path: Path, text: str, message: str, line: int) -> None:
    with pytest.raises(ScoreFileError, match=message) as caught:
        read_scores(write(tmp_path, "e_false.txt", text), format="histogram")
    assert caught.value.line == line


def test_a_histogram_of_too_many_comparisons_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreFileError, match="stands for 3e\\+08 comparisons"):
        read_scores(write(tmp_path, "e_false.txt", "300000000\n"), format="histogram")


def test_list_that_looks_like_a_histogram_is_read_with_a_warning(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "e_false.txt", "9\n" * 10 + "0\n" * 10))
    assert found.n_impostor == 20
    assert any('declare format="histogram"' in warning for warning in found.warnings)


def test_a_list_of_no_known_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreFileError, match="nothing says whether they are genuine or impostor"):
        read_scores(write(tmp_path, "scores.txt", "0.9\n0.8\n"))


def test_pairs_are_genuine_where_their_companion_lists_them(tmp_path: Path) -> None:
    scores = write(tmp_path, "e_scores.txt", "q1 t1 0.9\nq1 t2 0.2\nq2 t1 0.1\nq2 t2 0.8\n")
    with pytest.raises(ScoreFileError, match="the list of true pairs under"):
        read_scores(scores)
    truth = write(tmp_path, "e_tp.txt", "q1 t1\nq2 t2\n")
    found = read_scores([scores, truth])
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([0.9, 0.8], [0.2, 0.1])
    write(tmp_path, "e_tp.txt", "q1 t1\nq3 t3\n")
    with pytest.raises(ScoreFileError, match=r"1 true pair without a score.*q3 t3"):
        read_scores([scores, truth])


def test_the_label_may_stand_in_the_second_column(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "x.txt", "0.9 genuine\n0.1 impostor\n"))
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([0.9], [0.1])
    assert any("second column" in note for note in found.notes)


def test_two_columns_of_possible_labels_are_label_and_score(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "x.txt", "1 0\n0 1\n1 1\n"), polarity="similarity")
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([0.0, 1.0], [1.0])


def test_decimal_commas_are_refused_and_not_read_as_labels(tmp_path: Path) -> None:
    with pytest.raises(ScoreFileError, match="decimal commas"):
        read_scores(write(tmp_path, "x.txt", "0,523\n1,052\n0,047\n"))


def test_an_open_set_is_said_to_be_one(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "x.txt", "a a p1 0.9\na b p2 0.1\nb b p2 0.8\na c p3 0.2\nb c p3 0.3\n"))
    assert any("open set: 1 subject in no model, 2 comparisons" in note for note in found.notes)


def test_cell_i_j_compares_row_i_with_column_j(tmp_path: Path) -> None:
    text = matrix_text(["ann", "bob"], ["bob", "cyd", "ann"], [[1, 9], [2, 3], [8, 4]])
    found = read_scores(write(tmp_path, "m.csv", text), polarity="similarity")
    assert found.rows.rows() == [
        (1.0, False, "bob", "ann"),
        (9.0, True, "bob", "bob"),
        (2.0, False, "cyd", "ann"),
        (3.0, False, "cyd", "bob"),
        (8.0, True, "ann", "ann"),
        (4.0, False, "ann", "bob"),
    ]


def test_identities_may_be_numbers_and_may_repeat(tmp_path: Path) -> None:
    text = matrix_text(["1", "1", "2"], ["1", "2"], [[9, 8, 1], [2, 3, 7]])
    found = read_scores(write(tmp_path, "m.csv", text))
    assert found.genuine.tolist() == [9.0, 8.0, 7.0]
    assert any("1 column repeat" in note for note in found.notes)


def test_an_asymmetric_matrix_counts_both_triangles(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "m.csv", matrix_text("abc", "abc", [[9, 1, 2], [3, 8, 1], [2, 4, 7]])))
    assert (found.n_genuine, found.n_impostor, found.n_excluded()) == (3, 6, 0)
    assert any("both triangles count" in note for note in found.notes)


def test_symmetric_matrix_counts_each_pair_once_and_no_sample_against_itself(tmp_path: Path) -> None:
    values = np.round(np.random.default_rng(5).uniform(0, 0.9, (4, 4)), 3)
    values = np.triu(values, 1) + np.triu(values, 1).T + np.eye(4)
    names = ["a", "a", "b", "b"]
    found = read_scores(write(tmp_path, "m.csv", matrix_text(names, names, values.tolist())), polarity="similarity")
    assert found.genuine.tolist() == [values[0, 1], values[2, 3]]
    assert found.impostor.tolist() == [values[0, 2], values[0, 3], values[1, 2], values[1, 3]]
    assert found.excluded_by_reason() == {"mirrored": 6, "self_comparison": 4}


def test_a_varying_diagonal_of_a_symmetric_matrix_is_kept_with_a_warning(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "m.csv", matrix_text("abc", "abc", [[9, 1, 2], [1, 8, 3], [2, 3, 7]])))
    assert (found.n_genuine, found.n_impostor) == (3, 3)
    assert any("may compare samples with themselves" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        (",a,b\na,1,2\nb,1\n", "an identity and 2 scores", 3),
        (",a,b\na,1,2\nb,x,3\n", "a number in every cell, found 'x of column a'", 3),
        (",a,b\na,1,2\nb,,3\n", "a number in every cell", 3),
        (",a,b\na,1,2\n,2,3\n", "an identity and 2 scores", 3),
        (",a,b\na,1,2\nb,nan,3\n", "found 'NaN'", 3),
        (",a,\na,1,2\n", "identity 2 of the header is empty", 1),
    ],
)
def test_a_broken_matrix_is_refused_with_the_line(tmp_path: Path, text: str, message: str, line: int) -> None:
    with pytest.raises(ScoreFileError, match=message) as caught:
        read_scores(write(tmp_path, "m.csv", text))
    assert caught.value.line == line


def test_a_broken_cell_of_a_matrix_can_be_skipped(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path, "m.csv", matrix_text("ab", "ab", [[9, "x"], [1, 8]])), on_error="skip")
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([9.0, 8.0], [1.0])
    assert found.excluded.select("line", "reason", "text").rows() == [(2, "broken_line", "x of column b")]


def test_json_needs_a_pattern_and_calls_the_rest_attacks(tmp_path: Path) -> None:
    path = write(tmp_path, "x.json", '{"set/real/1": 0.1, "set/real/2": 0.2, "set/mask/1": 0.9, "set/print/1": 0.8}')
    with pytest.raises(ScoreFileError, match="nothing says which are bona fide; give a pattern"):
        read_scores(path)
    found = read_scores(path, genuine_pattern="/real/", species_pattern="^set/([a-z]+)/", polarity="attack")
    assert (found.kind, found.genuine.tolist(), found.impostor.tolist()) == ("liveness", [-0.1, -0.2], [-0.9, -0.8])
    assert found.rows["species"].to_list() == [None, None, "mask", "print"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, ', "no sound JSON"),
        ('{"a":' * 100_000, "no sound JSON"),
        ('{"a": "high"}', "entry 1: expected a number"),
        ('{"a": true}', "entry 1: expected a number"),
        ('{"a": 1' + "0" * 400 + "}", "entry 1: expected a number"),
        ('{"a": {"b": 1}}', "entry 1: expected a number"),
        ('{"a": NaN}', "entry 1: .*found 'NaN'"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ("{}", "expected records, columns, or one object of ids"),
        ('{"\\ud800": "x"}', "entry 1: expected a number"),
    ],
)
def test_json_that_is_no_object_of_scores_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScoreFileError, match=message):
        read_scores(write(tmp_path, "x.json", text), genuine_pattern="a")


@pytest.mark.parametrize(("pattern", "message"), [("(", "no regular expression"), ("zebra", "no id matches 'zebra'")])
def test_a_pattern_that_is_broken_or_matches_nothing_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(ScoreFileError, match=message):
        read_scores(write(tmp_path, "x.json", '{"a": 1}'), genuine_pattern=pattern)


def test_an_archive_of_arrays_may_hold_the_columns_of_a_table(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "x.npz",
        score=np.array([0.9, 0.1], dtype=np.float32),
        is_genuine=np.array([True, False]),
        subject_a=np.array(["ann", "ann"]),
        subject_b=np.array(["ann", "bob"]),
        further=np.zeros((3, 3)),
    )
    found = read_scores(tmp_path / "x.npz")
    assert found.genuine.dtype == np.float32
    assert found.subject_codes().names == ("ann", "bob")


def test_arrays_that_are_no_scores_are_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "embeddings.npz", embeddings=np.zeros((3, 8)))
    with pytest.raises(ScoreFileError, match="found 'embeddings'"):
        read_scores(tmp_path / "embeddings.npz")
    np.save(tmp_path / "x_true.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(ScoreFileError, match="no plain arrays"):
        read_scores(tmp_path / "x_true.npy")
    np.save(tmp_path / "y_true.npy", np.zeros((3, 8)))
    with pytest.raises(ScoreFileError, match="expected numbers in one row"):
        read_scores(tmp_path / "y_true.npy")
    np.save(tmp_path / "z.npy", np.zeros(3))
    with pytest.raises(ScoreFileError, match="nothing says whether"):
        read_scores(tmp_path / "z.npy")


def bee(kind: bytes, values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", *, head: bytes = b"S2") -> bytes:
    rows, columns = values.shape
    return head + b"\nt.lst\nq.lst\nM%b %d %d \x78\x56\x34\x12\n" % (kind, rows, columns) + values.tobytes()


def test_a_bee_matrix_is_read_by_its_mask_and_declares_its_polarity(tmp_path: Path) -> None:
    values = np.array([[1, 5, 6], [7, 2, 9]], dtype="<f4")
    mask = np.array([[0xFF, 0x7F, 0], [0x7F, 0xFF, 0x7F]], dtype=np.uint8)
    scores = write(tmp_path, "x.mtx", bee(b"F", values, head=b"D2"))
    with pytest.raises(ScoreFileError, match="needs its mask"):
        read_scores(scores)
    found = read_scores([scores, write(tmp_path, "x.mask", bee(b"B", mask))])
    assert (found.polarity, found.polarity_source) == ("distance", "declared")
    assert (found.genuine.tolist(), found.impostor.tolist()) == ([-1, -2], [-5, -7, -9])
    assert found.excluded_by_reason() == {"masked_out": 1}
    write(tmp_path, "x.mask", bee(b"B", mask[:, :2]))
    with pytest.raises(ScoreFileError, match="has shape"):
        read_scores([scores, tmp_path / "x.mask"])
    write(tmp_path, "x.mtx", bee(b"F", values)[:-1])
    with pytest.raises(ScoreFileError, match="values need another number"):
        read_scores([scores, tmp_path / "x.mask"])
