"""Commands that search any table for root causes: its slices, and what a change between two tables is made of."""

from collections.abc import Sequence
from pathlib import Path

import click

from cv_quality.cli.common import (
    JSON,
    PAGE,
    command_line,
    endless_bar,
    naming,
    print_document,
    print_rows,
    say,
    writing,
)
from cv_quality.settings import Settings

TABLE = click.Path(path_type=Path)
OUTCOME = click.option(
    "--outcome", required=True, metavar="COL", help="True or 1 where a row failed, or a loss as a number."
)
SUBJECT = click.option("--subject", metavar="COL", help="Whose row it is; rows of one subject are not independent.")
COLUMNS = click.option(
    "--columns", multiple=True, metavar="COL[,COL...]", help="Where to look for conditions; repeatable. [all others]"
)
EXCLUDE = click.option(
    "--exclude", multiple=True, metavar="COL[,COL...]", help="Columns to leave out of the search; repeatable."
)
KEEP = click.option(
    "--keep",
    multiple=True,
    metavar="COL[,COL...]",
    help="Columns to search though they nearly determine the outcome; repeatable.",
)
SEED = click.IntRange(min=0)


@click.command()
@click.argument("table", type=TABLE)
@OUTCOME
@SUBJECT
@COLUMNS
@EXCLUDE
@KEEP
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the split of the subjects.")
@click.option("--report", type=PAGE, help="Write an HTML page of what was found.")
@JSON
def slices(
    table: Path,
    outcome: str,
    subject: str | None,
    columns: Sequence[str],
    exclude: Sequence[str],
    keep: Sequence[str],
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Find the slices of a TABLE (CSV or Parquet) that fail more than the rest.

    A slice is a conjunction of conditions on the columns: values, values joined, thresholds, missing. Half of the
    subjects propose slices, the other half confirm them, and the other way round, on five splits of the subjects
    (three are enough where they confirm the same slices in the same words); what is printed held in most of them on
    subjects that did not propose it, at a level of 0.5 % for the whole table.
    Conditions that a slice explains are listed apart. A column that nearly determines the outcome, as a score or a
    decision does, is not searched unless it is named with --keep.

    \b
      cvq slices attempts.parquet --outcome failed --subject subject_id
      cvq slices attempts.csv --outcome failed --subject subject_id --columns light,lens,eyewear --report why.html
      cvq slices frames.csv --outcome error_px --json
    """
    from cv_quality.error_analysis.discovery import find_slices
    from cv_quality.error_analysis.reading import opened_table

    with naming(table), opened_table(table) as rows, endless_bar("searching for slices"):
        known = rows.collect_schema().names()
        found = find_slices(
            rows,
            outcome=outcome,
            subject=subject,
            columns=_names(columns, known) or None,
            exclude=_names(exclude, known),
            keep=_names(keep, known),
            seed=seed,
            threads=Settings.from_environment().threads,
        )
    if report is not None:
        from cv_quality.reports.provenance import of_files
        from cv_quality.reports.slices_page import write_slices_report

        made = of_files([table], command=command_line())
        with writing(report):
            write_slices_report(found, title=table.name, provenance=made, target=report)
    if as_json:
        print_document(found.to_dict())
        return
    from cv_quality.error_analysis.summary import slice_rows

    print_rows(slice_rows(found), as_json=False, title=f"{table.name}: {found.n_rows:,} rows")
    for item in found.set_apart:
        say(f"{item.sentence} To search it all the same: --keep {item.column}")
    parts, away, few = found.only_combined, found.explained_away, found.insufficient
    for sentence in (*(item.sentence for item in (*parts, *away)), *(item.sentence for item in few), found.conclusion):
        say(sentence)


@click.command()
@click.argument("before", type=TABLE)
@click.argument("after", type=TABLE)
@OUTCOME
@SUBJECT
@COLUMNS
@EXCLUDE
@KEEP
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of everything random.")
@click.option("--report", type=PAGE, help="Write an HTML page with the waterfall.")
@JSON
def attribute(
    before: Path,
    after: Path,
    outcome: str,
    subject: str | None,
    columns: Sequence[str],
    exclude: Sequence[str],
    keep: Sequence[str],
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Explain the change of a failure rate from the table BEFORE to the table AFTER.

    Slices are found in both tables; each accounts for a part of the change, since it became more frequent (mix) or
    fails more often (rate). The parts add up to the change exactly; their intervals resample subjects, in pairs where
    a subject is in both tables.

    \b
      cvq attribute build-1.parquet build-2.parquet --outcome failed --subject subject_id
    """
    from cv_quality.error_analysis.attribution import attribute_tables
    from cv_quality.error_analysis.reading import opened_table

    with (
        naming(before, after),
        opened_table(before) as old,
        opened_table(after) as new,
        endless_bar("attributing the change"),
    ):
        known = new.collect_schema().names()
        found = attribute_tables(
            old.collect(),
            new.collect(),
            outcome=outcome,
            subject=subject,
            columns=_names(columns, known) or None,
            exclude=_names(exclude, known),
            keep=_names(keep, known),
            seed=seed,
        )
    title = f"{before.name} to {after.name}"
    if report is not None:
        from cv_quality.reports.attribution_page import write_attribution_report
        from cv_quality.reports.provenance import of_files

        made = of_files([before, after], command=command_line())
        with writing(report):
            write_attribution_report(found, title=title, provenance=made, target=report)
    if as_json:
        print_document(found.to_dict())
        return
    from cv_quality.error_analysis.summary import part_rows

    print_rows(part_rows(found), as_json=False, title=title)
    say(found.conclusion)


def _names(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """Column names given one by one or joined by commas. A known name with a comma is left whole."""
    names = [name for item in columns for name in ([item] if item in known else item.split(","))]
    return [name.strip() if name not in known else name for name in names if name.strip()]
