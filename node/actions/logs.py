"""A workload's output, kept by the requester's node as it happens: numbered lines in chunks, never twice."""

from collections.abc import Iterator
from typing import Final

import msgspec

from market.dialogue import Line
from market.errors import Refused
from market.units import Timestamp
from node.ports import LogLine, Reader, Tx
from node.records import LogChunk, Mark

MAX_LINES: Final = 1_000_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""What one lease may write here, as JSON: the disk is the requester's, and the words are the provider's."""
_lines = msgspec.json.Decoder(tuple[Line, ...])


def next_line(reader: Reader, lease: str) -> int:
    """The number of the next line that is not here yet."""
    mark = reader.get(Mark, f"logs:{lease}")
    return int(mark.value) if mark else 0


def keep_lines(tx: Tx, lease: str, first: int, lines: tuple[Line, ...]) -> int:
    """Store the lines from `first` on that are new; the number of the next one wanted. A gap stores nothing.

    Raises Refused when the lease has written as much as one may.
    """
    wanted = next_line(tx, lease)
    fresh = lines[wanted - first :] if first <= wanted else ()
    if not fresh:
        return wanted
    body = msgspec.json.encode(fresh)
    known = tx.get(Mark, f"log-bytes:{lease}")
    size = len(body) + (int(known.value) if known else 0)
    if wanted + len(fresh) > MAX_LINES or size > MAX_BYTES:
        raise Refused("no more output is kept", codes=("LOGS_FULL",))
    tx.put(LogChunk(id=f"{lease}:{wanted}", lease=lease, first=wanted, count=len(fresh), body=body))
    tx.put(Mark(id=f"logs:{lease}", value=str(wanted + len(fresh))))
    tx.put(Mark(id=f"log-bytes:{lease}", value=str(size)))
    return wanted + len(fresh)


def read_lines(reader: Reader, lease: str, after: int = 0) -> Iterator[tuple[int, LogLine]]:
    """The kept lines from number `after` on, each with its number."""
    for chunk in sorted(reader.find(LogChunk, lease=lease), key=lambda chunk: chunk.first):
        if chunk.first + chunk.count <= after:
            continue
        for number, line in enumerate(_lines.decode(chunk.body), chunk.first):
            if number >= after:
                yield number, LogLine(Timestamp(line.at), line.stream, line.text)
