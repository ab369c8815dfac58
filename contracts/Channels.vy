# pragma version 0.4.3
# pragma optimize gas
# pragma evm-version cancun
"""
@title Channels
@license Apache-2.0
@notice Unidirectional payment channels over one ERC-20, settled by cumulative vouchers in batches.
@dev A channel is keccak256(abi.encode(payer, signer, payee)). The payer funds it, the signer (a hot key that holds no
     money) signs vouchers, the payee is paid. A voucher is the EIP-712 message Voucher(bytes32 channel,uint256 cumulative):
     it promises `cumulative` in total since the channel began, so a larger one replaces a smaller one, and replaying or
     reordering pays nothing. There is no owner, no upgrade and no pause. Signers are plain keys, not contract wallets.

     One storage word per channel holds both sums: deposited << 128 | claimed. Vyper does not pack by itself.

     Life of an exit, which protects the payer from a payee that vanished:
       1. `start_exit` arms it: (amount, ready at now + CHALLENGE). The payee has that long to claim its vouchers.
       2. From ready until ready + EXIT_LIFE `finish_exit` refunds it, at most what is unclaimed by then.
       3. After that it has expired and counts as never armed, so that no exit hangs over a payee for ever.
     A new `start_exit` replaces the old one and starts the wait again; amount 0 disarms.
"""

from ethereum.ercs import IERC20


interface Permit:
    def permit(owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32): nonpayable


struct Claim:
    payer: address
    signer: address
    cumulative: uint256
    r: bytes32
    vs: bytes32  # EIP-2098: the parity of the signature in the top bit of s


struct Funding:
    signer: address
    payee: address
    amount: uint256


struct Channel:
    deposited: uint256
    claimed: uint256
    exiting: uint256
    exit_ready_at: uint256


event Deposited:
    channel: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    signer: address
    amount: uint256


event Claimed:
    channel: indexed(bytes32)
    payee: indexed(address)
    cumulative: uint256
    amount: uint256


event Settled:
    payee: indexed(address)
    amount: uint256
    fee: uint256


event ExitStarted:
    channel: indexed(bytes32)
    payee: indexed(address)
    amount: uint256
    ready_at: uint256


event Refunded:
    channel: indexed(bytes32)
    payee: indexed(address)
    amount: uint256


event Released:
    channel: indexed(bytes32)
    payee: indexed(address)
    amount: uint256


event Withdrawn:
    payee: indexed(address)
    to: indexed(address)
    amount: uint256


event Swept:
    amount: uint256


MAX_CLAIMS: constant(uint256) = 256
MAX_FUNDINGS: constant(uint256) = 128
EXIT_LIFE: constant(uint256) = 7 * 86400
SINK: constant(address) = 0x000000000000000000000000000000000000dEaD
LOW: constant(uint256) = 2**128 - 1
PARITY: constant(uint256) = 2**255
DOMAIN_TYPE: constant(bytes32) = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
VOUCHER_TYPE: constant(bytes32) = keccak256("Voucher(bytes32 channel,uint256 cumulative)")
NAME_HASH: constant(bytes32) = keccak256("Neugrid Channels")
VERSION_HASH: constant(bytes32) = keccak256("1")

TOKEN: public(immutable(address))
CHALLENGE: public(immutable(uint256))
FEE_BPS: public(immutable(uint256))
_CHAIN_ID: immutable(uint256)
_DOMAIN: immutable(bytes32)

_channels: HashMap[bytes32, uint256]  # deposited << 128 | claimed
_exits: HashMap[bytes32, uint256]  # ready at << 128 | amount
earned: public(HashMap[address, uint256])
fees: public(uint256)


@deploy
def __init__(token: address, challenge: uint256, fee_bps: uint256):
    assert token != empty(address), "no token"
    assert fee_bps <= 1000, "fee above 10 %"
    TOKEN = token
    CHALLENGE = challenge
    FEE_BPS = fee_bps
    _CHAIN_ID = chain.id
    _DOMAIN = self._compute_domain()


# --- the payer ------------------------------------------------------------------------------------------------------


@external
@nonreentrant
def deposit(payer: address, signer: address, payee: address, amount: uint256):
    """
    @notice Fund a channel with the caller's tokens. Anyone may fund; refunds go to `payer`.
    """
    self._fund(payer, signer, payee, amount)
    self._pull(amount)


