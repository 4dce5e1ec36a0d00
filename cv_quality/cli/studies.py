"""Commands of a study: its size planned, its protocol made binding, its subjects assigned."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import (
    FILE,
    JSON,
    PAGE,
    command_line,
    endless_bar,
    naming,
    open_deployment,
    print_document,
    print_rows,
    say,
    writing,
)
from cv_quality.errors import ProtocolError

if TYPE_CHECKING:
    from cv_quality.studies.analysis import StudyAnalysis
    from cv_quality.studies.assignment import Sheet
    from cv_quality.studies.locking import LockedStudy
    from cv_quality.studies.planning import StudyPlan
    from cv_quality.studies.protocol import StudyMetric

PROTOCOL = click.argument("protocol", type=click.Path(dir_okay=False, path_type=Path))
GIT_SECONDS = 10


@click.group()
def study() -> None:
    """Plan, lock, assign and analyse a study, as its PROTOCOL declares it.

    \b
      cvq study plan release.yaml                            how many subjects, and on what that rests
      cvq study lock release.yaml                            make the protocol binding, before the data
      cvq study assign release.yaml --subjects people.csv    who meets which build and which order
      cvq study analyse release.yaml --look 1                a look at the data, and the verdict
    """


@study.command()
@PROTOCOL
@click.option(
    "--pilot", "pilots", multiple=True, metavar="DROP", help="A drop to learn from; repeatable. [the protocol's]"
)
@click.option(
    "--simulate",
    "runs",
    type=click.IntRange(min=1),
    help="Resample the pilot's subjects for so many studies of the planned size, thresholds estimated anew.",
)
@click.option("--report", type=PAGE, help="Write an HTML page with the curves.")
@JSON
def plan(protocol: Path, pilots: Sequence[str], runs: int | None, report: Path | None, as_json: bool) -> None:
    """Plan how many subjects a PROTOCOL asks for: power, precision, looks, cost, and what hangs on each assumption.

    What a pilot's drops show replaces what the protocol assumes; a value that the protocol states is kept. Every line
    says what it rests on. The protocol need not be locked.

    \b
      cvq study plan release.yaml --report plan.html
      cvq study plan release.yaml --pilot 2026-07-06_face-1.0_site-a
      cvq study plan release.yaml --pilot 2026-08-31_face-1.2_site-a --simulate 500
    """
    from cv_quality.studies.planning import plan_study, with_simulation
    from cv_quality.studies.protocol import parse_protocol
    from cv_quality.tasks.verification.pilot import read_pilot, simulate_power

    metrics, workspace = study_metrics(), open_deployment()
    declared = parse_protocol(read_file(protocol), file=protocol.name, metrics=metrics)
    drops = pilots or declared.sample_size.pilot
    pilot = read_pilot(workspace.lake, declared, drops) if drops else {}
    planned = plan_study(declared, metrics=metrics, pilot=pilot)
    if runs is not None:
        if not drops:
            raise click.UsageError("--simulate resamples a pilot: name its drops by --pilot or in the protocol")
        if planned.subjects is not None:
            seed = declared.seed or 0
            with endless_bar("resampling the pilot"):
                found, missing = simulate_power(
                    workspace, declared, drops, subjects=planned.subjects, runs=runs, seed=seed
                )
            planned = with_simulation(planned, found, missing)
    if report is not None:
        from cv_quality.reports.provenance import of_files
        from cv_quality.reports.study_pages import write_plan_page

        made = of_files([protocol], command=command_line())
        with writing(report):
            write_plan_page(planned, protocol=declared, provenance=made, target=report)
    if as_json:
        print_document(planned.to_dict())
    else:
        _say_plan(planned)


def _say_plan(planned: "StudyPlan") -> None:
    from cv_quality.studies.plan_words import endpoint_rows, plan_sentences

    print_rows(endpoint_rows(planned), as_json=False, title=planned.study)
    for sentence in plan_sentences(planned):
        say(sentence)


@study.command()
@PROTOCOL
@click.option("--amend", "reason", metavar="REASON", help="Amend the study that is locked under this name, and why.")
@JSON
def lock(protocol: Path, reason: str | None, as_json: bool) -> None:
    """Make a PROTOCOL binding before its data come.

    The digests of its bytes and of its meaning, the moment, the git commit it lies in, the drops that have been
    delivered and a commitment to the seed are written into the lake, once. From then on the file may not change by a
    byte; an amendment names the lock before and a reason, and results say under which lock they were made.

    \b
      cvq study lock release.yaml
      cvq study lock release.yaml --amend "site B joined"
    """
    from cv_quality.drops.manifest import completed_drops
    from cv_quality.studies.locking import lock_protocol

    workspace = open_deployment()
    drops = [(drop.drop_id, drop.manifest_sha256) for drop in completed_drops(workspace.landing)]
    locked = lock_protocol(
        workspace.lake.store,
        read_file(protocol),
        file=protocol.name,
        now=datetime.now(UTC),
        git_commit=_git_commit(protocol),
        drops=drops,
        reason=reason,
        metrics=study_metrics(),
    )
    if as_json:
        print_document(_lock_document(locked))
    else:
        _say_lock(locked)


def _lock_document(locked: "LockedStudy") -> dict[str, object]:
    lock = locked.lock
    return {
        "study": lock.study,
        "lock": lock.number,
        "digest": locked.digest,
        "file_sha256": lock.file_sha256,
        "canonical_sha256": lock.canonical_sha256,
        "locked_at": lock.locked_at,
        "git_commit": lock.git_commit,
        "seed_commitment": lock.seed_commitment,
        "drops": dict(lock.drops),
        "parent": lock.parent,
        "reason": lock.reason,
    }


def _say_lock(locked: "LockedStudy") -> None:
    lock = locked.lock
    known = f"{len(lock.drops):,} drops had been delivered" if lock.drops else "no drop had been delivered"
    say(f"{lock.study}: lock {lock.number} of {lock.locked_at}; {known}")
    if lock.reason:
        say(f"amends lock {lock.number - 1}: {lock.reason}")
    say(f"bytes {lock.file_sha256}")
    say(f"meaning {lock.canonical_sha256}")
    say(f"git commit {lock.git_commit or 'none: the protocol lies in no repository'}")


@study.command()
@PROTOCOL
@click.option(
    "--subjects",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Table with subject_id and the columns of the strata, in the order of their coming.",
)
@click.option("--csv", "sheet_file", type=FILE, help="Write the whole sheet as CSV.")
@click.option("--report", type=PAGE, help="Write the whole sheet as an HTML page to print.")
@JSON
def assign(protocol: Path, subjects: Path, sheet_file: Path | None, report: Path | None, as_json: bool) -> None:
    """Assign the subjects of a locked PROTOCOL to builds and to orders of devices and conditions.

    Who is on the sheet stays there as he is; others are added in the order of the table. The sheet is kept in the lake
    and can be written as often as it is needed.

    \b
      cvq study assign release.yaml --subjects people.csv --csv sheet.csv --report sheet.html
    """
    from cv_quality.studies.assignment import SUBJECT, continue_sheet, sheet_rows
    from cv_quality.studies.locking import require_locked

    store = open_deployment().lake.store
    locked = require_locked(store, read_file(protocol), file=protocol.name, metrics=study_metrics())
    columns = [SUBJECT, *locked.protocol.design.assignment.stratified_by]
    sheet = continue_sheet(store, locked, _subjects(subjects, columns), now=datetime.now(UTC))
    rows = sheet_rows(sheet)
    if sheet_file is not None:
        _write_csv(sheet_file, rows)
    if report is not None:
        from cv_quality.reports.provenance import of_files
        from cv_quality.reports.study_pages import write_sheet_page

        made = of_files([protocol, subjects], command=command_line())
        with writing(report):
            write_sheet_page(sheet, protocol=locked.protocol, provenance=made, target=report)
    if as_json:
        print_document({"study": sheet.study, "method": sheet.method, "added": sheet.n_new, "rows": rows})
    else:
        _say_sheet(sheet, rows)


def _say_sheet(sheet: "Sheet", rows: list[dict[str, str]]) -> None:
    added = rows[len(rows) - sheet.n_new :]
    if added:
        print_rows(added, as_json=False, title=f"{sheet.study}: {sheet.n_new:,} added, {len(rows):,} on the sheet")
    else:
        say(f"{sheet.study}: nobody added, {len(rows):,} on the sheet")
    if sheet.arms:
        say(f"by {sheet.method.replace('_', ' ')}: {', '.join(f'{arm} {n:,}' for arm, n in sheet.arms.items())}")
    for stratum in sheet.lone_strata:
        say(f"stratum {' | '.join(stratum)}: one subject, insufficient to compare anything within it")


def _subjects(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """The rows of a table of subjects, as texts."""
    from cv_quality.errors import AssignmentError, near
    from cv_quality.tables.reading import opened_table

    with naming(path), opened_table(path, ids=columns) as opened:
        known = opened.rows.collect_schema().names()
        for column in columns:
            if column not in known:
                raise AssignmentError(f"{path.name}: no column {column!r}; {near(column, known)}")
        rows = opened.rows.select(columns).collect().rows(named=True)
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def _write_csv(target: Path, rows: list[dict[str, str]]) -> None:
    import polars as pl

    from cv_quality.lake.store import atomic_path

    with writing(target), atomic_path(target) as temporary:
        pl.DataFrame(rows).write_csv(temporary)


def study_metrics() -> "Mapping[str, StudyMetric]":
    """The metrics that endpoints may be of: those of verification and liveness, and those of video by their names."""
    from cv_quality.studies.protocol import METRICS, StudyMetric
    from cv_quality.tasks.video.metric_names import VIDEO_METRICS_BY_NAME

    video = {
        name: StudyMetric(name, "rate" if metric.unit == "share" else "value", metric.unit, metric.is_higher_better)
        for name, metric in VIDEO_METRICS_BY_NAME.items()
        if metric.is_higher_better is not None
    }
    return {**video, **METRICS}


def read_file(path: Path) -> bytes:
    """Read a protocol's bytes.

    Raises:
        ProtocolError: there is no such file, or it may not be read.
    """
    from cv_quality.studies.strict_yaml import MAX_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProtocolError(f"{path}: {error.strerror or error}; name the YAML file of a protocol") from error


def _git_commit(protocol: Path) -> str | None:
    """The commit of the repository in which the protocol lies; None outside of one or without git."""
    command = ["git", "-C", str(protocol.resolve().parent), "rev-parse", "--verify", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


@study.command()
@PROTOCOL
@click.option("--look", "number", type=click.IntRange(min=1), help="Which look it is, from 1. [the next one]")
@click.option("--by", "who", metavar="NAME", help="Who looks, for the ledger. [the user of this machine]")
@click.option("--report", type=PAGE, help="Write an HTML page of the analysis.")
@JSON
def analyse(protocol: Path, number: int | None, who: str | None, report: Path | None, as_json: bool) -> None:
    """Analyse a locked PROTOCOL at a look: who came, every endpoint by its bound, and the verdict.

    The study's drops are those of the candidate (and of the reference, where a subject meets one of them) that arrived
    after the lock. Every look is kept in a ledger; one that the protocol has not budgeted, that comes before the data
    or out of turn is refused. Sets of subjects that disagree, arms that are not as assigned, and too little data are
    insufficient, which is no pass. Slices found in the data are exploratory and decide nothing.

    Exit code: 0 pass, 3 fail, 4 insufficient.

    \b
      cvq study analyse release.yaml --look 1
      cvq study analyse release.yaml --report verdict.html
    """
    import getpass

    from cv_quality.cli.decisions import EXIT_CODES
    from cv_quality.studies.locking import require_locked
    from cv_quality.tasks.study_analysis import analyse_locked

    workspace = open_deployment()
    metrics = study_metrics()
    locked = require_locked(workspace.lake.store, read_file(protocol), file=protocol.name, metrics=metrics)
    found, explored = analyse_locked(
        workspace, locked, number=number, by=who or getpass.getuser(), now=datetime.now(UTC), metrics=metrics
    )
    if report is not None:
        from cv_quality.reports.provenance import of_files
        from cv_quality.reports.study_pages import write_analysis_page

        made = of_files([protocol], command=command_line())
        with writing(report):
            write_analysis_page(found, explored, protocol=locked.protocol, provenance=made, target=report)
    if as_json:
        print_document(found.to_dict() | {"explored": list(explored)})
    else:
        _say_analysis(found, explored)
    sys.exit(EXIT_CODES[found.verdict])


def _say_analysis(found: "StudyAnalysis", explored: "Sequence[str]") -> None:
    from cv_quality.studies.analysis_words import endpoint_lines, flow_lines, look_words

    say(f"{found.study}: {look_words(found.look)}")
    print_rows(flow_lines(found), as_json=False, title=f"{found.unit}s")
    print_rows(endpoint_lines(found), as_json=False, title="endpoints")
    for note in found.notes:
        say(f"note: {note}")
    for text in explored:
        say(f"exploratory, decides nothing: {text}")
    say(f"{found.verdict.upper()}: {found.reason}")
