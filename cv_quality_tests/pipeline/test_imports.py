"""Importing costs nothing: heavy libraries are loaded by the functions that need them."""

import subprocess
import sys

HEAVY = ("torch", "numba", "great_expectations", "altair", "onnxruntime", "sklearn", "dbt")
EVERY_MODULE = (
    "import importlib, pkgutil, sys, cv_quality\n"
    "for module in pkgutil.walk_packages(cv_quality.__path__, 'cv_quality.'):\n"
    "    importlib.import_module(module.name)\n"
)


def heavy_after(code: str, *, also: tuple[str, ...] = ()) -> list[str]:
    """Which of the heavy libraries a fresh interpreter has loaded after running `code`."""
    question = f"\nimport sys; print(*[name for name in {HEAVY + also!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + question], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_loading_the_definitions_loads_no_heavy_library() -> None:
    code = "import dagster as dg\nfrom cv_quality.definitions import defs\nassert isinstance(defs(), dg.Definitions)"
    assert heavy_after(code) == []


def test_importing_every_module_loads_no_heavy_library() -> None:
    assert heavy_after(EVERY_MODULE) == []


def test_the_chain_without_an_orchestrator_does_not_load_one() -> None:
    assert heavy_after("import cv_quality.runner, cv_quality.cli", also=("dagster", "polars", "duckdb")) == []
