"""The readers of untrusted bytes, each with small sound inputs and ways to damage them, for tests and for long fuzzing.

A reader may refuse its input with a typed error; anything else that it raises, and a row that it loses, is a fault. The
suite tries a few hundred inputs (`test_readers.py`), `python -m benchmarks.fuzz_readers` as many as there is time for.
"""

import io
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.drops.events import judge
from cv_quality.drops.images import decode_image, inspect_image
from cv_quality.drops.lines import Block, HashingReader, read_pieces
from cv_quality.drops.manifest import completed_drops, read_manifest
from cv_quality.drops.parsing import LineSource, parse_piece
from cv_quality.drops.quarantine import Rejection
from cv_quality.drops.tables import QUARANTINE_PARSE
from cv_quality.errors import CvQualityError, FrameError
from cv_quality.lake.store import open_store
from cv_quality_tests.drops.small_drops import (
    DROP_ID,
    FACES,
    STREAM_FRAME,
    attempt,
    background,
    event,
    open_site,
    png,
    tar,
    zstd,
)

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_EDITS, MAX_SPAN = 8, 40
NUMBERS = tuple(struct.pack(code, value) for code in ("<H", ">H", "<I", ">I") for value in (0, 1, 0x7FFF, 0xFFFF))
JSON_WORDS = (
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"9223372036854775808", b"-0", b"0.1e-400", b'""', b"\\ud800"),
    *(b"\\u0000", b"[[[[", b"{}", b"{", b"}", b"]", b",", b":", b'"', b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n"),
    *(b"\r", b" ", b"\t", b"0000-01-01T00:00:00Z", b"9999-12-31T23:59:59.999999Z", b"2026-02-30T00:00:00Z"),
    *(b"T24:00:00Z", b":60Z", b"+14:00", b'"kind":"attempt"', b'"kind":"subject"', b'"occurred_at":'),
)
TEXT_WORDS = (
    *(
        b'"',
        b",",
        b";",
        b" ",
        b"\t",
        b"\n",
        b"\r",
        b"\0",
        b"#",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"{",
        b"}",
        b":",
        b"[",
        b"'",
    ),
    *(b"score", b"is_genuine", b"label", b"1", b"-1", b"0.5", b"1,5", b"nan", b"-inf", b"1e999", b"true", b"\xc3\xa9"),
    *(b"9223372036854775808", b"0" * 40, b"1_000", b"NA", b"2026-01-01", b"0x1p3"),
)


@dataclass(frozen=True)
class Target:
    """One reader under attack.

    Attributes:
        name: for people.
        make_seeds: sound inputs, made when first asked for.
        words: pieces that mean something to the reader.
        read: hands an input to the reader, in an empty folder; asserts what must hold of the result.
        finish: what is done to a damaged input so that it gets past checksums and compression.
    """

    name: str
    make_seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes]
    read: Callable[[bytes, Path], object]
    finish: Callable[[bytes], bytes] = bytes

    @cached_property
    def seeds(self) -> tuple[bytes, ...]:
        return tuple(self.make_seeds())

    def attack(self, data: bytes, folder: Path) -> bool:
        """Whether the reader takes `data`; a typed error refuses it, any other one passes through."""
        with suppress(CvQualityError):
            self.read(data, folder)
            return True
        return False


def damaged(target: Target, rng: Random) -> bytes:
    """A sound input with a few bytes overwritten, dropped, doubled, or taken from elsewhere."""
    data = bytearray(rng.choice(target.seeds))
    for _ in range(rng.randint(0, MAX_EDITS)):
        start = rng.randint(0, len(data))
        stop = min(len(data), start + rng.randint(0, MAX_SPAN))
        kind = rng.choice(("overwrite", "overwrite", "insert", "insert", "drop", "double", "cut", "splice"))
        if kind == "overwrite":
            word = _word(target, rng)
            data[start : start + len(word)] = word
        elif kind == "insert":
            data[start:start] = _word(target, rng) * rng.choice((1, 1, 1, 50))
        elif kind == "drop":
            del data[start:stop]
        elif kind == "double":
            data[start:start] = data[start:stop] * rng.choice((1, 3, 200))
        elif kind == "cut":
            del data[start:]
        else:
            other = rng.choice(target.seeds)
            data[start:] = other[rng.randint(0, len(other)) :]
    return target.finish(bytes(data))


def _word(target: Target, rng: Random) -> bytes:
    if rng.random() < 0.5:
        return rng.choice((*target.words, *NUMBERS))
    return bytes(rng.randint(0, 255) for _ in range(rng.randint(1, 4)))


