"""The brief: two pages on a build to print or to send, as PDF/UA, from the briefing of the build.

How it looks is in `templates/brief.typ`. Only fonts that come with the typesetter are used, so that the same briefing
gives the same bytes everywhere; those of the machine are asked for letters that no other has.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cv_quality.errors import PublishingError
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.publishing.product import Edition, Product, write_files
from cv_quality.publishing.wording import (
    TONES,
    VERDICTS,
    build_words,
    capitalised,
    compact_rate,
    data_words,
    difference_words,
    finite,
    group_words,
    groupings,
    limit_words,
    listed,
    named_points,
    rate_name,
    readable,
    shortened,
    terms_in,
    words_of,
)
from cv_quality.reports.briefing import Briefing, Cause, RateChange
from cv_quality.reports.drawing import round_numbers
from cv_quality.text import SHOWN_DIGITS, NumberWords

TEMPLATE = Path(__file__).parent / "templates" / "brief.typ"
PAGES = 2
LETTERS_OF_HEADLINE = 240
LONGEST_WORD = 24
"""Letters after which a word may be broken anywhere."""
_PAGE = re.compile(rb"/Type\s*/Page\b")
_UNSHOWN = re.compile(r'the text `"(.+?)"` could not be displayed')
_CODE_POINT = re.compile(r"\\u\{([0-9a-f]+)\}")
_MOST_FONT_TRIES = 20


@dataclass(frozen=True, slots=True)
class Detail:
    """How much a brief says.

    Attributes:
        letters: of a sentence.
        causes, rates, groups, terms: how many are named.
    """

    letters: int
    causes: int
    rates: int
    groups: int
    terms: int


DETAILS = (
    Detail(letters=600, causes=4, rates=8, groups=12, terms=12),
    Detail(letters=600, causes=3, rates=6, groups=8, terms=10),
    Detail(letters=600, causes=2, rates=5, groups=6, terms=8),
    Detail(letters=600, causes=1, rates=4, groups=4, terms=6),
    Detail(letters=400, causes=1, rates=4, groups=4, terms=6),
    Detail(letters=240, causes=1, rates=4, groups=4, terms=6),
    Detail(letters=150, causes=1, rates=4, groups=4, terms=5),
    Detail(letters=90, causes=1, rates=4, groups=4, terms=5),
    Detail(letters=50, causes=1, rates=3, groups=3, terms=3),
)
"""From the most to the least; the first that two pages hold is printed."""


def write_brief(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write the brief of a build.

    Args:
        folder: where to.
    """
    return write_files(folder, {"brief.pdf": print_brief(edition.briefing)})


BRIEF = Product("brief", "Two pages to print or to send", write_brief)


def print_brief(briefing: Briefing) -> bytes:
    """Print a briefing on two pages; the same briefing gives the same bytes.

    Raises:
        PublishingError: not even the least detail fits.
    """
    for detail in DETAILS:
        document = _typeset(_values(briefing, detail))
        if len(_PAGE.findall(document)) == PAGES:
            return document
    raise PublishingError(
        f"the brief of build {briefing.build} takes more than {PAGES} pages even with sentences of "
        f"{DETAILS[-1].letters} letters: shorten the names of its builds, conditions and groups"
    )


def _typeset(values: dict[str, Any]) -> bytes:
    """Compile the template; a letter that no font has is written as its code point."""
    import typst

    text = json.dumps(values, ensure_ascii=False)
    for attempt in range(_MOST_FONT_TRIES):
        files: Any = {"main.typ": TEMPLATE.read_bytes(), "brief.json": text.encode()}
        try:
            return bytes(typst.compile(files, format="pdf", pdf_standards=["ua-1"], ignore_system_fonts=attempt == 0))
        except typst.TypstError as error:
            unshown = _unshown_letters(error.diagnostic)
            if not unshown:
                raise PublishingError(f"the brief cannot be typeset: {error.message}") from error
            if attempt > 0:
                text = "".join(f"U+{ord(letter):04X}" if letter in unshown else letter for letter in text)
    raise PublishingError("the brief cannot be typeset: no font has its letters; install one for their script")


def _unshown_letters(diagnostic: str) -> set[str]:
    """Read from the typesetter's words which letters no font has."""
    texts = (_CODE_POINT.sub(lambda found: chr(int(found[1], 16)), text) for text in _UNSHOWN.findall(diagnostic))
    return {letter for text in texts for letter in text if not letter.isascii()}


