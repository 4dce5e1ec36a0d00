"""The receipt of a forgetting: what was found and removed, that nothing is left, what is out of reach; signed.

It names the subject by its keyed digest only. Signatures are Ed25519 over the JSON of everything else, keys sorted;
whoever has the public key can check one without this package.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cv_quality.errors import ForgettingError
from cv_quality.lake.store import atomic_path

FORMAT: Final = "cv_quality receipt of forgetting, 1"
OUT_OF_REACH: Final = (
    "backups and snapshots of any of these places",
    "copies that were exported, downloaded, printed or sent, by mail and by webhook",
    "editions published elsewhere than in the store of the settings",
    "the model registry, and what models learnt from the subject's data",
    "a Dagster instance whose records are not in files of the home, such as in PostgreSQL",
    "the devices, and whoever delivers their logs",
    "temporary files of killed processes outside of the home",
)
SIGNATURE: Final = "signature"
PUBLIC_KEY: Final = "public_key"


def signed(document: Mapping[str, object], key_file: Path) -> bytes:
    """Sign a receipt with the key in a file, which is made where there is none.

    Args:
        document: everything that it says.
        key_file: of the private key, 32 bytes.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = Ed25519PrivateKey.from_private_bytes(key_file.read_bytes())
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
        with atomic_path(key_file) as new:
            new.write_bytes(key.private_bytes_raw())
    except (ValueError, OSError) as error:
        raise ForgettingError(f"{key_file}: expected a private key of 32 bytes: {error}; restore it") from error
    whole = {**document, PUBLIC_KEY: key.public_key().public_bytes_raw().hex()}
    return json.dumps({**whole, SIGNATURE: key.sign(_bytes(whole)).hex()}, indent=1, sort_keys=True).encode() + b"\n"


def public_key(key_file: Path) -> str:
    """The public half of the key in a file, hexadecimal.

    Raises:
        ForgettingError: there is none.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        return Ed25519PrivateKey.from_private_bytes(key_file.read_bytes()).public_key().public_bytes_raw().hex()
    except (OSError, ValueError) as error:
        raise ForgettingError(
            f"{key_file}: no key that signs receipts lies there ({error}); name the public key that the receipt is to "
            "be held against"
        ) from error


def verified(data: bytes, public: str) -> dict[str, Any]:
    """Read a receipt and check its signature.

    Args:
        data: the receipt.
        public: key that it must be signed with, hexadecimal.

    Raises:
        ForgettingError: it is no receipt, was changed, or was signed by somebody else.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        document = json.loads(data)
        signature = bytes.fromhex(document.pop(SIGNATURE))
        if document["format"] != FORMAT:
            raise KeyError(document["format"])
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, _bytes(document))
    except InvalidSignature as error:
        raise ForgettingError(
            f"the receipt does not hold: it was changed after it was signed, or another key than {public} signed it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForgettingError(f"expected a receipt of forgetting and a public key of 64 digits: {error}") from error
    return dict(document)


def moment(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"


def _bytes(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
