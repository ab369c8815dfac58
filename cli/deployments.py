"""`neugrid deploy`, and `neugrid deployment`: list, show, start, stop, restart, scale, logs, delete."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from cli.exits import INTERRUPTED, JOB_FAILED
from cli.orders import Many, variable
from cli.remote import LOCAL, Remote, connected, print_fields, print_json, print_lines, print_table, say
from market.errors import InvalidParameters

if TYPE_CHECKING:
    from cli.client import Client

app = App(name="deployment", help="Services that stay up: list, start, stop, scale, read.")
POLL: Final = 0.5
PORT: Final = "PORT, PORT/tcp, PORT/direct: also on the provider's own address; may be repeated."


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What to keep up, on what, at which price."""

    template: Annotated[str, Parameter(help="A template, such as redis; `GET /v1/templates` lists them.")] = ""
    image: Annotated[str, Parameter(help="Or a container image, such as nginx:1.27.")] = ""
    name: Annotated[str, Parameter(help="How you call it.")] = ""
    node: Annotated[str, Parameter(help="Only this provider.")] = ""
    replicas: Annotated[int, Parameter(help="How many pods.")] = 1
    env: Annotated[tuple[str, ...], Many, Parameter(help="NAME=value; may be repeated.")] = ()
    port: Annotated[tuple[str, ...], Many, Parameter(help=PORT)] = ()
    volume: Annotated[tuple[str, ...], Many, Parameter(help="NAME:PATH:SIZE, such as data:/data:1Gi.")] = ()
    cpu: Annotated[str, Parameter(help="Cores of a pod: 2 or 0.5.")] = ""
    memory: Annotated[str, Parameter(help="Memory of a pod: 512Mi, 4Gi.")] = ""
    gpu: Annotated[int, Parameter(help="GPUs of a pod.")] = 0
    egress: Annotated[str, Parameter(help="Where it may connect to: none or web.")] = ""
    max_price_per_hour: Annotated[str, Parameter(help="The most a pod may cost an hour, in tokens.")] = ""
    region: Annotated[str, Parameter(help="Only providers of this region.")] = ""


NOTHING: Final = Wishes()


def deploy(
    *command: str,
    wishes: Wishes = NOTHING,
    wait: Annotated[bool, Parameter(negative="", help="Until it runs, or is an error.")] = False,
    idempotency_key: Annotated[str, Parameter(help="Repeat safely under this key.")] = "",
    remote: Remote = LOCAL,
) -> int:
    """Keep a template or an image up: neugrid deploy --template redis, or --image my-image --port 8080 -- serve."""
    with connected(remote) as client:
        deployment = client.deploy(body_of(wishes, command), idempotency_key)
        if wait:
            return _watch(client, deployment, is_json=remote.json)
    print_json(deployment) if remote.json else print(deployment["id"])
    return 0


@app.command(name="list")
def list_(
    *,
    status: Annotated[str, Parameter(help="pending, starting, running, error, stopping, stopped.")] = "",
    limit: int = 20,
    remote: Remote = LOCAL,
) -> None:
    """Your deployments, newest first."""
    with connected(remote) as client:
        found = client.deployments(status, limit)
    if remote.json:
        print_json(found)
        return
    rows = [(d["id"], d["name"], d["status"], _ready(d), d["image"], d["cost"], d["createdAt"]) for d in found]
    print_table(("id", "name", "status", "ready", "image", "cost", "created"), rows, "no deployments yet")


@app.command
def show(id: str, /, *, remote: Remote = LOCAL) -> None:
    """One deployment with its pods."""
    with connected(remote) as client:
        deployment = client.deployment(id)
    print_json(deployment) if remote.json else _print(deployment)


