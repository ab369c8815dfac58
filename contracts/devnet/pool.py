"""Transactions that wait for a block: nonce order per sender, replacement rules, and who goes first."""

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from msgspec import Struct

from contracts.devnet.errors import Refused


class Waiting(Struct, frozen=True, kw_only=True):
    """A valid transaction in the pool; `most` and `tip` per gas in wei, `body` is the EVM's own object."""

    hash: bytes
    sender: bytes
    nonce: int
    most: int
    tip: int
    body: Any


class Pool:
    """One waiting transaction per sender and nonce; gaps are kept until they close."""

    def __init__(self) -> None:
        self._senders: dict[bytes, dict[int, Waiting]] = {}
        self._hashes: dict[bytes, Waiting] = {}

    def __len__(self) -> int:
        return len(self._hashes)

    def get(self, digest: bytes) -> Waiting | None:
        return self._hashes.get(digest)

    def add(self, new: Waiting) -> None:
        """Refused when it is known, or when it replaces one without paying 10 % more on both counts."""
        if new.hash in self._hashes:
            raise Refused("already known")
        old = self._senders.get(new.sender, {}).get(new.nonce)
        if old and (new.most * 10 < old.most * 11 or new.tip * 10 < old.tip * 11):
            raise Refused("replacement transaction underpriced")
        if old:
            self.remove(old)
        self._senders.setdefault(new.sender, {})[new.nonce] = new
        self._hashes[new.hash] = new

    def remove(self, gone: Waiting) -> None:
        if self._hashes.pop(gone.hash, None):
            del self._senders[gone.sender][gone.nonce]

    def next_nonce(self, sender: bytes, mined: int) -> int:
        """The nonce after the unbroken run of waiting ones; `mined` is the account's own."""
        waiting = self._senders.get(sender, {})
        while mined in waiting:
            mined += 1
        return mined

    def ready(self, nonce_of: Callable[[bytes], int], base_fee: int) -> Iterator[Waiting]:
        """What may go into the next block, best tip first, each sender in nonce order."""
        heap: list[tuple[int, int, Waiting]] = []
        ticket = count()

        def offer(sender: bytes, nonce: int) -> None:
            waiting = self._senders[sender].get(nonce)
            if waiting and waiting.most >= base_fee:
                heapq.heappush(heap, (-min(waiting.tip, waiting.most - base_fee), next(ticket), waiting))

        for sender in list(self._senders):
            offer(sender, nonce_of(sender))
        while heap:
            first = heapq.heappop(heap)[2]
            yield first
            offer(first.sender, first.nonce + 1)

    def forget_stale(self, nonce_of: Callable[[bytes], int]) -> None:
        """Drop what a block has overtaken."""
        for sender, waiting in list(self._senders.items()):
            mined = nonce_of(sender)
            for nonce in [nonce for nonce in waiting if nonce < mined]:
                self.remove(waiting[nonce])
            if not waiting:
                del self._senders[sender]

    def clear(self) -> None:
        self._senders.clear()
        self._hashes.clear()
