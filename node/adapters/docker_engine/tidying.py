"""Room for images: those that this node brought and that nobody uses go, the longest unused first.

Nothing is pruned. An image goes by the names under which this node made it; what else the engine has is not touched.
"""

import contextlib
from collections.abc import Collection
from typing import Any, Final

import structlog

from market.errors import Conflict, InvalidParameters, NotFound
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.pulls import Free
from node.adapters.images.shelf import Kept, Shelf
from node.ports import Clock

_log = structlog.get_logger("images")
RESTS: Final = 600_000
"""An image that was used within so many ms stays: its container may be about to start."""


class Tidying:
    """Removes images of the shelf; those that bear a name of `own` stay."""

    def __init__(self, engine: Engine, shelf: Shelf, clock: Clock, free: Free, own: Collection[str]) -> None:
        self._engine = engine
        self._shelf = shelf
        self._clock = clock
        self._free = free
        self._own = own

    async def make_room(self, wanted: int) -> int:
        """Remove until `wanted` bytes are free, or nothing is left to go; how many went."""
        await self._forget_lost()
        removed, busy = 0, await self._in_use()
        for kept in self._shelf.images():
            free = self._free()
            if free is None or free >= wanted:
                break
            if kept.handles and kept.id not in busy and await self._remove(kept):
                removed += 1
        return removed

    async def _forget_lost(self) -> None:
        """Others may remove images too."""
        listed = await self._engine.call(lambda client: client.images(all=True))
        here = {item["Id"] for item in listed}
        await self._take_over()
        await self._shelf.drop(kept.id for kept in self._shelf.images() if kept.id not in here)

    async def _take_over(self) -> None:
        """What an earlier life of this node was pulling when it died."""
        for handle in self._shelf.left_over():
            try:
                found = await self._inspect(handle)
                await self._shelf.put(found["Id"], found["Size"], handle=handle)
            except (NotFound, InvalidParameters):
                await self._shelf.give_up(handle)

    async def _in_use(self) -> set[str]:
        """Images of containers, whoever made them and whether or not they run; just used ones; our own."""
        listed = await self._engine.call(lambda client: client.containers(all=True))
        since = self._clock.now() - RESTS
        just_used = {kept.id for kept in self._shelf.images() if kept.used_at > since}
        own = {id for name, id in self._shelf.names().items() if name in self._own}
        return {item["ImageID"] for item in listed} | just_used | own

    async def _remove(self, kept: Kept) -> bool:
        """Whether it went; one that others built upon, or that a container took meanwhile, stays."""
        with contextlib.suppress(Conflict):
            for handle in kept.handles:
                with contextlib.suppress(NotFound, InvalidParameters):
                    await self._unname(handle)
            await self._shelf.drop([kept.id])
            _log.info("image removed", id=kept.id, size=kept.size)
            return True
        return False

    async def _unname(self, handle: str) -> None:
        """An image without name of ours goes by its id, unless somebody gave it a name since."""
        if "@" not in handle:
            found = await self._inspect(handle)
            if found.get("RepoTags"):
                return
        await self._engine.call(lambda client: client.remove_image(handle))

    async def _inspect(self, handle: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_image(handle))
        return found
