"""The devnet keeps the rules of a real chain, and what it has confirmed."""

import asyncio
import os
import signal
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.client import Calls, Reader
from contracts.devnet.server import serve
from contracts.errors import CallReverted, ChainRefused
from contracts.rpc import Rpc
from contracts.transactions import Fees, Signed, Unsigned, sign_transaction
from contracts.values import Call, Funding
from market.errors import ConfigError
from market.units import Address, Amount
from tests.contracts.chains import ALICE, BOB, CAROL, FAUCET, a_chain, a_market, a_process, a_wallet

pytestmark = [pytest.mark.anyio, pytest.mark.chain]

GWEI = 10**9


def a_transaction(nonce: int, *, chain_id: int = 31337, most: int = 3 * GWEI, tip: int = GWEI, wei: int = 1) -> Signed:
    call = Call(to=BOB.address, data=b"", value=wei)
    unsigned = Unsigned(chain_id=chain_id, nonce=nonce, call=call, gas=21_000, fees=Fees(most=most, tip=tip))
    return sign_transaction(unsigned, ALICE)


async def send(rpc: Rpc, signed: Signed) -> Any:
    return await rpc.call("eth_sendRawTransaction", "0x" + signed.raw.hex())


async def test_a_killed_devnet_comes_back_with_its_chain(tmp_path: Path) -> None:
    with a_process(tmp_path) as (process, url):
        rpc = Rpc(url)
        hashes = [await send(rpc, a_transaction(nonce)) for nonce in range(3)]
        before = await rpc.call("eth_getBlockByNumber", "latest", True)
        await rpc.close()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with a_process(tmp_path) as (_, url):
        rpc = Rpc(url)
        assert await rpc.call("eth_getBlockByNumber", "latest", True) == before
        assert (await rpc.call("eth_getTransactionReceipt", hashes[0]))["status"] == "0x1"
        assert await send(rpc, a_transaction(3))
        assert await rpc.call("eth_getTransactionCount", ALICE.address, "latest") == "0x4"
        await rpc.close()


async def test_sigterm_ends_the_process_cleanly(tmp_path: Path) -> None:
    with a_process(tmp_path, "--block-time", "0.05") as (process, url):
        rpc = Rpc(url)
        deadline = time.monotonic() + 60
        while int(await rpc.call("eth_blockNumber"), 16) < 2:
            assert time.monotonic() < deadline
        await rpc.close()
        process.terminate()
        assert process.wait(60) == 0


async def test_a_process_survives_json_without_a_bottom(tmp_path: Path) -> None:
    with a_process(tmp_path) as (process, url):
        answer = httpx.post(url, content=b"[" * 3_000_000).json()
        assert answer["error"]["code"] == -32700
        assert process.poll() is None


async def test_web3_is_content_with_it(tmp_path: Path) -> None:
    from web3 import Web3

    from contracts.artifacts import load

    with a_process(tmp_path) as (_, url):
        web3 = Web3(Web3.HTTPProvider(url))
        account = web3.eth.account.from_key(
            bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
        )
        artifact = load("Token")
        factory = web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        fields = {"from": account.address, "nonce": 0}
        signed = account.sign_transaction(factory.constructor().build_transaction(fields))
        receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction))
        token = web3.eth.contract(address=receipt["contractAddress"], abi=artifact.abi)
        fields = {"from": account.address, "nonce": 1}
        signed = account.sign_transaction(token.functions.mint(account.address, 7).build_transaction(fields))
        receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction))
        assert token.events.Transfer().process_receipt(receipt)[0]["args"]["value"] == 7
        assert token.functions.balanceOf(account.address).call() == 7
        assert web3.eth.fee_history(2, "latest", [50])["reward"]


