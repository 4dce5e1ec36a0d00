"""Writes a drop of generated pictures whose cause of failure is a condition that the drop declares itself.

    python docs/examples/write_drop.py LANDING

Every kind of event is here. A subject is a pattern; devices with camera firmware 2.1 hand most pictures over wrongly.
"""

import io
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
from PIL import Image

from cv_quality.drops.conditions import DeclaredCondition
from cv_quality.drops.writer import DropWriter
from cv_quality.tasks.verification.modalities.face import FACE

START = datetime(2026, 9, 1, 8, tzinfo=UTC)
CONDITIONS = [
    DeclaredCondition(name="firmware", type="text", label="camera firmware", levels=("2.0", "2.1", "2.2")),
    DeclaredCondition(
        name="light_azimuth_deg", type="real", label="azimuth of the light", unit="°", range=(-180.0, 180.0)
    ),
    DeclaredCondition(name="is_charging", type="flag", label="charging"),
]
SUBJECTS, ATTEMPTS = 30, 8


def main(landing: str) -> None:
    """Write the drop below `landing`, a folder or an S3 address."""
    random = np.random.default_rng(5)
    times = (START + timedelta(seconds=second) for second in range(100_000))
    with DropWriter(
        landing,
        modality=FACE,
        drop_id="2026-09-01_face-1.1_lab",
        build_id="face-1.1",
        site="lab",
        protocol="enrolled",
        captured_from=START,
        captured_until=START + timedelta(days=2),
        conditions=CONDITIONS,
    ) as drop:
        drop.add_event(
            "device", event_id="device-1", occurred_at=next(times), device_id="phone-1", device_model="aurora-1"
        )
        for subject in (f"p{number:02}" for number in range(SUBJECTS)):
            write_subject(drop, subject, times=times, random=random)
        for number in range(3):
            drop.add_event(
                "stream_frame",
                event_id=f"stream-{number}",
                occurred_at=next(times),
                stream_id="preview",
                device_id="phone-1",
                frame_number=number,
                latency_ms=21.0,
                deadline_ms=33.3,
                is_dropped=False,
            )


def write_subject(drop, subject, *, times, random):
    """Write who somebody is, their enrolment, and their attempts."""
    drop.add_event(
        "subject", event_id=f"{subject}-is", occurred_at=next(times), subject_id=subject, has_image_consent=True
    )
    drop.add_frame(f"{subject}.png", picture(subject, random))
    where = {"subject_id": subject, "device_id": "phone-1", "session_id": f"{subject}-day-1"}
    drop.add_event(
        "enrol",
        event_id=f"{subject}-enrols",
        occurred_at=next(times),
        reference_id=subject,
        frame=f"{subject}.png",
        is_enrolled=True,
        **where,
    )
    for number in range(ATTEMPTS):
        name = f"{subject}-{number}"
        firmware = str(random.choice(["2.0", "2.1", "2.2"]))
        is_wrong = firmware == "2.1" and random.random() < 0.7
        drop.add_frame(f"{name}.png", picture(name if is_wrong else subject, random))
        drop.add_event(
            "attempt",
            event_id=name,
            occurred_at=next(times),
            claimed_subject_id=subject,
            transaction_id=name,
            attempt_number=1,
            presentation="bona_fide",
            reference_id=subject,
            frame=f"{name}.png",
            device_stage="matching",
            firmware=firmware,
            light_azimuth_deg=float(random.uniform(-180, 180)),
            is_charging=bool(random.random() < 0.5),
            **where,
        )


def picture(name, random):
    """Draw the pattern of a name, with noise, as PNG."""
    coarse = np.random.default_rng(list(name.encode())).uniform(40, 215, (8, 8)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC), np.float64)
    noisy = (smooth + 5 * random.normal(size=smooth.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main(sys.argv[1])
