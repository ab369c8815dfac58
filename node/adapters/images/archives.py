"""Image archives (`docker save`, or an OCI layout in a tar), checked and written anew before the engine gets them.

Only layers and config pass, under names of ours: an archive could name itself "busybox:latest", hold links, or claim
layers of somebody else's image. Layers are unpacked here once, into nothing, so that their digests and sizes are known.
"""

import hashlib
import io
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec
from msgspec import Struct

from node.adapters.images.limits import MAX_LAYERS, UNPACKED, ImageLimits, refuse
from node.adapters.images.manifests import (
    MANIFESTS,
    MAX_DOCUMENT,
    Config,
    Descriptor,
    Manifest,
    check_manifest,
    check_size,
    digest_of,
    entry_for,
    read_config,
    read_manifest,
)

T = TypeVar("T")
MAX_MEMBERS: Final = 8 * MAX_LAYERS
BLOCK: Final = 2**20
GZIP: Final = b"\x1f\x8b"


class Plan(Struct, frozen=True, kw_only=True):
    """What of an archive goes to the engine: the config, and the layers by their names in the archive."""

    config: bytes
    layers: tuple[str, ...]
    size: int

    @property
    def id(self) -> str:
        """The content id of the image."""
        return digest_of(self.config)


class _Saved(Struct, frozen=True, kw_only=True, rename="pascal"):
    """An entry of `manifest.json`, as `docker save` writes it."""

    config: str
    layers: tuple[str, ...] = ()


class _Index(Struct, frozen=True, kw_only=True):
    manifests: tuple[Descriptor, ...]


def read_plan(file: Path, limits: ImageLimits, architecture: str) -> Plan:
    """The plan of an archive with exactly one image; ImageRefused when it is none, or more than is admitted.

    Reads all of it; blocking, for a thread.
    """
    with _opened(file) as archive:
        found = _Archive(file.name, archive, limits)
        return found.saved(architecture) if found.has("manifest.json") else found.layout(architecture)


