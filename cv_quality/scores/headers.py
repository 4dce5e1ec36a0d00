"""What the columns of a table mean, told from their names: ours, those of other tools, and those that the caller gives.

A name that could mean a label counts only where the column holds labels. Files without a header are read by
`cv_quality.scores.layouts`.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.errors import near
from cv_quality.scores.labels import LabelWords, is_genuine, label_words
from cv_quality.scores.rows import IS_GENUINE, NUMBERS, OPTIONAL, RESPONSE, SCORE, SUBJECTS
from cv_quality.scores.source import Options, Polarity, Source, no_column, quoted

if TYPE_CHECKING:
    import polars as pl

MAX_COLUMNS = 1_000
KNOWN = (SCORE, IS_GENUINE, *OPTIONAL, *NUMBERS, RESPONSE)
SIMILARITIES = frozenset(
    {"scores", "similarity", "similarities", "sim", "sims", "similarity_score", "match_score", "matching_score"}
    | {"comparison_score", "cosine", "cosine_similarity", "cosine_score", "cos_sim", "llr", "log_likelihood_ratio"}
    | {"y_score", "y_scores", "plda", "plda_score", "liveness_score", "liveness", "cm_score", "asv_score", "sasv_score"}
    | {"pad_score"}
)
DISTANCES = frozenset(
    {"distance", "distances", "dist", "dists", "dissimilarity", "cosine_distance", "euclidean_distance", "euclidean"}
    | {"hamming_distance", "hamming", "hd", "l2", "l2_distance"}
)
ATTACK_SCORES = frozenset({"attack_score", "spoof_score", "pa_score", "spoofing_score"})
DIRECTIONS: dict[Polarity, frozenset[str]] = {
    "similarity": SIMILARITIES - {"scores", "y_score", "y_scores", "pad_score"},
    "distance": DISTANCES,
    "attack": ATTACK_SCORES,
}
"""Names that say which way the scores point."""
TRUTHS = frozenset(
    {"label", "labels", "target", "targets", "is_target", "targettype", "target_type", "trial_type", "key", "truth"}
    | {"ground_truth", "groundtruth", "gt", "genuine", "mated", "is_mated", "same", "is_same", "issame", "same_person"}
    | {"is_same_person", "same_identity", "actual_issame", "y", "y_true", "class", "true_label", "is_match"}
    | {"bonafide", "bona_fide", "is_bonafide", "is_bona_fide", "live", "is_live", "is_real", "real", "kind"}
)
REVERSED_TRUTHS = frozenset(
    {"is_attack", "attack", "is_spoof", "spoof", "is_fake", "fake", "is_impostor", "impostor", "is_nonmated"}
    | {"different", "is_different", "diff", "is_diff"}
)
"""Columns in which yes means that the row is not genuine."""
DECISIONS = frozenset({"decision", "match"})
"""Some call the truth so, others what the system made of the score."""
LIVENESS = frozenset(
    {"bonafide", "bona_fide", "is_bonafide", "is_bona_fide", "live", "is_live", "is_attack", "attack", "is_spoof"}
    | {"spoof", "is_fake", "fake", "is_real", "real"}
)
SPECIES = frozenset(
    {"attack", "pai", "pai_species", "attack_type", "attacktype", "spoof_type", "attack_id", "attack_name"}
)
ARTEFACTS = frozenset({"artefact_id", "artifact", "artifact_id", "pai_id", "pai_instrument", "instrument_id"})
PRESENTERS = frozenset({"subject_id", "claimed_id", "client_id", "target_subject"})
BOB_IDENTITIES, BOB_SAMPLES = {"bio_ref_subject_id", "probe_subject_id"}, {"claimed_id", "test_label", "is_bonafide"}
"""By these columns the tables of bob.bio and of bob.pad are known."""
BOB_NAMES = {
    "bio_ref_subject_id": "subject_a",
    "probe_subject_id": "subject_b",
    "bio_ref_reference_id": "sample_a",
    "bio_ref_template_id": "sample_a",
    "probe_reference_id": "sample_b",
    "probe_template_id": "sample_b",
    "probe_key": "sample_b",
    "probe_attack_type": "species",
}
_SAMPLE_WORDS = ("file", "path", "img", "image", "utt", "utterance", "sample", "template", "t", "wav", "segment", "id")
_SUBJECT_WORDS = ("subject", "person", "identity", "speaker", "spk", "name", "client")
_SIDES = {"a": ("1", "a", "x"), "b": ("2", "b", "y")}
IDS = {
    f"{word}{joint}{end}": f"{kind}_{side}"
    for kind, words in (("sample", _SAMPLE_WORDS), ("subject", _SUBJECT_WORDS))
    for (word, joint, (side, ends)) in itertools.product(words, ("", "_"), _SIDES.items())
    for end in ends
} | {
    **dict.fromkeys(("enroll", "enrol", "enrollment", "enrolment", "reference", "model", "modelid"), "sample_a"),
    **dict.fromkeys(("test", "probe", "segmentid", "segment", "utt", "utt_id", "test_label"), "sample_b"),
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the columns of a table mean.

    Attributes:
        names: the known name of each column, "" for those that are not read.
        polarity: what the name of the scores says of their direction; None where it says nothing.
        is_reversed: whether yes in the column of labels means "not genuine".
        is_liveness: whether the names speak of bona fide samples and attacks.
        is_bob: whether the names are those of bob, which follows bob's conventions.
    """

    names: tuple[str, ...]
    polarity: Polarity | None = None
    is_reversed: bool = False
    is_liveness: bool = False
    is_bob: bool = False


