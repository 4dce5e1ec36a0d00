"""The products that a build can be published as, in the order in which they are offered."""

from collections.abc import Sequence

from cv_quality.errors import PublishingError, near
from cv_quality.publishing.brief import BRIEF
from cv_quality.publishing.deck import DECK
from cv_quality.publishing.evidence import EVIDENCE
from cv_quality.publishing.message import MESSAGE
from cv_quality.publishing.page import PAGE
from cv_quality.publishing.product import Product
from cv_quality.publishing.tickets import TICKETS

PRODUCTS: tuple[Product, ...] = (PAGE, BRIEF, DECK, MESSAGE, TICKETS, EVIDENCE)


def chosen_products(names: Sequence[str]) -> tuple[Product, ...]:
    """Find products by their names, in their order; all of them where none is named.

    Raises:
        PublishingError: there is none of a name.
    """
    known = {product.name: product for product in PRODUCTS}
    for name in names:
        if name not in known:
            raise PublishingError(f"there is no product {name!r}: {near(name, known)}")
    return tuple(product for product in PRODUCTS if product.name in names or not names)
