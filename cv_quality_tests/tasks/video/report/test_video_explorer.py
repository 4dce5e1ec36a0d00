"""The explorer of a video build in a browser: frames with the rate over clips, pictures of those who agreed alone."""

from pathlib import Path

import polars as pl

from cv_quality.metrics.rates import clustered_rate
from cv_quality.metrics.results import percent
from cv_quality.publishing.explorer import draw_explorer
from cv_quality.publishing.wording import interval_of
from cv_quality.reports.section import read_sections
from cv_quality.tasks.video.report.briefing import brief_video
from cv_quality.tasks.video.report.trials import read_trials
from cv_quality_tests.reports.browsing import accessibility_faults, chromium, offline_page
from cv_quality_tests.tasks.video.report.video_case import SECTIONS_OF_MADE, VideoCase, open_made

SHOWN = "() => [...document.querySelectorAll('#cards img')].map((image) => image.alt)"


def test_frames_are_explored_with_the_rate_over_clips(made: VideoCase, tmp_path: Path) -> None:
    source = made.source()
    trials = read_trials(source, open_pictures=open_made)
    rows = trials.kinds[0].population.rows
    by_clip = rows.group_by("stream_id").agg(pl.col("is_miss").sum(), pl.len())
    rate = clustered_rate(by_clip["is_miss"].to_numpy(), by_clip["len"].to_numpy(), unit="clip")
    refusing = set(rows.filter(~pl.col("may_show"))["stream_id"])
    assert refusing
    path = tmp_path / "explorer.html"
    path.write_bytes(draw_explorer(brief_video(read_sections(SECTIONS_OF_MADE, source), source), trials))
    with chromium() as browser, offline_page(browser) as (page, complaints):
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        assert page.inner_text("#rate") == percent(rate.value)
        assert (
            page.inner_text("#interval").removesuffix(", too few to be ranked") == f"95 % interval {interval_of(rate)}"
        )
        assert page.inner_text("#counts").endswith(f"{rows.height} frames, {by_clip.height} clips")
        shown = page.evaluate(SHOWN)
        assert shown
        assert not [name for name in shown if any(clip in name for clip in refusing)]
        assert page.is_hidden(".kinds >> nth=0")
        assert accessibility_faults(page) == []
    assert not complaints
