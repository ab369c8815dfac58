"""The address book: where peers can be dialled, how that went, and when to try again. Kept in the data directory."""

import random
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from node.p2p.addresses import is_dialable

_MOST: Final = 1_000
_MOST_ADDRESSES: Final = 4
_FIRST_RETRY: Final = 1.0
_QUICK_TRIES: Final = 10
_SLOWEST: Final = 30.0
_SLOWEST_HEARSAY: Final = 600.0
_HOPELESS: Final = 20


class Entry(Struct):
    """A peer: `is_kept` ones (configured, or asked for) are redialled for ever; times are in the caller's clock."""

    addresses: list[str] = field(default_factory=list)
    is_kept: bool = False
    was_connected: bool = False
    failures: int = 0
    next_try: float = 0.0


class Book:
    """All peers that we have heard of, ourselves not."""

    def __init__(self, me: str, path: Path) -> None:
        self._me, self._path = me, path
        self._entries: dict[str, Entry] = {}
        self._is_dirty = False

    def learn(self, peer: str, addresses: list[str], *, keep: bool = False, first: bool = False) -> None:
        """Note addresses of a peer; `first` puts them in front of known ones (the peer itself told us)."""
        good = [address for address in addresses if is_dialable(address)][:_MOST_ADDRESSES]
        if peer == self._me or not good or (peer not in self._entries and not self._make_room(keep)):
            return
        entry = self._entries.setdefault(peer, Entry())
        entry.is_kept |= keep
        merged = good + entry.addresses if first or keep else entry.addresses + good
        merged = list(dict.fromkeys(merged))[:_MOST_ADDRESSES]
        if merged != entry.addresses:
            entry.addresses, entry.failures, entry.next_try = merged, 0, 0.0
            self._is_dirty = True

    def addresses(self, peer: str) -> list[str]:
        """Where to dial the peer; empty when unknown."""
        entry = self._entries.get(peer)
        return list(entry.addresses) if entry else []

    def connected(self, peer: str) -> None:
        """The peer is connected now: trust its addresses, and redial at once should it get lost."""
        entry = self._entries.get(peer)
        if entry is not None:
            self._is_dirty |= not entry.was_connected
            entry.was_connected, entry.failures, entry.next_try = True, 0, 0.0

    def failed(self, peer: str, now: float) -> None:
        """A dial failed: every second at first, then ever slower; hearsay that never worked is forgotten."""
        entry = self._entries.get(peer)
        if entry is None:
            return
        entry.failures += 1
        if entry.failures > _HOPELESS and not entry.is_kept:
            del self._entries[peer]
            self._is_dirty = True
            return
        slowest = _SLOWEST if entry.is_kept or entry.was_connected else _SLOWEST_HEARSAY
        quick = 0 if not (entry.is_kept or entry.was_connected) else _QUICK_TRIES
        entry.next_try = now + min(slowest, _FIRST_RETRY * 2 ** max(0, entry.failures - 1 - quick))

    def due(self, connected: set[str], wanted: int, now: float) -> list[str]:
        """Whom to dial now: every kept peer, and enough others (known good ones first) to have `wanted`."""
        free = [(peer, e) for peer, e in self._entries.items() if peer not in connected and e.next_try <= now]
        kept = [peer for peer, entry in free if entry.is_kept]
        others = [(not entry.was_connected, random.random(), peer) for peer, entry in free if not entry.is_kept]  # noqa: S311
        missing = max(0, wanted - len(connected) - len(kept))
        return kept + [peer for _, _, peer in sorted(others)[:missing]]

    def sample(self, count: int, without: str) -> list[tuple[str, list[str]]]:
        """Peers worth telling others about: only those that were connected once."""
        good = [(p, list(e.addresses)) for p, e in self._entries.items() if e.was_connected and p != without]
        return random.sample(good, min(count, len(good)))

    def load(self) -> None:
        """Read what an earlier run knew; a file that cannot be read is no reason not to start."""
        try:
            stored = msgspec.json.decode(self._path.read_bytes(), type=dict[str, list[str]])
        except (OSError, msgspec.DecodeError):
            return
        for peer, addresses in list(stored.items())[:_MOST]:
            self.learn(peer, addresses)
            if peer in self._entries:
                self._entries[peer].was_connected = True

    def save(self) -> None:
        """Write the peers that were connected once, if anything changed; a torn write leaves the old file."""
        if not self._is_dirty:
            return
        good = {peer: entry.addresses for peer, entry in self._entries.items() if entry.was_connected}
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(good))
        fresh.replace(self._path)
        self._is_dirty = False

    def _make_room(self, keep: bool) -> bool:
        if len(self._entries) < _MOST:
            return True
        hearsay = [peer for peer, entry in self._entries.items() if not (entry.is_kept or entry.was_connected)]
        if not hearsay and not keep:
            return False
        del self._entries[random.choice(hearsay or list(self._entries))]  # noqa: S311
        return True
