"""The memory of which images this node brought here, by which names, and when each was used last.

One small JSON file, replaced as a whole and synced. Engines can not keep labels on what is pulled; an image that is not
in this file is somebody else's: a job may not have it, and it is never removed. Losing the file loses nothing but that.
"""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from node.ports import Clock

_log = structlog.get_logger("images")
MAX_NAMES: Final = 4096
"""Names, and builds, that are remembered; those of longest ago are forgotten, and asked for or built again."""
SAVE_EVERY: Final = 60_000
"""A later use alone is written down at most so often, in ms."""


class Kept(Struct, frozen=True, kw_only=True):
    """An image that jobs may have. `handles` are the engine's references that this node made, with which it goes.

    Without handles it was here before, and public: it is used, and left alone. `owners` are the requesters that brought
    its content themselves and alone may name it; without any it is everybody's.
    """

    id: str
    size: int
    used_at: int
    handles: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()

    def is_for(self, requester: str) -> bool:
        """Whether jobs of the requester may have it."""
        return not self.owners or requester in self.owners


class Named(Struct, frozen=True, kw_only=True):
    """What a full reference meant when its registry was asked last, or what a build gave when it was done last."""

    id: str
    at: int


class _Content(Struct, frozen=True, kw_only=True):
    images: dict[str, Kept] = {}
    names: dict[str, Named] = {}
    coming: tuple[str, ...] = ()
    builds: dict[str, Named] = {}


class Shelf:
    """The images of one node; `file` None keeps the memory for this life alone."""

    def __init__(self, file: Path | None, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._images: dict[str, Kept] = {}
        self._names: dict[str, Named] = {}
        self._builds: dict[str, Named] = {}
        self._coming: dict[str, None] = {}
        self._left_over: tuple[str, ...] = ()
        self._is_read = False
        self._saved_at = 0
        self._saving = asyncio.Lock()

    async def open(self) -> None:
        """Read the file once; one that can not be read is as good as none, and said so."""
        if self._is_read:
            return
        self._is_read = True
        if self._file is not None:
            found = await asyncio.to_thread(_read, self._file)
            self._images, self._names, self._left_over = found.images, found.names, found.coming
            self._builds = found.builds

    def image(self, id: str) -> Kept | None:
        """The image, when a job may have it."""
        return self._images.get(id)

    def named(self, reference: str) -> Named | None:
        """What a full reference means here."""
        return self._names.get(reference)

    def built(self, key: str) -> Named | None:
        """What the build of that key gave."""
        return self._builds.get(key)

    def images(self) -> list[Kept]:
        """All images, those used longest ago first."""
        return sorted(self._images.values(), key=lambda kept: (kept.used_at, kept.id))

    def names(self) -> dict[str, str]:
        """Full reference -> id."""
        return {name: named.id for name, named in self._names.items()}

    def left_over(self) -> tuple[str, ...]:
        """What an earlier life was about to bring when it ended: it may be here, and is this node's then."""
        return self._left_over

    async def expect(self, handle: str) -> None:
        """An image is about to come by this reference; on disk when this returns."""
        self._coming[handle] = None
        await self.save()

    async def give_up(self, handle: str) -> None:
        """It does not come."""
        self._coming.pop(handle, None)
        self._left_over = tuple(other for other in self._left_over if other != handle)
        await self.save()

    async def put(self, id: str, size: int, *, name: str = "", handle: str = "", owner: str | None = None) -> None:
        """An image came, or came by one more name or owner; on disk when this returns. Without owner it is public."""
        now = self._clock.now()
        present = self._images.get(id)
        known = present or Kept(id=id, size=size, used_at=now)
        is_public = owner is None or (present is not None and not present.owners)
        owners = () if is_public else tuple(dict.fromkeys((*known.owners, owner or "")))
        handles = dict.fromkeys((*known.handles, *([handle] if handle else [])))
        self._images[id] = replace(known, size=size, used_at=now, handles=tuple(handles), owners=owners)
        if name:
            _put(self._names, name, Named(id=id, at=now))
        if handle:
            self._coming.pop(handle, None)
            self._left_over = tuple(other for other in self._left_over if other != handle)
        await self.save()

    async def remember(self, key: str, id: str) -> None:
        """The build of that key gave this image."""
        _put(self._builds, key, Named(id=id, at=self._clock.now()))
        await self.save()

    async def use(self, id: str) -> None:
        """An image is used now."""
        known = self._images.get(id)
        if known is not None:
            self._images[id] = replace(known, used_at=self._clock.now())
            if self._clock.now() - self._saved_at >= SAVE_EVERY:
                await self.save()

    async def drop(self, ids: Iterable[str]) -> None:
        """Images went, and with them their names."""
        gone = set(ids) & set(self._images)
        if gone:
            self._images = {id: kept for id, kept in self._images.items() if id not in gone}
            self._names = {name: named for name, named in self._names.items() if named.id not in gone}
            self._builds = {key: built for key, built in self._builds.items() if built.id not in gone}
            await self.save()

    async def save(self) -> None:
        """Write it all down."""
        self._saved_at = self._clock.now()
        if self._file is None or not self._is_read:
            return
        async with self._saving:
            coming = (*self._left_over, *self._coming)
            body = msgspec.json.encode(
                _Content(images=self._images, names=self._names, coming=coming, builds=self._builds)
            )
            await asyncio.to_thread(_write, self._file, body)


def _put(memory: dict[str, Named], name: str, named: Named) -> None:
    memory.pop(name, None)
    memory[name] = named
    while len(memory) > MAX_NAMES:
        del memory[next(iter(memory))]


def _read(file: Path) -> _Content:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Content)
    except FileNotFoundError:
        return _Content()
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("images are not known any more", file=str(file), why=str(error))
        return _Content()


def _write(file: Path, body: bytes) -> None:
    """Replace the file; a disk that is full costs the memory and not the job."""
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as target:
            target.write(body)
            target.flush()
            os.fsync(target.fileno())
        part.replace(file)
    except OSError as error:
        _log.warning("images are not written down", file=str(file), why=str(error))
