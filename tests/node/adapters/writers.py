"""Pieces of work that meet in the writer's thread, however the processors are shared."""

import asyncio
import threading
from collections.abc import Callable

from node.adapters.storage import SqlStorage
from node.ports import Tx

Work = Callable[[Tx], object]


async def together(storage: SqlStorage, *works: Work) -> list[object]:
    """What becomes of these in as few transactions as can be: they come while another work holds the writer."""
    begun, gate = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        begun.set()
        gate.wait(60)

    holding = asyncio.ensure_future(storage.write(hold))
    await asyncio.to_thread(begun.wait, 60)
    tasks = [asyncio.ensure_future(storage.write(work)) for work in works]
    await asyncio.sleep(0)
    gate.set()
    await holding
    return await asyncio.gather(*tasks, return_exceptions=True)
