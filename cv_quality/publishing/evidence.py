"""What the data leave open, for those who recruit and test: groups, conditions, and how many subjects settle each."""

import csv
import io
from pathlib import Path

from cv_quality.publishing.product import Edition, Product, write_files
from cv_quality.publishing.tickets import escaped
from cv_quality.text import figures, visible


def write_evidence(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write what is open about a build, as a table and to read.

    Args:
        edition: whose questions they are.
        folder: where to.
    """
    briefing = edition.briefing
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("about", "reason", "subjects", "subjects_needed"))
    writer.writerows((_inert(item.about), _inert(item.reason), item.n_subjects, item.needed) for item in briefing.thin)
    lines = [f"# What is open about {escaped(briefing.build)}", "", escaped(briefing.next_step.text), ""]
    if briefing.thin:
        lines += ["| about | why | subjects | would settle it |", "|---|---|---:|---:|"]
    for item in briefing.thin:
        cells = (
            escaped(item.about),
            escaped(item.reason),
            "" if item.n_subjects is None else figures(item.n_subjects),
            "not known" if item.needed is None else figures(item.needed),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if not briefing.thin:
        lines.append("Nothing: every requirement, group and condition is settled.")
    page = "\n".join(lines) + "\n"
    return write_files(folder, {"open-questions.csv": table.getvalue().encode(), "open-questions.md": page.encode()})


def _inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


EVIDENCE = Product("evidence", "What is open, and the subjects that would settle it", write_evidence)
