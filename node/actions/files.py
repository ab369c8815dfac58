"""Files by content: what users upload, what providers fetch, what jobs leave behind. A name is a digest."""

import asyncio
import hashlib
import os
import secrets
import threading
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from market.dialogue import MAX_CHUNK, GetFile
from market.errors import BadMessage, InvalidParameters, NotFound, Refused
from market.leases import Lease
from market.messages import Envelope
from market.workloads import File
from node.actions.peers import Peers
from node.ports import OutputFile, Reader

PART_KEPT: Final = 86_400
WINDOW: Final = 4
"""Chunks that are asked for at once."""


class Files:
    """The content store of one node, and its exchange with peers in chunks that survive a restart."""

    def __init__(self, folder: Path, peers: Peers, reader: Reader) -> None:
        self.folder = folder
        self._peers = peers
        self._reader = reader
        self._moving = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where a file of this digest is, or would be."""
        if len(digest) != 64 or not all(c in "0123456789abcdef" for c in digest):
            raise InvalidParameters("a digest is 64 lower-case hex digits", field="digest", value=digest[:80])
        return self.folder / digest

    def has(self, digest: str) -> bool:
        """Whether the file is here in full."""
        return self.path(digest).is_file()

    def put(self, content: bytes) -> OutputFile:
        """Store bytes under their digest, for a thread; it takes as long where they are here already."""
        digest, part = hashlib.sha256(content).hexdigest(), self._new_part()
        try:
            part.write_bytes(content)
            self._adopt(part, digest)
        finally:
            part.unlink(missing_ok=True)
        return OutputFile(path="", digest=digest, size=len(content))

    async def store(self, chunks: AsyncIterator[bytes], limit: int) -> OutputFile:
        """Store an upload of at most `limit` bytes; InvalidParameters above it, and nothing is kept then."""
        part, hasher, size = self._new_part(), hashlib.sha256(), 0
        try:
            with part.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise InvalidParameters(f"a file may have {limit} bytes", field="body", expected=limit)
                    hasher.update(chunk)
                    file.write(chunk)
            await asyncio.to_thread(self._adopt, part, hasher.hexdigest())
        finally:
            part.unlink(missing_ok=True)
        return OutputFile(path="", digest=hasher.hexdigest(), size=size)

    async def fetch(self, peer: str, lease: str, file: File, *, is_known: bool = True) -> Path:
        """Get a file of a lease from the other side, going on where an earlier try of this lease stopped.

        What is here already is taken instead where it `is_known` to whom it is for. Raises Refused when the peer does
        not give it, BadMessage when the bytes do not have the digest.
        """
        target = self.path(file.digest)
        if is_known and target.is_file():
            os.utime(target)  # it is in use again: `sweep` leaves it
            return target
        part = self.folder / f"{file.digest}.{lease}.part"
        part.touch()
        await self._fill(part, peer, lease, file)
        if await asyncio.to_thread(_digest_of, part) != file.digest:
            part.unlink(missing_ok=True)
            raise BadMessage("the file does not have its digest", expected=file.digest)
        await asyncio.to_thread(self._adopt, part, file.digest)
        return target

    async def answer(self, envelope: Envelope, message: GetFile) -> bytes:
        """A range of a file of a lease that the asker is the other side of; NotFound for all else."""
        lease = self._reader.get(Lease, message.lease)
        if lease is None or not _may_read(lease, str(envelope.sender), message.digest):
            raise NotFound("no such file", digest=message.digest)
        path = self.path(message.digest)
        try:
            return await asyncio.to_thread(_read_range, path, message.offset, message.length)
        except FileNotFoundError:
            raise NotFound("no such file", digest=message.digest) from None

    def drop_parts(self, lease: str) -> None:
        """Remove what fetches for a lease left half done: nobody goes on with them when it is over."""
        for part in self.folder.glob(f"*.{lease}.part"):
            part.unlink(missing_ok=True)

    def sweep(self, keep: Collection[str], age: float, now: float) -> int:
        """Remove files that are older than `age` seconds at `now` and not in `keep`; how many. Parts go after a day."""
        found = [path for path in self.folder.iterdir() if path.name not in keep and path.is_file()]
        return sum(self._remove(path, now - (PART_KEPT if path.suffix == ".part" else age)) for path in found)

    def _remove(self, path: Path, before: float) -> bool:
        """Remove a file that is older, and was not written anew in this moment; whether it was."""
        with self._moving, suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                return True
        return False

    async def _fill(self, part: Path, peer: str, lease: str, file: File) -> None:
        with part.open("r+b") as target:
            target.seek(0, os.SEEK_END)
            while target.tell() < file.size:
                start = target.tell()
                offsets = range(start, min(file.size, start + WINDOW * MAX_CHUNK), MAX_CHUNK)
                asked = (self._peers.fetch(peer, GetFile(lease, file.digest, offset)) for offset in offsets)
                for chunk in await asyncio.gather(*asked):
                    if len(chunk) != min(MAX_CHUNK, file.size - target.tell()):
                        raise Refused("the file does not have its size", codes=("BAD_FILE",))
                    target.write(chunk)

    def _new_part(self) -> Path:
        return self.folder / f"{secrets.token_hex(8)}.part"

    def _adopt(self, part: Path, digest: str) -> None:
        with part.open("rb") as file:
            os.fsync(file.fileno())
        with self._moving:
            part.replace(self.path(digest))
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name must last as long as the content
        finally:
            os.close(folder)


def _may_read(lease: Lease, sender: str, digest: str) -> bool:
    if lease.side == "requester" and sender == lease.terms.provider and lease.workload is not None:
        return any(file.digest == digest for file in lease.workload.inputs)
    if lease.side == "provider" and sender == lease.terms.requester and lease.receipt is not None:
        return any(file.digest == digest for file in lease.receipt.outputs)
    return False


def _read_range(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
