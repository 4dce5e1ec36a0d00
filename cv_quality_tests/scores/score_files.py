"""Small score files in every format, for tests of the readers."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cv_quality.scores.score_set import ScoreSet


@dataclass(frozen=True, slots=True)
class Truth:
    """Comparisons as a file should give them back."""

    genuine: tuple[float, ...]
    impostor: tuple[float, ...]

    @property
    def labelled(self) -> list[tuple[bool, float]]:
        return [*((True, float(s)) for s in self.genuine), *((False, float(s)) for s in self.impostor)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of a list of trials: two files of people, whether they are one, and the score."""

    a: str
    b: str
    is_genuine: bool
    score: float


def comparisons(n: int = 300) -> list[Comparison]:
    """One in five is genuine; twelve people, each file named by its person; scores that overlap."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(n):
        is_genuine = number % 5 == 0
        a, b = number % 12, number % 12 if is_genuine else (number % 12 + 1 + number // 12 % 11) % 12
        score = round(float(rng.normal(0.7 if is_genuine else 0.3, 0.15)), 4)
        found.append(Comparison(f"id{a:03d}/s1/{number:03d}.wav", f"id{b:03d}/s2/{number:03d}.wav", is_genuine, score))
    return found


def assert_holds(found: ScoreSet, expected: Iterable[Comparison]) -> None:
    """Every comparison with its truth, and no other."""
    rows = list(expected)
    assert sorted(found.genuine) == sorted(row.score for row in rows if row.is_genuine)
    assert sorted(found.impostor) == sorted(row.score for row in rows if not row.is_genuine)


def write(folder: Path, name: str, text: str | bytes) -> Path:
    """A file with exactly this content."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_every_format(folder: Path, truth: Truth) -> dict[str, tuple[Path, ...]]:
    """The same comparisons once in each format that can hold any scores."""
    rows = [("ann", "ann" if is_genuine else "bob", score) for is_genuine, score in truth.labelled]
    frame = pl.DataFrame(
        {"score": [score for _, score in truth.labelled], "is_genuine": [label for label, _ in truth.labelled]}
    )
    frame.write_parquet(folder / "table.parquet")
    np.savez(folder / "arrays.npz", genuine=np.array(truth.genuine), impostor=np.array(truth.impostor))
    np.save(folder / "exp_gen.npy", np.array(truth.genuine))
    np.save(folder / "exp_imp.npy", np.array(truth.impostor))
    return {
        "bob4": (_lines(folder / "four", (f"{a} {b} p{i} {s!r}" for i, (a, b, s) in enumerate(rows))),),
        "bob5": (_lines(folder / "five", (f"{a}\tm {b}  p{i} {s!r}" for i, (a, b, s) in enumerate(rows))),),
        "two-column": (_lines(folder / "two", (f"{1 if label else -1} {s!r}" for label, s in truth.labelled)),),
        "table": (_lines(folder / "t.csv", ["is_genuine,score", *(f"{label},{s!r}" for label, s in truth.labelled)]),),
        "list": (
            _lines(folder / "x_true.txt", (repr(score) for label, score in truth.labelled if label)),
            _lines(folder / "x_false.txt", (repr(score) for label, score in truth.labelled if not label)),
        ),
        "parquet": (folder / "table.parquet",),
        "numpy": (folder / "arrays.npz",),
        "numpy pair": (folder / "exp_gen.npy", folder / "exp_imp.npy"),
    }


def matrix_text(columns: Iterable[str], rows: Iterable[str], values: Iterable[Iterable[object]]) -> str:
    """A matrix with identity headers."""
    body = "".join(f"{name},{','.join(map(str, line))}\n" for name, line in zip(rows, values, strict=True))
    return f",{','.join(columns)}\n{body}"


def _lines(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_workbook(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    """A workbook as spreadsheets save it, with the parts that a reader needs."""

    def cell(value: object) -> str:
        if isinstance(value, bool):
            return f'<c t="b"><v>{int(value)}</v></c>'
        if isinstance(value, int | float):
            return f"<c><v>{value}</v></c>"
        return f'<c t="inlineStr"><is><t>{"" if value is None else value}</t></is></c>'

    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    names = "".join(f'<sheet name="{name}" sheetId="{at}" r:id="r{at}"/>' for at, name in enumerate(sheets, 1))
    targets = "".join(
        f'<Relationship Id="r{at}" Type="{office}/worksheet" Target="worksheets/s{at}.xml"/>'
        for at in range(1, len(sheets) + 1)
    )
    root = f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_rels/.rels", f"<Relationships {package}>{root}</Relationships>")
        archive.writestr("xl/workbook.xml", f'<workbook {main} xmlns:r="{office}"><sheets>{names}</sheets></workbook>')
        archive.writestr("xl/_rels/workbook.xml.rels", f"<Relationships {package}>{targets}</Relationships>")
        for at, rows in enumerate(sheets.values(), 1):
            body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
            archive.writestr(f"xl/worksheets/s{at}.xml", f"<worksheet {main}><sheetData>{body}</sheetData></worksheet>")
    return path
