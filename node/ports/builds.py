"""Builds: a git source becomes an image; what is asked, and what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from market.resources import Resources
from market.units import Seconds
from market.workloads import Egress, Source
from node.ports.runtime import LogLine, OutputFile

Hear = Callable[[LogLine], None]
"""Takes the lines of a build as they are written; those on the stream `market.builds.STREAM` are its steps."""


class BuildSpec(Struct, frozen=True, kw_only=True):
    """What to build, under a deterministic name; `requester` is whose budget base images are pulled on.

    `egress` is what the steps may connect to; the clone reaches the repository's host alone.
    """

    name: str
    lease: str
    requester: str
    source: Source
    resources: Resources
    timeout: Seconds
    egress: Egress = Egress()


class BuildEnd(Struct, frozen=True, kw_only=True):
    """How a build ended: `code` is "", or one of `market.builds.CODES`, or "INFRASTRUCTURE".

    `archive` is the image in the store, named by its digest.
    """

    code: str = ""
    message: str = ""
    exit_code: int = 0
    image: str = ""
    archive: OutputFile | None = None


class Builder(Protocol):
    """Builds images. Whatever happens to a build, nothing of it stays but its image."""

    async def abilities(self) -> tuple[str, ...]:
        """What this machine can build now, in the words of offers."""
        ...

    async def ready(self) -> str:
        """The id of the image that clones; NotFound when it is not here."""
        ...

    async def build(self, spec: BuildSpec, store: Path, hear: Hear) -> BuildEnd:
        """Clone, build, and put the image into `store`; to be cancelled when nobody wants it any more."""
        ...

    async def sweep(self, name: str) -> None:
        """Remove what a build of this name left behind, in this life or an earlier one."""
        ...
