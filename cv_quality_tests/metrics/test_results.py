"""Results in a notebook: every value as text, lists as tables, nothing of a name taken for markup."""

from dataclasses import dataclass, replace
from xml.etree import ElementTree

from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import NOTEBOOK_ROWS, JsonValue, Result


@dataclass(frozen=True, slots=True)
class _Part(Result):
    name: str
    rate: float | None


@dataclass(frozen=True, slots=True)
class _Whole(Result):
    name: str
    best: _Part
    parts: tuple[_Part, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Told(Result):
    rate: Rate
    sentence: str


@dataclass(frozen=True, slots=True)
class _Rated(Result):
    parts: tuple[_Told, ...]


@dataclass(frozen=True, slots=True)
class _Where(Result):
    where: Slice

    def to_dict(self) -> dict[str, JsonValue]:
        return {"where": self.where.to_list()}


@dataclass(frozen=True, slots=True)
class _Sliced(Result):
    slices: tuple[_Where, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        return {"slices": [item.to_dict() for item in self.slices]}


def cells(result: Result) -> list[list[list[str]]]:
    """The texts of each table's rows, as a browser reads them."""
    page = ElementTree.fromstring(f"<page>{result._repr_html_()}</page>")
    return [[[cell.text or "" for cell in row] for row in table.iter("tr")] for table in page.iter("table")]


def test_a_notebook_shows_values_and_a_table_of_each_list() -> None:
    result = _Whole("<script>", _Part("a & b", 0.25), (_Part("dark", 0.0625), _Part("bright", None)))
    assert cells(result) == [
        [["", "value"], ["name", "<script>"], ["best", "name a & b, rate 0.25"]],
        [["name", "rate"], ["dark", "0.0625"], ["bright", ""]],
    ]


def test_a_notebook_says_how_much_of_a_long_list_it_leaves_out() -> None:
    result = _Whole("x", _Part("a", 1.0), (_Part("a", 1.0),) * 2_000)
    assert len(cells(result)[1]) == 1 + NOTEBOOK_ROWS
    assert f"parts, the first {NOTEBOOK_ROWS} of 2,000" in result._repr_html_()


def test_a_notebook_writes_rates_as_people_read_them_and_sentences_below() -> None:
    rate = Rate(0.25, 1, 4, 0.01, 0.81, None, None, None, None)
    shown = _Rated((_Told(rate, "a < b"), _Told(replace(rate, low=None), "c")))
    assert cells(shown)[1] == [["rate"], ["25 % (1 % to 81 %), 1 / 4"], ["25 %, 1 / 4"]]
    assert "</table><p>a &lt; b</p><p>c</p>" in shown._repr_html_()


def test_a_notebook_writes_the_conditions_of_a_slice_as_its_sentence() -> None:
    where = Slice((Predicate("lux", "<=", 9.97), Predicate("eyewear", "in", ("glasses", None))))
    *_, (_, row) = cells(_Sliced((_Where(where),)))
    assert row == [where.sentence()]
