"""The devnet over HTTP: requests queue for one chain thread, blocks are made at once or by the clock."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvicorn

from contracts.devnet.accounts import CHAIN_ID
from contracts.devnet.chain import Devchain
from contracts.devnet.errors import Refused
from contracts.devnet.methods import Methods
from contracts.devnet.store import Store
from market.errors import ConfigError

MAX_BODY: Final = 4 * 2**20
_HEADERS: Final = [(b"content-type", b"application/json")]
T = TypeVar("T")


class Devnet:
    """An ASGI application over one chain; `block_time` in seconds, 0 makes a block of each transaction at once."""

    def __init__(self, data_dir: Path, chain_id: int = CHAIN_ID, block_time: float = 0) -> None:
        self._data_dir, self._chain_id, self._block_time = data_dir, chain_id, block_time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="devnet")
        self._next_block: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Load or begin the chain; ConfigError when the folder holds one of another id."""
        await self._in_thread(self._load)

    async def close(self) -> None:
        await self._in_thread(self._store.close)
        self._thread.shutdown()

    async def make_blocks(self, server: uvicorn.Server) -> None:
        """Make a block each `block_time`; ends at once when blocks are made on demand, and the server if it fails."""
        try:
            while self._block_time:
                await asyncio.sleep(self._block_time)
                await self._in_thread(self._chain.mine)
        except Exception:
            server.should_exit = True
            raise

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        """One HTTP request: a JSON-RPC call or a batch."""
        body = await _body(receive)
        answer = await self._answer(body) if scope["method"] == "POST" else _failure(None, -32600, "POST only")
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": msgspec.json.encode(answer)})

    def _load(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._store = Store(self._data_dir / "chain.sqlite")
        try:
            self._chain = Devchain(self._store, self._chain_id, lambda: int(time.time()))  # noqa: TID251 - the clock of this process
        except Refused as refused:
            raise ConfigError(refused.message, path=str(self._data_dir)) from refused
        self._methods = Methods(self._chain)

    async def _answer(self, body: bytes) -> Any:
        try:
            request = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _failure(None, -32700, f"parse error: {error}")
        if isinstance(request, list):
            return await asyncio.gather(*map(self._answer_one, request))
        return await self._answer_one(request)

    async def _answer_one(self, request: Any) -> Any:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(None, -32600, "invalid request")
        ident, method = request.get("id"), request["method"]
        try:
            result = await self._in_thread(lambda: self._methods.answer(method, request.get("params") or []))
            if method == "eth_sendRawTransaction" and not self._block_time:
                await self._mined()
        except Refused as refused:
            return _failure(ident, refused.code, refused.message, refused.data)
        return {"jsonrpc": "2.0", "id": ident, "result": result}

    async def _mined(self) -> None:
        # Transactions that queued up behind one another share the block, because mining queues behind them.
        if self._next_block is None:
            self._next_block = asyncio.ensure_future(self._in_thread(self._mine_ready))
        await self._next_block

    def _mine_ready(self) -> None:
        self._next_block = None
        while self._chain.has_ready():
            self._chain.mine()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class _Server(uvicorn.Server):
    """Ends on the first SIGINT or SIGTERM, closes what it opened and lets the process exit by itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def serve(
    host: str, port: int, data_dir: Path, chain_id: int = CHAIN_ID, block_time: float = 0,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:  # fmt: skip
    """Serve until cancelled or signalled; `on_ready` gets the URL once it answers (port 0 takes a free one).

    Raises ConfigError when `host` is not a loopback address, the port is taken, or the data are another chain's.
    """
    listening = _listen(host, port)
    devnet = Devnet(data_dir, chain_id, block_time)
    await devnet.open()
    config = uvicorn.Config(devnet, lifespan="off", log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    server = _Server(config)
    miner = asyncio.create_task(devnet.make_blocks(server))
    try:
        shown = f"[{host}]" if ":" in host else host
        on_ready(f"http://{shown}:{listening.getsockname()[1]}")
        await server.serve(sockets=[listening])
    finally:
        miner.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await miner
        await devnet.close()


def _listen(host: str, port: int) -> socket.socket:
    address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_loopback:
        raise ConfigError("the devnet listens on loopback only: its keys are public", host=host)
    listening = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((str(address), port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"port {port} is in use", port=port) from error
    listening.listen(128)
    return listening


async def _body(receive: Callable[[], Any]) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY or not message.get("more_body"):
            return b"".join(parts)


def _failure(ident: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": ident, "error": error}
