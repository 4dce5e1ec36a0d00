"""Writes a folder of images of people that was understood, `SampleFolder`, as a drop.

Images stay byte for byte what they were, but for those that EXIF turns; unreadable ones stay out of the drop and are
listed beside the folder. Who is on them is told in `cv_quality.drops.importers.sample_folders`.
"""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cv_quality.drops.importers.folders import PICTURE_SUFFIXES, encodable
from cv_quality.drops.importers.layouts import NamedSample
from cv_quality.drops.importers.pictures import upright
from cv_quality.drops.importers.pseudonyms import pseudonyms_of, read_key, write_key
from cv_quality.drops.importers.sample_doubts import captures
from cv_quality.drops.importers.sample_folders import SampleFolder
from cv_quality.drops.importers.sample_tables import Role
from cv_quality.drops.manifest import Protocol
from cv_quality.drops.writer import DropWriter, Scalar, is_safe_member
from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER
from cv_quality.lake.store import Store, atomic_path
from cv_quality.modality import Modality

Render = Callable[[NamedSample, str, str], bytes]
"""Draws a sample, of a subject and under a frame as the drop calls them."""
DEVICE = "import"
UNKNOWN_DATE = datetime(2000, 1, 1, tzinfo=UTC)
"""When images were taken; events follow one another by a millisecond."""


def write_samples(
    folder: SampleFolder,
    *,
    landing: Store,
    modality: Modality,
    build_id: str,
    drop_id: str | None = None,
    protocol: Protocol = "all_pairs",
    enrol_first_n: int = 1,
    site: str = "import",
    has_image_consent: bool = False,
    has_pseudonyms: bool = False,
    render: Render | None = None,
) -> str:
    """Write a folder that was understood as one drop; returns its drop_id.

    With protocol "all_pairs" every image is an enrolment under its own reference and an attempt. With "enrolled" the
    first `enrol_first_n` of a person, or of one eye of theirs, by numbers in names, make the reference and the others
    are attempts at it; roles of the folder make that protocol. The two eyes of one moment are one transaction.

    Args:
        folder: as understood.
        landing, modality: where drops arrive; that of the images.
        build_id: the build that the drop is for.
        drop_id: by default `<date>_<build_id>_<site>`.
        has_image_consent: whether the images may be shown in reports, where no table says.
        has_pseudonyms: whether people get pseudonyms although their names would do; the key is written to `key_file`.
        render: makes the frame, a PNG, of a sample that is no picture; such frames lie in a folder called as the drop,
            so that no other drop has one of that name.

    Raises:
        DropError: a manifest or key file cannot be.
        StoreError: something cannot be written.
    """
    place = re.sub(NOT_IN_IDENTIFIER, "-", site) or "import"
    name = drop_id or f"{UNKNOWN_DATE:%Y-%m-%d}_{build_id}_{place}"
    samples = _samples(folder, drop_id=name, has_pseudonyms=has_pseudonyms, is_rendered=render is not None)
    _write_unusable(folder)
    is_paired = protocol == "all_pairs" and not folder.roles
    writer = DropWriter(
        landing,
        modality=modality,
        drop_id=name,
        build_id=build_id,
        site=place,
        protocol="all_pairs" if is_paired else "enrolled",
        captured_from=UNKNOWN_DATE,
        captured_until=UNKNOWN_DATE + max(timedelta(days=1), timedelta(milliseconds=len(samples))),
        conditions=folder.conditions.declared,
    )
    with writer as drop:
        drop.add_event("device", event_id="device", occurred_at=UNKNOWN_DATE, device_id=DEVICE, device_model=DEVICE)
        for number, sample in enumerate(samples):
            drop.add_frame(sample.frame, _image(folder, sample, render))
            if sample.is_first:
                consents = has_image_consent if folder.consents is None else sample.named.subject in folder.consents
                _add_subject(drop, sample, number=number, has_image_consent=consents)
        for number, sample in enumerate(samples):
            role: Role = "reference" if sample.position < enrol_first_n else "probe"
            role = folder.roles.get(sample.named.name, role)
            _add_sample(drop, sample, number=number, role=None if is_paired else role)
    return name


@dataclass(frozen=True, slots=True)
class _Sample:
    """One image as the drop has it.

    Attributes:
        frame: its name in the drop.
        position: among those of its person, or of one eye of theirs.
        is_first: whether no other image of the person comes before.
        moment: the number of the first image of the moment in which it was taken.
    """

    named: NamedSample
    subject_id: str
    session_id: str
    frame: str
    position: int
    is_first: bool
    moment: int
    conditions: Mapping[str, Scalar]


def _image(folder: SampleFolder, sample: _Sample, render: Render | None) -> bytes:
    if render is not None:
        return render(sample.named, sample.subject_id, sample.frame)
    data = (folder.folder.root / sample.named.name).read_bytes()
    return upright(data) if sample.named.name in folder.turned else data


