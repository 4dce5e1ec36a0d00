"""The command that watches a build in the field."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import JSON, PAGE, command_line, open_deployment, print_document, print_rows, say, writing
from cv_quality.errors import CvQualityError, MonitorError
from cv_quality.text import visible_lines

if TYPE_CHECKING:
    from cv_quality.studies.monitoring import Monitored, MonitorPlan
    from cv_quality.workspace import Workspace

EXIT = {"quiet": 0, "alarm": 1, "cannot tell": 3}
ALPHA = 0.05
SAID = 5
"""So many claims are also said in words, alarms first."""


class MonitorFault(click.ClickException):
    """A build cannot be watched as asked; an exit code of 1 is an alarm."""

    exit_code = 2


@click.command()
@click.argument("build")
@click.option(
    "--against", metavar="BASELINE", help="Watch the change against this build, on the same attempts or clips."
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="METRIC",
    help="frr, fnmr or fta; of video miss_rate, dropped, …; repeatable.  [frr, miss_rate]",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="[METRIC=]RATE",
    help="Highest mean rate of the population that is fine, such as 0.03; repeatable, a metric each.",
)
@click.option("--alpha", type=float, help=f"Chance that anything ever raises a false alarm.  [{ALPHA}]")
@click.option("--slice", "slices", multiple=True, metavar="DIMENSION", help="Watch each level of it too; repeatable.")
@click.option("--attempts", type=int, help="With which a subject has completed.  [those of his first day]")
@click.option("--unit", type=click.Choice(["subject", "subject-day"]), help="What is bet on of a level.  [subject]")
@click.option(
    "--restart", "reason", metavar="REASON", help="Begin again with other options than it was declared by, and why."
)
@click.option("--report", type=PAGE, help="Where the page goes.  [BUILD-monitor.html, beside the reports]")
@JSON
def monitor(
    build: str,
    against: str | None,
    metrics: Sequence[str],
    targets: Sequence[str],
    alpha: float | None,
    slices: Sequence[str],
    attempts: int | None,
    unit: str | None,
    reason: str | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Watch the rates of a BUILD in the field, as often as you like.

    What is claimed is said the first time and holds from then on; later looks need no options. The claim "the
    population's mean rate is at most RATE" is bet on once per subject, the claim "no higher than BASELINE's, on this
    panel" at every look. However often it is looked at, any false alarm has a chance of at most alpha over all metrics
    and slices. An absolute level of subjects who return cannot be told, and the command says so. Of a video build the
    rates are of frames; a subject counts once with all his clips, a clip of nobody for itself.

    A monitor that was declared wrongly begins again by --restart REASON with the right options: all drops are counted
    again, and what was claimed before and what came of it stay in the lake.

    Exit code: 0 quiet, 1 an alarm, 2 it cannot be watched as asked, 3 nothing can be told.

    \b
      cvq monitor face-1.1 --target 0.03
      cvq monitor face-1.1 --against face-1.0 --metric frr --metric fta --slice device_model
      cvq monitor face-1.1
      cvq monitor face-1.1 --target 0.02 --restart "0.03 was a slip"
      cvq monitor segment-1.1 --metric miss_rate --against segment-1.0
    """
    from cv_quality.tasks.monitoring.state import Restart, update_monitor

    asked = {"against": against, "alpha": alpha, "attempts": attempts}
    given: dict[str, object] = {name: value for name, value in asked.items() if value is not None}
    given |= {"slices": tuple(slices)} if slices else {}
    given |= {"unit": unit.replace("-", "_")} if unit else {}
    try:
        workspace = open_deployment()
        plan = _plan(workspace, build, metrics, targets, given)
        if reason is not None and plan is None:
            raise MonitorError("--restart: say what is claimed from now on: --target RATE, or --against BUILD")
        restart = None if reason is None else Restart(reason, datetime.now(UTC))
        found = update_monitor(workspace, build, plan, restart=restart)
        _write_page(found, report or workspace.settings.reports / f"{build}-monitor.html")
    except CvQualityError as error:
        raise MonitorFault(visible_lines(f"{type(error).__name__}: {error}")) from error
    if as_json:
        print_document(_document(found))
    else:
        _say(found)
    click.get_current_context().exit(EXIT[found.verdict])


def _plan(
    workspace: "Workspace", build: str, metrics: Sequence[str], targets: Sequence[str], given: Mapping[str, object]
) -> "MonitorPlan | None":
    """What the options claim; None without any."""
    import msgspec

    from cv_quality.studies.monitoring import MonitorPlan
    from cv_quality.tasks.monitoring.state import watched_task

    if not (metrics or targets or given):
        return None
    pairs = _read_targets(targets)
    watched = watched_task(workspace, build)
    named = tuple(dict.fromkeys([*metrics, *(metric for metric, _ in pairs if metric)])) or watched.metrics[:1]
    if len(named) > 1 and any(not metric for metric, _ in pairs):
        raise MonitorError(f"several metrics are watched: say of which the target is, as in --target {named[0]}=0.03")
    rates = {metric or named[0]: rate for metric, rate in pairs}
    if len(rates) < len(pairs):
        raise MonitorError("a metric has one target; name each once")
    claims = {"build": build, "task": watched.task.name, "metrics": named, "targets": rates}
    return msgspec.convert({**claims, **given}, MonitorPlan)


def _read_targets(targets: Sequence[str]) -> list[tuple[str, float]]:
    """Each target with its metric, which is empty where it names none."""
    found = []
    for metric, _, text in (target.rpartition("=") for target in targets):
        try:
            found.append((metric, float(text)))
        except ValueError:
            raise MonitorError(f"--target: expected a rate such as 0.03, or frr=0.03, found {text!r}") from None
    return found


def _write_page(found: "Monitored", page: Path) -> None:
    from cv_quality.reports.monitor_page import write_monitor_page

    with writing(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        write_monitor_page(found, made_by=command_line(), target=page)


def _document(found: "Monitored") -> dict[str, object]:
    days = found.days
    return {
        "build": found.plan.build,
        "verdict": found.verdict,
        "alpha": found.plan.alpha,
        "against": found.plan.against,
        "targets": found.plan.targets,
        "looks": len(days),
        "day": days[max(days)],
        "e_value": found.e_value,
        "claims": [
            {**rate.to_dict(), "since": found.since(rate), "sentence": text}
            for rate, text in zip(found.ordered, found.sentences, strict=True)
        ],
        "notes": found.notes,
    }


def _say(found: "Monitored") -> None:
    days = found.days
    looks = "1 look" if len(days) == 1 else f"{len(days):,} looks"
    title = f"{found.plan.build}: {found.verdict} after {looks}, {days[min(days)]} to {days[max(days)]}"
    print_rows(
        [
            {
                "claim": rate.claim,
                "metric": rate.metric,
                "slice": "" if rate.dimension == rate.level == "all" else f"{rate.dimension} {rate.level}",
                "rate": rate.value,
                "against": rate.reference,
                found.units: rate.n_subjects,
                "e-value": rate.e_value,
                "state": rate.state,
                "since": found.since(rate),
            }
            for rate in found.ordered
        ],
        as_json=False,
        title=title,
    )
    for text in [*found.sentences[:SAID], *found.notes]:
        say(text)
