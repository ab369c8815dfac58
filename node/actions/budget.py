"""What users have promised to pay at most, held against the node's money before anything is ordered."""

from typing import Final

from market.errors import InsufficientFunds
from market.jobs import LIVE, Job
from market.services import LIVING, Service
from market.services import promised as promised_by
from node.ports import Reader, Tx
from node.records import Mark

FUNDS: Final = "funds"
PROMISED: Final = "promised"
"""The marks of what the node has, "" while that is unknown, and of the sum of the caps, for every process."""


def promise(tx: Tx, amount: int) -> None:
    """Count `amount` more of caps in this transaction; InsufficientFunds (402) when the money does not cover them all.

    The caps are summed as orders come, and counted anew only before a refusal.
    """
    promised, funds = tx.get(Mark, PROMISED), tx.get(Mark, FUNDS)
    needed = int(promised.value) + amount if promised else _all_caps(tx)
    if funds and funds.value and needed > int(funds.value) and amount > 0:
        needed = _all_caps(tx)
        if needed > int(funds.value):
            raise InsufficientFunds(
                "the wallet does not cover the price cap", needed=needed, available=int(funds.value)
            )
    tx.put(Mark(id=PROMISED, value=str(needed)))


def _all_caps(reader: Reader) -> int:
    """Jobs that are pods are counted by their services: also those that wait for their next job."""
    services = sum(promised_by(service) for service in reader.find(Service, state=LIVING))
    return services + sum(job.cap for job in reader.find(Job, state=LIVE, service=""))
