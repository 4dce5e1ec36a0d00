"""`cvq metrics`: how the deployment stands, for Prometheus."""

from pathlib import Path

import click

from cv_quality.cli.common import open_deployment

READABLE_FILE = 0o644
"""The node exporter is another user; counts and names of builds are all that it is told."""


@click.command()
@click.option(
    "--to",
    "target",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Replace FILE, for the textfile collector of the node exporter.  [standard output]",
)
def metrics(target: Path | None) -> None:
    """Tell how the deployment stands, in Prometheus's text format.

    Keys by task, stage and state, since when work is due, rejected rows, drops, alarms of monitors, and when each stage
    passed last. No name of a drop or of a subject is among the labels.

    \b
      cvq metrics
      cvq metrics --to /var/lib/prometheus/node-exporter/cvq.prom
    """
    from cv_quality.health import deployment_health, exposition
    from cv_quality.lake.store import atomic_path

    text = exposition(deployment_health(open_deployment()))
    if target is None:
        click.echo(text, nl=False)
        return
    with atomic_path(target) as temporary:
        temporary.write_text(text)
    target.chmod(READABLE_FILE)