def header_of(columns: Sequence[str], values: "Callable[[int], pl.Series]", source: Source, options: Options) -> Header:
    """Tell what the columns mean.

    Args:
        columns: as the file names them; one that has no name is "".
        values: gives the values of a column; only those that could hold labels are asked for.
        source: the file.
        options: `columns` overrules every name.

    Raises:
        ScoreFileError: two columns have one meaning, there are too many, or one that is needed is missing.
    """
    refuse_wide(columns, source)
    lowered = [plain(name) for name in columns]
    given = placed(columns, source, options)
    is_bob = IS_GENUINE not in lowered and set(lowered) >= BOB_IDENTITIES
    names = [BOB_NAMES.get(name, name) if is_bob else name for name in lowered]
    names = [name if not is_bob or name not in names[:at] else "" for at, name in enumerate(names)]
    names = [name if name in KNOWN and name not in given.values() else "" for name in names]
    for index, name in given.items():
        names[index] = name
    _refuse_twice(names, columns, source)
    _find(names, lowered, SCORE, SIMILARITIES | DISTANCES | ATTACK_SCORES, columns, source)
    if IS_GENUINE not in names and not is_bob:
        _find_truth(names, lowered, values, columns, source)
    _find_others(names, lowered)
    told = lowered[names.index(SCORE)] if SCORE in names else ""
    label = lowered[names.index(IS_GENUINE)] if IS_GENUINE in names else ""
    _require(names, lowered, source, options, is_bob=is_bob)
    return Header(
        tuple(names),
        polarity=_direction(told),
        is_reversed=label in REVERSED_TRUTHS,
        is_liveness=label in LIVENESS,
        is_bob=is_bob or set(lowered) >= BOB_SAMPLES,
    )


def refuse_wide(columns: Sequence[str], source: Source) -> None:
    """Refuse a header of more than `MAX_COLUMNS` columns.

    Raises:
        ScoreFileError: it is.
    """
    if len(columns) > MAX_COLUMNS:
        raise source.error(f"{len(columns):,} columns; a table of scores has at most {MAX_COLUMNS:,}")


def plain(name: str) -> str:
    """Write a name in the form in which names are compared.

    >>> plain(" Cosine Similarity"), plain("Same person?")
    ('cosine_similarity', 'same_person')
    """
    return re.sub(r"[ \-.]+", "_", name.strip(" \t?!*:").lower())


def names_scores(columns: Sequence[str], options: Options) -> bool:
    """Tell whether one of the names is one of scores, or one that the caller gave for them."""
    given = options.columns.get(SCORE)
    if given is not None and given in columns:
        return True
    return not {plain(name) for name in columns}.isdisjoint({SCORE} | SIMILARITIES | DISTANCES | ATTACK_SCORES)


def score_header(columns: Sequence[str], source: Source, options: Options) -> tuple[int, Polarity | None]:
    """Find the column of scores by its name, and what that says of their direction.

    Raises:
        ScoreFileError: several names could mean it.
    """
    lowered, names = [plain(name) for name in columns], [""] * len(columns)
    for index, name in placed(columns, source, options).items():
        names[index] = name
    if SCORE not in names and SCORE in lowered:
        names[lowered.index(SCORE)] = SCORE
    _find(names, lowered, SCORE, SIMILARITIES | DISTANCES | ATTACK_SCORES, columns, source)
    at = names.index(SCORE)
    return at, _direction(lowered[at])


def _direction(name: str) -> Polarity | None:
    return next((polarity for polarity, known in DIRECTIONS.items() if name in known), None)


