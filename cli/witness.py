"""An independent look at the chain: web3.py reads balances and events, so that nobody has to believe our own client."""

from pathlib import Path
from typing import Any

from web3 import Web3

from contracts.artifacts import load
from contracts.networks import load_deployment
from market.units import Address


class Witness:
    """Reads token and channels of one deployment; amounts in base units."""

    def __init__(self, rpc: str, network: Path) -> None:
        deployment = load_deployment(network)
        self._web3 = Web3(Web3.HTTPProvider(rpc))
        self._token = self._contract("Token", deployment.token)
        self._channels = self._contract("Channels", deployment.channels)
        self._from = deployment.block

    def balance(self, address: Address) -> int:
        """What an address holds."""
        held: int = self._token.functions.balanceOf(Web3.to_checksum_address(address)).call()
        return held

    def deposited(self) -> int:
        """The sum of all Deposited events."""
        events = self._channels.events.Deposited().get_logs(from_block=self._from)
        return sum(event["args"]["amount"] for event in events)

    def fees(self) -> int:
        """What was taken from claims to be burned."""
        events = self._channels.events.Settled().get_logs(from_block=self._from)
        return sum(event["args"]["fee"] for event in events)

    def _contract(self, name: str, address: Address) -> Any:
        return self._web3.eth.contract(Web3.to_checksum_address(address), abi=load(name).abi)
