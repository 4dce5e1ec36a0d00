"""The deck: slides that people edit and present, each with one message as its title, from the briefing of a build.

Charts are in `cv_quality.publishing.deck_charts`, the template in `cv_quality.publishing.deck_template`. What does not
fit on a slide stands whole in its notes, beside the definitions and the rows of the tables that it rests on.
"""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.publishing.deck_charts import MOST_CATEGORIES, Bar, draw_bars, draw_pairs
from cv_quality.publishing.deck_template import (
    BASELINE_INK,
    CAUSE,
    CHART_AND_TEXT,
    CHART_ID,
    FOOTER_ID,
    LIMIT_INK,
    MARGIN_IN,
    NUMBER_ID,
    TABLE,
    TEMPLATE,
    TEXT,
    TEXT_ID,
    TITLE,
    WIDTH_IN,
    place_of,
)
from cv_quality.publishing.deck_text import one_line, write_text
from cv_quality.publishing.office import without_times
from cv_quality.publishing.product import Edition, Product, write_files
from cv_quality.publishing.wording import (
    LETTERS_OF_BUILD,
    VERDICTS,
    build_words,
    capitalised,
    compact_rate,
    data_words,
    difference_words,
    group_name,
    group_words,
    groupings,
    limit_words,
    listed,
    rate_name,
    readable,
    shortened,
    source_words,
    terms_in,
    title_of,
    value_of,
    words_of,
    words_of_figure,
)
from cv_quality.reports.briefing import Briefing, Cause, Example, Figure, GroupLine, Point, RateChange
from cv_quality.reports.pictures import Picture
from cv_quality.reports.rates import RatePair
from cv_quality.text import SHOWN_DIGITS, NumberWords

if TYPE_CHECKING:
    from pptx.presentation import Presentation
    from pptx.slide import Slide

MOST_RATES, MOST_CAUSES, MOST_GROUPINGS, MOST_EXAMPLES, MOST_ROWS = 4, 6, 4, 3, 60
"""Slides of each kind, examples on a slide, and rows of a table of the appendix; all of it is on the page."""
_ROWS_A_SLIDE, _ROW_IN, _TABLE_PT = 13, 0.37, 11
_TABLE_SHARES = (0.22, 0.27, 0.27, 0.24)
_STRIP_TOP_IN, _PICTURE_IN = 4.85, 1.2
_SENTENCES = 6


@dataclass(frozen=True, slots=True)
class Notes:
    """What a presenter reads below a slide.

    Attributes:
        says: in full what the slide says.
        figures: what it rests on.
        section: of the page that shows more.
    """

    says: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    section: str = ""


def write_deck(edition: Edition, folder: Path) -> tuple[Path, ...]:
    """Write the deck of a build.

    Args:
        folder: where to.
    """
    return write_files(folder, {"deck.pptx": draw_deck(edition.briefing)})


DECK = Product("deck", "Slides to edit and present", write_deck)


def draw_deck(briefing: Briefing) -> bytes:
    """Draw the slides of a briefing; the same briefing gives the same bytes."""
    from pptx import Presentation

    deck = Presentation(str(TEMPLATE))
    _add_title(deck, briefing)
    if not briefing.changes:
        _add_text(deck, briefing, briefing.impact, briefing.impact.text, data_words(briefing))
    for rank, change in enumerate(briefing.changes[:MOST_RATES]):
        _add_change(deck, briefing, change, is_first=rank == 0)
    if not briefing.causes:
        _add_text(deck, briefing, briefing.cause, briefing.cause.text, data_words(briefing))
    for cause in briefing.causes[:MOST_CAUSES]:
        _add_cause(deck, briefing, cause)
    _add_groups(deck, briefing)
    _add_text(deck, briefing, briefing.quality, briefing.quality.text, data_words(briefing), _drop_words(briefing))
    gain = [] if briefing.gain is None else [briefing.gain.text]
    _add_text(deck, briefing, briefing.next_step, briefing.next_step.text, briefing.cause.text, *gain)
    _add_appendix(deck, briefing)
    return _saved(deck, briefing)


