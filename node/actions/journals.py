"""The journal of something as it grows: what its user may follow to the end."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from node.engine import Engine
from node.records import Entry

AT_ONCE: Final = 200


async def follow_journal(
    engine: Engine, id: str, after: int, subjects: Callable[[], tuple[str, ...]], is_over: Callable[[], bool]
) -> AsyncIterator[Entry]:
    """The entries of all `subjects` behind number `after`, in order, until `is_over`; looked at when `id` changes."""
    while True:
        ends, known = is_over(), subjects()
        while entries := engine.storage.find(Entry, subject=known, after=(0, str(after)), limit=AT_ONCE):
            for entry in entries:
                after = entry.seq
                yield entry
        if ends:
            return
        await engine.changed(id, 1.0)
