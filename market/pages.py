"""A page of the order book: a few hundred offers of like prices, with one bit per offer for each question.

The questions are "is the free cpu at least 8 cores", "is the region eu" and so on: each has a mask over the page's
slots, so that one AND per constraint finds the candidates of a whole page. Amounts are rounded down to half octaves,
which makes the candidates a superset; the exact amounts are compared afterwards.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from market.gpus import gpu_model
from market.offers import Offer
from market.resources import Resources

Place = tuple[int, int, int, int, int]
"""Four prices and the time of issue: what pages are divided by."""

_COLUMNS: Final = (("cpu", 7, 32), ("memory", 27, 40), ("disk", 30, 40), ("gpus", 1, 16), ("vram", 31, 20))
"""Per amount: bits of the smallest value that has a question, and how many questions there are."""
_TOTAL: Final = sum(count for _, _, count in _COLUMNS)

_NEVER: Final = 2**63
_LOOSE: Final = 16


class Ask(NamedTuple):
    """An offer with all that a search reads from it; the first five fields are its place."""

    cpu_price: int
    memory_price: int
    disk_price: int
    gpu_price: int
    issued_at: int
    cpu: int
    memory: int
    disk: int
    gpus: int
    vram: int
    expires_at: int
    offer: Offer


def ask_of(offer: Offer, with_gpus: bool) -> Ask:
    """The index entry of an offer; without GPUs, their price is left out, so that no page is divided by it."""
    prices, free = offer.prices, offer.free
    return Ask(
        prices.cpu, prices.memory, prices.disk, prices.gpu if with_gpus else 0, offer.issued_at,
        free.cpu, free.memory, free.disk, free.gpus, free.vram, offer.expires_at, offer,
    )  # fmt: skip


def place_of(ask: Ask) -> Place:
    """The first five fields of the ask."""
    return ask[:5]


def _level(value: int, smallest: int, count: int) -> int:
    """The half octave of `value`, counted from 2**(smallest - 1); below 0 when it is smaller than that."""
    bits = value.bit_length()
    if bits < smallest:
        return -1
    return min(count - 1, 2 * (bits - smallest) + ((value << 1 >> bits - 1) & 1))


def questions(need: Resources) -> list[int]:
    """The numbers of the questions that an offer must answer with yes to have room for `need`."""
    asked, start = [], 0
    for name, smallest, count in _COLUMNS:
        level = _level(getattr(need, name), smallest, count)
        if level >= 0 and (need.gpus or name != "vram"):
            asked.append(start + level)
        start += count
    return asked


def names_of(region: str, isolation: str, gpu: str, capabilities: Iterable[str]) -> list[str]:
    """The named questions for those of the three that are not "", and one for each capability."""
    named = (("r:", region), ("i:", isolation), ("g:", gpu_model(gpu)))
    return [prefix + name for prefix, name in named if name] + [f"c:{name}" for name in set(capabilities)]


def _answers(ask: Ask) -> list[int]:
    """The numbers of all questions that the ask answers with yes."""
    found: list[int] = []
    start = 0
    for value, (_, smallest, count) in zip(ask[5:10], _COLUMNS, strict=True):
        found += range(start, start + _level(value, smallest, count) + 1)
        start += count
    return found


class Page:
    """Slots of asks with their masks; `low` and `since` are lower bounds of each price and of the time of issue.

    The bounds are at most 16 removals away from exact.
    """

    __slots__ = ("asks", "live", "loose", "low", "masks", "named", "room", "since", "vacant")

    def __init__(self, room: int) -> None:
        self.asks: list[Ask] = []
        """By slot; what was in a vacant slot stays until the slot is used again, without a bit in any mask."""
        self.vacant: list[int] = []
        self.live = 0
        self.low = [_NEVER] * 4
        self.since = _NEVER
        self.loose = 0
        """How many asks at a lower bound have gone since the bounds were exact."""
        self.masks = [0] * _TOTAL
        self.named: dict[str, int] = {}
        self.room = room
        """How many asks it may hold before a split is tried."""

    def __len__(self) -> int:
        return len(self.asks) - len(self.vacant)

    def add(self, ask: Ask) -> int:
        """Put the ask into a slot and say which."""
        if self.vacant:
            slot = self.vacant.pop()
            self.asks[slot] = ask
        else:
            slot = len(self.asks)
            self.asks.append(ask)
        self._toggle(slot, ask)
        self.low = [price if price < least else least for price, least in zip(place_of(ask), self.low, strict=False)]
        self.since = min(self.since, ask.issued_at)
        return slot

    def discard(self, slot: int) -> None:
        """Empty the slot."""
        ask = self.asks[slot]
        self._toggle(slot, ask)
        self.vacant.append(slot)
        self.loose += any(price == least > 0 for price, least in zip(place_of(ask), self.low, strict=False))
        if self.loose >= _LOOSE:
            self._tighten()

    def held(self) -> list[Ask]:
        """The asks in it."""
        vacant = set(self.vacant)
        return [ask for slot, ask in enumerate(self.asks) if slot not in vacant]

    def candidates(self, asked: list[int], names: list[str]) -> int:
        """The slots, as a mask, whose asks may answer all questions with yes."""
        masks, found = self.masks, self.live
        for number in asked:
            found &= masks[number]
        for name in names:
            found &= self.named.get(name, 0)
        return found

    def _tighten(self) -> None:
        columns: list[tuple[int, ...]] = list(zip(*[place_of(ask) for ask in self.held()], strict=True))
        *self.low, self.since = [min(column) for column in columns] or [_NEVER] * 5
        self.loose = 0

    def _toggle(self, slot: int, ask: Ask) -> None:
        bit, masks, offer = 1 << slot, self.masks, ask.offer
        self.live ^= bit
        for number in _answers(ask):
            masks[number] ^= bit
        for name in names_of(offer.region, offer.isolation, offer.free.gpu_model, offer.capabilities):
            left = self.named.get(name, 0) ^ bit
            if left:
                self.named[name] = left
            else:
                del self.named[name]