def _saved(deck: "Presentation", briefing: Briefing) -> bytes:
    about = deck.core_properties
    about.title, about.subject = shortened(briefing.headline, 200), shortened(briefing.subject_matter, 200)
    about.author, about.language = "cv_quality", "en-GB"
    target = io.BytesIO()
    deck.save(target)
    return without_times(target.getvalue(), moment=f"{briefing.captured_until:%Y-%m-%dT%H:%M:%SZ}")


def _add_slide(deck: "Presentation", briefing: Briefing, layout: str, title: str, notes: Notes) -> "Slide":
    """Add a slide with its message, its footer and its notes."""
    slide = deck.slides.add_slide(deck.slide_layouts.get_by_name(layout))
    heading = place_of(layout, 0)
    _write(slide.shapes.title, [title_of(title)], box_in=heading.box[2:], largest=heading.size)
    foot = place_of(layout, FOOTER_ID)
    for placeholder in slide.slide_layout.placeholders:
        if placeholder.placeholder_format.idx in (FOOTER_ID, NUMBER_ID):
            _clone(slide, placeholder, f"{briefing.subject_matter}: {build_words(briefing)}", width_in=foot.box[2])
    frame: Any = slide.notes_slide.notes_text_frame
    frame.text = "\n".join(map(readable, _note_lines(briefing, title, notes)))
    return slide


def _clone(slide: "Slide", placeholder: Any, text: str, *, width_in: float) -> None:
    """Copy footer or number from the layout onto a slide, which would not show it otherwise."""
    from copy import deepcopy

    from pptx.oxml.ns import qn

    copy = deepcopy(placeholder._element)
    slide.shapes._spTree.append(copy)
    copy.nvSpPr.cNvPr.set("id", str(max(shape.shape_id for shape in slide.shapes) + 1))
    if placeholder.placeholder_format.idx == FOOTER_ID:
        shape = next(shape for shape in slide.placeholders if shape._element is copy)
        shape.text_frame.text = one_line(text, width_in=width_in, size=place_of(TABLE, FOOTER_ID).size)
    for properties in copy.iter(qn("p:spPr"), qn("a:lstStyle")):
        for child in list(properties):
            properties.remove(child)


def _note_lines(briefing: Briefing, title: str, notes: Notes) -> Iterator[str]:
    says = [title, *(text for text in notes.says if text != title)]
    yield from says
    for figure in notes.figures:
        method = f"; {figure.rate.method}" if figure.rate.method else ""
        yield f"{_figure_line(figure, briefing)}{method}. Source: {source_words(figure)}."
    used = [*says, *(figure.name for figure in notes.figures)]
    yield from (f"{term}: {meaning}." for term, meaning in terms_in(used, briefing).items())
    if notes.section:
        yield f"More on the page: section {notes.section}."
    yield f"Source: {build_words(briefing)}; {data_words(briefing)}."


def _write(shape: Any, paragraphs: Sequence[str], *, box_in: tuple[float, float], largest: float, **font: Any) -> None:
    write_text(shape.text_frame, paragraphs, box_in=box_in, largest=largest, **font)


def _fill_text(slide: "Slide", layout: str, paragraphs: Sequence[str]) -> None:
    place = place_of(layout, TEXT_ID)
    _write(_placeholder(slide, TEXT_ID), paragraphs, box_in=place.box[2:], largest=place.size)


def _placeholder(slide: "Slide", id: int) -> Any:
    return next(shape for shape in slide.placeholders if shape.placeholder_format.idx == id)


