"""Routes of API keys: list, make, revoke."""

from typing import Annotated, Final

from litestar import Response, delete, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from market.errors import InvalidParameters
from market.units import parse_duration
from node.api.auth import SECURITY, signed_in
from node.api.errors import problems
from node.api.present import iso
from node.api.replies import reply
from node.api.services import Call
from node.api.submissions import Body
from node.api.views import Deleted, KeyList, KeyView
from node.records import ApiKey

TAGS: Final = ["Keys"]
_YEAR: Final = 365 * 86_400
MAX_LIFE: Final = 10 * _YEAR


class NewKey(Body, frozen=True, kw_only=True):
    """A name for the key, and how long it lives: "30d", "90d", "1y", or null for ever."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    expires_in: Annotated[str, Meta(max_length=16)] | None = None


@get("/keys", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems())
async def list_keys(request: Call) -> Response[KeyList]:
    """Your keys; a secret is never shown again."""
    return reply(KeyList(keys=tuple(_view(key) for key in request.services.accounts.keys(request.account))))


@post("/keys", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems())
async def create_key(request: Call, data: JSONBody[NewKey]) -> Response[KeyView]:
    """A new key; the answer is the only place that shows it."""
    life = _life(data.expires_in)
    key, secret = await request.services.accounts.create_key(request.account, data.name, life)
    return reply(_view(key, secret), 201, {"Cache-Control": "no-store"})


@delete(
    "/keys/{key_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, status_code=200, responses=problems(404)
)
async def revoke_key(request: Call, key_id: FromPath[str]) -> Response[Deleted]:
    """Revoke a key; it is refused from now on."""
    await request.services.accounts.revoke(request.account, key_id)
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
    expires = iso(key.expires_at) if key.expires_at else None
    return KeyView(id=key.id, name=key.name, created_at=iso(key.created_at), expires_at=expires, key=secret)
