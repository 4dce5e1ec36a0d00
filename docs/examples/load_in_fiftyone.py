"""Load what `cvq export BUILD --slice N --to DIR --images` wrote into FiftyOne, which is installed apart.

python load_in_fiftyone.py DIR NAME: each attempt whose image was written becomes a sample with the table's columns.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

TAKEN = {"id", "filepath", "tags", "metadata", "created_at", "last_modified_at"}
"""Fields that every sample has of its own."""
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.(0|\d*[1-9]))?(e-?\d+)?")
"""As an export writes them: 2.10 and 007 are texts."""


def samples(folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Read the path of each image with the fields of its attempt; those without a value are left out."""
    with (folder / "attempts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = {name: _kind(name, (row[name] for row in rows if row[name])) for name in (rows[0] if rows else ())}
    for row in rows:
        if image := row.pop("image"):
            fields = {f"{name}_" * (name in TAKEN) or name: kinds[name](text) for name, text in row.items() if text}
            yield str(folder / image), fields


def _kind(name: str, cells: Iterable[str]) -> Callable[[str], object]:
    """One type for a whole column, as FiftyOne wants it; ids are texts."""
    different = set(cells)
    if different <= {"true", "false"}:
        return "true".__eq__
    is_number = not name.endswith("_id") and all(map(NUMBER.fullmatch, different))
    return float if is_number else str


def main(folder: Path, name: str) -> None:
    """Make a FiftyOne data set of an export."""
    import fiftyone

    dataset = fiftyone.Dataset(name, persistent=True)
    dataset.add_samples([fiftyone.Sample(filepath=path, **fields) for path, fields in samples(folder)])


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
