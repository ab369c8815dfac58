"""Downloads of what users name: one GET to an address that was checked, without redirects, proxies or credentials.

The host is resolved here once, every address is held against the table of what is private to somebody, and the
connection goes to the address that was checked, so that a name can not point elsewhere a moment later.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import httpx

from market.egress import CLOSED_PORTS, is_forbidden
from market.errors import InvalidParameters

MAX_URL: Final = 2048
ALL_WITHIN: Final = 60.0
"""Seconds for the whole file."""
SILENCE: Final = 10.0
"""Seconds for the next word."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a host. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedDownloads:
    """The port `Downloads`; `field` is how refusals name the URL."""

    def __init__(
        self,
        resolve: Resolve = resolved,
        is_closed: Callable[[str], bool] = is_forbidden,
        within: float = ALL_WITHIN,
        field: str = "binary_url",
    ) -> None:
        self._resolve = resolve
        self._is_closed = is_closed
        self._within = within
        self._field = field

    async def fetch(self, url: str) -> AsyncIterator[bytes]:
        """The file, as it was sent."""
        try:
            async with asyncio.timeout(self._within):
                target = self._checked(url)
                address = await self._address(target)
                async for chunk in self._read(target, address):
                    yield chunk
        except TimeoutError as error:
            raise self._refusal(url, f"a file that comes within {self._within:g} seconds") from error
        except httpx.HTTPError as error:
            raise self._refusal(url, f"a file that can be fetched ({type(error).__name__})") from error

    def _checked(self, text: str) -> httpx.URL:
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError) as error:
            raise self._refusal(text, "an http or https URL") from error
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or len(text) > MAX_URL:
            raise self._refusal(text, "an http or https URL without a user")
        if url.port is not None and (url.port in CLOSED_PORTS or not 0 < url.port < 2**16):
            raise self._refusal(text, "a URL of a web server")
        return url

    async def _address(self, url: httpx.URL) -> str:
        """The first address of the host; all of them must be public."""
        try:
            found = await self._resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError) as error:
            raise self._refusal(str(url), "a host that has an address") from error
        if not found or any(self._is_closed(address) for address in found):
            raise self._refusal(str(url), "a host with public addresses")
        return found[0]

    async def _read(self, url: httpx.URL, address: str) -> AsyncIterator[bytes]:
        headers = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        async with httpx.AsyncClient(trust_env=False, timeout=SILENCE, follow_redirects=False) as client:
            place = url.copy_with(host=address)
            async with client.stream("GET", place, headers=headers, extensions=extensions) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise self._refusal(str(url), f"a file, not an answer {answer.status_code}")
                async for chunk in answer.aiter_raw():
                    yield chunk

    def _refusal(self, url: str, expected: str) -> InvalidParameters:
        shown = ascii(url[:200])[1:-1]
        return InvalidParameters(
            f"{self._field} must be {expected}, got {shown}", field=self._field, value=shown, expected=expected
        )
