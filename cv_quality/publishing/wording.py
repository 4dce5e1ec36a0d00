"""The words that brief, deck and message share: rates, where they stand, and text as long as its place allows."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.briefing import Briefing, Figure, Point, RateChange, Standing
from cv_quality.reports.rendering import points
from cv_quality.text import span, visible_lines

Tone = Literal["good", "bad", "open"]

MAX_TITLE_WORDS = 25
MAX_TITLE_LETTERS = 170
LETTERS_OF_BUILD = 60
_RIGHT = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]"
_FROM_RIGHT = re.compile(rf"{_RIGHT}+(?:[\s\d]*{_RIGHT}+)*\d*")
"""A run of letters that are read from right to left, with the figures within and at its end."""
NO_INTERVAL = "no interval"

VERDICTS: Mapping[Standing, str] = {
    "pass": "Passes the release policy",
    "fail": "Fails the release policy",
    "insufficient": "Too little data for a verdict",
    "worse": "Worse than before",
    "no worse": "No worse than before",
    "cannot tell": "Cannot tell whether it is worse",
}
"""A standing for people."""

TONES: Mapping[Standing, Tone] = {
    "pass": "good",
    "fail": "bad",
    "insufficient": "open",
    "worse": "bad",
    "no worse": "good",
    "cannot tell": "open",
}
"""How a verdict is coloured, beside its words."""


def interval_of(rate: Rate) -> str:
    """Write the bounds of a rate.

    >>> from cv_quality.metrics.rates import NO_TRIAL
    >>> interval_of(NO_TRIAL)
    'no interval'
    """
    return span(rate.low, rate.high, words=percent) if rate.has_interval else NO_INTERVAL


def value_of(rate: Rate) -> str:
    """Write the value of a rate, and why it has none.

    >>> from cv_quality.metrics.rates import NO_TRIAL
    >>> value_of(NO_TRIAL)
    'undefined: no trial'
    """
    if rate.value is None:
        return f"undefined: {rate.reason}" if rate.reason else "undefined"
    return percent(rate.value)


def rate_words(rate: Rate, *, with_counts: bool = True) -> str:
    """Write a rate with its interval and its counts, or why there is none.

    >>> from cv_quality.metrics.rates import clustered_rate
    >>> rate_words(clustered_rate([0, 1, 0, 2], [10, 10, 10, 10]))
    '7.5 % (0.0214 % to 47 %; 3 of 40)'
    """
    if rate.value is None:
        return value_of(rate)
    counts = f"; {rate.numerator:,} of {rate.denominator:,}" if with_counts else ""
    return f"{value_of(rate)} ({interval_of(rate)}{counts})"


def difference_words(change: RateChange) -> str:
    """Write how far a rate moved, with the interval of the difference."""
    pair = change.pair
    if pair.delta is None:
        return "no difference can be told"
    bounds = pair.change
    if bounds is None or bounds.low is None or bounds.high is None:
        return f"{points(pair.delta)} ({NO_INTERVAL})"
    return f"{points(pair.delta)} ({span(bounds.low, bounds.high, words=points)})"


def source_words(figure: Figure) -> str:
    """Say in which row of which table a figure stands."""
    where = " and ".join(f"{column} = {value!r}" for column, value in figure.where.items())
    return f"{figure.table}.{figure.column}" + (f" where {where}" if where else "")


def shortened(text: str, limit: int) -> str:
    """Cut a text to so many letters, at a word where that loses little, and say so with an ellipsis.

    Args:
        limit: letters, the ellipsis among them.

    >>> shortened("spectacles in low light", 17), shortened("spectacles", 5)
    ('spectacles in…', 'spec…')
    """
    text = " ".join(visible_lines(text).split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    at_word = cut.rpartition(" ")[0]
    return (at_word if len(at_word) > limit // 2 else cut).rstrip(" ,;:.") + "…"


def readable(text: str) -> str:
    r"""Write a text for people on one line: nothing unseen, and every name where its sentence has it.

    After a name that runs from right to left a mark ends its direction, lest the figures that follow move before it.

    >>> readable("a\u202eb"), readable("\u05d0\u05d1: 5 %").encode("unicode_escape").decode()
    ('a\\u202eb', '\\u05d0\\u05d1\\u200e: 5 %')
    """
    return _FROM_RIGHT.sub("\\g<0>\u200e", " ".join(visible_lines(text).split()))


def capitalised(text: str) -> str:
    """Begin a text with a capital and leave its other letters.

    >>> capitalised("genuine attempts rejected (FRR)")
    'Genuine attempts rejected (FRR)'
    """
    return text[:1].upper() + text[1:]


def title_of(text: str) -> str:
    """Make one message of a text: its first sentence, of at most 25 words.

    >>> title_of("Worse in low light. More is below.")
    'Worse in low light.'
    """
    whole = " ".join(visible_lines(text).split())
    sentence = re.split(r"(?<=[.!?]) (?=[A-Z])", whole, maxsplit=1)[0]
    words = sentence.split(" ")
    if len(words) > MAX_TITLE_WORDS:
        sentence = " ".join(words[:MAX_TITLE_WORDS]).rstrip(",;:.") + "…"
    return shortened(sentence, MAX_TITLE_LETTERS)


def terms_in(texts: Iterable[str], briefing: Briefing) -> dict[str, str]:
    """Choose the terms that some texts use, in the order in which the briefing explains them.

    Args:
        briefing: whose terms they are.
    """
    whole = " ".join(texts)
    return {
        term: meaning
        for term, meaning in briefing.terms.items()
        if re.search(rf"(?<!\w){re.escape(term)}(?!\w)", whole)
    }


def rate_name(briefing: Briefing) -> str:
    """Name the rate that a briefing leads with, which is that of its causes and groups."""
    return briefing.changes[0].name if briefing.changes else "error rate"


def build_words(briefing: Briefing) -> str:
    """Name a build and what it is held against."""
    build, baseline = (shortened(name or "", LETTERS_OF_BUILD) for name in (briefing.build, briefing.baseline))
    return f"{build} against {baseline}" if baseline else f"{build}, without a baseline"


def named_points(briefing: Briefing) -> list[tuple[str, Point]]:
    """List what is known of a build in the order in which it is told, each under its heading."""
    named = [
        ("Who meets it", briefing.impact),
        ("Why", briefing.cause),
        ("What mending it would bring", briefing.gain),
        ("Groups of people", briefing.groups),
        ("The data", briefing.quality),
        ("Next step", briefing.next_step),
    ]
    return [(name, point) for name, point in named if point is not None]


def data_words(briefing: Briefing) -> str:
    """Say how much was seen, where and when."""
    first, last = (f"{moment:%Y-%m-%d}" for moment in (briefing.captured_from, briefing.captured_until))
    drops = f"{len(briefing.drops):,} drop{'s' if len(briefing.drops) != 1 else ''}"
    when = first if first == last else f"{first} to {last}"
    return (
        f"{briefing.n_attempts:,} attempts of {briefing.n_subjects:,} subjects, "
        f"{drops} from {listed(briefing.sites)}, {when}"
    )


def listed(names: Iterable[str], *, most: int = 3, letters: int = 40) -> str:
    """Name a few of many things.

    Args:
        most: how many are named.
        letters: of each.

    >>> listed(["lab", "field"]), listed("abcdef"), listed([])
    ('lab and field', 'a, b, c and 3 more', 'none')
    """
    known = [shortened(name, letters) for name in names]
    shown = known if len(known) <= most else [*known[:most], f"{len(known) - most:,} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown) or "none"
