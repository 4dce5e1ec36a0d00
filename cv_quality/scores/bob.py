"""bob's text files of comparisons: 4 columns, 5 columns, and two columns of label and score.

4 columns: claimed identity, real identity, probe label, score. 5 columns: claimed identity, model label, real identity,
probe label, score. A comparison is genuine when both identities are equal. Two columns are a label and a score, in
either order. NaN means a failure to acquire in all three.
"""

from collections.abc import Sequence
from dataclasses import replace

from cv_quality.scores.labels import LABELS_EXPECTED, is_genuine
from cv_quality.scores.lines import read_lines, split_fields, with_scores
from cv_quality.scores.lists import read_list
from cv_quality.scores.missing import failures_to_acquire
from cv_quality.scores.rows import IS_GENUINE, LINE, SUBJECTS, TEXT, joined, refuse
from cv_quality.scores.source import Draft, Format, Options, Source, plural

FOUR = ("subject_a", "subject_b", "sample_b")
FIVE = ("subject_a", "sample_a", "subject_b", "sample_b")
WORDS = {
    "subject_a": "claimed identity",
    "sample_a": "model label",
    "subject_b": "real identity",
    "sample_b": "probe label",
}


def read_four(source: Source, options: Options) -> Draft:
    """Read four columns: claimed identity, real identity, probe label, score."""
    return _identities(source, options, kind="bob4", columns=FOUR)


def read_five(source: Source, options: Options) -> Draft:
    """Read five columns: claimed identity, model label, real identity, probe label, score."""
    return _identities(source, options, kind="bob5", columns=FIVE)


def read_two(source: Source, options: Options) -> Draft:
    """Read two columns: the label first, or the score first where only the second column holds labels.

    Raises:
        ScoreFileError: a line is broken, a label is unknown, or decimal commas were taken for separators.
    """
    lines = read_lines(source)
    # `0,052` is one number in some countries; read as label 0 and score 052 it would be silently wrong.
    texts = lines.rows[TEXT].str
    has_points = source.separator != "," or texts.contains(".", literal=True).any()
    if not has_points and source.role is not None and texts.contains(r"^[+-]?[0-9]+,[0-9]+$").all():
        return read_list(replace(source, separator=" "), options)
    if not has_points and texts.contains(r"^-?[0-9]+,0[0-9]").any():
        raise source.error("the commas look like decimal commas; write numbers with a point")
    fields, broken = split_fields(lines, source, options, names=("label", TEXT), expected="label, score")
    notes = lines.notes
    unknown = [is_genuine(fields[name]).null_count() for name in ("label", TEXT)]
    if len(fields) and min(unknown) == len(fields):
        raise source.error(
            "two columns, and none holds labels: scores of trials? give the list with their labels as "
            'trials="FILE" beside them'
        )
    if unknown[0] and not unknown[1]:
        fields = fields.rename({"label": TEXT, TEXT: "label"})
        notes = (*notes, f"{source}: the label stands in the second column")
    scored, unreadable = with_scores(fields, source, options, column=TEXT)
    truth = is_genuine(scored["label"])
    bad = scored.filter(truth.is_null()).select(LINE, **{TEXT: "label"})
    unlabelled = refuse(bad, source, options, expected=LABELS_EXPECTED)
    rows = scored.with_columns(truth.alias(IS_GENUINE)).drop("label").filter(~truth.is_null())
    found = failures_to_acquire(rows, source)
    excluded = joined([broken, unreadable, unlabelled, found.excluded])
    return Draft(found.rows, "two-column", excluded, notes, found.warnings)


def _identities(source: Source, options: Options, *, kind: Format, columns: Sequence[str]) -> Draft:
    import polars as pl

    lines = read_lines(source)
    expected = ", ".join([*(WORDS[name] for name in columns), "score"])
    fields, broken = split_fields(lines, source, options, names=(*columns, TEXT), expected=expected)
    scored, unreadable = with_scores(fields, source, options, column=TEXT)
    scored = scored.with_columns((pl.col("subject_a") == pl.col("subject_b")).alias(IS_GENUINE))
    found, notes = failures_to_acquire(scored, source), lines.notes
    claimed, real = (found.rows[side].unique() for side in SUBJECTS)
    unknown = real.filter(~real.is_in(claimed.implode()))
    if len(unknown):
        n = plural(int(found.rows["subject_b"].is_in(unknown.implode()).sum()), "comparison")
        notes = (*notes, f"{source}: open set: {plural(len(unknown), 'subject')} in no model, {n}")
    return Draft(found.rows, kind, joined([broken, unreadable, found.excluded]), notes, found.warnings)
