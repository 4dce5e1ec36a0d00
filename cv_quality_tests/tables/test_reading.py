"""A table in a file is read whatever it is called and however it is separated, or refused with what is wrong."""

import base64
import gzip
import tempfile
from pathlib import Path

import polars as pl
import pytest

from cv_quality.tables.reading import opened_table
from cv_quality.errors import TableError

TABLE = pl.DataFrame(
    {
        "light, day": ["dim", "a;b", None, 'say "x"', "line\nbreak", "tab\there"],
        "lux": [1.5, float("nan"), float("inf"), None, -0.25, 1e-300],
        "tries": [1, 2, None, 4, 5, 2**60],
        "failed": [True, False, True, False, True, False],
    }
)

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
    assert read(tmp_path / name).equals(frame)


def test_values_that_hold_separators_quotes_and_line_breaks_survive(tmp_path: Path) -> None:
    TABLE.write_csv(tmp_path / "table.csv")
    assert read(tmp_path / "table.csv").equals(TABLE)


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_parquet_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    TABLE.write_parquet(tmp_path / name)
    assert read(tmp_path / name).equals(TABLE)


def test_a_compressed_table_is_read(tmp_path: Path) -> None:
    text = TABLE.write_csv()
    assert read(written(tmp_path, gzip.compress(text.encode()), "table.csv.gz")).equals(TABLE)
    TABLE.write_csv(tmp_path / "table.csv.zst", compression="zstd", check_extension=False)
    assert read(tmp_path / "table.csv.zst").equals(TABLE)


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


@pytest.mark.parametrize(("last", "kind"), [("1.5", pl.Float64), ("x", pl.String)])
def test_a_type_that_only_the_last_row_tells_is_the_type_of_the_column(
    tmp_path: Path, last: str, kind: pl.DataType
) -> None:
    frame = read(written(tmp_path, "x,failed\n" + "1,0\n" * 12_000 + f"{last},1\n"))
    assert frame.schema["x"] == kind
    assert frame.height == 12_001


@pytest.mark.parametrize("word", ["NaN", "inf", "-inf", ""])
def test_a_number_that_is_missing_or_endless_leaves_its_column_numbers(tmp_path: Path, word: str) -> None:
    assert read(written(tmp_path, f"x,failed\n{word},0\n1.5,1\n2.5,0\n")).schema["x"] == pl.Float64


def test_nan_as_python_writes_it_leaves_its_column_numbers(tmp_path: Path) -> None:
    assert read(written(tmp_path, f"x,failed\n{float('nan')},0\n1.5,1\n2.5,0\n")).schema["x"] == pl.Float64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n", "expected a CSV table with a header, or Parquet: empty CSV"),
        (b"x,failed\n1,0\n2,1,7\n", "expected a CSV table with a header, or Parquet"),
        (b'x,failed\n"1,0\n2,1\n', "expected a CSV table with a header, or Parquet"),
        ("x,failed\ngröße,1\n".encode("latin-1"), "expected a CSV table with a header, or Parquet: invalid utf-8"),
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
