"""Secrets at rest: AES-GCM under a key that is made of the node's identity key, which lies outside of the database."""

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from market.errors import Unavailable

NONCE: Final = 12


class NodeSeal:
    """The port `Seal`."""

    def __init__(self, node_key: bytes) -> None:
        self._cipher = AESGCM(HKDF(SHA256(), 32, salt=None, info=b"neugrid sealed secrets v1").derive(node_key))

    def close(self, secret: bytes, purpose: str) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        return nonce + self._cipher.encrypt(nonce, secret, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:NONCE], sealed[NONCE:], purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise Unavailable("a stored secret can not be opened with this node's key") from error
