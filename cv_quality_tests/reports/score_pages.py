"""Small score sets and their page, for the tests of the page and for those that open it in a browser."""

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl

from cv_quality.metrics import FMR_TARGETS
from cv_quality.reports.evaluation_page import write_evaluation_report
from cv_quality.scores.evaluation import Evaluation, evaluate
from cv_quality.scores.reading import read_scores
from cv_quality.scores.score_set import ScoreSet

N_SUBJECTS = 40
GROUPS = ("north", "south")
SUBJECT = "enrolled-person-{:03d}"
Evaluated = tuple[ScoreSet, Evaluation]


@dataclass(frozen=True, slots=True)
class Case:
    """Score sets with their page."""

    evaluated: list[Evaluated]
    path: Path
    html: str
    text: str

    @property
    def evaluation(self) -> Evaluation:
        return self.evaluated[0][1]


class Text(HTMLParser):
    """Text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self._raw = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._raw = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._raw = "" if tag == self._raw else self._raw

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.parts.append(data)


def words(html: str) -> str:
    return " ".join("".join(Text(html).parts).split())


def page(evaluated: list[Evaluated], folder: Path) -> Case:
    path = folder / "page.html"
    write_evaluation_report(evaluated, target=path)
    html = path.read_text()
    return Case(evaluated, path, html, words(html))


def evaluated(path: Path, *more: Path, name: str | None = None, threshold: float | None = None) -> Evaluated:
    scores = read_scores([path, *more])
    targets = (0.1, *FMR_TARGETS)
    return scores, evaluate(scores, name=name, fmr_targets=targets, threshold=threshold, replicates=100)


def table(seed: int = 3) -> pl.DataFrame:
    """Comparisons of 40 subjects in two groups; low quality lowers genuine scores."""
    rng = np.random.default_rng(seed)
    one, other = (side.repeat(60) for side in np.triu_indices(N_SUBJECTS, 1))
    own = np.arange(N_SUBJECTS).repeat(25)
    subject_a, subject_b = np.concatenate([own, one]), np.concatenate([own, other])
    is_genuine = subject_a == subject_b
    quality = rng.uniform(0, 100, len(subject_a)).round(1)
    score = rng.normal(0, 1, len(subject_a)) + is_genuine * (2.2 + quality / 25)
    names = np.array([SUBJECT.format(code) for code in range(N_SUBJECTS)])
    return pl.DataFrame(
        {
            "score": score,
            "is_genuine": is_genuine,
            "subject_a": names[subject_a],
            "subject_b": names[subject_b],
            "group_a": np.array(GROUPS)[subject_a % 2],
            "group_b": np.array(GROUPS)[subject_b % 2],
            "quality_a": quality,
            "quality_b": np.full(len(quality), 100.0),
        }
    )


def full_page(folder: Path) -> Case:
    """One set that has everything: subjects, groups, qualities, and enough impostors for a tail."""
    table().write_csv(folder / "lab.csv")
    return page([evaluated(folder / "lab.csv", name="lab")], folder)


def page_of_two(folder: Path) -> Case:
    """Two sets of lists, the second one of distances and with a threshold given."""
    rng = np.random.default_rng(5)
    for name, sign in (("alike", 1.0), ("apart", -1.0)):
        for kind, centre, n in (("genuine", 2.5, 400), ("impostor", 0.0, 3_000)):
            np.savetxt(folder / f"{name}_{kind}.txt", sign * rng.normal(centre, 1.0, n))
    return page(
        [
            evaluated(folder / "alike_genuine.txt", folder / "alike_impostor.txt", name="alike"),
            evaluated(folder / "apart_genuine.txt", folder / "apart_impostor.txt", name="apart", threshold=-1.25),
        ],
        folder,
    )
