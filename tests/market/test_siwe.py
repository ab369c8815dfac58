"""Sign-In with Ethereum messages: read strictly, written as wallets expect."""

import pytest
from msgspec.structs import replace

from market.errors import InvalidParameters
from market.siwe import SignInMessage, digest_of_text, read_message, write_message
from market.units import Address

ADDRESS = Address("0x" + "fb6916095ca1df60bb79ce92ce3ea74c37c5d359")
MESSAGE = SignInMessage(
    domain="example.com",
    address=ADDRESS,
    uri="https://example.com/login",
    chain=1,
    nonce="32891756abcd",
    issued_at=1_632_999_844_000,
)
TEXT = """\
example.com wants you to sign in with your Ethereum account:
0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359

I accept the Terms.

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756abcd
Issued At: 2021-09-30T11:04:04.000Z"""


def test_a_message_is_written_as_the_standard_shows_it() -> None:
    assert write_message(MESSAGE, "I accept the Terms.") == TEXT


@pytest.mark.parametrize("statement", ["", "Hello."])
@pytest.mark.parametrize("times", [(0, 0), (1_632_999_900_000, 0), (1_632_999_900_000, 1_632_999_800_000)])
def test_what_is_written_is_read(statement: str, times: tuple[int, int]) -> None:
    message = replace(MESSAGE, expires_at=times[0], begins_at=times[1])
    assert read_message(write_message(message, statement)) == message


def test_a_scheme_a_request_id_and_resources_may_be_there() -> None:
    text = f"https://{TEXT}\nRequest ID: 7\nResources:\n- ipfs://a\n- https://example.com/b"
    assert read_message(text) == MESSAGE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Version: 1", "Version: 2"),
        ("Version: 1\n", ""),
        ("wants you to sign in", "wants you to sign out"),
        ("0xfB69", "0xzz69"),
        ("Nonce: 32891756abcd", "Nonce: short"),
        ("Nonce: 32891756abcd", "Nonce: 32891756abcd x"),
        ("2021-09-30T11", "2021-13-30T11"),
        ("2021-09-30T11:04:04.000Z", "yesterday"),
        ("Chain ID: 1", "Chain ID: 0x1"),
        ("Chain ID: 1", "Chain ID: " + "9" * 40),
        ("URI: https", "URI:https"),
        ("I accept the Terms.", "two\nlines"),
        ("\nIssued", "\nNonce: 00000000\nIssued"),
        ("000Z", "000Z\n"),
        ("000Z", "000Z\nExpiration Time: never"),
        ("example.com wants", "exa mple.com wants"),
        ("example.com wants", "user@example.com wants"),
        ("I accept", "I" * 5000),
    ],
)
def test_anything_else_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(InvalidParameters):
        read_message(TEXT.replace(old, new, 1))


def test_the_digest_is_that_of_personal_sign() -> None:
    assert digest_of_text("hello").hex() == "50b2c43fd39106bafbba0da34fc430e1f91e3c96ea2acee2bc34119f92b37750"
