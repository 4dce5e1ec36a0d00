"""Tickets for quality assurance: one per cause, as Markdown and as JSON for GitHub and Jira, and what to check again.

The list of causes for later builds, and how those are held against it, is in `cv_quality.publishing.regressions`.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from cv_quality.metrics.results import JsonValue, percent
from cv_quality.publishing.product import Edition, Product, write_files
from cv_quality.publishing.regressions import FILE, list_causes, written
from cv_quality.reports.briefing import Briefing, Cause
from cv_quality.text import visible, visible_lines

TITLE_LETTERS = 200
JIRA_LABEL = "cv-quality"


def write_tickets(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write a ticket for every cause of a build, and the list of its causes for later builds.

    Args:
        edition: whose causes they are.
        folder: where to.
    """
    briefing = edition.briefing
    files: dict[str, str] = {}
    for cause in briefing.causes:
        title, body = title_of(cause, briefing), body_of(cause, briefing)
        files[f"cause-{cause.rank}.md"] = f"# {title}\n\n{body}"
        files[f"cause-{cause.rank}.github.json"] = _json({"title": title, "body": body, "labels": [JIRA_LABEL]})
        files[f"cause-{cause.rank}.jira.json"] = _json(_jira(title, body))
    encoded = {name: text.encode() for name, text in files.items()}
    return write_files(folder, encoded | {FILE: written(list_causes(edition))})


TICKETS = Product("tickets", "A ticket per cause, for GitHub and Jira", write_tickets)


def title_of(cause: Cause, briefing: Briefing) -> str:
    """Write the title of a ticket, of at most 200 letters."""
    title = visible(f"{briefing.build}: {percent(cause.rate.value)} fail where {cause.condition}")
    return title if len(title) <= TITLE_LETTERS else f"{title[: TITLE_LETTERS - 1]}…"


def body_of(cause: Cause, briefing: Briefing) -> str:
    """Write the body of a ticket as Markdown: what was seen, how sure that is, what mending gains, how to see it."""
    return visible_lines("\n".join(_body(cause, briefing))) + "\n"


def _body(cause: Cause, briefing: Briefing) -> Iterable[str]:
    against = f" against {briefing.baseline}" if briefing.baseline else ""
    yield f"{escaped(cause.sentence)}"
    yield ""
    yield "## What is known"
    yield ""
    yield from (f"- {escaped(text)}" for text in cause.evidence)
    if cause.share_of_failures is not None:
        yield f"- {percent(cause.share_of_failures)} of all failures lie there."
    if cause.gain is not None:
        yield f"- {escaped(cause.gain.text)}"
    yield ""
    yield "## Where"
    yield ""
    yield f"- Build: {escaped(briefing.build)}{escaped(against)} ({escaped(briefing.subject_matter)})"
    yield f"- Drops: {escaped(', '.join(briefing.drops))}"
    if cause.n_attempts is not None and cause.n_subjects is not None:
        yield f"- {cause.n_attempts:,} trials of {cause.n_subjects:,} units are in the slice."
    yield ""
    yield "## See it again"
    yield ""
    yield "```sh"
    yield f"cvq report {briefing.build}"
    if cause.export:
        yield f"{cause.export} --images --data-set"
    yield "```"
    yield ""
    yield "The slice, for SQL:"
    yield ""
    yield "```sql"
    yield f"WHERE {cause.predicate}"
    yield "```"


def escaped(text: str) -> str:
    """Write text that Markdown shows as it is.

    >>> escaped("a*b <c> [d](e)")
    'a\\\\*b \\\\<c\\\\> \\\\[d\\\\](e)'
    """
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|" else char for char in visible(text.replace("\n", " ")))


def _jira(title: str, body: str) -> JsonValue:
    """A payload of Jira's REST API, version 3, whose description is a document."""
    paragraphs: list[JsonValue] = [
        {"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in body.split("\n") if line
    ]
    return {
        "fields": {
            "summary": title,
            "labels": [JIRA_LABEL],
            "issuetype": {"name": "Bug"},
            "description": {"type": "doc", "version": 1, "content": paragraphs},
        }
    }


def _json(value: JsonValue) -> str:
    return json.dumps(value, indent=1) + "\n"
