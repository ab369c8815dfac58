"""Calls to the Docker Engine: one client, a bounded pool of threads, foreign errors turned into ours.

The only file that imports the docker SDK. The client is made at the first call and again after every lost connection,
so that an engine that starts late, restarts or is upgraded is met as it is.
"""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

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

MAX_REFUSAL: Final = 4096
"""Bytes read of the reason why the engine does not hand a connection over."""
REMOVAL_PAUSES: Final = (0.5, 2.0, 5.0, 10.0, 20.0)
"""Seconds between tries to remove a container."""
CORE: Final = 10**9
"""A core, in the engine's unit."""


class Failed(Unavailable):
    """The engine is there, and says that it could not."""


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

    async def remove(self, name: str) -> None:
        """Remove a container, running or not, and its nameless volumes; NotFound when there is none.

        An engine is in need for seconds after a container whose children ran out of memory thousands of times: it
        hears of the end behind all of them, and writes each of them into the folder that it removes. It is asked again.
        """
        for pause in (*REMOVAL_PAUSES, None):
            try:
                await self.call(partial(_remove, name))
                return
            except (Conflict, Failed):  # Conflict: it removes it already
                if pause is None:
                    raise
            await self.hurry(name)
            await asyncio.sleep(pause)

    async def hurry(self, name: str) -> None:
        """Let a container that was killed die on a whole core, where it has less: no error when that can not be done.

        Each of its processes needs the processor once more for its end, and three hundred of them need a minute of a
        tenth of a core.
        """
        with suppress(NeugridError):
            await self.call(partial(_give_a_core, name))

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

    def stream(self, path: str, /, **wanted: object) -> Any:
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

    def post_stream(self, path: str, body: Iterator[bytes], kind: str, /, **wanted: object) -> Any:
        """Chunks of the answer to a POST of `body`, as of `stream`; InvalidParameters when the engine refuses it."""
        client = self.client()
        where = f"{client.base_url}/v{client.api_version}{path}"
        headers = {"Content-Type": kind}
        answer = client.post(
            where, params=wanted, data=body, headers=headers, stream=True, timeout=(CALL_TIMEOUT, None)
        )
        if answer.status_code >= 400:
            raise _from_status(answer.status_code, answer.text[:MAX_REFUSAL])
        return CancellableStream(answer.iter_content(None), answer)

    def attach(self, name: str) -> socket.socket:
        """Both directions of a container's streams, as a socket that has no other owner.

        For `call`. Raises Unavailable for an engine behind TLS or SSH, whose connection can not be handed over.
        """
        client = self.client()
        if not client.base_url.startswith(("http://", "http+docker://localhost")):
            raise Unavailable("code runs only on an engine that is reached by its own socket", service="docker")
        held = client.attach_socket(name, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        try:
            return socket.socket(fileno=os.dup(held.fileno()))
        finally:
            held._response.close()

    async def hijacked(
        self, path: str, body: Mapping[str, object]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """POST `body` to `path` and take the connection over: what follows is the stream itself, both ways.

        Over the engine's Unix socket only. Not through the SDK: it loses what comes in one piece with the answer.
        """
        version = (await self.call(lambda client: client.api_version)) or "1.41"
        with translated():
            reader, writer = await asyncio.open_unix_connection(self._socket())
            try:
                async with asyncio.timeout(CALL_TIMEOUT):
                    await _upgrade(reader, writer, f"/v{version}{path}", json.dumps(body).encode())
            except BaseException:
                writer.close()
                raise
        return reader, writer

    async def post(self, path: str, body: Mapping[str, object], **wanted: object) -> dict[str, Any]:
        """POST `body` to `path` as it is, where the SDK would change or refuse parts of it; the answer's JSON."""

        def send(client: Client) -> dict[str, Any]:
            where = f"{client.base_url}/v{client.api_version}{path}"
            answer = client.post(where, json=body, params=wanted, timeout=CALL_TIMEOUT)
            if answer.status_code >= 400:
                raise _from_status(answer.status_code, answer.text[:MAX_REFUSAL])
            found: dict[str, Any] = answer.json() if answer.content else {}
            return found

        return await self.call(send)

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

    def _socket(self) -> str:
        address = self._address or utils.kwargs_from_env().get("base_url") or "unix:///var/run/docker.sock"
        scheme, _, path = str(address).partition("://")
        if scheme not in ("unix", "http+unix"):
            raise Unavailable(f"only an engine on a Unix socket can be reached inside, not one at {address}")
        return "/" + path.lstrip("/")

    def _connected(self) -> Client:
        where = {"base_url": self._address} if self._address else utils.kwargs_from_env()
        client = docker.APIClient(version="auto", timeout=CALL_TIMEOUT, max_pool_size=self._workers * 2, **where)
        client.trust_env = False  # neither proxies nor .netrc concern a local engine, and looking costs 1 ms a call
        return client


def name_of(item: Mapping[str, Any]) -> str:
    """The name of a listed container, "" for one that is gone but in the engine's list: a late note brought it back."""
    names: list[str] = item["Names"]
    return names[0].lstrip("/") if names else ""


async def _upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> None:
    lines = (f"POST {path} HTTP/1.1", "Host: engine", "Content-Type: application/json", "Connection: Upgrade")
    head = "\r\n".join((*lines, "Upgrade: tcp", f"Content-Length: {len(body)}", "", ""))
    writer.write(head.encode() + body)
    await writer.drain()
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status = int(answer.split(" ", 2)[1])
    if status not in (101, 200):
        said = (await reader.read(MAX_REFUSAL)).decode(errors="replace")
        raise _from_status(status, said)


def _remove(name: str, client: Client) -> None:
    client.remove_container(name, v=True, force=True)


def _give_a_core(name: str, client: Client) -> None:
    """Without the SDK, which does not know of this unit."""
    if 0 < client.inspect_container(name)["HostConfig"].get("NanoCpus", 0) < CORE:
        where = f"{client.base_url}/v{client.api_version}/containers/{name}/update"
        client.post(where, json={"NanoCpus": CORE}, timeout=CALL_TIMEOUT).raise_for_status()


@contextmanager
def translated() -> Iterator[None]:
    """Whatever the SDK raises inside becomes one of `market.errors`."""
    try:
        yield
    except NeugridError:
        raise
    except errors.APIError as error:
        raise _from_answer(error) from error
    except (errors.DockerException, requests.RequestException, HTTPError, OSError, EOFError) as error:
        raise Unavailable(f"the container engine does not answer: {error}", service="docker") from error


def _from_answer(error: Any) -> NeugridError:
    return _from_status(error.status_code or 500, str(error.explanation or error))


def _from_status(status: int, said: str) -> NeugridError:
    if status == 404:
        return NotFound(said, service="docker")
    if status == 409:
        return Conflict(said, service="docker")
    if 400 <= status < 500:
        return InvalidParameters(said, service="docker")
    return Failed(f"the container engine failed: {said}", service="docker")
