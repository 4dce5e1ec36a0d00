"""The template of the deck, as it was drawn: `python -m cv_quality.publishing.deck_template` writes it anew.

The file lies in `templates`, 16:9 with placeholders of its own, and holds nothing else. What the deck asks of it are
the names of its layouts and the ids of their placeholders.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_quality.lake.store import atomic_path
from cv_quality.publishing.office import without_times

if TYPE_CHECKING:
    from pptx.presentation import Presentation

TEMPLATE = Path(__file__).parent / "templates" / "deck.pptx"
WIDTH_IN, HEIGHT_IN = 40 / 3, 7.5
MARGIN_IN = 0.6
DRAWN = "2026-01-01T00:00:00Z"

CHART_ID, TEXT_ID, FOOTER_ID, NUMBER_ID = 10, 11, 21, 22
TITLE, CHART_AND_TEXT, CAUSE, TEXT, TABLE = "Title", "Chart and text", "Cause", "Text", "Table"

BUILD_INK, BASELINE_INK, LIMIT_INK, BETTER_INK, INK, MUTED = "B8480A", "0B6AA8", "A3A9B2", "0A6B4F", "1C1F24", "5C636E"
_SCHEME = {
    "dk1": INK,
    "lt1": "FFFFFF",
    "dk2": MUTED,
    "lt2": "F3F4F6",
    "accent1": BUILD_INK,
    "accent2": BASELINE_INK,
    "accent3": BETTER_INK,
    "accent4": "8A3BA8",
    "accent5": "8A6D00",
    "accent6": LIMIT_INK,
    "hlink": BASELINE_INK,
    "folHlink": "8A3BA8",
}
_FONT = "Arial"
_NAMES = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)


@dataclass(frozen=True, slots=True)
class Place:
    """A placeholder of a layout, with its box in inches.

    Attributes:
        kind: of the placeholder, in the words of the format.
        id: by which a slide finds it; 0 for the title.
        anchor: where text stands in the box, "t", "b" or "ctr".
        size: of the text, in points.
    """

    name: str
    kind: str
    id: int
    box: tuple[float, float, float, float]
    size: float
    anchor: str = "t"
    align: str = "l"
    is_bold: bool = False
    ink: str = "tx1"
    prompt: str = ""


_WIDE = WIDTH_IN - 2 * MARGIN_IN
_HEADING = Place("Title", "title", 0, (MARGIN_IN, 0.4, _WIDE, 1.15), 26, anchor="ctr", is_bold=True, prompt="Message")
_FOOT = Place("Footer", "ftr", FOOTER_ID, (MARGIN_IN, 6.98, 10.5, 0.32), 10, anchor="ctr", ink="tx2")
_NUMBER = Place(
    "Slide number", "sldNum", NUMBER_ID, (WIDTH_IN - MARGIN_IN - 1, 6.98, 1, 0.32), 10, "ctr", "r", ink="tx2"
)
_FIXED = (_HEADING, _FOOT, _NUMBER)
LAYOUTS: dict[str, tuple[Place, ...]] = {
    TITLE: (
        Place("Title", "ctrTitle", 0, (MARGIN_IN, 1.7, _WIDE, 2.0), 36, anchor="b", is_bold=True, prompt="Message"),
        Place("Subtitle", "subTitle", 1, (MARGIN_IN, 3.95, _WIDE, 2.4), 18, ink="tx2", prompt="What and when"),
        _FOOT,
        _NUMBER,
    ),
    CHART_AND_TEXT: (
        *_FIXED,
        Place("Chart", "chart", CHART_ID, (MARGIN_IN, 1.75, 7.3, 5.0), 14, prompt="Chart"),
        Place("Text", "body", TEXT_ID, (8.2, 1.75, WIDTH_IN - MARGIN_IN - 8.2, 5.0), 18, prompt="What it shows"),
    ),
    CAUSE: (
        *_FIXED,
        Place("Chart", "chart", CHART_ID, (MARGIN_IN, 1.7, 5.6, 2.95), 14, prompt="Chart"),
        Place("Text", "body", TEXT_ID, (6.4, 1.7, WIDTH_IN - MARGIN_IN - 6.4, 2.95), 16, prompt="Evidence"),
    ),
    TEXT: (*_FIXED, Place("Text", "body", TEXT_ID, (MARGIN_IN, 1.75, _WIDE, 5.0), 22, prompt="What is known")),
    TABLE: _FIXED,
}


def place_of(layout: str, id: int) -> Place:
    """Find a placeholder of a layout.

    Args:
        id: of the placeholder.
    """
    return next(place for place in LAYOUTS[layout] if place.id == id)


def main() -> None:
    """Write the template."""
    TEMPLATE.parent.mkdir(exist_ok=True)
    with atomic_path(TEMPLATE) as temporary:
        temporary.write_bytes(draw_template())


def draw_template() -> bytes:
    """Draw a template of 16:9 with five layouts, whose placeholders lie where a wide slide has room for them."""
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(WIDTH_IN), Inches(HEIGHT_IN)
    _colour_theme(deck)
    master = deck.slide_master
    _replace_shapes(master, [_HEADING, place_of(TEXT, TEXT_ID), _FOOT, _NUMBER], lines=_RULE)
    _style_master(master)
    layouts = list(deck.slide_layouts)
    for layout in layouts[len(LAYOUTS) :]:
        deck.slide_layouts.remove(layout)
    for layout, (name, places) in zip(layouts, LAYOUTS.items(), strict=False):
        layout._element.cSld.set("name", name)
        layout._element.attrib.pop("type", None)
        layout._element.set("userDrawn", "1")
        _replace_shapes(layout, places, lines=_BAND if name == TITLE else "")
    deck.core_properties.title, deck.core_properties.author = "", ""
    _drop_leftovers(deck)
    target = io.BytesIO()
    deck.save(target)
    return without_times(target.getvalue(), moment=DRAWN)


def _drop_leftovers(deck: "Presentation") -> None:
    """Leave out the picture, the printer and the words of the file that the drawing began with."""
    package: Any = deck.part.package
    for owner in (package, deck.part):
        for id, relation in list(owner._rels.items()):
            if relation.reltype.endswith(("/thumbnail", "/printerSettings", "/extended-properties")):
                owner._rels.pop(id)


def _emu(inches: float) -> int:
    return round(inches * 914_400)


def _bar(id: int, name: str, box: tuple[float, float, float, float]) -> str:
    """A filled rectangle without a meaning of its own."""
    x, y, width, height = map(_emu, box)
    return (
        f'<p:sp {_NAMES}><p:nvSpPr><p:cNvPr id="{id}" name="{name}"/><p:cNvSpPr/><p:nvPr userDrawn="1"/></p:nvSpPr>'
        f'<p:spPr><a:xfrm><a:off x="{x}" y="{y}"/><a:ext cx="{width}" cy="{height}"/></a:xfrm>'
        '<a:prstGeom prst="rect"><a:avLst/></a:prstGeom><a:solidFill><a:schemeClr val="accent1"/></a:solidFill>'
        "<a:ln><a:noFill/></a:ln></p:spPr>"
        "<p:txBody><a:bodyPr/><a:lstStyle/><a:p><a:endParaRPr/></a:p></p:txBody></p:sp>"
    )


_RULE = _bar(90, "Rule", (MARGIN_IN, 0.32, 0.9, 0.06))
_BAND = _bar(91, "Band", (0, 0, 0.28, HEIGHT_IN))


def _shape(number: int, place: Place) -> str:
    x, y, width, height = map(_emu, place.box)
    kind = f'type="{place.kind}"' + (f' idx="{place.id}"' if place.id else "")
    run = f'<a:r><a:rPr lang="en-GB"/><a:t>{place.prompt}</a:t></a:r>' if place.prompt else ""
    if place.kind == "sldNum":
        field = '<a:fld id="{C1FF6DA9-008F-8B48-92A6-B652298478BF}" type="slidenum">'
        run = f'{field}<a:rPr lang="en-GB"/><a:t>‹#›</a:t></a:fld>'
    bold = ' b="1"' if place.is_bold else ' b="0"'
    return (
        f'<p:sp {_NAMES}><p:nvSpPr><p:cNvPr id="{number}" name="{place.name}"/>'
        f'<p:cNvSpPr><a:spLocks noGrp="1"/></p:cNvSpPr><p:nvPr><p:ph {kind}/></p:nvPr></p:nvSpPr>'
        f'<p:spPr><a:xfrm><a:off x="{x}" y="{y}"/><a:ext cx="{width}" cy="{height}"/></a:xfrm>'
        '<a:prstGeom prst="rect"><a:avLst/></a:prstGeom></p:spPr>'
        f'<p:txBody><a:bodyPr lIns="0" tIns="0" rIns="0" bIns="0" anchor="{place.anchor}"><a:noAutofit/></a:bodyPr>'
        f'<a:lstStyle><a:lvl1pPr marL="0" indent="0" algn="{place.align}"><a:spcBef><a:spcPts val="600"/></a:spcBef>'
        f'<a:buNone/><a:defRPr sz="{round(place.size * 100)}"{bold}><a:solidFill><a:schemeClr val="{place.ink}"/>'
        f"</a:solidFill></a:defRPr></a:lvl1pPr></a:lstStyle><a:p>{run}</a:p></p:txBody></p:sp>"
    )


def _replace_shapes(owner: Any, places: Sequence[Place], *, lines: str) -> None:
    """Draw the shapes of a master or a layout anew."""
    from lxml import etree

    tree = owner._element.cSld.spTree
    for shape in list(tree)[2:]:
        tree.remove(shape)
    shapes = [_shape(number, place) for number, place in enumerate(places, 2)]
    for text in [*([lines] if lines else []), *shapes]:
        tree.append(_element(text))
    etree.cleanup_namespaces(tree)


def _element(text: str) -> Any:
    from pptx.oxml import parse_xml

    return parse_xml(text)


def _style_master(master: Any) -> None:
    """Leave sizes and bullets of all text to the placeholders."""
    from pptx.oxml.ns import qn

    for style in master._element.find(qn("p:txStyles")):
        for level in style.findall(qn("a:lvl1pPr")):
            level.set("algn", "l")


def _colour_theme(deck: "Presentation") -> None:
    """Give the theme our colours, and a font that every office suite has or knows how to replace."""
    from lxml import etree
    from pptx.opc.constants import RELATIONSHIP_TYPE

    part: Any = deck.slide_master.part.part_related_by(RELATIONSHIP_TYPE.THEME)
    theme = etree.fromstring(part.blob)
    space = {"a": "http://schemas.openxmlformats.org/drawingml/2006/main"}
    theme.set("name", "cv_quality")
    for name, colour in _SCHEME.items():
        for slot in theme.iterfind(f".//a:clrScheme/a:{name}", space):
            for child in list(slot):
                slot.remove(child)
            etree.SubElement(slot, f"{{{space['a']}}}srgbClr", val=colour)
    for fonts in ("majorFont", "minorFont"):
        for slot in theme.iterfind(f".//a:{fonts}/a:latin", space):
            slot.set("typeface", _FONT)
    part._blob = etree.tostring(theme, xml_declaration=True, encoding="UTF-8", standalone=True)


if __name__ == "__main__":
    main()
