"""Commands that search any table for root causes: its slices, and what a change between two tables is made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.error_analysis.attribution import Attribution
    from cv_quality.error_analysis.slice_report import SliceReport
    from cv_quality.tables.outcomes import OutcomeReading

TABLE = click.Path(path_type=Path)
OUTCOME = click.option(
    "--outcome",
    metavar="COL",
    help="True, 1, yes or FAIL where a row failed, or a loss as a number. This or --failed-when.",
)
FAILED_WHEN = click.option(
    "--failed-when",
    multiple=True,
    metavar="COL=VALUE[,VALUE...]",
    help='Which rows failed, as "result=REJECT" or "result!=OK"; repeatable, any of them fails.',
)
MISSING = click.option(
    "--missing",
    multiple=True,
    metavar="TOKEN",
    help="A cell that means missing, in every column; repeatable. N/A, None, - and the like are missing in numbers.",
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
SHOWN_PROPOSALS = 3
SEED = click.IntRange(min=0)


@click.command()
@click.argument("table", type=TABLE)
@OUTCOME
@FAILED_WHEN
@SUBJECT
@COLUMNS
@EXCLUDE
@KEEP
@MISSING
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the split of the subjects.")
@click.option("--report", type=PAGE, help="Write an HTML page of what was found.")
@JSON
def slices(
    table: Path,
    outcome: str | None,
    failed_when: Sequence[str],
    subject: str | None,
    columns: Sequence[str],
    exclude: Sequence[str],
    keep: Sequence[str],
    missing: Sequence[str],
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Find the slices of a TABLE (CSV or Parquet) that fail more than the rest.

    A CSV may be written in any dialect; what was understood (separator, encoding, decimal comma, units, what was taken
    as missing) is said before the search. Two values that do not say plainly which of them is a failure are asked for;
    a few rows without an outcome or a subject are left out, and said.

    A slice is a conjunction of conditions on the columns: values, values joined, thresholds, missing. Half of the
    subjects propose slices, the other half confirm them, and the other way round, on five splits of the subjects
    (three are enough where they confirm the same slices in the same words); what is printed held in most of them on
    subjects that did not propose it, at a level of 0.5 % for the whole table.
    Conditions that a slice explains are listed apart. A column that nearly determines the outcome, as a score or a
    decision does, is not searched unless it is named with --keep.

    \b
      cvq slices attempts.parquet --outcome failed --subject subject_id
      cvq slices attempts.csv --outcome failed --subject subject_id --columns light,lens,eyewear --report why.html
      cvq slices log.csv.gz --failed-when result=REJECT,TIMEOUT --subject subject_id --missing unknown
      cvq slices frames.csv --outcome error_px --json
    """
    from cv_quality.error_analysis.discovery import find_slices
    from cv_quality.tables.reading import opened_table

    ids = [subject] if subject else []
    with naming(table), endless_bar("searching for slices"), opened_table(table, ids=ids, missing=missing) as opened:
        read = _outcome([opened.rows], outcome, failed_when, subject)
        reading = _say_reading(table, [*opened.notes, *read.notes])
        known = read.tables[0].collect_schema().names()
        found = find_slices(
            read.tables[0],
            outcome=read.name,
            subject=subject,
            columns=_names(columns, known) or None,
            exclude=[name for name in _names(exclude, known) if name not in read.columns],
            keep=_names(keep, known),
            seed=seed,
            threads=Settings.from_environment().threads,
        )
    if report is not None:
        from cv_quality.reports.provenance import of_files
        from cv_quality.reports.slices_page import write_slices_report

        made = of_files([table], command=command_line())
        with writing(report):
            write_slices_report(found, title=table.name, reading=reading, provenance=made, target=report)
    if as_json:
        print_document(found.to_dict() | {"reading": reading})
    else:
        _say_slices(found, title=f"{table.name}: {found.n_rows:,} rows")


def _say_slices(found: "SliceReport", *, title: str) -> None:
    from cv_quality.error_analysis.summary import slice_rows

    print_rows(slice_rows(found), as_json=False, title=title)
    for item in found.set_apart:
        say(f"{item.sentence} To search it all the same: --keep {item.column}")
    _say_skipped(found.skipped)
    parts, away, few = found.only_combined, found.explained_away, found.insufficient
    for sentence in (*(item.sentence for item in (*parts, *away)), *(item.sentence for item in few), found.conclusion):
        say(sentence)


