"""How a lease ended, signed by the provider and counter-signed by the requester; and the chain over its log lines."""

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from market.offers import Id, Millis
from market.signing import keccak
from market.workloads import File

Text = Annotated[str, Meta(max_length=1024)]
GENESIS: Final = "0" * 64
_PREFIX: Final = b"neugrid receipt v1\n"
_encode = msgspec.json.Encoder(order="deterministic").encode


class Receipt(Struct, frozen=True, kw_only=True):
    """The provider's last word on a lease.

    `code` is "" for a program that ended by itself, else the limit or fault that ended it (TIMEOUT, OUT_OF_MEMORY,
    IMAGE_NOT_FOUND, IMAGE_REFUSED, PULL_LIMIT, INFRASTRUCTURE, CANCELLED, UNPAID, TERM_ENDED). `seconds` is the time of
    use, `runs` the runs of code that succeeded, `due` the price of what the terms count of the two, in base units,
    `log_head` the head of the chain over `log_lines` lines.
    """

    lease: Id
    exit_code: Annotated[int, Meta(ge=-1, le=255)]
    code: Annotated[str, Meta(max_length=64)] = ""
    message: Text = ""
    started_at: Millis = 0
    ended_at: Millis = 0
    seconds: Annotated[int, Meta(ge=0, le=2**40)] = 0
    runs: Annotated[int, Meta(ge=0, le=2**40)] = 0
    due: Annotated[int, Meta(ge=0, le=2**62)] = 0
    outputs: Annotated[tuple[File, ...], Meta(max_length=10_000)] = ()
    log_lines: Annotated[int, Meta(ge=0, le=2**40)] = 0
    log_head: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] = GENESIS


def receipt_digest(receipt: Receipt) -> bytes:
    r"""What both sides sign: keccak256("neugrid receipt v1\n" || deterministic JSON)."""
    return keccak(_PREFIX + _encode(receipt))


def output_digest(receipt: Receipt) -> str:
    """One SHA-256 over the paths, digests and sizes of all outputs, in order of path."""
    listing = _encode(sorted((file.path, file.digest, file.size) for file in receipt.outputs))
    return hashlib.sha256(listing).hexdigest()


def chain_log(head: str, at: int, stream: str, text: str) -> str:
    """The head of the log chain after one more line; `at` in ms since the epoch."""
    return hashlib.sha256(_encode([head, at, stream, text])).hexdigest()
