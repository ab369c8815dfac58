"""Image references, parsed by the grammar of the distribution project and written in one way: pure.

https://github.com/distribution/reference/blob/main/reference.go: `[registry[:port]/]path[:tag][@digest]`. A name that a
registry, the engine and this node would each read in their own way is refused here.
"""

import ipaddress
import re
from typing import Final

from msgspec import Struct

from market.errors import ImageNotFound

HUB: Final = "docker.io"
MAX_NAME: Final = 255
MAX_REFERENCE: Final = 512
_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_REGISTRY: Final = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]{{2,39}}\])(?::([0-9]{{1,5}}))?")
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HEX: Final = re.compile(r"[0-9a-f]{64}")


class Reference(Struct, frozen=True, kw_only=True):
    """A complete reference: `registry` with its port, `repository` below it, and a tag or a digest, which wins."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """As people write it: without the hub and its library, where it is still the same name then."""
        short = self.repository.removeprefix("library/")
        for name in (short, self.repository):
            if _split(name) == (self.registry, self.repository):
                return f"{name}{self._end}"
        return str(self)

    def __str__(self) -> str:
        return f"{self.name}{self._end}"

    @property
    def _end(self) -> str:
        return f"@{self.digest}" if self.digest else f":{self.tag}"


def parse_reference(text: str) -> Reference:
    """The reference in full: the hub, its library and "latest" are put in; ImageNotFound for what is none."""
    rest, at, digest = text.partition("@")
    if len(text) > MAX_REFERENCE or (at and not _DIGEST.fullmatch(digest)):
        raise _no_reference(text)
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    elif not _TAG.fullmatch(tag):
        raise _no_reference(text)
    registry, repository = _split(name)
    if not _is_name(registry, repository):
        raise _no_reference(text)
    return Reference(registry=registry, repository=repository, tag="" if at else tag or "latest", digest=digest)


def is_image_id(text: str) -> bool:
    """Whether the text is an image's content id in full; the short ones could be meant for anybody's image."""
    return bool(_DIGEST.fullmatch(text))


def is_loopback(registry: str) -> bool:
    """Whether a registry, with or without port, is this machine by name or by number: it may speak plain HTTP."""
    host = host_of(registry)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(registry: str) -> str:
    """The host of a registry, without port and brackets."""
    match = _REGISTRY.fullmatch(registry)
    return match[1].strip("[]") if match else registry


def _split(name: str) -> tuple[str, str]:
    """The first part is a registry when it looks like a host: a dot, a port or "localhost"."""
    first, slash, path = name.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, repository = (first.lower(), path) if is_host else (HUB, name)
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = HUB
    if registry == HUB and repository and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def _is_name(registry: str, repository: str) -> bool:
    match = _REGISTRY.fullmatch(registry)
    if match is None or len(registry) + 1 + len(repository) > MAX_NAME:
        return False
    has_port = match[2] is None or 0 < int(match[2]) <= 65_535
    is_id = _HEX.fullmatch(repository.removeprefix("library/")) is not None
    return has_port and not is_id and _PATH.fullmatch(repository) is not None


def _no_reference(text: str) -> ImageNotFound:
    expected = "[registry[:port]/]path[:tag][@sha256:...]"
    return ImageNotFound(f"{text[:120]!r} is not an image reference, expected {expected}", image=text[:120])
