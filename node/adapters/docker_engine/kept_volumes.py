"""Folders of services that outlive their containers: found again by owner and name, in one running container at most.

Their names are hashes of node, owner and name, so that nobody who reads them learns whose they are, and nothing has
to be remembered. Each has a file in `kept/`: with loop devices it is the disk itself, else it marks a volume of the
engine. When that file was last touched is when the volume was last lent or given back.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from market.errors import Conflict, NotFound
from market.units import Timestamp
from market.workloads import Volume
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.mount_counts import MountCounts
from node.adapters.docker_engine.plain_volumes import SIZE_LABEL
from node.adapters.docker_engine.profile import MIB, NODE_LABEL
from node.adapters.docker_engine.volumes import (
    KEPT_LABEL,
    attach,
    attached,
    detach,
    make_bare,
    make_disk,
    release,
)
from node.ports import ContainerSpec

MAX_JOURNAL: Final = 16
"""MiB; a sixty-fourth of the volume where that is less."""
PREFIX: Final = "neugrid-kept-"
LIVE: Final = ("created", "running", "paused", "restarting")


class KeptVolume(Struct, frozen=True, kw_only=True):
    """A volume that outlives its containers: `size` in bytes of disk, `used_at` (ms) when last lent or given back."""

    id: str
    size: int
    used_at: Timestamp
    is_used: bool
    """Whether a container has it, running or not."""


class KeptVolumes:
    """The kept volumes of one node on one engine."""

    def __init__(self, engine: Engine, folder: Path, node: str, counts: MountCounts, has_loop_devices: bool) -> None:
        self._engine = engine
        self._folder = folder / "kept"
        self._node = node
        self._counts = counts
        self._has_loop_devices = has_loop_devices
        self._lending = asyncio.Lock()

    @asynccontextmanager
    async def lent(self, spec: ContainerSpec) -> AsyncIterator[dict[str, str]]:
        """Volume -> where it goes in the container, which is to be created inside: until then nobody else is lent one.

        Raises Conflict while another container may write to one of them, or when it was made smaller than it is wanted
        now; Unavailable when there is no room for a new one.
        """
        if not spec.volumes:
            yield {}
            return
        async with self._lending:
            found = {self.id_of(spec.owner, volume.name): volume for volume in spec.volumes}
            for id, volume in found.items():
                await self._refuse_second(id, volume, spec.name)
                await (self._open_disk(id, volume) if self._has_loop_devices else self._open_plain(id, volume))
            try:
                yield {id: volume.path for id, volume in found.items()}
            except BaseException:
                await self._settle(tuple(found))
                raise

    def id_of(self, owner: str, name: str) -> str:
        """The engine's name for a volume of this node."""
        digest = hashlib.sha256("\n".join((self._node, owner, name)).encode()).hexdigest()
        return f"{PREFIX}{digest[:40]}"

    async def sweep(self) -> None:
        """Put in order what an earlier life left: half-made disks, and devices that no container has."""
        for part in self._folder.glob("*.part"):
            await asyncio.to_thread(release, part)
        await self.settle(self._ids())

    async def settle(self, ids: Sequence[str]) -> None:
        """Let go of the devices of those volumes that no container has any more.

        Nobody is lent one meanwhile: who took it between the look and the parting would write into nothing.
        """
        async with self._lending:
            await self._settle(ids)

    async def settle_strays(self) -> None:
        """The same for all that have a device: a container that is gone can not say which were its own."""
        if self._has_loop_devices:
            await self.settle([id for id in self._ids() if await asyncio.to_thread(attached, self._file(id))])

    async def _settle(self, ids: Sequence[str]) -> None:
        for id in ids:
            if self._file(id).exists() and not await self._holders(id):
                await self._let_go(id)

    async def listed(self) -> tuple[KeptVolume, ...]:
        """All kept volumes, those of containers and those that wait for one."""
        return tuple([await self._seen(id) for id in self._ids()])

    async def drop_unused(self, before: Timestamp) -> tuple[str, ...]:
        """Remove for ever what no container has and nobody has touched since `before`; says which."""
        dropped = []
        async with self._lending:
            for volume in await self.listed():
                if not volume.is_used and volume.used_at < before:
                    await self._counts.remove(volume.id)
                    await asyncio.to_thread(release, self._file(volume.id))
                    dropped.append(volume.id)
        return tuple(dropped)

    async def _refuse_second(self, id: str, volume: Volume, container: str) -> None:
        others = [item for item in await self._holders(id) if f"/{container}" not in item["Names"]]
        if any(item["State"] in LIVE for item in others):
            raise Conflict(f"the volume {volume.name} is in another container now", volume=volume.name)

    async def _open_disk(self, id: str, volume: Volume) -> None:
        device = await asyncio.to_thread(self._attached, id, volume)
        found = await self._inspect(id)
        if found is not None and found["Options"]["device"] != device:
            await self._counts.remove(id)  # the machine restarted, and the number of the device is another
        await self._counts.create(id, device, {NODE_LABEL: self._node, KEPT_LABEL: "1"})

    def _attached(self, id: str, volume: Volume) -> str:
        """The device over the volume's file, which is made when there is none; a half-made one has another name."""
        file = self._file(id)
        if not file.exists():
            part = file.with_suffix(".part")
            make_disk(part, _disk_size(volume), "0:0", _journal(volume))
            make_bare(part)
            part.rename(file)
        _refuse_growth(file.stat().st_size, _disk_size(volume), volume)
        os.utime(file)
        return attach(file)

    async def _open_plain(self, id: str, volume: Volume) -> None:
        found = await self._inspect(id)
        if found is None:
            labels = {NODE_LABEL: self._node, KEPT_LABEL: "1", SIZE_LABEL: str(volume.size)}
            await self._engine.call(lambda client: client.create_volume(id, "local", None, labels))
        else:
            _refuse_growth(int(found["Labels"][SIZE_LABEL]), volume.size, volume)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file(id).touch()

    async def _let_go(self, id: str) -> None:
        if self._has_loop_devices:  # the disk stays, the engine's volume was only a way to mount it
            with contextlib.suppress(Conflict):  # a container took it in this moment
                await self._counts.remove(id)
                await asyncio.to_thread(detach, self._file(id))
        await asyncio.to_thread(os.utime, self._file(id))

    async def _seen(self, id: str) -> KeptVolume:
        stat = self._file(id).stat()
        size = stat.st_size
        if not self._has_loop_devices:
            found = await self._inspect(id)
            size = int(found["Labels"][SIZE_LABEL]) if found else 0
        is_used = bool(await self._holders(id))
        return KeptVolume(id=id, size=size, used_at=Timestamp(stat.st_mtime_ns // 1_000_000), is_used=is_used)

    async def _holders(self, id: str) -> list[dict[str, Any]]:
        listed = await self._engine.call(lambda client: client.containers(all=True, filters={"volume": id}))
        return list(listed)

    async def _inspect(self, id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_volume(id))
        except NotFound:
            return None
        return found

    def _ids(self) -> list[str]:
        return sorted(file.stem for file in self._folder.glob(f"{PREFIX}*.img"))

    def _file(self, id: str) -> Path:
        return self._folder / f"{id}.img"


def is_kept(volume: str) -> bool:
    """Whether the engine's volume of this name is one that outlives its container."""
    return volume.startswith(PREFIX)


def _journal(volume: Volume) -> int:
    return max(1, min(MAX_JOURNAL, volume.size // (64 * MIB)))


def _disk_size(volume: Volume) -> int:
    """The journal is not the tenant's; the rest that a file system needs for itself (2 %) is taken from what it has."""
    return volume.size + _journal(volume) * MIB


def _refuse_growth(made: int, wanted: int, volume: Volume) -> None:
    if made < wanted:
        raise Conflict(
            f"the volume {volume.name} was made smaller than {volume.size} bytes and can not grow", volume=volume.name
        )
