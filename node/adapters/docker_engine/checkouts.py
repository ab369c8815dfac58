"""A clone in a container of its own, and its files as they are wanted: nothing of it is opened on the host."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from market.errors import NeugridError, NotFound, Refused, Unavailable
from market.units import Bytes, Seconds
from node.adapters.builds.clone import FOLDER, command, environment, refusal_of
from node.adapters.builds.context import only_file
from node.adapters.builds.git_image import REFERENCE
from node.adapters.builds.hosts import Place, RepositoryHosts
from node.adapters.builds.refusals import Refusal
from node.adapters.builds.relay import Relay
from node.adapters.builds.settings import BuildSettings, read_authorities
from node.adapters.builds.words import Told
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.collect import ROOT, stat
from node.adapters.egress.namespace import Namespace
from node.ports import BuildSpec, ContainerSpec, Runtime

LOOPBACK: Final = "127.0.0.1"
STDERR: Final = "stderr"


class Checkout:
    """The files of a clone, in its ended container."""

    def __init__(self, engine: Engine, container: str, folder: str, commit: str) -> None:
        self._engine = engine
        self._container = container
        self._folder = f"{FOLDER}/{folder}".rstrip("/")
        self.commit = commit

    async def has(self, path: str) -> bool:
        """Whether there is something of this path."""
        try:
            await self._engine.call(lambda client: stat(client, self._container, f"{self._folder}/{path}"))
        except NotFound:
            return False
        return True

    async def read(self, path: str, limit: int) -> bytes:
        """A plain file of at most `limit` bytes; Refusal for anything else, NotFound when there is nothing."""
        return await self._engine.call(lambda client: self._read(client, path, limit))

    def stream(self) -> Iterator[bytes]:
        """All of the folder as a tar stream; blocking, for a thread."""
        with contextlib.closing(self._engine.stream(self._where, path=f"{ROOT}/{self._folder}")) as chunks:
            yield from chunks

    @property
    def _where(self) -> str:
        return f"/containers/{self._container}/archive"

    def _read(self, client: Client, path: str, limit: int) -> bytes:
        with contextlib.closing(self._engine.stream(self._where, path=f"{ROOT}/{self._folder}/{path}")) as chunks:
            return only_file(chunks, limit)


class Checkouts:
    """Clones for builds."""

    def __init__(self, engine: Engine, runtime: Runtime, settings: BuildSettings) -> None:
        self._engine = engine
        self._runtime = runtime
        self._settings = settings
        self._hosts = RepositoryHosts(settings.private_hosts, settings.kernel)
        self._authorities = read_authorities(settings.authorities)

    @asynccontextmanager
    async def clone(self, spec: BuildSpec, told: Told) -> AsyncIterator[Checkout]:
        """The files of the spec's source, for as long as the context lasts; Refusal when they can not be had."""
        try:
            place = await self._hosts.place_of(spec.source.url)
        except Refused as error:
            raise Refusal(error.message, "CLONE_FAILED") from error
        try:
            yield await self._cloned(spec, place, told)
        finally:
            await asyncio.shield(self._runtime.remove(spec.name))

    async def _cloned(self, spec: BuildSpec, place: Place, told: Told) -> Checkout:
        limit = min(self._settings.max_repository, spec.resources.disk or self._settings.max_repository)
        relay = Relay(place, limit)
        await self._runtime.start(self._container(spec, place, limit))
        lines: list[tuple[str, str]] = []
        reading = asyncio.create_task(self._read(spec.name, lines, told))
        try:
            await relay.open(await self._listening(spec.name, place.port))
            end = await self._runtime.wait(spec.name)
            await asyncio.wait([reading], timeout=10)
        finally:
            reading.cancel()
            await relay.close()
        if end.reason in ("engine", "killed"):
            raise Unavailable("the engine lost the clone", service="docker")
        if end.code != 0:
            said = [text for stream, text in lines if stream == STDERR]
            raise refusal_of(end.code, end.reason, said, relay.is_exhausted, limit)
        return Checkout(self._engine, spec.name, spec.source.folder, _commit(lines))

    def _container(self, spec: BuildSpec, place: Place, limit: int) -> ContainerSpec:
        resources = spec.resources
        return ContainerSpec(
            name=spec.name,
            lease=spec.lease,
            image=REFERENCE,
            command=command(),
            env=environment(spec.source, place, self._authorities),
            resources=type(resources)(cpu=resources.cpu, memory=resources.memory, disk=Bytes(limit)),
            timeout=Seconds(min(spec.timeout, self._settings.clone_within)),
            has_outputs=True,
        )

    async def _listening(self, name: str, port: int) -> Any:
        """A socket in the namespace of the clone, where the repository seems to be."""
        found = await self._engine.call(lambda client: client.inspect_container(name))
        namespace = Namespace(found["State"]["Pid"], found["Id"])
        try:
            return await namespace.listen_for_connections(LOOPBACK, port)
        finally:
            namespace.close()

    async def _read(self, name: str, lines: list[tuple[str, str]], told: Told) -> None:
        with contextlib.suppress(NeugridError):
            async for line in self._runtime.logs(name):
                lines.append((line.stream, line.text))
                told.line(line.stream, line.text)


def _commit(lines: list[tuple[str, str]]) -> str:
    """What git printed last on stdout: it alone writes there, and nothing else."""
    found = [text for stream, text in lines if stream != STDERR]
    return found[-1] if found else ""