def _add_title(deck: "Presentation", briefing: Briefing) -> None:
    says = (
        VERDICTS[briefing.standing],
        f"{capitalised(briefing.subject_matter)}: {build_words(briefing)}",
        data_words(briefing),
    )
    slide = _add_slide(deck, briefing, TITLE, briefing.headline, Notes((briefing.headline, *says)))
    place = place_of(TITLE, 1)
    _write(_placeholder(slide, 1), says, box_in=place.box[2:], largest=place.size)


def _add_text(deck: "Presentation", briefing: Briefing, point: Point, *paragraphs: str) -> None:
    notes = Notes(paragraphs, point.figures, point.section)
    slide = _add_slide(deck, briefing, TEXT, point.text, notes)
    said = title_of(point.text)
    rows = [text for text in paragraphs if text != said]
    figures = [_figure_line(figure, briefing) for figure in point.figures]
    _fill_text(slide, TEXT, [*rows, *figures] or [said])


def _figure_line(figure: Figure, briefing: Briefing) -> str:
    return f"{figure.name}: {compact_rate(figure.rate, words=words_of_figure(figure, briefing))}"


def _drop_words(briefing: Briefing) -> str:
    return f"Drops: {listed(briefing.drops, most=8, letters=60)}"


def _add_change(deck: "Presentation", briefing: Briefing, change: RateChange, *, is_first: bool) -> None:
    title = briefing.impact.text if is_first else _change_title(change)
    bars, lines = list(_bars(briefing, change)), _change_lines(briefing, change)
    if all(bar.rate is None or bar.rate.value is None for bar in bars):
        _add_text(deck, briefing, Point(title, section="change"), *lines)
        return
    figures = _distinct((*change.figures, *(briefing.impact.figures if is_first else ())))
    slide = _add_slide(deck, briefing, CHART_AND_TEXT, title, Notes((title, *lines), figures, "change"))
    alt = f"{change.name}. {' '.join(lines)}"
    draw_bars(_placeholder(slide, CHART_ID), bars, series=change.name, alt=alt, is_rate=change.is_rate)
    used = terms_in([title_of(title), change.name, *(["95 % interval"] if is_first else [])], briefing)
    terms = [f"{term}: {meaning}." for term, meaning in used.items()]
    _fill_text(slide, CHART_AND_TEXT, [*lines, *terms])


def _bars(briefing: Briefing, change: RateChange) -> Iterator[Bar]:
    """The build, its baseline, and what the policy asks."""
    pair, words = change.pair, words_of(change)
    yield Bar(briefing.build, pair.build, words=words)
    if pair.baseline is not None:
        yield Bar(str(briefing.baseline), pair.baseline, ink=BASELINE_INK, words=words)
    if change.limit is not None:
        yield Bar(limit_words(change), None, limit=change.limit, ink=LIMIT_INK, words=words)


def _change_lines(briefing: Briefing, change: RateChange) -> list[str]:
    pair, words = change.pair, words_of(change)
    build, baseline = (shortened(str(name), LETTERS_OF_BUILD) for name in (briefing.build, briefing.baseline))
    lines = [f"{build}: {compact_rate(pair.build, words=words)}"]
    if pair.baseline is not None:
        lines += [f"{baseline}: {compact_rate(pair.baseline, words=words)}", _difference_line(change)]
    if change.limit is not None:
        lines.append(f"The release policy: {limit_words(change)} {words(change.limit, digits=SHOWN_DIGITS)}.")
    return lines


