"""Bytes of one stream on the Unix socket between node and network process: pieces with four bytes of length in front.

A piece of length 0 says that its side writes no more. A socket that ends without it tells a stream that broke from one
that ended: the end of a Unix socket alone can not. The same file serves both sides, like the frames.
"""

import struct
from typing import Final

_LENGTH: Final = struct.Struct(">I")
END: Final = _LENGTH.pack(0)
READ: Final = 128 * 1024
"""How much either side takes from the socket at once."""


def piece(data: bytes) -> bytes:
    """`data`, which is not empty, with its length in front."""
    return _LENGTH.pack(len(data)) + data


class Pieces:
    """Takes the lengths out again. Bytes are handed on as they come: a piece need not be complete."""

    def __init__(self) -> None:
        self._data, self._at, self._left = b"", 0, 0
        self.has_ended = False

    def feed(self, data: bytes) -> None:
        """Bytes from the socket."""
        rest = self._data[self._at :]
        self._data, self._at = rest + data if rest else data, 0

    def take(self, most: int) -> bytes | None:
        """Up to `most` bytes; b"" after the end, None when more must be fed first."""
        if self.has_ended or not self._has_piece():
            return b"" if self.has_ended else None
        size = min(most, self._left, len(self._data) - self._at)
        if size == 0:
            return None
        taken = self._data[self._at : self._at + size]
        self._at += size
        self._left -= size
        return taken

    def _has_piece(self) -> bool:
        """Whether we are inside a piece; reads the next length where it has come."""
        if self._left == 0 and len(self._data) - self._at >= _LENGTH.size:
            (self._left,) = _LENGTH.unpack_from(self._data, self._at)
            self._at += _LENGTH.size
            self.has_ended = self._left == 0
        return self._left > 0