def placed(columns: Sequence[str], source: Source, options: Options) -> dict[int, str]:
    """Find the columns that the caller names, by their names or, in a file without, by their numbers from 1.

    Raises:
        ScoreFileError: a meaning is unknown, or there is no such column.
    """
    found: dict[int, str] = {}
    for meaning, name in options.columns.items():
        if meaning not in KNOWN:
            raise source.error(f"a column cannot mean {meaning!r}; {near(meaning, KNOWN)}")
        places = [index for index, column in enumerate(columns) if column == name] or [
            index for index, column in enumerate(columns) if plain(column) == plain(name)
        ]
        if not places:
            shown = ", ".join(quoted(column) for column in columns[:20] if column)
            raise source.error(f"there is no column {name!r} for {meaning}; the columns are {shown}")
        found[places[0]] = meaning
    return found


def _refuse_twice(names: Sequence[str], columns: Sequence[str], source: Source) -> None:
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        places = [columns[index] for index, name in enumerate(names) if name == twice[0]]
        raise source.error(f"two columns mean {twice[0]}: {' and '.join(places)}; keep one")


def _find(
    names: list[str],
    lowered: Sequence[str],
    meaning: str,
    aliases: frozenset[str],
    columns: Sequence[str],
    source: Source,
) -> None:
    """Give the meaning to the one column that is called by an alias, where none is called so itself."""
    if meaning in names:
        return
    places = [index for index, name in enumerate(lowered) if name in aliases and not names[index]]
    if len(places) > 1:
        raise source.error(_which(meaning, [columns[index] for index in places]))
    for index in places:
        names[index] = meaning


def _find_truth(
    names: list[str],
    lowered: Sequence[str],
    values: "Callable[[int], pl.Series]",
    columns: Sequence[str],
    source: Source,
) -> None:
    """Give the meaning of labels to the column that is called so and holds labels."""
    for aliases in (TRUTHS | REVERSED_TRUTHS, DECISIONS):
        places = [index for index, name in enumerate(lowered) if name in aliases and not names[index]]
        words = {index: label_words(values(index)) for index in places}
        labels = [index for index in places if words[index].has_both and not words[index].unknown]
        labels = labels or [index for index in places if _could_be(words[index])]
        if len(labels) > 1:
            raise source.error(_which(IS_GENUINE, [columns[index] for index in labels]))
        if labels and aliases is DECISIONS and SCORE in names:
            _refuse_decision(values(labels[0]), values(names.index(SCORE)), columns[labels[0]], source)
        if labels:
            names[labels[0]] = IS_GENUINE
            return


def _could_be(words: LabelWords) -> bool:
    return bool(words.genuine or words.impostor)


def _refuse_decision(labels: "pl.Series", scores: "pl.Series", column: str, source: Source) -> None:
    """A column that follows from a threshold of the scores is what the system decided, not the truth."""
    import polars as pl

    truth, numbers = is_genuine(labels.cast(pl.String)), scores.cast(pl.Float64, strict=False)
    one, other = (numbers.filter(mask.fill_null(False)).drop_nulls().to_numpy() for mask in (truth, ~truth))
    if one.size and other.size and (one.max() <= other.min() or other.max() <= one.min()):
        raise source.error(
            f"column {column} follows from a threshold of the scores, so it may be the system's decision and not the "
            f'truth; if it is the truth, say columns="is_genuine={column}"'
        )


def _find_others(names: list[str], lowered: Sequence[str]) -> None:
    """Species, artefacts and ids by their aliases, where none is called so itself; of two the first."""
    for index, name in enumerate(lowered):
        meaning = "species" if name in SPECIES else "artefact" if name in ARTEFACTS else IDS.get(name, "")
        meaning = "subject" if name in PRESENTERS else meaning
        if meaning and not names[index] and meaning not in names:
            names[index] = meaning


def _require(names: Sequence[str], lowered: Sequence[str], source: Source, options: Options, *, is_bob: bool) -> None:
    by_equality = is_bob or (set(SUBJECTS) <= set(options.columns)) or source.role is not None
    for name in [SCORE] if by_equality else [SCORE, IS_GENUINE]:
        if name not in names:
            raise source.error(f'{no_column(name, lowered)}, or name it: columns="{name}=NAME"')


def _which(meaning: str, candidates: Sequence[str]) -> str:
    return (
        f"{len(candidates)} columns could mean {meaning}: {', '.join(candidates)}; "
        f'say which, such as columns="{meaning}={candidates[0]}"'
    )


def parsed_columns(text: str) -> Mapping[str, str]:
    """Parse "score=sim,is_genuine=same"; a comma within a name cannot be written.

    Raises:
        ValueError: a part is not of the form MEANING=NAME, or a meaning stands twice.

    >>> parsed_columns("score=sim,is_genuine=same")
    {'score': 'sim', 'is_genuine': 'same'}
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        meaning, equals, name = (piece.strip() for piece in part.partition("="))
        if not (meaning and equals and name) or meaning in found:
            raise ValueError(f"expected MEANING=NAME, each meaning once, found {part.strip()!r}")
        found[meaning] = name
    return found
