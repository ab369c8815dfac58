"""Where the market lives on a chain: the network file (TOML) and the check that an endpoint serves that chain."""

import asyncio
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from contracts.rpc import Rpc
from market.errors import ConfigError, Unavailable, WrongChain
from market.units import Address

_HASH: Final = re.compile(r"^0x[0-9a-f]{64}$")
_ADDRESS: Final = re.compile(r"^0x[0-9a-f]{40}$")
_TEXT: Final = """\
# Where the market lives on a chain. A node refuses an endpoint that serves another chain.

# The chain's id, as EIP-155 puts it into every signature.
chain_id = {chain_id}
# The hash of the chain's first block, 0x and 64 lower-case hex digits.
genesis = "{genesis}"
# The ERC-20 that everything is paid in (6 decimals).
token = "{token}"
# The payment channels.
channels = "{channels}"
# The block in which the channels were deployed; events are read from here on.
block = {block}
"""


class Deployment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contracts of one market; addresses in lower case, `block` the one that holds the deployment."""

    chain_id: int
    genesis: str
    token: Address
    channels: Address
    block: int

    def write(self, path: Path) -> None:
        """Keep it as a network file that explains itself."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_TEXT.format(**msgspec.structs.asdict(self)))


def load_deployment(path: Path) -> Deployment:
    """The deployment in a network file; ConfigError says what is wrong with it."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), Deployment)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): chain.deployment names the network file of the market, such as "
            "configs/networks/local.toml for a devnet",
            path=str(path),
        ) from None
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", path=str(path)) from error
    for name, pattern in (("genesis", _HASH), ("token", _ADDRESS), ("channels", _ADDRESS)):
        if not pattern.match(getattr(found, name)):
            raise ConfigError(f"{path}: {name} must be 0x and lower-case hex digits", path=str(path), key=name)
    return found


async def require_deployment(rpc: Rpc, deployment: Deployment) -> None:
    """WrongChain unless the endpoint serves the deployment's chain and the contract is there."""
    await rpc.require(deployment.chain_id, deployment.genesis)
    if await rpc.call("eth_getCode", deployment.channels, "latest") == "0x":
        raise WrongChain(f"there is no contract at {deployment.channels}", channels=deployment.channels)


class BoundRpc(Rpc):
    """An endpoint of one deployment: it is asked nothing, and told nothing, before it has shown that it serves it.

    After every failure it has to show that anew, for another chain may answer then. Raises WrongChain when one does.
    """

    def __init__(self, url: str, deployment: Deployment) -> None:
        super().__init__(url)
        self._bare = Rpc(url)
        self._deployment = deployment
        self._looking = asyncio.Lock()
        self._is_ours = False

    async def close(self) -> None:
        await super().close()
        await self._bare.close()

    async def verify(self) -> None:
        """WrongChain when another chain answers, Unavailable when none does; nothing to do when it was seen before."""
        async with self._looking:
            if not self._is_ours:
                await require_deployment(self._bare, self._deployment)
                self._is_ours = True

    async def _post(self, payload: Any) -> Any:
        await self.verify()
        try:
            return await super()._post(payload)
        except Unavailable:
            self._is_ours = False
            raise
