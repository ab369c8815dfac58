"""Whose turn it is to be told: a receiver that is slow, or many events of one user, make nobody else wait."""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from typing import Any, Final

from msgspec import Struct

from node.ports import Reader
from node.records import Delivery, Webhook

AT_ONCE: Final = 32
OF_ACCOUNT: Final = 4
OF_WEBHOOK: Final = 2
OF_THE_SLOW: Final = 16
"""All webhooks together whose last answer was slow or did not come, so that half the places are for the others."""
MAX_SLOW: Final = 10_000
"""Webhooks of which it is remembered that they were slow."""
PAGE: Final = 256
PAGES: Final = 8
"""Pages of the oldest that are read at a time, each without the accounts of those before."""
CHUNK: Final = 4096
"""Webhooks that one question names."""


class Waiting(Struct, frozen=True):
    """A delivery that is due, and whose it is."""

    id: str
    webhook: str
    account: str


class Turns:
    """Which deliveries are under way, and whether one more may begin."""

    def __init__(self) -> None:
        self._under_way: dict[str, Waiting] = {}
        self._webhooks: Counter[str] = Counter()
        self._accounts: Counter[str] = Counter()
        self._slow: set[str] = set()

    def begin(self, waiting: Waiting) -> bool:
        """Take a place for it; False when there is none for it now."""
        if waiting.id in self._under_way or not self._has_room(waiting):
            return False
        self._under_way[waiting.id] = waiting
        self._count(waiting, 1)
        return True

    def end(self, waiting: Waiting) -> None:
        """Give its place back."""
        del self._under_way[waiting.id]
        self._count(waiting, -1)

    def note(self, webhook: str, is_slow: bool) -> None:
        """Remember of a webhook whether its last answer was slow, or did not come."""
        if is_slow and len(self._slow) < MAX_SLOW:
            self._slow.add(webhook)
        else:
            self._slow.discard(webhook)

    def _has_room(self, waiting: Waiting) -> bool:
        if len(self._under_way) >= AT_ONCE or self._accounts[waiting.account] >= OF_ACCOUNT:
            return False
        if waiting.webhook not in self._slow:
            return self._webhooks[waiting.webhook] < OF_WEBHOOK
        slow = sum(each.webhook in self._slow for each in self._under_way.values())
        return not self._webhooks[waiting.webhook] and slow < OF_THE_SLOW

    def _count(self, waiting: Waiting, change: int) -> None:
        for counter, key in ((self._webhooks, waiting.webhook), (self._accounts, waiting.account)):
            counter[key] += change
            if not counter[key]:
                del counter[key]


def due_of(reader: Reader, now: int) -> list[Waiting]:
    """What is due, the oldest first; whoever has more of it than a page holds comes once, and then come the others.

    At the end come the webhooks that have nothing in the line yet, whosoever they are: one that does not answer must
    not hide the others of its own account either.
    """
    where: dict[str, Any] = {"state": "pending", "not_before_until": now, "limit": PAGE}
    page = reader.find(Delivery, **where)
    owners = {webhook.id: webhook.account for webhook in _webhooks(reader, page)}
    due = _waiting(page, owners)
    if len(page) < PAGE:
        return due
    for _ in range(PAGES):
        served = {waiting.account for waiting in due}
        page = _page_of(reader, {id for id, account in owners.items() if account not in served}, where)
        due += _waiting(page, owners)
        if len(page) < PAGE:
            break
    unheard = owners.keys() - {waiting.webhook for waiting in due}
    return due + _waiting(_page_of(reader, unheard, where), owners)


def _page_of(reader: Reader, webhooks: Set[str], where: dict[str, Any]) -> list[Delivery]:
    return [delivery for ids in _chunks(sorted(webhooks)) for delivery in reader.find(Delivery, webhook=ids, **where)]


def _webhooks(reader: Reader, page: Sequence[Delivery]) -> list[Webhook]:
    """Those of the page, and all that there are where the page does not hold everything."""
    if len(page) >= PAGE:
        return reader.find(Webhook)
    found = (reader.get(Webhook, id) for id in {delivery.webhook for delivery in page})
    return [webhook for webhook in found if webhook is not None]


def _waiting(page: Sequence[Delivery], owners: dict[str, str]) -> list[Waiting]:
    """A webhook that is gone is nobody's."""
    return [Waiting(each.id, each.webhook, owners.get(each.webhook, "")) for each in page]


def _chunks(ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(ids), CHUNK):
        yield tuple(ids[start : start + CHUNK])
