"""The page of a video build: what it says, what it says where parts are missing, and that it asks nobody."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cv_quality.inference.video.entry import RecordedVideoEntry
from cv_quality.lake.lake import TableKey
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.scope import Scope
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.root_causes import tables as causes
from cv_quality.tasks.video import tables as video
from cv_quality.tasks.video.report.data import read_numbers
from cv_quality.tasks.video.report.page import write_video_report
from cv_quality.tasks.video.report.pictures import draw_clips
from cv_quality.tasks.video.report.side_by_side import animate
from cv_quality_tests.reports.score_pages import words
from cv_quality_tests.tasks.video.report.video_case import (
    BASELINE,
    BUILD,
    DROPS,
    SECTIONS_OF_MADE,
    VideoCase,
    clip_values,
)

ON = TableKey(build=BUILD)
Written = tuple[ReportSummary, str]


def write(case: VideoCase, source: ReportSource | None = None, *, name: str = "page.html") -> Written:
    summary = write_video_report(source or case.source(), SECTIONS_OF_MADE, case.root / name)
    return summary, summary.path.read_text()


def test_key_finding_says_what_changed_how_much_and_where(written: Written, made: VideoCase) -> None:
    own, before = (clip_values(made.lake, model)["j"] for model in (BUILD, BASELINE))
    changes = [own[clip] - before[clip] for clip in own]
    worse, better = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
    sentence = written[0].verdict
    assert (worse, better) == (7, 1)
    assert written[0].direction == "worse"
    assert f"J regressed against {BASELINE}: −{abs(np.mean(changes)):.3g} on average over 8 clips" in sentence
    assert "7 got worse, 1 better" in sentence
    assert "Frames fail most where objects move more than 0.03 of the diagonal a frame: 76.7 % of them" in sentence


def test_change_that_its_interval_does_not_settle_is_called_so(case: VideoCase) -> None:
    case.edit(
        video.VIDEO_CHANGES,
        ON,
        lambda rows: rows.with_columns(high=pl.lit(0.01), verdict=pl.lit("not settled")).filter(metric="j"),
    )
    case.edit(causes.FAILURE_SLICES, ON, lambda rows: rows.clear())
    summary, _ = write(case)
    assert summary.verdict.startswith(f"Whether J changed against {BASELINE} is not settled: −0.211 on average")
    assert summary.verdict.endswith("No group of frames is confirmed to fail more than the rest.")
    assert summary.direction == "unclear"


def test_every_metric_stands_with_both_builds_and_both_signs(written: Written, made: VideoCase) -> None:
    text = words(written[1])
    for row in made.lake.read(video.VIDEO_METRICS, ON).filter(dimension="all").to_dicts():
        assert f'value="{row["value"]}"' in written[1], row["metric"]
    assert "1 better" in text
    assert "7 worse" in text
    assert "▼ regressed" in text
    tones = re.search(r'data-chart="chart-change-j">(.*?)</script>', written[1], re.DOTALL)
    assert tones
    assert tones[1].count('"tone":"worse"') == 7
    assert tones[1].count('"tone":"better"') == 1


def test_each_method_is_named_once_without_its_design_effects(case: VideoCase) -> None:
    def told(rows: pl.DataFrame) -> pl.DataFrame:
        effect = pl.format("Korn-Graubard by clip, 95 %, design effect 1,00{}", pl.int_range(pl.len()) % 9)
        return rows.with_columns(method=pl.when(pl.col("method").is_not_null()).then(effect))

    case.edit(video.VIDEO_METRICS, ON, told)
    methods = read_numbers(case.source()).methods
    assert [method for method in methods if "Korn" in method] == ["Korn-Graubard by clip, 95 %"]


def test_page_asks_nobody_and_shows_images_only_from_within(written: Written) -> None:
    html = written[1]
    assert "default-src 'none'; img-src data:;" in html
    markup = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    sources = re.findall(r'(?:src|srcset)="([^"]*)"', markup)
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not re.search(r'(?:src|href|srcset)="(?:https?:)?//', markup)


def test_animation_moves_and_is_small(written: Written) -> None:
    found = re.search(r'<img src="(data:image/webp;base64,([^"]*))" width="(\d+)"', written[1])
    assert found
    assert int(found[3]) <= 320
    assert len(found[1]) <= 1_000_000
    with Image.open(io.BytesIO(base64.b64decode(found[2]))) as image:
        assert getattr(image, "n_frames", 1) > 10
        assert image.width == int(found[3])
        first = np.asarray(image.convert("RGB")).copy()
        image.seek(5)
        assert np.abs(first.astype(int) - np.asarray(image.convert("RGB"))).max() > 40


def test_animation_of_noise_is_cut_to_its_limit() -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (12, 240, 320, 3), dtype=np.uint8)
    data, still = animate([Image.fromarray(image) for image in drawn], milliseconds=33)
    assert len(still) < len(data) <= 720_000


def test_same_lake_gives_the_same_bytes_of_video(written: Written, case: VideoCase) -> None:
    assert write(case)[0].sha256 == written[0].sha256


@pytest.mark.parametrize("baseline", [BASELINE, None])
def test_without_a_truth_the_page_is_about_time_alone(case: VideoCase, baseline: str | None) -> None:
    _drop_truth(case)
    _, html = write(case, case.source(baseline))
    text = words(html)
    assert "this page is about time alone" in text
    assert "Not known: it takes ground truth and times of results in the logs" in text
    assert "No quality: the clip has no ground truth; a frame fails where its result is late." in text
    assert "No pictures: no frame has a quality" in text
    assert "Not searched: no frame has both a ground truth and an output." in text
    assert "chart-waits-1" in html
    assert "chart-quality-1" not in html
    assert "Deadline misses" in text


def _drop_truth(case: VideoCase) -> None:
    quality = ("j", "f", "tc", "tc_ceiling", "loss", "loss_kind", "is_miss")
    case.edit_scores(
        lambda rows: rows.with_columns(pl.lit(None).cast(rows.schema[name]).alias(name) for name in quality)
    )
    for table in (video.VIDEO_METRICS, video.VIDEO_CHANGES, video.CLIP_CHANGES):
        case.edit(table, ON, lambda rows: rows.filter(pl.col("metric").is_in(["latency_p95_ms", "deadline_misses"])))
    case.edit(video.DISPLAY_REPLAYS, ON, lambda rows: rows.clear())
    for cause in (causes.FAILURE_SLICES, causes.SLICE_TRENDS, causes.EXAMPLES, causes.CHANGE_ATTRIBUTION):
        case.edit(cause, ON, lambda rows: rows.clear())
    nothing = {"n_attempts": 0, "n_failures": 0, "n_subjects": 0}
    case.edit(
        causes.SLICE_SEARCHES,
        ON,
        lambda rows: rows.with_columns(pl.lit(value).alias(name) for name, value in nothing.items()),
    )


def test_without_logs_the_page_is_about_quality_alone(case: VideoCase) -> None:
    logged = ("latency_ms", "deadline_ms", "is_dropped", "is_late", "temperature_c", "thermal_state", "capture_ms")
    case.edit_scores(
        lambda rows: rows.with_columns(pl.lit(None).cast(rows.schema[name]).alias(name) for name in logged)
    )
    of_time = pl.col("metric").is_in(["latency_p50_ms", "latency_p95_ms", "deadline_misses", "dropped"])
    for table in (video.VIDEO_METRICS, video.VIDEO_CHANGES, video.CLIP_CHANGES):
        case.edit(table, ON, lambda rows: rows.filter(~of_time))
    text = words(write(case)[1])
    assert "this page is about quality alone" in text
    assert "No latency is logged." in text
    assert "Not known: the logs hold neither a temperature nor a thermal state." in text


def test_without_a_baseline_nothing_is_compared(case: VideoCase) -> None:
    for table in (video.VIDEO_CHANGES, video.CLIP_CHANGES):
        case.edit(table, ON, lambda rows: rows.clear())
    case.edit(video.VIDEO_METRICS, ON, lambda rows: rows.filter(model_build_id=BUILD))
    summary, html = write(case, case.source(None))
    assert summary.verdict.startswith("J is 0.615 over 8 clips (95 % interval 0.374 to 0.817); there is no baseline")
    assert "There is no baseline build, so nothing is compared." in words(html)
    sections = html.split('<section id="')
    others = [section for section in sections if not section.startswith("why")]
    assert len(others) == len(SECTIONS_OF_MADE)
    assert not any(BASELINE in section for section in others)


def test_logs_alone_are_said_to_be_without_a_clip(case: VideoCase) -> None:
    for drop in DROPS:
        case.edit(video.CLIP_FILES, TableKey(drop=drop), lambda rows: rows.clear())
    assert "No clip was delivered: these are logs alone." in words(write(case)[1])


def test_recorded_builds_are_compared_by_what_was_filmed(case: VideoCase) -> None:
    entry = RecordedVideoEntry(BUILD, "video", "video", BASELINE, "mask")
    case.edit(video.VIDEO_METRICS, ON, lambda rows: rows.filter(model_build_id=BUILD))
    source = replace(case.source(None), entry=entry, scope=Scope(BUILD, None, DROPS, is_recorded=True))
    summary, html = write(case, source)
    assert "As recorded on the devices: no frame was run through a model." in words(html)
    assert "each on its own clips: they are paired by what was filmed" in words(html)
    assert summary.baseline == BASELINE


def test_infinite_percentiles_are_written_and_not_drawn(case: VideoCase) -> None:
    is_p95 = pl.col("metric") == "latency_p95_ms"
    value = pl.when(is_p95).then(float("inf")).otherwise("value")
    case.edit(video.VIDEO_METRICS, ON, lambda rows: rows.with_columns(value=value))
    assert "∞" in words(write(case)[1])


def test_flow_failures_and_damage_of_clips_are_noted(written: Written) -> None:
    text = words(re.sub(r"(</t[hd]>|<small[^>]*>)", r" \1 ", written[1]))
    assert "On 1 clip even the ground truth reaches less than 0.8 against itself (clip-05 0.62)" in text
    assert "corrupt frame 1 2 1 expected a frame that decodes" in text
    assert "clip-00 2026-09-01_segment-1.2_lab h264 96 × 64 60 30 Hz drift −1.2 % 0 5 3 29 1 freeze, 1 s" in text


def test_root_causes_speak_of_frames_and_clips(written: Written) -> None:
    html = re.sub(r"<pre.*?</pre>", "", written[1], flags=re.DOTALL)
    why = words(html.split('<section id="why">')[1].split("</section>")[0])
    assert "Searched: 480 frames of 8 clips, 144 of them below the requirement." in why
    assert "failures per frame" in written[1]
    assert "subject" not in why.replace("whose subject agreed", "")
    assert "attempt" not in why
    assert "Not enough clips" in why


def test_changed_pictures_stand_with_the_loss_before_and_after(case: VideoCase, written: Written) -> None:
    text = words(re.sub(r"(</t[hd]>|<small[^>]*>)", r" \1 ", written[1]))
    assert "every second frame dropped 24 6 clips 0.75 0.5 −0.25 −0.375 to −0.125 13 0" in text
    case.edit(video.VIDEO_COUNTERFACTUALS, ON, lambda rows: rows.clear())
    assert "With the pictures changed" not in write(case)[1]


@pytest.mark.parametrize(
    "edit",
    [lambda rows: rows, lambda rows: rows.with_columns(loss=pl.lit(None, pl.Float64)), lambda rows: rows.clear()],
    ids=["quality", "latency", "nothing"],
)
def test_picture_of_the_score_stage_is_a_png(case: VideoCase, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    case.edit_scores(edit)
    with Image.open(io.BytesIO(draw_clips(case.lake, build=BUILD, drop=DROPS[0]))) as image:
        assert image.format == "PNG"
        assert image.width > 300
