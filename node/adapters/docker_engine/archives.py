"""Files into and out of running containers, as tar streams that the host neither opens nor unpacks.

The container's own `tar` does the work, as the container's own user and under its limits: so it reaches its tmpfs and
volumes, and nothing that the workload could not reach itself. An image without tar can still be read from, by the
engine: all but what lies in tmpfs.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from market.errors import Conflict, InvalidParameters, NotFound, OutputRefused, Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.insides import Inside
from node.adapters.docker_engine.sessions import STDOUT, ExecSession, Sessions

MAX_PACK: Final = 2**32
"""Bytes of one archive: a sparse file of any size costs a workload nothing to make."""
BLOCK: Final = 512
MAGIC: Final = slice(257, 262)
"""Where a tar header says "ustar" (POSIX 1003.1, pax, "ustar Interchange Format")."""
MAX_PATH: Final = 4096
MAX_SAID: Final = 2000
NOT_THERE: Final = (126, 127)
CHANGED: Final = 1
"""GNU tar's exit code when a file changed while it was read: what was read is in the archive all the same."""


class _NoTar(Exception):
    """The image has no tar."""


class Archives:
    """Packs and unpacks; `limit` is how many bytes an archive that goes out may have."""

    def __init__(self, engine: Engine, sessions: Sessions, limit: int = MAX_PACK) -> None:
        self._engine = engine
        self._sessions = sessions
        self._limit = limit

    async def pack(self, inside: Inside, path: str) -> AsyncGenerator[bytes, None]:
        """A tar archive of `path`, whose names begin with its last part.

        Raises NotFound when there is nothing, OutputRefused above the limit, and at the end Conflict when the
        container's user could not read all of it.
        """
        place = _checked(path)
        folder, name = str(place.parent), f"./{place.name}"
        session = await self._sessions.start(inside, ["tar", "-C", folder, "-cf", "-", name])
        try:
            has_tar = True
            async for chunk in _counted(self._by_tar(session, path), path, self._limit):
                yield chunk
        except _NoTar:
            has_tar = False
        finally:
            await session.close()
        if not has_tar:
            async for chunk in _counted(self._by_the_engine(inside, str(place)), path, self._limit):
                yield chunk

    async def unpack(self, inside: Inside, path: str, chunks: AsyncIterator[bytes], limit: int) -> None:
        """Unpack a tar archive into the folder `path`; what came before an error stays there.

        Raises InvalidParameters above `limit` bytes, NotFound without such a folder, Conflict with tar's own words when
        it can not be written to, is full, or the archive is none.
        """
        folder = str(_checked(path))
        session = await self._sessions.start(inside, ["tar", "-C", folder, "-xf", "-"])
        said: list[bytes] = []
        hearing = asyncio.create_task(_hear(session, said))
        try:
            await _send(session, chunks, limit)
            await hearing
            code = await session.exit_code()
        finally:
            hearing.cancel()
            await session.close()
        if code in NOT_THERE:
            raise Conflict("the image has no tar, so nothing can be unpacked in it", path=path)
        if code != 0:
            raise Conflict(f"{path} did not take the archive: {_text(said)}", path=path)

    async def _by_tar(self, session: ExecSession, path: str) -> AsyncGenerator[bytes, None]:
        await session.close_writing()
        said: list[bytes] = []
        first = await _beginning(session, said)
        if first[MAGIC] == b"ustar":
            async for chunk in _rest(session, first, said):
                yield chunk
        code = await session.exit_code()
        if code in NOT_THERE:
            raise _NoTar
        if first[MAGIC] != b"ustar":
            raise NotFound(f"there is no {path!r} in the container that its user may read", path=path)
        if code not in (0, CHANGED):
            raise Conflict(f"not all of {path} could be read: {_text(said)}", path=path)

    async def _by_the_engine(self, inside: Inside, path: str) -> AsyncGenerator[bytes, None]:
        """By the engine's own archive call."""
        stream, _ = await self._engine.call(lambda client: client.get_archive(inside.container, path))
        chunks: Iterator[bytes] = iter(stream)
        try:
            while chunk := await self._engine.call(lambda _: next(chunks, b"")):
                yield chunk
        finally:
            closing: Any = stream
            closing.close()


def _checked(path: str) -> PurePosixPath:
    place = PurePosixPath(path)
    if not place.is_absolute() or ".." in place.parts or "\0" in path or len(path) > MAX_PATH:
        expected = f'an absolute path without "..", at most {MAX_PATH} characters'
        raise InvalidParameters("this is not a path in a container", field="path", value=path[:80], expected=expected)
    return place


async def _beginning(session: ExecSession, said: list[bytes]) -> bytes:
    """The first header at least, or everything when there is none."""
    first = b""
    while len(first) < BLOCK:
        stream, data = await session.frame()
        if not data:
            break
        if stream == STDOUT:
            first += data
        else:
            _note(said, data)
    return first


async def _rest(session: ExecSession, first: bytes, said: list[bytes]) -> AsyncGenerator[bytes, None]:
    yield first
    while True:
        stream, data = await session.frame()
        if not data:
            return
        if stream == STDOUT:
            yield data
        else:
            _note(said, data)


async def _counted(chunks: AsyncGenerator[bytes, None], path: str, limit: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise OutputRefused(f"{path} has more than {limit} bytes", path=path, limit=limit)
            yield chunk


async def _send(session: ExecSession, chunks: AsyncIterator[bytes], limit: int) -> None:
    left = limit
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise InvalidParameters(f"the archive has more than {limit} bytes", field="archive", expected=str(limit))
        with contextlib.suppress(Unavailable):  # tar gave up early: its exit code will say so, and its words why
            await session.write(chunk)
    await session.close_writing()


async def _hear(session: ExecSession, said: list[bytes]) -> None:
    while data := await session.read():
        _note(said, data)


def _note(said: list[bytes], data: bytes) -> None:
    """Keep the beginning of what tar complains about."""
    if sum(map(len, said)) < MAX_SAID:
        said.append(data[:MAX_SAID])


def _text(said: list[bytes]) -> str:
    return b"".join(said)[:MAX_SAID].decode(errors="replace").strip() or "tar gave no reason"
