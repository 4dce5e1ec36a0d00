"""The message: what is known of a build in a mail and in a chat, as files and as payloads that a webhook takes.

Names are text wherever they go, never markup: nobody can be mentioned and no link can be made by naming a build. How a
message is sent is in `cv_quality.publishing.sending`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from textwrap import fill
from typing import Any

from cv_quality.publishing.product import Edition, Product, write_files
from cv_quality.publishing.wording import (
    TONES,
    VERDICTS,
    Tone,
    build_words,
    capitalised,
    compact_rate,
    data_words,
    difference_words,
    limit_words,
    named_points,
    rate_name,
    readable,
    shortened,
    terms_in,
    words_of,
)
from cv_quality.reports.briefing import Briefing
from cv_quality.text import SHOWN_DIGITS

TEMPLATES = Path(__file__).parent / "templates"
LETTERS_OF_POINT, LETTERS_OF_HEADER, LETTERS_OF_NAME, MOST_TERMS = 500, 150, 40, 8
TEXT_WIDTH = 76
CHANGE = "change"
_BOUNDARY = "cv_quality-alternative"
_INKS: dict[Tone, tuple[str, str, str]] = {
    "bad": ("#a83207", "#fdf0ea", "Attention"),
    "good": ("#0a6b4f", "#eaf6f1", "Good"),
    "open": ("#5c636e", "#f0f1f3", "Default"),
}
"""Ink and wash of a verdict in a mail, and what a card calls them."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """What is told of a build.

    Attributes:
        text, html: the two forms of the mail.
        slack, teams: payloads of the incoming webhooks of both.
    """

    subject: str
    text: str
    html: str
    slack: Json
    teams: Json

    def mail(self) -> EmailMessage:
        """Make a mail of both forms, without sender, recipients and date."""
        mail = EmailMessage(policy=SMTP)
        mail["Subject"] = self.subject
        mail.set_content(self.text, cte="quoted-printable")
        mail.add_alternative(self.html, subtype="html", cte="quoted-printable")
        mail.set_boundary(_BOUNDARY)
        return mail


def write_message(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write the message of a build: as a mail, in its two forms, and as payloads.

    Args:
        folder: where to.
    """
    message = compose(edition.briefing)
    files = {
        "message.eml": message.mail().as_bytes(),
        "message.html": message.html.encode(),
        "message.txt": message.text.encode(),
        "slack.json": _json(message.slack),
        "teams.json": _json(message.teams),
    }
    return write_files(folder, files)


MESSAGE = Product("message", "A mail, and payloads for Slack and Teams", write_message)


def compose(briefing: Briefing) -> Message:
    """Compose the message of a briefing."""
    lines = _Lines(
        subject=readable(shortened(f"{VERDICTS[briefing.standing]}: {build_words(briefing)}", LETTERS_OF_HEADER)),
        about=readable(f"{capitalised(briefing.subject_matter)}: {build_words(briefing)}"),
        headline=readable(shortened(briefing.headline, LETTERS_OF_POINT)),
        verdict=VERDICTS[briefing.standing],
        data=readable(data_words(briefing)),
        points=tuple(
            (name, readable(shortened(point.text, LETTERS_OF_POINT))) for name, point in named_points(briefing)
        ),
        rates=tuple(_rate_lines(briefing)),
        terms=tuple(_terms(briefing)),
        command=readable(shortened("; ".join(briefing.commands), 300)),
    )
    return Message(
        subject=lines.subject,
        text=_text(lines),
        html=_html(briefing, lines),
        slack=_slack(lines),
        teams=_teams(lines, TONES[briefing.standing]),
    )


@dataclass(frozen=True, slots=True)
class _Lines:
    """Everything that a message says, as text."""

    subject: str
    about: str
    headline: str
    verdict: str
    data: str
    points: tuple[tuple[str, str], ...]
    rates: tuple[tuple[str, str], ...]
    terms: tuple[tuple[str, str], ...]
    command: str


def _rate_lines(briefing: Briefing) -> Iterator[tuple[str, str]]:
    """Name the rate that the briefing leads with, for the build, its baseline and the policy."""
    for change in briefing.changes[:1]:
        pair, words = change.pair, words_of(change)
        yield readable(shortened(briefing.build, LETTERS_OF_NAME)), compact_rate(pair.build, words=words)
        if pair.baseline is not None:
            yield readable(shortened(str(briefing.baseline), LETTERS_OF_NAME)), compact_rate(pair.baseline, words=words)
            yield CHANGE, difference_words(change)
        if change.limit is not None:
            yield limit_words(change), words(change.limit, digits=SHOWN_DIGITS)


