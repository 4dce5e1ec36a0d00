"""Brings iris templates of others as a drop whose frames are pictures of the codes, and a build that has them ready.

The templates themselves go into the table that the build's registry entry names by `templates`; they are read in
`cv_quality.drops.importers.iris_templates`, and written as a drop in `sample_drops`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cv_quality.drops.importers.iris_codes import (
    CodeLayout,
    ReadyTemplate,
    picture_of,
    read_ready_table,
    ready_table,
)
from cv_quality.drops.importers.iris_templates import ReadTemplates
from cv_quality.drops.importers.layouts import Layout, NamedSample
from cv_quality.drops.importers.sample_doubts import CheckedSamples
from cv_quality.drops.importers.sample_folders import SampleFolder, understand
from cv_quality.errors import DropError
from cv_quality.lake.store import Store
from cv_quality.metrics.iris.rules import default_minimum
from cv_quality.modality import Modality

SHIFTS: Final = 31
"""As open-iris compares: 15 columns to either side."""
DECISION_THRESHOLD: Final = 0.35
_SHA256 = re.compile(rb"(?m)^(sha256:\s*)[0-9a-f]{64}")


def understand_templates(
    found: ReadTemplates,
    *,
    modality: Modality,
    layout: Layout = "auto",
    pattern: str | None = None,
    table: Path | None = None,
    missing: Sequence[str] = (),
    kept: Path | None = None,
) -> SampleFolder:
    """Understand whose eyes templates are of; one that is of several is refused.

    Args:
        found: the templates.
        modality: of irises.
        layout, pattern, table, missing, kept: as of `read_samples`.

    Raises:
        DropError, TableError: as of `read_samples`.
    """
    return understand(
        found.folder,
        check=lambda: check_templates(found),
        modality=modality,
        layout=layout,
        pattern=pattern,
        table=table,
        missing=missing,
        kept=kept,
        subjects=found.subjects,
        eyes=found.eyes,
    )


def check_templates(found: ReadTemplates) -> CheckedSamples:
    """Look into templates; equal codes have equal digests, failures to acquire one of their own."""
    digests = {name: hashlib.sha256(found.packed[place]).digest() for name, place in found.places.items()}
    return CheckedSamples(found.unusable, digests | {name: name.encode() for name in found.failures})


@dataclass(frozen=True, slots=True)
class TemplateFrames:
    """Draws the frames of a drop of templates, and keeps which template each of them is."""

    found: ReadTemplates
    templates: list[ReadyTemplate] = field(default_factory=list)

    def draw(self, sample: NamedSample, subject_id: str, frame: str) -> bytes:
        """Draw the frame of one template; without one, it is grey.

        Args:
            sample: which template it is.
            subject_id, frame: as the drop calls them.
        """
        place = self.found.places.get(sample.name)
        if place is None:
            return picture_of(None, self.found.layout)
        figures = self.found.figures.get(sample.name, {})
        self.templates.append(ReadyTemplate(frame, self.found.packed[place], subject_id, sample.eye, figures))
        return picture_of(self.found.packed[place], self.found.layout)


def known_table(registry: Store, *, build_id: str, layout: CodeLayout) -> Path | None:
    """Find the table of a build's templates; None where there is none yet.

    Args:
        registry: where entries lie.
        build_id: the build.
        layout: of the templates that are to be added.

    Raises:
        DropError: the build's templates are of another layout.
    """
    if not registry.exists(_table(build_id)):
        return None
    known = registry.local(_table(build_id))
    kept = read_ready_table(known).layout
    if kept != layout:
        raise DropError(
            f"{known}: expected {kept}, as of the build's other templates, found {layout}; import these under a build "
            "of their own"
        )
    return known


def write_build(registry: Store, frames: TemplateFrames, *, build_id: str, drop_id: str) -> bool:
    """Add the templates of a drop to the build's table, and write its registry entry where there is none.

    Args:
        registry: where entries lie.
        frames: of the drop, all drawn.
        build_id, drop_id: theirs.

    Returns:
        Whether an entry was written.

    Raises:
        DropError: the build's other templates are of another layout.
        StoreError: something cannot be written.
    """
    table, entry = _table(build_id), f"{build_id}.yaml"
    known = known_table(registry, build_id=build_id, layout=frames.found.layout)
    data = ready_table(frames.templates, frames.found.layout, drop_id=drop_id, known=known)
    registry.write_bytes(table, data)
    digest = hashlib.sha256(data).hexdigest()
    if registry.exists(entry):
        written = registry.read_bytes(entry)
        registry.write_bytes(entry, _SHA256.sub(rb"\g<1>" + digest.encode(), written, count=1))
        return False
    registry.write_bytes(entry, _entry(frames.found, build_id=build_id, table=table, digest=digest).encode())
    return True


def _table(build_id: str) -> str:
    return f"{build_id}.parquet"


def _entry(found: ReadTemplates, *, build_id: str, table: str, digest: str) -> str:
    """A registry entry that runs; how to compare, and the threshold, are for whoever evaluates to say."""
    minimum = default_minimum(found.layout.bits)
    shifts = min(SHIFTS, found.layout.columns - 1 + found.layout.columns % 2)
    return f"""\
# {found.words}
build_id: {build_id}
modality: iris
follows: null
templates: {table}
sha256: {digest}
code: {{rows: {found.layout.rows}, columns: {found.layout.columns}, planes: {found.layout.planes}}}
comparison: {{shifts: {shifts}, norm: linear, minimum_bits: {minimum}}} # as open-iris compares; it belongs to the claim
decision_threshold: {DECISION_THRESHOLD} # a guess; choose it at an FMR on data of your own
"""
