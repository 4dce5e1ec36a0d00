"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import cv_quality

MODULES = [module.name for module in pkgutil.walk_packages(cv_quality.__path__, "cv_quality.")]


@pytest.mark.parametrize("name", MODULES)
def test_every_example_of_a_docstring_gives_what_it_says(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
