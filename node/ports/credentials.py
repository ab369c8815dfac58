"""What proves who somebody is: hashes of passwords, and tokens that this node signed."""

from typing import Protocol

from msgspec import Struct


class Claims(Struct, frozen=True, kw_only=True):
    """What a token says: whose it is, under which session it was given out, and until when (epoch ms) it is good."""

    account: str
    session: str
    expires_at: int = 0


class Passwords(Protocol):
    """Slow hashes, made where they hold up nobody else."""

    async def hash(self, password: str) -> str:
        """What may be stored."""
        ...

    async def fits(self, password: str, hash: str) -> bool:
        """Whether it is the password; without a `hash` it takes as long, and never is."""
        ...


class Tokens(Protocol):
    """Short-lived tokens."""

    def issue(self, claims: Claims, now: int, seconds: int) -> str:
        """A token that is good for so long, from `now` (epoch ms)."""
        ...

    def read(self, token: str, now: int) -> Claims:
        """What a token of this node says; Unauthorized for any other, and for one whose time is over."""
        ...
