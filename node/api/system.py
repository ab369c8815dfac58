"""Routes of the node itself: health, readiness, version, metrics."""

import platform
from typing import Any, Final

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from prometheus_client import CONTENT_TYPE_LATEST

from node.api.auth import SECURITY, administers, known_or_not
from node.api.errors import HEADERS_OF, problems
from node.api.replies import reply
from node.api.services import Call
from node.api.views import Version
from node.version import API_VERSION, VERSION

TAGS: Final = ["System"]
READY: Final = "ok"


@get("/health", guards=[known_or_not], tags=TAGS, security=[{}, *SECURITY], responses=problems(503))
async def show_health(request: Call) -> Response[dict[str, Any]]:
    """How the node is: a short word for everybody; engine, GPUs, chain, network and queue for who has a key."""
    health = request.services.health
    return reply(await (health.full() if request.scope["user"] else health.short()))


@get(
    "/ready",
    guards=[known_or_not],
    tags=TAGS,
    security=[{}, *SECURITY],
    responses={**problems(), 503: ResponseSpec(dict[str, Any], description="Not ready", generate_examples=False)},
)
async def show_readiness(request: Call) -> Response[dict[str, Any]]:
    """200 when the node can take jobs, else 503."""
    found = await request.services.health.short()
    return reply(found) if found.get("status") == READY else reply(found, 503, HEADERS_OF[503])


@get("/version", guards=[known_or_not], tags=TAGS, security=[{}, *SECURITY], responses=problems())
async def show_version(request: Call) -> Response[Version]:
    """Which program answers."""
    return reply(Version(version=VERSION, api=API_VERSION, python=platform.python_version()))


@get("/metrics", guards=[administers], tags=TAGS, security=SECURITY, media_type="text/plain", responses=problems())
async def show_metrics(request: Call) -> Response[bytes]:
    """Counters for Prometheus; give its job the key as `authorization`."""
    gpus = await request.services.health.gpus()
    return Response(content=request.app.state.metrics.exposition(gpus), media_type=CONTENT_TYPE_LATEST)
