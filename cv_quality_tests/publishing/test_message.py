"""The message as mail and chat programs take it: short, without markup in names, and with the page's digits."""

import email
import email.policy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cv_quality.metrics.results import percent
from cv_quality.publishing.message import TEXT_WIDTH, compose
from cv_quality.reports.briefing import Briefing
from cv_quality_tests.publishing.briefings import (
    bare_briefing,
    crowded_briefing,
    ordinary_briefing,
    steering_briefing,
)

each_briefing = pytest.mark.parametrize("make", [ordinary_briefing, bare_briefing, crowded_briefing, steering_briefing])
CLIPPED_BYTES = 102_000
"""What a common mail program shows of a mail."""
SLACK_TEXT, SLACK_HEADER, TEAMS_BYTES = 3000, 150, 28_000


class Page(HTMLParser):
    """Collects text and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@each_briefing
def test_a_mail_is_short_and_asks_for_nothing_from_outside(make: Callable[[], Briefing]) -> None:
    message = compose(make())
    page = Page(message.html)
    assert len(message.mail().as_bytes()) < CLIPPED_BYTES
    assert not {"src", "href", "srcset", "background"} & set(page.attributes)
    assert not {"img", "script", "link", "style"} & set(page.tags)
    assert max(map(len, message.text.splitlines())) <= TEXT_WIDTH


@each_briefing
def test_a_chat_takes_the_payloads(make: Callable[[], Briefing]) -> None:
    message = compose(make())
    header, context, body = message.slack["blocks"]
    assert 0 < len(header["text"]["text"]) <= SLACK_HEADER
    assert all(0 < len(item["text"]) <= SLACK_TEXT for item in context["elements"])
    assert all(0 < len(run["text"]) <= SLACK_TEXT for part in body["elements"] for run in part["elements"])
    assert len(json.dumps(message.teams).encode()) < TEAMS_BYTES
    assert message.teams["attachments"][0]["content"]["type"] == "AdaptiveCard"


def test_every_form_says_the_same_in_the_same_digits() -> None:
    briefing = ordinary_briefing()
    message = compose(briefing)
    flat = " ".join(message.text.split())
    for text in (flat, Page(message.html).text, json.dumps(message.slack), json.dumps(message.teams)):
        assert briefing.headline in text
        assert briefing.next_step.text in text
        for rate in (briefing.changes[0].pair.build, briefing.changes[0].pair.baseline):
            assert rate is not None
            assert f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)}" in text
    assert "false rejection rate" in flat


def test_what_is_undefined_is_a_word_in_a_message() -> None:
    message = compose(bare_briefing())
    assert "undefined: no trial" in message.text
    assert "undefined: no trial" in Page(message.html).text
    assert not re.search(r"(?<![\d.])0 %", message.text)


def test_a_mail_has_both_forms_and_the_same_bytes() -> None:
    data = compose(ordinary_briefing()).mail().as_bytes()
    assert compose(ordinary_briefing()).mail().as_bytes() == data
    parsed = email.message_from_bytes(data, policy=email.policy.default)
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]
    assert parsed["Subject"] == "Worse than before: face-1.2 against face-1.1"


def test_a_name_cannot_mark_up_mention_or_add_a_header() -> None:
    name = "<!channel> <b>x</b> [a](http://b.example)\r\nBcc: c@d.example"
    message = compose(replace(ordinary_briefing(), build=name, headline=name))
    assert "b" not in Page(message.html).tags
    assert "Bcc" not in message.mail()
    assert "<!channel>" not in message.slack["text"]
    assert {block["type"] for block in message.slack["blocks"]} == {"header", "context", "rich_text"}
    body = message.teams["attachments"][0]["content"]["body"]
    assert {block["type"] for block in body} == {"RichTextBlock"}
