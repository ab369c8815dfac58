"""The same wallet and indexer on a second, independent chain: anvil, with reorgs it makes itself."""

import asyncio
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contracts.client import Calls, Reader
from contracts.deploy import deploy
from contracts.events import Cursor, Deposited, Indexer, on_channels
from contracts.follow import Patience
from contracts.networks import Deployment
from contracts.rpc import Rpc
from contracts.values import Call
from contracts.wallet import Wallet
from market.units import Address, Amount, Timestamp
from tests.contracts.chains import ALICE, BOB, FAUCET

pytestmark = [pytest.mark.anyio, pytest.mark.chain]

NOBODY = Address("0x" + "99" * 20)


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an anvil that mines when it is told to."""
    program = _installed(tmp_path_factory.mktemp("anvil"))
    command = [program, "--port", "0", "--no-mining", "--chain-id", "31337"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "Listening on" in line), "")
        assert line, "it ended before it listened"
        reading = threading.Thread(target=process.stdout.read)  # a pipe that nobody reads would hold it up
        reading.start()
        yield "http://" + line.split()[-1]
        process.kill()
        reading.join()
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _installed(folder: Path) -> str:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: anvil comes from it")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "@foundry-rs/anvil@1.7.1"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=90)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"anvil could not be installed: {error}")
    found = [path for path in folder.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*") if path.is_file()]
    if not found:
        pytest.skip("npm has no anvil for this machine")
    return str(found[0])


@pytest.fixture
async def rpc(anvil: str) -> AsyncIterator[Rpc]:
    rpc = Rpc(anvil)
    yield rpc
    await rpc.close()


@pytest.fixture
async def wallet(rpc: Rpc, tmp_path: Path) -> AsyncIterator[Wallet]:
    wallet = Wallet(rpc, FAUCET, tmp_path / "journal", lambda: Timestamp(0), Patience(confirmations=1))
    await wallet.open()
    yield wallet
    await wallet.close()


async def mine(rpc: Rpc, blocks: int = 1) -> None:
    await rpc.call("anvil_mine", hex(blocks))


async def test_a_deep_reorg_loses_no_transaction(rpc: Rpc, wallet: Wallet) -> None:
    keys = [f"gift/{n}" for n in range(5)]
    for key in keys:
        await wallet.submit(Call(to=NOBODY, data=b"", value=1), key)
        await mine(rpc)
    await mine(rpc)
    await wallet.follow()
    assert {entry["state"] for entry in await wallet.entries()} == {"final"}
    await rpc.call("anvil_reorg", 4, [])
    assert int(await rpc.call("eth_getTransactionCount", FAUCET.address, "latest"), 16) < 5
    for _ in range(4):
        await wallet.follow()
        await mine(rpc)
    await wallet.follow()
    assert {entry["state"] for entry in await wallet.entries()} == {"final"}
    assert int(await rpc.call("eth_getBalance", NOBODY, "latest"), 16) == 5


async def test_the_market_works_on_it(rpc: Rpc, wallet: Wallet) -> None:
    await rpc.call("evm_setAutomine", True)
    market = await _deployed(rpc, wallet)
    calls = Calls(market)
    for number, call in enumerate(
        [
            calls.mint(FAUCET.address, Amount(1_000)),
            calls.approve(),
            calls.deposit(FAUCET.address, ALICE.address, BOB.address, Amount(400)),
        ]
    ):
        await wallet.submit(call, f"step/{number}")
        await mine(rpc)
        await wallet.send(call, f"step/{number}")
    batch = await Indexer(rpc, on_channels(market.channels), market.block).read(Cursor())
    assert [event.amount for event in batch.events if isinstance(event, Deposited)] == [400]
    assert (await Reader(rpc, market).balances(FAUCET.address)).token == 600


async def _deployed(rpc: Rpc, wallet: Wallet) -> Deployment:
    deploying = asyncio.create_task(deploy(rpc, wallet))
    while not deploying.done():
        await mine(rpc)
        await asyncio.sleep(0.02)
    return await deploying
