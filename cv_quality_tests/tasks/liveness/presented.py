"""Small drops of presentations, and a deployment that takes them in."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.settings import Settings
from cv_quality.tasks import open_workspace
from cv_quality.tasks.liveness.modality import LIVENESS_MODALITY
from cv_quality.workspace import Workspace
from cv_quality_tests.drops.small_drops import DEVICE, START, SUBJECT, UNTIL, WHEN

BUILD, DROP = "pad-1", "2026-09-01_pad-1_lab"
Event = dict[str, Scalar]
PRESENTATION: Event = {
    "occurred_at": WHEN,
    "subject_id": "p1",
    "device_id": "dev-1",
    "session_id": "x1",
    "presented": "bona_fide",
    "response": "ok",
}


def presentations(*, subjects: int = 12, artefacts: int = 12, each: int = 4) -> Iterator[Event]:
    """Bona fide presentations of which one in eight is rejected, prints that fail, and masks that pass in the dark.

    A mask is answered for in three of four presentations, and what passes liveness passes the matcher every other time.
    """
    for number in range(subjects * each):
        who = f"p{number % subjects}"
        is_live = number % 8 != 0
        yield {"event_id": f"b{number}", "subject_id": who, "is_device_live": is_live, "is_device_match": is_live}
    for species in ("print", "mask"):
        for number in range(artefacts * each):
            is_dark, is_silent = number % 2 == 0, species == "mask" and number % 4 == 3
            is_live = species == "mask" and is_dark
            yield {
                "event_id": f"{species}{number}",
                "subject_id": "attacker",
                "target_subject_id": f"p{number % subjects}",
                "presented": "attack",
                "pai_species": species,
                "artefact_id": f"{species}-{number % artefacts}",
                "response": "non_response" if is_silent else "ok",
                "is_device_live": None if is_silent else is_live,
                "is_device_match": is_live and number % 4 == 0,
                "illuminance_lux": 5.0 if is_dark else 300.0,
                "scene": "booth",
            }


def open_lab(root: Path, *, entry: str = "") -> Workspace:
    """A deployment with one build of liveness, as recorded."""
    registry = root / "registry"
    registry.mkdir(parents=True)
    text = f"build_id: {BUILD}\ntask: liveness\nmodality: liveness\nfollows: null\nrecorded: true\n{entry}"
    (registry / f"{BUILD}.yaml").write_text(text)
    environment = {"CVQ_HOME": str(root / "home"), "CVQ_REGISTRY": str(registry), "CVQ_THREADS": "1"}
    return open_workspace(Settings.from_environment(environment))


def deliver(
    workspace: Workspace, events: Sequence[Event], *, drop: str = DROP, frames: Mapping[str, bytes] | None = None
) -> None:
    """A drop of these presentations, with the people and the device that they name, and images by name."""
    writer = DropWriter(
        workspace.landing,
        modality=LIVENESS_MODALITY,
        drop_id=drop,
        build_id=BUILD,
        site="lab",
        protocol="presentations",
        captured_from=START,
        captured_until=UNTIL,
    )
    named = {event.get(name) for event in events for name in ("subject_id", "target_subject_id")} | {"p1"}
    people = sorted(str(name) for name in named if name)
    with writer as written:
        written.add_event("device", **DEVICE)
        for number, name in enumerate(people):
            written.add_event("subject", **SUBJECT | {"event_id": f"s{number}", "subject_id": name})
        for name, image in (frames or {}).items():
            written.add_frame(name, image)
        for event in events:
            written.add_event("presentation", **PRESENTATION | event)
