"""Make a node: data directory, three keys, password, settings. And find them again."""

import contextlib
import secrets
from pathlib import Path
from typing import Final

from msgspec import Struct

from contracts.deploy import load_deployment
from contracts.keystore import create_key, load_key, load_keys, new_salt
from market.errors import Conflict
from market.signing import Signer
from market.units import Address
from node.config import Config, checked, password_from, write_config
from node.p2p.identity import peer_id_of

LOCAL: Final = Path(__file__).parents[1] / "configs" / "networks" / "local.toml"
KEYS: Final = ("node", "signer", "payer")
"""Identity on the network, signer of vouchers, and the wallet that holds the money."""


class Keys(Struct, frozen=True):
    """The secrets of a node, unlocked once."""

    node: bytes
    signer: bytes
    payer: bytes


class Made(Struct, frozen=True, kw_only=True):
    """What `init` made: where, and who the node is."""

    config: Path
    wallet: Address
    identity: Address
    peer: str


def init(config: Config, network: Path | None = None, *, light: bool = False) -> Made:
    """Make keys and settings in the config's folder; Conflict when there is a node already.

    The node keeps a copy of the file `network`, unless its settings name one by an absolute path; None is a devnet's.
    `light` makes keys that open quickly, for a market that lives for minutes. ConfigError for settings that do not fit.
    """
    config = checked(config)
    folder = config.folder
    path = folder / "node.toml"
    if path.exists():
        raise Conflict(f"there is a node in {folder} already", path=str(path))
    is_copied = not Path(config.chain.deployment).is_absolute()
    deployment = load_deployment(network or LOCAL) if is_copied else None
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    password, salt = _password(folder), new_salt()
    addresses = {name: create_key(_key(folder, name), password, light=light, salt=salt) for name in KEYS}
    if deployment is not None:
        deployment.write(folder / config.chain.deployment)
    write_config(config, path)
    signer = Signer(load_key(_key(folder, "node"), password))
    return Made(config=path, wallet=addresses["payer"], identity=signer.address, peer=peer_id_of(signer.public_key))


def unlock(folder: Path) -> Keys:
    """The node's keys; ConfigError when a file is missing or the password is wrong."""
    password = password_from(folder)
    return Keys(*load_keys([_key(folder, name) for name in KEYS], password))


def _key(folder: Path, name: str) -> Path:
    return folder / "keys" / f"{name}.json"


def _password(folder: Path) -> str:
    with contextlib.suppress(Exception):
        return password_from(folder)
    password = secrets.token_urlsafe(24)
    file = folder / "password"
    file.touch(mode=0o600)
    file.write_text(password + "\n")
    return password
