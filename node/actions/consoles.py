"""What a user can do inside of what runs for it: commands, files out, files in; the requester's end of the doors."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from market.errors import BadMessage, Conflict, NeugridError, NotFound, Refused, Unavailable
from market.leases import Lease, LeaseState
from market.units import PeerId
from node.actions.console_doors import (
    PIECE,
    Execute,
    FrameKind,
    Frames,
    Outcome,
    Pack,
    Unpack,
    read_outcome,
)
from node.actions.tunnels import Head, open_tunnel
from node.ports import Streams
from node.records import Account

OPEN_WITHIN: Final = 10.0
Find = Callable[[Account, str], Lease | None]
"""The lease behind a job or pod of an account; NotFound when the account has none such."""


class Consoles:
    """Opens the doors of leases that run for an account."""

    def __init__(self, streams: Streams, find: Find) -> None:
        self._streams = streams
        self._find = find

    @asynccontextmanager
    async def executing(
        self, account: Account, id: str, command: tuple[str, ...], *, has_terminal: bool, rows: int, columns: int
    ) -> AsyncIterator[Frames]:
        """A command inside of a job or pod, as frames both ways. Conflict when it does not run now."""
        lease = self._running(account, id)
        head = Execute(lease=lease.id, command=command, has_terminal=has_terminal, rows=rows, columns=columns)
        async with self._open(lease, head) as frames:
            yield frames

    async def pack(self, account: Account, id: str, path: str) -> AsyncIterator[bytes]:
        """A tar archive of a file or folder inside. The error of the provider is raised at the end, by its code."""
        lease = self._running(account, id)
        async with self._open(lease, Pack(lease=lease.id, path=path)) as frames:
            while (frame := await frames.next()) is not None:
                kind, body = frame
                if kind is FrameKind.DONE:
                    _check(read_outcome(body))
                    return
                yield body
        raise Unavailable("the archive ended early")

    async def unpack(self, account: Account, id: str, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Unpack a tar archive into a writable folder inside."""
        lease = self._running(account, id)
        async with self._open(lease, Unpack(lease=lease.id, path=path)) as frames:
            async for chunk in chunks:
                for start in range(0, len(chunk), PIECE):
                    await frames.say(FrameKind.DATA, chunk[start : start + PIECE])
            await frames.say(FrameKind.END)
            frame = await frames.next()
            if frame is None or frame[0] is not FrameKind.DONE:
                raise Unavailable("the provider did not say how it ended")
            _check(read_outcome(frame[1]))

    def _running(self, account: Account, id: str) -> Lease:
        lease = self._find(account, id)
        if lease is None or lease.state is not LeaseState.RUNNING:
            raise Conflict("it does not run now", id=id)
        return lease

    @asynccontextmanager
    async def _open(self, lease: Lease, head: Head) -> AsyncIterator[Frames]:
        peer = PeerId(lease.terms.provider_peer)
        try:
            stream = await open_tunnel(self._streams, peer, head, OPEN_WITHIN)
        except Refused as error:
            raise _by_code(str(error.details.get("codes", ("",))[0]), error.message) from error  # type: ignore[index]
        try:
            yield Frames(stream)
        finally:
            await stream.close()


def _check(outcome: Outcome) -> None:
    if outcome.code:
        raise _by_code(outcome.code, outcome.message)


def _by_code(code: str, message: str) -> NeugridError:
    """The provider's refusal as the error that the user should see."""
    known: dict[str, type[NeugridError]] = {"NOT_FOUND": NotFound, "BAD_MESSAGE": BadMessage}
    if code in ("SERVICE_UNAVAILABLE", "PEER_UNREACHABLE", "INTERNAL_ERROR"):
        return Unavailable(message)
    return known.get(code, Conflict)(message, code=code)
