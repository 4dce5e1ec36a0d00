"""Drops that hold what devices decided and scored, and no frames; and the registry entries of their builds."""

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from cv_quality.drops.device_scores import DeviceScores
from cv_quality.drops.manifest import Protocol
from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.workspace import Workspace
from cv_quality_tests import deployment

BUILD, LATER, THRESHOLD = "gate-1", "gate-2", 60.0
PERCENT = DeviceScores(low=0, high=100, accepts="at_or_above")
DAY = timedelta(days=1)
START = datetime(2026, 9, 1, tzinfo=UTC)
PEOPLE = [f"p{number:02d}" for number in range(40)]
ATTEMPTS_EACH = 20
DARK_LUX = 10

Fields = dict[str, Scalar]


def drop_name(build: str, day: int = 0) -> str:
    return f"{START + day * DAY:%Y-%m-%d}_{build}_gate"


def open_workspace(home: Path) -> Workspace:
    """A deployment with a registry of its own."""
    (home / "registry").mkdir(parents=True, exist_ok=True)
    return deployment.open_workspace(home, registry=home / "registry")


def register(workspace: Workspace, build: str = BUILD, **changes: object) -> None:
    """Register a build as recorded, with keys changed; None takes one away."""
    fields: dict[str, object] = {"build_id": build, "modality": "face", "follows": "null", "recorded": "true"}
    fields |= {"decision_threshold": THRESHOLD}
    kept = {key: value for key, value in (fields | changes).items() if value is not None}
    lines = "".join(f"{key}: {value}\n" for key, value in kept.items())
    (Path(workspace.settings.registry) / f"{build}.yaml").write_text(lines)


def deliver(
    workspace: Workspace,
    attempts: Sequence[Fields],
    *,
    build: str = BUILD,
    day: int = 0,
    device_scores: DeviceScores | None = PERCENT,
    protocol: Protocol = "enrolled",
) -> str:
    """Deliver attempts, each with the fields that are not those of every one; returns the name of the drop."""
    since, name = START + day * DAY, drop_name(build, day)
    writer = DropWriter(
        workspace.landing,
        modality=FACE,
        drop_id=name,
        build_id=build,
        site="gate",
        protocol=protocol,
        captured_from=since,
        captured_until=since + DAY,
        device_scores=device_scores,
    )
    when = {"occurred_at": since}
    with writer as drop:
        for number in range(4):
            model = "aurora" if number % 2 else "borealis"
            drop.add_event("device", event_id=f"d{number}", device_id=f"dev-{number}", device_model=model, **when)
        for person in PEOPLE:
            drop.add_event("subject", event_id=f"s-{person}", subject_id=person, has_image_consent=False, **when)
        for number, fields in enumerate(attempts):
            person = str(fields.get("subject_id", PEOPLE[0]))
            every: Fields = {
                "event_id": f"a{number}",
                "occurred_at": since + timedelta(seconds=number),
                "subject_id": person,
                "claimed_subject_id": person,
                "device_id": f"dev-{number % 4}",
                "session_id": f"x-{person}",
                "transaction_id": f"t{number}",
                "attempt_number": 1,
                "presentation": "bona_fide",
                "device_stage": "matching",
                "device_latency_ms": 300.0 + number % 50,
            }
            drop.add_event("attempt", **every | fields)
    return name


def mixed_attempts(*, seed: int, failing_in_the_dark: float) -> Iterator[Fields]:
    """Attempts of every kind of 40 people: stages, decisions without scores, scores without decisions, neither."""
    rng = random.Random(seed)
    for place, person in enumerate(PEOPLE):
        for repeat in range(ATTEMPTS_EACH):
            number, is_genuine = place * ATTEMPTS_EACH + repeat, repeat < 17
            lux = rng.choice([3.0, 5.0, 8.0, 50.0, 200.0, 400.0, 2000.0])
            stage = rng.choices(["matching", "timeout", "quality", "acquisition", "liveness"], [95, 2, 1, 1, 1])[0]
            is_bad = rng.random() < (failing_in_the_dark if lux < DARK_LUX else 0.04)
            middle = 25 if not is_genuine else 50 if is_bad else 80
            score = min(max(rng.gauss(middle, 6), 0.0), 100.0)
            logged: Fields = {"device_score": score, "is_device_accepted": score >= THRESHOLD}
            if stage != "matching":
                logged = {"is_device_accepted": False}
            elif number % 50 == 0:
                del logged["device_score"]
            elif number % 70 == 0:
                del logged["is_device_accepted"]
            elif number % 110 == 0:
                logged = {}
            claimed = person if is_genuine else PEOPLE[(place + repeat) % len(PEOPLE)]
            who = {"subject_id": person, "claimed_subject_id": claimed}
            yield {**who, "device_stage": stage, "illuminance_lux": lux, **logged}


def log_lines(workspace: Workspace, drop: str) -> list[dict[str, Any]]:
    """The events of a drop as its files have them."""
    found = []
    for path in sorted((Path(workspace.settings.landing) / drop).glob("events-*.jsonl.zst")):
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            found += [json.loads(line) for line in stream.read().splitlines()]
    return found
