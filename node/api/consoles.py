"""Routes into what runs: a command over a WebSocket, files out and in as tar archives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, WebSocket, get, put, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from market.errors import InvalidParameters, NeugridError, Unauthorized
from node.actions.console_doors import Execute, FrameKind, Frames, Outcome, Size
from node.actions.consoles import Consoles
from node.api.auth import GONE, REVOKED, SECURITY, computes
from node.api.errors import problems
from node.api.files import limited_body
from node.api.replies import reply
from node.api.services import Call
from node.api.views import Deleted

TAGS: Final = ["Consoles"]
ARCHIVE: Final = "application/x-tar"
REFUSED: Final = 4000
"""The code of a close that says: see the last frame for the reason."""
InnerPath = Annotated[str, QueryParameter(min_length=1, max_length=1024, pattern=r"^/[^\x00]*$")]
_encode = msgspec.json.Encoder().encode


@websocket("/jobs/{job_id:str}/exec", guards=[computes])
async def execute(socket: WebSocket[Any, Any, Any], job_id: FromPath[str]) -> None:
    """Run `command` (given once for each word) inside of a running job; `terminal`, `rows` and `columns` as wanted.

    Each message is binary: a byte that says what it is, then its content. 0 is input or output, 1 the end of the
    input, 2 the size of the terminal as JSON {rows, columns}, 3 the last word as JSON {exit_code, code, message}.
    The command ends, and the socket is closed with 4401, when the credentials that opened it are good no longer.
    """
    await socket.accept()
    consoles: Consoles = socket.app.state.services.consoles
    try:
        wanted = _wanted(socket.query_params)
        async with consoles.executing(
            socket.scope["user"],
            job_id,
            wanted.command,
            has_terminal=wanted.has_terminal,
            rows=wanted.rows,
            columns=wanted.columns,
        ) as frames:
            await _converse(socket, frames)
    except WebSocketDisconnect:
        return
    except NeugridError as error:
        await _refuse(socket, error)


@get(
    "/jobs/{job_id:str}/files",
    guards=[computes],
    tags=TAGS,
    security=SECURITY,
    media_type=ARCHIVE,
    responses={200: ResponseSpec(bytes, media_type=ARCHIVE), **problems(404, 409, 503)},
)
async def read_files(request: Call, job_id: FromPath[str], path: InnerPath) -> Stream:
    """A file or folder inside of a running job, as a tar archive."""
    chunks = request.services.consoles.pack(request.account, job_id, path)
    first = await anext(chunks, b"")
    return Stream(_rest(first, chunks), media_type=ARCHIVE)


@put(
    "/jobs/{job_id:str}/files",
    guards=[computes],
    tags=TAGS,
    security=SECURITY,
    request_max_body_size=None,
    responses=problems(404, 409, 503),
)
async def write_files(request: Call, job_id: FromPath[str], path: InnerPath) -> Response[Deleted]:
    """Unpack a tar archive, the body of the request, into a writable folder inside of a running job."""
    limit: int = request.app.state.settings.body_limit
    await request.services.consoles.unpack(request.account, job_id, path, limited_body(request, limit))
    return reply(Deleted(id=job_id, message="unpacked"))


def _wanted(query: Any) -> Execute:
    """What the query asks for; InvalidParameters names what does not fit."""
    raw = {
        "kind": "exec",
        "lease": "lse_000000",
        "command": query.getall("command", []),
        "has_terminal": query.get("terminal", "false") == "true",
        "rows": query.get("rows", "24"),
        "columns": query.get("columns", "80"),
    }
    try:
        return msgspec.convert(raw, Execute, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidParameters(f"the query does not fit: {error}", field="command", expected=str(error)) from None


async def _converse(socket: WebSocket[Any, Any, Any], frames: Frames) -> None:
    """Both ways until one ends; Unauthorized once whoever opened it may no longer."""
    with socket.app.state.services.people.watch.over(socket.auth) as revoked:
        tasks = [asyncio.create_task(each) for each in (_tell(socket, frames), _hear(socket, frames), revoked.wait())]
        telling, hearing, _ = tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if revoked.is_set():
                raise Unauthorized(GONE)
            await (telling if telling.done() else hearing)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(socket: WebSocket[Any, Any, Any], frames: Frames) -> None:
    """Pass on what the client says, until it goes away."""
    while True:
        message = await socket.receive_bytes()
        if not message or message[0] not in (FrameKind.DATA, FrameKind.END, FrameKind.SIZE):
            raise InvalidParameters("a message begins with 0, 1 or 2", field="message")
        if message[0] == FrameKind.SIZE:
            _check_size(message[1:])
        await frames.say(FrameKind(message[0]), message[1:])


def _check_size(body: bytes) -> None:
    """InvalidParameters for what the provider would take for the end of the conversation."""
    try:
        msgspec.json.decode(body, type=Size)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameters(f"a size is JSON {{rows, columns}}: {error}", field="message") from None


async def _tell(socket: WebSocket[Any, Any, Any], frames: Frames) -> None:
    """Pass on what comes from inside, to the last word."""
    while (frame := await frames.next()) is not None:
        kind, body = frame
        await socket.send_bytes(bytes([kind]) + body)
        if kind is FrameKind.DONE:
            await socket.close()
            return
    await _say_last(socket, Outcome(exit_code=-1, code="SERVICE_UNAVAILABLE", message="the provider went away"))


async def _refuse(socket: WebSocket[Any, Any, Any], error: NeugridError) -> None:
    code = REVOKED if isinstance(error, Unauthorized) else REFUSED
    await _say_last(socket, Outcome(exit_code=-1, code=error.code, message=error.message[:512]), code)


async def _say_last(socket: WebSocket[Any, Any, Any], outcome: Outcome, code: int = REFUSED) -> None:
    await socket.send_bytes(bytes([FrameKind.DONE]) + _encode(outcome))
    await socket.close(code=code, reason=outcome.code)


async def _rest(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(chunks):  # type: ignore[type-var]
        yield first
        async for chunk in chunks:
            yield chunk
