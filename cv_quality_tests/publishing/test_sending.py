"""Messages as real servers receive them: two webhooks and a mail server on this machine."""

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cv_quality.errors import PublishingError
from cv_quality.publishing.message import compose
from cv_quality.publishing.sending import post, send_message
from cv_quality.settings import Recipients
from cv_quality_tests.publishing.briefings import ordinary_briefing
from cv_quality_tests.publishing.webhooks import serving, webhook
from cv_quality_tests.servers import free_port

MESSAGE = compose(ordinary_briefing())


@contextmanager
def mail_server(letters: list[str]) -> Iterator[str]:
    """Serve mail by the few words of SMTP that a sender needs; gives host and port."""

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            for line in self.rfile:
                word = line[:4].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    letters.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                if word == b"QUIT":
                    return

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)) as place:
        yield place


def test_everybody_who_is_named_gets_the_message() -> None:
    slack, teams, letters = list[Any](), list[Any](), list[str]()
    with webhook(slack) as first, webhook(teams, status=202) as second, mail_server(letters) as server:
        recipients = Recipients(first, second, server, "quality@a.example", ("b@a.example", "c@a.example"))
        assert send_message(MESSAGE, recipients) == ("Slack", "Teams", "mail")
    assert slack == [MESSAGE.slack]
    assert teams == [MESSAGE.teams]
    assert "To: b@a.example, c@a.example" in letters[0]
    assert MESSAGE.subject in letters[0]


def test_nobody_is_named_by_default() -> None:
    assert send_message(MESSAGE, Recipients()) == ()


def test_one_who_cannot_be_reached_stops_none_of_the_others() -> None:
    teams = list[Any]()
    nowhere = f"http://127.0.0.1:{free_port()}/SECRET"
    with webhook(teams) as second, pytest.raises(PublishingError, match=r"not sent to Slack: .*sent to: Teams"):
        send_message(MESSAGE, Recipients(nowhere, second))
    assert teams == [MESSAGE.teams]


def test_an_error_names_no_secret() -> None:
    with (
        webhook([], status=404) as address,
        pytest.raises(PublishingError, match=r"127\.0\.0\.1 answered 404") as found,
    ):
        post(address, {})
    assert "SECRET" not in str(found.value)
    assert "SECRET" not in repr(Recipients(address))


def test_what_is_posted_follows_no_redirect() -> None:
    elsewhere = list[Any]()
    with (
        webhook(elsewhere) as other,
        webhook([], status=307, location=other) as address,
        pytest.raises(PublishingError, match="answered 307"),
    ):
        post(address, {})
    assert not elsewhere


def test_a_webhook_without_encryption_is_refused() -> None:
    with pytest.raises(PublishingError, match="https://"):
        post("http://hooks.a.example/SECRET", {})


def test_a_mail_without_readers_is_refused() -> None:
    with pytest.raises(PublishingError, match="at least one reader"):
        send_message(MESSAGE, Recipients(mail_server="127.0.0.1:9", sender="quality@a.example"))
