"""The command that tells what happened in a week."""

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from cv_quality.cli.common import JSON, open_deployment, print_document, say

DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.command()
@click.option("--until", type=DAY, help="The last day. [today]")
@click.option("--since", type=DAY, help="The first day. [six days before the last]")
@click.option("--to", "target", type=click.Path(path_type=Path, dir_okay=False), help="A file for it (Markdown).")
@JSON
def digest(until: datetime | None, since: datetime | None, target: Path | None, as_json: bool) -> None:
    """Tell what happened in a week: new drops, verdicts, changes, alarms, and what only a person can mend.

    A drop belongs to the day on which its recording ended. In Dagster the schedule `weekly_digest` writes the same
    every Monday.

    \b
      cvq digest
      cvq digest --since 2026-08-01 --until 2026-08-31 --to august.md
    """
    from cv_quality.digest import DAYS, markdown, read_digest
    from cv_quality.lake.store import atomic_path

    last = until.date() if until else datetime.now(UTC).date()
    first: date = since.date() if since else last - timedelta(days=DAYS - 1)
    if first > last:
        raise click.BadParameter(f"{first} is after {last}", param_hint="--since")
    found = read_digest(open_deployment(), first, last)
    if target is not None:
        with atomic_path(target) as temporary:
            temporary.write_text(markdown(found), encoding="utf-8")
    if as_json:
        print_document(asdict(found) | {"since": f"{first}", "until": f"{last}"})
    elif target is None:
        say(markdown(found).rstrip("\n"))
    else:
        say(f"digest   {target}")
