"""Whatever a file holds, reading gives a score set or a typed error that says what to do."""

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.errors import ScoreFileError
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import write


def binary_files() -> dict[str, bytes]:
    """A small sound file of each binary format."""
    parquet, npz, npy = io.BytesIO(), io.BytesIO(), io.BytesIO()
    truth = [True, False, False]
    pl.DataFrame({"score": [0.9, 0.2, 0.1], "is_genuine": truth, "subject_a": ["a", "b", None]}).write_parquet(parquet)
    np.savez(npz, score=np.array([0.9, 0.2, 0.1]), is_genuine=np.array(truth))
    np.save(npy, np.array([0.9, 0.2, 0.1]))
    return {"parquet": parquet.getvalue(), "npz": npz.getvalue(), "npy": npy.getvalue()}


PUNCTUATION = ['"', ",", ";", " ", "\t", "\n", "\r", "\x00", "#", "\ufeff", "{", "}", ":", ""]
WORDS = st.sampled_from(
    [
        *PUNCTUATION,
        "score",
        "is_genuine",
        "subject_a",
        "label",
        "target",
        "spoof",
        "1",
        "0",
        "-1",
        "0.5",
        "nan",
        "-inf",
        "1e999",
        "ann",
        "true",
        "é",
    ]
)
BINARY = binary_files()
STARTS = st.sampled_from(
    [b"", b"PAR1", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"S2\na\nb\nMF 1 1 ", b'{"a":', b"\xef\xbb\xbf"]
)


@settings(max_examples=300)
@given(words=st.lists(WORDS, max_size=60), role=st.sampled_from(["x", "x_true", "x_false"]))
def test_no_text_makes_reading_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], role: str
) -> None:
    path = write(tmp_path_factory.getbasetemp(), f"{role}.txt", "".join(words))
    for on_error in ("raise", "skip"):
        with suppress(ScoreFileError):
            found = read_scores(path, on_error=on_error)
            assert found.rows["score"].null_count() == 0
            assert not found.rows["score"].is_nan().any()


@settings(max_examples=100)
@given(trials=st.lists(WORDS, max_size=40), scores=st.lists(WORDS, max_size=40))
def test_no_list_of_trials_makes_reading_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, trials: list[str], scores: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    paths = write(folder, "trials.txt", "".join(trials)), write(folder, "scores.txt", "".join(scores))
    for on_error in ("raise", "skip"):
        with suppress(ScoreFileError):
            read_scores(paths[1], trials=paths[0], on_error=on_error)


@settings(max_examples=200)
@given(start=STARTS, rest=st.binary(max_size=200))
def test_no_bytes_make_reading_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes
) -> None:
    path = write(tmp_path_factory.getbasetemp(), "x_true.txt", start + rest)
    with suppress(ScoreFileError):
        read_scores(path, genuine_pattern=".")


@settings(max_examples=150)
@given(kind=st.sampled_from(["parquet", "npz", "npy"]), at=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_no_damage_to_a_binary_file_makes_reading_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, kind: str, at: float, byte: int, cut: bool
) -> None:
    content = bytearray(BINARY[kind])
    place = round(at * (len(content) - 1))
    content[place:] = content[place:place] if cut else bytes([byte]) + content[place + 1 :]
    path = write(tmp_path_factory.getbasetemp(), "x_true.bin", bytes(content))
    with suppress(ScoreFileError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_scores(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b"\n \n\t\n", "every line is empty"),
        ("comments.txt", b"# a\n# b\n", "every line is empty or a comment"),
        ("prose.unknown", b"Dear colleague,\nhere are the scores.\n", "begins with 'Dear colleague,'"),
        ("utf16.txt", "1 0.5\n".encode("utf-16")[:-1], "begins as UTF-16 and is none further on"),
        ("packed.csv.gz", b"\x1f\x8b\x08\x00", "is gzip, but damaged or cut off"),
        ("book.xlsx", b"\xd0\xcf\x11\xe0" + bytes(600), "damaged or protected workbook"),
        ("scores.hdf5", b"\x89HDF\r\n\x1a\n", "an HDF5 file, which is not read; export"),
        ("bytes.bin", bytes(range(256)), "binary data"),
        ("seven.txt", b"a b c d e f 0.5\n", "7 columns without a header"),
        ("cut.parquet", b"PAR1PAR1", "no Parquet file"),
        ("book.xlsx", b"PK\x03\x04" + bytes(40), "damaged or holds no plain arrays"),
        ("header.csv", b"score,is_genuine\n", "a header and no rows"),
    ],
)
def test_a_file_that_is_none_is_refused_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(ScoreFileError, match=message) as caught:
        read_scores(write(tmp_path, name, content))
    assert caught.value.file == str(tmp_path / name)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreFileError, match="there is no such file"):
        read_scores(tmp_path / "missing.txt")
    with pytest.raises(ScoreFileError, match="is a folder; name the files in it"):
        read_scores(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ScoreFileError, match="no regular file"):
        read_scores(tmp_path / "pipe")
    with pytest.raises(ScoreFileError, match="no file of scores"):
        read_scores([])


def test_a_million_columns_and_endless_lines_are_refused(tmp_path: Path) -> None:
    header = ",".join(["score", "is_genuine", *(f"c{i}" for i in range(1_000_000))])
    with pytest.raises(ScoreFileError, match="at most 65,536"):
        read_scores(write(tmp_path, "wide.csv", f"{header}\n"))
    narrow = ",".join(["score", "is_genuine", *("c" for _ in range(2_000))])
    with pytest.raises(ScoreFileError, match="at most 1,000"):
        read_scores(write(tmp_path, "many.csv", f"{narrow}\n0,0\n"))
    with pytest.raises(ScoreFileError, match="a line of a score file has at most") as caught:
        read_scores(write(tmp_path, "x_true.txt", b"0.5\n" + b"1" * 100_000 + b"\n"))
    assert caught.value.line == 2
    with pytest.raises(ScoreFileError, match="1000000 columns"):
        read_scores(write(tmp_path, "row.txt", " ".join(["0.5"] * 1_000_000)))


def test_a_matrix_of_many_columns_is_read(tmp_path: Path) -> None:
    names = [f"s{i}" for i in range(100_000)]
    values = np.linspace(0, 1, 100_000)
    text = f",{','.join(names)}\ns7,{','.join(map(str, values))}\n"
    found = read_scores(write(tmp_path, "wide.csv", text))
    assert (found.n_genuine, found.n_impostor) == (1, 99_999)
    assert found.genuine[0] == values[7]
