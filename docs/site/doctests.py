"""Shows the doctests of docstrings as code: they stand in the text, wherever they teach."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"(?m)^>>> (?:.+\n?)+")
"""From a prompt to the next empty line."""


class Doctests(griffe.Extension):
    """Fences every doctest of every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = obj.docstring.value + "\n"
            obj.docstring.value = DOCTEST.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text).rstrip()
