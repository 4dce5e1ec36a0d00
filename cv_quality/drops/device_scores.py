"""Declares on which scale the devices of a drop score: its range, and on which side of a threshold they accept.

Without a declaration device scores lie in the range of the modality's comparator, and mean what its scores mean.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from cv_quality.drops.conditions import AnyModality
from cv_quality.errors import DropError, SchemaError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class DeviceScores(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The scale of the scores that devices logged.

    Attributes:
        low, high: the closed range of scores; None is unbounded.
        accepts: on which side of a threshold devices accept, the threshold included.
    """

    accepts: Literal["at_or_above", "at_or_below"]
    low: float | None = None
    high: float | None = None


def check_device_scores(scores: DeviceScores | None, *, where: str) -> None:
    """Check that a declared range is one.

    Raises:
        DropError: a bound is not finite, or the first one is not the lower one.
    """
    if scores is None:
        return
    low, high = (-math.inf if scores.low is None else scores.low, math.inf if scores.high is None else scores.high)
    is_finite = all(bound is None or math.isfinite(bound) for bound in (scores.low, scores.high))
    if not is_finite or not low < high:
        raise DropError(
            f"{where}: device_scores: expected finite bounds, low below high, found {low:g} and {high:g}; "
            "leave out a bound that there is not"
        )


def encode_device_scores(scores: DeviceScores | None) -> str | None:
    """Write a declaration as JSON; None for none."""
    return None if scores is None else msgspec.json.encode(scores).decode()


def decode_device_scores(text: object) -> DeviceScores | None:
    """Read a declaration that `encode_device_scores` wrote."""
    return msgspec.json.decode(str(text), type=DeviceScores) if text else None


def with_device_scores(modality: AnyModality, scores: DeviceScores | None) -> AnyModality:
    """Give a modality the scale on which its devices score.

    Raises:
        SchemaError: the modality has no scores.
    """
    if scores is None:
        return modality
    if "device_score" not in modality.bounds:
        raise SchemaError(f"modality {modality.name} has no scores; leave device_scores out")
    dataclass = cast("DataclassInstance", modality)
    return cast("AnyModality", replace(cast("Any", dataclass), device_scores=scores))


def one_scale(declared: Mapping[str, DeviceScores | None]) -> DeviceScores | None:
    """The scale that all drops of a build declare alike.

    Args:
        declared: by drop.

    Raises:
        DropError: two of them declare otherwise; both declarations are in its words.
    """
    drops = iter(declared.items())
    first, scores = next(drops, ("", None))
    for drop, other in drops:
        if other != scores:
            raise DropError(
                f"drop {drop} declares device_scores {_shown(other)}, drop {first} of the same build declared "
                f"{_shown(scores)}; give all drops of the build one declaration, and deliver those to be corrected "
                "together"
            )
    return scores


def _shown(scores: DeviceScores | None) -> str:
    return encode_device_scores(scores) or "none, which is the modality's own scale"
