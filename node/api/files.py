"""The route of uploads: files by content, to be named as inputs of jobs."""

from collections.abc import AsyncIterator
from typing import Final

from litestar import Response, put
from litestar.openapi.datastructures import ResponseSpec

from node.api.auth import SECURITY, uploads
from node.api.errors import PayloadTooLarge, problems
from node.api.replies import reply
from node.api.services import Call
from node.api.views import StoredFile

TAGS: Final = ["Files"]


@put(
    "/files",
    guards=[uploads],
    tags=TAGS,
    security=SECURITY,
    status_code=201,
    request_max_body_size=None,
    responses={201: ResponseSpec(StoredFile), **problems()},
)
async def store_file(request: Call) -> Response[StoredFile]:
    """Upload a file as the body of the request; its `digest` names it in `inputs` of a job.

    An account may have so many bytes of files; one that nothing needs goes some time after it was used last.
    """
    limit: int = request.app.state.settings.body_limit
    files = request.services.files
    files.must_have_room(request.account)
    stored = await files.store(request.account, limited_body(request, limit), limit)
    return reply(StoredFile(digest=stored.digest, size=stored.size), 201)


async def limited_body(request: Call, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes; PayloadTooLarge when it is more than `limit` bytes."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"a body may have {limit} bytes", limit=limit)
        if chunk:
            yield chunk
