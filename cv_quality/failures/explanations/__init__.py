"""Why single pairs fail: maps of the pair score that pass their checks, and what one changed condition does to it."""

from cv_quality.failures.explanations.build_explanations import ExplanationSummary, explain_build

__all__ = ["ExplanationSummary", "explain_build"]