def _manifest_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        site = open_site(Path(name))
        site.deliver(*background(), attempt())
        return [(Path(name) / "landing" / DROP_ID / "manifest.json").read_bytes()]


def _read_manifest(data: bytes, folder: Path) -> None:
    landing = open_store(str(folder))
    landing.write_bytes(f"{DROP_ID}/manifest.json", data)
    (drop,) = completed_drops(landing)
    manifest = read_manifest(landing, DROP_ID)
    assert manifest.identity == drop.identity
    assert manifest.modality == drop.modality


def _event_seeds() -> list[bytes]:
    full = {"frame": "f/1.png", "illuminance_lux": 12.5, "yaw_deg": -3.0, "eyewear": "glasses", "liveness_score": 0.25}
    lines = [*background(), attempt(), attempt(**full), event("stream_frame", STREAM_FRAME)]
    other = [attempt(event_id=f"a{number}", device_score=number / 7) for number in range(40)]
    return [b"\n".join(lines) + b"\n", b"\n".join(other) + b"\n", b"\n".join([*lines, *lines])]


def _take_in(data: bytes, folder: Path, *, name: str) -> None:
    """Take in and validate a drop of one file: rows in are rows valid and rows quarantined, at both stages."""
    site = open_site(folder)
    site.deliver_files({name: data}, rows=1_000_000)
    summary = site.ingest()
    assert summary.rows_in == summary.rows_valid + summary.rows_quarantined
    assert summary.rows_quarantined == site.rows(QUARANTINE_PARSE).height
    found = site.validate()
    assert found.rows_valid + found.rows_rejected == sum(summary.rows.values())


def _parse_lines(data: bytes, folder: Path) -> None:
    """Every line that is not blank is a row or a rejection, and what is a row the explaining judge would let pass."""
    path = folder / "events"
    path.write_bytes(data)
    lines: list[bytes] = []
    numbers: list[int] = []
    is_whole = True
    with path.open("rb") as file:
        for piece in read_pieces(path, HashingReader(file)):
            parsed = parse_piece(piece, source=LineSource(DROP_ID, path.name, FACES))
            rows = [line for table in parsed.tables.values() for line in table["source_line"].to_pylist()]
            numbers += [*rows, *(rejection.line for rejection in parsed.rejections)]
            is_whole &= isinstance(piece, Block)
            if isinstance(piece, Block):
                lines += piece.data.split(b"\n")[:-1]
                assert not [
                    row for row in rows if isinstance(judge(lines[row - 1], number=row, schema=FACES), Rejection)
                ]
    if is_whole:
        assert sorted(numbers) == [number for number, line in enumerate(lines, start=1) if line.strip()]


def _read_events(data: bytes, folder: Path) -> None:
    _take_in(data, folder, name="events-0.jsonl.zst")


def _read_shard(data: bytes, folder: Path) -> None:
    _take_in(data, folder, name="frames-0.tar")


def _shard_seeds() -> list[bytes]:
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "a.png"
    buffers = [tar(("a.png", png()), ("b/c.png", png(width_px=3)), link)]
    for dialect in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=dialect) as file:
            info = tarfile.TarInfo("long/" * 24 + "é.png")
            info.size = len(png())
            file.addfile(info, io.BytesIO(png()))
        buffers.append(buffer.getvalue())
    return buffers


