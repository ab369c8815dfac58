"""Telling others: bodies that are posted to addresses of their own choice, and secrets that are kept sealed."""

from collections.abc import Mapping
from typing import Protocol


class Posts(Protocol):
    """Posts to public addresses alone, without following anybody elsewhere."""

    async def check(self, url: str) -> None:
        """InvalidParameters when nothing may be posted there."""
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer; its body is nobody's business.

        Raises Unavailable when there is none, InvalidParameters when nothing may be posted there.
        """
        ...


class Seal(Protocol):
    """Keeps secrets so that the database alone does not give them away."""

    def close(self, secret: bytes, purpose: str) -> bytes: ...

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """The secret; Unavailable when it was sealed by another node, for another purpose, or changed."""
        ...
