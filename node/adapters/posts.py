"""Posts to where users want to be told: to addresses that were checked, without redirects, proxies or credentials."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import httpx

from market.errors import Unavailable
from node.adapters.outside import Outside, Resolve

WITHIN: Final = 10.0
"""Seconds for the whole of a try."""


class GuardedPosts:
    """The port `Posts`. With `is_open` plain http and private addresses are taken too: the operator's own programs."""

    def __init__(
        self,
        *,
        is_open: bool = False,
        resolve: Resolve | None = None,
        is_closed: Callable[[str], bool] | None = None,
        within: float = WITHIN,
    ) -> None:
        schemes = ("http", "https") if is_open else ("https",)
        self._outside = Outside("url", schemes, resolve, (lambda _: False) if is_open else is_closed)
        self._within = within

    async def check(self, url: str) -> None:
        await self._outside.place(url)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        try:
            async with asyncio.timeout(self._within):
                return await self._post(url, headers, body)
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._within:g} s") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"no answer: {type(error).__name__}") from error

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        place = await self._outside.place(url)
        async with self._outside.client(self._within) as client:
            request = client.build_request(
                "POST", place.url, content=body, headers={**headers, **place.headers}, extensions=place.extensions
            )
            answer = await client.send(request, stream=True)
            await answer.aclose()
            return answer.status_code
