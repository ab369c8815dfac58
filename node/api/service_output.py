"""The output of a service or a pod, as a list or as server-sent events: shared by the routes of both."""

from collections.abc import AsyncIterator

from litestar import Response

from market.errors import NeugridError, NotFound
from node.actions.service_logs import NOWHERE
from node.api.log_queries import LogQuery, resume_point, wants_events
from node.api.present import log_record
from node.api.replies import reply
from node.api.services import Call
from node.api.streams import Frame
from node.api.views import LogList


def show_output(request: Call, query: LogQuery, service: str, pod: str = "") -> Response[LogList]:
    """The last lines of one pod or of all; NotFound when there is no such service.

    Events are numbered by the time of their line (epoch ms): a reconnect with `Last-Event-ID` goes on with that
    millisecond, so that none is lost and a few may come twice.
    """
    output = request.services.output
    if query.follow or wants_events(request):
        request.services.hosting.get(request.account, service)
        return request.follow(_lines(request, query, service, pod, resume_point(request)))  # type: ignore[return-value]
    lines = output.last(request.account, service, pod, tail=query.depth, since=query.since, stream=query.stream)
    return reply(LogList(logs=query.records(lines)))


async def _lines(request: Call, query: LogQuery, service: str, pod: str, last: int) -> AsyncIterator[Frame]:
    account, output, behind = request.account, request.services.output, NOWHERE
    try:
        if query.is_cut and last < 0:
            behind = output.ends(account, service, pod)
            found = output.last(account, service, pod, tail=query.depth, since=query.since, stream=query.stream)
            for _, line in query.cut((0, line) for line in found):
                yield Frame("log", log_record(line), line.at)
        async for line in output.follow(account, service, pod, max(query.since, last), behind):
            if query.has(line):
                yield Frame("log", log_record(line), line.at)
    except NotFound:
        yield Frame("end", {"id": pod or service, "status": "deleted"})
    except NeugridError as error:
        yield Frame("error", {"code": error.code, "message": error.message})
