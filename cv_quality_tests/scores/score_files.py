"""Small score files in every format, for tests of the readers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl


@dataclass(frozen=True, slots=True)
class Truth:
    """Comparisons as a file should give them back."""

    genuine: tuple[float, ...]
    impostor: tuple[float, ...]

    @property
    def labelled(self) -> list[tuple[bool, float]]:
        return [*((True, float(s)) for s in self.genuine), *((False, float(s)) for s in self.impostor)]


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
