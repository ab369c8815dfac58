"""Addresses that users name: held against the table of what is private to somebody, before anything is sent there.

The host is resolved here once, every address is looked up in the table, and the connection goes to the address that was
checked, so that a name can not point elsewhere a moment later.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import httpx
from msgspec import Struct

from market.egress import CLOSED_PORTS, is_forbidden
from market.errors import InvalidParameters

MAX_URL: Final = 2048
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a host. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Place(Struct, frozen=True):
    """Where to send a request: the address that was checked, the headers and what TLS has to be told."""

    url: httpx.URL
    headers: dict[str, str]
    extensions: dict[str, Any]


class Outside:
    """Checks addresses; `field` is how refusals name them, `schemes` what they may begin with."""

    def __init__(
        self,
        field: str,
        schemes: tuple[str, ...] = ("http", "https"),
        resolve: Resolve = resolved,
        is_closed: Callable[[str], bool] = is_forbidden,
    ) -> None:
        self._field = field
        self._schemes = schemes
        self._resolve = resolve
        self._is_closed = is_closed

    async def place(self, text: str) -> Place:
        """Where the URL leads; InvalidParameters when nothing may be sent there."""
        url = self._checked(text)
        address = await self._address(url)
        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        return Place(url.copy_with(host=address), {"Host": url.netloc.decode("ascii")}, extensions)

    def refusal(self, url: str, expected: str) -> InvalidParameters:
        """The refusal that names the URL and what was expected."""
        shown = ascii(url[:200])[1:-1]
        return InvalidParameters(
            f"{self._field} must be {expected}, got {shown}", field=self._field, value=shown, expected=expected
        )

    def _checked(self, text: str) -> httpx.URL:
        kinds = " or ".join(self._schemes)
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError) as error:
            raise self.refusal(text, f"an {kinds} URL") from error
        if url.scheme not in self._schemes or not url.host or url.userinfo or len(text) > MAX_URL:
            raise self.refusal(text, f"an {kinds} URL without a user")
        if url.port is not None and (url.port in CLOSED_PORTS or not 0 < url.port < 2**16):
            raise self.refusal(text, "a URL of a web server")
        return url

    async def _address(self, url: httpx.URL) -> str:
        """The first address of the host; all of them must be public."""
        try:
            found = await self._resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError) as error:
            raise self.refusal(str(url), "a host that has an address") from error
        if not found or any(self._is_closed(address) for address in found):
            raise self.refusal(str(url), "a host with public addresses")
        return found[0]
