"""Routes of files by content, which are named as inputs of jobs: bring one, list them, let go of one."""

from collections.abc import AsyncIterator
from typing import Final

from litestar import Response, delete, get, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from node.api.auth import SECURITY, signed_in, uploads
from node.api.errors import PayloadTooLarge, problems
from node.api.present import iso
from node.api.replies import Page, cut_ahead_by, pagination_of, place_in, reply
from node.api.services import Call
from node.api.views import Deleted, FileList, HeldFile, StoredFile

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


@get("/files", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems())
async def list_files(request: Call, wanted: NamedDependency[Page]) -> Response[FileList]:
    """The files that you have here, uploads and outputs of your jobs, those used last first; and how much they are."""
    files = request.services.files
    after = place_in(wanted.cursor) if wanted.cursor else None
    found, total = files.list(request.account, wanted.limit + 1, after, wanted.start)
    shown, following = cut_ahead_by(found, wanted, lambda file: (file.used_at, file.id))
    views = tuple(
        HeldFile(digest=each.digest, size=each.size, used_at=iso(each.used_at), kept_until=iso(files.kept_until(each)))
        for each in shown
    )
    held, limit = files.room_of(request.account)
    return reply(
        FileList(files=views, bytes=held, limit=limit, pagination=pagination_of(wanted, total, len(views), following))
    )


@delete(
    "/files/{digest:str}",
    guards=[uploads],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses={200: ResponseSpec(Deleted), **problems(404, 409)},
)
async def delete_file(request: Call, digest: FromPath[str]) -> Response[Deleted]:
    """Let go of a file, which counts no longer then. 409 while what of yours has not ended works with it."""
    await request.services.files.drop(request.account, digest)
    return reply(Deleted(message="File deleted", id=digest))


async def limited_body(request: Call, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes; PayloadTooLarge when it is more than `limit` bytes."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"a body may have {limit} bytes", limit=limit)
        if chunk:
            yield chunk
