"""Says of samples that are understood what is taken as it is, and may not be meant; refuses what cannot be.

Who is on them is told in `cv_quality.drops.importers.sample_folders`.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cv_quality.drops.importers.folders import some
from cv_quality.drops.importers.layouts import NamedSample
from cv_quality.errors import DropError


@dataclass(frozen=True, slots=True)
class Unusable:
    """A picture, or a path of the table, that the drop goes without."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class CheckedSamples:
    """What looking into every sample gave.

    Attributes:
        unusable: those that cannot be read.
        digests: of what the others hold; equal ones hold the same.
        sizes: width and height of those that are pictures.
        turned: images that EXIF turns.
    """

    unusable: tuple[Unusable, ...]
    digests: Mapping[str, bytes]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    turned: frozenset[str] = frozenset()


def doubts(samples: Sequence[NamedSample], checked: CheckedSamples, *, links: Sequence[str]) -> list[str]:
    """Say what is taken as it is, and may not be meant.

    Args:
        samples: as understood.
        checked: what is in them.
        links: to folders, which are not followed.
    """
    spelled: dict[str, set[str]] = defaultdict(set)
    pictures = Counter(sample.instance for sample in samples)
    for sample in samples:
        spelled[_bare(sample.subject)].add(sample.subject)
    found = [
        f"names that are nearly alike are different people: {' and '.join(map(repr, sorted(names)))}"
        for names in spelled.values()
        if len(names) > 1
    ]
    twice = [" and ".join(names.values()) for names in _shared(samples, checked.digests)]
    if twice:
        found.append(f"the same image, pixel for pixel, is of several people ({len(twice):,}): {some(twice)}")
    if links:
        found.append(f"links to folders are not followed ({len(links):,}): {some(links)}")
    if any(sample.eye for sample in samples):
        found += _of_eyes(samples, checked)
    if len({sample.subject for sample in samples}) == 1:
        found.append("one person alone: there is nobody to be taken for somebody else, so no FMR and no threshold")
    if max(pictures.values()) == 1:
        each = "each eye" if any(sample.eye for sample in samples) else "each person"
        found.append(f"one image of {each}: nothing to compare it with, so no FNMR")
    return found


def require_one_eye(samples: Sequence[NamedSample], digests: Mapping[str, bytes], *, where: str) -> None:
    """Refuse one image under two people or two eyes: every comparison of it would be counted for the wrong one.

    Args:
        samples: with the eyes that they are of.
        digests: of what they hold.
        where: for errors.

    Raises:
        DropError: there is such an image.
    """
    torn = [
        " and ".join(f"{name} ({' '.join(instance)})" for instance, name in names.items())
        for names in _shared(samples, digests)
    ]
    if torn:
        raise DropError(
            f"{where}: expected every image under one eye of one person, found {len(torn):,} under several: "
            f"{some(torn)}; correct the names, or take those images out"
        )


def captures(samples: Sequence[NamedSample]) -> dict[tuple[str, str, str], list[NamedSample]]:
    """Find the moments of which both eyes were taken: one sample number of a person and session, an image of each."""
    moments: dict[tuple[str, str, str], list[NamedSample]] = defaultdict(list)
    for sample in samples:
        if sample.sample and sample.eye in ("left", "right"):
            moments[sample.subject, sample.session, sample.sample].append(sample)
    return {
        moment: taken
        for moment, taken in moments.items()
        if sorted(sample.eye for sample in taken) == ["left", "right"]
    }


def _shared(samples: Sequence[NamedSample], digests: Mapping[str, bytes]) -> Iterator[dict[tuple[str, str], str]]:
    """The images that several people or eyes have, by whose they are."""
    shown: dict[bytes, dict[tuple[str, str], str]] = defaultdict(dict)
    for sample in samples:
        shown[digests[sample.name]].setdefault(sample.instance, sample.name)
    return (names for names in shown.values() if len(names) > 1)


def _of_eyes(samples: Sequence[NamedSample], checked: CheckedSamples) -> Iterator[str]:
    counts = Counter(sample.eye for sample in samples)
    both = captures(samples)
    eyes: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        eyes[sample.subject].add(sample.eye)
    if counts["unknown"]:
        yield f"eye not told of {counts['unknown']:,} images: unknown, those of a person taken as of one eye"
    alone = sorted(person for person, found in eyes.items() if len(found) == 1 and found != {"unknown"})
    if alone:
        yield f"{len(alone):,} of {len(eyes):,} people with one eye only: {some(alone)}"
    if len(alone) < len(eyes) - sum(found == {"unknown"} for found in eyes.values()):
        pairs = f"moments with both eyes, by sample number: {len(both):,}"
        yield pairs if both else f"{pairs}; no fusion of two eyes"
    again: dict[tuple[tuple[str, str], bytes], list[str]] = defaultdict(list)
    for sample in samples:
        again[sample.instance, checked.digests[sample.name]].append(sample.name)
    twice = [" and ".join(names) for names in again.values() if len(names) > 1]
    if twice:
        yield f"the same image of the same eye, which matches in any case ({len(twice):,}): {some(twice)}"
    sizes = Counter(checked.sizes[sample.name] for sample in samples if sample.name in checked.sizes)
    if len(sizes) > 1:
        shown = [f"{width}x{height} ({n:,})" for (width, height), n in sizes.most_common()]
        yield f"images of {len(sizes):,} sizes: {some(shown, most=4)}"


def _bare(name: str) -> str:
    """A name without what people add unawares: case, blanks, leading zeros, the mark of a copied folder."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    plain = re.sub(r"( ?\([0-9]+\)|[ _-]+(copy|kopie|copie|copia)( ?[0-9]+)?)+$", "", plain)
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", re.sub(r"[\s_-]+", " ", plain).strip())
