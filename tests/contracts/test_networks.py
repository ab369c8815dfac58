"""Network files and the refusal of other chains."""

import asyncio
from pathlib import Path

import pytest

from cli.cluster import free_port
from contracts.deploy import deploy_market, fund_wallets
from contracts.devnet.accounts import ACCOUNTS
from contracts.networks import Deployment, load_deployment, require_deployment
from market.errors import ConfigError, Unavailable, WrongChain
from market.units import Address, Amount
from node.adapters.chain import open_chain
from tests.contracts.chains import a_chain, a_market, a_process

LOCAL = Path("configs/networks/local.toml")
DEV_MNEMONIC = "test test test test test test test test test test test junk"


def test_a_network_file_reads_back(tmp_path: Path) -> None:
    local = load_deployment(LOCAL)
    local.write(tmp_path / "copy.toml")
    assert load_deployment(tmp_path / "copy.toml") == local


@pytest.mark.chain
@pytest.mark.anyio
async def test_every_fresh_devnet_is_the_local_network(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        assert await a_market(chain) == load_deployment(LOCAL)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("chain_id", "chainId", "chainId"),
        ("chain_id = 31337", 'chain_id = "x"', "chain_id"),
        ('channels = "0x', 'channels = "', "channels"),
        ('genesis = "0x', 'genesis = "0xABC', "genesis"),
        ("block = ", "block : ", "local.toml"),
    ],
)
def test_a_wrong_network_file_names_what_is_wrong(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "local.toml"
    path.write_text(LOCAL.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=complaint):
        load_deployment(path)


def test_a_missing_network_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_deployment(tmp_path / "none.toml")


@pytest.mark.chain
@pytest.mark.anyio
async def test_an_endpoint_of_another_chain_is_refused(tmp_path: Path) -> None:
    local = load_deployment(LOCAL)
    async with a_chain(tmp_path, chain_id=31338) as chain:
        with pytest.raises(WrongChain, match="serves chain 31338"):
            await require_deployment(chain.rpc, local)


@pytest.mark.chain
@pytest.mark.anyio
async def test_a_chain_without_the_contract_is_refused(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain:
        with pytest.raises(WrongChain, match="no contract"):
            await require_deployment(chain.rpc, load_deployment(LOCAL))


def test_the_dev_accounts_are_those_of_the_known_mnemonic() -> None:
    from eth_account import Account

    Account.enable_unaudited_hdwallet_features()
    for n, account in enumerate(ACCOUNTS):
        derived = Account.from_mnemonic(DEV_MNEMONIC, account_path=f"m/44'/60'/0'/0/{n}")
        assert (bytes(derived.key), derived.address.lower()) == (account.secret, account.address)


@pytest.mark.chain
@pytest.mark.anyio
async def test_a_market_is_deployed_and_its_wallets_pay_each_other(tmp_path: Path) -> None:
    payer, payee = ACCOUNTS[1], Address("0x" + "77" * 20)
    with a_process(tmp_path / "chain") as (_, url):
        market: Deployment = await asyncio.to_thread(deploy_market, url, ACCOUNTS[0].secret)
        grants = {payer.address: Amount(1_000)}
        await asyncio.to_thread(fund_wallets, url, market, ACCOUNTS[0].secret, grants, [payee])
        async with open_chain(url, market, payer.secret, tmp_path / "wallet.db") as chain:
            one = await chain.deposit(payer.address, payee, Amount(400), "deposit")
            two = await chain.deposit(payer.address, payee, Amount(400), "deposit")
            assert one == two
            assert (await chain.balances(payer.address)).token == 600
            assert (await chain.balances(payee)).native == 10**18


@pytest.mark.chain
@pytest.mark.anyio
async def test_an_endpoint_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    port = str(free_port())
    with a_process(tmp_path / "chain", "--port", port) as (_, url):
        market: Deployment = await asyncio.to_thread(deploy_market, url, ACCOUNTS[0].secret)
    async with open_chain(url, market, ACCOUNTS[1].secret, tmp_path / "wallet.db") as chain:
        with pytest.raises(Unavailable):
            await chain.balances(ACCOUNTS[1].address)
        with a_process(tmp_path / "chain", "--port", port):
            assert (await chain.balances(ACCOUNTS[1].address)).token == 0


@pytest.mark.chain
@pytest.mark.anyio
async def test_an_endpoint_that_comes_back_as_another_chain_is_told_nothing(tmp_path: Path) -> None:
    port = str(free_port())
    with a_process(tmp_path / "chain", "--port", port) as (_, url):
        market: Deployment = await asyncio.to_thread(deploy_market, url, ACCOUNTS[0].secret)
    async with open_chain(url, market, ACCOUNTS[1].secret, tmp_path / "wallet.db") as chain:
        watching = asyncio.create_task(chain.watch())
        with a_process(tmp_path / "empty", "--port", port):
            with pytest.raises(WrongChain, match="no contract"):
                await chain.withdraw(ACCOUNTS[1].address, "withdraw")
            with pytest.raises(WrongChain, match="no contract"):
                await asyncio.wait_for(watching, 60)
        assert await chain.journal() == []
