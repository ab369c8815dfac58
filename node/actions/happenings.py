"""What users hear of: written down in the transaction of the event, and followed from there without a gap."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from market.happenings import Happening, happenings_of
from market.units import Timestamp
from node.engine import Engine
from node.ports import Tx
from node.records import Account, Happened

KEPT: Final = 7 * 86_400_000
"""How long, in ms."""
PAGE: Final = 200
SILENCE: Final = 15.0
FORGET_AT_ONCE: Final = 1000
_encode = msgspec.json.Encoder().encode
Told = Callable[[Tx, Happened], None]
"""Who else wants to know, in the same transaction."""


class Happenings:
    """The happenings of all users; `told` is called with each that is new."""

    def __init__(self, told: Told | None = None) -> None:
        self._told = told
        self._touched: deque[str] = deque()
        """Filled by the writer's thread, emptied by the loop."""

    def fold(self, tx: Tx, before: Any, after: Any, now: int) -> None:
        """Write down what the change of a noun means to its user."""
        for happening in happenings_of(before, after):
            self.record(tx, happening, now)

    def record(self, tx: Tx, happening: Happening, now: int) -> None:
        """Write one down."""
        happened = Happened(
            account=happening.account,
            event=happening.event,
            subject=happening.subject,
            body=_encode(happening.data),
            at=Timestamp(now),
        )
        tx.insert(happened)
        self._touched.append(happening.account)
        tx.announce([_place(happening.account)])
        if self._told is not None:
            [counted] = tx.find(Happened, account=happening.account, newest=True, limit=1)
            self._told(tx, counted)

    def wake(self, engine: Engine) -> None:
        """Wake who follows the accounts that something was written down for."""
        while self._touched:
            engine.notify(_place(self._touched.popleft()))


class News:
    """The user's view: what happened after a place, and what happens from now on."""

    def __init__(self, engine: Engine, happenings: Happenings) -> None:
        self._engine = engine
        self._storage = engine.storage
        engine.listen(lambda _: happenings.wake(engine))

    def last(self, account: Account) -> int:
        """The number of the latest happening of the account, 0 without any."""
        found = self._storage.find(Happened, account=account.id, newest=True, limit=1)
        return found[0].seq if found else 0

    async def follow(self, account: Account, after: int) -> AsyncIterator[Happened]:
        """Everything behind `after`, without end."""
        while True:
            found = self._storage.find(Happened, account=account.id, after=(0, str(after)), limit=PAGE)
            for happened in found:
                yield happened
                after = happened.seq
            if len(found) < PAGE:
                await self._engine.changed(_place(account.id), SILENCE)

    async def sweep(self) -> None:
        """Forget what is old, a page at a time."""
        before = self._engine.clock.now() - KEPT
        while old := self._storage.find(Happened, created_until=before, limit=FORGET_AT_ONCE):
            ids = [str(happened.seq) for happened in old]
            await self._storage.write(lambda tx, ids=ids: [tx.delete(Happened, id) for id in ids])  # type: ignore[misc]


def _place(account: str) -> str:
    """What those who follow an account wait for."""
    return f"news:{account}"
