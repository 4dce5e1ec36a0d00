"""The same clips give the same values as a drop through the chain and as folders through the command."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from cv_quality.cli import main
from cv_quality.tasks.video.build_metrics import VideoSummary
from cv_quality.tasks.video.tables import CLIP_SCORES, PREDICTIONS
from cv_quality_tests.drops.video_sets import png, put
from cv_quality_tests.tasks.video.scored_drops import BUILD, CLIPS, N, ScoredSite, square

METRICS = ("j", "f", "jf", "miou", "j_recall", "j_decay", "f_recall", "f_decay", "flicker")


def test_folders_score_as_the_drop_does(tmp_path: Path, measured: tuple[ScoredSite, VideoSummary]) -> None:
    made, _ = measured
    for row in made.scored(PREDICTIONS, build=BUILD).iter_rows(named=True):
        put(tmp_path / "seen" / row["stream_id"] / f"{row['frame_number']:05d}.png", row["picture"])
    for speed, clip in enumerate(CLIPS):
        for number in range(N):
            put(tmp_path / "truth" / clip / f"{number:05d}.png", png(square(4 + speed * number, side=16)))
    command = ["evaluate", "--video", str(tmp_path / "seen"), str(tmp_path / "truth"), "--json"]
    found = json.loads(CliRunner().invoke(main, command).stdout)
    scores = made.scored(CLIP_SCORES, build=BUILD).filter(pl.col("class_name") == "all")
    assert [clip["clip"] for clip in found["clips"]] == CLIPS
    for clip in found["clips"]:
        rows = scores.filter(pl.col("stream_id") == clip["clip"])
        chain = dict(rows.select("metric", "value").iter_rows())
        assert [clip["values"][name] for name in METRICS] == pytest.approx([chain[name] for name in METRICS])
