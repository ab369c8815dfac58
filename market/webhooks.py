"""Webhooks as Standard Webhooks have them (https://www.standardwebhooks.com): signatures, tries, and who wants what."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from market.errors import InvalidParameters
from market.happenings import EVENTS

DELAYS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
"""Seconds between the tries: the first is made at once, the last more than a day after it."""
PREFIX: Final = "whsec_"
MIN_SECRET: Final = 8
MAX_SECRET: Final = 256
ALL: Final = "*"
_FAMILIES: Final = frozenset(event.partition(".")[0] for event in EVENTS)


def sign(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each secret, HMAC-SHA256 over id, time in seconds and body."""
    signed = f"{id}.{timestamp}.".encode() + body
    made = (hmac.new(key_of(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(each).decode()}" for each in made)


def key_of(secret: str) -> bytes:
    """The bytes of a secret: base64 behind the prefix, or else the text itself."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        return secret.encode()


def wants(events: Sequence[str], event: str) -> bool:
    """Whether a webhook for these `events` is told of `event`; () and "*" are all, "job.*" is a family."""
    family = f"{event.partition('.')[0]}.*"
    return not events or any(each in (ALL, family, event) for each in events)


def delay_after(attempts: int) -> int | None:
    """Seconds until the next try after so many that failed; None = there is none."""
    return DELAYS[attempts - 1] if attempts <= len(DELAYS) else None


def checked_events(events: Sequence[str]) -> tuple[str, ...]:
    """The events, each once; InvalidParameters for a name that nothing is told under."""
    for event in events:
        family, dot, word = event.partition(".")
        if event not in (*EVENTS, ALL) and not (dot and word == ALL and family in _FAMILIES):
            raise InvalidParameters(
                f"events must be of {', '.join(EVENTS)}, got {event[:64]!r}",
                field="events", value=event[:64], expected=list(EVENTS),
            )  # fmt: skip
    return tuple(dict.fromkeys(events))
