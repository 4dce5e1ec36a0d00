"""The week's digest: drops that came, verdicts, changes of rates, alarms, and what only a person can mend.

A drop belongs to the day on which its recording ended. Nothing here asks the clock: whoever calls says which days.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from cv_quality.drops.tables import DROP_FILES
from cv_quality.lake.lake import TableKey
from cv_quality.metrics.results import percent
from cv_quality.publishing.builds_page import read_histories
from cv_quality.publishing.tickets import escaped
from cv_quality.refusals import hindrances
from cv_quality.reports.history import TaskHistory
from cv_quality.tasks.history import drop_rows
from cv_quality.tasks.monitoring.tables import MONITORING
from cv_quality.workspace import Workspace

DAYS = 7


@dataclass(frozen=True, slots=True)
class Digest:
    """What happened in some days, as lines of text for people.

    Attributes:
        since, until: the days, both included.
        drops: that were recorded.
        verdicts: of builds whose newest data are of these days.
        changes: of these builds against the one before.
        alarms: of watched builds, raised on these days.
        open: refusals and failures, however old.
    """

    since: date
    until: date
    drops: tuple[str, ...]
    verdicts: tuple[str, ...]
    changes: tuple[str, ...]
    alarms: tuple[str, ...]
    open: tuple[str, ...]

    @property
    def sections(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The headings with their lines."""
        return (
            ("New drops", self.drops),
            ("Verdicts", self.verdicts),
            ("Changes", self.changes),
            ("Alarms", self.alarms),
            ("Open", self.open),
        )


def read_digest(workspace: Workspace, since: date, until: date) -> Digest:
    """Read what happened from one day to another, both included."""
    histories = read_histories(workspace)
    return Digest(
        since,
        until,
        drops=tuple(_drops(workspace, since, until)),
        verdicts=tuple(_verdicts(histories, since, until)),
        changes=tuple(_changes(histories, since, until)),
        alarms=tuple(_alarms(workspace, since, until)),
        open=tuple(f"{item.stage} of {item.key}: {item.headline or item.state}" for item in hindrances(workspace)),
    )


def markdown(digest: Digest) -> str:
    """Write a digest as Markdown; a heading without lines says that there was nothing."""
    lines = [f"# {digest.since:%Y-%m-%d} to {digest.until:%Y-%m-%d}", ""]
    for heading, items in digest.sections:
        lines += [f"## {heading}", "", *(f"- {escaped(item)}" for item in items or ("nothing",)), ""]
    return "\n".join(lines)


def _drops(workspace: Workspace, since: date, until: date) -> Iterator[str]:
    for drop in drop_rows(workspace.lake, (str(key.drop) for key in workspace.lake.keys(DROP_FILES))):
        if since <= drop.captured_until.date() <= until:
            rows = f"{drop.rows_in:,} rows, {drop.n_rejected:,} set aside"
            yield f"{drop.drop_id}: {drop.build_id} at {drop.site}, {rows}"


def _verdicts(histories: Iterable[TaskHistory], since: date, until: date) -> Iterator[str]:
    for history in histories:
        for row in history.builds:
            if _is_within(row.day, since, until):
                yield f"{row.build} ({history.title}): {row.verdict}: {row.reason}"


def _changes(histories: Iterable[TaskHistory], since: date, until: date) -> Iterator[str]:
    told = {"worse": "worse", "better": "better", "unclear": "chance may explain it", "unknown": "not judged"}
    for history in histories:
        days = {row.build: row.day for row in history.builds}
        for pair in history.pairs:
            if _is_within(days.get(pair.after, ""), since, until):
                yield (
                    f"{history.paired_rate}: {percent(pair.rate_after.value)} with {pair.after}, "
                    f"{percent(pair.rate_before.value)} with {pair.before} on the same drops: {told[pair.direction]}"
                )


def _alarms(workspace: Workspace, since: date, until: date) -> Iterator[str]:
    for key in workspace.lake.keys(MONITORING):
        seen: set[tuple[str, str, str, str]] = set()
        rows = workspace.lake.read(MONITORING, TableKey(build=key.build)).filter(is_alarm=True).sort("look").to_dicts()
        for row in rows:
            claim = (row["claim"], row["metric"], row["dimension"], row["level"])
            if claim not in seen and _is_within(row["day"][:10], since, until):
                where = "" if row["dimension"] == "all" else f" where {row['dimension']} is {row['level']}"
                yield f"{key.build}: {row['metric']}{where} raised an alarm on {row['day'][:10]}"
            seen.add(claim)


def _is_within(day: str, since: date, until: date) -> bool:
    return bool(day) and since <= date.fromisoformat(day) <= until
