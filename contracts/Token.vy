# pragma version 0.4.3
# pragma optimize gas
# pragma evm-version cancun
"""
@title Test dollar
@license Apache-2.0
@notice The ERC-20 of devnets and test networks: 6 decimals, EIP-2612 permits, minted by whoever deployed it.
"""

from ethereum.ercs import IERC20

implements: IERC20


event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256


event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256


HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
DOMAIN_TYPE: constant(bytes32) = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
PERMIT_TYPE: constant(bytes32) = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
NAME_HASH: constant(bytes32) = keccak256("Test Dollar")
VERSION_HASH: constant(bytes32) = keccak256("1")

name: public(constant(String[11])) = "Test Dollar"
symbol: public(constant(String[4])) = "TUSD"
decimals: public(constant(uint8)) = 6
minter: public(immutable(address))

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
nonces: public(HashMap[address, uint256])
totalSupply: public(uint256)


@deploy
def __init__():
    minter = msg.sender


@external
def transfer(receiver: address, amount: uint256) -> bool:
    self._move(msg.sender, receiver, amount)
    return True


@external
def transferFrom(owner: address, receiver: address, amount: uint256) -> bool:
    allowed: uint256 = self.allowance[owner][msg.sender]
    if allowed != max_value(uint256):
        self.allowance[owner][msg.sender] = allowed - amount
    self._move(owner, receiver, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self._approve(msg.sender, spender, amount)
    return True


@external
def permit(owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    assert block.timestamp <= deadline, "permit expired"
    nonce: uint256 = self.nonces[owner]
    message: bytes32 = keccak256(abi_encode(PERMIT_TYPE, owner, spender, amount, nonce, deadline))
    digest: bytes32 = keccak256(concat(x"1901", self._domain(), message))
    assert convert(s, uint256) <= HALF_ORDER, "bad signature"
    recovered: address = ecrecover(digest, v, r, s)
    assert recovered != empty(address) and recovered == owner, "bad signature"
    self.nonces[owner] = nonce + 1
    self._approve(owner, spender, amount)


@external
def mint(receiver: address, amount: uint256) -> bool:
    assert msg.sender == minter, "minter only"
    self.totalSupply += amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=empty(address), receiver=receiver, value=amount)
    return True


@view
@external
def DOMAIN_SEPARATOR() -> bytes32:
    return self._domain()


@internal
def _move(sender: address, receiver: address, amount: uint256):
    assert receiver != empty(address), "to nobody"
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=sender, receiver=receiver, value=amount)


@internal
def _approve(owner: address, spender: address, amount: uint256):
    self.allowance[owner][spender] = amount
    log Approval(owner=owner, spender=spender, value=amount)


@view
@internal
def _domain() -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPE, NAME_HASH, VERSION_HASH, chain.id, self))
