"""What the chain charges for redeeming a voucher: one claim of 128 on the devnet, and the same channels once more."""

import asyncio
import subprocess
import sys
import tempfile
from typing import Final

from benchmarks.goals import Taken
from contracts.client import Calls
from contracts.deploy import deploy, passing_wallet
from contracts.devnet.accounts import ACCOUNTS
from contracts.rpc import Rpc
from contracts.values import Claim, Funding
from market.signing import Signer, eip712_domain
from market.units import Address, Amount
from market.vouchers import channel_id, voucher_digest

BATCH: Final = 128
DEPOSIT: Final = Amount(1_000_000)
PAYEE: Final = Signer(b"\x09" * 32).address
SIGNERS: Final = [Signer((1000 + number).to_bytes(32, "big")) for number in range(BATCH)]


def measure() -> list[Taken]:
    """Gas of the transaction, its calldata included, divided by the vouchers in it."""
    with tempfile.TemporaryDirectory(prefix="neugrid-bench-") as folder:
        command = [sys.executable, "-m", "contracts.devnet", "--port", "0", "--data", folder]
        devnet = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert devnet.stdout is not None
            first, again = asyncio.run(_claims(devnet.stdout.readline().strip()))
        finally:
            devnet.terminate()
            devnet.wait()
    return [Taken(first, f"first claim of each channel; {again:,.0f} for each later one")]


async def _claims(url: str) -> tuple[float, float]:
    """Gas per voucher of the first claim of 128 channels, which is the dearest, and of the second."""
    rpc = Rpc(url)
    try:
        async with passing_wallet(rpc, ACCOUNTS[0].secret) as wallet:
            deployment = await deploy(rpc, wallet)
            calls, payer = Calls(deployment), ACCOUNTS[0].address
            domain = eip712_domain(deployment.chain_id, deployment.channels)
            await wallet.send(calls.mint(payer, Amount(BATCH * DEPOSIT)), "mint")
            await wallet.send(calls.approve(), "approve")
            fundings = [Funding(signer=signer.address, payee=PAYEE, amount=DEPOSIT) for signer in SIGNERS]
            await wallet.send(calls.deposit_many(payer, fundings), "deposit")
            gas = []
            for share in (2, 1):
                claims = [_claim(payer, signer, Amount(DEPOSIT // share), domain) for signer in SIGNERS]
                receipt = await wallet.send(calls.claim(PAYEE, claims), f"claim:{share}")
                assert receipt.succeeded
                gas.append(receipt.gas / BATCH)
            return gas[0], gas[1]
    finally:
        await rpc.close()


def _claim(payer: Address, signer: Signer, cumulative: Amount, domain: bytes) -> Claim:
    digest = voucher_digest(domain, channel_id(payer, signer.address, PAYEE), cumulative)
    return Claim(payer=payer, signer=signer.address, cumulative=cumulative, signature=signer.sign(digest))
