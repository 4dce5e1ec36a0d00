"""Scores joined to a list of trials: by the ids that they name, or in its order where they name none.

Which columns of the scores are the ids of which columns of the trials is found by their values. Every trial needs a
score and every score a trial, unless broken lines are to be skipped.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from cv_quality.scores.arrays import read_vector
from cv_quality.scores.detection import cells, first_bytes, head_of, is_number, separator_of
from cv_quality.scores.headers import names_scores, score_header
from cv_quality.scores.layouts import column_of, score_of
from cv_quality.scores.lines import Lines, normal_spaces, read_lines, split_fields, usual_width
from cv_quality.scores.named_columns import named_columns
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE, TEXT, apart, refuse
from cv_quality.scores.source import Draft, Options, Polarity, Source, plural, quoted
from cv_quality.scores.tables import Table, draft_of
from cv_quality.scores.trials import CARRIED, Trials, read_trials

if TYPE_CHECKING:
    import polars as pl

MAX_IDS = 3
"""Columns by which a score can name its trial."""
SAMPLED = 2_000
"""Scores by which the columns of their ids are found."""
LEAST_MATCHED = 0.5
"""Of the sampled scores that must find a trial before columns are taken for its ids."""
SIDES = 8
"""Values of a column that only says which side of the segment before it is meant."""
JOINTS = (":", "_", "-", ".")
JOINED = "|"
"""In the name of a column that is made of two."""
OCCURRENCE = "_occurrence"
EXTENSION = r"\.[A-Za-z][A-Za-z0-9]{0,4}$"
Form = Callable[["pl.Series"], "pl.Series"]
FORMS: tuple[tuple[str, Form], ...] = (
    ("", lambda ids: ids),
    (" without their extensions", lambda ids: ids.str.replace(EXTENSION, "")),
    (
        " without their extensions and with - for /",
        lambda ids: ids.str.replace(EXTENSION, "").str.replace_all("/", "-", literal=True),
    ),
    (
        " without their folders and extensions",
        lambda ids: ids.str.extract(r"([^/]+)$", 1).str.replace(EXTENSION, ""),
    ),
)
"""How ids of trials and scores may be written; the first form in which they agree is taken."""


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """Scores and the other columns of their file.

    Attributes:
        rows: `line`, `score`, and the columns of `ids` as text.
        ids: those that could name trials.
        excluded: broken lines.
        polarity: what the name of the scores says.
        notes: what was done.
    """

    rows: "pl.DataFrame"
    ids: tuple[str, ...]
    excluded: "pl.DataFrame"
    polarity: Polarity | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Join:
    """Columns of scores and the columns of trials that they name.

    Attributes:
        form, written: how both are written alike, in words and as a function.
        share: of the sampled scores that find a trial.
        tells_apart: whether no trial of one class has the same ids as one of the other.
    """

    scores: tuple[str, ...]
    trials: tuple[str, ...]
    form: str
    written: Form
    share: float
    tells_apart: bool

    @property
    def n_columns(self) -> int:
        """Columns of the file of scores that are used; a segment and its side are two."""
        return len(self.scores) + sum(JOINED in name for name in self.scores)


def read_scores_of_trials(source: Source, options: Options) -> Draft:
    """Read scores and join them to the trials of `options.trials`.

    Raises:
        ScoreFileError: the trials have no labels, a trial has no score or a score no trial, or ids do not agree.
    """
    assert options.trials is not None
    trials = read_trials(options.trials, options)
    scores = _score_columns(source, options)
    if scores.ids:
        rows, excluded, note = _by_ids(scores, trials, source, options)
    else:
        rows, excluded, note = _in_order(scores, trials, source), [], f"{source}: scores in the order of the trials"
    known = {meaning: name for name, meaning in trials.ids.items() if meaning}
    carried = [name for name in CARRIED if name in trials.rows.columns]
    rows = rows.select(LINE, SCORE, IS_GENUINE, *carried, **known)
    columns = tuple(name for name in rows.columns if name != LINE)
    header = replace(trials.header, names=columns, polarity=scores.polarity)
    notes = (*trials.notes, *scores.notes, note)
    apart_ = [scores.excluded, trials.excluded, *excluded]
    return draft_of(Table(rows, header, columns, "scores of trials", "line", apart_, notes), source, options)


def _score_columns(source: Source, options: Options) -> ScoreColumns:
    """The scores of a text or of a NumPy array, with the columns that could hold ids."""
    import polars as pl

    if first_bytes(source).startswith(b"\x93NUMPY"):
        rows = pl.DataFrame({SCORE: read_vector(source)}).with_row_index(LINE, offset=1)
        return ScoreColumns(rows.with_columns(pl.col(LINE).cast(pl.UInt32)), (), apart())
    table = named_columns(source, partial(names_scores, options=options), needed="score")
    if table is not None:
        names = [name for name in table.columns if name != LINE]
        fields = table.select(LINE, **{str(at): name for at, name in enumerate(names)})
        return _score_of_columns(fields, names, source, options, excluded=apart(), notes=())
    found = separator_of(head_of(source))
    if found is None:
        raise source.error("holds no numbers in any column; give scores, one to a line or with the ids of their trial")
    source = replace(source, separator=found[0])
    lines = read_lines(source)
    header = cells(str(lines.rows[TEXT][0]), source.separator)
    has_names = names_scores(header, options) and not any(map(is_number, header))
    if has_names:
        lines, width = Lines(lines.rows[1:], lines.notes), len(header)
    else:
        width = usual_width(normal_spaces(lines.rows[TEXT], source), source)
    places = [str(place) for place in range(width)]
    fields, broken = split_fields(lines, source, options, names=places, expected="the ids of a trial and its score")
    names = header if has_names else [""] * width
    return _score_of_columns(fields, names, source, options, excluded=broken, notes=lines.notes)


def _score_of_columns(
    fields: "pl.DataFrame",
    names: Sequence[str],
    source: Source,
    options: Options,
    *,
    excluded: "pl.DataFrame",
    notes: tuple[str, ...],
) -> ScoreColumns:
    """Tell scores from ids.

    Args:
        fields: `line`, and columns of text called by their place from 0.
        names: of the columns, "" without a header.
        source: the file.
        options: `columns` may name the scores.
        excluded, notes: so far.
    """
    columns = [column_of(fields, place) for place in range(len(names))]
    labels = [column for column in columns if column.is_label and len(columns) > 1]
    if any(names):
        at, polarity = score_header(names, source, options)
    else:
        polarity, free = None, [one for one in columns if one not in labels]
        score = columns[0] if len(columns) == 1 else score_of(free, source, width=len(columns))
        if score is None:
            raise source.error(
                f"none of its {len(columns)} columns could hold scores (numbers that vary and are no ids)"
            )
        at = score.at
        if len(fields) > 1 and score.values[0] and not re.search(r"(?i)\d|^[-+]?(nan|inf)", score.values[0]):
            fields, notes = fields[1:], (*notes, f"{source}: the first line is taken for names of the columns")
    ids = [str(one.at) for one in columns if one.at != at and one not in labels and not one.is_counter]
    rows = fields.select(LINE, *ids, **{SCORE: str(at)})
    return ScoreColumns(rows, tuple(ids), excluded, polarity, notes)


def _in_order(scores: ScoreColumns, trials: Trials, source: Source) -> "pl.DataFrame":
    import polars as pl

    if len(scores.rows) != len(trials.rows):
        raise source.error(
            f"{plural(len(scores.rows), 'score')} without ids for {plural(len(trials.rows), 'trial')} of "
            f"{trials.source}: give one for each trial, in their order, or the ids with the scores"
        )
    return pl.concat([scores.rows, trials.rows.drop(LINE)], how="horizontal")


def _by_ids(
    scores: ScoreColumns, trials: Trials, source: Source, options: Options
) -> tuple["pl.DataFrame", "list[pl.DataFrame]", str]:
    """Scores with the labels of their trials, the trials and scores that stand alone, and how they were joined."""
    import polars as pl

    ours, theirs = _with_sides(scores.rows, scores.ids), _with_sides(trials.rows, tuple(trials.ids))
    join = _join_of(ours, theirs, plain_ids=(scores.ids, tuple(trials.ids)))
    if join is None:
        one, other = (
            quoted(" ".join(str(frame[name][0]) for name in names))
            for frame, names in ((scores.rows, scores.ids), (trials.rows, tuple(trials.ids)))
        )
        raise source.error(
            f"its ids do not agree with those of {trials.source}: here the first are {one}, there {other}; write both "
            "alike, or give the scores alone, in the order of the trials"
        )
    keys = [f"_key{number}" for number in range(len(join.scores))]
    ours = ours.with_columns(join.written(ours[name]).alias(key) for name, key in zip(join.scores, keys, strict=True))
    theirs = theirs.with_columns(
        join.written(theirs[name]).alias(key) for name, key in zip(join.trials, keys, strict=True)
    )
    _refuse_torn(theirs, keys, trials)
    on = list(keys)
    if ours.select(keys).is_duplicated().any():
        ours, theirs = (
            frame.with_columns(pl.int_range(pl.len()).over(keys).alias(OCCURRENCE)) for frame in (ours, theirs)
        )
        on.append(OCCURRENCE)
    lonely = [
        refuse(_as_text(one.join(other, on=on, how="anti"), keys), where, options, expected=expected)
        for one, other, where, expected in (
            (theirs, ours, trials.source, f"a score in {source} for every trial"),
            (ours, theirs, source, f"a trial in {trials.source} for every score"),
        )
    ]
    kept = [name for name in (IS_GENUINE, *CARRIED, *trials.ids) if name in trials.rows.columns]
    labelled = theirs.select(*on, *(pl.col(name).alias(f"{name}_") for name in kept))
    rows = ours.select(LINE, SCORE, *on).join(labelled, on=on, how="inner", maintain_order="left")
    rows = rows.rename({f"{name}_": name for name in kept})
    return rows, lonely, f"{source}: scores joined to the trials by {plural(len(keys), 'id')}{join.form}"


def _join_of(
    ours: "pl.DataFrame", theirs: "pl.DataFrame", *, plain_ids: tuple[tuple[str, ...], tuple[str, ...]]
) -> Join | None:
    """The columns that tell trials apart, as many of the scores' as can be, and that join most scores."""
    sample = ours.gather_every(-(-len(ours) // SAMPLED))
    sided = tuple(
        tuple(name for name in frame.columns if JOINED in name or name in names)
        for frame, names in zip((ours, theirs), plain_ids, strict=True)
    )
    found: list[Join] = []
    for columns in (plain_ids, (plain_ids[0], sided[1]), (sided[0], plain_ids[1])):
        for form, written in FORMS:
            found += _candidates(sample, theirs, columns, form=form, written=written)
            if any(join.n_columns == len(plain_ids[0]) and join.tells_apart for join in found):
                return max(found, key=_quality)
    return max(found, key=_quality, default=None)


def _quality(join: Join) -> tuple[bool, int, float, bool]:
    return join.tells_apart, join.n_columns, join.share, list(join.trials) == sorted(join.trials)


def _candidates(
    sample: "pl.DataFrame",
    theirs: "pl.DataFrame",
    columns: tuple[Sequence[str], Sequence[str]],
    *,
    form: str,
    written: Form,
) -> Iterator[Join]:
    import polars as pl

    ours = pl.DataFrame({name: written(sample[name]) for name in columns[0]})
    trials = pl.DataFrame({name: written(theirs[name]) for name in columns[1]})
    sets = {name: trials[name].unique().implode() for name in columns[1]}
    could = {
        name: [other for other, values in sets.items() if (ours[name].is_in(values).mean() or 0) >= LEAST_MATCHED]  # type: ignore[operator]
        for name in columns[0]
    }
    named = [name for name in columns[0] if could[name]][:MAX_IDS]
    for size in range(len(named), 0, -1):
        is_found = False
        for chosen in itertools.combinations(named, size):
            for others in itertools.product(*(could[name] for name in chosen)):
                share = _share(ours.select(chosen), trials.select(others)) if len(set(others)) == size else 0.0
                if share >= LEAST_MATCHED:
                    torn = trials.select(*others, theirs[IS_GENUINE]).unique().select(others).is_duplicated().any()
                    is_found |= not torn
                    yield Join(chosen, others, form, written, share, tells_apart=not torn)
        if is_found:
            return


def _share(ours: "pl.DataFrame", trials: "pl.DataFrame") -> float:
    """The share of scores whose ids are those of a trial."""
    matched = ours.join(trials, left_on=ours.columns, right_on=trials.columns, how="semi")
    return len(matched) / len(ours)


def _with_sides(frame: "pl.DataFrame", ids: tuple[str, ...]) -> "pl.DataFrame":
    """Add, for every id before a column of few values, both as one id: a segment and its side."""
    import polars as pl

    for one, other in itertools.pairwise(ids):
        if frame[other].n_unique() <= SIDES:
            joined = (
                pl.concat_str(one, other, separator=joint).alias(f"{one}{JOINED}{joint}{other}") for joint in JOINTS
            )
            frame = frame.with_columns(joined)
    return frame


def _refuse_torn(theirs: "pl.DataFrame", keys: list[str], trials: Trials) -> None:
    torn = (
        theirs.select(*keys, IS_GENUINE)
        .unique()
        .filter(theirs.select(*keys, IS_GENUINE).unique().select(keys).is_duplicated())
    )
    if torn.is_empty():
        return
    shown = " ".join(map(str, torn.select(keys).row(0)))
    raise trials.source.error(
        f"the ids that the scores name do not tell its trials apart: {shown!r} is a trial of both classes; "
        "write every id of a trial beside its score, or the scores alone, in the order of the trials"
    )


def _as_text(rows: "pl.DataFrame", keys: list[str]) -> "pl.DataFrame":
    import polars as pl

    return rows.select(LINE, pl.concat_str(keys, separator=" ", ignore_nulls=True).alias(TEXT))
