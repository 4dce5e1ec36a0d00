"""Which files belong together, told from their names alone.

Three things come in two files: a list of genuine and a list of impostor scores (pyeer), scores of named pairs and the
list of the true ones (pyeer's CMC files), and a BEE matrix and its mask. Everything else stands alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cv_quality.scores.labels import GENUINE_NAMES, IMPOSTOR_NAMES, role_of, words_of
from cv_quality.scores.source import Source

TRUE_PAIRS = "tp"
SCORES = ("scores", "score")
MATRIX, MASK = ".mtx", ".mask"
HISTOGRAM = frozenset({"hist", "histogram", "histograms"})


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files that make up one score set.

    Attributes:
        name: what the files have in common; the stem of a file that stands alone.
        paths: in the order in which they were given.
    """

    name: str
    paths: tuple[Path, ...]


def group_files(paths: Iterable[Path | str]) -> tuple[FileGroup, ...]:
    """Group files into score sets, in the order of their first file; no file is opened.

    Two files of one folder belong together when their names differ in one word only and that word is "genuine" in one
    and "impostor" in the other (or true/false, gen/imp, mated/nonmated, positives/negatives); "scores" in one and "tp"
    in the other; or the suffix, .mtx and .mask. Where more than two files share a name nothing is joined.

    >>> [group.name for group in group_files(["a/exp1_true.txt", "a/exp1_false.txt", "a/dev.txt"])]
    ['exp1', 'dev']
    """
    apart = {*GENUINE_NAMES, *IMPOSTOR_NAMES, *SCORES, TRUE_PAIRS}
    shared: dict[tuple[Path, tuple[str, ...]], list[Path]] = {}
    keys = []
    for path in map(Path, paths):
        is_bee = path.suffix.lower() in (MATRIX, MASK)
        common = tuple(word for word in words_of(path.stem) if is_bee or word not in apart)
        keys.append((path, (path.parent, common)))
        shared.setdefault((path.parent, common), []).append(path)
    groups = []
    for path, key in keys:
        partners = shared[key]
        if not _is_pair(partners):
            groups.append(FileGroup(path.stem, (path,)))
        elif path == partners[0]:
            groups.append(FileGroup("_".join(key[1]) or path.parent.name or path.stem, tuple(partners)))
    return tuple(groups)


def sources_of(paths: Sequence[Path]) -> list[Source]:
    """List the files that hold scores, each with its role, its companion and whether its name says histogram."""
    companions = {}
    for group in group_files(paths):
        if len(group.paths) == 2:
            scores, companion = sorted(group.paths, key=_is_companion)
            if _is_companion(companion):
                companions[scores] = companion
    return [
        Source(path, role_of(path.stem), companions.get(path), says_histogram(path))
        for path in paths
        if path not in companions.values()
    ]


def says_histogram(path: Path) -> bool:
    """Tell whether the file or its folder is named a histogram ("hist", but not "non_hist").

    >>> says_histogram(Path("hist/exp1_false.txt")), says_histogram(Path("non_hist/exp1_false.txt"))
    (True, False)
    """
    names = (set(words_of(name)) for name in (path.stem, path.absolute().parent.name))
    return any(HISTOGRAM & words and not {"non", "no"} & words for words in names)


def _is_companion(path: Path) -> bool:
    return path.suffix.lower() == MASK or TRUE_PAIRS in words_of(path.stem)


def _is_pair(paths: Sequence[Path]) -> bool:
    if len(paths) != 2:
        return False
    suffixes = {path.suffix.lower() for path in paths}
    if {role_of(path.stem) for path in paths} == {"genuine", "impostor"} or suffixes == {MATRIX, MASK}:
        return True
    return sum(map(_is_companion, paths)) == 1 and not suffixes & {MATRIX, MASK}
