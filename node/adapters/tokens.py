"""Tokens for the API: JWT with one algorithm, one audience and one issuer, at most an hour long (RFC 8725, RFC 9068).

The secret is made of the node's identity key, so that all processes of one node agree and none has to be stored.
"""

import re
import secrets
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwt.types import Options

from market.errors import Unauthorized
from node.ports import Claims

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "neugrid-api"
TYPE: Final = "at+jwt"
LONGEST: Final = 3600
SKEW: Final = 5
"""Seconds that a token may come from the future: several processes of a node have clocks of their own."""
MAX_TOKEN: Final = 2048
MAX_ID: Final = 64
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""Without padding and white space, which readers tend to forgive."""
REQUIRED: Final = ("sub", "sid", "iss", "aud", "exp", "iat", "jti")
_CHECKS: Final[Options] = {
    "require": list(REQUIRED),
    "verify_exp": False,  # by the node's own clock, below
    "verify_iat": False,
    "verify_nbf": False,
    "strict_aud": True,
}


class JwtTokens:
    """The port `Tokens`; `issuer` is the node's address."""

    def __init__(self, node_key: bytes, issuer: str) -> None:
        self._secret = HKDF(SHA256(), 32, salt=None, info=b"neugrid api tokens v1").derive(node_key)
        self._issuer = issuer

    def issue(self, claims: Claims, now: int, seconds: int) -> str:
        at = now // 1000
        body = {
            "sub": claims.account,
            "sid": claims.session,
            "iss": self._issuer,
            "aud": AUDIENCE,
            "iat": at,
            "exp": at + min(seconds, LONGEST),
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(body, self._secret, ALGORITHM, headers={"typ": TYPE})

    def read(self, token: str, now: int) -> Claims:
        try:
            is_formed = len(token) <= MAX_TOKEN and _FORM.fullmatch(token)
            if not is_formed or jwt.get_unverified_header(token).get("typ") != TYPE:
                raise Unauthorized("this is no token of this node")
            found = jwt.decode(
                token, self._secret, [ALGORITHM], options=_CHECKS, audience=AUDIENCE, issuer=self._issuer
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthorized("this is no token of this node") from error
        _require_time(found, now // 1000)
        return Claims(account=_id(found, "sub"), session=_id(found, "sid"), expires_at=found["exp"] * 1000)


def _require_time(found: dict[str, Any], now: int) -> None:
    issued, expires, begins = (found.get(name, 0) for name in ("iat", "exp", "nbf"))
    if not all(type(time) is int for time in (issued, expires, begins)):
        raise Unauthorized("the times of this token are no whole seconds")
    if expires - issued > LONGEST or issued > now + SKEW or begins > now + SKEW:
        raise Unauthorized("the times of this token are not this node's")
    if expires <= now:
        raise Unauthorized("this token has expired")


def _id(found: dict[str, Any], name: str) -> str:
    value = found[name]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        raise Unauthorized("this token names nobody")
    return value
