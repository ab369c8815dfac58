"""Routes of projects: repositories that images are built of. Names are in snake case here and errors flat."""

from typing import Annotated, Final

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from market.workloads import FolderPath, RefText, Source
from node.api.auth import SECURITY, computes, signed_in
from node.api.envelopes import FlatProblem
from node.api.errors import problems
from node.api.merging import place_of
from node.api.present import iso
from node.api.replies import Page, cut, page_of_all, pagination_of, reply
from node.api.service_bodies import Label
from node.api.services import Call
from node.api.submissions import Body, unfit
from node.api.views import Deleted, Pagination
from node.records import Project

TAGS: Final = ["Projects"]
REPOSITORY: Final = "an https:// address of a repository at a public host name, without user, query and fragment"


class NewProject(Body, frozen=True, kw_only=True):
    """A repository and a name for it; `ref` is a branch, a tag or a commit, without one the default branch.

    The folder `folder` is built, by `dockerfile` below it; without one, by its Dockerfile or by what its files say.
    """

    repo_url: Annotated[str, Meta(min_length=1, max_length=512)]
    name: Label | None = None
    ref: RefText = ""
    folder: FolderPath = ""
    dockerfile: FolderPath = ""


class ProjectView(Struct, frozen=True, kw_only=True):
    """A project as its owner sees it."""

    id: str
    name: str
    repo_url: str
    ref: str
    folder: str
    dockerfile: str
    created_at: str


class ProjectList(Struct, frozen=True, kw_only=True):
    """A page of projects, newest first."""

    projects: tuple[ProjectView, ...]
    pagination: Pagination


@get(
    "/projects",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(shape=FlatProblem),
    dependencies={"wanted": Provide(page_of_all, sync_to_thread=False)},
)
async def list_projects(request: Call, wanted: NamedDependency[Page]) -> Response[ProjectList]:
    """Your projects, newest first: all of them, unless you ask for a page."""
    found = request.services.projects.list(request.account)
    shown, following = cut(found, wanted, place_of, newest=True)
    pagination = pagination_of(wanted, len(found), len(shown), following)
    return reply(ProjectList(projects=tuple(map(_view, shown)), pagination=pagination))


@post("/projects", guards=[computes], tags=TAGS, security=SECURITY, responses=problems(shape=FlatProblem))
async def create_project(request: Call, data: JSONBody[NewProject]) -> Response[ProjectView]:
    """A project of a repository; POST /v1/jobs with its id builds and runs it."""
    source = source_of(data)
    name = data.name or source.url.rstrip("/").rpartition("/")[2].removesuffix(".git")[:64]
    project = await request.services.projects.create(request.account, name, source)
    return reply(_view(project), 201, {"Location": f"/v1/projects/{project.id}"})


@get(
    "/projects/{project_id:str}",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(404, shape=FlatProblem),
)
async def show_project(request: Call, project_id: FromPath[str]) -> Response[ProjectView]:
    """One project."""
    return reply(_view(request.services.projects.get(request.account, project_id)))


@delete(
    "/projects/{project_id:str}",
    guards=[computes],
    tags=TAGS,
    security=SECURITY,
    status_code=200,
    responses=problems(404, shape=FlatProblem),
)
async def delete_project(request: Call, project_id: FromPath[str]) -> Response[Deleted]:
    """Forget a project; its jobs, and the pods that run its image, stay."""
    await request.services.projects.delete(request.account, project_id)
    return reply(Deleted(message="Project deleted", id=project_id))


def source_of(body: NewProject) -> Source:
    """The source that the body names; InvalidParameters names the field that does not fit."""
    scheme, mark, rest = body.repo_url.strip().partition("://")
    host, slash, path = rest.partition("/")
    url = f"{scheme.lower()}{mark}{host.lower()}{slash}{path}"
    raw = {"url": url, "ref": body.ref, "folder": body.folder.strip("/"), "dockerfile": body.dockerfile}
    try:
        return msgspec.convert(raw, Source)
    except msgspec.ValidationError:
        raise unfit("repo_url", body.repo_url, REPOSITORY) from None


def _view(project: Project) -> ProjectView:
    source = project.source
    return ProjectView(
        id=project.id,
        name=project.name,
        repo_url=source.url,
        ref=source.ref,
        folder=source.folder,
        dockerfile=source.dockerfile,
        created_at=iso(project.created_at),
    )
