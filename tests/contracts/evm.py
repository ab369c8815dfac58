"""A bare EVM for contract tests: one state, no blocks, no fees, a clock that the test sets."""

from functools import cache
from typing import Any

from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth.vm.message import Message
from eth_abi import encode

from contracts.artifacts import Artifact
from contracts.codec import encode_call, numbers, revert_reason
from market.signing import keccak
from market.units import Address

GAS = 30_000_000
START = 1_800_000_000


class Reverted(Exception):
    """The call reverted; the message is what the contract said."""


@cache
def _genesis(chain_id: int) -> MiningChain:
    kind = MiningChain.configure(vm_configuration=((0, PragueVM),), chain_id=chain_id)
    params = {"difficulty": 0, "gas_limit": GAS, "timestamp": START, "nonce": bytes(8)}
    return kind.from_genesis(AtomicDB(), params, {})


class Evm:
    """Deploy and call contracts; `now` is block.timestamp, and may be moved."""

    def __init__(self, chain_id: int = 31337) -> None:
        self.state = _genesis(chain_id).get_vm().state
        self.now = START
        self.logs: list[tuple[bytes, list[int], bytes]] = []
        self._deployed = 0

    def deploy(self, artifact: Artifact, sender: Address, *arguments: Any) -> Address:
        """Run the init code at a fresh address."""
        constructor = next((part for part in artifact.abi if part["type"] == "constructor"), {"inputs": []})
        tail = encode([item["type"] for item in constructor["inputs"]], arguments)
        self._deployed += 1
        address = Address("0x" + keccak(b"contract %d" % self._deployed)[-20:].hex())
        code = bytes.fromhex(artifact.bytecode[2:]) + tail
        self._run(sender, address, b"", code)
        return address

    def send(self, sender: Address, to: Address, signature: str, *words: Any) -> list[int]:
        """Call by signature with static arguments; raises Reverted."""
        return numbers(self.send_data(sender, to, encode_call(signature, *words)))

    def send_data(self, sender: Address, to: Address, data: bytes) -> bytes:
        return self._run(sender, to, data, None)

    def _run(self, sender: Address, to: Address, data: bytes, init_code: bytes | None) -> bytes:
        state, raw, home = self.state, bytes.fromhex(sender[2:]), bytes.fromhex(to[2:])
        state.execution_context._timestamp = self.now
        state.lock_changes()
        state.clear_transient_storage()
        code = state.get_code(home) if init_code is None else init_code
        target = home if init_code is None else b""
        message = Message(GAS, target, raw, 0, data, code, create_address=None if init_code is None else home)
        context = state.get_transaction_context_class()(gas_price=0, origin=raw)
        kind = state.computation_class
        apply = kind.apply_message if init_code is None else kind.apply_create_message
        computation = apply(state, message, context)
        if computation.is_error:
            raise Reverted(revert_reason(computation.output) or repr(computation.error))
        self.logs = list(computation.get_log_entries())
        return bytes(computation.output)
