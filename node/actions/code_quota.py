"""How much code of each account waits to be run: counted in the transactions that change it, and bounded."""

from typing import Any, Final

from market.errors import QuotaExceeded
from market.runs import DONE, Run, code_size
from node.actions.tallies import add, tally
from node.ports import Reader, Tx

MAX_WAITING: Final = 64 * 2**20
"""Bytes: the largest run is half of it."""


def admit(reader: Reader, run: Run) -> None:
    """QuotaExceeded when so much more of its account may not wait."""
    if tally(reader, _name(run)) + code_size(run) > MAX_WAITING:
        raise QuotaExceeded(f"code and inputs of {MAX_WAITING} bytes may wait to be run", limit=MAX_WAITING)


def fold(tx: Tx, before: Any, after: Any, now: int) -> None:
    """Count a run while it waits."""
    if isinstance(after, Run) and before is None:
        add(tx, _name(after), code_size(after))
    elif isinstance(after, Run) and before.state not in DONE and after.state in DONE:
        add(tx, _name(after), -code_size(before))


def _name(run: Run) -> str:
    return f"waiting:{run.account}"
