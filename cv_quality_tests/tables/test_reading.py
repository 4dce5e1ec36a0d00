"""A table in a file is read whatever it is called and however it is separated, or refused with what is wrong."""

import base64
import bz2
import gzip
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cv_quality.errors import TableError
from cv_quality.tables.reading import opened_table, opened_tables
from cv_quality_tests.drops.small_drops import zstd

TABLE = pl.DataFrame(
    {
        "light, day": ["dim", "a;b", None, 'say "x"', "line\nbreak", "tab\there"],
        "lux": [1.5, float("nan"), float("inf"), None, -0.25, 1e-300],
        "tries": [1, 2, None, 4, 5, 2**60],
        "failed": [True, False, True, False, True, False],
    }
)

READ = TABLE.with_columns(pl.col("lux").fill_nan(None))
"""As it is read from text: NaN is missing."""

PAGES_THAT_DO_NOT_FIT = (
    "UEFSMRUAFQ4VICwVEBUAFQYVBhw2ACgBARgBAAAAACi1L/0gBzkAAAIAAAAQAVUVABklAAYZGAZmYWlsZWQVDBYQFkQWViYIPDYA"
    "KAEBGAEAAAAVABWMARVaLBUQFQAVBhUGHDYAKAgAAAAAAAAlQBgIAAAAAAAAAIAAAAAotS/9IEYlAQCYAgAAABABAPg/AAhAABIY"
    "HiIlQAcAIAvIBzJbSQHaAMI4gBEVChklAAYZGANsdXgVDBYQFuABFq4BJqYBPDYAKAgAAAAAAAAlQBgIAAAAAAAAAIAAABUEFRQV"
    "JkwVBBUAAAAotS/9IApRAAABAAAAYQEAAABiFQAVEhUkLBUQFRAVBhUGHDYAKAFiGAFhAAAAKLUv/SAJSQAAAgAAABABlgEDqhUM"
    "GTUABhAZGARzaXRlFQwWEBZ2FpoBJvgDJrgDHDYAKAFiGAFhAAAZEQIZGAEAGRgBARUAGRYAABkRAhkYCAAAAAAAAACAGRgIAAAA"
    "AAAAJUAVABkWAAAZEQIZGAFhGRgBYhUAGRYAABkcFggVVhYAAAAZHBamARWuARYAAAAZHBb4AxVaFgAAABUCGUxIBHJvb3QVBgAV"
    "ACUCGAZmYWlsZWQAFQolAhgDbHV4ABUMJQIYBHNpdGUlAEwcAAAAFhAZHBk8Jl4cFQAZJQAGGRgGZmFpbGVkFQwWEBZEFlYmCDw2"
    "ACgBARgBAAAAFqQGFRQWogUVIgAm1AIcFQoZJQAGGRgDbHV4FQwWEBbgARauASamATw2ACgIAAAAAAAAJUAYCAAAAAAAAACAAAAW"
    "uAYVGBbEBRU+ACaSBRwVDBk1AAYQGRgEc2l0ZRUMFhAWdhaaASb4Aya4Axw2ACgBYhgBYQAAFtAGFRYWggYVIgAWmgMWECYIFp4D"
    "FAAAGRwYDEFSUk9XOnNjaGVtYRicAi8vLy8vOHNBQUFBRUFBQUE4di8vL3hRQUFBQUVBQUVBQUFBS0FBc0FDQUFLQUFRQStQLy8v"
    "d3dBQUFBSUFBZ0FBQUFFQUFNQUFBQmdBQUFBTUFBQUFBUUFBQUNZLy8vL0dBQUFBQkFBQUFBSUFBQUFBUlFBQUFBQUFBQ1kvLy8v"
    "QkFBQUFITnBkR1VBQUFBQXdQLy8veUFBQUFBUUFBQUFDQUFBQUFFREFBQUFBQUFBK3YvLy93SUFCZ0FHQUFRQUF3QUFBR3gxZUFE"
    "cy8vLy9MQUFBQUNBQUFBQVlBQUFBQVFZQUFCQUFFZ0FFQUJBQUVRQUlBQUFBREFBQUFBQUEvUC8vL3dRQUJBQUdBQUFBWm1GcGJH"
    "VmtBQT09ABhOUG9sYXJzIChweXRob24pIHZlcnNpb24gMi4xLjAgKGJ1aWxkIDdmOTAyYmQzZmZkMjdmZjgyZDE0Mjc4YTA5YTI5"
    "NWZmMmY3YWVkOTIpGTwcAAAcAAAcAAAAfgIAAFBBUjE="
)
"""A Parquet file with a byte of a page changed, as a fuzzer found it."""


