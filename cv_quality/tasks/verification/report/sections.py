"""The sections of the page of a build, in its order; navigation, anchors and charts follow from this list."""

from typing import Any

from cv_quality.reports.data_quality import DATA_QUALITY
from cv_quality.reports.section import Section
from cv_quality.tasks.release.section import RELEASE
from cv_quality.tasks.verification.report.charts import dimension_charts, latency_charts, score_charts
from cv_quality.tasks.verification.report.curves import read_score_curves
from cv_quality.tasks.verification.report.data import read_dimensions, read_headlines
from cv_quality.tasks.verification.report.groups import read_groups
from cv_quality.tasks.verification.report.instances import read_instances
from cv_quality.tasks.verification.report.latency import read_latency
from cv_quality.tasks.verification.report.parity import read_parity
from cv_quality.tasks.verification.report.parity_charts import parity_charts
from cv_quality.tasks.verification.report.root_cause_charts import root_cause_charts
from cv_quality.tasks.verification.report.root_causes import read_root_causes
from cv_quality.tasks.verification.report.thumbnails import read_failures

TEMPLATES = "tasks/verification/report/templates"

NUMBERS = Section("numbers", "Numbers", read_headlines, f"{TEMPLATES}/numbers.html")
SCORES = Section("scores", "Scores", read_score_curves, f"{TEMPLATES}/scores.html", score_charts)
CONDITIONS = Section("conditions", "Conditions", read_dimensions, f"{TEMPLATES}/conditions.html", dimension_charts)
GROUPS = Section("groups", "Groups of people", read_groups, f"{TEMPLATES}/groups.html", link="Groups")
ROOT_CAUSES = Section(
    "why",
    "Why it fails",
    read_root_causes,
    "tasks/root_causes/report/templates/root_causes.html",
    root_cause_charts,
    link="Why",
)
FAILURES = Section("failures", "Worst failures", read_failures, f"{TEMPLATES}/failures.html")
PARITY = Section(
    "parity", "Devices against re-inference", read_parity, f"{TEMPLATES}/parity.html", parity_charts, link="Parity"
)
INSTANCES = Section("eyes", "Two eyes", read_instances, f"{TEMPLATES}/instances.html", link="Eyes", is_optional=True)
LATENCY = Section("latency", "Latency", read_latency, f"{TEMPLATES}/latency.html", latency_charts)

SECTIONS: tuple[Section[Any], ...] = (
    ROOT_CAUSES,
    NUMBERS,
    GROUPS,
    RELEASE,
    CONDITIONS,
    SCORES,
    INSTANCES,
    FAILURES,
    PARITY,
    LATENCY,
    DATA_QUALITY,
)
"""Causes, what changed, groups of people, and then the evidence."""