@click.command()
@click.argument("before", type=TABLE)
@click.argument("after", type=TABLE)
@OUTCOME
@FAILED_WHEN
@SUBJECT
@COLUMNS
@EXCLUDE
@KEEP
@MISSING
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of everything random.")
@click.option("--report", type=PAGE, help="Write an HTML page with the waterfall.")
@JSON
def attribute(
    before: Path,
    after: Path,
    outcome: str | None,
    failed_when: Sequence[str],
    subject: str | None,
    columns: Sequence[str],
    exclude: Sequence[str],
    keep: Sequence[str],
    missing: Sequence[str],
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
      cvq attribute before.csv after.csv --failed-when "result!=OK" --subject subject_id
    """
    from cv_quality.error_analysis.attribution import attribute_tables
    from cv_quality.tables.reading import opened_tables

    ids = [subject] if subject else []
    with (
        naming(before, after),
        endless_bar("attributing the change"),
        opened_tables(before, after, ids=ids, missing=missing) as opened,
    ):
        read = _outcome([item.rows for item in opened], outcome, failed_when, subject)
        reading = []
        for path, item in zip((before, after), opened, strict=True):
            reading += _say_reading(path, [*item.notes, *read.notes])
        old, new = read.tables
        known = new.collect_schema().names()
        found = attribute_tables(
            old.collect(),
            new.collect(),
            outcome=read.name,
            subject=subject,
            columns=_names(columns, known) or None,
            exclude=[name for name in _names(exclude, known) if name not in read.columns],
            keep=_names(keep, known),
            seed=seed,
        )
    title = f"{before.name} to {after.name}"
    if report is not None:
        from cv_quality.reports.attribution_page import write_attribution_report
        from cv_quality.reports.provenance import of_files

        made = of_files([before, after], command=command_line())
        with writing(report):
            write_attribution_report(found, title=title, reading=reading, provenance=made, target=report)
    if as_json:
        print_document(found.to_dict() | {"reading": reading})
    else:
        _say_parts(found, title=title, subject=subject)


def _say_parts(found: "Attribution", *, title: str, subject: str | None) -> None:
    from cv_quality.error_analysis.summary import part_rows

    print_rows(part_rows(found), as_json=False, title=title)
    _say_skipped(found.skipped)
    if found.n_subjects is not None and found.n_paired == 0:
        say(f"No {subject} is in both tables: their rows are compared as those of different people.")
    say(found.conclusion)


def _outcome(
    tables: "Sequence[pl.LazyFrame]", outcome: str | None, failed_when: Sequence[str], subject: str | None
) -> "OutcomeReading":
    """The tables with the outcome that the options name, without the rows that have none."""
    from cv_quality.tables.outcomes import (
        outcome_of_column,
        outcome_of_conditions,
        suggested_conditions,
        without_unusable_rows,
    )

    if (outcome is None) == (not failed_when):
        proposed = [] if failed_when else suggested_conditions(tables[-1])
        known = f". Perhaps: {', or '.join(proposed[:SHOWN_PROPOSALS])}" if proposed else ", as result=REJECT"
        raise click.UsageError(f"name what failed: either --outcome COL or --failed-when COL=VALUE{known}")
    if outcome is not None:
        return without_unusable_rows(outcome_of_column(tables, outcome), subject)
    return without_unusable_rows(outcome_of_conditions(tables, failed_when), subject)


def _say_reading(table: Path, notes: Sequence[str]) -> list[str]:
    """Say in one line what was understood of a table, before anything is computed."""
    lines = [f"{table.name}: {'; '.join(notes)}"] if notes else []
    for line in lines:
        say(line, err=True)
    return lines


def _say_skipped(skipped: Mapping[str, str]) -> None:
    """Say which columns were not searched, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for column, reason in skipped.items():
        reasons.setdefault(reason, []).append(column)
    for reason, columns in reasons.items():
        say(f"Not searched: {', '.join(columns)} ({reason})")


def _names(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """Column names given one by one or joined by commas. A known name with a comma is left whole."""
    names = [name for item in columns for name in ([item] if item in known else item.split(","))]
    return [name.strip() if name not in known else name for name in names if name.strip()]
