"""A simulated attempt comes out of the renderer byte by byte as its drop has it, and otherwise where it is asked to."""

import json
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cv_quality.error_analysis.explanations.counterfactuals import Rerendered
from cv_quality.errors import ScenarioError
from cv_quality.lake.store import open_store
from cv_quality.simulation.rendering import encode_png
from cv_quality.simulation.rerender import rerenderer

DROPS = ("2026-08-03_face-1.1_site-a", "2026-08-31_face-1.2_site-a")
TRUTH = "truth-tiny.json"


def stored_frames(landing: Path, drop: str) -> dict[str, bytes]:
    """The attempts' frames as they lie in the shards, by attempt."""
    found = {}
    for shard in sorted((landing / drop).glob("frames-*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive.getmembers():
                stream = archive.extractfile(member)
                if member.name.startswith("frames/attempt/") and stream is not None:
                    found[f"attempt-{Path(member.name).stem}"] = stream.read()
    return found


def pixels(taken: Rerendered) -> list[NDArray[np.uint8]]:
    """The frames, all of which there must be."""
    frames = [frame for frame in taken.frames if frame is not None]
    assert len(frames) == len(taken.frames)
    return frames


@pytest.mark.parametrize("drop", DROPS)
def test_without_a_change_every_frame_of_a_drop_is_the_same_bytes(tiny_landing: Path, drop: str) -> None:
    rerender = rerenderer(open_store(str(tiny_landing)))
    assert rerender is not None
    stored = stored_frames(tiny_landing, drop)
    assert len(stored) > 20
    again = rerender(drop, list(stored), change={})
    assert [encode_png(frame) for frame in pixels(again)] == list(stored.values())


def test_a_change_is_logged_and_touches_the_named_condition_alone(tiny_landing: Path) -> None:
    rerender = rerenderer(open_store(str(tiny_landing)))
    assert rerender is not None
    attempts = sorted(stored_frames(tiny_landing, DROPS[1]))
    before, brighter = (rerender(DROPS[1], attempts, change=change) for change in ({}, {"illuminance_lux": 200.0}))
    assert set(brighter.conditions["illuminance_lux"]) == {200.0}
    logged = pl.Series(before.conditions["illuminance_lux"], dtype=pl.Float64)
    is_dark = (logged < 10).to_numpy()
    assert 0 < is_dark.sum() < len(is_dark)
    means = [np.array([frame.mean() for frame in pixels(taken)]) for taken in (before, brighter)]
    assert (means[1][is_dark] > means[0][is_dark] + 20).all()
    bare = rerender(DROPS[1], attempts, change={"eyewear": "none"})
    assert bare.conditions["illuminance_lux"] == before.conditions["illuminance_lux"]
    assert any(not np.array_equal(*both) for both in zip(pixels(before), pixels(bare), strict=True))
    assert rerender(DROPS[1], [], change={}).frames == ()


@pytest.mark.parametrize("condition", ["illuminance", "seed"])
def test_a_condition_that_no_capture_has_is_a_typed_error(tiny_landing: Path, condition: str) -> None:
    rerender = rerenderer(open_store(str(tiny_landing)))
    assert rerender is not None
    with pytest.raises(ScenarioError, match=f"no condition '{condition}' to change"):
        rerender(DROPS[0], [], change={condition: 1.0})


def test_attempts_that_were_never_simulated_have_no_frame(tiny_landing: Path) -> None:
    rerender = rerenderer(open_store(str(tiny_landing)))
    assert rerender is not None
    known = min(stored_frames(tiny_landing, DROPS[0]))
    some = rerender(DROPS[0], ["attempt-of-another", known], change={})
    assert some.frames[0] is None
    assert some.conditions["illuminance_lux"][0] is None
    assert some.frames[1] is not None
    assert rerender("2026-01-01_an-imported-drop", [known], change={}).frames == (None,)


@pytest.mark.parametrize(
    "truth",
    [
        None,
        {"scenario": "tiny", "seed": 7, "drops": ["of-another-plan"]},
        {"scenario": "tiny", "seed": None, "drops": list(DROPS)},
        ["no mapping"],
        "no JSON",
    ],
)
def test_drops_that_no_packaged_scenario_planned_cannot_be_rendered_again(tmp_path: Path, truth: object) -> None:
    if truth is not None:
        (tmp_path / TRUTH).write_text("{" if truth == "no JSON" else json.dumps(truth))
    assert rerenderer(open_store(str(tmp_path))) is None


def test_what_was_planted_is_not_read(tiny_landing: Path, tmp_path: Path) -> None:
    truth = json.loads((tiny_landing / TRUTH).read_text())
    del truth["defects"]
    (tmp_path / TRUTH).write_text(json.dumps(truth))
    frames = stored_frames(tiny_landing, DROPS[0])
    rerender = rerenderer(open_store(str(tmp_path)))
    assert rerender is not None
    attempt = min(frames)
    assert encode_png(pixels(rerender(DROPS[0], [attempt], change={}))[0]) == frames[attempt]
