"""The words in which files say that a comparison is genuine or not, in their columns and in their names.

Nothing is guessed here: a word that is not listed is unknown, and the reader refuses it by line.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.scores.source import Role

if TYPE_CHECKING:
    import polars as pl

GENUINE_WORDS = (
    *(
        "1",
        "+1",
        "1.0",
        "true",
        "t",
        "yes",
        "y",
        "genuine",
        "gen",
        "mated",
        "match",
        "same",
        "target",
        "tgt",
        "tar",
        "client",
    ),
    *("positive", "positives", "pos", "bonafide", "bona_fide", "bona-fide", "bona fide", "live", "real"),
    *("wahr", "ja", "vrai", "oui", "verdadero", "vero", "verdadeiro", "sim", "waar"),
)
IMPOSTOR_WORDS = (
    *("0", "-1", "0.0", "-1.0", "false", "f", "no", "n", "impostor", "imposter", "imp", "nonmated", "non-mated"),
    *("non_mated", "nonmatch", "non-match", "different", "diff", "nontarget", "non-target", "negative", "negatives"),
    *("nontgt", "nontar", "neg", "attack", "spoof", "fake", "spoofed", "spoofing"),
    *("falsch", "nein", "faux", "non", "falso", "onwaar", "nee"),
)
ATTACK_WORDS = ("attack", "spoof", "fake", "spoofed", "spoofing")
"""Beside words for genuine and impostor comparisons, these say that a row is neither."""
PLAIN_WORDS = frozenset(
    {"target", "nontarget", "non-target", "genuine", "impostor", "imposter", "mated", "nonmated", "non-mated"}
    | {"bonafide", "bona_fide", "bona-fide", "bona fide", "spoof", "attack"}
)
"""Words that are labels even where a file has those of one class only."""
YES_AND_NO = frozenset(
    {
        "true",
        "t",
        "yes",
        "y",
        "false",
        "f",
        "no",
        "n",
        "wahr",
        "ja",
        "vrai",
        "oui",
        "verdadero",
        "vero",
        "verdadeiro",
        "sim",
    }
    | {"waar", "falsch", "nein", "faux", "non", "falso", "onwaar", "nee"}
)
"""Beside numbers, these answer what the name of their column asks; other words say themselves what a row is."""
BONA_FIDE_WORDS = ("bonafide", "bona_fide", "bona-fide", "bona fide", "live", "real")
NO_SPECIES = ("", "-", "none", "null", "na", "n/a", "bona_fide", "bonafide", "bona fide", "bona-fide", "live", "real")
"""In the place of the PAI species, in lower case, these say that there was no attack."""
MAX_WORDS = 12
"""Spellings that a column of labels may have."""
LABELS_EXPECTED = "a label such as 1 and 0, 1 and -1, true and false, genuine and impostor"
GENUINE_NAMES = frozenset(
    {"true", "genuine", "gen", "genuines", "mated", "positive", "positives", "pos", "target", "targets"}
)
IMPOSTOR_NAMES = frozenset(
    {"false", "impostor", "impostors", "imposter", "imposters", "imp", "nonmated", "nongenuine"}
    | {"nontarget", "nontargets"}
    | {"negative", "negatives", "neg"}
)
_JOINED = re.compile(r"non[-_. ]?(mated|match|genuine|targets?)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?")


def truth_of(word: str) -> bool | None:
    """Read one label as genuine (mated) or impostor (non-mated); None when it is not known.

    >>> truth_of("Mated"), truth_of("-1.0"), truth_of("2")
    (True, False, None)
    """
    text = word.strip().lower()
    if text in GENUINE_WORDS:
        return True
    if text in IMPOSTOR_WORDS:
        return False
    if _NUMBER.fullmatch(text) and float(text) in (1.0, 0.0, -1.0):
        return float(text) == 1.0
    return None


def is_genuine(labels: "pl.Series") -> "pl.Series":
    """Read labels as True, False, or null where unknown; case and the spelling of a number (1, 1.0) do not matter.

    >>> import polars as pl
    >>> is_genuine(pl.Series(["Genuine", "-1", "1.000e+00", "maybe"])).to_list()
    [True, False, True, None]
    """
    import polars as pl

    words = labels.unique().drop_nulls()
    known = {word: truth for word in words if (truth := truth_of(str(word))) is not None}
    if not known:
        return pl.repeat(None, len(labels), dtype=pl.Boolean, eager=True)
    return labels.replace_strict(list(known), list(known.values()), default=None, return_dtype=pl.Boolean)


@dataclass(frozen=True, slots=True)
class LabelWords:
    """The words of a column of labels, in lower case."""

    genuine: frozenset[str]
    impostor: frozenset[str]
    unknown: frozenset[str]

    @property
    def has_both(self) -> bool:
        return bool(self.genuine) and bool(self.impostor)

    @property
    def are_plain(self) -> bool:
        """Whether each can be nothing but a label: a number or a short word of one class could be an id."""
        known = self.genuine | self.impostor
        return bool(known) and known <= PLAIN_WORDS

    @property
    def are_answers(self) -> bool:
        """Whether all words are yes and no, or numbers."""
        return all(word in YES_AND_NO or _NUMBER.fullmatch(word) for word in self.genuine | self.impostor)

    @property
    def is_liveness(self) -> bool:
        """Whether the words speak of bona fide samples and of attacks, not of comparisons."""
        known = self.genuine | self.impostor
        return bool(known & {*BONA_FIDE_WORDS, *ATTACK_WORDS}) and known <= {*BONA_FIDE_WORDS, *ATTACK_WORDS}

    @property
    def has_attacks(self) -> bool:
        """Whether attacks stand beside genuine and impostor comparisons."""
        return not self.is_liveness and not self.impostor.isdisjoint(ATTACK_WORDS) and bool(self.genuine)


def label_words(labels: "pl.Series") -> LabelWords:
    """Collect the words of a column; with more than `MAX_WORDS` it is no column of labels and all are unknown."""
    words = labels.drop_nulls().unique()
    spelled = {str(word).strip().lower() for word in words} if len(words) <= MAX_WORDS else {""}
    by_truth = {word: truth_of(word) for word in spelled}
    genuine, impostor, unknown = (
        frozenset(word for word, found in by_truth.items() if found is truth) for truth in (True, False, None)
    )
    return LabelWords(genuine, impostor, unknown)


def words_of(name: str) -> tuple[str, ...]:
    """Split a file name into words in lower case, "non-mated" and its kin as one word.

    >>> words_of("Exp1_non-mated.scores")
    ('exp1', 'nonmated', 'scores')
    """
    together = _JOINED.sub(r"non\1", name.lower())
    return tuple(word for word in re.split(r"[-_. ]+", together) if word)


def role_of(stem: str) -> Role | None:
    """Tell the class that a file name announces; None when it announces none, or both.

    >>> role_of("exp1_true"), role_of("scores-dev"), role_of("linsep-negatives")
    ('genuine', None, 'impostor')
    """
    words = set(words_of(stem))
    says_genuine, says_impostor = not words.isdisjoint(GENUINE_NAMES), not words.isdisjoint(IMPOSTOR_NAMES)
    if says_genuine == says_impostor:
        return None
    return "genuine" if says_genuine else "impostor"
