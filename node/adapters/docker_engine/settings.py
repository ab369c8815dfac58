"""How this node uses its engine."""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from market.errors import ConfigError
from market.offers import Gpu
from node.adapters.builds.settings import BuildSettings
from node.adapters.docker_engine.volumes import has_loop_devices
from node.adapters.egress.host import KERNEL
from node.adapters.egress.upstream import NameServer
from node.adapters.images.limits import ImageLimits

SECCOMP: Final = Path(__file__).parents[3] / "configs" / "seccomp.json"


class RuntimeSettings(Struct, frozen=True, kw_only=True):
    """`node` is the label on everything the node owns, and keeps two nodes on one engine apart."""

    node: str
    folder: Path
    """Where the image files of /output volumes lie; nobody else may write there."""
    address: str = ""
    """The engine's URL; "" means DOCKER_HOST or the default socket."""
    has_loop_devices: bool = msgspec.field(default_factory=has_loop_devices)
    """Whether /output is a disk of the agreed size, or else a plain volume that is watched."""
    slots: int = 4
    """How many network namespaces are kept ready, each an idle container of 4 MB."""
    gpus: tuple[Gpu, ...] = ()
    """The GPUs to lend, each to one workload at a time."""
    log_limit: int = 8 * 2**20
    """Bytes of output kept of one workload."""
    patience: float = 5.0
    """Seconds that a registry may take to its first word."""
    images: ImageLimits = ImageLimits()
    shelf: Path | None = None
    """The file that remembers which images this node brought; None remembers them for this life alone."""
    seccomp: Path = SECCOMP
    builds: BuildSettings = BuildSettings()
    bandwidth: int = 0
    """Bytes a second, each way, of a workload that may connect to the internet; 0 is without limit."""
    nameservers: tuple[NameServer, ...] = ()
    """Address and port of those that resolve names for workloads; none means the host's own."""
    kernel: Path = KERNEL
    """Where the kernel tells the addresses and routes of the host that the engine runs on."""


def read_seccomp(path: Path) -> str:
    """The system call filter as the engine takes it; ConfigError when there is none, for none means no filter."""
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: the system call filter can not be read: {error}", file=str(path)) from error
