"""What the host and the agent of a sandbox say to each other, and how the engine wraps it."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from market.errors import InvalidParameters, Unavailable

HEADER: Final = 8
"""Bytes before each piece of an attached stream: one says which stream it is, the last four how long it is."""
STDOUT: Final = 1
MAX_WORD: Final = 16 * 2**20
"""Bytes that the agent may say at once: two full streams with every byte escaped, and some more."""
MAX_COMPLAINT: Final = 2000


class Prepare(Struct, frozen=True, kw_only=True):
    """The first order: the source, and the compiler's command, which may be empty."""

    nonce: str
    file: str
    code: str
    command: tuple[str, ...]
    env: dict[str, str]
    seconds: float
    output: int
    stdin: str = ""


class Run(Struct, frozen=True, kw_only=True):
    """An order to run the program once."""

    command: tuple[str, ...]
    env: dict[str, str]
    seconds: float
    output: int
    stdin: str = ""


class Ready(Struct, frozen=True, kw_only=True):
    """The agent's first word; without `counts` nobody in the sandbox could tell a memory kill."""

    ready: bool
    counts: bool


class Ended(Struct, frozen=True, kw_only=True):
    """How a process ended: `code` is negative for a signal and None for one that had to be killed for its time.

    `kills` is how many processes were killed for memory meanwhile (negative when nobody could count), `fault` why it
    could not even begin, `skipped` that there was nothing to do, `unclean` that an earlier run left what can not be
    removed.
    """

    code: int | None = None
    milliseconds: float = 0
    kills: int = 0
    stdout: str = ""
    stderr: str = ""
    cut: tuple[bool, bool] = (False, False)
    fault: str = ""
    skipped: bool = False
    unclean: bool = False


def order_bytes(order: Prepare | Run) -> bytes:
    """An order as the agent reads it; InvalidParameters for text that is no Unicode (a lone surrogate)."""
    try:
        body = msgspec.json.encode(order)
    except UnicodeEncodeError as error:
        raise InvalidParameters("code and input must be valid Unicode", field="code", expected="Unicode") from error
    return str(len(body)).encode() + b"\n" + body


def word_of(line: bytes, nonce: str, kind: type[Any]) -> Any:
    """What the agent said in `line`; Unavailable when it is not the agent who speaks, or not sense."""
    expected = nonce.encode()
    if not line.startswith(expected):
        raise Unavailable("the sandbox answered without the nonce that it was given", service="sandbox")
    try:
        return msgspec.json.decode(line[len(expected) :], type=kind)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"the sandbox answered nonsense: {error}", service="sandbox") from error


class Lines:
    """The agent's lines out of the pieces of an attached stream; what it says on stderr is kept as its complaint."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self._line = bytearray()
        self.complaint = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete with `data`; Unavailable when one is longer than any honest answer."""
        self._raw += data
        lines: list[bytes] = []
        while (piece := self._piece()) is not None:
            *whole, rest = piece.split(b"\n")
            for part in whole:
                lines.append(bytes(self._line) + part)
                self._line.clear()
            self._line += rest
        if len(self._line) > MAX_WORD or len(self._raw) > MAX_WORD:
            raise Unavailable("the sandbox says more than it may", service="sandbox")
        return lines

    def _piece(self) -> bytes | None:
        """The next whole piece of stdout; pieces of stderr are put aside."""
        while len(self._raw) >= HEADER:
            end = HEADER + int.from_bytes(self._raw[4:HEADER], "big")
            if len(self._raw) < end:
                return None
            stream, piece = self._raw[0], bytes(self._raw[HEADER:end])
            del self._raw[:end]
            if stream == STDOUT:
                return piece
            self.complaint += piece[: MAX_COMPLAINT - len(self.complaint)]
        return None
