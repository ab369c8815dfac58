"""What stays open for somebody, streams and sockets, ends soon after he may no longer: one look for all of it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from market.errors import NeugridError
from node.actions.access import Caller, scopes_of
from node.engine import supervise
from node.ports import Clock, Reader
from node.records import Account, ApiKey, Session

EVERY: Final = 0.5
"""Seconds between two looks: revoking holds within a second, whichever process of the node it went through."""
AT_ONCE: Final = 500


class Watch:
    """Asks the storage three questions a look for all that is open, however many follow, and none while nobody does."""

    def __init__(self, reader: Reader, clock: Clock, every: float = EVERY) -> None:
        self.every = every
        self._reader = reader
        self._clock = clock
        self._open: dict[asyncio.Event, Caller] = {}
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def over(self, caller: Caller) -> Iterator[asyncio.Event]:
        """While something is open for the caller: what is set once he may not do all that he might at its beginning."""
        revoked = asyncio.Event()
        self._open[revoked] = caller
        if self._looking is None:
            self._looking = asyncio.create_task(supervise("revoking", self._run), name="revoking")
        try:
            yield revoked
        finally:
            del self._open[revoked]
            if not self._open and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def look(self) -> None:
        """Set what is to end."""
        now, followed = self._clock.now(), list(self._open.items())
        for start in range(0, len(followed), AT_ONCE):
            page = followed[start : start + AT_ONCE]
            allowed = self._allowed([caller for _, caller in page], now)
            for revoked, caller in page:
                is_over = caller.ends and caller.ends <= now
                if is_over or not caller.scopes <= allowed.get(caller.credential, frozenset()):
                    revoked.set()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            with suppress(NeugridError):  # while the storage is away what is open stays so, and has nothing to tell
                self.look()

    def _allowed(self, callers: Sequence[Caller], now: int) -> dict[str, frozenset[str]]:
        """What each key and each session that is still good allows now."""
        ids = tuple({caller.credential for caller in callers})
        found = self._reader.find(Account, id=tuple({caller.account.id for caller in callers}))
        accounts = {account.id: account for account in found if not account.is_blocked}
        keys = [key for key in self._reader.find(ApiKey, id=ids) if key.account in accounts]
        sessions = [each for each in self._reader.find(Session, id=ids) if each.account in accounts]
        allowed = {key.id: scopes_of(accounts[key.account], key.scopes) for key in keys}
        return allowed | {each.id: scopes_of(accounts[each.account]) for each in sessions if each.expires_at > now}
