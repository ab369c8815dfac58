"""The least that the framework can do, under the server of the nodes: what their routes are held against."""

from typing import cast

from litestar import Litestar, get
from litestar.types import Receive, Scope, Send

from node.api.edge import Edge
from node.api.streams import Closing


class Hello:
    """`GET /hello` and nothing around it; served like the API of a node."""

    def __init__(self) -> None:
        self.closing = Closing()
        self._app = Litestar([hello], openapi_config=None, logging_config=None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@get("/hello")
async def hello() -> dict[str, str]:
    """A word for everybody."""
    return {"hello": "world"}


def as_api() -> Edge:
    """It is served as if it were a node's API."""
    return cast(Edge, Hello())
