"""One look at a registry over HTTP: bounded answers, guarded addresses, few redirects, and no time to waste.

Every host is resolved here, its addresses are checked, and the connection goes to the address that was checked.
Neither proxies nor credentials of this machine are used: what a stranger names is asked for anonymously.
"""

import asyncio
import ssl
from typing import Final

import httpx
from msgspec import Struct

from market.errors import ImageNotFound
from node.adapters.images.addresses import addresses_of, is_public
from node.adapters.images.limits import refuse
from node.adapters.images.references import is_loopback

MAX_REDIRECTS: Final = 3
REDIRECTS: Final = (301, 302, 303, 307, 308)
MAX_URL: Final = 8192


class RegistryAway(ImageNotFound):
    """Nobody answered for the registry in time; an image of it that is here already may do."""


class Answer(Struct, frozen=True, kw_only=True):
    """An answer of at most as many bytes as were allowed; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class Wire:
    """Connections for one look at `image`; `is_trusted` when the operator listed its registry by name.

    A registry of this machine speaks plain HTTP, and nobody else does; `patience` in seconds is for every word.
    """

    def __init__(self, image: str, *, is_trusted: bool, is_plain: bool, patience: float, tls: ssl.SSLContext) -> None:
        self._image = image
        self._is_trusted = is_trusted
        self._is_plain = is_plain
        self._patience = patience
        self._tls = tls
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def get(self, url: str, limit: int, *, accept: str = "*/*", token: str = "") -> Answer:
        """GET with redirects; the token goes to the host of `url` alone. Raises ImageNotFound, ImageRefused."""
        target = self._checked(url)
        first = target.netloc
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._ask(target, limit, accept, token if target.netloc == first else "")
            if answer.status not in REDIRECTS:
                return answer
            target = self._checked(answer.headers.get("location", ""), target)
        raise refuse(self._image, "redirects", "its registry sends us around", f"at most {MAX_REDIRECTS}", "more")

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    def _checked(self, text: str, source: httpx.URL | None = None) -> httpx.URL:
        """The URL, seen from `source`; ImageRefused when it is none that a registry may send us to."""
        try:
            url = source.join(text) if source else httpx.URL(text)
        except (httpx.InvalidURL, ValueError) as error:
            raise refuse(self._image, "redirects", "its registry names no address", "a URL", ascii(text)) from error
        is_plain = self._is_plain and url.scheme == "http" and is_loopback(url.host)
        is_known = url.scheme == "https" or is_plain
        if not is_known or not url.host or url.userinfo or len(text) > MAX_URL:
            raise refuse(self._image, "redirects", "its registry leads elsewhere", "https", ascii(text[:200]))
        return url

    async def _ask(self, url: httpx.URL, limit: int, accept: str, token: str) -> Answer:
        headers = {"Accept": accept, "Accept-Encoding": "identity", "Host": url.netloc.decode("ascii")}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        problem: Exception | None = None
        for address in await self._addresses(url):
            try:
                return await self._read(url, address, headers, limit)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                problem = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._away(url, error) from error
        raise self._away(url, problem or OSError("the name has no address"))

    async def _addresses(self, url: httpx.URL) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(self._patience):
                found = await addresses_of(url.host, url.port or 443)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise self._away(url, error) from error
        private = [address for address in found if not is_public(address)]
        if private and not self._is_trusted:
            raise refuse(
                self._image, "registries", f"{url.host} is in a private network", "a public address", private[0]
            )
        return found

    async def _read(self, url: httpx.URL, address: str, headers: dict[str, str], limit: int) -> Answer:
        client = self._client(url)
        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        request = client.build_request("GET", url.copy_with(host=address), headers=headers, extensions=extensions)
        answer = await client.send(request, stream=True)
        try:
            found = {name.lower(): value for name, value in answer.headers.items()}
            is_wanted = answer.status_code == httpx.codes.OK
            body = await self._body(answer, limit) if is_wanted else b""
            return Answer(status=answer.status_code, headers=found, body=body)
        finally:
            await answer.aclose()

    async def _body(self, answer: httpx.Response, limit: int) -> bytes:
        """The body as it was sent: one that is packed could unpack to anything."""
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > limit:
                raise refuse(self._image, "manifest", "its registry says too much", f"at most {limit} bytes", "more")
        return bytes(body)

    def _client(self, url: httpx.URL) -> httpx.AsyncClient:
        """One for each host: a connection to an address that two hosts share knows only the first one's name."""
        key = f"{url.scheme}://{url.netloc.decode('ascii')}"
        if key not in self._clients:
            self._clients[key] = httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._patience)
        return self._clients[key]

    def _away(self, url: httpx.URL, error: Exception) -> RegistryAway:
        said = str(error)[:120] or type(error).__name__
        return RegistryAway(f"no registry answered for {self._image[:200]!r}: {url.host}: {said}", image=self._image)
