"""The wallet sends everything once, whatever is lost on the way."""

import asyncio
from pathlib import Path

import pytest

from contracts.codec import encode_call
from contracts.errors import CallReverted
from contracts.follow import Patience
from contracts.values import Call
from market.errors import Conflict, InsufficientFunds, Unavailable, WrongChain
from market.units import Address
from tests.contracts.chains import ALICE, BOB, CAROL, Ticks, a_chain, a_market, a_wallet

pytestmark = [pytest.mark.anyio, pytest.mark.chain]

NOBODY = Address("0x" + "99" * 20)


def a_gift(wei: int = 1) -> Call:
    return Call(to=NOBODY, data=b"", value=wei)


async def test_fifty_concurrent_sends_are_all_mined_once(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain) as wallet:
        receipts = await asyncio.gather(*(wallet.send(a_gift(), f"gift/{n}") for n in range(50)))
        assert len({receipt.hash for receipt in receipts}) == 50
        assert await chain.balance(NOBODY) == 50
        assert await chain.nonce(ALICE.address) == 50


async def test_concurrent_sends_with_one_key_are_one_transaction(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain) as wallet:
        receipts = await asyncio.gather(*(wallet.send(a_gift(), "the gift") for _ in range(20)))
        assert len({receipt.hash for receipt in receipts}) == 1
        assert await chain.balance(NOBODY) == 1


async def test_a_crash_between_persist_and_broadcast_sends_once(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        async with a_wallet(chain, tmp_path / "journal") as wallet:
            chain.wire.cut = {b"eth_sendRawTransaction"}
            await wallet.submit(a_gift(), "gift")
            chain.wire.cut = set()
        assert await chain.balance(NOBODY) == 0
        async with a_wallet(chain, tmp_path / "journal") as wallet:
            await wallet.send(a_gift(), "gift")
        assert await chain.balance(NOBODY) == 1


async def test_a_lost_answer_to_a_broadcast_does_not_send_twice(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain) as wallet:
        chain.wire.deaf = {b"eth_sendRawTransaction"}
        await wallet.submit(a_gift(), "gift")
        chain.wire.deaf = set()
        assert (await wallet.send(a_gift(), "gift")).succeeded
        assert await chain.balance(NOBODY) == 1
        assert await chain.nonce(ALICE.address) == 1


async def test_a_call_that_would_revert_costs_no_nonce(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=CAROL) as wallet:
        market = await a_market(chain)
        call = Call(to=market.channels, data=encode_call("withdraw(address)", NOBODY))
        with pytest.raises(CallReverted, match="nothing earned"):
            await wallet.send(call, "withdraw")
        assert (await wallet.send(a_gift(), "gift")).succeeded
        assert [entry["nonce"] for entry in await wallet.entries()] == [0]


async def test_what_the_wallet_cannot_pay_is_not_sent(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain) as wallet:
        everything = await chain.balance(ALICE.address)
        with pytest.raises(InsufficientFunds):
            await wallet.send(a_gift(everything - 21_000), "too much")
        assert await wallet.entries() == []


async def test_a_stuck_transaction_is_priced_again_under_the_same_nonce(tmp_path: Path) -> None:
    clock, journal = Ticks(), tmp_path / "journal"
    async with a_chain(tmp_path, block_time=3600) as chain:
        async with a_wallet(chain, journal, now=clock, fee_cap=1_000) as wallet:
            await wallet.submit(a_gift(), "gift")
        await chain.mine()
        assert await chain.balance(NOBODY) == 0
        clock.at += Patience().milliseconds
        async with a_wallet(chain, journal, now=clock) as wallet:
            before = (await wallet.entries())[0]["hash"]
            await wallet.follow()
            await chain.mine()
            receipt = await wallet.send(a_gift(), "gift")
        assert receipt.hash != before
        assert await chain.balance(NOBODY) == 1
        assert await chain.nonce(ALICE.address) == 1


async def test_the_fee_cap_is_never_exceeded(tmp_path: Path) -> None:
    clock = Ticks()
    async with a_chain(tmp_path, block_time=3600) as chain, a_wallet(chain, now=clock, fee_cap=1_000) as wallet:
        await wallet.submit(a_gift(), "gift")
        for _ in range(3):
            clock.at += Patience().milliseconds
            await wallet.follow()
        sent = await chain.rpc.call("eth_getTransactionByHash", (await wallet.entries())[0]["hash"])
        assert int(sent["maxFeePerGas"], 16) == 1_000


async def test_a_transaction_is_final_only_under_enough_blocks(tmp_path: Path) -> None:
    patience = Patience(confirmations=2)
    async with a_chain(tmp_path, block_time=3600) as chain, a_wallet(chain, patience=patience) as wallet:
        await wallet.submit(a_gift(), "gift")
        states = []
        for _ in range(3):
            await chain.mine()
            await wallet.follow()
            states.append((await wallet.entries())[0]["state"])
        assert states == ["mined", "mined", "final"]


async def test_a_reorg_that_drops_final_transactions_sends_them_again(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain) as wallet:
        await wallet.send(a_gift(), "kept")
        before = await chain.rpc.call("evm_snapshot")
        await asyncio.gather(wallet.send(a_gift(), "dropped"), wallet.send(a_gift(), "dropped too"))
        await chain.rpc.call("evm_revert", before)
        await chain.mine(3)
        assert await chain.balance(NOBODY) == 1
        await wallet.send(a_gift(), "the next one")
        await wallet.follow()
        assert await chain.balance(NOBODY) == 4
        assert {entry["state"] for entry in await wallet.entries()} == {"final"}


async def test_a_nonce_that_another_program_took_is_said_so(tmp_path: Path) -> None:
    clock = Ticks()
    async with a_chain(tmp_path, block_time=3600) as chain, a_wallet(chain, now=clock) as wallet:
        chain.wire.cut = {b"eth_sendRawTransaction"}
        await wallet.submit(a_gift(), "mine")
        chain.wire.cut = set()
        async with a_wallet(chain) as stranger:
            await stranger.submit(a_gift(2), "theirs")
        await chain.mine()
        await wallet.follow()
        clock.at += Patience().milliseconds
        with pytest.raises(Conflict, match="took the nonce"):
            await wallet.send(a_gift(), "mine")
        assert await chain.balance(NOBODY) == 2


async def test_while_the_chain_is_silent_the_answer_is_unknown_and_nothing_is_lost(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain) as wallet:
        chain.wire.cut = {b"eth_sendRawTransaction"}
        await wallet.submit(a_gift(), "gift")
        chain.wire.cut = {b"all"}
        with pytest.raises(Unavailable):
            await wallet.send(a_gift(), "gift")
        chain.wire.cut = set()
        assert (await wallet.send(a_gift(), "gift")).succeeded


async def test_a_journal_belongs_to_one_chain_and_one_account(tmp_path: Path) -> None:
    async with a_chain(tmp_path / "one") as chain:
        async with a_wallet(chain, tmp_path / "journal"):
            pass
        with pytest.raises(WrongChain):
            async with a_wallet(chain, tmp_path / "journal", signer=BOB):
                pass
    async with a_chain(tmp_path / "two", chain_id=31338) as other:
        with pytest.raises(WrongChain):
            async with a_wallet(other, tmp_path / "journal"):
                pass
