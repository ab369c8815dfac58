"""What a build may see: a checkout as a tar stream, looked through and written anew on its way to the engine.

Nothing of it touches the host's file system. Files, folders and links pass; a link is followed by the engine inside of
its copy of the context alone. Git's own folder stays behind, and so does what the repository says to ignore.
"""

import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from typing import Final

from market.workloads import MAX_FILE
from node.adapters.builds.ignoring import Ignored
from node.adapters.builds.refusals import Refusal
from node.adapters.docker_engine.outputs import ChunkStream

MAX_MEMBERS: Final = 50_000
BLOCK: Final = 2**20
MAX_PATH: Final = 1024
_KINDS: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE)


def context(
    chunks: Iterable[bytes], dockerfile: tuple[str, bytes], ignored: Ignored, limit: int = MAX_FILE
) -> Iterator[bytes]:
    """The context as a tar stream: our Dockerfile, as (name, text), and everything below the first folder of `chunks`.

    Raises Refusal for more than `limit` bytes or MAX_MEMBERS files, and for what a checkout can not hold.
    """
    yield from _entry(tarfile.TarInfo(dockerfile[0]), iter([dockerfile[1]]), len(dockerfile[1]))
    try:
        with tarfile.open(fileobj=ChunkStream(chunks), mode="r|") as archive:
            yield from _members(archive, ignored, limit)
    except tarfile.TarError as error:
        raise Refusal(f"the repository can not be read: {error}") from error
    yield bytes(2 * tarfile.BLOCKSIZE)


def only_file(chunks: Iterable[bytes], limit: int) -> bytes:
    """The one plain file of an archive; Refusal when it is something else, or has more than `limit` bytes."""
    try:
        with tarfile.open(fileobj=ChunkStream(chunks), mode="r|") as archive:
            member = archive.next()
            if member is None or not member.isreg() or member.sparse is not None:
                raise Refusal("what describes the build must be a plain file, and no link or folder")
            if member.size > limit:
                raise Refusal(f"{posixpath.basename(member.name)} has {member.size} bytes, at most {limit} are read")
            source = archive.extractfile(member)
            return source.read(limit) if source else b""
    except tarfile.TarError as error:
        raise Refusal(f"the repository can not be read: {error}") from error


def _members(archive: tarfile.TarFile, ignored: Ignored, limit: int) -> Iterator[bytes]:
    left = limit
    for count, member in enumerate(archive):
        if count >= MAX_MEMBERS:
            raise Refusal(f"the repository has more than {MAX_MEMBERS} files", "BUILD_TOO_LARGE")
        path = member.name.partition("/")[2]
        if not path or path.partition("/")[0] == ".git" or ignored.has(path):
            continue
        _check(member, path)
        left -= member.size
        if left < 0:
            raise Refusal(f"the repository has more than {limit} bytes", "BUILD_TOO_LARGE")
        yield from _entry(_clean(member, path), _content(archive, member), member.size)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    source = archive.extractfile(member) if member.isreg() else None
    while source is not None and (block := source.read(BLOCK)):
        yield block


def _check(member: tarfile.TarInfo, path: str) -> None:
    parts = path.split("/")
    is_plain = member.type in _KINDS and member.sparse is None
    if not is_plain or ".." in parts or "" in parts[:-1] or "\0" in path or len(path) > MAX_PATH:
        raise Refusal(f"the repository holds something that is no file: {path[:80]!r}")


def _clean(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """Name, kind and mode alone: owners and times of the clone are nobody's business."""
    made = tarfile.TarInfo(path)
    made.type = tarfile.REGTYPE if member.isreg() else member.type
    made.mode = member.mode & 0o777
    made.linkname = member.linkname[:MAX_PATH] if member.issym() else ""
    return made


def _entry(header: tarfile.TarInfo, chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    header.size = size if header.isreg() else 0
    yield header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if header.size:
        yield from chunks
        yield bytes(-header.size % tarfile.BLOCKSIZE)
