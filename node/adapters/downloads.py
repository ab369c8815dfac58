"""Downloads of what users name: one GET to an address that was checked, without redirects, proxies or credentials."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx

from node.adapters.outside import Outside, Place, Resolve

ALL_WITHIN: Final = 60.0
"""Seconds for the whole file."""
SILENCE: Final = 10.0
"""Seconds for the next word."""


class GuardedDownloads:
    """The port `Downloads`; `field` is how refusals name the URL."""

    def __init__(
        self,
        resolve: Resolve | None = None,
        is_closed: Callable[[str], bool] | None = None,
        within: float = ALL_WITHIN,
        field: str = "binary_url",
    ) -> None:
        self._outside = Outside(field, resolve=resolve, is_closed=is_closed)
        self._within = within

    async def fetch(self, url: str) -> AsyncIterator[bytes]:
        """The file, as it was sent."""
        try:
            async with asyncio.timeout(self._within):
                async for chunk in self._read(url, await self._outside.place(url)):
                    yield chunk
        except TimeoutError as error:
            raise self._outside.refusal(url, f"a file that comes within {self._within:g} seconds") from error
        except httpx.HTTPError as error:
            raise self._outside.refusal(url, f"a file that can be fetched ({type(error).__name__})") from error

    async def _read(self, url: str, place: Place) -> AsyncIterator[bytes]:
        headers = {**place.headers, "Accept-Encoding": "identity"}
        async with (
            self._outside.client(SILENCE) as client,
            client.stream("GET", place.url, headers=headers, extensions=place.extensions) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise self._outside.refusal(url, f"a file, not an answer {answer.status_code}")
            async for chunk in answer.aiter_raw():
                yield chunk
