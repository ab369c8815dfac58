"""The node's settings: one frozen struct from one TOML file; secrets come from files or NEUGRID_ variables alone."""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from market.errors import ConfigError

Port = Annotated[int, Meta(ge=0, le=65_535)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Price = Annotated[str, Meta(pattern=r"^\d{1,12}(\.\d{1,6})?$")]
Positive = Annotated[int, Meta(ge=1, le=10**9)]


class ApiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the HTTP API listens; port 0 takes a free one. `requests_per_minute` counts per key."""

    host: Name = "127.0.0.1"
    port: Port = 8080
    requests_per_minute: Positive = 6000
    body_limit: Annotated[int, Meta(ge=1024, le=2**40)] = 4 * 1024**3
    """The largest upload, in bytes."""


class NetworkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where libp2p listens and whom it dials first (multiaddrs that end in /p2p/<peer id>)."""

    listen: tuple[Annotated[str, Meta(max_length=256)], ...] = ("/ip4/127.0.0.1/tcp/0",)
    bootstrap: tuple[Annotated[str, Meta(max_length=256)], ...] = ()


class ChainSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RPC endpoint, the file that names the deployment, and how many blocks on top make one final (devnet: 0)."""

    rpc: Annotated[str, Meta(pattern="^https?://", max_length=512)] = "http://127.0.0.1:8545"
    deployment: Annotated[str, Meta(min_length=1, max_length=1024)] = "local.toml"
    confirmations: Annotated[int, Meta(ge=0, le=1000)] = 0


class ProviderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a provider asks, per hour in tokens, and how it bids; shares in thousandths of the asking price."""

    cpu_hour: Price = "0.02"
    memory_gib_hour: Price = "0.005"
    disk_gib_hour: Price = "0.0001"
    gpu_hour: Price = "0.5"
    floor: Annotated[int, Meta(ge=0, le=1000)] = 700
    surge: Annotated[int, Meta(ge=1000, le=10_000)] = 1000
    isolation: Name = "hardened"
    max_duration: Positive = 7 * 86_400
    cpu_share: Annotated[int, Meta(ge=1, le=1000)] = 1000
    """The part of the machine that is sold, in thousandths."""
    max_leases: Positive = 64
    claim_above: Price = "1.0"
    """Vouchers are claimed by themselves when this much is unclaimed."""


class RequesterSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a requester shops and pays: providers asked at once, waiting time of an order, smallest deposit."""

    ask: Annotated[int, Meta(ge=1, le=16)] = 3
    top_up: Price = "1.0"


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a node can be told; `roles` are "provider" and "requester"."""

    data_dir: Annotated[str, Meta(min_length=1, max_length=1024)]
    roles: Annotated[tuple[Annotated[str, Meta(pattern="^(provider|requester)$")], ...], Meta(min_length=1)]
    name: Name = "node"
    region: Annotated[str, Meta(pattern="^[a-z0-9-]{1,32}$")] = "local"
    api: ApiSettings = ApiSettings()
    network: NetworkSettings = NetworkSettings()
    chain: ChainSettings = ChainSettings()
    provider: ProviderSettings = ProviderSettings()
    requester: RequesterSettings = RequesterSettings()

    @property
    def folder(self) -> Path:
        """The data directory."""
        return Path(self.data_dir).expanduser()


def load_config(path: Path) -> Config:
    """The settings in `path`; ConfigError names the file, the key and what is allowed there."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", file=str(path)) from error
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}", file=str(path)) from error
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(path, text, str(error)), file=str(path)) from error
    return msgspec.structs.replace(config, data_dir=str((path.parent / config.folder).resolve()))


def write_config(config: Config, path: Path) -> None:
    """The settings as TOML, readable by their owner alone."""
    lines = [f"{key} = {_toml(value)}" for key, value in _plain(config).items() if not isinstance(value, dict)]
    for name, table in _plain(config).items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


def password_from(folder: Path) -> str:
    """The keystore's password: the file `password` in the data directory, else NEUGRID_PASSWORD."""
    file = folder / "password"
    if file.exists():
        return file.read_text().strip()
    found = os.environ.get("NEUGRID_PASSWORD")
    if found is None:
        raise ConfigError(f"no keystore password: write it to {file} (mode 0600) or set NEUGRID_PASSWORD")
    return found


def _explain(path: Path, text: str, problem: str) -> str:
    match = re.search(r"\$\.([\w.]+)|field `(\w+)`", problem)
    key = (match[1] or match[2]).split(".")[-1] if match else ""
    found = [number for number, line in enumerate(text.splitlines(), 1) if key and line.strip().startswith(key)]
    place = f"{path}:{found[0]}" if found else str(path)
    unknown = re.search(r"unknown field `(\w+)`(?: - at `\$\.?([\w]*)`)?", problem)
    allowed = f" (allowed: {', '.join(_fields(unknown[2] or ''))})" if unknown else ""
    return f"{place}: {problem}{allowed}"


def _fields(table: str) -> tuple[str, ...]:
    kinds = {
        "": Config,
        "api": ApiSettings,
        "network": NetworkSettings,
        "chain": ChainSettings,
        "provider": ProviderSettings,
        "requester": RequesterSettings,
    }
    return kinds.get(table, Config).__struct_fields__


def _plain(config: Config) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(config)
    return plain


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return msgspec.json.encode(value).decode()
