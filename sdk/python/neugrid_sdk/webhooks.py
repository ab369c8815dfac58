"""Deliveries to your webhooks: proof that your node sent what came, and that it is not an old one sent again.

They are signed as Standard Webhooks have it (https://www.standardwebhooks.com).
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from neugrid_sdk.errors import BadAnswer, BadSignature, InvalidParameters
from neugrid_sdk.views.webhooks import Event

TOLERANCE: Final = 300
"""Seconds that a delivery may be old, or from a clock that is ahead."""
SHORTEST: Final = 8
"""No webhook has a secret of fewer characters; none at all would let everybody sign."""
PREFIX: Final = "whsec_"
_VERSION: Final = "v1,"
_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, *, tolerance: float = TOLERANCE, now: float | None = None
) -> Event:
    """The event in a delivery: its headers, named in any casing, and the bytes of its body just as they came.

    A delivery is refused when it is further than `tolerance` seconds from `now` (seconds since the epoch; None = the
    clock's). One that is sent again keeps the `id` of its event. Raises BadSignature, and BadAnswer for what is signed
    and no event.
    """
    if len(secret) < SHORTEST:
        raise InvalidParameters("the secret must be that of the webhook", details={"field": "secret"})
    id, sent, signatures = _told({name.lower(): value for name, value in headers.items()})
    _check_age(sent, tolerance, time.time() if now is None else now)  # noqa: TID251  (the default of an argument)
    expected = _signature(secret, _bytes(f"{id}.{sent}.") + body)
    if not any(hmac.compare_digest(_bytes(given), expected) for given in signatures.split(" ")):
        raise BadSignature("no signature is of this secret and these bytes", details={"field": _HEADERS[2]})
    return _event(body)


def _told(headers: Mapping[str, str]) -> tuple[str, str, str]:
    missing = [name for name in _HEADERS if not headers.get(name)]
    if missing:
        raise BadSignature(f"{missing[0]} is missing: this is no delivery", details={"field": missing[0]})
    id, sent, signatures = (headers[name] for name in _HEADERS)
    return id, sent, signatures


def _check_age(sent: str, tolerance: float, now: float) -> None:
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 15):
        raise BadSignature("webhook-timestamp must be seconds since the epoch", details={"field": _HEADERS[1]})
    if not abs(now - int(sent)) <= tolerance:
        raise BadSignature(
            f"the delivery is of {sent}, which is further than {tolerance:g} seconds from now",
            details={"field": _HEADERS[1], "value": sent, "expected": tolerance},
        )


def _signature(secret: str, signed: bytes) -> bytes:
    made = hmac.new(_key_of(secret), signed, hashlib.sha256).digest()
    return _bytes(_VERSION) + base64.b64encode(made)


def _key_of(secret: str) -> bytes:
    """The bytes of a secret: base64 behind the prefix, or else the text itself."""
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            pass
    return _bytes(secret)


def _bytes(text: str) -> bytes:
    """What is no text at all, as some servers hand headers on, becomes another text and never fits."""
    return text.encode(errors="replace")


def _event(body: bytes) -> Event:
    try:
        return msgspec.json.decode(body, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"the delivery is signed, and no event of a node: {error}") from error
