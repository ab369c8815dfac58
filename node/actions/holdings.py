"""Whose files are whose: an account has so many bytes, and what two accounts have lies on the disk once.

Neither learns of the other: whoever brings bytes brings all of them, and names only what he brought himself.
"""

import asyncio
import builtins
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from market.errors import Conflict, NotFound, QuotaExceeded
from market.units import Timestamp
from market.workloads import File
from node.actions.access import SHOWN
from node.actions.files import Files
from node.actions.needs import needs
from node.actions.tallies import add, tally
from node.ports import Clock, OutputFile, Reader, Storage, Tx
from node.records import Account, Holding

DAY: Final = 86_400_000
AT_ONCE: Final = 500
STEP: Final = 2**20


class Content(Protocol):
    """Bytes by digest, and how many."""

    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...


class Quotas(Struct, frozen=True, kw_only=True):
    """Bytes that an account of each tier may have; `kept` is how long after its last use a file stays, in ms."""

    free: int = 10 * 2**30
    pro: int = 100 * 2**30
    enterprise: int = 2**40
    kept: int = 30 * DAY

    def of(self, account: Account) -> int:
        """What this account may have."""
        return {"pro": self.pro, "enterprise": self.enterprise}.get(account.tier, self.free)


class Holdings:
    """The users' side of the content store; `storage` and folder may be shared with other processes."""

    def __init__(self, storage: Storage, clock: Clock, files: Files, quotas: Quotas) -> None:
        self._storage = storage
        self._clock = clock
        self._files = files
        self._quotas = quotas
        self._coming: Counter[str] = Counter()
        """By account: bytes that are written now, and in no record yet."""
        self._fetched: dict[tuple[str, str], tuple[str, int]] = {}
        """By lease and digest: whose bytes are fetched, and how many, also while the next try is waited for."""

    def has(self, account: str, digest: str) -> bool:
        """Whether the account has the file."""
        return self.find(account, digest) is not None

    def has_in(self, tx: Tx, account: str, digest: str) -> bool:
        """The same in a transaction."""
        return tx.get(Holding, _id(account, digest)) is not None

    def find(self, account: str, digest: str) -> Holding | None:
        """What the account has under this digest; InvalidParameters for what is no digest."""
        self._files.path(digest)
        return self._storage.get(Holding, _id(account, digest))

    def path(self, account: str, digest: str) -> Path | None:
        """The local file, where the account has it."""
        return self._files.path(digest) if self.has(account, digest) and self._files.has(digest) else None

    def must_have_room(self, account: Account) -> None:
        """QuotaExceeded for an account that has all that it may have."""
        self._room(account, 1)

    async def store(self, account: Account, chunks: AsyncIterator[bytes], limit: int) -> OutputFile:
        """Keep an upload of at most `limit` bytes; QuotaExceeded when the account has no room for it."""
        with self._place(account) as take:
            stored = await self._files.store(_counted(chunks, take), limit)
            await self._storage.write(partial(self.record, account=account, files=[stored]))
        return stored

    @contextmanager
    def bringing(self, account: Account, contents: Mapping[str, bytes]) -> Iterator[None]:
        """Room for these contents, by digest, while they are written and recorded; QuotaExceeded without it."""
        with self._place(account) as take:
            take(sum(len(content) for digest, content in contents.items() if not self.has(account.id, digest)))
            yield

    async def put(self, contents: Iterable[bytes]) -> None:
        """Write contents down for whoever `record`s them within the hour."""
        for content in contents:
            await asyncio.to_thread(self._files.put, content)

    async def fetch(self, owner: str, peer: str, lease: str, file: File) -> None:
        """Get an output of a lease for its user, unless he has it; QuotaExceeded when he has no room.

        That somebody else has these bytes gives him nothing: a provider may name any digest.
        """
        account = self._storage.get(Account, owner) or Account(id=owner, name="", created_at=Timestamp(0))
        is_held, place = self.has(owner, file.digest), (lease, file.digest)
        if not is_held and place not in self._fetched:
            self._take(account, file.size)
            self._fetched[place] = (owner, file.size)
        await self._files.fetch(peer, lease, file, is_known=is_held)
        await self._storage.write(partial(self.record, account=account, files=[file]))
        self._give_back(place)

    async def stop_fetching(self, lease: str) -> None:
        """Remove what was fetched for a lease and has not come in whole: nobody goes on with it."""
        left = [place for place in self._fetched if place[0] == lease]
        for place in left:
            self._give_back(place)
        if left:
            await asyncio.to_thread(self._files.drop_parts, lease)

    def record(self, tx: Tx, account: Account, files: Sequence[Content]) -> None:
        """Write down that the account has these files, used now; QuotaExceeded when it may not have so much."""
        added = self.adopt(tx, account.id, files)
        if added and bytes_held(tx, account.id) > self._quotas.of(account):
            raise self._refusal(account)

    def adopt(self, tx: Tx, account: str, files: Sequence[Content]) -> int:
        """The same without a limit; how many bytes the account did not have before."""
        owned = {_id(account, file.digest): file for file in files}
        added = sum(file.size for id, file in owned.items() if tx.get(Holding, id) is None)
        for id, file in owned.items():
            holding = Holding(id=id, account=account, digest=file.digest, size=file.size, used_at=self._clock.now())
            tx.put(holding)
        if added:
            add(tx, _name(account), added)
        return added

    def list(
        self, account: Account, limit: int, after: tuple[int, str] | None = None, offset: int = 0
    ) -> tuple[builtins.list[Holding], int]:
        """A page of the account's files, those used last first, and how many there are in all."""
        found = self._storage.find(Holding, account=account.id, limit=limit, after=after, offset=offset, newest=True)
        return found, self._storage.count(Holding, account=account.id)

    def room_of(self, account: Account) -> tuple[int, int]:
        """How many bytes the account has, and how many it may have."""
        return bytes_held(self._storage, account.id), self._quotas.of(account)

    def kept_until(self, holding: Holding) -> int:
        """When a file goes that is not used again, in epoch ms."""
        return holding.used_at + self._quotas.kept

    async def drop(self, account: Account, digest: str) -> None:
        """Let go of a file; the bytes go once nobody has them.

        Raises NotFound, Conflict while a job, a service or an unsettled lease of the account has it.
        """

        def work(tx: Tx) -> None:
            holding = tx.get(Holding, _id(account.id, digest))
            if holding is None:
                raise NotFound("no such file", id=digest[:SHOWN])
            if needs(tx, account.id, digest):
                raise Conflict("a job or a service that has not ended needs this file", id=digest[:SHOWN])
            _forget(tx, holding)

        await self._storage.write(work)

    async def expire(self, needed: Collection[str]) -> int:
        """Let go of what nobody used for long and nothing needs; how many. The files themselves are `Stores`'."""
        until, after, gone = self._clock.now() - self._quotas.kept, (0, ""), 0
        while page := self._storage.find(Holding, created_until=until, after=after, limit=AT_ONCE):
            old = [holding.id for holding in page if holding.digest not in needed]
            gone += await self._storage.write(partial(_let_go, ids=old, until=until))
            after = (page[-1].used_at, page[-1].id)
        return gone

    async def digests(self) -> set[str]:
        """Of everything that somebody has."""
        found: set[str] = set()
        after = (0, "")
        while page := self._storage.find(Holding, after=after, limit=AT_ONCE):
            found |= {holding.digest for holding in page}
            after = (page[-1].used_at, page[-1].id)
            await asyncio.sleep(0)
        return found

    @contextmanager
    def _place(self, account: Account) -> Iterator[Callable[[int], None]]:
        """Takes room for bytes as they come, until they are in a record or were refused."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            self._take(account, size)
            taken += size

        try:
            yield take
        finally:
            self._leave(account.id, taken)

    def _take(self, account: Account, size: int) -> None:
        if self._coming[account.id] + size > self._room(account):
            raise self._refusal(account)
        self._coming[account.id] += size

    def _give_back(self, place: tuple[str, str]) -> None:
        self._leave(*self._fetched.pop(place, ("", 0)))

    def _leave(self, account: str, size: int) -> None:
        self._coming[account] -= size
        if not self._coming[account]:
            del self._coming[account]

    def _room(self, account: Account, least: int = 0) -> int:
        room = self._quotas.of(account) - tally(self._storage, _name(account.id))
        if room < least:
            raise self._refusal(account)
        return room

    def _refusal(self, account: Account) -> QuotaExceeded:
        limit = self._quotas.of(account)
        return QuotaExceeded(
            f"an account may have {limit} bytes of files; delete some, or wait until they go", limit=limit
        )


def _let_go(tx: Tx, ids: Sequence[str], until: int) -> int:
    gone = 0
    for id in ids:
        holding = tx.get(Holding, id)
        if holding is not None and holding.used_at <= until:  # it may have been used again meanwhile
            _forget(tx, holding)
            gone += 1
    return gone


def _forget(tx: Tx, holding: Holding) -> None:
    tx.delete(Holding, holding.id)
    add(tx, _name(holding.account), -holding.size)


async def _counted(chunks: AsyncIterator[bytes], take: Callable[[int], None]) -> AsyncIterator[bytes]:
    """The chunks; room is taken for them by the STEP, for it is looked up each time."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size >= STEP:
            take(size)
            size = 0
        yield chunk
    take(size)


def bytes_held(reader: Reader, account: str) -> int:
    """How many bytes of files the account has."""
    return tally(reader, _name(account))


def _name(account: str) -> str:
    return f"files:{account}"


def _id(account: str, digest: str) -> str:
    return f"{account}:{digest}"
