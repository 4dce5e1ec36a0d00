"""Publishes a build: every product of one edition into a folder of its own, and the index of all editions anew.

An edition goes by its numbers: `<build>/<day of the newest data>-<digest>/`, the digest being of the build's page, of
this package's version and of the products. The same numbers are the same edition; others stand beside it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cv_quality.errors import NothingToPublish, ObjectNotFound, PublishingError
from cv_quality.lake.staging import staging_folder
from cv_quality.lake.store import Store
from cv_quality.publishing.builds_page import write_builds_page
from cv_quality.publishing.product import Edition, Product
from cv_quality.reports.provenance import package_version

ABOUT = "edition.json"
"""Written last of an edition: one without it is not complete, and is not listed."""
INDEX = "index.html"
DIGITS = 12


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file of an edition."""

    product: str
    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A product that there is nothing for, and why."""

    product: str
    reason: str


@dataclass(frozen=True, slots=True)
class Publication:
    """One edition as it was published.

    Attributes:
        name: its folder in the store.
        day: of the newest data in it.
        standing, headline: how the build stands.
        made_with: version of this package.
        left_out: products that were asked for, and that the build has nothing for.
    """

    name: str
    build: str
    baseline: str | None
    subject_matter: str
    day: str
    standing: str
    headline: str
    made_with: str
    files: tuple[PublishedFile, ...]
    left_out: tuple[LeftOut, ...] = ()


def publish(edition: Edition, products: Sequence[Product], store: Store) -> Publication:
    """Publish an edition as products.

    Args:
        edition: of one build.
        products: what is made of it.
        store: where they go.

    Raises:
        PublishingError: a product cannot be made, or the build has nothing for any of them.
        StoreError: the store cannot be written.
    """
    workspace, name = edition.workspace, _name(edition, products)
    edition = replace(edition, location=f"{store.uri.rstrip('/')}/{name}")
    with staging_folder(workspace.settings.home, prefix=".published-") as folder:
        files, left_out = _made(edition, products, folder)
        publication = _publication(edition, name, files, left_out)
        for file in files:
            store.put_file(f"{publication.name}/{file.name}", folder / file.name)
        store.write_bytes(f"{publication.name}/{ABOUT}", _json(publication))
        index = folder / INDEX
        write_builds_page(workspace, store, publications(store), index)
        store.put_file(INDEX, index)
    return publication


def publications(store: Store) -> tuple[Publication, ...]:
    """List the complete editions of a store, by build, the newest data first."""
    found = []
    for build in store.folders():
        for edition in store.folders(f"{build}/"):
            with suppress(ObjectNotFound):
                values = json.loads(store.read_bytes(f"{build}/{edition}/{ABOUT}"))
                files = tuple(PublishedFile(**item) for item in values.pop("files"))
                left_out = tuple(LeftOut(**item) for item in values.pop("left_out", ()))
                found.append(Publication(**values, files=files, left_out=left_out))
    return tuple(sorted(found, key=lambda item: (item.build, item.day, item.name), reverse=True))


def _made(
    edition: Edition, products: Sequence[Product], folder: Path
) -> tuple[tuple[PublishedFile, ...], tuple[LeftOut, ...]]:
    """Make products, and say which the build has nothing for.

    Raises:
        PublishingError: as `publish`.
    """
    files: list[PublishedFile] = []
    left_out: list[LeftOut] = []
    for product in products:
        try:
            files += [_described(product, path, folder) for path in _written(product, edition, folder)]
        except NothingToPublish as error:
            left_out.append(LeftOut(product.name, str(error)))
    if not files:
        said = "; ".join(f"{item.product}: {item.reason}" for item in left_out)
        raise PublishingError(f"{edition.briefing.build}: nothing is published; {said or 'no product is asked for'}")
    return tuple(files), tuple(left_out)


def _written(product: Product, edition: Edition, folder: Path) -> Iterable[Path]:
    own = folder / product.name
    own.mkdir()
    return product.write(edition, own)


def _described(product: Product, path: Path, folder: Path) -> PublishedFile:
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return PublishedFile(product.name, path.relative_to(folder).as_posix(), path.stat().st_size, digest)


def _name(edition: Edition, products: Sequence[Product]) -> str:
    """Name an edition by the build, the day of its newest data, and what it holds."""
    briefing = edition.briefing
    page = edition.workspace.report_path(briefing.build).read_bytes()
    held = repr((package_version(), hashlib.sha256(page).hexdigest(), sorted({product.name for product in products})))
    return f"{briefing.build}/{_day(edition)}-{hashlib.sha256(held.encode()).hexdigest()[:DIGITS]}"


def _day(edition: Edition) -> str:
    return f"{edition.briefing.captured_until:%Y-%m-%d}"


def _publication(
    edition: Edition, name: str, files: tuple[PublishedFile, ...], left_out: tuple[LeftOut, ...]
) -> Publication:
    briefing = edition.briefing
    return Publication(
        name=name,
        build=briefing.build,
        baseline=briefing.baseline,
        subject_matter=briefing.subject_matter,
        day=_day(edition),
        standing=briefing.standing,
        headline=briefing.headline,
        made_with=package_version(),
        files=files,
        left_out=left_out,
    )


def _json(publication: Publication) -> bytes:
    return json.dumps(asdict(publication), indent=1, ensure_ascii=False).encode() + b"\n"
