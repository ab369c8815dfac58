"""Tokens: what this node signed for its own API, now, and nothing else. Every forgery here was once somebody's hole."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from market.errors import Unauthorized
from node.adapters.tokens import JwtTokens
from node.ports import Claims

NOW = 1_700_000_000_000
AT = NOW // 1000
ISSUER = "0x" + "ab" * 20
TOKENS = JwtTokens(bytes(range(32)), ISSUER)
GOOD: dict[str, Any] = {
    "sub": "user_1",
    "sid": "ses_1",
    "iss": ISSUER,
    "aud": "neugrid-api",
    "iat": AT,
    "exp": AT + 3600,
    "jti": "00",
}
HEAD: dict[str, Any] = {"alg": "HS256", "typ": "at+jwt"}


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def forged(head: Any = HEAD, body: Any = GOOD, secret: bytes | None = None, hash: str = "sha256") -> str:
    """A token with any head and body, signed with the node's own secret unless another is given."""
    text = f"{part(head)}.{part(body)}"
    key = TOKENS._secret if secret is None else secret
    return f"{text}.{part(hmac.new(key, text.encode(), hash).digest())}"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def test_a_token_says_whose_it_is_until_it_expires() -> None:
    token = TOKENS.issue(Claims(account="user_1", session="ses_1"), NOW, 900)
    found = TOKENS.read(token, NOW + 899_000)
    assert (found.account, found.session, found.expires_at) == ("user_1", "ses_1", NOW + 900_000)
    with pytest.raises(Unauthorized):
        TOKENS.read(token, NOW + 900_000)


def test_the_forger_of_these_tests_would_get_in_with_the_right_words() -> None:
    assert TOKENS.read(forged(), NOW).account == "user_1"


def test_no_token_lives_longer_than_an_hour() -> None:
    token = TOKENS.issue(Claims(account="a", session="b"), NOW, 86_400)
    assert TOKENS.read(token, NOW).expires_at == NOW + 3_600_000


HEADS: list[Any] = [
    {"alg": "none", "typ": "at+jwt"},
    {"alg": "None", "typ": "at+jwt"},
    {"alg": "NONE", "typ": "at+jwt"},
    {"alg": "", "typ": "at+jwt"},
    {"alg": "HS384", "typ": "at+jwt"},
    {"alg": "HS512", "typ": "at+jwt"},
    {"alg": "RS256", "typ": "at+jwt"},
    {"alg": "ES256", "typ": "at+jwt"},
    {"alg": "EdDSA", "typ": "at+jwt"},
    {"alg": ["HS256"], "typ": "at+jwt"},
    {"alg": 256, "typ": "at+jwt"},
    {"typ": "at+jwt"},
    {"alg": "HS256"},
    {"alg": "HS256", "typ": "JWT"},
    {"alg": "HS256", "typ": "dpop+jwt"},
    {"alg": "HS256", "typ": None},
    {"alg": "HS256", "typ": "at+jwt", "crit": ["b64"], "b64": False},
    [],
    "head",
    7,
    None,
    b"\xff\xfe",
]


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_another_head_is_refused_also_with_our_own_secret(head: Any) -> None:
    for token in (forged(head), forged(head, hash="sha512"), f"{part(head)}.{part(GOOD)}."):
        with pytest.raises(Unauthorized):
            TOKENS.read(token, NOW)


BODIES: list[Any] = [
    *(without(name) for name in GOOD),
    {**GOOD, "iss": "0x" + "cd" * 20},
    {**GOOD, "iss": [ISSUER]},
    {**GOOD, "aud": "another-api"},
    {**GOOD, "aud": ["neugrid-api"]},
    {**GOOD, "aud": ["neugrid-api", "another-api"]},
    {**GOOD, "aud": None},
    {**GOOD, "exp": AT},
    {**GOOD, "exp": AT - 1},
    {**GOOD, "exp": AT + 3601},
    {**GOOD, "exp": AT + 100 * 365 * 86_400},
    {**GOOD, "exp": str(AT + 60)},
    {**GOOD, "exp": float(AT + 60)},
    {**GOOD, "exp": True},
    {**GOOD, "exp": None},
    {**GOOD, "exp": 10**400},
    {**GOOD, "exp": -1},
    {**GOOD, "iat": AT + 6, "exp": AT + 60},
    {**GOOD, "iat": str(AT)},
    {**GOOD, "iat": None},
    {**GOOD, "iat": AT - 7200, "exp": AT + 60},
    {**GOOD, "nbf": AT + 6},
    {**GOOD, "nbf": "now"},
    {**GOOD, "sub": ""},
    {**GOOD, "sub": 7},
    {**GOOD, "sub": None},
    {**GOOD, "sub": "x" * 65},
    {**GOOD, "sub": ["user_1"]},
    {**GOOD, "sid": ""},
    {**GOOD, "sid": 7},
    {**GOOD, "sid": "x" * 20_000},
    [],
    "body",
    None,
    b"\xff",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body)[:60])
def test_another_body_is_refused_also_with_our_own_secret(body: Any) -> None:
    with pytest.raises(Unauthorized):
        TOKENS.read(forged(body=body), NOW)


SECRETS = [b"", bytes(32), b"secret", b"neugrid api tokens v1", bytes(range(32)), ISSUER.encode()]


@pytest.mark.parametrize("secret", SECRETS)
def test_another_secret_is_refused(secret: bytes) -> None:
    with pytest.raises(Unauthorized):
        TOKENS.read(forged(secret=secret), NOW)


def test_the_token_of_another_node_is_refused() -> None:
    other = JwtTokens(hashlib.sha256(b"other").digest(), ISSUER)
    with pytest.raises(Unauthorized):
        TOKENS.read(other.issue(Claims(account="user_1", session="ses_1"), NOW, 60), NOW)


MANGLED = [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    " ",
    "\x00",
    "ü.ü.ü",
    forged() + "x",
    forged()[:-1],
    forged() + ".",
    forged() + "=",
    forged() + "\n",
    "Bearer " + forged(),
    forged().replace(".", "..", 1),
    forged().rpartition(".")[0] + ".",
    forged().rpartition(".")[0],
    "x" * 3000,
]


@pytest.mark.parametrize("token", MANGLED, ids=range(len(MANGLED)))
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(Unauthorized):
        TOKENS.read(token, NOW)


def test_there_are_sixty_forgeries_and_more() -> None:
    assert len(HEADS) + len(BODIES) + len(SECRETS) + len(MANGLED) >= 60
