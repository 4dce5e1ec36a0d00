"""The same scores as JSON, as a spreadsheet, compressed, and in the encodings and number formats of spreadsheets."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from cv_quality.errors import ScoreFileError
from cv_quality.scores.reading import read_scores
from cv_quality_tests.scores.score_files import assert_holds, comparisons, write, write_workbook

ROWS = comparisons()
RECORDS = [{"score": row.score, "is_genuine": row.is_genuine} for row in ROWS]
SCORES, TRUTHS = [row.score for row in ROWS], [row.is_genuine for row in ROWS]


def text_of(separator: str = ",", yes: str = "TRUE", no: str = "FALSE", score: Callable[[float], str] = str) -> str:
    """A table of score and is_genuine."""
    lines = [f"{score(row.score)}{separator}{yes if row.is_genuine else no}" for row in ROWS]
    return "\n".join([f"score{separator}is_genuine", *lines]) + "\n"


def comma(score: float) -> str:
    return str(score).replace(".", ",")


DOCUMENTS: dict[str, object] = {
    "records": RECORDS,
    "columns": {"score": SCORES, "is_genuine": TRUTHS},
    "rows by name": {str(at): record for at, record in enumerate(RECORDS)},
    "cells by row": {"score": dict(enumerate(SCORES)), "is_genuine": dict(enumerate(TRUTHS))},
    "names and rows": {"columns": ["score", "is_genuine"], "data": [list(record.values()) for record in RECORDS]},
    "a list within": {"model": "m", "results": RECORDS},
    "classes": {
        "genuine": [row.score for row in ROWS if row.is_genuine],
        "impostor": [row.score for row in ROWS if not row.is_genuine],
    },
    "longer names": {
        "genuine_scores": [row.score for row in ROWS if row.is_genuine],
        "impostor_scores": [row.score for row in ROWS if not row.is_genuine],
    },
    "columns within": {"model": "m", "scores": {"score": SCORES, "is_genuine": TRUTHS}},
    "other names": {"y_true": [int(truth) for truth in TRUTHS], "y_score": SCORES},
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_json_of_every_shape_gives_its_rows(tmp_path: Path, name: str) -> None:
    found = read_scores(write(tmp_path, "x.json", json.dumps(DOCUMENTS[name])))
    assert found.format == "json"
    assert_holds(found, ROWS)


def test_json_with_one_record_a_line_names_the_broken_line(tmp_path: Path) -> None:
    lines = [json.dumps(record) for record in RECORDS]
    assert_holds(read_scores(write(tmp_path, "x.jsonl", "\n".join(lines) + "\n\n")), ROWS)
    lines[4] = lines[4][:-1]
    with pytest.raises(ScoreFileError, match="expected one JSON record") as caught:
        read_scores(write(tmp_path, "y.jsonl", "\n".join(lines)))
    assert caught.value.line == 5


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            [{"score": 1, "is_genuine": True}, {"score": None, "is_genuine": False}],
            "entry 2: expected a number as score",
        ),
        ([{"score": 1, "is_genuine": True}, {"score": 0}], "entry 2: expected a label"),
        ({"score": [1, 2], "is_genuine": [True]}, "differ in length: score 2, is_genuine 1"),
        ([{"score": [1], "is_genuine": True}], "column score holds lists or objects"),
        ([{"skore": 1, "is_genuine": True}], "needs a column score, found 'skore'.*did you mean skore"),
        ([[0.5, 1]], "expected records, columns, or one object of ids"),
    ],
)
def test_json_that_lacks_a_score_or_a_label_is_refused(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(ScoreFileError, match=message):
        read_scores(write(tmp_path, "x.json", json.dumps(document)))


def test_a_workbook_is_read_from_the_sheet_that_names_scores(tmp_path: Path) -> None:
    table: list[list[object]] = [[row.score, row.is_genuine] for row in ROWS]
    plain = read_scores(write_workbook(tmp_path / "a.xlsx", {"S": [["score", "is_genuine"], *table]}))
    assert plain.format == "workbook"
    assert_holds(plain, ROWS)
    titled: dict[str, list[list[object]]] = {
        "Notes": [["by", "us"]],
        "Run 7": [["Results"], [None], ["similarity", "label"], *table],
    }
    found = read_scores(write_workbook(tmp_path / "b.xlsx", titled))
    assert_holds(found, ROWS)
    assert any("sheet Run 7 of 2 sheets" in note for note in found.notes)


def test_a_workbook_without_scores_names_its_sheets_and_a_broken_row_its_number(tmp_path: Path) -> None:
    with pytest.raises(ScoreFileError, match="found S: 'foo', 'bar'; name the column"):
        read_scores(write_workbook(tmp_path / "a.xlsx", {"S": [["foo", "bar"], [0.5, True]]}))
    broken: list[list[object]] = [["score", "is_genuine"], [0.5, True], ["n/a", False]]
    with pytest.raises(ScoreFileError, match="row 3: expected a number as score, found 'n/a'"):
        read_scores(write_workbook(tmp_path / "b.xlsx", {"S": broken}))
    content = (tmp_path / "a.xlsx").read_bytes()
    with pytest.raises(ScoreFileError, match=r"damaged|no plain arrays"):
        read_scores(write(tmp_path, "c.xlsx", content[: len(content) // 2]))


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, lambda data: bytes(pa.compress(data, "zstd"))]
)
@pytest.mark.parametrize(
    "text", [text_of(";"), "".join(f"{row.a} {row.b} {row.score} {int(row.is_genuine)}\n" for row in ROWS)]
)
def test_compressed_text_is_read_with_any_separator(
    tmp_path: Path, compress: Callable[[bytes], bytes], text: str
) -> None:
    found = read_scores(write(tmp_path, "x.bin", compress(text.encode())))
    assert_holds(found, ROWS)
    assert any(note.endswith((": gzip", ": bzip2", ": xz", ": zstd")) for note in found.notes)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (text_of("\t").encode("utf-16"), "UTF-16"),
        (text_of().replace("\n", "\r").encode(), "line ends of old Macs"),
        (("sep=;\n" + text_of(";", score=comma)).replace("\n", "\r\n").encode(), "decimal comma"),
        (text_of(";", score=comma).encode("utf-8-sig"), "decimal comma"),
        (text_of("\t", score=comma).encode(), "decimal comma"),
        (text_of().encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (("\ufeffSEP=|\r\n" + text_of("|")).encode(), ""),
        (("sep=\t\n" + text_of("\t")).encode(), ""),
        (text_of().replace("E\n", "E,\n").encode(), ""),
        (("Run 7\n\n" + text_of()).encode(), "1 line above the header passed over"),
        (text_of(";", score=lambda score: f"{score} dB").encode(), "unit dB"),
        (text_of(score=lambda score: f"{score}".replace("-", "−")).encode(), ""),
        (text_of(yes="Y", no="N").encode(), ""),
        (text_of().replace("is_genuine", "Same person?").encode(), ""),
        (text_of(yes='TRUE,6" phone', no="FALSE,").replace("genuine", "genuine,note", 1).encode(), ""),
        (text_of(";", yes="WAHR", no="FALSCH").encode(), ""),
        (
            text_of().replace("is_genuine", "is_genuine,,").replace("E\n", "E,,\n").encode() + b",,,\n,,,\n",
            "empty cells",
        ),
        (
            text_of(yes="TRUE,José", no="FALSE,Zoë").replace("genuine", "genuine,who", 1).encode("cp1252"),
            "Windows-1252",
        ),
    ],
)
def test_the_dialects_of_spreadsheets_are_read_and_said(tmp_path: Path, content: bytes, note: str) -> None:
    found = read_scores(write(tmp_path, "x.csv", content))
    assert_holds(found, ROWS)
    assert any(note in said for said in found.notes)


def test_thousands_are_told_from_decimals_or_refused(tmp_path: Path) -> None:
    def quoted(score: float) -> str:
        return f'"{round(score * 1e4):,}"'

    found = read_scores(write(tmp_path, "a.csv", text_of(score=quoted)))
    assert sorted(found.genuine) == sorted(round(row.score * 1e4) for row in ROWS if row.is_genuine)
    german = read_scores(write(tmp_path, "b.csv", "score;is_genuine\n1.234,5;1\n2,25;0\n"))
    assert (german.genuine.tolist(), german.impostor.tolist()) == ([1234.5], [2.25])
    for number in ("1,234", "1.234"):
        with pytest.raises(ScoreFileError, match=rf"'{number}': thousands or decimals\?"):
            read_scores(write(tmp_path, "c.csv", f"score;is_genuine\n{number};1\n961;0\n"))


def test_cells_of_several_lines_are_read_wherever_they_stand(tmp_path: Path) -> None:
    cell = '"one\n0.5,TRUE\n\n, two"'
    first = "".join(f"{cell if n % 3 else 'ok'},{row.score},{row.is_genuine}\n" for n, row in enumerate(ROWS))
    assert_holds(read_scores(write(tmp_path, "a.csv", f"note,score,is_genuine\n{first}")), ROWS)
    last = "".join(f"{row.score},{row.is_genuine},{cell}\n" for row in ROWS)
    assert_holds(read_scores(write(tmp_path, "b.csv", f'score,is_genuine,"a\nnote"\n{last}')), ROWS)


def test_the_names_that_r_gives_to_rows_are_passed_over(tmp_path: Path) -> None:
    rows = "".join(f'"{at}" {row.score} {str(row.is_genuine).upper()}\n' for at, row in enumerate(ROWS, 1))
    assert_holds(read_scores(write(tmp_path, "r.txt", f'"score" "is_genuine"\n{rows}')), ROWS)


def test_lists_with_decimal_commas_are_read(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, f"x_{word}.txt", "".join(f"{comma(row.score)}\n" for row in ROWS if row.is_genuine is truth))
        for word, truth in (("target", True), ("nontarget", False))
    ]
    assert_holds(read_scores(paths), ROWS)


def test_a_compressed_parquet_is_read_and_an_archive_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pl.DataFrame(RECORDS).write_parquet(buffer)
    assert_holds(read_scores(write(tmp_path, "x.parquet.gz", gzip.compress(buffer.getvalue()))), ROWS)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("scores.csv", text_of())
    with pytest.raises(ScoreFileError, match=r"is a zip archive with 'scores.csv'; unpack it"):
        read_scores(tmp_path / "x.zip")