@external
@nonreentrant
def deposit_many(payer: address, fundings: DynArray[Funding, MAX_FUNDINGS]):
    """
    @notice Fund many channels of one payer with a single token transfer.
    """
    total: uint256 = 0
    for funding: Funding in fundings:
        self._fund(payer, funding.signer, funding.payee, funding.amount)
        total += funding.amount
    self._pull(total)


@external
@nonreentrant
def deposit_with_permit(
    signer: address, payee: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32
):
    """
    @notice Approve by EIP-2612 and fund the caller's own channel in one transaction.
    @dev A permit that somebody sent ahead of us must not stop the deposit, so its failure alone is no error: what
         counts is whether the allowance is there when the tokens are pulled.
    """
    success: bool = raw_call(
        TOKEN,
        abi_encode(
            msg.sender,
            self,
            amount,
            deadline,
            v,
            r,
            s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )
    self._fund(msg.sender, signer, payee, amount)
    self._pull(amount)


@external
def start_exit(signer: address, payee: address, amount: uint256):
    """
    @notice Arm a refund of at most `amount` from the caller's channel; 0 disarms.
    """
    channel: bytes32 = self._channel_id(msg.sender, signer, payee)
    assert amount <= self._channels[channel] >> 128, "more than deposited"
    ready_at: uint256 = 0
    if amount > 0:
        ready_at = block.timestamp + CHALLENGE
    self._exits[channel] = ready_at << 128 | amount
    log ExitStarted(channel=channel, payee=payee, amount=amount, ready_at=ready_at)


@external
@nonreentrant
def finish_exit(signer: address, payee: address) -> uint256:
    """
    @notice Refund an armed exit that is ready, at most what is unclaimed now; tells how much.
    """
    channel: bytes32 = self._channel_id(msg.sender, signer, payee)
    armed: uint256 = self._exits[channel]
    ready_at: uint256 = armed >> 128
    assert armed != 0, "no exit"
    assert block.timestamp >= ready_at, "exit not ready"
    assert block.timestamp <= ready_at + EXIT_LIFE, "exit expired"
    self._exits[channel] = 0
    amount: uint256 = min(armed & LOW, self._unclaimed(channel))
    self._refund(channel, msg.sender, amount)
    log Refunded(channel=channel, payee=payee, amount=amount)
    return amount


# --- the payee ------------------------------------------------------------------------------------------------------


@external
def claim(payee: address, claims: DynArray[Claim, MAX_CLAIMS]) -> uint256:
    """
    @notice Redeem vouchers for `payee`. Anyone may send them; only the payee is credited. Tells the credited amount.
    @dev A voucher above the deposit pays what is there and stays good for the rest after a top-up. A voucher that
         pays nothing is no error; one whose signature is not the signer's reverts the whole batch.
         The fee is taken on the claimed total of a channel, so that splitting claims does not change it.
    """
    domain: bytes32 = self._domain()
    amount: uint256 = 0
    fee: uint256 = 0
    for voucher: Claim in claims:
        channel: bytes32 = self._channel_id(voucher.payer, voucher.signer, payee)
        word: uint256 = self._channels[channel]
        before: uint256 = word & LOW
        total: uint256 = min(voucher.cumulative, word >> 128)
        if total <= before:
            continue
        digest: bytes32 = self._digest(domain, channel, voucher.cumulative)
        assert self._signer(digest, voucher.r, convert(voucher.vs, uint256)) == voucher.signer, "bad signature"
        self._channels[channel] = word - before + total
        amount += total - before
        fee += total * FEE_BPS // 10000 - before * FEE_BPS // 10000
        log Claimed(channel=channel, payee=payee, cumulative=total, amount=total - before)
    if amount > 0:
        self.earned[payee] += amount - fee
        self.fees += fee
        log Settled(payee=payee, amount=amount, fee=fee)
    return amount - fee


@external
@nonreentrant
def withdraw(to: address) -> uint256:
    """
    @notice Send everything the caller has earned to `to`; tells how much.
    """
    assert to != empty(address), "to nobody"
    amount: uint256 = self.earned[msg.sender]
    assert amount > 0, "nothing earned"
    self.earned[msg.sender] = 0
    self._push(to, amount)
    log Withdrawn(payee=msg.sender, to=to, amount=amount)
    return amount


@external
@nonreentrant
def release(payer: address, signer: address, amount: uint256):
    """
    @notice The payee gives back `amount` of what it has not claimed, at once.
    """
    channel: bytes32 = self._channel_id(payer, signer, msg.sender)
    assert amount <= self._unclaimed(channel), "more than unclaimed"
    self._refund(channel, payer, amount)
    log Released(channel=channel, payee=msg.sender, amount=amount)


# --- anyone ---------------------------------------------------------------------------------------------------------


@external
@nonreentrant
def sweep() -> uint256:
    """
    @notice Burn the collected fees: the price of faking volume, and nobody's income.
    """
    amount: uint256 = self.fees
    self.fees = 0
    self._push(SINK, amount)
    log Swept(amount=amount)
    return amount


@view
@external
def channel(id: bytes32) -> Channel:
    """
    @notice What a channel holds; `exiting` and `exit_ready_at` are 0 when no exit is armed or it has expired.
    """
    word: uint256 = self._channels[id]
    armed: uint256 = self._exits[id]
    if block.timestamp > (armed >> 128) + EXIT_LIFE:
        armed = 0
    return Channel(deposited=word >> 128, claimed=word & LOW, exiting=armed & LOW, exit_ready_at=armed >> 128)


@pure
@external
def channel_id(payer: address, signer: address, payee: address) -> bytes32:
    return self._channel_id(payer, signer, payee)


@view
@external
def voucher_digest(id: bytes32, cumulative: uint256) -> bytes32:
    return self._digest(self._domain(), id, cumulative)


@view
@external
def domain_separator() -> bytes32:
    return self._domain()


# --- inside ---------------------------------------------------------------------------------------------------------


@internal
def _fund(payer: address, signer: address, payee: address, amount: uint256):
    assert payer != empty(address) and signer != empty(address) and payee != empty(address), "zero address"
    channel: bytes32 = self._channel_id(payer, signer, payee)
    word: uint256 = self._channels[channel]
    assert amount <= LOW - (word >> 128), "deposit too large"
    self._channels[channel] = word + (amount << 128)
    log Deposited(channel=channel, payer=payer, payee=payee, signer=signer, amount=amount)


@internal
def _refund(channel: bytes32, payer: address, amount: uint256):
    self._channels[channel] -= amount << 128
    self._push(payer, amount)


@internal
def _pull(amount: uint256):
    # What arrives must be what was asked for: a token that takes a cut would leave the last payee unpaid.
    before: uint256 = staticcall IERC20(TOKEN).balanceOf(self)
    assert extcall IERC20(TOKEN).transferFrom(msg.sender, self, amount, default_return_value=True), "transfer failed"
    assert staticcall IERC20(TOKEN).balanceOf(self) == before + amount, "token takes a cut"


@internal
def _push(to: address, amount: uint256):
    assert extcall IERC20(TOKEN).transfer(to, amount, default_return_value=True), "transfer failed"


@view
@internal
def _unclaimed(channel: bytes32) -> uint256:
    word: uint256 = self._channels[channel]
    return (word >> 128) - (word & LOW)


@pure
@internal
def _channel_id(payer: address, signer: address, payee: address) -> bytes32:
    return keccak256(abi_encode(payer, signer, payee))


@pure
@internal
def _digest(domain: bytes32, channel: bytes32, cumulative: uint256) -> bytes32:
    message: bytes32 = keccak256(abi_encode(VOUCHER_TYPE, channel, cumulative))
    return keccak256(concat(x"1901", domain, message))


@pure
@internal
def _signer(digest: bytes32, r: bytes32, vs: uint256) -> address:
    # 255 bits hold no s of the upper half, and replay is keyed on the amount, never on the bytes of a signature.
    # A failed recovery is the zero address, which no funded channel has as its signer.
    return ecrecover(digest, 27 + (vs >> 255), convert(r, uint256), vs & (PARITY - 1))


@view
@internal
def _domain() -> bytes32:
    if chain.id == _CHAIN_ID:
        return _DOMAIN
    return self._compute_domain()


@view
@internal
def _compute_domain() -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPE, NAME_HASH, VERSION_HASH, chain.id, self))
