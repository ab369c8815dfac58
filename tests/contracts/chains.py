"""Chains for tests: a devnet in this process behind a wire that can be cut, or one in a process of its own."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from contracts.deploy import deploy, passing_wallet
from contracts.devnet.accounts import ACCOUNTS
from contracts.devnet.server import Devnet
from contracts.follow import PATIENCE, Patience
from contracts.networks import Deployment
from contracts.rpc import Rpc
from contracts.wallet import Wallet
from market.signing import Signer
from market.units import Timestamp

FAUCET, ALICE, BOB, CAROL = (Signer(account.secret) for account in ACCOUNTS[:4])

_METHOD = re.compile(rb'"method":"(\w+)"')


class Wire(httpx.AsyncBaseTransport):
    """To the devnet in this process. `cut` names methods whose requests are lost, `deaf` those whose answers
    are; the next `lost` - 1 requests are lost whatever they ask."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)
        self.cut: set[bytes] = set()
        self.deaf: set[bytes] = set()
        self.lost = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        methods = set(_METHOD.findall(request.content))
        self.lost -= self.lost > 0
        if self.cut & {*methods, b"all"} or self.lost:
            raise httpx.ConnectError("the wire is cut")
        answer = await self._inner.handle_async_request(request)
        if self.deaf & methods:
            raise httpx.ReadTimeout("the answer is lost")
        return answer


class TestChain:
    """A devnet and an RPC client on it, in one event loop."""

    __test__ = False

    def __init__(self, devnet: Devnet) -> None:
        self.wire = Wire(devnet)
        self.rpc = Rpc("http://127.0.0.1", transport=self.wire)

    async def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            await self.rpc.call("evm_mine")

    async def balance(self, address: str) -> int:
        return int(await self.rpc.call("eth_getBalance", address, "latest"), 16)

    async def nonce(self, address: str, tag: str = "latest") -> int:
        return int(await self.rpc.call("eth_getTransactionCount", address, tag), 16)


class Ticks:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 1_000_000

    def __call__(self) -> Timestamp:
        return Timestamp(self.at)


@asynccontextmanager
async def a_chain(folder: Path, chain_id: int = 31337, block_time: float = 0) -> AsyncIterator[TestChain]:
    devnet = Devnet(folder, chain_id, block_time)
    await devnet.open()
    chain = TestChain(devnet)
    try:
        yield chain
    finally:
        await chain.rpc.close()
        await devnet.close()


@asynccontextmanager
async def a_wallet(
    chain: TestChain, path: Path | str = ":memory:", signer: Signer = ALICE, now: Callable[[], Timestamp] | None = None,
    patience: Patience = PATIENCE, **options: Any,
) -> AsyncIterator[Wallet]:  # fmt: skip
    ticks = count(1_000_000)
    wallet = Wallet(chain.rpc, signer, path, now or (lambda: Timestamp(next(ticks))), patience, **options)
    await wallet.open()
    try:
        yield wallet
    finally:
        await wallet.close()


async def a_market(chain: TestChain) -> Deployment:
    async with passing_wallet(chain.rpc, ACCOUNTS[0].secret) as wallet:
        return await deploy(chain.rpc, wallet)


@contextmanager
def a_process(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A devnet in its own process, and its URL."""
    command = [sys.executable, "-m", "contracts.devnet", "--data", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
