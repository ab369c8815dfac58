"""What users have promised to pay at most, held against the node's money before anything is ordered."""

from typing import Final

from market.errors import InsufficientFunds
from market.jobs import LIVE, Job
from market.services import LIVING, Service, promised
from node.ports import Reader, Tx
from node.records import Mark

FUNDS: Final = "funds"
PROMISED: Final = "promised"
"""The marks of what the node has, "" while that is unknown, and of the sum of the caps, for every process."""


class Budget:
    """The caps of all live jobs and services, held against what wallet and channels hold as the node saw it last.

    The caps are summed as orders come and counted anew only before a refusal. The marks are read once for all orders of
    one transaction; the writer's thread alone comes here.
    """

    def __init__(self) -> None:
        self._turn = -1
        self._marks: dict[str, str] = {}

    def claim(self, tx: Tx, amount: int) -> None:
        """Count what this transaction has just promised; InsufficientFunds (402) when the money does not cover all."""
        if self._turn != tx.turn:
            self._turn, self._marks = tx.turn, {mark.id: mark.value for mark in tx.find(Mark, id=(FUNDS, PROMISED))}
        funds = int(self._marks[FUNDS]) if self._marks.get(FUNDS) else None
        needed = int(self._marks[PROMISED]) + amount if PROMISED in self._marks else _all_caps(tx)
        if funds is not None and needed > funds and amount > 0:
            needed = _all_caps(tx)
            if needed > funds:
                raise InsufficientFunds("the wallet does not cover the price cap", needed=needed, available=funds)
        self._marks[PROMISED] = str(needed)
        tx.put(Mark(id=PROMISED, value=str(needed)))


def _all_caps(reader: Reader) -> int:
    """Jobs that are pods are counted by their services: also those that wait for their next job."""
    services = sum(promised(service) for service in reader.find(Service, state=LIVING))
    return services + sum(job.cap for job in reader.find(Job, state=LIVE, service=""))
