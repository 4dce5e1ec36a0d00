"""The message that a run failed, for the readers whom the settings name; it is sent by `cv_quality.publishing.sending`.

Names are text in it, never markup. What a key lacks is a typed error's sentence, which holds no row of a subject.
"""

from html import escape

from cv_quality.publishing.message import LETTERS_OF_HEADER, LETTERS_OF_POINT, Message, card_of, plain_text, text_run
from cv_quality.publishing.wording import readable, shortened


def compose_failure(job: str, key: str, reason: str) -> Message:
    """Compose the message that a run failed.

    Args:
        job: that failed.
        key: the drop or build that it was run for; empty where it has none.
        reason: the error's sentence.
    """
    subject = readable(shortened(f"Failed: {job}{f' for {key}' if key else ''}", LETTERS_OF_HEADER))
    said = readable(shortened(reason, LETTERS_OF_POINT))
    more = readable(f"cvq why {key}") if key else "cvq status"
    return Message(
        subject=subject,
        text=f"{subject}\n\n{said}\n\nMore: {more}\n",
        html=f"<p><b>{escape(subject)}</b></p><p>{escape(said)}</p><p>More: <code>{escape(more)}</code></p>",
        slack={
            "text": subject.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
            "blocks": [
                {"type": "header", "text": plain_text(subject)},
                {"type": "context", "elements": [plain_text(said), plain_text(more)]},
            ],
        },
        teams=card_of(subject, [text_run(subject, weight="bolder"), text_run(said), text_run(more, label="More")]),
    )
