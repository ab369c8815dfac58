"""Routes of API keys: list, make, revoke."""

from typing import Annotated, Final

from litestar import Response, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from market.errors import InvalidParameters
from market.units import parse_duration
from node.actions.keys import NewKey
from node.api.auth import SECURITY, makes_keys, manages, signed_in
from node.api.errors import problems
from node.api.merging import place_of
from node.api.present import iso
from node.api.replies import Page, cut, page_of_hundred, pagination_of, reply
from node.api.services import Call
from node.api.submissions import Body
from node.api.views import Deleted, KeyList, KeyView
from node.records import ApiKey

TAGS: Final = ["Keys"]
_YEAR: Final = 365 * 86_400
MAX_LIFE: Final = 10 * _YEAR


class KeyBody(Body, frozen=True, kw_only=True):
    """A name for the key, how long it lives ("30d", "90d", "1y", or null for ever), and what it may do (all you may).

    `rotate` revokes your other keys; `profile` makes a key as clients of that platform expect it.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    expires_in: Annotated[str, Meta(max_length=16)] | None = None
    scopes: Annotated[tuple[Annotated[str, Meta(max_length=16)], ...], Meta(max_length=8)] = ()
    rotate: bool = False
    profile: Annotated[str, Meta(max_length=16)] = ""


@get(
    "/keys",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_keys(request: Call, wanted: NamedDependency[Page]) -> Response[KeyList]:
    """Your keys, oldest first; a secret is never shown again."""
    found = request.services.people.keys.list(request.account)
    shown, following = cut(found, wanted, place_of)
    pagination = pagination_of(wanted, len(found), len(shown), following)
    return reply(KeyList(keys=tuple(map(_view, shown)), pagination=pagination))


@post("/keys", guards=[makes_keys], tags=TAGS, security=SECURITY, responses=problems())
async def create_key(request: Call, data: JSONBody[KeyBody]) -> Response[KeyView]:
    """A new key; the answer is the only place that shows it."""
    new = NewKey(
        name=data.name,
        expires_in=_life(data.expires_in),
        scopes=data.scopes,
        profile=data.profile,
        rotate=data.rotate,
    )
    key, secret = await request.services.people.keys.create(request.caller, new)
    return reply(_view(key, secret), 201, {"Cache-Control": "no-store"})


@delete("/keys/{key_id:str}", guards=[manages], tags=TAGS, security=SECURITY, status_code=200, responses=problems(404))
async def revoke_key(request: Call, key_id: FromPath[str]) -> Response[Deleted]:
    """Revoke a key; it is refused from now on."""
    await request.services.people.keys.revoke(request.account, key_id)
    return reply(Deleted(message="Key revoked", id=key_id))


def _life(text: str | None) -> int | None:
    """Seconds to live; None = for ever."""
    if text is None or text == "never":
        return None
    years = text.removesuffix("y")
    seconds = int(years) * _YEAR if text.endswith("y") and years.isdecimal() else parse_duration(text, "expiresIn")
    if not 60 <= seconds <= MAX_LIFE:
        raise InvalidParameters("expiresIn must be from 60s to 10y", field="expiresIn", value=text, expected="60s..10y")
    return seconds


def _view(key: ApiKey, secret: str | None = None) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        scopes=key.scopes,
        profile=key.profile or None,
        created_at=iso(key.created_at),
        expires_at=iso(key.expires_at) if key.expires_at else None,
        key=secret,
    )