def _with_tar_sums(data: bytes) -> bytes:
    """The same tar with the checksum of every block that looks like a header made right."""
    fixed = bytearray(data)
    for start in range(0, len(fixed) - 511, 512):
        block = fixed[start : start + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            fixed[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(fixed)


def _image_seeds() -> list[bytes]:
    from PIL import Image

    grey = Image.fromarray(np.arange(24 * 32, dtype=np.uint32).astype(np.uint8).reshape(24, 32))
    colour = Image.merge("RGB", (grey, grey.rotate(180), grey.point(lambda value: value // 2)))
    seeds = [_saved(grey, "PNG"), _saved(colour, "PNG"), _saved(colour.convert("P"), "PNG"), png()]
    seeds += [_saved(colour, "JPEG"), _saved(colour, "JPEG", progressive=True), _saved(colour.convert("CMYK"), "JPEG")]
    seeds += [_saved(colour, "GIF", comment=b"words" * 9), _saved(grey, "BMP"), _saved(colour, "BMP")]
    plain = b"P3 # words\n2 2\n255\n" + b"1 2 3 " * 4
    run_length = bytearray(_saved(colour.convert("P"), "BMP"))
    run_length[30:34] = struct.pack("<I", 1)
    return [*seeds, _saved(grey, "PPM"), _saved(colour, "PPM"), plain, b"P5 4 2 7\n" + bytes(8), bytes(run_length)]


def _saved(image: "Image", format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format_, **options)
    return buffer.getvalue()


def _with_png_sums(data: bytes) -> bytes:
    """The same PNG with the checksum of every chunk made right, as far as its lengths can be followed."""
    fixed, place = bytearray(data), 8
    while data.startswith(b"\x89PNG") and place + 12 <= len(fixed):
        (size,) = struct.unpack(">I", fixed[place : place + 4])
        end = place + 8 + size
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[place + 4 : end]))
        place = end + 4
    return bytes(fixed)


def _read_image(data: bytes, _: Path) -> None:
    info = inspect_image(data)
    with suppress(FrameError):
        assert decode_image(data).shape[:2] == (info.height_px, info.width_px)


def _score_seeds() -> list[bytes]:
    from cv_quality_tests.scores.score_files import Truth, matrix_text, write_every_format

    truth = Truth((0.9, 0.8, 0.7, 0.95), (0.1, 0.2, 0.3, 0.4, 0.75))
    with tempfile.TemporaryDirectory() as name:
        write_every_format(Path(name), truth)
        files = [path.read_bytes() for path in sorted(Path(name).iterdir())]
    people = ["ann", "bob", "cyd"]
    square = matrix_text(people, people, [[1, 0.2, 0.1], [0.2, 1, 0.3], [0.1, 0.3, 1]])
    bee = b"S2\nt.lst\nq.lst\nMF 2 2 \x78\x56\x34\x12\n" + np.arange(4, dtype="<f4").tobytes()
    return [*files, square.encode(), bee, b'{"a_1": 0.5, "b_2": [0.25, 1]}']


def _read_scores(data: bytes, folder: Path) -> None:
    from cv_quality.scores.reading import read_scores

    for name in ("x.txt", "x_true.txt"):
        path = folder / name
        path.write_bytes(data)
        for on_error in ("raise", "skip"):
            found = read_scores(path, on_error=on_error, genuine_pattern=".")
            assert not found.rows["score"].is_nan().any()
            assert found.rows["score"].null_count() == 0


def _table_seeds() -> list[bytes]:
    import polars as pl

    frame = pl.DataFrame({"failed": [True, False] * 4, "lux": [1.5 * n for n in range(8)], "site": ["a", "b"] * 4})
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    text = frame.write_csv().encode()
    odd = b'sep=;\n"a";b\n"1,5";N/A\n2 ms;\xe4\n'
    separated = [text.replace(b",", mark) for mark in (b";", b"\t")]
    return [text, *separated, parquet.getvalue(), zstd(text), odd, text.decode().encode("utf-16")]


def _read_table(data: bytes, folder: Path) -> None:
    from cv_quality.tables.reading import opened_table

    path = folder / "table"
    path.write_bytes(data)
    with opened_table(path) as table:
        for name in table.rows.collect_schema().names():
            table.rows.select(name).collect()


def _archive_seeds() -> list[bytes]:
    from cv_quality.settings import REFERENCE_MODELS

    return [(Path(REFERENCE_MODELS) / "face-a.pt2").read_bytes()]


def _read_archive(data: bytes, _: Path) -> None:
    from cv_quality.inference.archive import harmless_archive

    harmless_archive(data, name="model.pt2")


_ZSTD = (b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18")
_TAR = (b"ustar\x0000", b"path=", b"size=", bytes(512), b"77777777777\0")
_IMAGE = (b"\xff\xda", b"\xff\xd8", b"IDAT", b"acTL", b"zTXt", b"\x21\xfe", b"\x2c")
TARGETS = (
    Target("manifest", _manifest_seeds, JSON_WORDS, _read_manifest),
    Target("lines", _event_seeds, JSON_WORDS, _parse_lines, finish=zstd),
    Target("zstd", lambda: [zstd(seed) for seed in _event_seeds()], _ZSTD, _parse_lines),
    Target("drop", _event_seeds, JSON_WORDS, _read_events, finish=zstd),
    Target("shard", _shard_seeds, _TAR, _read_shard, finish=_with_tar_sums),
    Target("image", _image_seeds, _IMAGE, _read_image, finish=_with_png_sums),
    Target("scores", _score_seeds, TEXT_WORDS, _read_scores),
    Target("table", _table_seeds, TEXT_WORDS, _read_table),
    Target("archive", _archive_seeds, (b"PK\x03\x04", b"PK\x01\x02", *JSON_WORDS), _read_archive),
)
