"""Sign-In with Ethereum: the message that a wallet signs, read strictly (EIP-4361), and its digest (EIP-191)."""

import re
from datetime import datetime
from typing import Final

from msgspec import Struct

from market.errors import InvalidParameters
from market.signing import keccak
from market.units import Address, instant, parse_address

MAX_MESSAGE: Final = 4096
_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)"
_FORM: Final = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]{0,15})://)?(?P<domain>[^\s/?#@]{1,255})"
    r" wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n\n"
    r"(?:(?P<statement>[^\n]{1,512})\n)?\n"
    r"URI: (?P<uri>[^\s]{1,512})\n"
    r"Version: (?P<version>\d{1,3})\n"
    r"Chain ID: (?P<chain>\d{1,18})\n"
    r"Nonce: (?P<nonce>[A-Za-z0-9]{8,64})\n"
    rf"Issued At: (?P<issued>{_TIME})"
    rf"(?:\nExpiration Time: (?P<expires>{_TIME}))?"
    rf"(?:\nNot Before: (?P<begins>{_TIME}))?"
    r"(?:\nRequest ID: (?P<request>[^\s]{0,128}))?"
    r"(?P<resources>\nResources:(?:\n- [^\s]{1,512}){0,16})?",
)


class SignInMessage(Struct, frozen=True, kw_only=True):
    """What was signed: who wants to sign in where, on which chain, and when; times in epoch ms, 0 = not said."""

    domain: str
    address: Address
    uri: str
    chain: int
    nonce: str
    issued_at: int
    expires_at: int = 0
    begins_at: int = 0


def read_message(text: str) -> SignInMessage:
    """The message; InvalidParameters for anything that is not exactly one of version 1."""
    found = _FORM.fullmatch(text) if len(text) <= MAX_MESSAGE else None
    if found is None or found["version"] != "1":
        raise InvalidParameters("this is no Sign-In with Ethereum message of version 1", field="message")
    return SignInMessage(
        domain=found["domain"],
        address=parse_address(found["address"], "message"),
        uri=found["uri"],
        chain=int(found["chain"]),
        nonce=found["nonce"],
        issued_at=_time(found["issued"]),
        expires_at=_time(found["expires"]),
        begins_at=_time(found["begins"]),
    )


def write_message(message: SignInMessage, statement: str = "") -> str:
    """The text that a wallet signs."""
    lines = [
        f"{message.domain} wants you to sign in with your Ethereum account:",
        _checksummed(message.address),
        "",
        *([statement] if statement else []),
        "",
        f"URI: {message.uri}",
        "Version: 1",
        f"Chain ID: {message.chain}",
        f"Nonce: {message.nonce}",
        f"Issued At: {instant(message.issued_at)}",
    ]
    lines += [f"Expiration Time: {instant(message.expires_at)}"] if message.expires_at else []
    lines += [f"Not Before: {instant(message.begins_at)}"] if message.begins_at else []
    return "\n".join(lines)


def digest_of_text(text: str) -> bytes:
    """What a wallet signs of a text: `personal_sign` of EIP-191."""
    body = text.encode()
    return keccak(b"\x19Ethereum Signed Message:\n%d" % len(body) + body)


def _time(text: str | None) -> int:
    if text is None:
        return 0
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidParameters(f"{text} is no time", field="message", value=text) from error


def _checksummed(address: Address) -> str:
    """The address in mixed case (EIP-55), as wallets show it."""
    digits = address.removeprefix("0x")
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(mark, 16) >= 8 else c for c, mark in zip(digits, marks, strict=False))
