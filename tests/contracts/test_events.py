"""The indexer tells what happened, once, and takes back what a reorg undid."""

from pathlib import Path

import msgspec
import pytest

from contracts.client import Calls
from contracts.events import (
    Claimed,
    Cursor,
    Deposited,
    ExitStarted,
    Indexer,
    Released,
    Settled,
    Withdrawn,
    on_channels,
)
from contracts.networks import Deployment
from contracts.values import Call, Claim
from contracts.wallet import Wallet
from market.signing import eip712_domain
from market.units import Amount
from market.vouchers import channel_id, voucher_digest
from tests.contracts.chains import ALICE, BOB, FAUCET, TestChain, a_chain, a_market, a_wallet

pytestmark = [pytest.mark.anyio, pytest.mark.chain]

CHANNEL = channel_id(FAUCET.address, ALICE.address, BOB.address)


async def a_funded_market(chain: TestChain, wallet: Wallet) -> Deployment:
    market = await a_market(chain)
    calls = Calls(market)
    await wallet.send(calls.mint(FAUCET.address, Amount(10_000)), "mint")
    await wallet.send(calls.approve(), "approve")
    return market


def a_deposit(market: Deployment, amount: int) -> Call:
    return Calls(market).deposit(FAUCET.address, ALICE.address, BOB.address, Amount(amount))


def a_voucher(market: Deployment, cumulative: int) -> Claim:
    digest = voucher_digest(eip712_domain(31337, market.channels), CHANNEL, cumulative)
    signature = ALICE.sign(digest)
    return Claim(payer=FAUCET.address, signer=ALICE.address, cumulative=Amount(cumulative), signature=signature)


async def test_a_channels_life_is_told_in_order(tmp_path: Path) -> None:
    async with (
        a_chain(tmp_path) as chain,
        a_wallet(chain, signer=FAUCET) as payer,
        a_wallet(chain, signer=BOB) as payee,
    ):
        market = await a_funded_market(chain, payer)
        calls = Calls(market)
        await payer.send(a_deposit(market, 1_000), "deposit")
        await payee.send(calls.claim(BOB.address, [a_voucher(market, 500)]), "claim")
        await payer.send(calls.start_exit(ALICE.address, BOB.address, Amount(300)), "exit")
        await payee.send(calls.release(FAUCET.address, ALICE.address, Amount(500)), "release")
        await payee.send(calls.withdraw(BOB.address), "withdraw")
        batch = await Indexer(chain.rpc, on_channels(market.channels), market.block).read(Cursor())
        kinds = [type(event) for event in batch.events]
        assert kinds == [Deposited, Claimed, Settled, ExitStarted, Released, Withdrawn]
        deposited, claimed, settled, exiting, released, withdrawn = batch.events
        assert isinstance(deposited, Deposited)
        assert (deposited.payer, deposited.signer, deposited.payee) == (FAUCET.address, ALICE.address, BOB.address)
        assert (deposited.channel, deposited.amount) == (CHANNEL, 1_000)
        assert isinstance(claimed, Claimed)
        assert (claimed.channel, claimed.cumulative, claimed.amount) == (CHANNEL, 500, 500)
        assert isinstance(settled, Settled)
        assert (settled.amount, settled.fee) == (500, 5)
        assert isinstance(exiting, ExitStarted)
        assert (exiting.amount, exiting.payee) == (300, BOB.address)
        assert isinstance(released, Released)
        assert released.amount == 500
        assert isinstance(withdrawn, Withdrawn)
        assert (withdrawn.to, withdrawn.amount) == (BOB.address, 495)


async def test_a_cursor_goes_on_where_it_stopped_even_through_storage(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=FAUCET) as wallet:
        market = await a_funded_market(chain, wallet)
        indexer = Indexer(chain.rpc, on_channels(market.channels), market.block)
        await wallet.send(a_deposit(market, 1), "one")
        first = await indexer.read(Cursor())
        kept = msgspec.json.decode(msgspec.json.encode(first.cursor), type=Cursor)
        assert (await indexer.read(kept)).cursor == kept
        await wallet.send(a_deposit(market, 2), "two")
        second = await indexer.read(kept)
        assert [event.amount for event in second.events if isinstance(event, Deposited)] == [2]


async def test_only_confirmed_blocks_are_read(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=FAUCET) as wallet:
        market = await a_funded_market(chain, wallet)
        indexer = Indexer(chain.rpc, on_channels(market.channels), market.block, confirmations=2)
        await wallet.send(a_deposit(market, 1), "one")
        before = await indexer.read(Cursor())
        await chain.mine(2)
        after = await indexer.read(before.cursor)
        assert (len(before.events), len(after.events)) == (0, 1)


async def test_a_reorg_takes_back_what_it_undid(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=FAUCET) as wallet:
        market = await a_funded_market(chain, wallet)
        indexer = Indexer(chain.rpc, on_channels(market.channels), market.block)
        await wallet.send(a_deposit(market, 1), "stays")
        first = await indexer.read(Cursor())
        snapshot = await chain.rpc.call("evm_snapshot")
        await wallet.send(a_deposit(market, 2), "goes")
        second = await indexer.read(first.cursor)
        await chain.rpc.call("evm_revert", snapshot)
        await chain.mine(2)
        rewound = await indexer.read(second.cursor)
        assert rewound.rewound_to == first.cursor.trail[-1].number
        assert (rewound.events, rewound.cursor) == ((), first.cursor)
        await wallet.send(a_deposit(market, 2), "goes")
        await wallet.follow()
        third = await indexer.read(rewound.cursor)
        assert [event.amount for event in third.events if isinstance(event, Deposited)] == [2]


async def test_while_the_chain_is_silent_the_reader_waits(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=FAUCET) as wallet:
        market = await a_funded_market(chain, wallet)
        await wallet.send(a_deposit(market, 1), "one")
        chain.wire.lost = 3
        async for batch in Indexer(chain.rpc, on_channels(market.channels), market.block).batches(poll=0.01):
            assert len(batch.events) == 1
            break
        assert chain.wire.lost == 0
