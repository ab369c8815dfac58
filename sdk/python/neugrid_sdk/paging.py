"""Lists, which come in pages: the pages one by one, or all items over as many of them as it takes."""

from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from neugrid_sdk.drivers import AsyncDriver, SyncDriver
from neugrid_sdk.effects import Item, Program, Request, Stream
from neugrid_sdk.errors import BadAnswer
from neugrid_sdk.retries import Retries, sent

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """Items of a list, how many there are in all, and the cursor of the next page ("" = this is the last)."""

    items: tuple[T, ...]
    total: int
    next_cursor: str


class Listing(Struct, Generic[T], frozen=True, kw_only=True):
    """A list of a node: the request for its first page, the name that items have there, and their shape."""

    request: Request
    plural: str
    shape: type[T]


class Place(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the node says that a page lies."""

    total: int
    next_cursor: str | None = None


def page_of(listing: Listing[T], cursor: str, retries: Retries) -> Program[Page[T]]:
    """The page behind the cursor; the first one without."""
    request = listing.request
    if cursor:
        request = replace(request, params={**request.params, "cursor": cursor})
    answer = yield from sent(request, retries)
    try:
        body = msgspec.json.decode(answer.content, type=dict[str, msgspec.Raw])
        items = msgspec.json.decode(body[listing.plural], type=tuple[listing.shape, ...])  # type: ignore[name-defined]
        place = msgspec.json.decode(body["pagination"], type=Place) if "pagination" in body else Place(total=len(items))
    except (msgspec.ValidationError, msgspec.DecodeError, KeyError) as error:
        raise BadAnswer(f"the list {listing.plural!r} is not as expected: {error}") from error
    return Page(items=items, total=place.total, next_cursor=place.next_cursor or "")


def all_of(listing: Listing[T], retries: Retries) -> Stream[T]:
    """The items of all pages, each page asked for when it is reached."""
    cursor = ""
    while True:
        page = yield from page_of(listing, cursor, retries)
        yield from map(Item, page.items)
        cursor = page.next_cursor
        if not cursor:
            return


class Pages(Generic[T]):
    """A list, asked for as it is read."""

    def __init__(self, listing: Listing[T], driver: SyncDriver, retries: Retries) -> None:
        self._listing = listing
        self._driver = driver
        self._retries = retries

    def __iter__(self) -> Iterator[T]:
        return self._driver.items(all_of(self._listing, self._retries))

    def page(self, cursor: str = "") -> Page[T]:
        """One page: the first, or the one behind a `next_cursor`."""
        return self._driver.result(page_of(self._listing, cursor, self._retries))


class AsyncPages(Generic[T]):
    """A list, asked for as it is read."""

    def __init__(self, listing: Listing[T], driver: AsyncDriver, retries: Retries) -> None:
        self._listing = listing
        self._driver = driver
        self._retries = retries

    def __aiter__(self) -> AsyncIterator[T]:
        return self._driver.items(all_of(self._listing, self._retries))

    async def page(self, cursor: str = "") -> Page[T]:
        """One page: the first, or the one behind a `next_cursor`."""
        return await self._driver.result(page_of(self._listing, cursor, self._retries))
