"""A workload's output, kept by the requester's node as it happens: numbered lines in chunks, never twice."""

from collections.abc import Iterable, Iterator
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
PAGE: Final = 16
"""Chunks that are read at once."""
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
    """The kept lines from number `after` on, each with its number; what lies before is not looked at."""
    place = _start(reader, lease, after)
    while chunks := reader.find(LogChunk, lease=lease, after=place, limit=PAGE):
        for chunk in chunks:
            yield from ((number, line) for number, line in _numbered(chunk) if number >= after)
        place = chunks[-1].first, chunks[-1].id


def last_lines(reader: Reader, lease: str, count: int, since: int = 0, stream: str = "") -> list[LogLine]:
    """The last `count` lines of `stream` ("" = both) from `since` (ms) on, read from the end."""
    found: list[LogLine] = []
    place: tuple[int, str] | None = None
    while chunks := reader.find(LogChunk, lease=lease, after=place, limit=PAGE, newest=True):
        for chunk in chunks:
            lines = [line for _, line in _numbered(chunk)]
            found += [line for line in reversed(lines) if line.at >= since and stream in ("", line.stream)]
            if len(found) >= count or all(line.at < since for line in lines):
                return found[:count][::-1]
        place = chunks[-1].first, chunks[-1].id
    return found[::-1]


def last_lines_of(reader: Reader, leases: Iterable[str], count: int, since: int = 0, stream: str = "") -> list[LogLine]:
    """The last `count` lines of several leases, in order of their times."""
    found = [line for lease in leases for line in last_lines(reader, lease, count, since, stream)]
    return sorted(found, key=lambda line: line.at)[-count:]


def _start(reader: Reader, lease: str, after: int) -> tuple[int, str]:
    """The place behind which the chunk with line `after` lies, or the next one to come."""
    known = reader.find(LogChunk, lease=lease, after=(after + 1, ""), limit=1, newest=True)
    if not known:
        return -1, ""
    is_behind = known[0].first + known[0].count <= after
    return (known[0].first, known[0].id) if is_behind else (known[0].first, "")


def _numbered(chunk: LogChunk) -> Iterator[tuple[int, LogLine]]:
    for number, line in enumerate(_lines.decode(chunk.body), chunk.first):
        yield number, LogLine(Timestamp(line.at), line.stream, line.text)
