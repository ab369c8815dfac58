"""Orders of ours that rest in the book: how many of whom may, what is known of each, and why no offer serves it.

Everybody's book holds so many orders of one node and no more, so that these places are shared out among its accounts.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from market.bids import Bid
from market.errors import QuotaExceeded
from market.job_events import Reason
from market.jobs import Job, JobState
from market.orders import Constraints, Order
from market.resources import Resources
from node.actions.totals import Totals
from node.ports import Reader

PLACES: Final = 3072
"""Orders of this node that rest at once: fewer than are held of one (`gossiped.MOST_OF_ONE`), for what is withdrawn
is held by others a little longer..."""
MOST_OF_ACCOUNT: Final = 512
"""...and so many of one account."""
EXPLAINED: Final = 10_000
"""How long it is believed, in ms, why no offer serves an order: to find out, every offer is looked at."""
MANY: Final = 256
"""Orders, none like another, of which that is known."""
_Kind = tuple[Resources, Constraints, int]
"""What decides which offers serve an order."""


@dataclass
class Resting:
    """An order of ours that waits in the book: the bids since the last look, and a bell for the next."""

    job: str
    max_rate: int
    remind: int
    """It is posted anew after so many ms."""
    bids: list[Bid] = field(default_factory=list)
    heard: dict[str, int] = field(default_factory=dict)
    """When each provider bid last."""
    bell: asyncio.Event = field(default_factory=asyncio.Event)


class Places:
    """Who has how many of the node's places; the fewer are free, the fewer one account may have.

    So some are always left for whoever has none, as between the ports of a switch that share its memory: A. Choudhury,
    E. Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998).
    """

    def __init__(self, most: int = PLACES, most_of_account: int = MOST_OF_ACCOUNT) -> None:
        self._most = most
        self._most_of_account = most_of_account
        self._taken: Counter[str] = Counter()

    def is_free(self, account: str) -> bool:
        """Whether one more order of the account may rest."""
        return self._taken[account] < min(self._most_of_account, self._most - self._taken.total())

    def take(self, account: str) -> None:
        """One more rests."""
        self._taken[account] += 1

    def leave(self, account: str) -> None:
        """One rests no more."""
        self._taken[account] -= 1
        if not self._taken[account]:
            del self._taken[account]


class Explained:
    """Why no offer serves an order, found out once for all that are alike: those of a service, and of its next pods."""

    def __init__(self, explain: Callable[[Order], tuple[Reason, ...]]) -> None:
        self._explain = explain
        self._known: dict[_Kind, tuple[int, tuple[Reason, ...]]] = {}

    def reasons(self, order: Order, now: int) -> tuple[Reason, ...]:
        """Why each live offer does not serve the order, at most EXPLAINED old."""
        kind = (order.resources, order.constraints, order.max_rate)
        until, reasons = self._known.get(kind, (0, ()))
        if now < until:
            return reasons
        if len(self._known) >= MANY:
            self._known.clear()
        reasons = self._explain(order)
        self._known[kind] = now + EXPLAINED, reasons
        return reasons


def check_resting(counts: Totals, reader: Reader, account: str) -> None:
    """QuotaExceeded while so many orders of the account rest, those of pods counted: all have places in one book.

    They are counted now and then, and before a refusal: in the transaction of every job it would slow all of them.
    """
    count = partial(reader.count, Job, account=account, state=JobState.RESTING)
    if counts.of(account, count) >= MOST_OF_ACCOUNT and count() >= MOST_OF_ACCOUNT:
        raise QuotaExceeded(
            f"{MOST_OF_ACCOUNT} orders of this account wait for a provider; cancel some of them, or try again later",
            limit=MOST_OF_ACCOUNT,
        )


async def wait_for_bids(resting: Resting, window: int, pause: float) -> None:
    """Until the first bid and `window` ms longer, or for `pause` seconds: then it is time to look at the book again."""
    resting.bell.clear()
    if not resting.bids:
        try:
            async with asyncio.timeout(pause):
                await resting.bell.wait()
        except TimeoutError:
            return
    await asyncio.sleep(window / 1000)
