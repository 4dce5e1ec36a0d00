"""The failure report as a product: the page that the chain wrote, as it is."""

import shutil
from pathlib import Path

from cv_quality.lake.store import atomic_path
from cv_quality.publishing.product import Edition, Product


def copy_page(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Copy the page of a build.

    Args:
        edition: of a build whose report has passed.
        folder: where to.
    """
    target = folder / "report.html"
    with atomic_path(target) as temporary:
        shutil.copyfile(edition.workspace.report_path(edition.briefing.build), temporary)
    return (target,)


PAGE = Product("page", "Failure report", copy_page)
