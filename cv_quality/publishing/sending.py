"""Sends a message where the deployment says: to the incoming webhooks of Slack and Teams, and as a mail.

Nothing else in the package reaches out on its own. A webhook's address lets anybody post, so no error names more of it
than its host.
"""

import json
import smtplib
import urllib.error
import urllib.request
from collections.abc import Callable
from email.utils import formatdate, make_msgid
from functools import partial
from urllib.parse import urlsplit

from cv_quality.errors import PublishingError
from cv_quality.publishing.message import Json, Message
from cv_quality.settings import Recipients

TIMEOUT_S = 10
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def send_message(message: Message, recipients: Recipients) -> tuple[str, ...]:
    """Send a message to everybody who is to have it, and name them; one who cannot be reached stops none of the others.

    Raises:
        PublishingError: somebody was not reached; it names who was and who was not.
    """
    sent, failed = list[str](), list[str]()
    for name, send in _errands(message, recipients).items():
        try:
            send()
        except (OSError, smtplib.SMTPException, PublishingError) as error:
            failed.append(f"{name}: {_reason(error)}")
        else:
            sent.append(name)
    if failed:
        raise PublishingError(
            f"the message was not sent to {'; '.join(failed)}; sent to: {', '.join(sent) or 'nobody'}"
        )
    return tuple(sent)


def _errands(message: Message, recipients: Recipients) -> dict[str, Callable[[], None]]:
    errands: dict[str, Callable[[], None]] = {}
    hooks = {"Slack": (recipients.slack, message.slack), "Teams": (recipients.teams, message.teams)}
    for name, (address, payload) in hooks.items():
        if address is not None:
            errands[name] = partial(post, address, payload)
    if recipients.mail_server is not None:
        errands["mail"] = partial(mail, message, recipients)
    return errands


def post(address: str, payload: Json) -> None:
    """Post a payload to a webhook.

    Args:
        address: of the webhook, over HTTPS unless it is on this machine.
        payload: what it takes.

    Raises:
        PublishingError: the address is none, or the webhook answered that it did not take the payload.
    """
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise PublishingError("expected the address of a webhook that begins with https://")
    request = urllib.request.Request(
        address,
        data=json.dumps(payload).encode(),
        headers={"Content-Type": "application/json; charset=utf-8"},
        method="POST",
    )
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        raise PublishingError(f"{parts.hostname} answered {error.code} {error.reason}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for an answer: what is posted goes to the named host and no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def mail(message: Message, recipients: Recipients) -> None:
    """Send the mail of a message.

    Args:
        recipients: with a mail server, a sender and readers.

    Raises:
        PublishingError: sender or readers are missing, or the server did not take the mail for all of them.
    """
    if recipients.mail_server is None or recipients.sender is None or not recipients.readers:
        raise PublishingError("expected a mail server, a sender and at least one reader")
    host, _, port = recipients.mail_server.partition(":")
    letter = message.mail()
    letter["From"], letter["To"] = recipients.sender, ", ".join(recipients.readers)
    letter["Date"], letter["Message-ID"] = formatdate(), make_msgid(domain="cv-quality.invalid")
    with smtplib.SMTP(host, int(port or 25), timeout=TIMEOUT_S) as server:
        if server.has_extn("starttls"):
            server.starttls()
        if refused := server.send_message(letter):
            raise PublishingError(f"the mail server refused {', '.join(sorted(refused))}")


def _reason(error: Exception) -> str:
    """Say what went wrong without the address."""
    if isinstance(error, urllib.error.URLError):
        return f"it cannot be reached ({error.reason})"
    return str(error) or type(error).__name__
