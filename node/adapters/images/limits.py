"""What an image may be here: the operator's limits, and the refusals that name them."""

from typing import Final

from msgspec import Struct

from market.errors import ImageRefused

GIB: Final = 2**30
MAX_LAYERS: Final = 127
"""What overlay file systems of all engines can stack."""
UNPACKED: Final = 4
"""An image may unpack to so many times the size that it may have packed; usual ones unpack to three times theirs."""


class ImageLimits(Struct, frozen=True, kw_only=True):
    """The operator's limits; sizes in bytes."""

    registries: tuple[str, ...] = ("docker.io",)
    """Hosts, with a port where it is not 443, or patterns with "*": a pattern admits public addresses alone."""
    shared: tuple[str, ...] = ()
    """Patterns of images of this machine's own that every job may name."""
    max_size: int = 20 * GIB
    """Of all layers together, packed as registries hold them."""
    pull_budget: int = 20 * GIB
    """What one requester may have pulled in an hour, packed."""
    keep_free: int = 5 * GIB
    """Below so much free disk, images that this node brought go, those used longest ago first."""


def refuse(image: str, limit: str, sentence: str, expected: object, got: object) -> ImageRefused:
    """The refusal of `image` by `limit`, with both in its sentence: a receipt carries nothing else."""
    shown = f"{image[:120]!r} is refused: {sentence}, expected {expected}, got {str(got)[:120]}"
    return ImageRefused(shown, image=image[:512], limit=limit, expected=expected, got=got)
