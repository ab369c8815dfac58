"""Room on the provider's disk: images and folders that nobody used for long go, the longest unused first."""

import asyncio
from typing import Final

import structlog

from market.errors import NeugridError
from market.units import Timestamp
from node.ports import Clock, ImageStore, KeptFolders

_log = structlog.get_logger("tidying")
EVERY: Final = 60.0
KEPT_FOR: Final = 14 * 86_400_000
"""The folders of a service stay for so long, in ms, after its last container here."""


async def run(images: ImageStore | None, folders: KeptFolders | None, clock: Clock) -> None:
    """Look at the start and then every minute, until cancelled."""
    while True:
        if images is not None:
            await _make_room(images)
        if folders is not None:
            await _drop_folders(folders, Timestamp(clock.now() - KEPT_FOR))
        await asyncio.sleep(EVERY)


async def _make_room(images: ImageStore) -> None:
    try:
        if count := await images.tidy():
            _log.info("room made", images=count)
    except NeugridError as error:
        _log.info("no room made", why=error.message)


async def _drop_folders(folders: KeptFolders, before: Timestamp) -> None:
    try:
        for id in await folders.drop_kept_volumes(before):
            _log.info("unused volume removed", volume=id)
    except NeugridError as error:
        _log.info("no unused volumes removed", why=error.message)
