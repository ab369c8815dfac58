"""How routes answer: views encoded once, conditional answers, idempotent answers, pages of lists."""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, TypedDict, TypeVar

import msgspec
from litestar import Response
from litestar.enums import MediaType
from litestar.params import HeaderParameter, QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from market.errors import InvalidParameters
from node.actions.answers import ANSWER_KEPT, Idempotency, must_match
from node.api.merging import Place, Placed, place_of
from node.api.services import Call
from node.api.views import Pagination
from node.records import Answer

T = TypeVar("T")
Key = tuple[int | str, ...]
"""What a list in memory is ordered by: no two items have the same."""
_key: Final = msgspec.json.Decoder(Key)
encode: Final = msgspec.json.Encoder(enc_hook=str).encode
MAX_PAGE: Final = 100
ALL: Final = 256
"""What a list shows at once whose clients know no pages: as many projects, or services, as an account may have."""
MAX_OFFSET: Final = 1_000_000
MAX_CURSOR: Final = 1024
MAX_KEY: Final = 255
_KEY: Final = re.compile(r"^[!-~]*$")
KEY: Final = HeaderParameter(
    name="Idempotency-Key",
    description=(
        "Makes a repeat safe. Under a key that you sent here before, nothing is done twice: what was made then is "
        f"answered again, for {ANSWER_KEPT // 3_600_000} hours at least. The same key for something else is refused "
        "with 422, `IDEMPOTENCY_MISMATCH`. Without a key, or with an empty one, each request counts."
    ),
    schema_extra={"max_length": MAX_KEY, "pattern": _KEY.pattern},
)
"""The header, described wherever `idempotency_key` is asked for; its refusal is told in our own words."""


class Encoded(Response[Any]):
    """JSON in bytes with its own headers and no cookies: nothing is left for the framework to find out."""

    def to_asgi_response(self, app: Any, request: Any, **_: Any) -> ASGIResponse:
        return _Sent(self.status_code or 200, self.headers, self.content)


class _Sent(ASGIResponse):
    def __init__(self, status: int, headers: dict[str, Any], body: bytes) -> None:
        own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        length = b"%d" % len(body)
        self._start: Any = {
            "type": "http.response.start",
            "status": status,
            "headers": [*own, (b"content-type", b"application/json"), (b"content-length", length)],
        }
        self._body: Any = {"type": "http.response.body", "body": body, "more_body": False}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(self._start)
        await send(self._body)


