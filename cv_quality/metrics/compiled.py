"""Compilation of Python loops by Numba on first use: importing this module, or the loops, costs nothing.

The loops live beside the functions that call them: in `cv_quality.metrics.pair_kernels` and
`cv_quality.metrics.bootstrap_kernels`.
"""

from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def compiled(loop: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop to machine code that runs without the interpreter's lock, kept on disk where possible."""
    return cast("Callable[P, R]", _compiled(loop))


@cache
def _compiled(loop: Callable[..., object]) -> Callable[..., object]:
    from numba import njit

    try:
        return cast("Callable[..., object]", njit(nogil=True, cache=True)(loop))
    except RuntimeError:
        # Numba refuses to decorate when neither the package nor the user's cache folder can be written to.
        return cast("Callable[..., object]", njit(nogil=True)(loop))
