"""The options of `job submit`, and the body of POST /v1/jobs that they make."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from market.errors import InvalidParameters

if TYPE_CHECKING:
    from cli.client import Client

INLINE: Final = 256 * 1024
"""Inputs up to this size travel inside the job; larger ones are uploaded before."""
Many = Parameter(negative="")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Order:
    """What to run, on what, at which price."""

    image: Annotated[str, Parameter(help="Container image, such as python:3.11-slim.")]
    max_price: Annotated[str, Parameter(help="The most it may ever cost, in tokens, fees included.")]
    cpu: Annotated[str, Parameter(help="Cores: 2 or 0.5.")] = "1"
    memory: Annotated[str, Parameter(help="Memory: 512Mi, 4Gi.")] = "512Mi"
    disk: Annotated[str, Parameter(help="Scratch space: 10Gi.")] = "0"
    gpu: Annotated[int, Parameter(help="How many GPUs.")] = 0
    gpu_model: Annotated[str, Parameter(help="GPU model, such as nvidia-a100.")] = ""
    vram: Annotated[str, Parameter(help="Least memory of each GPU: 24Gi.")] = ""
    timeout: Annotated[str, Parameter(help="The longest it may run: 90s, 1h.")] = "1h"
    env: Annotated[tuple[str, ...], Many, Parameter(help="NAME=value; may be repeated.")] = ()
    input: Annotated[tuple[str, ...], Many, Parameter(help="FILE or FILE:NAME, seen at /input/NAME; repeatable.")] = ()
    output: Annotated[tuple[str, ...], Many, Parameter(help="Name under /output that comes back; repeatable.")] = ()
    region: Annotated[str, Parameter(help="Only providers of this region.")] = ""
    isolation: Annotated[str, Parameter(help="Only this isolation tier.")] = ""
    min_reputation: Annotated[int, Parameter(help="Least reputation, 0 to 1000.")] = 0
    bid_window: Annotated[int, Parameter(help="How long bids are collected, in ms.")] = 1000
    order_ttl: Annotated[str, Parameter(help="How long it may wait for a provider.")] = "5m"


def body_of(order: Order, command: tuple[str, ...], client: "Client") -> dict[str, Any]:
    """The job as JSON; large inputs are uploaded on the way. InvalidParameters for files and variables that fail."""
    body: dict[str, Any] = {
        "image": order.image,
        "maxPrice": order.max_price,
        "resources": _resources(order),
        "timeout": order.timeout,
        "env": dict(variable(text) for text in order.env),
        "inputs": [_input(text, client) for text in order.input],
        "outputs": list(order.output),
        "region": order.region,
        "isolation": order.isolation,
        "minReputation": order.min_reputation,
        "bidWindow": order.bid_window,
        "orderTtl": order.order_ttl,
    }
    return body | ({"command": list(command)} if command else {})


def _resources(order: Order) -> dict[str, Any]:
    gpu: Any = order.gpu
    if order.gpu_model or order.vram:
        gpu = {"count": max(1, order.gpu), "model": order.gpu_model, "vram": order.vram or 0}
    return {"cpu": order.cpu, "memory": order.memory, "disk": order.disk, "gpu": gpu}


def variable(text: str) -> tuple[str, str]:
    """NAME and value of an environment variable; InvalidParameters without both."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InvalidParameters(f"--env takes NAME=value, got {text!r}", field="env", value=text)
    return name, value


def _input(text: str, client: "Client") -> dict[str, str]:
    """FILE or FILE:NAME; a file that has a colon in its own name is taken as it is."""
    local, _, name = text.rpartition(":") if not Path(text).exists() and ":" in text else (text, "", "")
    file = Path(local).expanduser()
    if not file.is_file():
        raise InvalidParameters(f"--input: there is no file {local}", field="input", value=text)
    path = name or file.name
    if file.stat().st_size > INLINE:
        return {"path": path, "digest": client.upload(file)["digest"]}
    return {"path": path, "content": base64.b64encode(file.read_bytes()).decode()}
