"""Answers that are kept for a day, so that a request with an Idempotency-Key can be repeated and does its work once."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from market.errors import IdempotencyMismatch
from market.units import Timestamp
from node.ports import Reader, Tx
from node.records import Account, Answer

ANSWER_KEPT: Final = 86_400_000
"""How long, in ms."""


class Idempotency(Struct, frozen=True, kw_only=True):
    """The user's Idempotency-Key; `render` makes the answer that is stored in the noun's own transaction."""

    key: str
    route: str
    body_digest: str
    render: Callable[[Any], tuple[int, bytes]]


def known_answer(reader: Reader, account: Account, idempotency: Idempotency | None) -> Answer | None:
    """The stored answer under this key, if any; IdempotencyMismatch when it came with another body."""
    if idempotency is None:
        return None
    known = reader.get(Answer, _id(account, idempotency))
    if known is not None and known.body_digest != idempotency.body_digest:
        raise IdempotencyMismatch("this Idempotency-Key came with another body before", key=idempotency.key)
    return known


def keep_answer(tx: Tx, account: Account, idempotency: Idempotency | None, noun: Any, now: int) -> None:
    """Store the answer about a new noun beside it."""
    if idempotency is None:
        return
    status, body = idempotency.render(noun)
    answer = Answer(
        id=_id(account, idempotency),
        body_digest=idempotency.body_digest,
        status=status,
        body=body,
        created_at=Timestamp(now),
    )
    tx.insert(answer)


def _id(account: Account, idempotency: Idempotency) -> str:
    return f"{account.id}:{idempotency.route}:{idempotency.key}"