def read(path: Path) -> pl.DataFrame:
    with opened_table(path) as lines:
        return lines.rows.collect()


def written(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["table.csv", "table.txt", "table.parquet", "table"])
def test_separated_values_are_read_whatever_the_file_is_called(tmp_path: Path, separator: str, name: str) -> None:
    frame = TABLE.rename({"light, day": "light"})
    frame.write_csv(tmp_path / name, separator=separator)
    assert read(tmp_path / name).equals(READ.rename({"light, day": "light"}))


def test_values_that_hold_separators_quotes_and_line_breaks_survive(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "table.csv")
    assert read(tmp_path / "table.csv").equals(READ)


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_parquet_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    TABLE.write_parquet(tmp_path / name)
    assert read(tmp_path / name).equals(TABLE)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, zstd], ids=["gzip", "bzip2", "xz", "zstd"]
)
def test_a_compressed_table_is_read_whatever_separates_it(
    tmp_path: Path, pack: Callable[[bytes], bytes], separator: str
) -> None:
    path = written(tmp_path, pack(TABLE.write_csv(separator=separator).encode()))
    assert read(path).equals(READ)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfx,failed\n1,true\n2,false\n",
        b"x,failed\r\n1,true\r\n2,false\r\n",
        b"x,failed\n1,True\n2,FALSE",
        b"\n\nx,failed\n1,true\n2,false\n",
    ],
    ids=["byte-order mark", "line ends of Windows", "other spellings of true", "empty lines first"],
)
def test_harmless_differences_of_files_change_nothing(tmp_path: Path, text: bytes) -> None:
    assert read(written(tmp_path, text)).to_dict(as_series=False) == {"x": [1, 2], "failed": [True, False]}


@pytest.mark.parametrize(("last", "kind"), [("1.5", pl.Float64), ("x", pl.String), ("07", pl.String)])
def test_a_type_that_only_the_last_row_tells_is_the_type_of_the_column(
    tmp_path: Path, last: str, kind: pl.DataType
) -> None:
    frame = read(written(tmp_path, "x,failed\n" + "1,0\n" * 12_000 + f"{last},1\n"))
    assert frame.schema["x"] == kind
    assert frame.height == 12_001


def test_an_odd_cell_behind_many_decimals_is_told_and_missing(tmp_path: Path) -> None:
    decimals = "".join(f"{n / 8},0\n" for n in range(12_000))
    path = written(tmp_path, f"x,failed\n{decimals}N/A,1\nbroken,1\n")
    with opened_table(path) as table:
        assert table.rows.select(pl.col("x").null_count()).collect().item() == 2
        said = "'N/A' missing in x (1)", "in x 1 cell is no number and taken as missing: 'broken'"
        assert table.notes == said


@pytest.mark.parametrize("word", ["NaN", "inf", "-inf", ""])
def test_a_number_that_is_missing_or_endless_leaves_its_column_numbers(tmp_path: Path, word: str) -> None:
    assert read(written(tmp_path, f"x,failed\n{word},0\n1.5,1\n2.5,0\n")).schema["x"] == pl.Float64


def test_nan_as_python_writes_it_leaves_its_column_numbers(tmp_path: Path) -> None:
    assert read(written(tmp_path, f"x,failed\n{float('nan')},0\n1.5,1\n2.5,0\n")).schema["x"] == pl.Float64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n", "expected a table with a header, found only empty lines"),
        (b"x,failed\n1,0\n2,1,7\n", "line 3: expected a CSV table with a header, or Parquet: 2 cells, .*, found 3"),
        (b'x,failed\n"1,0\n2,1\n', "line 2: expected a CSV table with a header, or Parquet: a quote is not closed"),
        (b"lux, lux\n1,2\n", r"expected columns of different names, found 2 named 'lux' \(columns 1 and 2\)"),
        (b'[{"x": 1}]', "expected a table with a header, found JSON"),
        (b"PK\x03\x04 and more", "is an Excel workbook or a zip archive"),
        (b"x\x00\x01\x02", "expected a CSV table with a header, or Parquet, found binary data"),
        (gzip.compress(b"x,failed\n1,0\n" * 99, mtime=0)[:-9], "is gzip, but damaged or cut off"),
        (b"\xff\xfex\x00,\x00\x00\xdc", "begins as UTF-16 and is none further on"),
        (b"PAR1", "not a readable Parquet file"),
        (b"PAR1" + bytes(100) + b"PAR1", "not a readable Parquet file"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TableError, match=f"{path}: {message}"):
        read(path)


