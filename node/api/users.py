"""Routes of the node's users. Names are in snake case here; administrators see all, everybody sees himself."""

from typing import Annotated, Final

import msgspec
from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from market.errors import Forbidden, NotFound
from market.units import TOKEN_DECIMALS
from node.actions.accounts import Wishes
from node.api.auth import SECURITY, administers, manages, signed_in
from node.api.errors import problems
from node.api.merging import place_of
from node.api.present import iso
from node.api.replies import Page, listing, page_of_hundred, reply
from node.api.services import Call
from node.api.submissions import Body, Number, price_of_text
from node.api.views import Deleted, Pagination
from node.records import Account

TAGS: Final = ["Users"]
OWN: Final = ("email", "password", "name", "has_single_key", "low_balance")
"""What everybody may change about himself."""
Email = Annotated[str, Meta(min_length=3, max_length=254)]
Password = Annotated[str, Meta(min_length=1, max_length=256)]
Word = Annotated[str, Meta(max_length=16)]


class NewUser(Body, frozen=True, kw_only=True):
    """A user who signs in with email and password."""

    email: Email
    password: Password
    name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    role: Word = "developer"
    tier: Word = "free"


class UserChanges(Body, frozen=True, kw_only=True):
    """What shall be different; what is not named stays."""

    email: Email | None = None
    password: Password | None = None
    name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    role: Word | None = None
    tier: Word | None = None
    is_blocked: bool | None = None
    has_single_key: bool | None = None
    low_balance: Number | None = None
    """You are told when you have less tokens to spend; 0 = never."""


class CreditsBody(Body, frozen=True, kw_only=True):
    """How many more runs of code a user has without paying for them."""

    amount: Annotated[int, Meta(ge=1, le=10**9)]


class CreditsView(Struct, frozen=True, kw_only=True):
    """The credits that a user has now."""

    user_id: str
    credits: int


class UserView(Struct, frozen=True, kw_only=True):
    """A user; `wallet` is the address that he signs in with and is paid out to.

    He is told (`billing.low_balance`) when he has less than `low_balance` tokens to spend; null = the node's own value.
    """

    id: str
    email: str | None
    name: str
    role: str
    tier: str
    wallet: str | None
    status: str
    has_single_key: bool
    low_balance: float | None
    created_at: str
    updated_at: str


class UserList(Struct, frozen=True, kw_only=True):
    """A page of users, oldest first."""

    users: tuple[UserView, ...]
    total: int
    limit: int
    offset: int
    has_more: bool
    pagination: Pagination


@get(
    "/users",
    guards=[administers],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_users(request: Call, wanted: NamedDependency[Page]) -> Response[UserList]:
    """The users of this node, oldest first."""
    found = request.services.people.accounts.list()
    shown, totals = listing(found, wanted, place_of)
    view = UserList(
        users=tuple(map(user_view, shown)),
        **totals,
    )
    return reply(view)


@post("/users", guards=[administers], tags=TAGS, security=SECURITY, responses=problems(409))
async def create_user(request: Call, data: JSONBody[NewUser]) -> Response[UserView]:
    """A new user; 409 when the email is somebody's. It takes credentials that may do all that your account may."""
    request.caller.must_be_whole()
    user = await request.services.people.accounts.create(Wishes(**msgspec.structs.asdict(data)))
    return reply(user_view(user), 201, {"Location": f"/v1/users/{user.id}"})


@get("/users/{user_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_user(request: Call, user_id: FromPath[str]) -> Response[UserView]:
    """One user."""
    return reply(user_view(_user(request, user_id)))


@put("/users/{user_id:str}", guards=[manages], tags=TAGS, security=SECURITY, responses=problems(404, 409))
async def replace_user(request: Call, user_id: FromPath[str], data: JSONBody[UserChanges]) -> Response[UserView]:
    """Change what the body names; the rest stays."""
    return await _change(request, user_id, data)


@patch("/users/{user_id:str}", guards=[manages], tags=TAGS, security=SECURITY, responses=problems(404, 409))
async def update_user(request: Call, user_id: FromPath[str], data: JSONBody[UserChanges]) -> Response[UserView]:
    """Change what the body names; the rest stays."""
    return await _change(request, user_id, data)


@delete(
    "/users/{user_id:str}",
    guards=[manages],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404, 409),
)
async def delete_user(request: Call, user_id: FromPath[str]) -> Response[Deleted]:
    """End the account: its keys, sessions and logins go.

    409 while something of it runs, and while money or debts are left: `details` say what.
    """
    user = _user(request, user_id)
    request.caller.must_be_whole()
    await request.services.people.accounts.delete(user.id)
    return reply(Deleted(message="User deleted", id=user.id))


@post(
    "/users/{user_id:str}/credits",
    guards=[administers],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(403, 404, 413, 415, 422),
)
async def give_credits(
    request: Call, user_id: FromPath[str], data: JSONBody[CreditsBody], key: NamedDependency[str]
) -> Response[CreditsView]:
    """Give a user credits; repeat it safely with an `Idempotency-Key`."""
    credits = await request.services.people.accounts.give_credits(user_id, data.amount, key)
    return reply(CreditsView(user_id=user_id, credits=credits))


def user_view(user: Account) -> UserView:
    """The user as he and administrators see him."""
    return UserView(
        id=user.id,
        email=user.email or None,
        name=user.name,
        role=user.role,
        tier=user.tier,
        wallet=user.wallet or None,
        status="blocked" if user.is_blocked else "active",
        has_single_key=user.has_single_key,
        low_balance=None if user.low_balance is None else user.low_balance / 10**TOKEN_DECIMALS,
        created_at=iso(user.created_at),
        updated_at=iso(user.updated_at or user.created_at),
    )


async def _change(request: Call, id: str, data: UserChanges) -> Response[UserView]:
    user = _user(request, id)
    request.caller.must_be_whole()
    least = None if data.low_balance is None else price_of_text(data.low_balance, "lowBalance")
    wishes = Wishes(**{**msgspec.structs.asdict(data), "low_balance": least})
    for name, value in msgspec.structs.asdict(data).items():
        if value is not None and name not in OWN and "admin" not in request.caller.scopes:
            raise Forbidden(f"{name} is for administrators to change", field=name, scope="admin")
    return reply(user_view(await request.services.people.accounts.update(user.id, wishes)))


def _user(request: Call, id: str) -> Account:
    """The user: oneself, or anybody for an administrator; for others the NotFound of one that is missing."""
    if id != request.account.id and "admin" not in request.caller.scopes:
        raise NotFound("no such user", id=id)
    return request.services.people.accounts.get(id)