@app.command
def start(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Bring it up again."""
    _tell(id, "start", remote)


@app.command
def stop(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Take it down; settings and volumes stay."""
    _tell(id, "stop", remote)


@app.command
def restart(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Replace its pods, one after the other."""
    _tell(id, "restart", remote)


@app.command
def scale(id: str, replicas: int, /, *, remote: Remote = LOCAL) -> None:
    """Keep so many pods up."""
    _tell(id, "scale", remote, {"replicas": replicas})


@app.command
def logs(
    id: str,
    /,
    *,
    tail: int = 100,
    since: Annotated[str, Parameter(help="A duration (10m) or a time.")] = "",
    level: Annotated[str, Parameter(help="debug, info, warn or error.")] = "",
    follow: Annotated[bool, Parameter(alias="-f", negative="")] = False,
    remote: Remote = LOCAL,
) -> None:
    """The output of all its pods; with --json one list, and with --follow an object a line as they come."""
    filters = {name: value for name, value in (("since", since), ("level", level)) if value}
    with connected(remote) as client:
        lines = client.follow_deployment(id, **filters) if follow else client.deployment_logs(id, tail, **filters)
        print_lines(lines, remote.json, is_live=follow)


@app.command
def delete(id: str, /, *, remote: Remote = LOCAL) -> None:
    """End it for good, with its volumes."""
    with connected(remote) as client:
        answer = client.delete_deployment(id)
    print_json(answer) if remote.json else print(f"{id} is deleted")


def body_of(wishes: Wishes, command: tuple[str, ...]) -> dict[str, Any]:
    """The deployment as JSON: only what was said. InvalidParameters for what can not be read."""
    if bool(wishes.template) == bool(wishes.image):
        raise InvalidParameters("give one of --template and --image", field="image")
    said = {
        "templateId": wishes.template,
        "customImage": wishes.image,
        "name": wishes.name,
        "nodeId": wishes.node,
        "command": list(command),
        "env": dict(variable(text) for text in wishes.env),
        "ports": [_port(text) for text in wishes.port],
        "volumes": [_volume(text) for text in wishes.volume],
        "egress": wishes.egress,
        "maxPricePerHour": wishes.max_price_per_hour,
        "region": wishes.region,
        "resources": _resources(wishes),
    }
    return {"replicas": wishes.replicas, **{name: value for name, value in said.items() if value}}


def _resources(wishes: Wishes) -> dict[str, Any]:
    said = {"cpu": wishes.cpu, "memory": wishes.memory, "gpu": wishes.gpu}
    return {name: value for name, value in said.items() if value}


def _port(text: str) -> dict[str, Any]:
    number, *words = text.split("/")
    if not number.isdecimal() or not set(words) <= {"http", "tcp", "direct"} or {"http", "tcp"} <= set(words):
        raise InvalidParameters(f"--port takes PORT, PORT/tcp or PORT/direct, got {text!r}", field="port", value=text)
    return {
        "port": int(number),
        "protocol": "tcp" if "tcp" in words else "http",
        **({"direct": True} if "direct" in words else {}),
    }


def _volume(text: str) -> dict[str, str]:
    parts = text.split(":")
    if len(parts) != 3:
        raise InvalidParameters(f"--volume takes NAME:PATH:SIZE, got {text!r}", field="volume", value=text)
    return {"name": parts[0], "path": parts[1], "size": parts[2]}


def _tell(id: str, verb: str, remote: Remote, body: dict[str, Any] | None = None) -> None:
    with connected(remote) as client:
        deployment = client.tell_deployment(id, verb, body)
    print_json(deployment) if remote.json else print(f"{id} is {deployment['status']}")


def _watch(client: "Client", deployment: dict[str, Any], *, is_json: bool) -> int:
    """Say each state until it runs or is an error; 1 when it is one."""
    shown = ""
    try:
        while True:
            line = f"{deployment['id']} {deployment['status']}, {_ready(deployment)} ready"
            if line != shown:
                say(line)
                shown = line
            if deployment["status"] in ("running", "error", "stopped"):
                break
            time.sleep(POLL)
            deployment = client.deployment(deployment["id"])
    except KeyboardInterrupt:
        say(f"{deployment['id']} goes on; `neugrid deployment show {deployment['id']}`")
        return INTERRUPTED
    print_json(deployment) if is_json else _print(deployment)
    return 0 if deployment["status"] == "running" else JOB_FAILED


def _print(deployment: dict[str, Any]) -> None:
    error = f"{deployment['error']['code']}: {deployment['error']['message']}" if deployment["error"] else None
    print_fields(
        [
            ("id", deployment["id"]),
            ("name", deployment["name"]),
            ("status", f"{deployment['status']} ({_ready(deployment)} ready)"),
            ("image", deployment["image"]),
            ("command", " ".join(deployment["command"])),
            ("endpoints", ", ".join(endpoint["url"] for endpoint in deployment["endpoints"])),
            ("cost", f"{deployment['cost']} {deployment['currency']}"),
            ("price", f"at most {deployment['maxPricePerHour']} {deployment['currency']} an hour for each pod"),
            ("error", error),
            ("created", deployment["createdAt"]),
            ("started", deployment["startedAt"]),
        ]
    )
    rows = [(pod["id"], pod["status"], pod["health"] or "", pod["provider"] or "") for pod in deployment["pods"]]
    print_table(("pod", "status", "health", "provider"), rows, "no pods")


def _ready(deployment: dict[str, Any]) -> str:
    return f"{deployment['readyReplicas']}/{deployment['replicas']}"
