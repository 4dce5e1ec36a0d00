"""A build and its baseline on one drop, scored and measured once for all tests that only read."""

import numpy as np
import pytest

from cv_quality.tasks.video.build_metrics import VideoSummary, measure_clips
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality_tests.tasks.video.scored_drops import (
    BASELINE,
    BUILD,
    CLIPS,
    N,
    ScoredSite,
    log,
    pictured,
    scored_site,
    square,
)
from cv_quality_tests.tasks.video.video_drops import VIDEO_DROP


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScoredSite, VideoSummary]:
    """Six clips at rising speed: the build lags by a frame, the baseline is right but in the last clip."""
    made = scored_site(tmp_path_factory.mktemp("measured"))
    masks = {clip: {n: square(4 + speed * n, side=16) for n in range(N)} for speed, clip in enumerate(CLIPS)}
    with made.site.drop() as drop:
        drop.label(1, "ball")
        for clip in CLIPS:
            pictured(drop, clip, masks[clip])
            capture = [40.0 * n for n in range(N)]
            log(
                drop,
                clip,
                range(N),
                capture_ms=capture,
                result_ms=[at + (90.0 if n >= 6 else 10.0) for n, at in enumerate(capture)],
                deadline_ms=[40.0] * N,
                thermal_state=["serious" if n >= 6 else "nominal" for n in range(N)],
            )
    for build in (BASELINE, BUILD):
        made.rows.clear()
        for clip in CLIPS:
            for n in range(N):
                lag = 1 if build == BUILD and clip != CLIPS[-1] else 0
                wrong = build == BASELINE and clip == CLIPS[-1]
                made.output(clip, n, np.zeros_like(masks[clip][n]) if wrong else masks[clip][max(n - lag, 0)])
        made.score(build=build)
    summary = measure_clips(
        made.lake,
        build=BUILD,
        models=[BUILD, BASELINE],
        drops=[VIDEO_DROP],
        modality=VIDEO_MODALITY,
        baseline=BASELINE,
    )
    return made, summary
