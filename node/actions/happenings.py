"""What users hear of: written down in the transaction of the event, and followed from there without a gap."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec

from market.happenings import Happening, happenings_of
from market.units import Timestamp
from node.actions.forgetting import forget
from node.engine import Engine
from node.ports import Tx
from node.records import Account, Happened

KEPT: Final = 7 * 86_400_000
"""How long, in ms."""
PAGE: Final = 200
SILENCE: Final = 15.0
_encode = msgspec.json.Encoder().encode
Told = Callable[[Tx, Happened], None]
"""Who else wants to know, in the same transaction: the newest of its account, whose number the storage knows."""


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
            self._told(tx, happened)

    def wake(self, engine: Engine) -> None:
        """Wake who follows the accounts that something was written down for."""
        while self._touched:
            engine.notify(_place(self._touched.popleft()))


class News:
    """The user's view: what happened after a place, and what happens from now on."""

    def __init__(self, engine: Engine, happenings: Happenings) -> None:
        self._engine = engine
        self._storage = engine.storage
        self._read: dict[tuple[str, int], Sequence[Happened]] = {}
        """What was read in this turn of the loop: all who follow an account wake in the same one."""
        engine.listen(lambda _: self._wake(happenings))

    def last(self, account: Account) -> int:
        """The number of the latest happening of the account, 0 without any."""
        found = self._storage.find(Happened, account=account.id, newest=True, limit=1)
        return found[0].seq if found else 0

    async def follow(self, account: Account, after: int) -> AsyncIterator[Happened]:
        """Everything behind `after`, without end."""
        while True:
            found = self._behind(account.id, after)
            for happened in found:
                yield happened
                after = happened.seq
            if len(found) < PAGE:
                await self._engine.changed(_place(account.id), SILENCE)

    def _wake(self, happenings: Happenings) -> None:
        self._read.clear()
        happenings.wake(self._engine)

    def _behind(self, account: str, after: int) -> Sequence[Happened]:
        found = self._read.get((account, after))
        if found is None:
            found = self._storage.find(Happened, account=account, after=(0, str(after)), limit=PAGE)
            if not self._read:
                asyncio.get_running_loop().call_soon(self._read.clear)
            self._read[account, after] = found
        return found

    async def sweep(self) -> None:
        """Forget what is old."""
        await forget(self._storage, Happened, by="seq", created_until=self._engine.clock.now() - KEPT)


def _place(account: str) -> str:
    """What those who follow an account wait for."""
    return f"news:{account}"
