"""Evaluates computer-vision algorithms on devices: from device logs to metric tables and failure reports.

The rooms follow the data: `drops`, `gates`, `inference`, `metrics`, `error_analysis`, `reports`; `lake` says where data
lies, `pipeline` holds everything Dagster, `cli` the `cvq` command. Importing this package costs nothing.
"""
