"""Files out of a container: an extractor that trusts nothing in the tar stream.

Regular files only. Names never reach the host's file system: a file is written under a random name, hashed on the way,
and renamed to its digest, so there is no path, link or owner that a workload could choose.
"""

import hashlib
import io
import os
import secrets
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

from msgspec import Struct

from market.errors import OutputRefused
from node.ports import OutputFile

MAX_FILES: Final = 4096
MAX_PATH: Final = 1024
BLOCK: Final = 2**20


class Budget(Struct):
    """What may still be taken: bytes and files, over all wanted paths together."""

    size: int
    files: int = MAX_FILES

    def take(self, path: str, size: int) -> None:
        """Count one file; OutputRefused when it is one too many."""
        self.files -= 1
        self.size -= size
        if self.files < 0:
            raise OutputRefused(f"more than {MAX_FILES} output files", path=path, limit=MAX_FILES)
        if self.size < 0:
            raise OutputRefused("the outputs are larger than agreed", path=path, size=size)


def extract(chunks: Iterable[bytes], folder: str, store: Path, budget: Budget) -> list[OutputFile]:
    """Store every regular file of a tar stream; its names are relative to `folder` (itself relative to /output).

    Raises OutputRefused at the first link, device, fifo or unsafe name, and before a byte over the budget is read;
    files that are stored by then are complete and named by their digest, and harm nobody.
    """
    try:
        with tarfile.open(fileobj=ChunkStream(chunks), mode="r|") as archive:
            return list(_files(archive, folder, store, budget))
    except tarfile.TarError as error:
        raise OutputRefused(f"the output is not a readable archive: {error}") from error


def check_wanted(path: str) -> str:
    """`path` as a plain relative path; OutputRefused when it could lead out of /output."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or len(path) > MAX_PATH:
        raise OutputRefused("an output path must be relative and stay inside of /output", path=path[:80])
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise OutputRefused("an output path must be valid UTF-8", path=ascii(path[:80])) from error
    return "/".join(parts)


def _files(archive: tarfile.TarFile, folder: str, store: Path, budget: Budget) -> Iterator[OutputFile]:
    for member in archive:
        path = check_wanted(f"{folder}/{member.name}" if folder else member.name)
        if member.isdir():
            continue
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
            raise OutputRefused("only regular files are taken, no links, devices or pipes", path=path)
        budget.take(path, member.size)
        source = archive.extractfile(member)
        if source is not None:
            yield OutputFile(path=path, digest=store_file(source, store, member.size), size=member.size)


def store_file(source: IO[bytes] | io.RawIOBase, store: Path, size: int | None = None) -> str:
    """Write `source` to `store` under its digest, durably; never through a link. OutputRefused for another size."""
    temporary = store / f".{secrets.token_hex(16)}.part"
    digest = hashlib.sha256()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as target:
            written = 0
            while block := source.read(BLOCK):
                digest.update(block)
                written += target.write(block)
            target.flush()
            os.fsync(target.fileno())
        if size not in (None, written):
            raise OutputRefused("an output file ended early", size=size, got=written)
        temporary.rename(store / digest.hexdigest())
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ChunkStream(io.RawIOBase):
    """A file to read from over an iterator of chunks, as tarfile wants it."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, missing = [], size
        while missing:
            if not self._rest:
                self._rest = next(self._chunks, b"")
            if not self._rest:
                break
            part = self._rest[:missing]
            self._rest = self._rest[len(part) :]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)
