"""A small deployment that holds one subject in every way: logs, pictures, tables, documents, databases, records."""

import base64
import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, PngImagePlugin

from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.lake.store import Store
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace, take_in
from cv_quality_tests.drops.small_drops import DEVICE

SUBJECT, OTHER, LIKE = "person-0007", "person-0008", "person-0007-2"
"""The last one's id holds the first one's: it is somebody else."""
DROP, UNTOUCHED = "2026-09-01_face-1.2_site-a", "2026-09-02_face-1.2_site-b"
START = datetime(2026, 9, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def deliver_people(landing: Store | Path, drop: str, *people: str) -> None:
    """A drop in which everybody enrols and tries twice, and the first claims to be the last."""
    with DropWriter(
        landing,
        modality=FACE,
        drop_id=drop,
        build_id="face-1.2",
        site="site-a",
        protocol="enrolled",
        captured_from=START,
        captured_until=START + timedelta(hours=1),
    ) as writer:
        when = START + timedelta(minutes=30)
        writer.add_event("device", **(DEVICE | {"occurred_at": when}))
        for number, (subject, claimed) in enumerate([*((p, p) for p in people), (people[0], people[-1])]):
            own: dict[str, Scalar] = {"occurred_at": when, "device_id": "dev-1", "session_id": f"visit-{number:04d}"}
            if subject == claimed:
                writer.add_event(
                    "subject", event_id=f"s{number}", occurred_at=when, subject_id=subject, has_image_consent=True
                )
                writer.add_frame(f"enrol/{number}.png", picture(subject, 0))
                writer.add_event(
                    "enrol",
                    event_id=f"enrolled-{number}",
                    subject_id=subject,
                    reference_id=f"ref-{subject}",
                    frame=f"enrol/{number}.png",
                    is_enrolled=True,
                    **own,
                )
            for attempt in (1, 2):
                frame = f"tried/{number}-{attempt}.png"
                writer.add_frame(frame, picture(f"{subject}{claimed}", attempt))
                writer.add_event(
                    "attempt",
                    event_id=f"tried-{number:04d}-{attempt}",
                    subject_id=subject,
                    claimed_subject_id=claimed,
                    transaction_id=f"visit-{number:04d}-1",
                    attempt_number=attempt,
                    presentation="bona_fide",
                    reference_id=f"ref-{claimed}",
                    frame=frame,
                    device_stage="matching",
                    device_score=0.5,
                    **own,
                )


def picture(subject: str, number: int) -> bytes:
    """A picture that is nobody else's."""
    rng = np.random.default_rng([number, *subject.encode()])
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def make_home(home: Path) -> Workspace:
    """A deployment that took two drops in, and that holds the subject of one in many more ways."""
    workspace = open_workspace(home)
    deliver_people(workspace.landing, DROP, OTHER, SUBJECT)
    deliver_people(workspace.landing, UNTOUCHED, OTHER, LIKE)
    for drop in (DROP, UNTOUCHED):
        take_in(workspace, drop)
    for name, data in documents(SUBJECT):
        path = home / "published" / "other-build" / "2026-09-01-abc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    records = home / "dagster" / "history"
    records.mkdir(parents=True)
    with closing(sqlite3.connect(records / "runs.db")) as database:
        database.execute("CREATE TABLE run_tags (id INTEGER PRIMARY KEY, key TEXT, value TEXT)")
        database.execute("INSERT INTO run_tags (key, value) VALUES ('note', ?)", [f'{{"who": "{SUBJECT}"}}'])
        database.execute("INSERT INTO run_tags (key, value) VALUES ('note', ?)", [OTHER])
        database.commit()
    return workspace


def documents(word: str) -> Iterator[tuple[str, bytes]]:
    """The word in files of many formats."""
    table = io.BytesIO()
    pl.DataFrame({"a": [[{"b": word}], [{"b": "x"}]]}).write_parquet(table)
    yield "nested.parquet", table.getvalue()
    yield "page.html", f"<script>{base64.b64encode(table.getvalue()).decode()}</script>".encode()
    yield "escaped.json", json.dumps({"who": word}).replace("-", "\\u002d").encode()
    yield "log.gz", gzip.compress(f"{word} came".encode())
    yield "deck.pptx", zipped({"ppt/slide.xml": word.encode(), "inner.zip": zipped({"x": b"nothing"})})
    yield "extract.tdsx", zipped({"Data/inner.zip": zipped({"rows.parquet": table.getvalue()})})
    arrays = io.BytesIO()
    np.savez_compressed(arrays, who=np.array([word, "x"]))
    yield "arrays.npz", arrays.getvalue()
    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", f"of {word}", zip=True)
    image = io.BytesIO()
    Image.new("L", (4, 4)).save(image, "PNG", pnginfo=said)
    yield "picture.png", image.getvalue()
    yield "brief.pdf", pdf(word)


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def pdf(text: str) -> bytes:
    import typst

    document = typst.compile(f"Of {text} nothing is said.".encode())
    assert isinstance(document, bytes)
    return document
