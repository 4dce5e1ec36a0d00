"""Where a page comes from: what made it, of what, and how new that is.

Nothing here asks the clock: a page that is made again of the same inputs has the same bytes.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cv_quality.reports.section import ReportSource


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a page, and of what.

    Attributes:
        made_by: a command line, or a stage and its key.
        version: of this package.
        newest: when the newest input was written or recorded.
        inputs: names and SHA-256 digests.
    """

    made_by: str
    version: str
    newest: datetime
    inputs: tuple[tuple[str, str], ...]


def package_version() -> str:
    """Look up the version of this package."""
    return version("cv-quality")


def of_files(files: Sequence[Path], *, command: str) -> Provenance:
    """Describe a page that a command made of files.

    Args:
        files: its inputs.
        command: as it can be given again.
    """
    newest = datetime.fromtimestamp(max(int(file.stat().st_mtime) for file in files), UTC)
    return Provenance(command, package_version(), newest, tuple((file.name, _digest(file)) for file in files))


def of_build(source: "ReportSource", *, manifests: Sequence[tuple[str, str]], newest: datetime) -> Provenance:
    """Describe the page of a build: its model, the registry entries of it and of its baseline, and its drops.

    Args:
        source: what the page is made from.
        manifests: drops, and digests of their manifests.
        newest: when the newest drop was recorded.
    """
    models = [(f"model of {source.scope.build}", source.entry.sha256)] if source.entry.sha256 else []
    entries = [
        (f"registry entry of {build}", hashlib.sha256(data).hexdigest()) for build, data in source.entry_files.items()
    ]
    drops = [(f"manifest of {drop}", digest) for drop, digest in manifests]
    made_by = shlex.join(["cvq", "report", source.scope.build])
    return Provenance(made_by, package_version(), newest, (*models, *entries, *drops))


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