def reply(view: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[Any]:
    """The view as JSON; bytes are JSON already."""
    body = view if isinstance(view, bytes) else encode(view)
    return Encoded(content=body, status_code=status, headers=headers)


def reply_unless_known(request: Call, view: Any, tag: str) -> Response[Any]:
    """The view under its ETag, or 304 when the client holds that version (If-None-Match)."""
    known = request.headers.get("if-none-match", "")
    if known and (known == "*" or _opaque(tag) in {_opaque(item) for item in known.split(",")}):
        return Response(content=b"", status_code=304, media_type=MediaType.JSON, headers={"ETag": tag})
    return reply(view, headers={"ETag": tag, "Cache-Control": "private, no-cache"})


def idempotency_key(value: Annotated[str, KEY] = "") -> str:
    """The Idempotency-Key header, or ""; InvalidParameters when it is longer than 255 or not printable ASCII.

    A handler that asks for it as `key` honours it and is described so: there is no other way to it.
    """
    key = value.strip()
    if len(key) > MAX_KEY or not _KEY.match(key):
        raise InvalidParameters(
            f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters without spaces",
            field=KEY.name,
            value=key[:80],
        )
    return key


async def before_handling(request: Any) -> Response[Any] | None:
    """What comes between the guards and every handler; an answer takes the handler's place."""
    _refuse_twice_given(request)
    return await answer_repeated(request)


def _refuse_twice_given(request: Call) -> None:
    """No parameter of a query is a list: one that comes twice says two things, and neither is believed."""
    if not request.scope["query_string"]:
        return
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name in seen:
            raise InvalidParameters("a parameter may come once", field=name[:80], expected="one value")
        seen.add(name)


async def answer_repeated(request: Call) -> Response[Any] | None:
    """The stored answer to a repeat, before anything is asked of it: what it names may be gone by now.

    None for a first request, and for whatever its route has to refuse.
    """
    key = request.headers.get(KEY.name or "", "").strip()
    if not key or request.method != "POST" or not request.scope.get("user"):
        return None
    known = request.services.answers.find(request.account, _route_of(request), key)
    if known is None:
        return None
    must_match(known, key, await _digest_of(request))
    return replay(known)


async def reply_once(
    request: Call,
    key: str,
    act: Callable[[Idempotency | None], Awaitable[tuple[T | None, Answer | None]]],
    view: Callable[[T], Any],
    status: int = 200,
) -> Response[Any]:
    """Do what a repeat under the key must not do again, and answer with the view of what came of it."""
    idempotency = await idempotency_of(request, key, lambda noun: (status, encode(view(noun))))
    noun, stored = await act(idempotency)
    if noun is None or stored is not None:
        return replay(stored)  # type: ignore[arg-type]  # one of the two is always there
    return reply(view(noun), status)


async def idempotency_of(request: Call, key: str, render: Callable[[Any], tuple[int, bytes]]) -> Idempotency | None:
    """What makes a repeat of this request safe; None without a key."""
    if not key:
        return None
    return Idempotency(key=key, route=_route_of(request), body_digest=await _digest_of(request), render=render)


def _route_of(request: Call) -> str:
    return f"{request.method} {request.scope['path'].rstrip('/')}"


async def _digest_of(request: Call) -> str:
    return hashlib.sha256(await request.body()).hexdigest()


def replay(answer: Answer) -> Response[Any]:
    """The stored answer to the first request with this Idempotency-Key."""
    return reply(answer.body, answer.status, {"Idempotent-Replayed": "true"})


class Page(msgspec.Struct, frozen=True):
    """What part of a list is asked for: by cursor, by offset or by page number."""

    limit: int
    cursor: str
    offset: int
    number: int | None

    @property
    def start(self) -> int:
        """How many items come before it, when it is not given by a cursor."""
        return (self.number - 1) * self.limit if self.number else self.offset


def page_of(
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 20,
    cursor: Annotated[str | None, QueryParameter(max_length=MAX_CURSOR)] = None,
    offset: Annotated[int | None, QueryParameter(ge=0, le=MAX_OFFSET)] = None,
    page: Annotated[int | None, QueryParameter(ge=1, le=MAX_OFFSET)] = None,
) -> Page:
    """The page; InvalidParameters when it is given in more than one way."""
    given = [name for name, value in (("cursor", cursor), ("offset", offset), ("page", page)) if value is not None]
    if len(given) > 1:
        raise InvalidParameters(f"give one of {', '.join(given)}", field=given[1], expected="one way to page")
    wanted = Page(limit=limit, cursor=cursor or "", offset=offset or 0, number=page)
    if wanted.start > MAX_OFFSET:
        raise InvalidParameters(f"a page starts at most at {MAX_OFFSET}; use the cursor", field=given[0])
    return wanted


def page_of_hundred(
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 100,
    cursor: Annotated[str | None, QueryParameter(max_length=MAX_CURSOR)] = None,
    offset: Annotated[int | None, QueryParameter(ge=0, le=MAX_OFFSET)] = None,
    page: Annotated[int | None, QueryParameter(ge=1, le=MAX_OFFSET)] = None,
) -> Page:
    """The page of a list whose documented default is 100 items."""
    return page_of(limit, cursor, offset, page)


def page_of_all(
    limit: Annotated[int, QueryParameter(ge=1, le=ALL)] = ALL,
    cursor: Annotated[str | None, QueryParameter(max_length=MAX_CURSOR)] = None,
    offset: Annotated[int | None, QueryParameter(ge=0, le=MAX_OFFSET)] = None,
    page: Annotated[int | None, QueryParameter(ge=1, le=MAX_OFFSET)] = None,
) -> Page:
    """The page of a list that is documented without pages."""
    return page_of(limit, cursor, offset, page)


def numbered_page(
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 20,
    cursor: Annotated[str | None, QueryParameter(max_length=MAX_CURSOR)] = None,
    offset: Annotated[int | None, QueryParameter(ge=0, le=MAX_OFFSET)] = None,
    page: Annotated[int | None, QueryParameter(ge=1, le=MAX_OFFSET)] = None,
) -> Page:
    """The page of a list whose documented default is the page number 1."""
    wanted = page_of(limit, cursor, offset, page)
    return wanted if cursor is not None or offset is not None else msgspec.structs.replace(wanted, number=page or 1)


def pagination_of(page: Page, total: int, count: int, next_cursor: str | None) -> Pagination:
    """Where a page of `count` items lies; `next_cursor` says that more follow."""
    return Pagination(
        limit=page.limit,
        total=total,
        has_more=next_cursor is not None,
        next_cursor=next_cursor,
        offset=page.start or None,
        page=page.number,
        total_pages=max(1, -(-total // page.limit)) if page.number else None,
    )


class Totals(TypedDict):
    """The documented fields of a list beside its items."""

    total: int
    limit: int
    offset: int
    has_more: bool
    pagination: Pagination


def listing(
    items: Sequence[T], page: Page, key: Callable[[T], Key], *, newest: bool = False
) -> tuple[Sequence[T], Totals]:
    """A page of a list that is in memory, and what is said of the list."""
    shown, following = cut(items, page, key, newest=newest)
    return shown, Totals(
        total=len(items),
        limit=page.limit,
        offset=_start_in(items, page, key, newest),
        has_more=following is not None,
        pagination=pagination_of(page, len(items), len(shown), following),
    )


def cut(
    items: Sequence[T], page: Page, key: Callable[[T], Key], *, newest: bool = False
) -> tuple[Sequence[T], str | None]:
    """A page of a list that is in memory, in the order of `key` (`newest`: the greatest first), and the next cursor."""
    start = _start_in(items, page, key, newest)
    shown = items[start : start + page.limit]
    return shown, cursor_behind(key(shown[-1])) if start + page.limit < len(items) and shown else None


def _start_in(items: Sequence[T], page: Page, key: Callable[[T], Key], newest: bool) -> int:
    """Behind all items up to the cursor's, which need not be there any more."""
    if not page.cursor:
        return page.start
    last = key_in(page.cursor)
    try:
        return sum(key(item) >= last if newest else key(item) <= last for item in items)
    except TypeError:
        raise _foreign(page.cursor) from None


P = TypeVar("P", bound=Placed)


def cut_ahead(found: Sequence[P], page: Page) -> tuple[Sequence[P], str | None]:
    """A page of what was looked up with one item more than it holds, and the cursor of the next one."""
    return cut_ahead_by(found, page, place_of)


def cut_ahead_by(found: Sequence[T], page: Page, place: Callable[[T], Place]) -> tuple[Sequence[T], str | None]:
    """The same of what lists order by something else."""
    shown = found[: page.limit]
    return shown, cursor_of(*place(shown[-1])) if len(found) > page.limit else None


def cursor_of(created_at: int, id: str) -> str:
    """An opaque cursor behind the item (created_at, id)."""
    return base64.urlsafe_b64encode(f"{created_at}:{id}".encode()).decode().rstrip("=")


def place_in(cursor: str) -> tuple[int, str]:
    """The (created_at, id) in a cursor of ours; InvalidParameters for anything else."""
    try:
        number, _, id = _text_in(cursor).partition(":")
        place = int(number)
    except ValueError:
        raise _foreign(cursor) from None
    if not 0 <= place < 2**53:
        raise _foreign(cursor)
    return place, id


def cursor_behind(key: Key) -> str:
    """An opaque cursor behind the item of a list in memory that has this key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def key_in(cursor: str) -> Key:
    """The key in a cursor of ours; InvalidParameters for anything else."""
    try:
        return _key.decode(_text_in(cursor))
    except (ValueError, msgspec.MsgspecError):
        raise _foreign(cursor) from None


def _text_in(cursor: str) -> str:
    """ValueError, of which binascii.Error is one, when there is none."""
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()


def _foreign(cursor: str) -> InvalidParameters:
    return InvalidParameters("cursor is not one that this API gave out", field="cursor", value=cursor)


def _opaque(tag: str) -> str:
    return tag.strip().removeprefix("W/")
