"""Pages of a study: the sheet that its staff prints.

What is shown is computed in `cv_quality.studies`; a page tells its reader no more than he needs.
"""

from pathlib import Path

from cv_quality.reports.provenance import Provenance
from cv_quality.reports.rendering import write_page
from cv_quality.studies.assignment import Sheet, sheet_rows
from cv_quality.studies.protocol import StudyProtocol

SHEET_TITLES = {
    "subject_id": "Subject",
    "stratum": "Stratum",
    "arm": "Build",
    "devices": "Devices, in this order",
    "conditions": "Conditions, in this order",
}


def write_sheet_page(sheet: Sheet, *, protocol: StudyProtocol, provenance: Provenance, target: Path) -> None:
    """Write the sheet for the study's staff to `target`, at once or not at all.

    Args:
        protocol: of the study.
        provenance: what made the page.
    """
    rows = sheet_rows(sheet)
    write_page(
        "reports/templates/study_sheet.html",
        target,
        sheet=sheet,
        protocol=protocol,
        titles=[(name, SHEET_TITLES[name]) for name in (rows[0] if rows else ["subject_id"])],
        rows=rows,
        provenance=provenance,
    )
