"""Tells with which extra of the package a library comes that is not installed.

The extras are read from the metadata of the installed package, so that they are declared in `pyproject.toml` alone.
"""

import re
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTION = "cv-quality"
EVERYTHING = "all"
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "pptx": "python-pptx",
    "sklearn": "scikit-learn",
    "dbt": "dbt-core",
}
"""The distribution of a module where the two are not called the same."""

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*; extra == ['\"](?P<extra>[\w-]+)['\"]")


def installing(extra: str) -> str:
    """Write the command that installs an extra.

    >>> installing("reports")
    "pip install 'cv-quality[reports]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def missing_library(module: str) -> str | None:
    """Name the extras with which a module comes, and how to install them.

    Args:
        module: what could not be imported, as `ModuleNotFoundError.name` has it.

    Returns:
        One sentence; None where no extra brings the module, so that its absence is a defect.
    """
    root = module.partition(".")[0]
    distribution = DISTRIBUTIONS.get(root, root.replace("_", "-"))
    extras = [extra for extra in _extras_of(distribution) if extra not in (EVERYTHING, "dev")]
    if not extras:
        return None
    installed = extras[0] if len(extras) == 1 else EVERYTHING
    named = f"the extra {extras[0]}" if len(extras) == 1 else f"any of the extras {', '.join(extras)}"
    return f"needs {distribution}, which comes with {named}: {installing(installed)}"


def _extras_of(distribution: str) -> list[str]:
    try:
        declared = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []
    found = (_REQUIREMENT.match(requirement) for requirement in declared)
    return sorted({match["extra"] for match in found if match and match["name"].lower() == distribution.lower()})
