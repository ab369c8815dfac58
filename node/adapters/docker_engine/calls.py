"""Calls to the Docker Engine: one client, a bounded pool of threads, foreign errors turned into ours.

The only file that imports the docker SDK. The client is made at the first call and again after every lost connection,
so that an engine that starts late, restarts or is upgraded is met as it is.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import docker
import requests
from docker import errors, utils
from docker.types import CancellableStream
from urllib3.exceptions import HTTPError

from market.errors import Conflict, InvalidParameters, NeugridError, NotFound, Unavailable

T = TypeVar("T")
Client = Any
"""A docker.APIClient; the SDK has no types."""

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
CALL_TIMEOUT = 60.0
"""Seconds until a silent engine counts as down; creating and starting under load stays far below."""


class Engine:
    """One Docker Engine; `address` "" means DOCKER_HOST or the default socket."""

    def __init__(self, address: str = "", workers: int = 16) -> None:
        self._address = address
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, "engine")
        self._lock = threading.Lock()
        self._client: Client | None = None

    @property
    def address(self) -> str:
        """The engine's URL."""
        return self._address or os.environ.get("DOCKER_HOST") or DEFAULT_ADDRESS

    @property
    def is_local(self) -> bool:
        """Whether the engine is on this machine, as a socket in a file is."""
        return self.address.startswith("unix://")

    async def call(self, verb: Callable[[Client], T]) -> T:
        """`verb` on the client, in a thread of the pool; raises our errors only."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.blocking, verb)

    def blocking(self, verb: Callable[[Client], T]) -> T:
        """`verb` on the client, in the caller's thread; for streams that have a thread of their own."""
        with translated():
            try:
                return verb(self.client())
            except (requests.ConnectionError, requests.Timeout, HTTPError):
                self._client = None
                raise

    def client(self) -> Client:
        """The client, connected and speaking the engine's own API version."""
        with self._lock:
            if self._client is None:
                self._client = self._connected()
            return self._client

    def stream(self, path: str, **wanted: object) -> Any:
        """Chunks of a GET on `path` that lasts as long as the engine likes; its `close()` ends it from any thread.

        For a thread of its own, inside of `blocking`.
        """
        client = self.client()
        where = f"{client.base_url}/v{client.api_version}{path}"
        answer = client.get(where, params=wanted, stream=True, timeout=(CALL_TIMEOUT, None))
        if answer.status_code == 404:
            raise NotFound(f"the engine knows no {path}", service="docker")
        answer.raise_for_status()
        return CancellableStream(answer.iter_content(None), answer)

    def greet(self) -> None:
        """Ask the engine over a new connection whether it is there; an engine that ends takes none any more.

        Connections that stand are served to the end, so that an answer on one of them says little. For `blocking`.
        """
        fresh = self._connected()
        try:
            fresh.ping()
        finally:
            fresh.close()

    def close(self) -> None:
        """Let go of threads and connections; calls that run are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _connected(self) -> Client:
        where = {"base_url": self._address} if self._address else utils.kwargs_from_env()
        client = docker.APIClient(version="auto", timeout=CALL_TIMEOUT, max_pool_size=self._workers * 2, **where)
        client.trust_env = False  # neither proxies nor .netrc concern a local engine, and looking costs 1 ms a call
        return client


@contextmanager
def translated() -> Iterator[None]:
    """Whatever the SDK raises inside becomes one of `market.errors`."""
    try:
        yield
    except NeugridError:
        raise
    except errors.APIError as error:
        raise _from_answer(error) from error
    except (errors.DockerException, requests.RequestException, HTTPError, OSError) as error:
        raise Unavailable(f"the container engine does not answer: {error}", service="docker") from error


def _from_answer(error: Any) -> NeugridError:
    said = str(error.explanation or error)
    status = error.status_code or 500
    if status == 404:
        return NotFound(said, service="docker")
    if status == 409:
        return Conflict(said, service="docker")
    if 400 <= status < 500:
        return InvalidParameters(said, service="docker")
    return Unavailable(f"the container engine failed: {said}", service="docker")
