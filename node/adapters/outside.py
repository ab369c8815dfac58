"""Addresses that users name: held against the table of what is private to somebody, before anything is sent there.

The host is resolved here once, every address is looked up in the table, and the connection goes to the address that was
checked, so that a name can not point elsewhere a moment later. The host that the node is on and its neighbours are no
place either, although their addresses may be public: what a firewall hides from the world is open to them.
"""

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from msgspec import Struct

from market.egress import CLOSED_PORTS, is_forbidden
from market.errors import InvalidParameters
from node.adapters.egress.host import KERNEL, is_within, own_networks, own_networks6
from node.adapters.names import Names

MAX_URL: Final = 2048
WEB_PORTS: Final = (80, 443)
FIRST_FREE_PORT: Final = 1024
"""Below it only the web is spoken to; above it are programs of users."""
OWN_FOR: Final = 10.0
"""Seconds for which it is believed which networks are the host's own."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Closed:
    """Which addresses nothing is sent to: what is private to somebody, and this host and its neighbours."""

    def __init__(self, kernel: Path = KERNEL) -> None:
        self._kernel = kernel
        self._own: tuple[str, ...] = ()
        self._read_at = -math.inf

    def __call__(self, address: str) -> bool:
        return is_forbidden(address) or is_within(address, self._networks())

    def _networks(self) -> tuple[str, ...]:
        if time.monotonic() - self._read_at > OWN_FOR:
            self._own = _own(self._kernel)
            self._read_at = time.monotonic()
        return self._own


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
        resolve: Resolve | None = None,
        is_closed: Callable[[str], bool] | None = None,
    ) -> None:
        self._field = field
        self._schemes = schemes
        self._resolve = resolve or Names().resolved
        self._is_closed = is_closed or Closed()
        self._tls: ssl.SSLContext | None = None

    async def place(self, text: str) -> Place:
        """Where the URL leads; InvalidParameters when nothing may be sent there."""
        url = self._checked(text)
        address = await self._address(url)
        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        return Place(url.copy_with(host=address), {"Host": url.netloc.decode("ascii")}, extensions)

    @asynccontextmanager
    async def client(self, within: float) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one request: it follows nobody, takes no proxy, and knows nothing of the requests before it.

        What certificates are held against is read once: that takes more time than all the rest.
        """
        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx.create_ssl_context, trust_env=False)
        async with httpx.AsyncClient(
            trust_env=False, verify=self._tls, timeout=within, follow_redirects=False
        ) as client:
            yield client

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
        if url.port is not None and not _is_web(url.port):
            raise self.refusal(text, f"a URL of a web server, at port 80, 443 or one from {FIRST_FREE_PORT} on")
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


def _is_web(port: int) -> bool:
    return port in WEB_PORTS or (FIRST_FREE_PORT <= port < 2**16 and port not in CLOSED_PORTS)


def _own(kernel: Path) -> tuple[str, ...]:
    """None on a system that does not tell."""
    try:
        return own_networks(kernel) + own_networks6(kernel)
    except OSError:
        return ()
