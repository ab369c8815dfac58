"""Answers that are kept for a day, so that a request with an Idempotency-Key can be repeated and does its work once."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from msgspec import Struct

from market.errors import Conflict, IdempotencyMismatch
from market.units import Address, Amount, Timestamp
from node.ports import Clock, Reader, Storage, Tx
from node.records import Account, Answer, Payout, Withdrawal

T = TypeVar("T")
ANSWER_KEPT: Final = 86_400_000
"""How long, in ms."""


class Idempotency(Struct, frozen=True, kw_only=True):
    """The user's Idempotency-Key; `render` makes the answer that is stored in the noun's own transaction."""

    key: str
    route: str
    body_digest: str
    render: Callable[[Any], tuple[int, bytes]]


class Answers:
    """A first look, before a repeat is held against what has changed meanwhile; the noun's transaction decides."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._under_way: set[str] = set()

    def find(self, account: Account, route: str, key: str) -> Answer | None:
        """The stored answer under this key, if any, whatever body it came with."""
        return self._storage.get(Answer, _id(account, route, key))

    async def once(
        self, account: Account, idempotency: Idempotency | None, work: Callable[[], Awaitable[T]]
    ) -> tuple[T | None, Answer | None]:
        """What no transaction can hold, done once under a key: what came of it, or the stored answer for a repeat.

        Raises IdempotencyMismatch, Conflict while the first is under way.
        """
        if idempotency is None:
            return await work(), None
        known = known_answer(self._storage, account, idempotency)
        if known is not None:
            return None, known
        id = _id(account, idempotency.route, idempotency.key)
        if id in self._under_way:
            raise Conflict("the first request under this Idempotency-Key is under way", retry_after=1)
        self._under_way.add(id)
        try:
            found = await work()
            await self._storage.write(lambda tx: keep_answer(tx, account, idempotency, found, self._clock.now()))
        finally:
            self._under_way.discard(id)
        return found, None


def known_answer(tx: Reader, account: Account, idempotency: Idempotency | None) -> Answer | None:
    """The stored answer under this key, if any; IdempotencyMismatch when it came with another body."""
    if idempotency is None:
        return None
    known = tx.get(Answer, _id(account, idempotency.route, idempotency.key))
    if known is not None:
        must_match(known, idempotency.key, idempotency.body_digest)
    return known


def must_match(known: Answer, key: str, body_digest: str) -> None:
    """IdempotencyMismatch when the answer under this key is one to another body."""
    if known.body_digest != body_digest:
        raise IdempotencyMismatch("this Idempotency-Key came with another body before", key=key)


def keep_answer(tx: Tx, account: Account, idempotency: Idempotency | None, noun: Any, now: int) -> None:
    """Store the answer about a new noun beside it."""
    if idempotency is None:
        return
    status, body = idempotency.render(noun)
    answer = Answer(
        id=_id(account, idempotency.route, idempotency.key),
        body_digest=idempotency.body_digest,
        status=status,
        body=body,
        created_at=Timestamp(now),
    )
    tx.insert(answer)


def as_asked(to: Address | None, amount: Amount | None) -> str:
    """What a withdrawal asks for, whatever comes of it: "" stands for its own address, and for everything."""
    return f"{to or ''}/{'' if amount is None else amount}"


def require_repeat(known: Payout | Withdrawal, asked: str) -> None:
    """IdempotencyMismatch when what was made under this key was asked for in another way."""
    if known.asked and known.asked != asked:
        raise IdempotencyMismatch("this Idempotency-Key came with another body before", expected=known.asked, got=asked)


def _id(account: Account, route: str, key: str) -> str:
    return f"{account.id}:{route}:{key}"
