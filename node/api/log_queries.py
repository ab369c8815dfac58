"""What every route of logs takes: `tail`, `since`, `stream`, `level`, `follow`, and where a broken stream goes on."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request
from litestar.params import QueryParameter

from market.errors import InvalidParameters
from market.units import parse_duration
from node.api.present import LEVELS, level_of, log_record
from node.api.views import LogRecord
from node.ports import LogLine

MAX_TAIL: Final = 10_000
_ISO: Final = re.compile(r"^\d{4}-\d\d-\d\d")


class LogQuery(msgspec.Struct, frozen=True):
    """Which lines are asked for: `since` in epoch ms, `levels` () = all."""

    tail: int
    since: int
    stream: str
    levels: tuple[str, ...]
    follow: bool
    is_cut: bool
    """Whether `tail` was given: who follows gets all lines without it."""

    @property
    def depth(self) -> int:
        """How many lines to read for `tail` that pass: levels are only seen afterwards."""
        return MAX_TAIL if self.levels else self.tail

    def has(self, line: LogLine) -> bool:
        """Whether the line is wanted."""
        return (
            line.at >= self.since
            and self.stream in ("", line.stream)
            and (not self.levels or level_of(line) in self.levels)
        )

    def records(self, lines: Iterable[LogLine]) -> tuple[LogRecord, ...]:
        """The last `tail` of the lines that are wanted."""
        return tuple(log_record(line) for _, line in self.cut((0, line) for line in lines))

    def cut(self, lines: Iterable[tuple[int, LogLine]]) -> list[tuple[int, LogLine]]:
        """The same of lines with their numbers."""
        return [each for each in lines if self.has(each[1])][-self.tail :]


def log_query_of(
    request: Request[Any, Any, Any],
    tail: Annotated[int, QueryParameter(ge=1, le=MAX_TAIL)] = 100,
    since: Annotated[str, QueryParameter(max_length=64)] = "",
    stream: Annotated[str, QueryParameter(pattern="^(stdout|stderr|node|build)?$")] = "",
    level: Annotated[str, QueryParameter(max_length=8)] = "",
    follow: Annotated[bool, QueryParameter()] = False,
) -> LogQuery:
    """The query of a route of logs; InvalidParameters names what does not fit."""
    now = request.app.state.services.clock.now()
    return LogQuery(
        tail=tail,
        since=since_of(since, now),
        stream=stream,
        levels=_levels(level),
        follow=follow,
        is_cut="tail" in request.query_params,
    )


def wants_events(request: Request[Any, Any, Any]) -> bool:
    """Whether the client asks for server-sent events."""
    return "text/event-stream" in request.headers.get("accept", "")


def resume_point(request: Request[Any, Any, Any]) -> int:
    """The id of the last event that the client has; -1 = none."""
    text = request.headers.get("last-event-id", "").strip()
    if not text:
        return -1
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidParameters("Last-Event-ID must be a number that a stream gave", field="Last-Event-ID", value=text)
    return int(text)


def since_of(text: str, now: int) -> int:
    """Epoch ms from a duration back or a time (dialects have both); "" = 0."""
    if not text:
        return 0
    if not _ISO.match(text):
        return now - parse_duration(text, "since") * 1000
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        expected = 'a duration such as "1h" or a time such as "2026-01-15T12:00:00Z"'
        raise InvalidParameters(f"since must be {expected}", field="since", value=text, expected=expected) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _levels(name: str) -> tuple[str, ...]:
    level = {"warning": "warn", "": "debug"}.get(name.lower(), name.lower())
    if level not in LEVELS:
        raise InvalidParameters(f"level must be of {', '.join(LEVELS)}", field="level", value=name, expected=LEVELS)
    return LEVELS[LEVELS.index(level) :] if level != "debug" else ()
