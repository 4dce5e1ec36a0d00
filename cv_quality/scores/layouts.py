"""What the columns of a text without a header mean: proven on its lines, or asked for.

A label column takes two values that mean the two classes; a score is a number that varies and is no id; what remains
are ids. bob's columns have no label: there two columns are equal in some lines and differ in others. Where two readings
hold, or none, the error says so and which option decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.scores.headers import MAX_COLUMNS, placed
from cv_quality.scores.labels import ATTACK_WORDS, NO_SPECIES, LabelWords, is_genuine, label_words
from cv_quality.scores.lines import Lines, fields_in, normal_spaces, usual_width
from cv_quality.scores.rows import IS_GENUINE, SCORE, SUBJECTS, TEXT
from cv_quality.scores.source import Format, Options, Source, plural

if TYPE_CHECKING:
    import polars as pl

LINES_EXAMINED = 200_000
"""Evenly spread over the file."""
LEAST_NUMBERS, LEAST_LABELS = 0.5, 0.9
"""Share of the lines that must hold a number, or a label; the others are broken lines, and named as such."""
SAME_IDS = 0.5
"""Two columns that share this much of their values hold ids of one kind."""
BOB: dict[int, tuple[Format, tuple[int, int], int]] = {4: ("bob4", (0, 1), 2), 5: ("bob5", (0, 2), 3)}
"""By width: the format, the columns of both identities, and that of the probe."""
LFW_WIDTHS = (4, 5)
"""name i j score, and name i name j score."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A format, and the meaning of each column, "" for those that are not read."""

    format: Format
    names: tuple[str, ...] = ()
    is_liveness: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """What one column could be.

    Attributes:
        at: its place, from 0.
        is_number, is_whole: whether most values are numbers, and these are whole.
        has_labels: whether nearly all values are words of labels.
        is_counter: whether it is the first and only numbers the lines, from 0 or 1.
        n_values: how many values it has.
        words: its values as labels.
    """

    at: int
    values: "pl.Series"
    is_number: bool
    is_whole: bool
    is_counter: bool
    n_values: int
    has_labels: bool
    words: LabelWords

    @property
    def is_label(self) -> bool:
        """Whether the values are labels of both classes, or words that can be nothing else."""
        return self.has_labels and (self.words.has_both or (self.words.are_plain and not self.words.unknown))


def layout_of(lines: Lines, source: Source, options: Options) -> Layout:
    """Find the format of a text of three or more columns, and what they mean.

    Args:
        lines: of the file.
        source: the file, its separator known.
        options: `columns` names columns by their numbers, from 1.

    Raises:
        ScoreFileError: no reading of the columns is proven, or several are; the message says which option decides.
    """
    texts = sampled(without_counts(lines), source)
    counts, width = fields_in(texts, source), usual_width(texts, source)
    if _is_lfw(texts, counts, source) and not options.columns:
        return Layout("lfw")
    rows = split_columns(texts.filter(counts == width), width, source)
    columns = [column_of(rows, at) for at in range(width)]
    if options.columns:
        return _given(columns, source, options)
    bob = _bob(columns)
    labels = [column for column in columns if column.is_label and (column.words.has_both or bob is None)]
    if len(labels) > 1:
        with_both = [column for column in labels if column.words.has_both]
        labels = with_both if len(with_both) == 1 else labels
    if bob is not None and all(score_of(_without(columns, label), source, width=width) is None for label in labels):
        labels = []  # scores that are 0 and 1
    if len(labels) > 1:
        or_bob = f', or declare format="{bob}"' if bob else ""
        raise source.error(f"{_numbers(labels)} could all be labels; {asking(width)}{or_bob}")
    if labels and (bob is None or not _is_plausible(columns, labels[0])):
        return _labelled(columns, labels[0], source)
    if labels:
        raise source.error(
            f"column {labels[0].at + 1} could hold labels, and columns 1 and {BOB[width][1][1] + 1} identities as bob "
            f'writes them; declare format="{BOB[width][0]}" or format="labelled"'
        )
    if bob is not None and _is_doubtful(columns):
        raise source.error(
            f"{width} columns as bob writes them, but then a probe has several identities and there are two models: "
            f'declare format="{bob}" if they are, or write labels in words that are known, such as 1 and 0'
        )
    if bob is not None:
        return Layout(bob)
    if width == 3:
        return Layout("pairs")
    raise source.error(
        f"{width} columns without a header that names score, none of which holds labels of both classes, and no two "
        f"of which are identities that are equal in some lines only; {asking(width)}"
    )


