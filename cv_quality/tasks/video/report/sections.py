"""The sections of the page of a video build, in its order; navigation, anchors and charts follow from this list."""

from typing import Any

from cv_quality.reports.data_quality import DATA_QUALITY
from cv_quality.reports.section import Section
from cv_quality.tasks.release.section import RELEASE
from cv_quality.tasks.video.report.charts import heat_charts, number_charts, screen_charts, timeline_charts
from cv_quality.tasks.video.report.clip_files import read_clip_quality
from cv_quality.tasks.video.report.data import read_devices, read_numbers, read_screen
from cv_quality.tasks.video.report.heat import read_heat
from cv_quality.tasks.video.report.root_causes import frame_cause_charts, read_frame_causes
from cv_quality.tasks.video.report.strips import read_worst_frames
from cv_quality.tasks.video.report.timeline import read_timelines

TEMPLATES = "tasks/video/report/templates"

NUMBERS = Section("numbers", "Numbers", read_numbers, f"{TEMPLATES}/numbers.html", number_charts)
SCREEN = Section("screen", "What the user saw", read_screen, f"{TEMPLATES}/screen.html", screen_charts, link="Screen")
TIMELINE = Section("timeline", "Timeline", read_timelines, f"{TEMPLATES}/timeline.html", timeline_charts)
FRAMES = Section("frames", "Worst frames", read_worst_frames, f"{TEMPLATES}/frames.html")
DEVICES = Section("devices", "Devices", read_devices, f"{TEMPLATES}/devices.html")
HEAT = Section("heat", "Thermal", read_heat, f"{TEMPLATES}/heat.html", heat_charts)
ROOT_CAUSES = Section(
    "why", "Why it fails", read_frame_causes, f"{TEMPLATES}/root_causes.html", frame_cause_charts, link="Why"
)
CLIPS = Section("clips", "Clips", read_clip_quality, f"{TEMPLATES}/clips.html")

SECTIONS: tuple[Section[Any], ...] = (
    ROOT_CAUSES,
    NUMBERS,
    DEVICES,
    RELEASE,
    SCREEN,
    TIMELINE,
    FRAMES,
    HEAT,
    CLIPS,
    DATA_QUALITY,
)
"""Causes, what changed, devices, and then the evidence."""
