"""The workload: what runs in the container. It goes to the winner alone; gossip carries only its digest."""

import hashlib
from collections.abc import Iterable
from enum import StrEnum
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
Host = Annotated[str, Meta(max_length=253, pattern=r"^(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$(?!\n)")]
"""A name in DNS, in lower case: two labels at least, so no name of a local machine."""
PortNumber = Annotated[int, Meta(ge=1, le=65_535)]
UrlPath = Annotated[str, Meta(max_length=1024, pattern=r"^/[^\x00-\x20]*$(?!\n)")]
VolumeName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,31}$(?!\n)")]
VolumePath = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=r"^(?!/(proc|sys|dev|input|output|tmp)(/|$))(/(?!\.{1,2}(/|$))[^/\x00-\x1f]+)+$(?!\n)",
    ),
]
"""An absolute path inside a container, without "..", that hides nothing that the container needs."""
RepoUrl = Annotated[
    str,
    Meta(
        max_length=512,
        pattern=r"^https://([a-z0-9-]{1,63}\.)+[a-z][a-z0-9-]{0,62}(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~+-]{1,128}){1,16}/?$(?!\n)",
    ),
]
"""A repository over HTTPS at a name in DNS; no user, no password, no query."""
RefText = Annotated[str, Meta(max_length=200, pattern=r"^(?![-./])(?!.*(\.\.|//|@\{))[A-Za-z0-9._/+@-]*$(?!\n)")]
"""A branch, a tag or a commit; nothing that git could take for an option or a rule."""
FolderPath = Annotated[str, Meta(max_length=256, pattern=r"^(?!/)(?!(.*/)?\.\.(/|$))[^\x00-\x1f]*$(?!\n)")]
"""A relative path that does not lead out of its folder, or nothing."""
ARCHIVE = "archive:"
MAX_FILE = 2**40
MAX_WORKLOAD = 256 * 1024
"""Bytes of a workload as JSON: both sides write it anew whenever its lease changes."""


class File(Struct, frozen=True, kw_only=True):
    """A file by content: `path` relative to /input or /output, size in bytes."""

    path: InnerPath
    digest: Sha256
    size: Annotated[int, Meta(ge=0, le=MAX_FILE)]


class WorkloadKind(StrEnum):
    """What a workload is: work that ends, work that stays up, sandboxes for code, or an image that is made."""

    BATCH = "batch"
    SERVICE = "service"
    RUNNER = "runner"
    BUILD = "build"


class Egress(Struct, frozen=True, kw_only=True):
    """Where a workload may connect to: "none", "web" (public addresses), or "list" (the named hosts alone)."""

    policy: Annotated[str, Meta(pattern="^(none|web|list)$(?!\n)")] = "none"
    hosts: Annotated[tuple[Host, ...], Meta(max_length=64)] = ()


class Port(Struct, frozen=True, kw_only=True):
    """A port that a service listens on, and what is spoken there."""

    port: PortNumber
    protocol: Annotated[str, Meta(pattern="^(http|tcp)$(?!\n)")] = "http"
    is_direct: bool = False
    """Whoever reaches the provider's own address may connect too, not only the requester's gateway."""


class DirectPort(Struct, frozen=True, kw_only=True):
    """Where a direct port of a running service is reached: the provider's own address and a port of it."""

    port: PortNumber
    address: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.:\[\]-]{1,253}:[0-9]{1,5}$(?!\n)")]


class Probe(Struct, frozen=True, kw_only=True):
    """How a service is asked whether it works; times in seconds.

    "exec" runs `command` inside (0 = healthy), "http" gets `path` on `port` (200 to 399), "tcp" connects to `port`.
    Failures within `start_period` do not count; `retries` in a row after it make it unhealthy.
    """

    kind: Annotated[str, Meta(pattern="^(exec|http|tcp)$(?!\n)")]
    command: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    path: UrlPath = "/"
    interval: Annotated[int, Meta(ge=1, le=3600)] = 10
    timeout: Annotated[int, Meta(ge=1, le=60)] = 3
    retries: Annotated[int, Meta(ge=1, le=100)] = 3
    start_period: Annotated[int, Meta(ge=0, le=3600)] = 30