def test_a_parquet_file_cut_off_is_refused(tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(TableError, match="not a readable Parquet file"):
        read(written(tmp_path, whole[: len(whole) // 2], "cut.parquet"))


def test_a_parquet_file_that_makes_polars_panic_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, base64.b64decode(PAGES_THAT_DO_NOT_FIT), "panic.parquet")
    with pytest.raises(TableError, match="not a readable Parquet file"):
        read(path)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path, told in ((tmp_path / "nowhere.csv", "no such file"), (tmp_path, "is a folder; name a file in it")):
        with pytest.raises(TableError, match=f"{path}: {told}"):
            read(path)


def test_nothing_is_left_behind_and_the_file_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, scratch = written(tmp_path, "x,failed\n1,0\n"), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = path.read_bytes()
    with opened_table(path):
        assert list(scratch.iterdir()) != []
    with pytest.raises(TableError):
        read(written(tmp_path, "x,failed\n1,0,3\n", "broken.csv"))
    assert list(scratch.iterdir()) == []
    assert path.read_bytes() == before


DIALECTS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "sep line": ("sep=;\nx;failed\n1,5;0\n2;1\n", ("separated by semicolons", "1 line above the header passed over")),
    "titles": (
        "Report, 2026\n\nx;failed\n1,5;0\n2;1\n",
        ("separated by semicolons", "2 lines above the header passed over"),
    ),
    "padded titles": ("Report;;\nx;failed;k\n1,5;0;a\n2;1;a\n", ("1 line above the header passed over",)),
    "decimal comma": ("x;failed\n1,5;0\n2;1\n", ("decimal comma in x",)),
    "byte order mark": ("\ufeffx\tfailed\n1.5\t0\n2\t1\n", ("UTF-8 with a byte order mark", "separated by tabs")),
    "bars": ("x|failed\n1.5|0\n2|1\n", ("separated by bars",)),
    "row names": ('"x" "failed"\n"1" 1.5 0\n"2" 2 1\n', ("separated by spaces", "row names without a header")),
    "single quotes": ("'x';'failed'\n'1.5';'0'\n'2';'1'\n", ("single quotes around cells",)),
    "old Mac": ("x,failed\r1.5,0\r2,1\r", ("line ends of old Macs",)),
    "spaces around": ('x , failed\n 1.5, "0"\n2 ,1\n', ()),
    "trailing separators": ("x;failed\n1.5;0;\n2;1;\n", ("separated by semicolons",)),
    "empty lines": ("x,failed\n\n1.5,0\n,\n2,1\n\n", ()),
    "UTF-16": ("x,failed\n1.5,0\n2,1\n".encode("utf-16"), ("UTF-16",)),
    "UTF-16 without mark": ("x,failed\n1.5,0\n2,1\n".encode("utf-16-be"), ("UTF-16 without a byte order mark",)),
    "UTF-32": ("x,failed\n1.5,0\n2,1\n".encode("utf-32"), ("UTF-32",)),
}


@pytest.mark.parametrize("name", list(DIALECTS))
def test_a_dialect_is_read_as_plain_csv_is_and_said(tmp_path: Path, name: str) -> None:
    content, said = DIALECTS[name]
    with opened_table(written(tmp_path, content)) as table:
        assert table.rows.select("x", "failed").collect().rows() == [(1.5, 0), (2.0, 1)]
        assert set(said) <= set(table.notes)


def test_windows_1252_beside_utf8_is_read_line_by_line(tmp_path: Path) -> None:
    content = "wear,failed\nGläser,0\n".encode() + "Gläser,1\n".encode("cp1252") + b"\x81,1\n"
    with opened_table(written(tmp_path, content)) as table:
        assert table.rows.collect()["wear"].to_list() == ["Gläser", "Gläser", "\x81"]
        assert table.notes == ("2 lines not in UTF-8, read as Windows-1252",)


def test_a_header_may_hold_the_separators_of_other_dialects(tmp_path: Path) -> None:
    content = '"subject, id";"lux, measured, by, phone"\n001;1,5\n002;2,5\n'
    with opened_table(written(tmp_path, content)) as table:
        assert table.rows.collect()["lux, measured, by, phone"].to_list() == [1.5, 2.5]


def test_a_column_without_a_name_is_called_by_its_place(tmp_path: Path) -> None:
    assert read(written(tmp_path, ",x,column 1\n0,5,7\n")).columns == ["column 1_", "x", "column 1"]


def test_lines_with_fewer_cells_are_counted(tmp_path: Path) -> None:
    with opened_table(written(tmp_path, "a,b,c\n1,2,3\n4,5\n6\n7,8,\n")) as table:
        assert table.notes == ("2 lines with fewer cells than the header; those are missing",)
        assert table.rows.collect()["b"].to_list() == [2, 5, None, 8]


def test_ids_are_text_and_one_with_leading_zeros_is_another(tmp_path: Path) -> None:
    path = written(tmp_path, "who,n\n7,1\n07,2\n 7 ,3\nN/A,4\n")
    with opened_table(path, ids=["who"]) as table:
        assert table.rows.collect()["who"].to_list() == ["7", "07", "7", None]


def test_ids_that_a_program_wrote_as_decimals_lose_them(tmp_path: Path) -> None:
    with opened_table(written(tmp_path, "who,n\n7.0,1\n,2\n12.0,3\n"), ids=["who"]) as table:
        assert table.rows.collect()["who"].to_list() == ["7", None, "12"]


def test_what_is_text_in_one_of_two_tables_is_text_in_both(tmp_path: Path) -> None:
    before, after = written(tmp_path, "k,x\n001,1.50\n2,2\n", "a.csv"), written(tmp_path, "k,x\nA2,1\n2,3.5\n", "b.csv")
    with opened_tables(before, after) as (old, new):
        assert old.rows.collect()["k"].to_list() == ["001", "2"]
        assert new.rows.collect()["k"].to_list() == ["A2", "2"]
        assert old.rows.collect()["x"].to_list() == [1.5, 2.0]


def test_a_token_means_missing_in_every_column_once_it_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "region,lux\nNA,-999\nEU,5\nEU,7\n")
    with opened_table(path, missing=["NA", "-999"]) as table:
        assert table.rows.collect().rows() == [(None, None), ("EU", 5), ("EU", 7)]
        assert table.notes == ("'NA' missing in region (1)", "'-999' missing in lux (1)")
    pl.read_csv(path).write_parquet(tmp_path / "table.parquet")
    with opened_table(tmp_path / "table.parquet", missing=["NA"]) as table:
        assert table.rows.collect()["region"].to_list() == [None, "EU", "EU"]


@pytest.mark.parametrize("closed", ["", '"'])
def test_a_stray_quote_that_swallows_rows_is_refused(tmp_path: Path, closed: str) -> None:
    lines = ["id,lux,note,failed", *(f"{n},{n}.5,ok,0" for n in range(2000))]
    lines[1000], lines[1500] = '999,999.5,"broken,0', f"1499,1499.5,late{closed},0"
    with pytest.raises(TableError, match="a quote is not closed"):
        read(written(tmp_path, "\n".join(lines)))


def test_a_cell_of_several_lines_is_one_cell(tmp_path: Path) -> None:
    text = 'a,b,note\n1,2,"one\ntwo, 2\n3,4,5\nthree\nfour"\n3,4,ok\n'
    assert read(written(tmp_path, text))["note"].to_list() == ["one\ntwo, 2\n3,4,5\nthree\nfour", "ok"]


def test_columns_aligned_by_spaces_are_read(tmp_path: Path) -> None:
    rows = [f"{n:<9}{n / 4:<8}{'day' if n % 2 else 'dim':>6}   {n % 3 == 0}" for n in range(50)]
    frame = read(written(tmp_path, "\n".join(["id       lux      light   failed", *rows])))
    assert frame.columns == ["id", "lux", "light", "failed"]
    assert frame["lux"].to_list() == [n / 4 for n in range(50)]


def test_an_aligned_line_that_lacks_a_cell_is_refused_by_its_number(tmp_path: Path) -> None:
    rows = ["id   lux   light", *(f"{n}    {n}.5   dim" for n in range(9)), "9          dim"]
    with pytest.raises(TableError, match=r"line 11: expected 3 cells between runs of spaces.*found 2"):
        read(written(tmp_path, "\n".join(rows)))


def test_a_separator_that_no_reader_knows_is_no_separator_line(tmp_path: Path) -> None:
    assert read(written(tmp_path, "sep=—\n1\n2\n")).columns == ["sep=—"]
