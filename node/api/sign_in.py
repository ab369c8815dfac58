"""Routes of signing in: password, refresh, wallet, device; and of who one is. Names are in snake case here."""

from typing import Annotated, Final

from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_400_BAD_REQUEST
from msgspec import Meta, Struct

from market.errors import InvalidParameters
from node.actions.access import SCOPES
from node.actions.device_sign_in import GOOD_FOR, DevicePending, granted_to
from node.actions.sign_in import Grant
from node.api.auth import SECURITY, address_of, known_or_not, lets_in, signed_in, signs_in
from node.api.bodies import FORM
from node.api.edge import SIGN_IN_LIMIT
from node.api.errors import problems
from node.api.present import iso
from node.api.replies import reply
from node.api.services import Call
from node.api.submissions import Body
from node.api.users import UserView, user_view
from node.api.views import Deleted

TAGS: Final = ["Sign-in"]
FORMS: Final = {FORM: True}
"""RFC 8628 has devices send forms."""
NO_STORE: Final = {"Cache-Control": "no-store"}
Short = Annotated[str, Meta(min_length=1, max_length=256)]
Message = Annotated[str, Meta(min_length=1, max_length=4096)]
Signature = Annotated[str, Meta(min_length=1, max_length=200)]
ClientId = Annotated[str, Meta(max_length=256)]
UserCode = Annotated[str, Meta(min_length=1, max_length=16)]


class TokenBody(Body, frozen=True, kw_only=True):
    """Email and password; or, by `grant_type`, what one has instead.

    With "refresh_token" that is the refresh token that came last, with "siwe" what POST /v1/auth/siwe takes.
    """

    email: Short | None = None
    password: Short | None = None
    grant_type: Annotated[str, Meta(max_length=32)] = "password"
    refresh_token: Short | None = None
    message: Message | None = None
    signature: Signature | None = None


class SignedBody(Body, frozen=True, kw_only=True):
    """A Sign-In with Ethereum message (EIP-4361), and the wallet's signature in hex."""

    message: Message
    signature: Signature


class DeviceBody(Body, frozen=True, kw_only=True):
    """How the device calls itself, and what it wants to do: scopes with spaces between them, "" = all that you may.

    Nobody is registered here: `client_id`, which RFC 8628 demands, may be any.
    """

    client_name: Annotated[str, Meta(min_length=1, max_length=64)] = "device"
    client_id: ClientId = ""
    scope: Annotated[str, Meta(max_length=64)] = ""


class DeviceCodeBody(Body, frozen=True, kw_only=True):
    """The device's own code; `client_id` may be any."""

    device_code: Short
    client_id: ClientId = ""
    grant_type: Annotated[str, Meta(max_length=64)] = "urn:ietf:params:oauth:grant-type:device_code"


class DecisionBody(Body, frozen=True, kw_only=True):
    """The code that the device shows, and whether it is let in."""

    user_code: UserCode
    approve: bool


class TokenView(Struct, frozen=True, kw_only=True):
    """What one signed in with sends from now on, as `Authorization: Bearer`; `expires_in` in seconds."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105  (its kind)
    expires_in: int
    refresh_token: str | None = None


class NonceView(Struct, frozen=True, kw_only=True):
    """What the message that a wallet signs has to name."""

    nonce: str
    chain_id: int
    expires_at: str


class DeviceView(Struct, frozen=True, kw_only=True):
    """The device shows `user_code`, and asks every `interval` seconds with `device_code` (RFC 8628)."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class WaitingView(Struct, frozen=True, kw_only=True):
    """A device that waits to be let in: how it calls itself, where it asked from, what it may once you let it in."""

    user_code: str
    client_name: str
    address: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str


class MeView(Struct, frozen=True, kw_only=True):
    """Who asks, and what these credentials may."""

    user: UserView
    scopes: tuple[str, ...]
    credential: str


class DeviceRefusal(Struct, frozen=True, kw_only=True):
    """Why the device has no token yet, in RFC 8628's words."""

    error: str
    error_description: str


@post(
    "/auth/token",
    request_max_body_size=SIGN_IN_LIMIT,
    guards=[signs_in],
    tags=TAGS,
    security=[{}],
    status_code=200,
    responses=problems(),
)
async def give_token(request: Call, data: JSONBody[TokenBody]) -> Response[TokenView]:
    """A token for email and password or a signed message, or a new pair for a refresh token, which is good once."""
    people = request.services.people
    if data.grant_type == "refresh_token":
        return _granted(await people.sign_in.refresh(_given(data.refresh_token, "refresh_token")))
    if data.grant_type == "siwe":
        message, signature = _given(data.message, "message"), _given(data.signature, "signature")
        return _granted(await people.wallets.by_message(message, signature))
    if data.grant_type != "password":
        expected = "password, refresh_token or siwe"
        raise InvalidParameters(
            f"grant_type must be {expected}", field="grant_type", value=data.grant_type, expected=expected
        )
    email = _given(data.email, "email")
    request.app.state.limiter.hit(f"email:{email.lower()}", "anonymous", "auth", request.now)
    return _granted(await people.sign_in.by_password(email, _given(data.password, "password")))


@post("/auth/logout", guards=[signed_in], tags=TAGS, security=SECURITY, status_code=200, responses=problems(404))
async def sign_out(request: Call) -> Response[Deleted]:
    """End what this request came with, a token's session or a key: it is refused from now on."""
    await request.services.people.end(request.caller)
    return reply(Deleted(message="Signed out", id=request.caller.credential))


