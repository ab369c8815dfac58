"""How this node builds."""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from market.errors import ConfigError
from node.adapters.builds.recipes import RECIPES
from node.adapters.egress.host import KERNEL

MAX_AUTHORITIES: Final = 64 * 1024


class BuildSettings(Struct, frozen=True, kw_only=True):
    """What the operator sets for builds; sizes in bytes, times in seconds."""

    private_hosts: tuple[str, ...] = ()
    """Repository hosts that are no public places, as `RepositoryHosts` reads them."""
    authorities: Path | None = None
    """A file of certificates in PEM that repository hosts may be signed by, beside the usual ones."""
    max_repository: int = 2**30
    clone_within: int = 600
    processes: int = 512
    """How many one step may have at once."""
    recipes: Path = RECIPES
    kernel: Path = msgspec.field(default_factory=lambda: KERNEL)


def read_authorities(path: Path | None) -> str:
    """The certificates as text; ConfigError when the file can not be read, or is too large."""
    if path is None:
        return ""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the certificates can not be read: {error}", file=str(path)) from error
    if len(text) > MAX_AUTHORITIES:
        raise ConfigError(f"{path}: the certificates may have {MAX_AUTHORITIES} bytes", file=str(path))
    return text
