"""Versioned things by id, and how two nodes find out what one of them lacks.

The newest version of an id wins. What was removed or replaced is remembered until the last known copy of it expires,
so that a slower neighbour's copy does not bring it back. Ids fall into 64 buckets, each with an XOR of hashes of
(id, version): the buckets whose marks differ between two nodes are listed and compared.
"""

import hashlib
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

BUCKETS: Final = 64
REMEMBERED: Final = 65_536
"""So many ids that are held no more are remembered, the latest ones."""


class Expiring(Protocol):
    """What can be held: it has an id and an end (epoch ms)."""

    @property
    def id(self) -> str: ...

    @property
    def expires_at(self) -> int: ...


T = TypeVar("T", bound=Expiring)


def bucket_of(identifier: str) -> int:
    """The bucket of an id: the same on every node."""
    return hashlib.blake2b(identifier.encode(), digest_size=1).digest()[0] % BUCKETS


def mark_of(identifier: str, version: int) -> int:
    """48 bits (exact in every JSON reader) that stand for this version in the XOR of its bucket."""
    return int.from_bytes(hashlib.blake2b(f"{identifier}|{version}".encode(), digest_size=6).digest(), "big")


class Holdings(Generic[T]):
    """Things by id, each the newest version of its one owner. Mutable, inside the order book."""

    def __init__(self, owner_of: Callable[[T], str], version_of: Callable[[T], int]) -> None:
        self._owner_of = owner_of
        self._version_of = version_of
        self._held: dict[str, T] = {}
        self._known: dict[str, tuple[str, int, int]] = {}
        """Owner, newest version seen, and when the last known copy expires."""
        self._gone: dict[str, None] = {}
        """Known and held no more, in the order in which they went."""
        self._ends: list[tuple[int, str]] = []
        self._marks = [0] * BUCKETS
        self._buckets: list[set[str]] = [set() for _ in range(BUCKETS)]

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[T]:
        return iter(self._held.values())

    def get(self, identifier: str) -> T | None:
        """The thing of that id."""
        return self._held.get(identifier)

    def is_news(self, identifier: str, version: int) -> bool:
        """Whether no version as new as this was seen yet."""
        known = self._known.get(identifier)
        return known is None or version > known[1]

    def put(self, thing: T) -> bool:
        """Hold it in place of an older version; False when it is no news, or the id is another owner's."""
        owner, version = self._owner_of(thing), self._version_of(thing)
        known = self._known.get(thing.id)
        if known is not None and (known[0] != owner or version <= known[1]):
            return False
        self.remove(thing.id)
        self._gone.pop(thing.id, None)
        self._held[thing.id] = thing
        self._known[thing.id] = (owner, version, max(thing.expires_at, known[2] if known else 0))
        self._note_end(thing)
        self._mark(thing)
        return True

    def remove(self, identifier: str) -> T | None:
        """Hold it no more, and take only a newer version from now on; says what was held."""
        thing = self._held.pop(identifier, None)
        if thing is not None:
            self._mark(thing)
            self._remember_gone(identifier)
        return thing

    def expire(self, now: int) -> list[T]:
        """Take out what has expired at `now`, and forget what can not come back any more; says what went."""
        went = []
        while self._ends and self._ends[0][0] <= now:
            identifier = heappop(self._ends)[1]
            held = self._held.get(identifier)
            if held is not None and held.expires_at <= now:
                self.remove(identifier)
                went.append(held)
            if identifier in self._known and self._known[identifier][2] <= now:
                del self._known[identifier]
                self._gone.pop(identifier, None)
        return went

    def digest(self) -> dict[int, int]:
        """The mark of each bucket that holds something."""
        return {bucket: mark for bucket, mark in enumerate(self._marks) if self._buckets[bucket]}

    def versions(self, bucket: int) -> list[tuple[str, int]]:
        """The (id, version) pairs of a bucket, sorted."""
        return sorted((identifier, self._version_of(self._held[identifier])) for identifier in self._buckets[bucket])

    def _remember_gone(self, identifier: str) -> None:
        self._gone[identifier] = None
        if len(self._gone) > REMEMBERED:
            oldest = next(iter(self._gone))
            del self._gone[oldest], self._known[oldest]

    def _note_end(self, thing: T) -> None:
        """When to look at it; ends of versions that were replaced long before are dropped now and then."""
        heappush(self._ends, (thing.expires_at, thing.id))
        if len(self._ends) > 4 * len(self._known) + 1024:
            known = {(end, identifier) for identifier, (_, _, end) in self._known.items()}
            self._ends = list(known | {(held.expires_at, held.id) for held in self._held.values()})
            heapify(self._ends)

    def _mark(self, thing: T) -> None:
        bucket = bucket_of(thing.id)
        self._marks[bucket] ^= mark_of(thing.id, self._version_of(thing))
        self._buckets[bucket] ^= {thing.id}


def differing(mine: dict[int, int], theirs: dict[int, int]) -> list[int]:
    """The numbers of the buckets that two digests do not agree on."""
    return sorted(bucket for bucket in mine.keys() | theirs.keys() if mine.get(bucket) != theirs.get(bucket))
