"""What users have promised to pay at most, held against the node's money before anything is ordered."""

from collections.abc import Callable

from market.errors import InsufficientFunds
from market.jobs import LIVE, Job
from market.services import LIVING, Service, promised
from market.units import Amount
from node.ports import Reader, Tx


class Budget:
    """The caps of all live jobs and services; `funds` is what wallet and channels hold, None while that is unknown.

    The caps are summed as orders come and counted anew only before a refusal; the writer's thread alone comes here.
    """

    def __init__(self, funds: Callable[[], Amount | None]) -> None:
        self._funds = funds
        self._promised: int | None = None

    def claim(self, tx: Tx, amount: int) -> None:
        """Count what this transaction has just promised; InsufficientFunds (402) when the money does not cover all."""
        self._promised = _all_caps(tx) if self._promised is None else self._promised + amount
        funds = self._funds()
        if funds is None or self._promised <= funds or amount <= 0:
            return
        self._promised = _all_caps(tx)
        if self._promised > funds:
            needed, self._promised = self._promised, None
            raise InsufficientFunds("the wallet does not cover the price cap", needed=needed, available=funds)


def _all_caps(reader: Reader) -> int:
    """Jobs that are pods are counted by their services: also those that wait for their next job."""
    services = sum(promised(service) for service in reader.find(Service, state=LIVING))
    return services + sum(job.cap for job in reader.find(Job, state=LIVE, service=""))
