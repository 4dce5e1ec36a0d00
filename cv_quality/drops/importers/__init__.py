"""Turns foreign data sets into drops; each importer is one module over `cv_quality.drops.writer`."""
