"""What other processes on the database have changed: followed up here as if it had been written here."""

from node.engine import Engine
from node.ports import Bells


async def run(engine: Engine, bells: Bells | None) -> None:
    """Hear until cancelled; where there is nobody to hear, this ends."""
    if bells is not None:
        async for ids in bells.heard():
            engine.hear(ids)
