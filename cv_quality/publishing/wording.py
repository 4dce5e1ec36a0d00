"""The words that brief, deck and message share: rates, where they stand, and text as long as its place allows."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.briefing import Briefing, Figure, GroupLine, Point, RateChange, Standing
from cv_quality.reports.rendering import number, points
from cv_quality.tasks.briefing import rate_words
from cv_quality.text import SHOWN_DIGITS, NumberWords, span, visible_lines

Tone = Literal["good", "bad", "open"]

MAX_TITLE_WORDS = 25
MAX_TITLE_LETTERS = 170
LETTERS_OF_BUILD = 60
_RIGHT = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]"
_FROM_RIGHT = re.compile(rf"{_RIGHT}+(?:[\s\d]*{_RIGHT}+)*\d*")
"""A run of letters that are read from right to left, with the figures within and at its end."""
_NO_CHARACTER = re.compile("[\ufffe\uffff]")
_CODE = re.compile(r"`([^`]+)`")
_ASIDES = (re.compile(r" \([^()]*interval[^()]*\)"), re.compile(r" \([^()]*\d[^()]*\)"))
"""What a title leaves out: intervals, and where it is too long, other figures in parentheses."""
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


def words_of(change: RateChange) -> NumberWords:
    """Choose how the figures of a change are written: as per cent, or in their unit."""
    if change.is_rate:
        return percent

    def in_unit(value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
        text = number(value, digits=digits)
        return f"{text} {change.unit}" if change.unit and value is not None and math.isfinite(value) else text

    return in_unit


def words_of_figure(figure: Figure, briefing: Briefing) -> NumberWords:
    """Choose how a figure is written: as the change that it belongs to, else as per cent.

    Args:
        briefing: that it belongs to.
    """
    return next((words_of(change) for change in briefing.changes if figure in change.figures), percent)


def interval_of(rate: Rate, *, words: NumberWords = percent) -> str:
    """Write the bounds of a rate.

    Args:
        words: how one of them is written.

    >>> from cv_quality.metrics.rates import NO_TRIAL
    >>> interval_of(NO_TRIAL)
    'no interval'
    """
    return span(rate.low, rate.high, words=words) if rate.has_interval else NO_INTERVAL


def value_of(rate: Rate, *, words: NumberWords = percent) -> str:
    """Write the value of a rate, and why it has none.

    Args:
        words: how it is written.

    >>> from cv_quality.metrics.rates import NO_TRIAL
    >>> value_of(NO_TRIAL)
    'undefined: no trial'
    """
    if rate.value is None:
        return f"undefined: {rate.reason}" if rate.reason else "undefined"
    return words(rate.value, digits=SHOWN_DIGITS)


def counts_of(rate: Rate) -> str:
    """Write the counts of a rate; a mean has only the number of what it is over.

    >>> from dataclasses import replace
    >>> from cv_quality.metrics.rates import clustered_rate
    >>> rate = clustered_rate([0, 1, 0, 2], [10, 10, 10, 10])
    >>> counts_of(rate), counts_of(replace(rate, value=0.81, numerator=0))
    ('3 of 40', 'n = 40')
    """
    is_counted = rate.denominator > 0 and math.isclose(rate.numerator / rate.denominator, rate.value or 0.0)
    return f"{rate.numerator:,} of {rate.denominator:,}" if is_counted else f"n = {rate.denominator:,}"


def compact_rate(rate: Rate, *, words: NumberWords = percent, with_counts: bool = True) -> str:
    """Write a rate for a line of its own, with bounds and counts, or why there is none; `rate_words` is for sentences.

    Args:
        words: how its value and its bounds are written.

    >>> from cv_quality.metrics.rates import clustered_rate
    >>> compact_rate(clustered_rate([0, 1, 0, 2], [10, 10, 10, 10]))
    '7.5 % (0.0214 % to 47 %; 3 of 40)'
    """
    if rate.value is None:
        return value_of(rate)
    counts = f"; {counts_of(rate)}" if with_counts else ""
    return f"{value_of(rate, words=words)} ({interval_of(rate, words=words)}{counts})"


def difference_words(change: RateChange) -> str:
    """Write how far a rate moved, with the interval of the difference."""
    pair, words = change.pair, points if change.is_rate else _signed(words_of(change))
    if pair.delta is None:
        return "no difference can be told"
    bounds = pair.change
    if bounds is None or bounds.low is None or bounds.high is None:
        return f"{words(pair.delta, digits=SHOWN_DIGITS)} ({NO_INTERVAL})"
    return f"{words(pair.delta, digits=SHOWN_DIGITS)} ({span(bounds.low, bounds.high, words=words)})"


def _signed(words: NumberWords) -> NumberWords:
    """Write a number with its sign."""

    def signed(value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
        sign = "" if value is None else "±" if value == 0 else "+" if value > 0 else "−"
        return f"{sign}{words(None if value is None else abs(value), digits=digits)}"

    return signed


def limit_words(change: RateChange) -> str:
    """Name what the release policy allows."""
    return "required at least" if change.higher_is_better else "allowed at most"


def finite(value: float | None) -> float | None:
    """Keep a value that has a place on an axis."""
    return value if value is not None and math.isfinite(value) else None


def group_name(line: GroupLine) -> str:
    """Name a group without the metric that is told of it."""
    return line.level.removeprefix(f"{line.metric}, ") if line.metric else line.level


def groupings(briefing: Briefing) -> list[list[GroupLine]]:
    """Gather the groups by dimension and metric, beginning with those that the briefing tells of."""
    found: dict[tuple[str, str], list[GroupLine]] = {}
    for line in briefing.group_lines:
        found.setdefault((line.dimension, line.metric), []).append(line)
    return sorted(found.values(), key=lambda lines: not any(_is_told(line, briefing.groups.text) for line in lines))


def _is_told(line: GroupLine, text: str) -> bool:
    return line.dimension in text and line.metric in text and group_name(line) in text


def group_words(line: GroupLine) -> str:
    """Say how a group fares, without the rate that stands beside."""
    return capitalised(line.sentence.removeprefix(f"{rate_words(line.pair.build)}; "))


def source_words(figure: Figure) -> str:
    """Say in which row of which table a figure stands."""
    where = " and ".join(f"{column} = {value!r}" for column, value in figure.where.items())
    return f"{figure.table}.{figure.column}" + (f" where {where}" if where else "")


def one_line_of(text: str) -> str:
    r"""Write a text on one line, with nothing in it that is not seen or that no document can hold.

    >>> one_line_of("a\n b\x00\uffff")
    'a b\\x00\\uffff'
    """
    return _NO_CHARACTER.sub(lambda found: f"\\u{ord(found[0]):04x}", " ".join(visible_lines(text).split()))


def shortened(text: str, limit: int) -> str:
    """Cut a text to so many letters, at a word where that loses little, and say so with an ellipsis.

    Args:
        limit: letters, the ellipsis among them.

    >>> shortened("spectacles in low light", 17), shortened("spectacles", 5)
    ('spectacles in…', 'spec…')
    """
    text = one_line_of(text)
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
    line = _CODE.sub(r"“\1”", one_line_of(text))
    return _FROM_RIGHT.sub("\\g<0>\u200e", line)


def capitalised(text: str) -> str:
    """Begin a text with a capital and leave its other letters.

    >>> capitalised("genuine attempts rejected (FRR)")
    'Genuine attempts rejected (FRR)'
    """
    return text[:1].upper() + text[1:]


def title_of(text: str) -> str:
    """Make one message of a text: its first sentence without the intervals, of at most 25 words.

    A longer one ends with a clause, and with an ellipsis that says so.

    >>> title_of("Rejected are 5 % (95 % interval 3.8 to 6.45 %) in low light. More is below.")
    'Rejected are 5 % in low light.'
    """
    whole = _ASIDES[0].sub("", one_line_of(text))
    sentence = re.split(r"(?<=[.!?]) (?=[A-Z])", whole, maxsplit=1)[0]
    if len(sentence.split(" ")) > MAX_TITLE_WORDS:
        sentence = _ASIDES[1].sub("", sentence)
    words = sentence.split(" ")
    if len(words) > MAX_TITLE_WORDS:
        kept = " ".join(words[:MAX_TITLE_WORDS])
        clause = re.split(r"[,;:] (?!.*[,;:] )", kept)[0]
        sentence = (clause if len(clause) > len(kept) // 2 else kept).rstrip(",;:.") + "…"
    return shortened(sentence, MAX_TITLE_LETTERS)


def terms_in(texts: Iterable[str], briefing: Briefing) -> dict[str, str]:
    """Choose the terms that some texts use, in the order in which the briefing explains them.

    Args:
        briefing: whose terms they are.
    """
    whole = " ".join(texts)
    return {
        term: meaning.rstrip(".")
        for term, meaning in briefing.terms.items()
        if re.search(rf"(?<!\w){re.escape(term)}s?(?!\w)", whole)
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
        ("Impact", briefing.impact),
        ("Why", briefing.cause),
        ("What mending it would bring", briefing.gain),
        ("Groups", briefing.groups),
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
        f"{briefing.n_attempts:,} {briefing.trials} of {briefing.n_subjects:,} {briefing.units}, "
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
