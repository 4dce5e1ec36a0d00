"""Evaluation of clips without drops or builds: predictions in one folder, truth in another, one document.

`pairing` says which clip and frame belong together, `masks`, `tracks` and `images` score them, `evaluate` is the way
through, `results` what comes out of it, and `page` shows it. What folders mean is told in
`cv_quality.drops.importers.video_folders`, what metrics are in `cv_quality.metrics.video`.
"""
