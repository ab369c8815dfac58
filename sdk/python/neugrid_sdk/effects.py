"""What a client asks of the world, as values: programs yield them, drivers carry them out.

A program is a generator that yields effects, is sent their outcomes, and returns its result; a stream yields items as
well. Neither opens, awaits or sleeps, so that one text of each serves blocking and asynchronous clients.
"""

from collections.abc import Generator, Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Request(Struct, frozen=True, kw_only=True):
    """One HTTP request to a node; the driver adds address and credentials.

    `is_repeatable` says that to do it twice is to do it once. `wait` are seconds that the node may take on purpose.
    """

    method: str
    path: str
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    content: bytes | None = None
    is_repeatable: bool = False
    wait: float = 0


class Answer(Struct, frozen=True, kw_only=True):
    """What came back; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = {}
    content: bytes = b""

    @property
    def is_refusal(self) -> bool:
        """Whether the status says that it was not done."""
        return self.status >= 300  # a node redirects nobody


class Send(Struct, frozen=True):
    """Ask, and read the whole answer: an Answer, or NoAnswer is thrown."""

    request: Request


class Open(Struct, frozen=True):
    """Ask, and leave the body of the answer to Read: an Answer, whose content is there only in a refusal."""

    request: Request


class Read(Struct, frozen=True):
    """The next bytes of what is open; b"" at its end."""


class Close(Struct, frozen=True):
    """Be done with what is open."""


class Sleep(Struct, frozen=True):
    """Let so much time pass."""

    seconds: float


class Now(Struct, frozen=True):
    """Seconds on a clock that only goes forward."""


class Draw(Struct, frozen=True):
    """A random number from 0 to 1."""


class Item(Struct, Generic[T], frozen=True):
    """What a stream hands to who reads it."""

    value: T


Effect = Send | Open | Read | Close | Sleep | Now | Draw
Program = Generator[Effect, Any, T]
Stream = Generator[Effect | Item[T], Any, None]
