"""What users have promised to pay at most, held against the node's money before anything is ordered."""

from collections.abc import Callable
from typing import Final

from market.errors import InsufficientFunds
from market.jobs import LIVE, Job
from market.services import LIVING, Service, promised
from market.units import Amount
from node.ports import Reader, Tx
from node.records import Mark

FUNDS: Final = "funds"
PROMISED: Final = "promised"
"""The marks of what the node has and of the sum of the caps: every process that takes orders reads them."""


def stored_funds(reader: Reader) -> Amount | None:
    """What wallet and channels hold, as the node saw it last; None while that is unknown."""
    mark = reader.get(Mark, FUNDS)
    return Amount(int(mark.value)) if mark and mark.value else None


class Budget:
    """The caps of all live jobs and services, held against `funds`.

    The caps are summed as orders come and counted anew only before a refusal.
    """

    def __init__(self, funds: Callable[[Reader], Amount | None] = stored_funds) -> None:
        self._funds = funds

    def claim(self, tx: Tx, amount: int) -> None:
        """Count what this transaction has just promised; InsufficientFunds (402) when the money does not cover all."""
        known, funds = tx.get(Mark, PROMISED), self._funds(tx)
        needed = _all_caps(tx) if known is None else int(known.value) + amount
        if funds is not None and needed > funds and amount > 0:
            needed = _all_caps(tx)
            if needed > funds:
                raise InsufficientFunds("the wallet does not cover the price cap", needed=needed, available=funds)
        tx.put(Mark(id=PROMISED, value=str(needed)))


def _all_caps(reader: Reader) -> int:
    """Jobs that are pods are counted by their services: also those that wait for their next job."""
    services = sum(promised(service) for service in reader.find(Service, state=LIVING))
    return services + sum(job.cap for job in reader.find(Job, state=LIVE, service=""))