class Volume(Struct, frozen=True, kw_only=True):
    """A folder of a service that outlives its container, with a size in bytes that it can not exceed.

    A volume stays with its provider: it is found again by the service's next container there.
    """

    name: VolumeName
    path: VolumePath
    size: Annotated[int, Meta(ge=4 * 2**20, le=2**45)]


class Source(Struct, frozen=True, kw_only=True):
    """Where a build comes from: a git repository, and what of it; `ref` "" is its default branch.

    `folder` is built, by `dockerfile` below it; "" for both is the root, and whatever is found there.
    """

    url: RepoUrl
    ref: RefText = ""
    folder: FolderPath = ""
    dockerfile: FolderPath = ""


class Workload(Struct, frozen=True, kw_only=True):
    """What to run: image and command, environment, resources, time limit in seconds, files in and out.

    Inputs appear read-only under /input. `outputs` are paths under /output that come back; with none given,
    /output is not mounted. `ports`, `probe` and `volumes` are a service's; `owner` is the secret name under which
    its volumes are found again, and is no name of the account behind it. `source` is a build's, whose image is the
    only one of its outputs. The image "archive:<digest>" is the one in the input of that digest.
    """

    kind: WorkloadKind = WorkloadKind.BATCH

    image: Annotated[str, Meta(min_length=1, max_length=512)]
    command: Annotated[tuple[Text, ...], Meta(max_length=256)] = ()
    env: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=256)], Text], Meta(max_length=256)] = {}
    resources: Resources
    timeout: Annotated[int, Meta(ge=1, le=30 * 86400)]
    inputs: Annotated[tuple[File, ...], Meta(max_length=256)] = ()
    outputs: Annotated[tuple[InnerPath, ...], Meta(max_length=64)] = ()
    egress: Egress = Egress()
    ports: Annotated[tuple[Port, ...], Meta(max_length=16)] = ()
    probe: Probe | None = None
    volumes: Annotated[tuple[Volume, ...], Meta(max_length=8)] = ()
    owner: Annotated[str, Meta(max_length=64, pattern="^[0-9a-z]*$(?!\n)")] = ""
    source: Source | None = None


def direct_ports(workload: Workload | None) -> list[int]:
    """The numbers of the ports that are to be reached on the provider's own address."""
    return [port.port for port in workload.ports if port.is_direct] if workload else []


def needs_of(workload: Workload) -> tuple[str, ...]:
    """The capabilities that a provider must have for it, by the names of `Offer.capabilities`."""
    found = [workload.kind.value] if workload.kind is not WorkloadKind.BATCH else []
    found += [f"lang:{name}" for name in workload.command] if workload.kind is WorkloadKind.RUNNER else []
    found += [f"egress:{workload.egress.policy}"] if workload.egress.policy != "none" else []
    found += ["volumes"] if workload.volumes else []
    found += ["endpoints"] if workload.ports else []
    found += ["direct"] if direct_ports(workload) else []
    return tuple(found)


def archive_of(workload: Workload) -> File | None:
    """The input that holds the image, when that is named "archive:<digest>" and there is such an input."""
    digest = workload.image.removeprefix(ARCHIVE)
    if digest == workload.image:
        return None
    return next((file for file in workload.inputs if file.digest == digest), None)


def files_limit(resources: Resources) -> int:
    """Bytes that all inputs, and again all outputs, of a workload may have: its disk, and 1 GiB where that is less."""
    return max(resources.disk, GIB)


def fits_into(files: Iterable[File], resources: Resources) -> bool:
    """Whether these inputs or outputs are within `files_limit`."""
    return sum(file.size for file in files) <= files_limit(resources)


def volumes_size(workload: Workload) -> int:
    """Bytes of disk that its volumes take: they are taken at once, and bought like every other byte."""
    return sum(volume.size for volume in workload.volumes)


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
