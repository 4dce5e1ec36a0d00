"""`cvq evaluate --iris`: iris codes of a folder compared with one another, without drops, builds or a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cv_quality.cli.common import JSON, PAGE, print_document, print_rows, progress_bars, say, writing
from cv_quality.cli.samples import code_shape

if TYPE_CHECKING:
    from cv_quality.scores.evaluation import Evaluation

NORMS = ("raw", "linear", "daugman")


@click.command(name="evaluate --iris")
@click.argument("codes", type=click.Path(exists=True, path_type=Path))
@click.option("--shifts", type=int, default=15, show_default=True, help="Rotations tried, an odd number of columns.")
@click.option(
    "--norm",
    type=click.Choice(NORMS),
    default="raw",
    show_default=True,
    help="How a distance counts the bits that it is of: not; as open-iris; as Daugman.",
)
@click.option("--minimum-bits", type=int, help="Valid in both codes, or they are not comparable. [a tenth]")
@click.option("--pattern", metavar="PATTERN", help='Parts of the names: "{subject}_{eye}_{sample}".')
@click.option(
    "--table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A table with columns path, subject and eye, in place of names.",
)
@click.option("--shape", default="16,256,2,2", show_default=True, callback=code_shape, help="Of bits as base64.")
@click.option("--fmr", "targets", type=float, multiple=True, help="Highest FMR allowed; repeatable. [0.01 to 1e-6]")
@click.option("--threshold", type=float, help="Give both rates at this distance as well.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@click.option("--report", type=PAGE, help="Write an HTML page with the curves.")
@JSON
def evaluate_iris(
    codes: Path,
    targets: Sequence[float],
    threshold: float | None,
    seed: int,
    report: Path | None,
    as_json: bool,
    **comparing: Any,
) -> None:
    """Compare every two CODES of a folder or a file: error rates with intervals by person, and the curve.

    \b
    Reads, and opens no pickle:
      open-iris    1_L_1.json of serialize(), .jsonl, outputs of its pipeline, .npz
      arrays       codes.npy and masks.npy, shape (n, rows, columns, planes), with names.txt or names.csv
      ready        a Parquet file with frame, code and mask, such as a build's templates

    Whose eye a code is of, and which, is told by its name, as for `cvq import iris`. Codes of one eye are genuine,
    those of two people impostor; a person's two eyes are neither, and told apart, as are pairs with too few bits in
    common.

    \b
      cvq evaluate --iris templates --shifts 31 --norm linear
      cvq evaluate --iris codes --pattern "{subject}-{eye}-{sample}" --report codes.html
    """
    from cv_quality.metrics import FMR_TARGETS
    from cv_quality.scores.evaluation import evaluate
    from cv_quality.scores.iris_codes import compare_codes

    with progress_bars() as progress:
        task = progress.add_task("compare codes", total=None)
        found = compare_codes(
            codes,
            **comparing,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    for note in found.scores.notes:
        say(f"note: {note}", err=True)
    fmr_targets = targets or FMR_TARGETS
    evaluation = evaluate(found.scores, name=codes.name, fmr_targets=fmr_targets, threshold=threshold, seed=seed)
    if report is not None:
        from cv_quality.reports.evaluation_page import write_evaluation_report

        with writing(report):
            write_evaluation_report([(found.scores, evaluation)], target=report)
    if as_json:
        print_document({**evaluation.to_dict(), "codes": found.facts.to_dict()})
    else:
        print_evaluations([evaluation], as_json=False)


def print_evaluations(evaluations: "Sequence[Evaluation]", *, as_json: bool) -> None:
    """Print one document for one score set, a list of them for several; or a table each."""
    if as_json:
        documents = [evaluation.to_dict() for evaluation in evaluations]
        print_document(documents[0] if len(documents) == 1 else documents)
        return
    from cv_quality.scores.summary import attack_headline, attack_rows, headline, point_rows

    for evaluation in evaluations:
        print_rows(point_rows(evaluation), as_json=False, title=headline(evaluation))
        if evaluation.attacks is not None:
            print_rows(attack_rows(evaluation), as_json=False, title=attack_headline(evaluation))
        for warning in evaluation.warnings:
            say(f"warning: {warning}", err=True)
