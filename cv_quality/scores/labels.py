"""The words in which files say that a comparison is genuine or not, in their columns and in their names.

Nothing is guessed here: a word that is not listed is unknown, and the reader refuses it by line.
"""

import re
from typing import TYPE_CHECKING

from cv_quality.scores.source import Role

if TYPE_CHECKING:
    import polars as pl

GENUINE_WORDS = (
    *("1", "+1", "1.0", "true", "t", "yes", "genuine", "gen", "mated", "match", "same", "target", "client"),
    *("positive", "positives", "pos", "bonafide", "bona_fide", "bona-fide", "bona fide", "live", "real"),
)
IMPOSTOR_WORDS = (
    *("0", "-1", "0.0", "-1.0", "false", "f", "no", "impostor", "imposter", "imp", "nonmated", "non-mated"),
    *("non_mated", "nonmatch", "non-match", "different", "diff", "nontarget", "non-target", "negative", "negatives"),
    *("neg", "attack", "spoof", "fake"),
)
LABELS_EXPECTED = "a label such as 1 and 0, 1 and -1, true and false, genuine and impostor"
GENUINE_NAMES = frozenset({"true", "genuine", "gen", "genuines", "mated", "positive", "positives", "pos"})
IMPOSTOR_NAMES = frozenset(
    {"false", "impostor", "impostors", "imposter", "imposters", "imp", "nonmated", "nongenuine"}
    | {"negative", "negatives", "neg"}
)
_JOINED = re.compile(r"non[-_. ]?(mated|match|genuine|target)", re.IGNORECASE)
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
