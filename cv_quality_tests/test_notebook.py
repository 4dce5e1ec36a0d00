"""The example notebooks run in a kernel of their own, from the first cell to the last, and show what they find."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
DARK = r"lux &lt;= [56]\d"
"""The planted cause, lux <= 60, within what its slice may be."""


def shown(name: str) -> dict[str, list[str]]:
    """What the cells of a notebook end with, by kind, in their order."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    results = [out for cell in notebook.cells for out in cell.get("outputs", ()) if out.output_type == "execute_result"]
    return {
        "tables": [out.data["text/html"] for out in results if "text/html" in out.data],
        "charts": [out.data["image/svg+xml"] for out in results if "image/svg+xml" in out.data],
    }


@pytest.mark.parametrize(
    ("name", "tables", "charts"),
    [
        ("evaluate_scores.ipynb", ["operating_points", "build-2"], ["Detection error trade-off", "genuine"]),
        ("find_root_causes.ipynb", [DARK, "glasses", DARK], [DARK, DARK]),
    ],
)
def test_a_notebook_shows_tables_and_charts(name: str, tables: list[str], charts: list[str]) -> None:
    found = shown(name)
    assert all(re.search(part, text) for part, text in zip(tables, found["tables"], strict=True))
    assert all(re.search(part, text) for part, text in zip(charts, found["charts"], strict=True))
    assert not any("var(--" in text for text in found["charts"])
