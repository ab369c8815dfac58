"""The few DNS messages that are needed (RFC 1035): a question for IPv4 addresses and its answer. Pure, all bounded."""

import re
import struct
from ipaddress import IPv4Address
from typing import Final

from msgspec import Struct

from market.errors import BadMessage

MAX_QUERY: Final = 512
MAX_ANSWER: Final = 4096
MAX_RECORDS: Final = 64
MAX_ADDRESSES: Final = 13
"""So many fit into the 512 bytes that every client takes, whatever the name."""
IPV4: Final = 1
INTERNET: Final = 1
OK: Final = 0
SERVER_FAILURE: Final = 2
NO_SUCH_NAME: Final = 3
_HEADER: Final = struct.Struct("!6H")
_RECORD: Final = struct.Struct("!HHIH")
_LABEL: Final = re.compile(rb"[a-z0-9_-]{1,63}")
_ROOM: Final = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
"""EDNS: answers of up to 1232 bytes are welcome (RFC 6891)."""


class Question(Struct, frozen=True):
    """What is asked: `name` in lower case without the last dot, `kind` the type of record, `asked` its bytes."""

    id: int
    name: str
    kind: int
    asked: bytes


class Answer(Struct, frozen=True):
    """What a name server said: `code` 0 with addresses (none: the name has none), how many seconds they hold."""

    code: int
    addresses: tuple[str, ...] = ()
    ttl: int = 0


def read_question(packet: bytes) -> Question:
    """The one question of a query; BadMessage for everything else."""
    if not _HEADER.size < len(packet) <= MAX_QUERY:
        raise BadMessage(f"a query has 13 to {MAX_QUERY} bytes, not {len(packet)}")
    number, flags, questions, answers, _, _ = _HEADER.unpack_from(packet)
    if flags & 0xF800 or questions != 1 or answers:
        raise BadMessage("not a standard query with one question")
    return _question(number, packet)


def write_reply(question: Question, answer: Answer) -> bytes:
    """The answer to a client, without any name but the one it asked for."""
    addresses = answer.addresses[:MAX_ADDRESSES]
    header = _HEADER.pack(question.id, 0x8180 | answer.code, 1, len(addresses), 0, 0)
    head = b"\xc0\x0c" + _RECORD.pack(IPV4, INTERNET, answer.ttl, 4)
    return header + question.asked + b"".join(head + IPv4Address(address).packed for address in addresses)


def write_query(number: int, name: str) -> bytes:
    """A question for the IPv4 addresses of `name`, a name as `read_question` gives it."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return _HEADER.pack(number, 0x0100, 1, 0, 0, 1) + labels + b"\0" + struct.pack("!HH", IPV4, INTERNET) + _ROOM


def read_answer(packet: bytes, number: int, name: str) -> Answer:
    """The addresses in the answer to `write_query(number, name)`; BadMessage when it is none.

    Aliases are followed by the name server, so all addresses of the answer are the name's.
    """
    if not _HEADER.size < len(packet) <= MAX_ANSWER:
        raise BadMessage(f"an answer has 13 to {MAX_ANSWER} bytes, not {len(packet)}")
    said, flags, questions, records, _, _ = _HEADER.unpack_from(packet)
    if said != number or not flags & 0x8000 or questions != 1:
        raise BadMessage("not an answer to this query")
    question = _question(number, packet)
    if (question.name, question.kind) != (name, IPV4):
        raise BadMessage("an answer to another question")
    found = _addresses(packet, _HEADER.size + len(question.asked), min(records, MAX_RECORDS))
    return Answer(flags & 0xF, tuple(address for address, _ in found), min((ttl for _, ttl in found), default=0))


def is_resolvable(name: str) -> bool:
    """Whether `name` could be a host's on the internet: two labels at least."""
    return "." in name and len(name) <= 253


def _question(number: int, packet: bytes) -> Question:
    labels, place = [], _HEADER.size
    while length := _byte(packet, place):
        label = packet[place + 1 : place + 1 + length].lower()
        if not _LABEL.fullmatch(label) or len(label) != length:
            raise BadMessage("a name with a label that is no host's")
        labels.append(label.decode())
        place += 1 + length
    if place + 5 > len(packet) or not labels:
        raise BadMessage("a question that is cut off")
    kind, family = struct.unpack_from("!HH", packet, place + 1)
    if family != INTERNET:
        raise BadMessage("a question that is not about the internet")
    return Question(number, ".".join(labels), kind, packet[_HEADER.size : place + 5])


def _addresses(packet: bytes, place: int, records: int) -> list[tuple[str, int]]:
    """Addresses with their times to live."""
    found = []
    for _ in range(records):
        place = _after_name(packet, place)
        if place + _RECORD.size > len(packet):
            raise BadMessage("a message that is cut off")
        kind, family, ttl, size = _RECORD.unpack_from(packet, place)
        data = packet[place + _RECORD.size : place + _RECORD.size + size]
        place += _RECORD.size + size
        if (kind, family, len(data)) == (IPV4, INTERNET, 4):
            found.append((str(IPv4Address(data)), min(ttl, 2**31 - 1)))
    return found


def _after_name(packet: bytes, place: int) -> int:
    """Behind a name: labels to the empty one, or to a pointer, which is not followed."""
    while 0 < (length := _byte(packet, place)) < 64:
        place += 1 + length
    return place + (2 if length >= 192 else 1)


def _byte(packet: bytes, place: int) -> int:
    if place >= len(packet):
        raise BadMessage("a message that is cut off")
    return packet[place]
