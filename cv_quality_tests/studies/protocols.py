"""Protocols for tests: the one that the documentation explains, and variations of it."""

from cv_quality.studies.protocol import StudyProtocol, parse_protocol

FILE = "release.yaml"
RELEASE = """\
study: release-face-1.3
purpose: {kind: non_inferiority, candidate: face-1.3, reference: face-1.2}
population: {unit: subject, strata: [age_band, skin_tone], expected_attrition: 0.10}
design:
  arms: paired
  attempts_per_subject: 10
  conditions: {factor: illuminance, levels: [dark, indoor, outdoor], order: williams}
  assignment: {method: permuted_blocks, block_sizes: [4, 6], stratified_by: [age_band]}
endpoints:
  - {id: fnmr, metric: fnmr_at_fmr, fmr: 1.0e-4, threshold: re_estimated, margin: 0.005, role: primary}
  - {id: fnmr_dark, metric: fnmr_at_fmr, fmr: 1.0e-4, scope: {illuminance: dark}, margin: 0.01, role: primary}
  - {id: latency_p95, metric: latency_ms, quantile: 0.95, margin_ratio: 1.05, role: secondary}
analysis: {alpha: 0.05, sides: one, sets: {primary: intention_to_treat, sensitivity: per_protocol}}
sample_size: {power: 0.90, pilot: [2026-07-06_face-1.0_site-a], assume: {icc: 0.15, fmr_cv: 1.0}}
looks: {rule: lan_demets_obf, at_information: [0.5, 0.75, 1.0]}
top_up: {allowed: true, max_subjects: 1200}
"""


def changed(old: str, new: str) -> str:
    """The protocol with one passage changed."""
    assert RELEASE.count(old) == 1, old
    return RELEASE.replace(old, new)


def parsed(text: str = RELEASE) -> StudyProtocol:
    return parse_protocol(text.encode(), file=FILE)
