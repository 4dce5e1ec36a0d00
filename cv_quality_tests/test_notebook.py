"""The example notebook runs from its first cell to its last, and shows what it finds."""

import ast
import json
from pathlib import Path

from cv_quality.error_analysis.slice_report import SliceReport
from cv_quality.scores.evaluation import Evaluation

NOTEBOOK = Path(__file__).parents[1] / "docs" / "examples" / "from_table_to_cause.ipynb"


def shown(cells: list[str]) -> list[object]:
    """What each cell ends with, all run in one namespace; None where it ends with a statement."""
    names: dict[str, object] = {}
    results: list[object] = []
    for cell in cells:
        tree = ast.parse(cell)
        last = tree.body[-1]
        names["shown"] = None
        if isinstance(last, ast.Expr):
            shows = ast.copy_location(ast.Assign([ast.Name("shown", ast.Store())], last.value), last)
            tree.body[-1] = ast.fix_missing_locations(shows)
        exec(compile(tree, "cell", "exec"), names)
        results.append(names["shown"])
    return results


def test_the_notebook_finds_and_shows_what_was_planted() -> None:
    document = json.loads(NOTEBOOK.read_text())
    cells = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    _, evaluation, report = shown(cells)
    assert isinstance(evaluation, Evaluation)
    assert "operating_points" in evaluation._repr_html_()
    assert isinstance(report, SliceReport)
    (slice_,) = report.slices
    (predicate,) = slice_.where.where
    assert (predicate.column, predicate.op) == ("lux", "<=")
    assert isinstance(predicate.value, float)
    assert 50 < predicate.value < 70
    assert slice_.where.sentence().replace("<", "&lt;") in report._repr_html_()
