"""Channels, function by function: what each pays, says and refuses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from contracts.artifacts import load
from contracts.client import Calls
from contracts.codec import encode_call, encode_claim, numbers, topic
from contracts.compile import compile_source, source_of
from contracts.values import Claim
from market.signing import Signer, eip712_domain, keccak
from market.units import Address, Amount
from market.vouchers import channel_id, voucher_digest
from tests.contracts.chains import FAUCET, a_chain, a_market, a_wallet
from tests.contracts.evm import Evm, Reverted
from tests.contracts.machine import CHALLENGE, EXIT_LIFE, FEE_BPS, SINK

PAYER, SIGNER, PAYEE, STRANGER = (Signer(bytes([n]) * 32) for n in (1, 2, 3, 4))
ID = channel_id(PAYER.address, SIGNER.address, PAYEE.address)
DEPOSIT = "deposit(address,address,address,uint256)"


@dataclass
class Hub:
    """A deployment with a funded channel of 1,000."""

    evm: Evm
    token: Address
    address: Address

    def send(self, sender: Signer, signature: str, *words: Any) -> list[int]:
        return self.evm.send(sender.address, self.address, signature, *words)

    def tokens(self, who: Address) -> int:
        return self.evm.send(who, self.token, "balanceOf(address)", who)[0]

    def claim(self, *claims: Claim, sender: Signer = STRANGER, payee: Address = PAYEE.address) -> int:
        return numbers(self.evm.send_data(sender.address, self.address, encode_claim(payee, claims)))[0]

    def voucher(self, cumulative: int, signer: Signer = SIGNER, chain_id: int = 31337) -> Claim:
        digest = voucher_digest(eip712_domain(chain_id, self.address), ID, cumulative)
        return a_claim(cumulative, signer.sign(digest))


def a_claim(cumulative: int, signature: bytes) -> Claim:
    return Claim(payer=PAYER.address, signer=SIGNER.address, cumulative=Amount(cumulative), signature=signature)


def a_hub(evm: Evm | None = None, token_source: str | None = None) -> Hub:
    evm = evm or Evm()
    artifact = load("Token") if token_source is None else compile_source("Token", token_source)
    token = evm.deploy(artifact, PAYER.address)
    hub = Hub(evm, token, evm.deploy(load("Channels"), STRANGER.address, token, CHALLENGE, FEE_BPS))
    evm.send(PAYER.address, token, "mint(address,uint256)", PAYER.address, 10_000)
    return hub


def a_funded_hub() -> Hub:
    hub = a_hub()
    hub.evm.send(PAYER.address, hub.token, "approve(address,uint256)", hub.address, 2**256 - 1)
    hub.send(PAYER, DEPOSIT, PAYER.address, SIGNER.address, PAYEE.address, 1_000)
    return hub


def test_the_contract_and_the_market_mean_the_same_channel_and_voucher() -> None:
    hub = a_hub()
    found = hub.send(PAYER, "channel_id(address,address,address)", PAYER.address, SIGNER.address, PAYEE.address)
    assert found[0].to_bytes(32, "big").hex() == ID
    digest = hub.send(PAYER, "voucher_digest(bytes32,uint256)", bytes.fromhex(ID), 77)[0].to_bytes(32, "big")
    assert digest == voucher_digest(eip712_domain(31337, hub.address), ID, 77)


def test_the_digest_is_the_one_every_wallet_computes() -> None:
    contract = Address("0x" + "ab" * 20)
    typed = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Voucher": [{"name": "channel", "type": "bytes32"}, {"name": "cumulative", "type": "uint256"}],
        },
        "primaryType": "Voucher",
        "domain": {"name": "Neugrid Channels", "version": "1", "chainId": 31337, "verifyingContract": contract},
        "message": {"channel": bytes.fromhex(ID), "cumulative": 123_456},
    }
    message = encode_typed_data(full_message=typed)
    mine = voucher_digest(eip712_domain(31337, contract), ID, 123_456)
    assert keccak(b"\x19\x01" + message.header + message.body) == mine
    assert bytes(Account.sign_message(message, b"\x02" * 32).signature) == SIGNER.sign(mine)


def test_a_claim_pays_the_payee_less_the_fee() -> None:
    hub = a_funded_hub()
    assert hub.claim(hub.voucher(500)) == 495
    assert hub.send(PAYEE, "earned(address)", PAYEE.address) == [495]
    assert hub.send(PAYEE, "withdraw(address)", STRANGER.address) == [495]
    assert hub.tokens(STRANGER.address) == 495
    assert hub.send(STRANGER, "sweep()") == [5]
    assert hub.tokens(SINK) == 5


def test_a_replayed_voucher_pays_nothing() -> None:
    hub = a_funded_hub()
    hub.claim(hub.voucher(500))
    assert hub.claim(hub.voucher(500), hub.voucher(400), hub.voucher(500)) == 0


def test_a_voucher_above_the_deposit_pays_on_after_a_top_up() -> None:
    hub = a_funded_hub()
    assert hub.claim(hub.voucher(1_500)) == 990
    hub.send(PAYER, DEPOSIT, PAYER.address, SIGNER.address, PAYEE.address, 1_000)
    assert hub.claim(hub.voucher(1_500)) == 495


def test_one_forged_voucher_spoils_its_batch_and_nothing_else() -> None:
    hub = a_funded_hub()
    with pytest.raises(Reverted, match="bad signature"):
        hub.claim(hub.voucher(100), hub.voucher(200, signer=STRANGER))
    assert hub.claim(hub.voucher(100)) == 99


def test_a_voucher_of_another_chain_pays_nothing() -> None:
    hub = a_funded_hub()
    with pytest.raises(Reverted, match="bad signature"):
        hub.claim(hub.voucher(100, chain_id=1))


def test_a_voucher_of_another_contract_pays_nothing() -> None:
    one = a_funded_hub()
    two = Hub(one.evm, one.token, one.evm.deploy(load("Channels"), STRANGER.address, one.token, CHALLENGE, FEE_BPS))
    one.evm.send(PAYER.address, one.token, "approve(address,uint256)", two.address, 1_000)
    two.send(PAYER, DEPOSIT, PAYER.address, SIGNER.address, PAYEE.address, 1_000)
    with pytest.raises(Reverted, match="bad signature"):
        two.claim(one.voucher(100))


def test_a_voucher_of_another_payee_pays_nothing() -> None:
    hub = a_funded_hub()
    hub.send(PAYER, DEPOSIT, PAYER.address, SIGNER.address, STRANGER.address, 1_000)
    with pytest.raises(Reverted, match="bad signature"):
        hub.claim(hub.voucher(100), payee=STRANGER.address)


def test_vouchers_do_not_follow_a_fork_to_a_new_chain_id() -> None:
    hub = a_funded_hub()
    hub.evm.state.execution_context._chain_id = 99
    with pytest.raises(Reverted, match="bad signature"):
        hub.claim(hub.voucher(100))
    assert hub.claim(hub.voucher(100, chain_id=99)) == 99


def test_a_permit_deposits_in_one_transaction() -> None:
    hub = a_hub()
    v, r, s = a_permit(hub, 300)
    hub.send(PAYER, PERMITTED, SIGNER.address, PAYEE.address, 300, 2**64, v, r, s)
    assert hub.send(PAYER, "channel(bytes32)", bytes.fromhex(ID)) == [300, 0, 0, 0]


def test_a_permit_that_somebody_sent_ahead_does_not_stop_the_deposit() -> None:
    hub = a_hub()
    v, r, s = a_permit(hub, 300)
    permit = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"
    hub.evm.send(STRANGER.address, hub.token, permit, PAYER.address, hub.address, 300, 2**64, v, r, s)
    hub.send(PAYER, PERMITTED, SIGNER.address, PAYEE.address, 300, 2**64, v, r, s)
    assert hub.send(PAYER, "channel(bytes32)", bytes.fromhex(ID))[0] == 300


def test_a_forged_permit_deposits_nothing() -> None:
    hub = a_hub()
    v, r, _ = a_permit(hub, 300)
    with pytest.raises(Reverted):
        hub.send(PAYER, PERMITTED, SIGNER.address, PAYEE.address, 300, 2**64, v, r, b"\x01" * 32)


PERMITTED = "deposit_with_permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"


def a_permit(hub: Hub, amount: int) -> tuple[int, bytes, bytes]:
    domain = hub.evm.send(PAYER.address, hub.token, "DOMAIN_SEPARATOR()")[0].to_bytes(32, "big")
    kind = keccak(b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
    message = encode_call("f()", kind, PAYER.address, hub.address, amount, 0, 2**64)[4:]
    signature = PAYER.sign(keccak(b"\x19\x01" + domain + keccak(message)))
    return signature[64], signature[:32], signature[32:64]


def test_an_exit_waits_for_the_payee() -> None:
    hub = a_funded_hub()
    hub.send(PAYER, "start_exit(address,address,uint256)", SIGNER.address, PAYEE.address, 1_000)
    hub.evm.now += CHALLENGE - 1
    with pytest.raises(Reverted, match="not ready"):
        hub.send(PAYER, "finish_exit(address,address)", SIGNER.address, PAYEE.address)
    hub.claim(hub.voucher(400))
    hub.evm.now += 1
    assert hub.send(PAYER, "finish_exit(address,address)", SIGNER.address, PAYEE.address) == [600]
    assert hub.tokens(PAYER.address) == 9_600


def test_an_exit_that_is_not_finished_expires() -> None:
    hub = a_funded_hub()
    hub.send(PAYER, "start_exit(address,address,uint256)", SIGNER.address, PAYEE.address, 1_000)
    ready_at = hub.evm.now + CHALLENGE
    assert hub.send(PAYER, "channel(bytes32)", bytes.fromhex(ID)) == [1_000, 0, 1_000, ready_at]
    hub.evm.now += CHALLENGE + EXIT_LIFE + 1
    assert hub.send(PAYER, "channel(bytes32)", bytes.fromhex(ID)) == [1_000, 0, 0, 0]
    with pytest.raises(Reverted, match="expired"):
        hub.send(PAYER, "finish_exit(address,address)", SIGNER.address, PAYEE.address)


def test_the_payee_gives_back_at_once() -> None:
    hub = a_funded_hub()
    hub.claim(hub.voucher(400))
    with pytest.raises(Reverted, match="more than unclaimed"):
        hub.send(PAYEE, "release(address,address,uint256)", PAYER.address, SIGNER.address, 601)
    hub.send(PAYEE, "release(address,address,uint256)", PAYER.address, SIGNER.address, 600)
    assert hub.tokens(PAYER.address) == 9_600


def test_everything_that_happens_is_logged() -> None:
    hub = a_funded_hub()
    assert [log[1][0] for log in hub.evm.logs] == [
        int(topic("Deposited(bytes32,address,address,address,uint256)"), 16),
        int(topic("Transfer(address,address,uint256)"), 16),
    ]
    hub.claim(hub.voucher(400))
    assert [log[1][0] for log in hub.evm.logs] == [
        int(topic("Claimed(bytes32,address,uint256,uint256)"), 16),
        int(topic("Settled(address,uint256,uint256)"), 16),
    ]


def test_a_token_that_takes_a_cut_is_not_taken() -> None:
    greedy = source_of("Token").read_text()
    greedy = greedy.replace(
        "self.balanceOf[receiver] += amount\n    log", "self.balanceOf[receiver] += amount - 1\n    log"
    )
    hub = a_hub(token_source=greedy)
    hub.evm.send(PAYER.address, hub.token, "approve(address,uint256)", hub.address, 1_000)
    with pytest.raises(Reverted, match="cut"):
        hub.send(PAYER, DEPOSIT, PAYER.address, SIGNER.address, PAYEE.address, 1_000)


def test_a_token_without_return_values_is_taken() -> None:
    silent = source_of("Token").read_text().replace(") -> bool:", "):").replace("    return True\n", "")
    silent = silent.replace("implements: IERC20\n", "")
    hub = a_hub(token_source=silent)
    hub.evm.send(PAYER.address, hub.token, "approve(address,uint256)", hub.address, 1_000)
    hub.send(PAYER, DEPOSIT, PAYER.address, SIGNER.address, PAYEE.address, 1_000)
    hub.claim(hub.voucher(1_000))
    assert hub.send(PAYEE, "withdraw(address)", PAYEE.address) == [990]


@pytest.mark.chain
@pytest.mark.anyio
async def test_a_batch_of_128_costs_at_most_15_000_gas_a_voucher(tmp_path: Path) -> None:
    async with a_chain(tmp_path) as chain, a_wallet(chain, signer=FAUCET) as wallet:
        market = await a_market(chain)
        calls, domain = Calls(market), eip712_domain(31337, market.channels)
        payers = [Signer(keccak(b"payer %d" % n)) for n in range(128)]
        await wallet.send(calls.mint(FAUCET.address, Amount(128 * 10**6)), "mint")
        await wallet.send(calls.approve(), "approve")
        for n, payer in enumerate(payers):
            call = calls.deposit(payer.address, payer.address, PAYEE.address, Amount(10**6))
            await wallet.submit(call, f"deposit/{n}")
        gas = []
        for cumulative in (345_678, 789_123):
            claims = [
                Claim(
                    payer=payer.address, signer=payer.address, cumulative=Amount(cumulative),
                    signature=payer.sign(
                        voucher_digest(domain, channel_id(payer.address, payer.address, PAYEE.address), cumulative)
                    ),
                )
                for payer in payers
            ]  # fmt: skip
            gas.append((await wallet.send(calls.claim(PAYEE.address, claims), f"claim/{cumulative}")).gas)
        print(f"claim of 128: {gas[1]} gas, {gas[1] / 128:.0f} a voucher")
        assert gas[1] <= 128 * 15_000
