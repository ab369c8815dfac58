"""The images of a provider's machine beside what running needs: archives in, room made, pulls looked at."""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

from node.ports.runtime import Image


class PullProgress(Struct, frozen=True, kw_only=True):
    """How far the pull of a full reference is, in bytes of its layers as registries hold them."""

    reference: str
    done: int
    total: int


class ImageStore(Protocol):
    """The images that this node brought. Methods raise Unavailable while the engine does not answer."""

    async def load(self, archive: Path, *, requester: str = "") -> Image:
        """The one image of an archive (`docker save` or an OCI layout in a tar), under its id and no name.

        Counts towards the budget of `requester`. Raises ImageRefused, RateLimited.
        """
        ...

    async def tidy(self) -> int:
        """Remove images that this node brought and nobody uses, while the disk is short; how many went."""
        ...

    def progress(self, reference: str) -> PullProgress | None:
        """How far the pull of an image is; None when it is not being pulled."""
        ...
