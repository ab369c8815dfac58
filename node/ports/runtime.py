"""The container engine: images, containers from start to removal, their logs and outputs; and the machine below."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from market.dialogue import LogPlace
from market.offers import Hardware
from market.resources import Resources
from market.units import Seconds, Timestamp
from market.workloads import Egress, Volume


class Image(Struct, frozen=True):
    """A resolved image: `id` is content-addressed, `size` in bytes."""

    reference: str
    id: str
    size: int


class ContainerSpec(Struct, frozen=True, kw_only=True):
    """One container to run: `name` is deterministic (`<lease>-a<attempt>`), so that starting twice starts once.

    `timeout` 0 is a service's: the runtime never ends it by itself.
    """

    name: str
    lease: str
    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    resources: Resources
    timeout: Seconds
    inputs: Path | None = None
    """A folder that is mounted read-only at /input."""
    has_outputs: bool = False
    """Whether a writable, size-limited /output is mounted."""
    egress: Egress = Egress()
    volumes: tuple[Volume, ...] = ()
    """Persistent folders; what is stored in them belongs to `owner` and is found again by its later containers."""
    owner: str = ""
    isolation: str = "hardened"
    """The tier: "hardened" or "gvisor"."""


class Exit(Struct, frozen=True, kw_only=True):
    """How a container ended. `reason` is one of "exited", "oom", "timeout", "killed", "engine"; times in epoch ms.

    "engine" means infrastructure (exit 137 after an engine restart, container vanished), never the user's failure.
    """

    code: int
    reason: str
    started_at: Timestamp
    finished_at: Timestamp


class LogLine(Struct, frozen=True):
    """One line of output: `at` in epoch ms, no newline at its end.

    `stream` is "stdout" or "stderr", or "node" where no program spoke: a node says that lines are missing.
    """

    at: Timestamp
    stream: str
    text: str


class Container(Struct, frozen=True, kw_only=True):
    """A container of ours that the engine knows."""

    name: str
    lease: str
    running: bool
    created_at: Timestamp


class OutputFile(Struct, frozen=True, kw_only=True):
    """A file taken out of a container: `path` relative to /output, `digest` SHA-256 hex, `size` in bytes."""

    path: str
    digest: str
    size: int


class RuntimeHealth(Struct, frozen=True, kw_only=True):
    """Whether the engine answers and enforces limits; `reason` says why not."""

    is_ok: bool
    version: str = ""
    reason: str = ""


class Runtime(Protocol):
    """The container engine. Methods raise Unavailable while the engine does not answer."""

    async def health(self) -> RuntimeHealth: ...

    async def ensure_image(self, reference: str, *, requester: str = "") -> Image:
        """The image, pulled when it is not there, on the budget of `requester` (an address, "" for the node's own).

        Raises ImageNotFound when there is no such image, ImageRefused when it is not admitted here, RateLimited when
        the requester's budget or the registry's patience is used up.
        """
        ...

    async def images(self) -> tuple[str, ...]:
        """References of the images that are here and that a job may name, those used last first."""
        ...

    async def start(self, spec: ContainerSpec) -> Timestamp:
        """Create and start the container and say when; when one of that name exists it is kept."""
        ...

    async def wait(self, name: str) -> Exit:
        """Wait until the container has ended (its own time limit included) and say how."""
        ...

    def logs(self, name: str, skip: int = 0, after: Sequence[LogPlace] = ()) -> AsyncIterator[LogLine]:
        """Lines as they are written, from the first (less `skip` lines) or those behind `after`, to the last.

        A container without time limit may write for ever: where its oldest lines are gone by now, one line of the
        stream "node" says so.
        """
        ...

    async def outputs(self, name: str, wanted: Sequence[str], store: Path, limit: int) -> tuple[OutputFile, ...]:
        """Copy the `wanted` paths under /output into `store`, each file named by its digest; regular files only.

        Raises OutputRefused when links or devices are wanted, or when they hold more than `limit` bytes.
        """
        ...

    async def stop(self, name: str, grace: int = 5) -> None:
        """SIGTERM, then SIGKILL after `grace`; no error when it has ended or does not exist."""
        ...

    async def remove(self, name: str) -> None:
        """Remove container and volumes; no error when it does not exist."""
        ...

    async def containers(self) -> tuple[Container, ...]:
        """All containers of this node, found by label."""
        ...


class Machine(Protocol):
    """Measures the machine that the node sells."""

    async def measure(self) -> tuple[Resources, Hardware]:
        """What is there in total, and the facts about it."""
        ...