@get("/auth/nonce", guards=[signs_in], tags=TAGS, security=[{}], responses=problems())
async def give_nonce(request: Call) -> Response[NonceView]:
    """A number for a wallet to sign, once, within ten minutes."""
    nonce = await request.services.people.wallets.nonce()
    chain = request.services.people.wallets.door.chain
    return reply(NonceView(nonce=nonce.id, chain_id=chain, expires_at=iso(nonce.expires_at)), 200, NO_STORE)


@post(
    "/auth/siwe",
    request_max_body_size=SIGN_IN_LIMIT,
    guards=[signs_in],
    tags=TAGS,
    security=[{}],
    status_code=200,
    responses=problems(),
)
async def sign_in_with_wallet(request: Call, data: JSONBody[SignedBody]) -> Response[TokenView]:
    """Sign-In with Ethereum: the account of the wallet that signed; a new one where this node takes strangers."""
    return _granted(await request.services.people.wallets.by_message(data.message, data.signature))


@post(
    "/auth/wallet",
    request_max_body_size=SIGN_IN_LIMIT,
    guards=[lets_in],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(409),
)
async def link_wallet(request: Call, data: JSONBody[SignedBody]) -> Response[UserView]:
    """Give the account a wallet: it signs in with it, what comes from it is its deposit, and it is paid out there."""
    request.caller.must_be_whole()
    linked = await request.services.people.wallets.link(request.account, data.message, data.signature)
    return reply(user_view(linked))


@post(
    "/auth/device",
    request_max_body_size=SIGN_IN_LIMIT,
    guards=[signs_in],
    tags=TAGS,
    security=[{}],
    status_code=200,
    responses=problems(),
    opt=FORMS,
)
async def start_device(request: Call, data: JSONBody[DeviceBody]) -> Response[DeviceView]:
    """A device asks to be let in: show `user_code`, and ask for the token every `interval` seconds."""
    scopes = tuple(dict.fromkeys(data.scope.split()))
    login, code = await request.services.people.devices.start(data.client_name, address_of(request), scopes)
    place = f"{str(request.base_url).rstrip('/')}/device"
    view = DeviceView(
        device_code=code,
        user_code=login.user_code,
        verification_uri=place,
        verification_uri_complete=f"{place}?user_code={login.user_code}",
        expires_in=GOOD_FOR // 1000,
        interval=login.interval,
    )
    return reply(view, 200, NO_STORE)


@post(
    "/auth/device/token",
    request_max_body_size=SIGN_IN_LIMIT,
    guards=[known_or_not],
    tags=TAGS,
    security=[{}],
    status_code=200,
    responses={**problems(), 400: ResponseSpec(DeviceRefusal, description="Bad Request", generate_examples=False)},
    opt=FORMS,
)
async def collect_device_token(request: Call, data: JSONBody[DeviceCodeBody]) -> Response[TokenView]:
    """The key of a device that was let in, as `access_token`, once; until then 400 with RFC 8628's `error`.

    A device asks again and again and its code is not to be guessed, so that this is limited like any other request.
    """
    try:
        _, key = await request.services.people.devices.collect(data.device_code)
    except DevicePending as pending:
        refusal = DeviceRefusal(error=pending.reason, error_description=pending.message)
        return reply(refusal, HTTP_400_BAD_REQUEST, NO_STORE)
    return reply(TokenView(access_token=key, expires_in=90 * 86_400), 200, NO_STORE)


@get("/auth/device/{user_code:str}", guards=[lets_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_device(request: Call, user_code: FromPath[str]) -> Response[WaitingView]:
    """The device that shows this code, to be looked at before it is let in."""
    login = request.services.people.devices.waiting(user_code)
    view = WaitingView(
        user_code=login.user_code,
        client_name=login.client,
        address=login.address,
        scopes=granted_to(login, request.account),
        created_at=iso(login.created_at),
        expires_at=iso(login.expires_at),
    )
    return reply(view)


@post(
    "/auth/device/decision",
    request_max_body_size=SIGN_IN_LIMIT,
    guards=[lets_in],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404, 409),
)
async def decide_device(request: Call, data: JSONBody[DecisionBody]) -> Response[Deleted]:
    """Let the device in as you, or not. It takes credentials that may do all that your account may."""
    request.caller.must_be_whole()
    login = await request.services.people.devices.decide(request.account, data.user_code, is_let_in=data.approve)
    return reply(Deleted(message="Device let in" if data.approve else "Device refused", id=login.user_code))


@get("/auth/me", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems())
async def show_me(request: Call) -> Response[MeView]:
    """Who you are here."""
    caller = request.caller
    scopes = tuple(scope for scope in SCOPES if scope in caller.scopes)
    return reply(MeView(user=user_view(caller.account), scopes=scopes, credential=caller.credential))


def _granted(grant: Grant) -> Response[TokenView]:
    view = TokenView(access_token=grant.access_token, expires_in=grant.expires_in, refresh_token=grant.refresh_token)
    return reply(view, 200, NO_STORE)


def _given(value: str | None, field: str) -> str:
    if value is None:
        raise InvalidParameters(f"{field} is required", field=field, expected="a text")
    return value
