"""Presentations to a liveness detector as arrays, checked once: who or what was shown, its score, whether it answered.

Inside, higher scores are more surely bona fide and a presentation is taken for bona fide when score >= threshold, so
that a tie is an error of exactly one class. Rates of them are in `cv_quality.metrics.liveness.error_rates`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.validation import column, truth

Unit = Literal["artefact", "subject", "presentation"]
UNKNOWN_SPECIES = "unknown species"
SHOWN = 3


@dataclass(frozen=True, slots=True, eq=False)
class Presentations:
    """Checked presentations; arrays have shape (n,).

    Attributes:
        scores: higher is more surely bona fide; NaN where there was no response.
        is_attack: whether an artefact was presented.
        species: of each attack, "" of a bona fide presentation.
        cluster: number of the artefact of each attack and of the subject of each bona fide presentation, as far as they
            are known; each its own where they are not.
        attack_unit: what the clusters of attacks are.
        bona_fide_unit: what those of bona fide presentations are.
        group: by which rates are broken down, such as a device, a scene or an age group; "" where unknown.
        warnings: what a reader of the rates must know.
    """

    scores: NDArray[np.float64]
    is_attack: NDArray[np.bool_]
    species: NDArray[np.str_]
    cluster: NDArray[np.int64]
    attack_unit: Unit
    bona_fide_unit: Unit
    group: NDArray[np.str_]
    warnings: tuple[str, ...] = ()

    @property
    def has_response(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.scores)

    @property
    def species_names(self) -> tuple[str, ...]:
        """Every species that was presented, ascending."""
        return tuple(np.unique(self.species[self.is_attack]).tolist())

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group that is named, ascending."""
        return tuple(name for name in np.unique(self.group).tolist() if name)

    @property
    def bona_fide(self) -> NDArray[np.float64]:
        """Scores of bona fide presentations with a response."""
        return self.scores[~self.is_attack & self.has_response]

    def attacks(self, species: str | None = None) -> NDArray[np.float64]:
        """Scores of attacks with a response, of one species or of all."""
        of = self.is_attack if species is None else self.is_attack & (self.species == species)
        return self.scores[of & self.has_response]

    def where(self, mask: NDArray[np.bool_]) -> "Presentations":
        """Choose some of the presentations."""
        return Presentations(
            self.scores[mask],
            self.is_attack[mask],
            self.species[mask],
            self.cluster[mask],
            self.attack_unit,
            self.bona_fide_unit,
            self.group[mask],
            self.warnings,
        )

    def counts(
        self, mask: NDArray[np.bool_], is_counted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count what is counted, and all, of each cluster among the chosen presentations."""
        names, codes = np.unique(self.cluster[mask], return_inverse=True)
        counted = np.bincount(codes, weights=is_counted[mask], minlength=len(names)).astype(np.int64)
        return counted, np.bincount(codes, minlength=len(names))


def check_presentations(
    scores: ArrayLike,
    is_attack: ArrayLike,
    *,
    species: ArrayLike | None = None,
    artefact: ArrayLike | None = None,
    subject: ArrayLike | None = None,
    group: ArrayLike | None = None,
) -> Presentations:
    """Check presentations and number their clusters.

    Attacks are clustered by artefact, else by subject, which a warning says; bona fide presentations by subject.

    Args:
        scores: higher is more surely bona fide, shape (n,); NaN where there was no response.
        is_attack: bool, shape (n,).
        species: PAI species of each attack and "" elsewhere; None where they are unknown.
        artefact: the instrument that was shown in each attack and "" elsewhere; None where they are unknown.
        subject: who presented, or whom the artefact imitates, "" where unknown; None where nobody is known.
        group: by which rates are to be broken down, "" where unknown.

    Raises:
        MetricError: shapes differ, a bona fide presentation has a species or an artefact, an attack lacks what others
            have, or an artefact stands under two species.

    >>> found = check_presentations([0.9, 0.2, 0.4], [False, True, True], species=["", "print", "print"])
    >>> found.species_names, found.attack_unit
    (('print',), 'presentation')
    """
    attack = truth(is_attack, name="is_attack")
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != attack.shape:
        raise MetricError(f"expected a score, or NaN, for each of {len(attack)} presentations, found {values.shape}")
    kinds = _of_attacks(species, attack, "species")
    items = _of_attacks(artefact, attack, "artefact")
    people = np.full(len(attack), "") if subject is None else _texts(subject, len(attack), "subject")
    warnings = []
    if kinds is None:
        kinds = np.where(attack, UNKNOWN_SPECIES, "")
        if attack.any():
            warnings.append("species unknown: one rate pools all attacks, and the worst species may be far worse")
    if items is not None:
        _refuse_two_species(items[attack], kinds[attack])
    unit: Unit = "artefact" if items is not None else _unit(people[attack])
    if unit == "artefact" and items is not None and _are_alike(items[attack], people[attack]):
        warnings.append("artefacts are named as the subjects are: if one subject has several, the bounds are too wide")
    if unit == "subject":
        warnings.append("artefacts unknown: subjects stand in for them, right where each has one of every species")
    elif unit == "presentation" and attack.any():
        warnings.append("neither artefacts nor subjects known: independence assumed, so the bounds are too narrow")
    shown = items if items is not None else people
    bona_fide_unit = _unit(people[~attack])
    own = np.arange(len(attack)).astype(str)
    attack_names = own if unit == "presentation" else np.char.add(np.char.add(kinds, "\x1f"), shown)
    people_names = own if bona_fide_unit == "presentation" else people
    cluster = np.zeros(len(attack), dtype=np.int64)
    for mask, names in ((attack, attack_names), (~attack, people_names)):
        cluster[mask] = np.unique(names[mask], return_inverse=True)[1]
    groups = np.full(len(attack), "") if group is None else _texts(group, len(attack), "group")
    return Presentations(values, attack, kinds, cluster, unit, bona_fide_unit, groups, tuple(warnings))


def require_both(presentations: Presentations) -> None:
    """Refuse presentations of which one class has no response.

    Raises:
        MetricError: it has none.
    """
    for name, scores in (("bona fide", presentations.bona_fide), ("attack", presentations.attacks())):
        if scores.size == 0:
            raise MetricError(f"no {name} presentation with a response: error rates need both classes")


def _texts(values: ArrayLike, n: int, name: str) -> NDArray[np.str_]:
    return np.char.strip(column(values, name=name, size=n).astype(str))


def _of_attacks(values: ArrayLike | None, attack: NDArray[np.bool_], name: str) -> NDArray[np.str_] | None:
    """What only attacks have, and each of them."""
    if values is None:
        return None
    texts = _texts(values, len(attack), name)
    if strays := int(np.count_nonzero(~attack & (texts != ""))):
        raise MetricError(f"{strays} bona fide presentations have {name} named: leave it empty, or call them attacks")
    if missing := int(np.count_nonzero(attack & (texts == ""))):
        raise MetricError(f"{missing} of {int(attack.sum())} attacks have no {name}: name one for all or for none")
    return texts


def _unit(people: NDArray[np.str_]) -> Unit:
    return "subject" if people.size and (people != "").all() else "presentation"


def _are_alike(items: NDArray[np.str_], people: NDArray[np.str_]) -> bool:
    return bool(items.size and (items == people).all())


def _refuse_two_species(items: NDArray[np.str_], kinds: NDArray[np.str_]) -> None:
    pairs = np.unique(np.stack([items, kinds]), axis=1)
    names, counts = np.unique(pairs[0], return_counts=True)
    if (counts > 1).any():
        first = names[counts > 1][0]
        under = pairs[1][pairs[0] == first].tolist()
        raise MetricError(
            f"artefact {str(first)!r} stands under {len(under)} species ({', '.join(under[:SHOWN])}), but it is of "
            "one: name artefacts apart, such as by species and number"
        )