def _samples(folder: SampleFolder, *, drop_id: str, has_pseudonyms: bool, is_rendered: bool) -> list[_Sample]:
    """The images by person; pseudonyms, where they are wanted, with their key written."""
    people = {named.subject: named.subject for named in folder.samples}
    key = read_key(folder.key_file) if has_pseudonyms or folder.needs_pseudonyms else None
    if key is not None:
        people = dict(pseudonyms_of(sorted(people), key))
    samples: list[_Sample] = []
    ordered = sorted(folder.samples, key=lambda named: people[named.subject])
    moments = {named.name: moment for moment, taken in captures(ordered).items() for named in taken}
    first: dict[tuple[str, str, str], int] = {}
    for named, position, session in _positioned(ordered):
        number, subject_id = len(samples), people[named.subject]
        plain = "/".join(filter(None, (subject_id, named.eye, f"{position:05d}")))
        frame = _frame(folder, named, number=number, place=None if key is None else plain)
        moment = moments.get(named.name)
        samples.append(
            _Sample(
                named,
                subject_id,
                _session_id(subject_id, named.session, session, is_named=key is None),
                f"{drop_id}/{frame}.png" if is_rendered else frame,
                position,
                not samples or samples[-1].subject_id != subject_id,
                number if moment is None else first.setdefault(moment, number),
                {name: cells.get(named.name) for name, cells in folder.conditions.values.items()},
            )
        )
    if key is not None:
        key.pictures[drop_id] = {sample.frame: encodable(sample.named.name) for sample in samples}
        write_key(folder.key_file, key)
    return samples


def _positioned(samples: Sequence[NamedSample]) -> Iterator[tuple[NamedSample, int, int]]:
    """Each image with its position among those of its instance, and the number of its session among its person's."""
    sessions: dict[str, dict[str, int]] = defaultdict(dict)
    positions: Counter[tuple[str, str]] = Counter()
    for named in samples:
        numbers = sessions[named.subject]
        yield named, positions[named.instance], numbers.setdefault(named.session, len(numbers) + 1)
        positions[named.instance] += 1


def _session_id(subject_id: str, session: str, number: int, *, is_named: bool) -> str:
    if not session:
        return subject_id
    name = f"{subject_id}.{session}"
    return name if is_named and re.fullmatch(IDENTIFIER, name) else f"{subject_id}.{number}"


def _frame(folder: SampleFolder, named: NamedSample, *, number: int, place: str | None) -> str:
    """The name of the image in the drop: its path, unless that would tell a name or be unsafe."""
    suffix = Path(named.name).suffix.lower()
    suffix = suffix if suffix in PICTURE_SUFFIXES else ""
    if named.name in folder.turned:
        return f"{place or _plain(named.name, number)}.upright.png"
    return f"{place}{suffix}" if place else _plain(named.name, number)


def _plain(name: str, number: int) -> str:
    return name if is_safe_member(f"{name}.upright.png") else f"image-{number:06d}"


def _add_subject(drop: DropWriter, sample: _Sample, *, number: int, has_image_consent: bool) -> None:
    drop.add_event(
        "subject",
        event_id=f"subject-{number:06d}",
        occurred_at=UNKNOWN_DATE,
        subject_id=sample.subject_id,
        has_image_consent=has_image_consent,
    )


def _add_sample(drop: DropWriter, sample: _Sample, *, number: int, role: Role | None) -> None:
    """Without a role an image is an enrolment and an attempt, under a reference of its own."""
    fields: dict[str, Scalar] = {
        "occurred_at": UNKNOWN_DATE + timedelta(milliseconds=number),
        "subject_id": sample.subject_id,
        "device_id": DEVICE,
        "session_id": sample.session_id,
        "frame": sample.frame,
        **sample.conditions,
    }
    instance = "-".join(filter(None, (sample.subject_id, sample.named.eye)))
    reference = f"reference-{number:06d}" if role is None else f"reference-{instance}"
    if role != "probe":
        drop.add_event("enrol", event_id=f"enrol-{number:06d}", reference_id=reference, is_enrolled=True, **fields)
    if role != "reference":
        drop.add_event(
            "attempt",
            event_id=f"attempt-{number:06d}",
            claimed_subject_id=sample.subject_id,
            transaction_id=f"transaction-{sample.moment:06d}",
            attempt_number=1,
            presentation="bona_fide",
            reference_id=None if role is None else reference,
            device_stage="matching",
            **fields,
        )


def _write_unusable(folder: SampleFolder) -> None:
    if not folder.unusable:
        return
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["path", "reason", "detail"])
    rows.writerows((item.name, item.reason, item.detail) for item in folder.unusable)
    with atomic_path(folder.unusable_file) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")