def stream(file: Path, plan: Plan) -> Iterator[bytes]:
    """The archive that the engine gets, in pieces; blocking, for a thread."""
    names = [f"{number}.tar" for number in range(len(plan.layers))]
    manifest = msgspec.json.encode([{"Config": "config.json", "RepoTags": None, "Layers": names}])
    with _opened(file) as archive:
        members = _members(file.name, archive)
        for name, layer in zip(names, plan.layers, strict=True):
            yield from _entry(name, members[layer].size, _chunks(archive, members[layer]))
    yield from _entry("config.json", len(plan.config), iter([plan.config]))
    yield from _entry("manifest.json", len(manifest), iter([manifest]))
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Archive:
    def __init__(self, image: str, archive: tarfile.TarFile, limits: ImageLimits) -> None:
        self._image = image
        self._archive = archive
        self._limits = limits
        self._members = _members(image, archive)

    def has(self, name: str) -> bool:
        return name in self._members

    def saved(self, architecture: str) -> Plan:
        """The image of an archive as `docker save` writes it."""
        entries = self._read("manifest.json", tuple[_Saved, ...])
        if len(entries) != 1:
            raise refuse(self._image, "archive", "it must hold one image", 1, len(entries))
        body = self._document(entries[0].config)
        return self._plan(body, tuple(map(self._resolved, entries[0].layers)), architecture)

    def layout(self, architecture: str) -> Plan:
        """The image of an OCI layout: its index leads to a manifest, or to one more index."""
        manifest = self._manifest(self._read("index.json", _Index).manifests, architecture)
        check_manifest(self._image, manifest, self._limits)
        body = self._blob(manifest.config.digest)
        return self._plan(body, tuple(_blob_name(layer.digest) for layer in manifest.layers), architecture)

    def _manifest(self, entries: tuple[Descriptor, ...], architecture: str) -> Manifest:
        for _ in range(2):
            is_only = len(entries) == 1
            entry = entries[0] if is_only else entry_for(self._image, entries, architecture)
            found = read_manifest(self._image, self._blob(entry.digest), entry.media_type)
            if isinstance(found, Manifest):
                return found
            entries = found
        raise refuse(self._image, "archive", "indexes lie in indexes", MANIFESTS[0], "an index")

    def _plan(self, body: bytes, layers: tuple[str, ...], architecture: str) -> Plan:
        if len(layers) > MAX_LAYERS:
            raise refuse(self._image, "layers", "it has too many layers", f"at most {MAX_LAYERS}", len(layers))
        config = read_config(self._image, body, len(layers), architecture)
        size = sum(self._member(name).size for name in layers)
        check_size(self._image, size, self._limits)
        self._check_layers(layers, config)
        return Plan(config=body, layers=layers, size=size)

    def _check_layers(self, layers: tuple[str, ...], config: Config) -> None:
        left = self._limits.max_size * UNPACKED
        for name, expected in zip(layers, config.unpacked, strict=True):
            digest, size = self._unpacked(name, left)
            left -= size
            if digest != expected:
                raise refuse(self._image, "digest", "a layer is not the one of its config", expected, digest)

    def _unpacked(self, name: str, left: int) -> tuple[str, int]:
        """Digest and size of a layer without its packing; ImageRefused above `left` bytes."""
        digest, size = hashlib.sha256(), 0
        for chunk in _unpack(_chunks(self._archive, self._member(name))):
            size += len(chunk)
            if size > left:
                most = self._limits.max_size * UNPACKED
                raise refuse(self._image, "max_image_size", "it unpacks to too much", f"at most {most} bytes", "more")
            digest.update(chunk)
        return f"sha256:{digest.hexdigest()}", size

    def _blob(self, digest: str) -> bytes:
        body = self._document(_blob_name(digest))
        if digest_of(body) != digest:
            raise refuse(self._image, "digest", "a document is not the one that was named", digest, digest_of(body))
        return body

    def _read(self, name: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._document(name), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise refuse(self._image, "archive", f"{name} can not be read", "JSON of an image", error) from error

    def _document(self, name: str) -> bytes:
        member = self._member(name)
        if member.size > MAX_DOCUMENT:
            raise refuse(self._image, "archive", f"{name[:80]!r} is too large", MAX_DOCUMENT, member.size)
        return b"".join(_chunks(self._archive, member))

    def _member(self, name: str) -> tarfile.TarInfo:
        member = self._members.get(name)
        if member is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
            raise refuse(self._image, "archive", f"{name[:80]!r} is not in it", "a plain file", "none")
        return member

    def _resolved(self, name: str) -> str:
        """The file behind a link to another layer, which older engines write for layers that are the same."""
        member = self._members.get(name)
        if member is not None and member.issym():
            return posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        return name


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with file.open("rb") as source, tarfile.open(fileobj=_Careful(source), mode="r:") as archive:
            yield archive
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise refuse(file.name, "archive", "it can not be read", "a tar archive of an image", error) from error


class _Careful(io.BufferedIOBase):
    """A file that nobody reads much of at once: a tar's long names may claim to be of any length."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= BLOCK:
            raise tarfile.ReadError("a header is too large")
        return self._source.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()


def _members(image: str, archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """By name; the last one of a name counts, as it does for engines."""
    found: dict[str, tarfile.TarInfo] = {}
    for count, member in enumerate(archive, 1):
        if count > MAX_MEMBERS:
            raise refuse(image, "archive", "it holds too many files", f"at most {MAX_MEMBERS}", "more")
        found[member.name.removeprefix("./")] = member
    return found


def _chunks(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    source, left = archive.extractfile(member), member.size
    while source is not None and left:
        chunk = source.read(min(BLOCK, left))
        if not chunk:
            raise tarfile.ReadError("it ends early")
        left -= len(chunk)
        yield chunk


def _unpack(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes inside of gzip, in pieces of at most a block; what is not packed passes as it is."""
    first = next(chunks, b"")
    if not first.startswith(GZIP):
        yield first
        yield from chunks
        return
    inflater, rest = zlib.decompressobj(31), first
    while rest:
        yield inflater.decompress(rest, BLOCK)
        rest = inflater.unconsumed_tail
        if inflater.eof:
            inflater, rest = zlib.decompressobj(31), inflater.unused_data
        rest = rest or next(chunks, b"")
    yield inflater.flush()


def _entry(name: str, size: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)
    header.size = size
    yield header.tobuf(tarfile.GNU_FORMAT)
    yield from chunks
    yield bytes(-size % tarfile.BLOCKSIZE)


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
