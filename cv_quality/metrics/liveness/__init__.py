"""Metrics of liveness (presentation attack detection), in the manner of ISO/IEC 30107-3.

Attack presentations of one artefact are alike and species differ, so rates are by PAI species with bounds by artefact,
and the headline is the worst species. A pooled rate over species, or the ACER, is not to be had here.
"""
