"""The least that the framework can do: what the routes of nodes are held against."""

import asyncio
from contextlib import AsyncExitStack
from typing import cast

import uvicorn
from litestar import Litestar, get
from litestar.types import Receive, Scope, Send

from node.api.edge import Edge
from node.api.server import bind
from node.api.streams import Closing


class Greeter:
    """`GET /hello` and nothing around it; served like the API of a node."""

    def __init__(self) -> None:
        self.closing = Closing()
        self._app = greeting()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@get("/hello")
async def hello() -> dict[str, str]:
    """A word for everybody."""
    return {"hello": "world"}


def greeting() -> Litestar:
    """The framework with that one route."""
    return Litestar([hello], openapi_config=None, logging_config=None)


def as_api() -> Edge:
    """It is served as if it were a node's API."""
    return cast(Edge, Greeter())


async def plainly(stack: AsyncExitStack) -> str:
    """Serve it under the server as it comes, at its fastest, until the stack ends; its URL."""
    listener = bind("127.0.0.1", 0)
    stack.callback(listener.close)
    config = uvicorn.Config(
        greeting(), loop="none", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stack.push_async_callback(_ended, server, serving)
    return "http://{}:{}".format(*listener.getsockname())


async def _ended(server: uvicorn.Server, serving: "asyncio.Task[None]") -> None:
    server.should_exit = True
    await asyncio.wait([serving])
