"""The contracts as Python: what can be asked, and the calls that a wallet can send."""

from collections.abc import Sequence

from contracts.codec import encode_call, encode_claim, encode_deposit_many, numbers
from contracts.networks import Deployment
from contracts.rpc import Request, Rpc, unknown_if_refused
from contracts.values import Balances, Call, ChannelOnChain, Claim, Funding
from market.units import Address, Amount, Timestamp

UNLIMITED = 2**256 - 1


class Reader:
    """Reads token and channels; every method raises Unavailable when the chain does not answer.

    `confirmations` is how many blocks must lie on top of what `channel` believes in.
    """

    def __init__(self, rpc: Rpc, deployment: Deployment, confirmations: int = 0) -> None:
        self._rpc, self._deployment, self._confirmations = rpc, deployment, confirmations

    async def balances(self, address: Address) -> Balances:
        query = encode_call("balanceOf(address)", address)
        requests: list[Request] = [
            ("eth_call", [{"to": self._deployment.token, "data": "0x" + query.hex()}, "latest"]),
            ("eth_getBalance", [address, "latest"]),
        ]
        with unknown_if_refused():
            token, native = await self._rpc.batch(requests)
        return Balances(token=Amount(int(token, 16)), native=int(native, 16))

    async def channel(self, id: str) -> ChannelOnChain:
        """A channel at the confirmed depth, by the hex of its id."""
        data = encode_call("channel(bytes32)", bytes.fromhex(id))
        with unknown_if_refused():
            answer = await self._rpc.read(self._deployment.channels, data, await self._confirmed())
        deposited, claimed, exiting, ready_at = numbers(answer)
        return ChannelOnChain(
            deposited=Amount(deposited), claimed=Amount(claimed), exiting=Amount(exiting),
            exit_ready_at=Timestamp(ready_at * 1000),
        )  # fmt: skip

    async def earned(self, payee: Address) -> Amount:
        """Claimed and not withdrawn, after the fee."""
        return Amount(await self._number(self._deployment.channels, encode_call("earned(address)", payee)))

    async def fees(self) -> Amount:
        """Collected and not yet swept."""
        return Amount(await self._number(self._deployment.channels, encode_call("fees()")))

    async def allowance(self, owner: Address) -> Amount:
        """What the channels may pull from `owner`."""
        data = encode_call("allowance(address,address)", owner, self._deployment.channels)
        return Amount(await self._number(self._deployment.token, data))

    async def _number(self, to: Address, data: bytes) -> int:
        with unknown_if_refused():
            return numbers(await self._rpc.read(to, data))[0]

    async def _confirmed(self) -> str:
        if not self._confirmations:
            return "latest"
        head = int(await self._rpc.call("eth_blockNumber"), 16)
        return hex(max(0, head - self._confirmations))


class Calls:
    """What a wallet can send to the contracts of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._token, self._channels = deployment.token, deployment.channels

    def approve(self, amount: int = UNLIMITED) -> Call:
        """Let the channels pull tokens; they pull only what a deposit of the same owner names."""
        return Call(to=self._token, data=encode_call("approve(address,uint256)", self._channels, amount))

    def mint(self, to: Address, amount: Amount) -> Call:
        """Test networks only: the token's deployer makes tokens."""
        return Call(to=self._token, data=encode_call("mint(address,uint256)", to, amount))

    def transfer(self, to: Address, amount: Amount) -> Call:
        return Call(to=self._token, data=encode_call("transfer(address,uint256)", to, amount))

    def deposit(self, payer: Address, signer: Address, payee: Address, amount: Amount) -> Call:
        return self._call("deposit(address,address,address,uint256)", payer, signer, payee, amount)

    def deposit_many(self, payer: Address, fundings: Sequence[Funding]) -> Call:
        return Call(to=self._channels, data=encode_deposit_many(payer, fundings))

    def claim(self, payee: Address, claims: Sequence[Claim]) -> Call:
        return Call(to=self._channels, data=encode_claim(payee, claims))

    def withdraw(self, to: Address) -> Call:
        return self._call("withdraw(address)", to)

    def release(self, payer: Address, signer: Address, amount: Amount) -> Call:
        return self._call("release(address,address,uint256)", payer, signer, amount)

    def start_exit(self, signer: Address, payee: Address, amount: Amount) -> Call:
        return self._call("start_exit(address,address,uint256)", signer, payee, amount)

    def finish_exit(self, signer: Address, payee: Address) -> Call:
        return self._call("finish_exit(address,address)", signer, payee)

    def sweep(self) -> Call:
        return self._call("sweep()")

    def _call(self, signature: str, *words: int | str | bytes) -> Call:
        return Call(to=self._channels, data=encode_call(signature, *words))