async def test_only_loopback_is_served(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        with pytest.raises(ConfigError, match="loopback"):
            await serve(host, 0, tmp_path)


async def test_a_port_in_use_is_said_so(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ConfigError, match="in use"):
            await serve("127.0.0.1", server.sockets[0].getsockname()[1], tmp_path)


async def test_a_folder_of_another_chain_id_is_refused(tmp_path: Path) -> None:
    async with a_chain(tmp_path, chain_id=31337):
        pass
    with pytest.raises(ConfigError, match="31337"):
        async with a_chain(tmp_path, chain_id=1):
            pass


async def test_a_transaction_for_another_chain_is_refused(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        with pytest.raises(ChainRefused, match="invalid chain id"):
            await send(chain.rpc, a_transaction(0, chain_id=1))


async def test_nonces_run_without_gaps(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        late = a_transaction(1)
        await send(chain.rpc, late)
        assert await chain.rpc.call("eth_getTransactionReceipt", late.hash) is None
        assert (await chain.nonce(ALICE.address), await chain.nonce(ALICE.address, "pending")) == (0, 0)
        await send(chain.rpc, a_transaction(0))
        assert await chain.rpc.call("eth_getTransactionReceipt", late.hash) is not None
        with pytest.raises(ChainRefused, match="already known"):
            await send(chain.rpc, late)
        with pytest.raises(ChainRefused, match="nonce too low"):
            await send(chain.rpc, a_transaction(0, wei=2))


async def test_a_replacement_pays_ten_percent_more(tmp_path: Path) -> None:
    async with a_chain(tmp_path, block_time=3600) as chain:
        old = a_transaction(0)
        await send(chain.rpc, old)
        with pytest.raises(ChainRefused, match="underpriced"):
            await send(chain.rpc, a_transaction(0, most=3 * GWEI + 1, tip=GWEI + 1))
        new = a_transaction(0, most=4 * GWEI, tip=2 * GWEI)
        await send(chain.rpc, new)
        await chain.mine()
        assert await chain.rpc.call("eth_getTransactionReceipt", new.hash) is not None
        assert await chain.rpc.call("eth_getTransactionByHash", old.hash) is None


async def test_a_fee_below_the_base_fee_waits(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        cheap = a_transaction(0, most=GWEI // 2, tip=1)
        await send(chain.rpc, cheap)
        assert await chain.rpc.call("eth_getTransactionReceipt", cheap.hash) is None
        assert await chain.nonce(ALICE.address, "pending") == 1
        await chain.mine(8)
        assert await chain.rpc.call("eth_getTransactionReceipt", cheap.hash) is not None


async def test_more_than_the_balance_is_refused(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        with pytest.raises(ChainRefused, match="insufficient funds"):
            await send(chain.rpc, a_transaction(0, wei=10**30))


async def test_a_thousand_logs_are_found_at_once(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=CAROL) as wallet:
        market = await a_market(chain)
        calls = Calls(market)
        async with a_wallet(chain, signer=FAUCET) as faucet:
            await faucet.send(calls.mint(CAROL.address, Amount(1_000)), "mint")
        await wallet.send(calls.approve(), "approve")
        payees = [Address(f"0x{n:040x}") for n in range(1, 101)]
        each = [Funding(signer=ALICE.address, payee=payee, amount=Amount(1)) for payee in payees]
        await asyncio.gather(*(wallet.send(calls.deposit_many(CAROL.address, each), f"many/{n}") for n in range(10)))
        began = time.perf_counter()
        logs = await chain.rpc.call("eth_getLogs", {"fromBlock": "0x0", "address": market.channels})
        assert time.perf_counter() - began < 15, "so long a client waits"
        assert len(logs) == 1_000
        one = {"fromBlock": "0x0", "topics": [None, None, None, "0x" + payees[6][2:].rjust(64, "0")]}
        assert len(await chain.rpc.call("eth_getLogs", one)) == 10


async def test_a_revert_tells_its_reason(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        market = await a_market(chain)
        with pytest.raises(CallReverted, match="minter only"):
            await chain.rpc.estimate(BOB.address, Calls(market).mint(BOB.address, Amount(1)))


async def test_an_estimate_is_just_enough(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=FAUCET) as wallet:
        market = await a_market(chain)
        call = Calls(market).mint(BOB.address, Amount(5))
        gas = await chain.rpc.estimate(FAUCET.address, call)
        receipt = await wallet.send(call, "mint")
        assert receipt.gas <= gas <= receipt.gas * 1.1


async def test_old_blocks_still_answer(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=FAUCET) as wallet:
        market = await a_market(chain)
        first = await wallet.send(Calls(market).mint(BOB.address, Amount(5)), "one")
        await wallet.send(Calls(market).mint(BOB.address, Amount(7)), "two")
        query = {"to": market.token, "data": "0x70a08231" + BOB.address[2:].rjust(64, "0")}
        then = await chain.rpc.call("eth_call", query, hex(first.block))
        assert int(then, 16) == 5
        assert (await Reader(chain.rpc, market).balances(BOB.address)).token == 12


async def test_safe_and_finalized_lag_behind_the_head(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        await chain.mine(6)
        numbers = [
            int((await chain.rpc.call("eth_getBlockByNumber", tag, False))["number"], 16)
            for tag in ("latest", "safe", "finalized", "earliest")
        ]
        assert numbers == [6, 4, 2, 0]


async def test_time_can_be_moved_ahead_and_stays_moved(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        began = int(time.time())
        await chain.rpc.call("evm_increaseTime", 86_400)
        await chain.mine()
    async with a_chain(tmp_path) as chain:
        await chain.mine()
        head = await chain.rpc.call("eth_getBlockByNumber", "latest", False)
        assert int(head["timestamp"], 16) >= began + 86_400


async def test_a_snapshot_takes_the_chain_back(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        snapshot = await chain.rpc.call("evm_snapshot")
        signed = a_transaction(0)
        await send(chain.rpc, signed)
        assert await chain.rpc.call("evm_revert", snapshot) is True
        assert await chain.rpc.call("eth_blockNumber") == "0x0"
        assert await chain.rpc.call("eth_getTransactionReceipt", signed.hash) is None
        assert await chain.balance(BOB.address) == 10_000 * 10**18
        await send(chain.rpc, signed)
        assert await chain.balance(BOB.address) == 10_000 * 10**18 + 1


async def test_a_batch_answers_each_request_by_itself(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        with pytest.raises(ChainRefused, match="does not exist"):
            await chain.rpc.batch([("eth_chainId", []), ("eth_nonsense", [])])
        assert await chain.rpc.batch([("eth_chainId", []), ("net_version", [])]) == ["0x7a69", "31337"]


NONSENSE = [
    b"",
    b"{",
    b"[]x",
    b"7",
    b'{"method": 1}',
    b'{"method":"eth_call","params":{}}',
    b'{"method":"eth_call","params":[7]}',
    b'{"method":"eth_getBalance","params":["zz"]}',
    b'{"method":"eth_sendRawTransaction","params":["0x02"]}',
]


@pytest.mark.parametrize("body", NONSENSE)
async def test_nonsense_gets_an_error_and_breaks_nothing(tmp_path: Path, body: bytes) -> None:
    async with a_chain(tmp_path) as chain, httpx.AsyncClient(transport=chain.wire) as client:
        answer = (await client.post("http://127.0.0.1", content=body)).json()
        assert answer["error"]["code"] in (-32700, -32600, -32602, -32000)
        assert await chain.rpc.call("eth_chainId") == "0x7a69"


async def test_blocks_come_by_the_clock(tmp_path: Path) -> None:
    with a_process(tmp_path, "--block-time", "0.1") as (_, url):
        rpc = Rpc(url)
        signed = a_transaction(0)
        await send(rpc, signed)
        deadline = time.monotonic() + 60
        while await rpc.call("eth_getTransactionReceipt", signed.hash) is None:
            assert time.monotonic() < deadline
        await rpc.close()


async def test_a_devnet_killed_at_work_has_whole_blocks(tmp_path: Path) -> None:
    with a_process(tmp_path) as (process, url):
        rpc = Rpc(url)
        sends = [asyncio.create_task(send(rpc, a_transaction(nonce))) for nonce in range(60)]
        await asyncio.wait(sends[:20])
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.gather(*sends, return_exceptions=True)
        await rpc.close()
        process.wait()
    # One that came before those in front of it was answered, and has waited for them in vain.
    confirmed = [task.result() for task in takewhile(lambda task: task.exception() is None, sends)]
    async with a_chain(tmp_path) as chain:
        receipts = [await chain.rpc.call("eth_getTransactionReceipt", digest) for digest in confirmed]
        assert all(receipts)
        mined = await chain.nonce(ALICE.address)
        assert mined >= len(confirmed) >= 20
        assert await chain.balance(BOB.address) == 10_000 * 10**18 + mined
