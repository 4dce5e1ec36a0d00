"""Forgetting a subject: what is held of it is found by decoded values, erased, shown to be gone, and a receipt signed.

Deliveries that hold a forgotten subject again are taken in without it by `cv_quality.drops.ingest`.
"""
