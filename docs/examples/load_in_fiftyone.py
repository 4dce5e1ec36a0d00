"""Load what `cvq export BUILD --slice N --to DIR --images` wrote into FiftyOne, which is installed apart.

python load_in_fiftyone.py DIR NAME: each attempt whose image was written becomes a sample with the table's columns.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path


def samples(folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Read the path of each image with the fields of its attempt; those without a value are left out."""
    with (folder / "attempts.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if image := row.pop("image"):
                yield str(folder / image), {name: _value(text) for name, text in row.items() if text}


def _value(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def main(folder: Path, name: str) -> None:
    """Make a FiftyOne data set of an export."""
    import fiftyone

    dataset = fiftyone.Dataset(name, persistent=True)
    dataset.add_samples([fiftyone.Sample(filepath=path, **fields) for path, fields in samples(folder)])


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
