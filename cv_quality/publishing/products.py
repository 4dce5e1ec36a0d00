"""The products that a build can be published as, in the order in which they are offered."""

from collections.abc import Sequence
from importlib.util import find_spec

from cv_quality.errors import PublishingError, near
from cv_quality.extras import installing
from cv_quality.publishing.brief import BRIEF
from cv_quality.publishing.deck import DECK
from cv_quality.publishing.evidence import EVIDENCE
from cv_quality.publishing.explorer import EXPLORER
from cv_quality.publishing.marts import MARTS
from cv_quality.publishing.message import MESSAGE
from cv_quality.publishing.page import PAGE
from cv_quality.publishing.product import Product
from cv_quality.publishing.superset.bundle import SUPERSET
from cv_quality.publishing.tableau import TABLEAU
from cv_quality.publishing.tickets import TICKETS

PRODUCTS: tuple[Product, ...] = (
    PAGE,
    BRIEF,
    DECK,
    EXPLORER,
    MESSAGE,
    TICKETS,
    EVIDENCE,
    MARTS,
    SUPERSET,
    TABLEAU,
)
NEEDS = {TABLEAU.name: ("pantab", "tableauhyperapi")}
"""Modules that a product needs beyond those of the package, of the extra of its name: it is left out where they are
missing, unless named."""


def chosen_products(names: Sequence[str]) -> tuple[Product, ...]:
    """Find products by their names, in their order; where none is named, all whose extra is installed.

    Raises:
        PublishingError: there is none of a name.
    """
    known = {product.name: product for product in PRODUCTS}
    for name in names:
        if name not in known:
            raise PublishingError(f"there is no product {name!r}: {near(name, known)}")
    return tuple(item for item in PRODUCTS if (item.name in names if names else is_installed(item)))


def is_installed(product: Product) -> bool:
    """Tell whether all that a product needs is installed."""
    return all(find_spec(module) is not None for module in NEEDS.get(product.name, ()))


def not_installed() -> dict[str, str]:
    """Name the products whose extra is not installed, each with what installs it."""
    return {item.name: f"not installed: {installing(item.name)}" for item in PRODUCTS if not is_installed(item)}