def _distinct(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """Leave out figures that were named before."""
    return tuple({source_words(figure): figure for figure in figures}.values())


def _difference_line(change: RateChange) -> str:
    """Say in a line how far a rate moved, and whether the data can tell."""
    direction = {"worse": "worse", "better": "better", "unclear": "no clear change", "unknown": "cannot be told"}
    return f"Change: {difference_words(change)}, {direction[change.direction]}"


def _change_title(change: RateChange) -> str:
    pair, words = change.pair, words_of(change)
    before = f", against {value_of(pair.baseline, words=words)} before" if pair.baseline is not None else ""
    told = {"worse": ": worse", "better": ": better", "unclear": ": no clear change", "unknown": ""}
    name = shortened(capitalised(change.name), 60)
    return f"{name}: {value_of(pair.build, words=words)}{before}{told[change.direction]}"


def _add_cause(deck: "Presentation", briefing: Briefing, cause: Cause) -> None:
    gain = [cause.gain.text] if cause.gain is not None else []
    share = [] if cause.share_of_failures is None else [f"It holds {percent(cause.share_of_failures)} of all failures."]
    is_said = cause.rest is None or percent(cause.rest) in cause.sentence
    rest = [] if is_said else [f"Everywhere else {percent(cause.rest)} fail."]
    size = [f"{_counted(cause.n_attempts, briefing.trials)} of {_counted(cause.n_subjects, briefing.units)}."]
    notes = Notes(
        (
            cause.sentence,
            f"Cause {cause.rank}: {cause.condition}",
            *(*share, *rest, *size, *cause.evidence, *gain),
            f"{briefing.build} there: {compact_rate(cause.rate)}",
            f"In SQL: {cause.predicate}",
        ),
        cause.gain.figures if cause.gain is not None else (),
        "slices",
    )
    layout = CAUSE if cause.examples else CHART_AND_TEXT
    slide = _add_slide(deck, briefing, layout, cause.sentence, notes)
    bars = [Bar("here", cause.rate)]
    if cause.before is not None:
        bars.append(Bar(f"here, {briefing.baseline}", cause.before, ink=BASELINE_INK))
    if cause.gain is not None:
        bars += [Bar(figure.name, figure.rate, ink=LIMIT_INK) for figure in cause.gain.figures[:1]]
    alt = f"{shortened(cause.condition, 200)}: {'; '.join(bar.label for bar in bars)}"
    draw_bars(_placeholder(slide, CHART_ID), bars, series=f"{briefing.trials} that fail", alt=alt)
    _fill_text(slide, layout, [*gain, *share, *rest, *cause.evidence])
    _add_examples(slide, cause.examples[:MOST_EXAMPLES])


def _counted(count: int | None, what: str) -> str:
    return f"an unknown number of {what}" if count is None else f"{count:,} {what}"


def _add_examples(slide: "Slide", examples: Sequence[Example]) -> None:
    """Lay failures beside passes below the chart, each with its words."""
    width = (WIDTH_IN - 2 * MARGIN_IN) / MOST_EXAMPLES
    for place, example in enumerate(examples):
        left, half = MARGIN_IN + place * width, (width - 0.3) / 2
        _add_picture(slide, example.failed, f"Failed: {example.failed_words}", left_in=left, width_in=half)
        if example.passed is not None:
            differing = f" ({example.difference})" if example.difference else ""
            words = f"Passed{differing}: {example.passed_words}"
            _add_picture(slide, example.passed, words, left_in=left + half + 0.1, width_in=half)


def _add_picture(slide: "Slide", picture: Picture, words: str, *, left_in: float, width_in: float) -> None:
    """Add a picture, or the words in its place, and below it what it shows."""
    from pptx.util import Inches

    data = png_of(picture)
    if data is None:
        box = slide.shapes.add_textbox(*map(Inches, (left_in, _STRIP_TOP_IN, width_in, _PICTURE_IN)))
        _bare(box)
        _write(box, [picture.placeholder or "no image"], box_in=(width_in, _PICTURE_IN), largest=12, italic=True)
    else:
        shown: Any = slide.shapes.add_picture(io.BytesIO(data), Inches(left_in), Inches(_STRIP_TOP_IN))
        scale = min(Inches(_PICTURE_IN) / shown.height, Inches(width_in) / shown.width)
        shown.width, shown.height = round(shown.width * scale), round(shown.height * scale)
        shown._element.nvPicPr.cNvPr.set("descr", readable(words))
    top, height = _STRIP_TOP_IN + _PICTURE_IN + 0.05, 0.8
    caption = slide.shapes.add_textbox(*map(Inches, (left_in, top, width_in, height)))
    _bare(caption)
    _write(caption, [words], box_in=(width_in, height), largest=11)


def _bare(box: Any) -> None:
    frame = box.text_frame
    frame.margin_left = frame.margin_right = frame.margin_top = frame.margin_bottom = 0


def png_of(picture: Picture) -> bytes | None:
    """Decode a picture's image as PNG, which every office suite shows; None where it has none."""
    from PIL import Image

    if picture.uri is None:
        return None
    data = base64.b64decode(picture.uri.partition(",")[2])
    if picture.uri.startswith("data:image/png;"):
        return data
    target = io.BytesIO()
    Image.open(io.BytesIO(data)).save(target, "PNG")
    return target.getvalue()


def _add_groups(deck: "Presentation", briefing: Briefing) -> None:
    """Add a slide for each of the first ways to group people, beginning with the one that the briefing tells of."""
    told = groupings(briefing)
    if not told:
        _add_text(deck, briefing, briefing.groups, briefing.groups.text, data_words(briefing))
    for rank, lines in enumerate(told[:MOST_GROUPINGS]):
        _add_dimension(deck, briefing, lines, is_first=rank == 0)


def _add_dimension(deck: "Presentation", briefing: Briefing, lines: Sequence[GroupLine], *, is_first: bool) -> None:
    shown = lines if len(lines) <= MOST_CATEGORIES else sorted(lines, key=_by_rate)[:MOST_CATEGORIES]
    what = f"{lines[0].metric or rate_name(briefing)} by {lines[0].dimension}"
    title = briefing.groups.text if is_first else _worst_words(lines, what)
    said = [f"{group_name(line)}: {group_words(line)}" for line in shown]
    more = [f"{len(lines) - len(shown):,} more groups are on the page."] if len(lines) > len(shown) else []
    rates = [f"{group_name(line)}: {compact_rate(line.pair.build)}" for line in shown]
    notes = Notes((title, *rates, *said, *more), briefing.groups.figures if is_first else (), "groups")
    if all(line.pair.build.value is None for line in shown):
        _add_text(deck, briefing, Point(title, section="groups"), *notes.says[1:])
        return
    slide = _add_slide(deck, briefing, CHART_AND_TEXT, title, notes)
    sides: dict[str, list[Rate | None]] = {briefing.build: [line.pair.build for line in shown]}
    if any(line.pair.baseline is not None for line in shown):
        sides[str(briefing.baseline)] = [line.pair.baseline for line in shown]
    names, alt = list(map(group_name, shown)), f"{what}: {'; '.join(rates)}"
    draw_pairs(_placeholder(slide, CHART_ID), names, sides, title=what, alt=alt)
    _fill_text(slide, CHART_AND_TEXT, [*said[:_SENTENCES], *more])


def _worst_words(lines: Sequence[GroupLine], what: str) -> str:
    """Name the group with the highest rate, and say where others may be as high."""
    worst = min(lines, key=_by_rate)
    if not worst.pair.build.value:
        return f"{capitalised(shortened(what, 60))}: no error in any group"
    others = [line.pair.build.high for line in lines if line is not worst and line.pair.build.high is not None]
    overlap = ", but intervals overlap" if max(others, default=0.0) >= (worst.pair.build.low or 0.0) else ""
    rate = percent(worst.pair.build.value)
    return f"{capitalised(shortened(what, 60))}: {shortened(group_name(worst), 40)} has the highest, {rate}{overlap}"


def _by_rate(line: GroupLine) -> float:
    return -1.0 if line.pair.build.value is None else -line.pair.build.value - 1.0


def _add_appendix(deck: "Presentation", briefing: Briefing) -> None:
    before = briefing.baseline or "no baseline"
    rates = [
        [change.name, *_sides(change.pair, words=words_of(change)), difference_words(change)]
        for change in briefing.changes
    ]
    _add_table(deck, briefing, "every figure with its interval", ["Figure", briefing.build, before, "Change"], rates)
    causes = [[cause.condition, _short(cause.rate), _short(cause.before), cause.predicate] for cause in briefing.causes]
    _add_table(deck, briefing, "causes in their order", ["Condition", briefing.build, before, "In SQL"], causes)
    groups = [
        [f"{line.dimension}: {line.level}", *_sides(line.pair), group_words(line)] for line in briefing.group_lines
    ]
    _add_table(deck, briefing, "groups", ["Group", briefing.build, before, "In words"], groups)
    terms = [f"{term}: {meaning.rstrip('.')}." for term, meaning in briefing.terms.items()]
    _add_list(deck, briefing, "Appendix: what the terms mean", terms)
    _add_list(deck, briefing, "Appendix: these commands make the numbers again", briefing.commands)


def _sides(pair: RatePair, *, words: NumberWords = percent) -> tuple[str, str]:
    return _short(pair.build, words=words), _short(pair.baseline, words=words)


def _short(rate: Rate | None, *, words: NumberWords = percent) -> str:
    return "none" if rate is None else compact_rate(rate, words=words, with_counts=False)


def _add_list(deck: "Presentation", briefing: Briefing, title: str, lines: Sequence[str]) -> None:
    if lines:
        slide = _add_slide(deck, briefing, TEXT, title, Notes((title, *lines)))
        _fill_text(slide, TEXT, lines)


def _add_table(
    deck: "Presentation", briefing: Briefing, what: str, names: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Add a table over as many slides as its rows need, and say what is left out."""
    shown = rows[:MOST_ROWS]
    pages = [shown[start : start + _ROWS_A_SLIDE] for start in range(0, len(shown), _ROWS_A_SLIDE)]
    for number, page in enumerate(pages, 1):
        part = f" ({number} of {len(pages)})" if len(pages) > 1 else ""
        left = f", the first {len(shown):,} of {len(rows):,}" if len(rows) > len(shown) else ""
        title = f"Appendix: {what}{left}{part}"
        notes = Notes((title, *("; ".join(row) for row in page)))
        _draw_table(_add_slide(deck, briefing, TABLE, title, notes), names, page)


def _draw_table(slide: "Slide", names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from pptx.enum.dml import MSO_THEME_COLOR
    from pptx.util import Inches, Pt

    wide = WIDTH_IN - 2 * MARGIN_IN
    widths = [wide * share for share in _TABLE_SHARES]
    box = map(Inches, (MARGIN_IN, 1.75, wide, _ROW_IN * (len(rows) + 1)))
    frame = slide.shapes.add_table(len(rows) + 1, len(names), *box)
    frame._element.nvGraphicFramePr.cNvPr.set("descr", readable(f"Table of {len(rows)} rows: {', '.join(names)}"))
    table = frame.table
    for column, width in zip(table.columns, widths, strict=True):
        column.width = Inches(width)
    for place, row in enumerate([names, *rows]):
        table.rows[place].height = Inches(_ROW_IN)
        for cell, text, width in zip(table.rows[place].cells, row, widths, strict=True):
            cell.margin_left = cell.margin_right = Inches(0.06)
            cell.margin_top = cell.margin_bottom = Inches(0.03)
            cell.text_frame.word_wrap = True
            cell.text = one_line(text, width_in=width - 0.15, size=_TABLE_PT)
            cell.fill.solid()
            ground = MSO_THEME_COLOR.BACKGROUND_2 if place == 0 else MSO_THEME_COLOR.BACKGROUND_1
            cell.fill.fore_color.theme_color = ground
            for paragraph in cell.text_frame.paragraphs:
                font = paragraph.font
                font.size, font.bold, font.color.theme_color = Pt(_TABLE_PT), place == 0, MSO_THEME_COLOR.TEXT_1
