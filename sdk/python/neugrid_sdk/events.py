"""Server-sent events: the format, and streams of them that go on where a broken connection left them.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import codecs
import io
from collections import Counter
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from neugrid_sdk.effects import Answer, Close, Draw, Item, Now, Open, Read, Request, Sleep, Stream
from neugrid_sdk.errors import BadAnswer, NeugridError, NoAnswer, RateLimited, Unavailable, checked, error_of
from neugrid_sdk.retries import Retries

T = TypeVar("T")
SILENCE: Final = 30.0
"""Seconds without a byte that a stream may take beyond the client's timeout; a node says something every 15."""
LIVED: Final = 5.0
"""Seconds after which a connection that breaks has been a good one."""


class Event(Struct, frozen=True):
    """One event; `data` is JSON text."""

    id: str
    name: str
    data: str


class EventReader:
    """From bytes to events, as they come; `pause` are the seconds that the server wants between connections."""

    def __init__(self) -> None:
        self.pause = 0.0
        self._id = ""
        self._name = ""
        self._data: list[str] = []
        self._rest = ""
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")("replace"), True)

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete with these bytes."""
        *lines, self._rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        return [event for line in lines for event in self._take(line)]

    def _take(self, line: str) -> list[Event]:
        if not line:
            return self._dispatched()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id":
            self._id = value
        elif name == "retry" and value.isdecimal():
            self.pause = int(value) / 1000
        return []

    def _dispatched(self) -> list[Event]:
        event = Event(self._id, self._name or "message", "\n".join(self._data))
        has_data, self._name, self._data = bool(self._data), "", []
        return [event] if has_data else []


def followed(request: Request, shape: type[T], names: tuple[str, ...], retries: Retries) -> Stream[T]:
    """The data of events called one of `names` (() = whatever is not the stream's own), up to the event `end`.

    Each comes once: a new connection goes on behind the last event, and what is sent again is left out. Raises NoAnswer
    or Unavailable after as many connections in a row as `retries` allow that were short and brought nothing.
    """
    place, failures = _Place(), 0
    while True:
        began, before = (yield Now()), place.count
        problem: NeugridError = Unavailable("the stream ended before it was over")
        try:
            yield from _connection(place.resumed(request), place, shape, names)
        except (NoAnswer, RateLimited, Unavailable) as error:
            problem = error
        if place.is_over:
            return
        is_good = place.count > before or (yield Now()) - began > LIVED
        failures = 1 if is_good else failures + 1
        asked_for = max(place.pause, problem.retry_after or 0)
        if failures > retries.count or asked_for > retries.patience:
            raise problem
        yield Sleep(asked_for + retries.pause(failures, (yield Draw())))


class _Place:
    """Where a stream is: the last id, and what came under it, for some ids name more than one event."""

    def __init__(self) -> None:
        self.count = 0
        self.pause = 0.0
        self.is_over = False
        self._id = ""
        self._seen: Counter[str] = Counter()
        self._again: Counter[str] = Counter()

    def resumed(self, request: Request) -> Request:
        """The request for what comes behind this place."""
        self._again = self._seen.copy()
        return replace(request, headers={**request.headers, "Last-Event-ID": self._id}) if self._id else request

    def is_new(self, event: Event) -> bool:
        """Whether it has not come before; it has come now."""
        if event.id == self._id and self._again[event.data]:
            self._again[event.data] -= 1
            return False
        if event.id != self._id:
            self._id = event.id
            self._seen.clear()
            self._again.clear()
        self._seen[event.data] += 1
        self.count += 1
        return True


def _connection(request: Request, place: _Place, shape: type[T], names: tuple[str, ...]) -> Stream[T]:
    """The events of one connection."""
    answer: Answer = yield Open(request)
    checked(answer)
    reader = EventReader()
    while chunk := (yield Read()):
        for event in reader.feed(chunk):
            if event.name == "end":
                place.is_over = True
                break
            if _is_wanted(event, names) and place.is_new(event):
                yield Item(_decoded(event, shape))
        place.pause = reader.pause or place.pause
        if place.is_over:
            break
    yield Close()


def _is_wanted(event: Event, names: tuple[str, ...]) -> bool:
    if event.name == "error":
        raise error_of(_decoded(event, dict[str, Any]))
    return event.name in names if names else event.name != "closing"


def _decoded(event: Event, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(event.data, type=shape)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BadAnswer(f"the event {event.name!r} is not as expected: {error}") from error
