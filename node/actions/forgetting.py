"""Forgetting what is old, a page at a time, so that others may write in between."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct

from node.ports import Storage, Tx

AT_ONCE: Final = 500


async def forget(storage: Storage, noun: type[Struct], by: str = "id", **old: Any) -> None:
    """Delete every `noun` that fits `old`, as `find` takes it; `by` names the field that it is deleted by."""
    while found := storage.find(noun, limit=AT_ONCE, **old):
        await storage.write(partial(_delete, noun, [str(getattr(item, by)) for item in found]))


def _delete(noun: type[Struct], ids: Sequence[str], tx: Tx) -> None:
    for id in ids:
        tx.delete(noun, id)
