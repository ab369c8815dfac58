"""`neugrid build`, and `neugrid project`: list, show, delete. A repository becomes an image, which runs as a pod."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from cli.jobs import watch
from cli.remote import LOCAL, Remote, connected, print_fields, print_json, print_table
from market.errors import InvalidParameters

if TYPE_CHECKING:
    from cli.client import Client

app = App(name="project", help="Repositories that images are built of.")
GIB: Final = "Gi"
"""The unit in which a build says how much memory its GPU has to have."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What to build of a repository, and at which price."""

    name: Annotated[str, Parameter(help="How you call it; without it the last part of the address.")] = ""
    ref: Annotated[str, Parameter(help="A branch, a tag or a commit.")] = ""
    folder: Annotated[str, Parameter(help="Only this folder of it.")] = ""
    dockerfile: Annotated[str, Parameter(help="Where its Dockerfile is, below the folder.")] = ""
    vram: Annotated[str, Parameter(help="What is built wants a GPU of so much memory, such as 24Gi.")] = ""
    max_price: Annotated[str, Parameter(help="The most that the build may cost, in tokens.")] = ""


NOTHING: Final = Wishes()


def build(
    repository: str,
    /,
    *,
    wishes: Wishes = NOTHING,
    wait: Annotated[bool, Parameter(negative="", help="Show its steps until it ends.")] = False,
    remote: Remote = LOCAL,
) -> int:
    """Build a repository and run it as a pod; again, to renew the pod: neugrid build https://example.org/site.git."""
    order = _order(wishes)
    with connected(remote) as client:
        job = client.submit({"project_id": _project(client, repository, wishes)["id"], **order})
        if wait:
            return watch(client, job, None, is_json=remote.json)
    print_json(job) if remote.json else print(job["id"])
    return 0


@app.command(name="list")
def list_(*, limit: int = 20, remote: Remote = LOCAL) -> None:
    """Your projects, newest first."""
    with connected(remote) as client:
        found = client.projects(limit)
    if remote.json:
        print_json(found)
        return
    rows = [(p["id"], p["name"], p["repo_url"], p["ref"], p["created_at"]) for p in found]
    print_table(("id", "name", "repository", "ref", "created"), rows, "no projects yet")


@app.command
def show(id: str, /, *, remote: Remote = LOCAL) -> None:
    """One project."""
    with connected(remote) as client:
        project = client.project(id)
    print_json(project) if remote.json else print_fields(list(project.items()))


@app.command
def delete(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Forget it; what runs of it goes on."""
    with connected(remote) as client:
        answer = client.delete_project(id)
    print_json(answer) if remote.json else print(f"{id} is deleted")


def _project(client: "Client", repository: str, wishes: Wishes) -> dict[str, Any]:
    """The newest project that is the same, or a new one: its later builds renew one pod."""
    same = {"repo_url": repository, "folder": wishes.folder, "dockerfile": wishes.dockerfile}
    if wishes.name:
        same["name"] = wishes.name
    for project in client.projects(limit=256):
        if same.items() <= project.items():
            return project
    return client.create_project({name: value for name, value in same.items() if value})


def _order(wishes: Wishes) -> dict[str, Any]:
    vram = wishes.vram.removesuffix(GIB)
    if wishes.vram and not vram.isdecimal():
        expected = f"--vram takes whole gibibytes such as 24Gi, got {wishes.vram!r}"
        raise InvalidParameters(expected, field="vram", value=wishes.vram)
    gpu = {"enabled": True, "min_vram_gb": int(vram)} if vram else None
    said = {"ref": wishes.ref, "gpu_config": gpu, "max_price": wishes.max_price}
    return {name: value for name, value in said.items() if value}
