"""A workload's output, kept by the requester's node as it happens: numbered lines in chunks, never twice.

What ends is kept from its first line on, up to a limit. What stays up is a ring: its newest lines are kept, the oldest
chunks go, and the numbers go on.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from market.dialogue import Line, LogPlace
from market.errors import Refused
from market.receipts import chain_log
from market.units import Timestamp
from market.workloads import WorkloadKind
from node.ports import LogLine, Reader, Tx
from node.records import LogChunk, LogHead

MAX_LINES: Final = 1_000_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""What one lease may write here, as JSON: the disk is the requester's, and the words are the provider's."""
CHUNK_COST: Final = 256
"""Bytes that a chunk of a ring costs besides its lines, so that many small ones are bounded too."""
PAGE: Final = 4
"""Chunks that are read at once; one may have half a MiB."""
PROGRAM: Final = ("stdout", "stderr")
"""The streams of the program itself; what else there is was said by a node."""
_lines = msgspec.json.Decoder(tuple[Line, ...])


def next_line(reader: Reader, lease: str) -> int:
    """The number of the next line that is not here yet."""
    head = reader.get(LogHead, lease)
    return head.next if head else 0


def keep_lines(
    tx: Tx, lease: str, kind: WorkloadKind, first: int, lines: tuple[Line, ...], now: int, ring: int
) -> LogHead:
    """Store the lines from `first` on that are new, and say how the log stands then. A gap stores nothing.

    The log of a service has at most `ring` bytes: its oldest chunks give way. Raises Refused when any other lease has
    written as much as one may.
    """
    head = tx.get(LogHead, lease) or LogHead(id=lease, kind=kind.value, oldest=Timestamp(now), newest=Timestamp(now))
    fresh = lines[head.next - first :] if first <= head.next else ()
    if not fresh:
        return head
    body = msgspec.json.encode(fresh)
    chunk = LogChunk(
        id=f"{lease}:{head.next}", lease=lease, first=head.next, count=len(fresh), body=body, at=Timestamp(now)
    )
    after = _longer(head, chunk, fresh)
    if is_ring(head):
        after = drop_oldest(tx, after, ring)
    elif after.next > MAX_LINES or after.size > MAX_BYTES:
        raise Refused("no more output is kept", codes=("LOGS_FULL",))
    tx.put(chunk)
    tx.put(after)
    return after


def is_ring(head: LogHead) -> bool:
    """Whether the newest lines are kept, and not the first ones."""
    return head.kind == WorkloadKind.SERVICE.value


def drop_oldest(tx: Tx, head: LogHead, most: int, before: int = 0) -> LogHead:
    """The log without its oldest chunks, until it has at most `most` bytes and none that was kept before `before`."""
    while chunks := tx.find(LogChunk, lease=head.id, limit=PAGE):
        for chunk in chunks:
            if head.size <= most and chunk.at >= before:
                return replace(head, oldest=chunk.at)
            tx.delete(LogChunk, chunk.id)
            head = replace(head, size=max(0, head.size - _cost(head, chunk)))
    return replace(head, oldest=head.newest)


def read_lines(reader: Reader, lease: str, after: int = 0) -> Iterator[tuple[int, LogLine]]:
    """The kept lines from number `after` on, each with its number; what lies before is not looked at."""
    place = _start(reader, lease, after)
    while chunks := reader.find(LogChunk, lease=lease, after=place, limit=PAGE):
        for chunk in chunks:
            yield from ((number, line) for number, line in _numbered(chunk) if number >= after)
        place = chunks[-1].first, chunks[-1].id


def last_lines(reader: Reader, lease: str, count: int, since: int = 0, stream: str = "") -> list[LogLine]:
    """The last `count` lines of `stream` ("" = all) from `since` (ms) on, read from the end."""
    return [line for _, line in last_numbered(reader, lease, count, since, stream)]


def last_numbered(
    reader: Reader, lease: str, count: int, since: int = 0, stream: str = ""
) -> list[tuple[int, LogLine]]:
    """The same, each with its number."""
    found: list[tuple[int, LogLine]] = []
    place: tuple[int, str] | None = None
    while chunks := reader.find(LogChunk, lease=lease, after=place, limit=PAGE, newest=True):
        for chunk in chunks:
            lines = list(_numbered(chunk))
            found += [each for each in reversed(lines) if each[1].at >= since and stream in ("", each[1].stream)]
            if len(found) >= count or all(line.at < since for _, line in lines):
                return found[:count][::-1]
        place = chunks[-1].first, chunks[-1].id
    return found[::-1]


def _longer(head: LogHead, chunk: LogChunk, lines: tuple[Line, ...]) -> LogHead:
    """The head with one chunk more at its end."""
    link, places = head.head, {place.stream: place for place in head.places}
    for line in lines:
        link = chain_log(link, line.at, line.stream, line.text)
        if line.stream in PROGRAM:
            last = places.get(line.stream)
            count = last.count + 1 if last is not None and last.at == line.at else 1
            places[line.stream] = LogPlace(line.stream, line.at, count)
    return replace(
        head,
        next=chunk.first + chunk.count,
        size=head.size + _cost(head, chunk),
        head=link,
        places=tuple(places.values()),
        newest=chunk.at,
    )


def _cost(head: LogHead, chunk: LogChunk) -> int:
    return len(chunk.body) + (CHUNK_COST if is_ring(head) else 0)


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
