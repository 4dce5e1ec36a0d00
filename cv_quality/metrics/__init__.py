"""Metrics of biometric verification: error rates and curves, pair counts, intervals, groups, extrapolation.

The names below are the ones to start from; each lives in a module of its own with its neighbours, its formula and its
source. They take NumPy arrays, Polars series, Arrow arrays or lists, and need neither lake nor orchestrator.
"""

from cv_quality.metrics.detection_cost import CostWeights, min_dcf
from cv_quality.metrics.differentials import differentials
from cv_quality.metrics.dyadic import pair_rate, pair_rate_upper
from cv_quality.metrics.equal_error import eer_interval
from cv_quality.metrics.extremes import fit_tail
from cv_quality.metrics.fixed_fmr import fnmr_at_fmr_interval
from cv_quality.metrics.pairs import count_pairs
from cv_quality.metrics.rates import Rate, binomial_rate, clustered_rate
from cv_quality.metrics.separation import separation
from cv_quality.metrics.sorted_scores import SortedScores
from cv_quality.metrics.system import system_rates
from cv_quality.metrics.trials import CrossTrials, ListedTrials
from cv_quality.metrics.verification import FMR_TARGETS, det_curve, eer, fmr_at_fnmr, fnmr_at_fmr, rates_at

__all__ = [
    "FMR_TARGETS",
    "CostWeights",
    "CrossTrials",
    "ListedTrials",
    "Rate",
    "SortedScores",
    "binomial_rate",
    "clustered_rate",
    "count_pairs",
    "det_curve",
    "differentials",
    "eer",
    "eer_interval",
    "fit_tail",
    "fmr_at_fnmr",
    "fnmr_at_fmr",
    "fnmr_at_fmr_interval",
    "min_dcf",
    "pair_rate",
    "pair_rate_upper",
    "rates_at",
    "separation",
    "system_rates",
]
