"""Sums that are kept by name, in the transactions that change them, so that nobody adds up rows to know them."""

from node.ports import Reader, Tx
from node.records import Mark


def tally(reader: Reader, name: str) -> int:
    """The sum of that name."""
    found = reader.get(Mark, name)
    return int(found.value) if found else 0


def add(tx: Tx, name: str, amount: int) -> None:
    """Change a sum; none is below zero, and there is no record of one that is zero."""
    sum_after = tally(tx, name) + amount
    if sum_after > 0:
        tx.put(Mark(id=name, value=str(sum_after)))
    else:
        tx.delete(Mark, name)
