"""Lists of trials: who is compared with whom and whether they match, without scores.

VoxCeleb writes label a b, Kaldi and IJB a b label, NIST SRE a header and the side of a segment, LFW its pairs.txt,
ASVspoof a speaker, a file, an attack and a key. Scores are joined to them in `cv_quality.scores.trial_scores`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cv_quality.errors import ScoreFileError
from cv_quality.scores.detection import cells, head_of, separator_of
from cv_quality.scores.headers import IDS, LIVENESS, REVERSED_TRUTHS, TRUTHS, Header, plain
from cv_quality.scores.labelled import lfw_rows
from cv_quality.scores.layouts import Column, column_of, species_of, without_counts
from cv_quality.scores.lines import Lines, fields_in, normal_spaces, read_lines, split_fields, usual_width
from cv_quality.scores.named_columns import named_columns
from cv_quality.scores.rows import IS_GENUINE, LINE, SUBJECTS, TEXT, apart
from cv_quality.scores.source import SHOWN, Options, Source, quoted

if TYPE_CHECKING:
    import polars as pl

LFW_WIDTHS = (3, 4)
CARRIED = ("species", *SUBJECTS)
"""What a list of trials may say beside ids and labels."""


@dataclass(frozen=True, slots=True)
class Trials:
    """A list of trials.

    Attributes:
        source: its file.
        rows: `line`, `is_genuine` as text, those of `CARRIED` that are known, and the ids under the names of `ids`.
        ids: the columns of ids, with what each means: "sample_a", or "" where it only tells trials apart.
        header: of the labels.
        excluded: broken lines.
        notes: what was done.
    """

    source: Source
    rows: "pl.DataFrame"
    ids: dict[str, str]
    header: Header
    excluded: "pl.DataFrame"
    notes: tuple[str, ...]


def read_trials(source: Source, options: Options) -> Trials:
    """Read a list of trials: columns of ids and one of labels, with or without a header, or LFW's pairs.

    Args:
        source: the file, unpacked and decoded.
        options: whether broken lines are skipped.

    Raises:
        ScoreFileError: no column holds labels, or several do.
    """
    try:
        table = named_columns(source, _names_labels, needed="ids and a label")
        if table is not None:
            names = [name for name in table.columns if name != LINE]
            fields = table.select(LINE, **{str(at): name for at, name in enumerate(names)})
            return _trials(fields, names, source, excluded=apart(), notes=source.notes)
        found = separator_of(head_of(source), needs_numbers=False)
        source = replace(source, separator=found[0] if found else " ")
        lines = read_lines(source)
        lines = Lines(lines.rows, (*source.notes, *lines.notes))
        return _lfw_pairs(lines, source, options) or _columns(lines, source, options)
    except ScoreFileError as error:
        raise ScoreFileError(f"{error} (taken for a list of trials)", file=error.file, line=error.line) from error


def _names_labels(names: Sequence[str]) -> bool:
    return not {plain(name) for name in names}.isdisjoint(TRUTHS | REVERSED_TRUTHS)


def _lfw_pairs(lines: Lines, source: Source, options: Options) -> Trials | None:
    """LFW's pairs: the number of pairs, then name i j or name i name j; None where the lines are others."""
    pairs = without_counts(lines)
    counts = fields_in(normal_spaces(pairs.rows[TEXT], source), source)
    if not counts.is_in(LFW_WIDTHS).all() or counts.n_unique() != 2:
        return None
    rows, broken = lfw_rows(pairs, source, options, scored=False)
    ids = {side: side for side in ("sample_a", "sample_b")}
    return Trials(source, rows, ids, Header(()), broken, (*lines.notes, f"{source}: pairs as LFW lists them"))


def _columns(lines: Lines, source: Source, options: Options) -> Trials:
    texts = normal_spaces(lines.rows[TEXT], source)
    width = usual_width(texts, source)
    places = [str(at) for at in range(width)]
    fields, broken = split_fields(lines, source, options, names=places, expected="the ids of a trial and its label")
    columns = [column_of(fields, at) for at in range(width)]
    header = cells(str(lines.rows[TEXT][0]), source.separator)
    has_names = len(header) == width and any(_is_title(column, header[column.at]) for column in columns)
    names = header if has_names else [""] * width
    return _trials(fields[1:] if has_names else fields, names, source, excluded=broken, notes=lines.notes)


def _trials(
    fields: "pl.DataFrame", header: Sequence[str], source: Source, *, excluded: "pl.DataFrame", notes: tuple[str, ...]
) -> Trials:
    """Tell labels from ids.

    Args:
        fields: `line`, and columns of text called by their place from 0.
        header: their names, "" without one.
        source: the file.
        excluded, notes: so far.
    """
    if fields.is_empty():
        raise source.error("holds no trial; name a list of trials with their labels")
    columns = [column_of(fields, at) for at in range(len(header))]
    names = [plain(name) for name in header]
    label = _label(columns, names, source)
    others = [column for column in columns if column is not label]
    is_liveness = label.words.is_liveness or names[label.at] in LIVENESS
    species = species_of(others, label) if is_liveness or label.words.has_attacks else None
    ids = [column for column in others if column is not species]
    rows = fields.select(
        LINE,
        *[str(column.at) for column in ids],
        **{IS_GENUINE: str(label.at)},
        **({} if species is None else {"species": str(species.at)}),
    )
    meanings = _meanings(ids, names)
    head = Header((), is_reversed=names[label.at] in REVERSED_TRUTHS, is_liveness=is_liveness)
    shown = names[label.at] or f"column {label.at + 1}"
    notes = (*notes, f"{source}: {len(rows):,} trials, labels in {shown}")
    known = dict(zip((str(column.at) for column in ids), meanings, strict=True))
    return Trials(source, rows, known, head, excluded, notes)


def _is_title(column: Column, cell: str) -> bool:
    """Whether the first line calls the column a label and does not hold one itself."""
    return plain(cell) in TRUTHS | REVERSED_TRUTHS and not (column.values[1:] == cell).any()


def _label(columns: list[Column], names: list[str], source: Source) -> Column:
    labels = [column for column in columns if column.is_label]
    named = [column for column in labels if names[column.at] in TRUTHS | REVERSED_TRUTHS]
    both = [column for column in named or labels if column.words.has_both]
    found = both or named or labels
    if len(found) == 1:
        return found[0]
    if not found:
        shown = ", ".join(quoted(str(column.values[0])) for column in columns[:SHOWN])
        raise source.error(
            f"no column holds labels of both classes; the first line has {shown}. A blind list cannot be evaluated: "
            "give the one with its labels"
        )
    numbers = " and ".join(str(column.at + 1) for column in found)
    raise source.error(f"columns {numbers} could all be labels; leave only one of them in the list")


def _meanings(ids: list[Column], names: list[str]) -> list[str]:
    """What the ids mean: by their names, else two that vary are samples, and one is a sample."""
    known = [IDS.get(names[column.at], "") for column in ids]
    if any(known):
        return [name if name not in known[:at] else "" for at, name in enumerate(known)]
    varied = [column for column in ids if column.values.n_unique() > 1]
    meant = dict(zip(varied, {1: ["sample_b"], 2: ["sample_a", "sample_b"]}.get(len(varied), []), strict=False))
    return [meant.get(column, "") for column in ids]