def _values(briefing: Briefing, detail: Detail) -> dict[str, Any]:
    """Everything that the template shows, as text."""
    lines = [line for group in groupings(briefing) for line in group]
    moment, points = briefing.captured_until, named_points(briefing)
    first = terms_in([briefing.headline, rate_name(briefing), *(point.text for _, point in points)], briefing)
    values: dict[str, Any] = {
        "headline": shortened(briefing.headline, LETTERS_OF_HEADLINE),
        "about": f"{capitalised(briefing.subject_matter)}: {build_words(briefing)}",
        "verdict": VERDICTS[briefing.standing],
        "data": data_words(briefing),
        "points": [{"name": name, "text": shortened(point.text, detail.letters)} for name, point in points],
        "causes": [_cause(cause, detail) for cause in briefing.causes[: detail.causes]],
        "more_causes": _more(len(briefing.causes) - detail.causes, "cause"),
        "names": ["Figure", shortened(briefing.build, 30), shortened(briefing.baseline or "no baseline", 30), "Change"],
        "rates": [_rate_row(change, detail) for change in briefing.changes[: detail.rates]],
        "groups": [
            [
                shortened(f"{line.dimension}: {line.level}", min(detail.letters, 60)),
                _short(line.pair.build),
                _short(line.pair.baseline),
                shortened(group_words(line), min(detail.letters, 120)),
            ]
            for line in lines[: detail.groups]
        ],
        "more_groups": _more(len(briefing.group_lines) - detail.groups, "group"),
        "terms": _terms(first, detail),
        "more_terms": _terms(
            {term: text.rstrip(".") for term, text in briefing.terms.items() if term not in first}, detail
        ),
        "sources": _sources(briefing),
        "commands": [shortened(command, min(detail.letters, 160)) for command in briefing.commands[:4]],
    }
    return {
        **_all_readable(values),
        "tone": TONES[briefing.standing],
        "date": [moment.year, moment.month, moment.day],
        "chart": _chart(briefing.changes[0], briefing) if briefing.changes else None,
    }


def _terms(terms: Mapping[str, str], detail: Detail) -> list[list[str]]:
    most = min(detail.letters, 160)
    return [[shortened(term, 30), shortened(meaning, most)] for term, meaning in list(terms.items())[: detail.terms]]


def _cause(cause: Cause, detail: Detail) -> dict[str, str]:
    held = [] if cause.share_of_failures is None else [f"It holds {percent(cause.share_of_failures)} of all failures."]
    gain = [] if cause.gain is None else [cause.gain.text]
    before = "" if cause.before is None else f", before {compact_rate(cause.before)}"
    facts = [f"Now {compact_rate(cause.rate)}{before}.", *held, *cause.evidence, *gain]
    text = " ".join(facts)
    return {
        "title": shortened(f"{cause.rank}. {cause.sentence}", detail.letters),
        "text": shortened(text, 2 * detail.letters),
    }


def _more(count: int, what: str) -> str:
    return f"{count:,} more {what}{'s' if count > 1 else ''} on the page." if count > 0 else ""


def _rate_row(change: RateChange, detail: Detail) -> list[str]:
    words = words_of(change)
    limit = "" if change.limit is None else f" ({limit_words(change)} {words(change.limit, digits=SHOWN_DIGITS)})"
    name = shortened(change.name, min(detail.letters, 80))
    pair = change.pair
    return [
        f"{name}{limit}",
        _short(pair.build, words=words),
        _short(pair.baseline, words=words),
        difference_words(change),
    ]


def _short(rate: Rate | None, *, words: NumberWords = percent) -> str:
    return "none" if rate is None else compact_rate(rate, words=words)


def _sources(briefing: Briefing) -> str:
    """Name the columns that the figures stand in."""
    figures = [figure for change in briefing.changes for figure in change.figures]
    columns = dict.fromkeys(f"{figure.table}.{figure.column}" for figure in figures)
    if not columns:
        return "No figure could be measured."
    return f"Columns {listed(columns, most=6)} of the lake; the notes of the deck name the row of each figure."


def _chart(change: RateChange, briefing: Briefing) -> dict[str, Any] | None:
    """The change that the briefing leads with, as numbers to draw; None where there is none."""
    pair, words = change.pair, words_of(change)
    sides = [(briefing.build, pair.build, "build"), (str(briefing.baseline), pair.baseline, "baseline")]
    bars = [_bar(name, rate, words=words, ink=ink) for name, rate, ink in sides if rate is not None]
    if not any(rate is not None and rate.value is not None for _, rate, _ in sides):
        return None
    if change.limit is not None:
        limit = {"value": change.limit, "low": None, "high": None, "ink": "limit"}
        bars.append({**limit, "name": limit_words(change), "words": words(change.limit, digits=SHOWN_DIGITS)})
    ends = [end for bar in bars for end in (bar["value"], bar["high"]) if end is not None]
    most = round_numbers(0.0, max(*ends, 1e-9), count=4)[-1]
    title = f"{capitalised(change.name)}, with 95 % intervals"
    told = "; ".join(f"{bar['name']} {bar['words']}" for bar in bars)
    texts = {"title": shortened(title, 90), "alt": f"{title}: {told}"}
    ticks = {"least_words": words(0.0, digits=SHOWN_DIGITS), "most_words": words(most, digits=SHOWN_DIGITS)}
    return {**_all_readable({**texts, **ticks}), "most": most, "bars": bars}


def _bar(name: str, rate: Rate, *, words: NumberWords, ink: str) -> dict[str, Any]:
    said = _all_readable({"name": shortened(name, 30), "words": shortened(compact_rate(rate, words=words), 80)})
    return {"value": finite(rate.value), "low": finite(rate.low), "high": finite(rate.high), "ink": ink, **said}


def _all_readable(value: Any) -> Any:
    """Make every text of a value one that is seen whole: long words may be broken."""
    if isinstance(value, str):
        return re.sub(rf"\S{{{LONGEST_WORD}}}(?=\S)", "\\g<0>\u200b", readable(value))
    if isinstance(value, dict):
        return {key: _all_readable(item) for key, item in value.items()}
    return [_all_readable(item) for item in value] if isinstance(value, Sequence) else value
