"""What all that runs has: output, and use over time."""

from typing import ClassVar

from neugrid_sdk.effects import Program, Stream
from neugrid_sdk.events import SILENCE, followed
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import events, get, quoted
from neugrid_sdk.resource import D, Resource, listing, operation, streaming
from neugrid_sdk.views.jobs import LogRecord
from neugrid_sdk.views.services import Metrics


class Running(Resource[D]):
    """A resource below PLACE whose things say and use something."""

    PLACE: ClassVar[str]

    @listing
    def logs(
        self, id: str, *, tail: int = 100, since: str = "", stream: str = "", level: str = ""
    ) -> Listing[LogRecord]:
        """The last lines; `since` is a duration ("1h") or a time, `stream` stdout or stderr, `level` the least one."""
        request = get(self._path(id, "/logs"), tail=tail, since=since, stream=stream, level=level)
        return Listing(request=request, plural="logs", shape=LogRecord)

    @streaming
    def follow(self, id: str, *, since: str = "", stream: str = "", level: str = "") -> Stream[LogRecord]:
        """Lines as they come, to the end; a broken connection is made anew behind the last line."""
        wanted = {"since": since, "stream": stream, "level": level}
        request = events(self._path(id, "/logs"), silence=SILENCE, follow=True, **wanted)
        return followed(request, LogRecord, ("log",), self._retries)

    @operation
    def metrics(self, id: str, *, period: str = "1h", metric: str = "") -> Program[Metrics]:
        """What was used in the last 1h, 24h or 7d; `metric` is cpu, memory, network or gpu, all without it."""
        return self._ask(get(self._path(id, "/metrics"), period=period, metric=metric), Metrics)

    def _path(self, id: str, more: str = "") -> str:
        return f"{self.PLACE}/{quoted(id)}{more}"
