"""What a file says is found however it is packed, and nothing else is."""

import io
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cv_quality.errors import ForgettingError
from cv_quality.forgetting.reading import MAX_DEPTH, texts_of
from cv_quality.forgetting.words import Words
from cv_quality_tests.drops.small_drops import tar, zstd
from cv_quality_tests.forgetting.holding import documents, zipped

WORD = "person-0007"
FILES = dict(documents(WORD))
FILES["events.jsonl.zst"] = zstd(f'{{"subject_id":"{WORD}"}}\n'.encode() * 50)
FILES["frames.tar"] = tar((f"enrol/{WORD}.png", b"x"))


def _is_in(name: str, data: bytes, word: str) -> bool:
    return Words(word).are_in([*texts_of(name, io.BytesIO(data))])


@pytest.mark.parametrize("name", FILES)
def test_a_word_is_found_in_a_file_of_every_format(name: str) -> None:
    assert _is_in(name, FILES[name], WORD)
    assert not _is_in(name, FILES[name], "person-0009")


@pytest.mark.parametrize("name", ["page.html", "escaped.json", "log.gz", "arrays.npz", "picture.png", "brief.pdf"])
def test_a_search_of_the_bytes_alone_finds_nothing_in_what_is_packed(name: str) -> None:
    assert WORD.encode() not in FILES[name]


def test_ids_in_the_statistics_of_parquet_stand_in_clear_and_are_found() -> None:
    table = io.BytesIO()
    pl.DataFrame({"x": [WORD, "zzz"]}).write_parquet(table, statistics=True)
    footer = table.getvalue()[-int.from_bytes(table.getvalue()[-8:-4], "little") - 8 :]
    assert WORD.encode() in footer
    assert _is_in("footer-only.bin", footer, WORD)


def test_a_word_in_a_duckdb_file_is_found(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as database:
        database.execute("CREATE TABLE t AS SELECT ['x', ?] AS who", [WORD])
    assert _is_in("w.duckdb", (tmp_path / "w.duckdb").read_bytes(), WORD)


def test_a_word_in_an_extract_of_tableau_is_found(tmp_path: Path) -> None:
    pantab = pytest.importorskip("pantab")
    pantab.frame_to_hyper(pl.DataFrame({"who": [WORD]}), tmp_path / "w.hyper", table="t")
    assert _is_in("w.hyper", (tmp_path / "w.hyper").read_bytes(), WORD)


def test_a_damaged_file_of_a_known_format_is_an_error_and_not_empty() -> None:
    with pytest.raises(ForgettingError, match="nested"):
        list(texts_of("nested.parquet", io.BytesIO(FILES["nested.parquet"][:-20])))


def test_archives_within_archives_end_in_an_error() -> None:
    data = b"x"
    for _ in range(MAX_DEPTH + 2):
        data = zipped({"inner.zip": data})
    with pytest.raises(ForgettingError, match="within archives"):
        list(texts_of("outer.zip", io.BytesIO(data)))
