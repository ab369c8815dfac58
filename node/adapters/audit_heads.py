"""Signed heads of the log of who did what, in a file of the data directory: a line of JSON each, only ever added to."""

import os
from pathlib import Path
from typing import Final

import msgspec

from market.audit import SignedHead
from market.errors import NeugridError

NAME: Final = "audit-heads.jsonl"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SignedHead).decode


class HeadFile:
    """The file in a data directory."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def add(self, head: SignedHead) -> None:
        """Add one, and return when it is on disk; what a crash left of the last line goes."""
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(file, self.path.read_bytes().rfind(b"\n") + 1)
            os.write(file, _encode(head) + b"\n")
            os.fsync(file)
        finally:
            os.close(file)

    def read(self) -> list[SignedHead]:
        """All of them, oldest first; a last line that a crash cut off is none. NeugridError for what is no head."""
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else [b""]
        try:
            return [_decode(line) for line in lines[:-1]]
        except msgspec.DecodeError as error:
            raise NeugridError(f"{self.path} has a line that is no signed head: {error}") from error
