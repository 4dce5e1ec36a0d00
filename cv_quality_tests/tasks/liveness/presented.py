"""Small drops of presentations, and a deployment that takes them in."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.lake.lake import TableKey
from cv_quality.runner import run_stage
from cv_quality.settings import Settings
from cv_quality.stage import Stage, StageResult
from cv_quality.tasks import open_workspace
from cv_quality.tasks.liveness.modality import LIVENESS_MODALITY
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.workspace import Workspace
from cv_quality_tests.drops.small_drops import DEVICE, START, SUBJECT, UNTIL, WHEN

BUILD, DROP = "pad-1", "2026-09-01_pad-1_lab"
Event = dict[str, Scalar]
AGES = ("18-29", "60+")
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


def simulated(n: int, *, seed: int = 0, artefacts: int = 60, subjects: int = 60) -> Iterator[Event]:
    """Simulate presentations to a system of capture, two detectors and a matcher; the truth is in the probabilities.

    A tenth of bona fide presentations are zero-effort impostors. Masks score higher than prints with the first detector
    and lower with the second one.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    for number in range(n):
        kind = str(rng.choice(["", "", "print", "mask"]))
        who, is_impostor = f"p{number % subjects}", not kind and rng.random() < 0.1
        target = f"p{(number + 1) % subjects}" if is_impostor else who if kind or number % 2 else None
        is_captured = rng.random() < 0.95
        first, second = (float(score) for score in rng.normal(_MEANS[kind]))
        is_live = is_captured and first >= 1.0
        is_match = is_live and rng.random() < (0.01 if is_impostor else 0.98 if not kind else 0.6)
        yield {
            "event_id": f"e{number}",
            "subject_id": "attacker" if kind else who,
            "target_subject_id": target,
            "presented": "attack" if kind else "bona_fide",
            "pai_species": kind or None,
            "pai_series": f"series-{number % 3}" if kind else None,
            "artefact_id": f"{kind}-{number % artefacts}" if kind else None,
            "response": "ok" if is_captured else "non_response",
            "pad_score": first if is_captured else None,
            "second_pad_score": second if is_captured else None,
            "is_device_live": is_live if is_captured else None,
            "is_device_match": is_match,
            "scene": "hall" if number % 5 else "street",
        }


_MEANS = {"": (4.0, 4.0), "print": (-1.0, 1.5), "mask": (0.0, -1.0)}
"""Of both detectors' scores."""


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
            about = {"event_id": f"s{number}", "subject_id": name, "age_band": AGES[number % len(AGES)]}
            written.add_event("subject", **SUBJECT | about)
        for name, image in (frames or {}).items():
            written.add_frame(name, image)
        for event in events:
            written.add_event("presentation", **PRESENTATION | event)


def run_all(workspace: Workspace, stages: Sequence[Stage] = LIVENESS.stages, *, drop: str = DROP) -> list[StageResult]:
    """Run stages of the task for the drop and its build, in order, up to the first that its gate refuses."""
    keys = {"drop": TableKey(drop=drop), "build_drop": TableKey(build=BUILD, drop=drop), "build": TableKey(build=BUILD)}
    results: list[StageResult] = []
    for stage in stages:
        if results and not results[-1].passed:
            break
        results.append(run_stage(workspace, LIVENESS, stage, keys[stage.key]))
    return results