def _terms(briefing: Briefing) -> Iterator[tuple[str, str]]:
    said = [briefing.headline, *(point.text for _, point in named_points(briefing)), rate_name(briefing)]
    for term, meaning in list(terms_in(said, briefing).items())[:MOST_TERMS]:
        yield readable(term), readable(shortened(meaning, 200))


def _text(lines: _Lines) -> str:
    """Lay the message out for a terminal or a mail without markup."""
    rates = [f"{name}: {words}" for name, words in lines.rates]
    terms = [f"{term}: {meaning}." for term, meaning in lines.terms]
    parts = [
        [lines.about],
        [lines.headline],
        [lines.verdict.upper(), lines.data],
        rates,
        *([name, text] for name, text in lines.points),
        terms,
        [f"Made again with {lines.command}"] if lines.command else [],
    ]
    wrapped = ("\n".join(fill(line, TEXT_WIDTH, break_on_hyphens=False) for line in part) for part in parts if part)
    return "\n\n".join(wrapped) + "\n"


def _html(briefing: Briefing, lines: _Lines) -> str:
    """Lay the message out for a mail: tables and colours within the tags, as mail programs want them; no image."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    ink, wash, _ = _INKS[TONES[briefing.standing]]
    return environment.get_template("message.html").render(
        subject=lines.subject,
        about=lines.about,
        headline=lines.headline,
        verdict=lines.verdict,
        data=lines.data,
        points=lines.points,
        terms=lines.terms,
        command=lines.command,
        ink=ink,
        wash=wash,
        chart_title=readable(shortened(f"{capitalised(rate_name(briefing))}, with 95 % intervals", LETTERS_OF_HEADER)),
        bars=_bars(briefing, lines),
    )


def _bars(briefing: Briefing, lines: _Lines) -> list[Json]:
    """The rates of the chart, each as wide as its part of the largest; one that is undefined has words alone."""
    if not briefing.changes:
        return []
    pair, limit = briefing.changes[0].pair, briefing.changes[0].limit
    words = [row for row in lines.rates if row[0] != CHANGE]
    values = [
        pair.build.value,
        *([pair.baseline.value] if pair.baseline else []),
        *([limit] if limit is not None else []),
    ]
    most = max((value for value in values if value is not None), default=0.0)
    inks = ("#b8480a", *(["#0b6aa8"] if pair.baseline else []), "#a3a9b2")
    return [
        {"name": name, "words": text, "ink": ink, "width": round(100 * value / most, 1) if value and most else 0}
        for (name, text), value, ink in zip(words, values, inks, strict=False)
    ]


def _slack(lines: _Lines) -> Json:
    """Make blocks of rich text, in which nothing is markup."""
    heading = {"type": "header", "text": plain_text(shortened(lines.headline, LETTERS_OF_HEADER))}
    context = {"type": "context", "elements": [plain_text(f"{lines.verdict}. {lines.about}"), plain_text(lines.data)]}
    told = [*lines.rates, *lines.points]
    sections = [
        {
            "type": "rich_text_section",
            "elements": [
                {"type": "text", "text": f"{name}: ", "style": {"bold": True}},
                {"type": "text", "text": f"{text}\n"},
            ],
        }
        for name, text in told
    ]
    fallback = lines.headline.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": fallback, "blocks": [heading, context, {"type": "rich_text", "elements": sections}]}


def plain_text(text: str) -> Json:
    """Make an element of a Slack message in which nothing is markup."""
    return {"type": "plain_text", "text": text, "emoji": False}


def _teams(lines: _Lines, tone: Tone) -> Json:
    """Make an adaptive card of text runs, in which nothing is markup."""
    colour = _INKS[tone][2]
    body = [
        text_run(lines.headline, size="large", weight="bolder"),
        text_run(lines.verdict, weight="bolder", color=colour.lower()),
        text_run(f"{lines.about}. {lines.data}", isSubtle=True),
        *(text_run(text, label=name) for name, text in (*lines.rates, *lines.points)),
    ]
    return card_of(lines.headline, body)


def card_of(headline: str, body: Sequence[Json]) -> Json:
    """Wrap paragraphs into an adaptive card, as the incoming webhooks of Teams take it.

    Args:
        headline: what a notification says.
    """
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": headline,
        "msteams": {"width": "Full"},
        "body": list(body),
    }
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "contentUrl": None, "content": card}]}


def text_run(text: str, *, label: str = "", **style: object) -> Json:
    """Make a paragraph of an adaptive card in which nothing is markup.

    Args:
        label: in bold before the text.
        style: properties of its run.
    """
    labels = [{"type": "TextRun", "text": f"{label}: ", "weight": "bolder"}] if label else []
    return {"type": "RichTextBlock", "inlines": [*labels, {"type": "TextRun", "text": text, **style}]}


def _json(payload: Json) -> bytes:
    return json.dumps(payload, ensure_ascii=False, indent=1).encode() + b"\n"
