"""Planted bugs in Channels.vy: the property test must kill every one (`python -m tests.contracts.mutants`)."""

# ruff: noqa: E501 - one mutant, one line

import sys
import time
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from contracts.compile import compile_source, source_of
from tests.contracts.evm import Reverted
from tests.contracts.machine import ChannelsMachine


@dataclass(frozen=True)
class Mutant:
    """One bug: `old` in the source becomes `new`."""

    name: str
    old: str
    new: str


MUTANTS = [
    Mutant("the signature is not checked", "assert self._signer(digest, voucher.r, convert(voucher.vs, uint256)) == voucher.signer", "assert True"),
    Mutant("the zero signer may be funded", "signer != empty(address) and", ""),
    Mutant("channels of two payees are one", "keccak256(abi_encode(payer, signer, payee))", "keccak256(abi_encode(payer, signer))"),
    Mutant("the digest forgets the channel", "abi_encode(VOUCHER_TYPE, channel, cumulative)", "abi_encode(VOUCHER_TYPE, cumulative)"),
    Mutant("the digest forgets the amount", "abi_encode(VOUCHER_TYPE, channel, cumulative)", "abi_encode(VOUCHER_TYPE, channel)"),
    Mutant("the domain forgets the chain", "VERSION_HASH, chain.id, self", "VERSION_HASH, self"),
    Mutant("the domain forgets the contract", "VERSION_HASH, chain.id, self", "VERSION_HASH, chain.id"),
    Mutant("a claim is not capped by the deposit", "min(voucher.cumulative, word >> 128)", "voucher.cumulative"),
    Mutant("a voucher pays its whole sum again", "amount += total - before", "amount += total"),
    Mutant("a claim is not recorded", "self._channels[channel] = word - before + total", "pass"),
    Mutant("a smaller voucher rolls back", "if total <= before:", "if total == before:"),
    Mutant("the sender is credited", "self.earned[payee] += amount - fee", "self.earned[msg.sender] += amount - fee"),
    Mutant("the fee is not taken", "self.earned[payee] += amount - fee", "self.earned[payee] += amount"),
    Mutant("the fee is rounded per claim", "total * FEE_BPS // 10000 - before * FEE_BPS // 10000", "(total - before) * FEE_BPS // 10000"),
    Mutant("the fee is not collected", "self.fees += fee", "self.fees += 0"),
    Mutant("an exit need not wait", 'assert block.timestamp >= ready_at, "exit not ready"', "pass"),
    Mutant("an exit never expires", 'assert block.timestamp <= ready_at + EXIT_LIFE, "exit expired"', "pass"),
    Mutant("an exit is not cleared", "self._exits[channel] = 0\n", "pass\n"),
    Mutant("an exit ignores claims", "min(armed & LOW, self._unclaimed(channel))", "armed & LOW"),
    Mutant("an exit is armed above the deposit", 'assert amount <= self._channels[channel] >> 128, "more than deposited"', "pass"),
    Mutant("a second exit keeps the first deadline", "ready_at = block.timestamp + CHALLENGE\n",
           "ready_at = block.timestamp + CHALLENGE\n        if self._exits[channel] != 0:\n            ready_at = self._exits[channel] >> 128\n"),
    Mutant("a refund goes to the sender", "self._push(payer, amount)", "self._push(msg.sender, amount)"),
    Mutant("a refund is not recorded", "self._channels[channel] -= amount << 128", "pass"),
    Mutant("a release ignores claims", 'assert amount <= self._unclaimed(channel), "more than unclaimed"', "pass"),
    Mutant("anyone may release", "channel: bytes32 = self._channel_id(payer, signer, msg.sender)", "channel: bytes32 = self._channel_id(payer, signer, signer)"),
    Mutant("earnings are paid twice", "self.earned[msg.sender] = 0", "pass"),
    Mutant("earnings go to the sender", "self._push(to, amount)\n    log Withdrawn", "self._push(msg.sender, amount)\n    log Withdrawn"),
    Mutant("fees are swept twice", "self.fees = 0", "pass"),
    Mutant("fees go to the sweeper", "self._push(SINK, amount)", "self._push(msg.sender, amount)"),
    Mutant("channels of two payers are one", "keccak256(abi_encode(payer, signer, payee))", "keccak256(abi_encode(signer, payee))"),
    Mutant("a deposit credits double", "self._channels[channel] = word + (amount << 128)", "self._channels[channel] = word + (amount << 129)"),
    Mutant("many deposits are paid as one", "total += funding.amount", "total = funding.amount"),
    Mutant("an expired exit is still shown", "if block.timestamp > (armed >> 128) + EXIT_LIFE:", "if False:"),
]  # fmt: skip


def is_killed(mutant: Mutant, examples: int) -> bool:
    """Whether some random history tells the mutant from the ledger."""
    source = source_of("Channels").read_text()
    if source.count(mutant.old) < 1:
        raise ValueError(f"{mutant.name}: its text is not in Channels.vy")
    artifact = compile_source("Channels", source.replace(mutant.old, mutant.new))
    machine = type("Mutant", (ChannelsMachine,), {"artifact": artifact})
    hunt = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, database=None, print_blob=False,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=False,
    )  # fmt: skip
    try:
        run_state_machine_as_test(machine, settings=hunt)
    except (AssertionError, Reverted):
        return True
    return False


def main(examples: int = 250) -> int:
    survivors = 0
    for mutant in MUTANTS:
        began = time.monotonic()
        killed = is_killed(mutant, examples)
        survivors += not killed
        print(f"{'killed' if killed else 'SURVIVED':9} {time.monotonic() - began:6.1f} s  {mutant.name}", flush=True)
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} mutants killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
