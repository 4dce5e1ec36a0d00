"""A product of publishing as a value: its name, and what writes it from the edition of one build."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cv_quality.lake.store import atomic_path
from cv_quality.reports.briefing import Briefing
from cv_quality.reports.section import ReportSource

if TYPE_CHECKING:
    from cv_quality.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Edition:
    """What is published of one build.

    Attributes:
        source: what its page is made from.
        location: where its files will lie, such as s3://bucket/prefix/build/edition; empty until that is known.
    """

    briefing: Briefing
    source: ReportSource
    workspace: "Workspace"
    location: str = ""


def write_files(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write the files of a product by their names, each at once or not at all."""
    for name, data in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(data)
    return tuple(folder / name for name in files)


@dataclass(frozen=True, slots=True)
class Product:
    """One kind of file that is published.

    Attributes:
        name: as it is asked for, `cvq publish --what NAME`.
        title: for people.
        write: writes its files into a folder that exists, atomically, and returns them.
    """

    name: str
    title: str
    write: Callable[[Edition, Path], tuple[Path, ...]]
