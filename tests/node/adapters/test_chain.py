"""The chain adapter on a real EVM: every promise of the port `Chain`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contracts.client import Calls
from contracts.follow import Patience
from contracts.networks import Deployment
from contracts.values import Claim
from market.errors import InsufficientFunds, Unavailable
from market.signing import Signer, eip712_domain
from market.units import Address, Amount
from market.vouchers import channel_id, voucher_digest
from node.adapters.chain import EvmChain
from node.ports import Chain
from tests.contracts.chains import ALICE, BOB, CAROL, FAUCET, TestChain, a_chain, a_market, a_wallet

pytestmark = [pytest.mark.anyio, pytest.mark.chain]

CHANNEL = channel_id(ALICE.address, CAROL.address, BOB.address)
DAY = 86_400


class Market:
    """A deployment; ALICE holds 1,000 tokens, pays through CAROL's signatures, BOB is paid."""

    def __init__(self, chain: TestChain, deployment: Deployment) -> None:
        self.chain, self.deployment = chain, deployment

    @asynccontextmanager
    async def adapter(self, signer: Signer, confirmations: int = 0) -> AsyncIterator[EvmChain]:
        patience = Patience(confirmations=confirmations)
        async with a_wallet(self.chain, signer=signer, patience=patience) as wallet:
            yield EvmChain(self.chain.rpc, self.deployment, wallet, confirmations)

    def claim(self, cumulative: int) -> Claim:
        digest = voucher_digest(eip712_domain(31337, self.deployment.channels), CHANNEL, cumulative)
        signature = CAROL.sign(digest)
        return Claim(payer=ALICE.address, signer=CAROL.address, cumulative=Amount(cumulative), signature=signature)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=FAUCET) as faucet:
        deployment = await a_market(chain)
        await faucet.send(Calls(deployment).mint(ALICE.address, Amount(1_000)), "mint")
        yield Market(chain, deployment)


async def test_money_goes_from_deposit_to_withdrawal(market: Market) -> None:
    fresh = Address("0x" + "66" * 20)
    async with market.adapter(ALICE) as payer, market.adapter(BOB) as payee:
        await payer.deposit(CAROL.address, BOB.address, Amount(600), "deposit")
        assert (await payee.channel(CHANNEL)).deposited == 600
        await payee.claim(BOB.address, [market.claim(500)], "claim")
        assert await payee.earned(BOB.address) == 495
        await payee.release(ALICE.address, CAROL.address, Amount(100), "release")
        receipt = await payee.withdraw(fresh, "withdraw")
        assert receipt.succeeded
        assert receipt.fee > 0
        assert (await payer.balances(fresh)).token == 495
        assert (await payer.balances(ALICE.address)).token == 500


async def test_an_exit_comes_back_after_a_day(market: Market) -> None:
    async with market.adapter(ALICE) as payer:
        await payer.deposit(CAROL.address, BOB.address, Amount(600), "deposit")
        await payer.start_exit(CAROL.address, BOB.address, Amount(600), "exit")
        seen = await payer.channel(CHANNEL)
        assert (seen.deposited, seen.exiting) == (600, 600)
        await market.chain.rpc.call("evm_increaseTime", DAY)
        await payer.finish_exit(CAROL.address, BOB.address, "finish")
        seen = await payer.channel(CHANNEL)
        assert (seen.deposited, seen.exiting, seen.exit_ready_at) == (0, 0, 0)
        assert (await payer.balances(ALICE.address)).token == 1_000


async def test_a_repeat_with_the_same_key_moves_nothing_even_when_the_money_is_gone(market: Market) -> None:
    async with market.adapter(ALICE) as payer:
        first = await payer.deposit(CAROL.address, BOB.address, Amount(1_000), "deposit")
        assert await payer.deposit(CAROL.address, BOB.address, Amount(1_000), "deposit") == first
        assert (await payer.channel(CHANNEL)).deposited == 1_000


async def test_more_than_the_wallet_holds_is_refused_before_anything_is_sent(market: Market) -> None:
    async with market.adapter(ALICE) as payer:
        with pytest.raises(InsufficientFunds) as refusal:
            await payer.deposit(CAROL.address, BOB.address, Amount(1_001), "deposit")
        assert refusal.value.details == {"needed": 1_001, "available": 1_000}
        assert await payer.journal() == []


async def test_payouts_at_once_do_not_count_on_the_same_tokens(market: Market) -> None:
    fresh = Address("0x" + "66" * 20)
    async with market.adapter(ALICE) as payer:
        tries = (payer.pay(fresh, Amount(600), key) for key in ("a", "b"))
        ends = await asyncio.gather(*tries, return_exceptions=True)
        [refused] = [end for end in ends if isinstance(end, Exception)]
        assert isinstance(refused, InsufficientFunds)
        assert (len(await payer.journal()), (await payer.balances(fresh)).token) == (1, 600)
        assert (await payer.pay(fresh, Amount(400), "c")).succeeded, "what was paid is reserved no longer"


async def test_reads_are_unknown_while_the_chain_is_silent(market: Market) -> None:
    async with market.adapter(ALICE) as payer:
        market.chain.wire.cut = {b"all"}
        with pytest.raises(Unavailable):
            await payer.balances(ALICE.address)
        with pytest.raises(Unavailable):
            await payer.channel(CHANNEL)
        with pytest.raises(Unavailable):
            await payer.earned(BOB.address)
        with pytest.raises(Unavailable):
            await payer.deposit(CAROL.address, BOB.address, Amount(1), "deposit")


async def test_a_deposit_counts_only_once_it_is_confirmed(market: Market) -> None:
    async with market.adapter(ALICE) as payer, market.adapter(BOB, confirmations=2) as payee:
        await payer.deposit(CAROL.address, BOB.address, Amount(600), "deposit")
        assert (await payee.channel(CHANNEL)).deposited == 0
        await market.chain.mine(2)
        assert (await payee.channel(CHANNEL)).deposited == 600


async def test_news_name_the_channels_and_exits_and_where_to_go_on(market: Market) -> None:
    async with market.adapter(ALICE) as payer:
        await payer.deposit(CAROL.address, BOB.address, Amount(600), "deposit")
        first = await anext(payer.news(""))
        assert (first.channels, first.exits, first.is_rewound) == ((CHANNEL,), (), False)
        await payer.start_exit(CAROL.address, BOB.address, Amount(100), "exit")
        second = await anext(payer.news(first.cursor))
        assert (second.channels, second.exits) == ((CHANNEL,), (CHANNEL,))


async def test_it_is_a_chain(market: Market) -> None:
    async with market.adapter(ALICE) as payer:
        chain: Chain = payer
        assert (chain.chain_id, chain.channels) == (31337, market.deployment.channels)
