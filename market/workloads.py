"""The workload: what runs in the container. It goes to the winner alone; gossip carries only its digest."""

import hashlib
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from market.resources import Resources
from market.units import GIB, Digest

Text = Annotated[str, Meta(max_length=32_768)]
Path = Annotated[str, Meta(min_length=1, max_length=1024)]
InnerPath = Annotated[str, Meta(max_length=1024, pattern=r"^(?!/)(?!([^\x00]*/)?\.\.(/|$))[^\x00]+$")]
"""A relative path that does not lead out of its folder: no leading slash, no "..", no NUL."""
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
MAX_FILE = 2**40
MAX_WORKLOAD = 256 * 1024
"""Bytes of a workload as JSON: both sides write it anew whenever its lease changes."""


class File(Struct, frozen=True, kw_only=True):
    """A file by content: `path` relative to /input or /output, size in bytes."""

    path: InnerPath
    digest: Sha256
    size: Annotated[int, Meta(ge=0, le=MAX_FILE)]


class Workload(Struct, frozen=True, kw_only=True):
    """A batch job: image and command, environment, resources, time limit in seconds, files in and out.

    Inputs appear read-only under /input. `outputs` are paths under /output that come back; with none given,
    /output is not mounted.
    """

    image: Annotated[str, Meta(min_length=1, max_length=512)]
    command: Annotated[tuple[Text, ...], Meta(max_length=256)] = ()
    env: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=256)], Text], Meta(max_length=256)] = {}
    resources: Resources
    timeout: Annotated[int, Meta(ge=1, le=30 * 86400)]
    inputs: Annotated[tuple[File, ...], Meta(max_length=256)] = ()
    outputs: Annotated[tuple[InnerPath, ...], Meta(max_length=64)] = ()


def files_limit(resources: Resources) -> int:
    """Bytes that all inputs, and again all outputs, of a workload may have: its disk, and 1 GiB where that is less."""
    return max(resources.disk, GIB)


def fits_into(files: Iterable[File], resources: Resources) -> bool:
    """Whether these inputs or outputs are within `files_limit`."""
    return sum(file.size for file in files) <= files_limit(resources)


def are_under(paths: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether every path is one of the wanted, or lies in a wanted folder."""
    folders = tuple(f"{path}/" for path in wanted)
    return all(f"{path}/".startswith(folders) for path in paths)


def is_too_large(workload: Workload) -> bool:
    """Whether image, command and environment are more than MAX_WORKLOAD bytes; long texts belong into inputs."""
    return len(_encoder.encode(workload)) > MAX_WORKLOAD


_encoder = msgspec.json.Encoder(order="sorted")


def spec_digest(workload: Workload, nonce: str) -> Digest:
    """SHA-256 over the sorted JSON of the workload and a secret nonce, so that a digest can not be guessed open."""
    return Digest(hashlib.sha256(_encoder.encode([nonce, workload])).hexdigest())