def labelled_layout(lines: Lines, source: Source, options: Options) -> Layout:
    """Find the columns of a text that is declared to have one of labels.

    Raises:
        ScoreFileError: no column holds labels or scores, or several do.
    """
    texts = sampled(lines, source)
    counts, width = fields_in(texts, source), usual_width(texts, source)
    if not 1 < width <= MAX_COLUMNS:
        raise source.error(f"{plural(width, 'column')}; a label and a score need two or more")
    rows = split_columns(texts.filter(counts == width), width, source)
    columns = [column_of(rows, at) for at in range(width)]
    if options.columns:
        return _given(columns, source, options)
    labels = [column for column in columns if column.is_label]
    if len(labels) != 1:
        raise source.error(f"{_numbers(labels)} could be labels; {asking(width)}")
    return _labelled(columns, labels[0], source)


def without_counts(lines: Lines) -> Lines:
    """Leave out a first line with one or two whole numbers, as LFW says how many folds and pairs follow."""
    is_count = lines.rows[TEXT].head(1).str.contains(r"^[0-9]+(?:\s+[0-9]+)?$").any()
    return Lines(lines.rows[1:], lines.notes) if is_count and len(lines.rows) > 1 else lines


def sampled(lines: Lines, source: Source) -> "pl.Series":
    """Take lines from the whole file, at most `LINES_EXAMINED`."""
    step = -(-len(lines.rows) // LINES_EXAMINED)
    return normal_spaces(lines.rows[TEXT].gather_every(step), source)


def split_columns(texts: "pl.Series", width: int, source: Source) -> "pl.DataFrame":
    """Split lines of one width into columns named by their place, from 0, without quotes or spaces around them."""
    import polars as pl

    names = [str(at) for at in range(width)]
    split = texts.str.split_exact(source.separator, width - 1).struct.rename_fields(names).struct.unnest()
    return split.with_columns(pl.all().str.strip_chars(' \t"'))


def column_of(rows: "pl.DataFrame", at: int) -> Column:
    """Examine one column."""
    import polars as pl

    values = rows[str(at)]
    numbers = values.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    n_numbers, n_whole = len(numbers) - numbers.null_count(), int(values.str.contains(r"^[+-]?[0-9]+$").sum())
    is_number, is_whole = n_numbers > LEAST_NUMBERS * len(numbers), 0 < n_numbers == n_whole
    words = label_words(values)
    has_labels = bool(words.genuine or words.impostor) and is_genuine(values).count() >= LEAST_LABELS * len(values)
    is_first = at == 0 and is_whole and numbers[0] in (0.0, 1.0)
    steps = numbers.diff().drop_nulls() if is_first else numbers.clear()
    return Column(
        at,
        values,
        is_number=is_number,
        is_whole=is_whole,
        is_counter=len(steps) > 1 and steps.n_unique() == 1 and float(steps[0]) > 0,
        n_values=values.n_unique(),
        has_labels=has_labels,
        words=words,
    )


def score_of(columns: Sequence[Column], source: Source, *, width: int) -> Column | None:
    """Choose the column of scores among those that are no labels; None where none can be.

    Raises:
        ScoreFileError: several could be.
    """
    numbers = [column for column in columns if column.is_number and not column.is_counter]
    broken = [column for column in numbers if not column.is_whole and column.n_values > 1]
    if len(broken) > 1:
        raise source.error(f"{_numbers(broken)} could all be scores; {asking(width)}")
    if broken:
        return broken[0]
    whole = [column for column in numbers if column.is_whole and column.n_values > 2 and not _is_id(column, columns)]
    if len(whole) > 1:
        raise source.error(f"{_numbers(whole)} hold whole numbers, and any could be the scores; {asking(width)}")
    return whole[0] if whole else None


def species_of(columns: Sequence[Column], label: Column) -> Column | None:
    """Find the column that says nothing in bona fide rows and names an attack in all others."""
    import polars as pl

    truth = is_genuine(label.values)
    is_attack = label.values.str.to_lowercase().is_in(ATTACK_WORDS) if label.words.has_attacks else ~truth
    for column in columns:
        says_none = column.values.str.to_lowercase().is_in(NO_SPECIES)
        if not column.is_number and bool((pl.Series(says_none) == ~is_attack).fill_null(True).all()):
            return column
    return None


def asking(width: int) -> str:
    """Say how the caller names the columns."""
    return f'name them by their numbers, such as columns="{SCORE}={width},{IS_GENUINE}=1"'


def _without(columns: Sequence[Column], label: Column) -> list[Column]:
    return [column for column in columns if column is not label]


def _labelled(columns: Sequence[Column], label: Column, source: Source) -> Layout:
    others, width = _without(columns, label), len(columns)
    score = score_of(others, source, width=width)
    if score is None:
        raise source.error(
            f"{width} columns with labels in column {label.at + 1}, and none that could hold scores (numbers that vary "
            'and are no ids): a list of trials? give it as trials="FILE" beside the scores'
        )
    names = [""] * width
    names[label.at], names[score.at] = IS_GENUINE, SCORE
    rest = [column for column in others if column is not score and not column.is_counter]
    is_liveness = label.words.is_liveness
    species = species_of(rest, label) if is_liveness or label.words.has_attacks else None
    if species is not None:
        names[species.at] = "species"
    ids = [column for column in rest if column is not species and column.n_values > 1]
    for column, name in zip(ids, ("sample_a", "sample_b") if len(ids) == 2 else ("sample_b",), strict=False):
        if len(ids) <= 2:
            names[column.at] = name
    return Layout("labelled", tuple(names), is_liveness=is_liveness)


def _given(columns: Sequence[Column], source: Source, options: Options) -> Layout:
    """The columns that the caller names by number; the labels are proven where they are not given."""
    names = [""] * len(columns)
    for at, name in placed([str(column.at + 1) for column in columns], source, options).items():
        names[at] = name
    free = [column for column in columns if not names[column.at]]
    if IS_GENUINE not in names and not set(SUBJECTS) <= set(names):
        labels = [column for column in free if column.is_label]
        if len(labels) != 1:
            raise source.error(f"{_numbers(labels)} could be labels; {asking(len(columns))}")
        names[labels[0].at] = IS_GENUINE
        free.remove(labels[0])
    if SCORE not in names:
        score = score_of(free, source, width=len(columns))
        if score is None:
            raise source.error(f"no column could hold scores; {asking(len(columns))}")
        names[score.at] = SCORE
    is_liveness = any(names[column.at] == IS_GENUINE and column.words.is_liveness for column in columns)
    return Layout("labelled", tuple(names), is_liveness=is_liveness)


def _bob(columns: Sequence[Column]) -> Format | None:
    """bob's format where the identities are equal in some lines only, the last is a number, a probe no decimal."""
    if len(columns) not in BOB or not columns[-1].is_number:
        return None
    kind, (one, other), probe = BOB[len(columns)]
    if columns[probe].is_number and not columns[probe].is_whole:
        return None
    is_same = columns[one].values == columns[other].values
    return kind if is_same.any() and not is_same.all() else None


def _is_plausible(columns: Sequence[Column], label: Column) -> bool:
    """Whether the columns could be bob's although one holds labels: a probe has one identity, and a model that claims.

    Labels that agree with equal identities leave nothing to decide.
    """
    _, (one, other), _ = BOB[len(columns)]
    claimed, real = columns[one].values, columns[other].values
    if ((claimed == real) == is_genuine(label.values)).all():
        return False
    is_closed = label is columns[-1] or bool(real.is_in(claimed.unique().implode()).all())
    return is_closed and _has_one_identity(columns)


def _is_doubtful(columns: Sequence[Column]) -> bool:
    """Whether one of bob's identities looks like labels in unknown words: two values, and probes of many identities."""
    _, (one, other), probe = BOB[len(columns)]
    few, many = sorted((columns[one].n_values, columns[other].n_values))
    return few == 2 < many and columns[probe].n_values > 1 and not _has_one_identity(columns)


def _has_one_identity(columns: Sequence[Column]) -> bool:
    """Whether each probe of bob's columns has one identity."""
    import polars as pl

    _, (_, other), probe = BOB[len(columns)]
    pairs = pl.DataFrame({"real": columns[other].values, "probe": columns[probe].values}).unique()
    return not pairs["probe"].is_duplicated().any()


def _is_id(column: Column, columns: Sequence[Column]) -> bool:
    """Whether the values of a column are those of another: ids of one kind."""
    mine = set(column.values.unique())
    for other in columns:
        theirs = set(other.values.unique()) if other is not column and other.is_whole else set()
        if theirs and len(mine & theirs) >= SAME_IDS * len(mine | theirs):
            return True
    return False


def _is_lfw(texts: "pl.Series", counts: "pl.Series", source: Source) -> bool:
    """Whether the lines are LFW's of one person (name i j score) and of two (name i name j score)."""
    if not counts.is_in(LFW_WIDTHS).all() or counts.n_unique() != 2:
        return False
    one, two = (split_columns(texts.filter(counts == width), width, source) for width in LFW_WIDTHS)
    numbers = [(one, "1"), (one, "2"), (two, "1"), (two, "3")]
    return all(bool(rows[at].str.contains(r"^[0-9]+$").all()) for rows, at in numbers)


def _numbers(columns: Sequence[Column]) -> str:
    numbers = [str(column.at + 1) for column in columns]
    if len(numbers) < 2:
        return f"column {numbers[0]}" if numbers else "no column"
    return f"columns {', '.join(numbers[:-1])} and {numbers[-1]}"
