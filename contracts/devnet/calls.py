"""Trying calls without mining them: `eth_call` and `eth_estimateGas`."""

from typing import Any

from eth.exceptions import Revert
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address
from eth_utils.exceptions import ValidationError
from msgspec import Struct

from contracts.codec import revert_reason
from contracts.devnet.accounts import GAS_LIMIT
from contracts.devnet.chain import Devchain, Header, State
from contracts.devnet.errors import Refused, Reverted


class Message(Struct, frozen=True, kw_only=True):
    """A call as a client asks for it; `to` is empty for a deployment."""

    sender: bytes
    to: bytes
    data: bytes
    value: int = 0
    gas: int = GAS_LIMIT


def call(chain: Devchain, message: Message, header: Header | None) -> bytes:
    """What the call answers; Reverted or Refused when it fails."""
    with chain.scratch(header) as state:
        return bytes(_succeeded(_run(state, message, message.gas)).output)


def estimate(chain: Devchain, message: Message) -> int:
    """A gas limit with which the call succeeds on the next block, at most a few percent above what it burns."""
    with chain.scratch() as state:
        computation = _succeeded(_run(state, message, message.gas))
        burned = message.gas - computation.get_gas_remaining()
        return _smallest(state, message, max(burned, _floor(message)))


def _smallest(state: State, message: Message, burned: int) -> int:
    # A nested call gets 63/64 of what is left (EIP-150), so the gas burned is not always enough to start with.
    low, high = burned, min(burned + burned // 32 + 2_300, message.gas)
    if _fits(state, message, low):
        return low
    while not _fits(state, message, high) and high < message.gas:
        low, high = high, min(high * 2, message.gas)
    return high


def _fits(state: State, message: Message, gas: int) -> bool:
    try:
        return not _run(state, message, gas).is_error
    except Refused:
        return False


def _run(state: State, message: Message, gas: int) -> Any:
    snapshot = state.snapshot()
    body: Any = PragueVM.create_unsigned_transaction(
        nonce=state.get_nonce(message.sender), gas_price=0, gas=gas, to=Address(message.to), value=message.value,
        data=message.data,
    )  # fmt: skip
    try:
        return state.apply_transaction(SpoofTransaction(body, from_=message.sender))
    except ValidationError as error:
        raise Refused(str(error)) from error
    finally:
        state.revert(snapshot)


def _succeeded(computation: Any) -> Any:
    if not computation.is_error:
        return computation
    if isinstance(computation.error, Revert):
        data = bytes(computation.output)
        raise Reverted(revert_reason(data), data)
    raise Refused(f"execution failed: {computation.error!r}")


def _floor(message: Message) -> int:
    """What the data costs at least (EIP-7623)."""
    zeros = message.data.count(0)
    return 21_000 + 10 * (zeros + 4 * (len(message.data) - zeros))
