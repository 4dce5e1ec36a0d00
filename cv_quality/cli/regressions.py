"""The command that holds a build against the causes of earlier ones."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import JSON, open_deployment, print_document, print_rows, say
from cv_quality.cli.decisions import EXIT_CODES, task_of

if TYPE_CHECKING:
    from cv_quality.publishing.regressions import CauseList, Regression
    from cv_quality.workspace import Workspace


@click.command()
@click.argument("build")
@click.option(
    "--list",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A regressions.json; repeatable. [the newest list of every other build that was published]",
)
@click.option("--from", "published", metavar="DIR|s3://…", help="Where they were published. [as for cvq publish]")
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="What a rate may lie above the expected one, such as 0.01. [a quarter of what the cause failed beyond it]",
)
@JSON
def regressions(build: str, files: Sequence[Path], published: str | None, margin: float | None, as_json: bool) -> None:
    """Hold BUILD against the causes that were found in other builds: fixed, still there, worse, or cannot tell.

    Each listed slice is looked up in the build's own drops under its own model. It is fixed where the upper 95 % bound
    of its failure rate lies below the rate that was expected of it plus the margin, still there where the lower bound
    lies above, and worse where its rate rose besides.

    Exit code: 0 where every cause is fixed, 3 where one is there, 4 where the data do not suffice.

    \b
      cvq regressions face-1.3
      cvq regressions face-1.3 --list face-1.2/regressions.json --margin 0.02
      cvq regressions face-1.3 --from s3://bucket/quality --json
    """
    from cv_quality.publishing.regressions import hold_against, verdict_of

    if files and published:
        raise click.UsageError("name lists with --list, or where they were published with --from")
    workspace = open_deployment()
    lists = _given(files) if files else _published(workspace, build, published)
    found = hold_against(workspace, task_of(workspace, build), build, lists, margin=margin)
    verdict = verdict_of(found)
    if as_json:
        builds = [causes.build for causes in lists]
        print_document(
            {"build": build, "verdict": verdict, "lists": builds, "causes": [_document(item) for item in found]}
        )
    else:
        print_rows([_row(item) for item in found], as_json=False, title=f"{build}, causes of other builds")
        say(verdict.upper())
    sys.exit(EXIT_CODES[verdict])


def _given(files: Sequence[Path]) -> "list[CauseList]":
    from cv_quality.publishing.regressions import MAX_BYTES, read_causes

    lists = []
    for file in files:
        with file.open("rb") as opened:
            lists.append(read_causes(opened.read(MAX_BYTES + 1), file=str(file)))
    return lists


def _published(workspace: "Workspace", build: str, place: str | None) -> "list[CauseList]":
    from cv_quality.errors import PublishingError
    from cv_quality.publishing.publish import publications
    from cv_quality.publishing.regressions import published_causes

    store, modality = workspace.published(place), workspace.registry.entry(build).modality
    lists = [item for item in published_causes(store, publications(store), modality) if item.build != build]
    if not lists:
        raise PublishingError(
            f"{store.uri} has no list of causes of another build of {modality}: `cvq publish BUILD --what tickets` "
            "writes one, and --list names one that lies elsewhere"
        )
    return lists


def _row(item: "Regression") -> dict[str, object]:
    rate = item.rate
    return {
        "found in": item.found_in,
        "where": item.cause.condition,
        "state": item.state,
        "rate": rate.value if rate else None,
        "low": rate.low if rate else None,
        "high": rate.high if rate else None,
        "failed": f"{rate.numerator:,} of {rate.denominator:,}" if rate else None,
        "before": item.cause.rate,
        "expected": item.cause.expected,
        "margin": item.margin,
        "why": item.reason,
    }


def _document(item: "Regression") -> dict[str, object]:
    import msgspec

    return {
        "found_in": item.found_in,
        "state": item.state,
        "reason": item.reason,
        "margin": item.margin,
        "rate": asdict(item.rate) if item.rate else None,
        "cause": msgspec.to_builtins(item.cause),
    }
