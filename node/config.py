"""The node's settings: one frozen struct from one TOML file; secrets come from files or NEUGRID_ variables alone."""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from market.errors import ConfigError
from node.complaints import complain
from node.config_api import ApiSettings
from node.config_words import (
    Database,
    Days,
    Dial,
    Engines,
    File,
    Listen,
    Name,
    Pattern,
    Port,
    Positive,
    Price,
    Region,
    Registry,
    RepositoryHost,
    Risk,
    Roles,
    Size,
    Tier,
    Url,
    whole,
)

REGISTRIES = (
    "docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "public.ecr.aws",
    "mcr.microsoft.com",
    "registry.k8s.io",
    "nvcr.io",
)


GPU_TIER: Final = "gpu"
"""The isolation tier of machines that sell their GPUs."""
GVISOR_TIER: Final = "gvisor"
"""The isolation tier of workloads that run on a kernel of their own."""


class StorageSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the node's state is: "" is the SQLite file `node.db` in the data directory."""

    url: Database = ""
    """A database of PostgreSQL, for this node and the API processes beside it; its password is better in the
    environment, as NEUGRID_DATABASE_PASSWORD."""


class NetworkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where libp2p listens and whom it dials first (multiaddrs that end in /p2p/<peer id>)."""

    listen: tuple[Listen, ...] = ("/ip4/127.0.0.1/tcp/0",)
    bootstrap: tuple[Dial, ...] = ()


class ChainSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RPC endpoint, the file that names the deployment, and how many blocks on top make one final (devnet: 0)."""

    rpc: Url = "http://127.0.0.1:8545"
    deployment: File = "local.toml"
    confirmations: Annotated[int, whole(0, 1000, " blocks")] = 0


class PublicSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ports of the provider's own address that services may take: from `first` to `last`, listening on `host`.

    `address` is the name or address under which others reach this machine; without it nothing is given away.
    """

    address: Annotated[
        str, Meta(pattern=r"^([0-9A-Za-z.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])?$", description="a host")
    ] = ""
    host: Name = "0.0.0.0"  # noqa: S104 - the operator has named the address that is public
    first: Annotated[int, whole(1024, 65_535)] = 30_000
    last: Annotated[int, whole(1024, 65_535)] = 30_255


class ProviderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a provider asks, per hour in tokens, and how it bids; shares in thousandths of the asking price."""

    cpu_hour: Price = "0.02"
    memory_gib_hour: Price = "0.005"
    disk_gib_hour: Price = "0.0001"
    gpu_hour: Price = "0.5"
    cpu_hour_cost: Price = "0"
    gpu_hour_cost: Price = "0"
    """What a core or a GPU in use costs the provider itself (power): nothing is bid below it."""
    floor: Annotated[int, whole(0, 1000, " thousandths")] = 700
    surge: Annotated[int, whole(1000, 10_000, " thousandths")] = 1000
    runtime: Engines = "docker"
    """The engine of this machine, or the swarm that it manages: with "swarm" goes the tier "swarm"."""
    isolation: Tier = "hardened"
    """The tier that is sold; nothing is, while a real start does not prove it."""
    accept_risks: Annotated[tuple[Risk, ...], Meta(max_length=16, description="a list of risks by name")] = ()
    """What is sold although `neugrid doctor` finds it below the floor; every offer names it."""
    max_duration: Annotated[int, whole(1, 10**9, " seconds")] = 7 * 86_400
    share: Annotated[int, whole(1, 1000, " thousandths")] = 1000
    """The part of the machine that is sold, in thousandths."""
    max_leases: Positive = 64
    claim_above: Price = "1.0"
    """Vouchers are claimed by themselves when this much is unclaimed."""
    registries: tuple[Registry, ...] = REGISTRIES
    """Where images may come from; a pattern such as "*" admits public addresses alone."""
    shared_images: tuple[Pattern, ...] = ()
    """Images of this machine's own that every job may name."""
    max_image_size: Size = 20 * 2**30
    """Of all layers of an image together, packed as registries hold them, in bytes."""
    pull_budget: Size = 20 * 2**30
    """What one requester may have pulled in an hour, packed, in bytes; all of them together five times as much."""
    repository_hosts: tuple[RepositoryHost, ...] = ()
    """Hosts of repositories that are no public places and are built from all the same."""
    repository_ca: Annotated[str, Meta(max_length=1024, description="a path")] = ""
    """A file of certificates in PEM that hosts of repositories may be signed by, beside the usual ones."""
    max_repository: Size = 2**30
    """Of a repository, as it comes and as it lies, in bytes."""
    keep_free: Annotated[int, whole(0, 2**50, " bytes")] = 5 * 2**30
    """Images that this node pulled go while less of the disk is free, in bytes."""
    builds: bool = False
    """Whether images are built of repositories; the image with git that clones them is made when missing."""
    languages: Annotated[tuple[Name, ...], Meta(max_length=32)] = ()
    """Languages that code is run in, by their names in configs/languages.toml; their images are made when missing."""
    sandbox_memory: Annotated[int, whole(32, 2**20, " MiB")] = 512
    """What sandboxes that wait for code may take, in MiB."""
    public: PublicSettings = PublicSettings()


class FileSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an account of each tier may have of files in bytes: uploads, inputs, what its jobs leave."""

    free: Size = 10 * 2**30
    pro: Size = 100 * 2**30
    enterprise: Size = 2**40
    days: Days = 30
    """How long a file that nothing needs stays after it was used last."""


class GatewaySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the services of this node's users are reached: `http://<id>.<domain>:<port>`; port 0 takes a free one."""

    is_on: bool = True
    domain: Annotated[
        str, Meta(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", max_length=200, description="a domain name")
    ] = "localhost"
    host: Name = "127.0.0.1"
    port: Port = 8081
    certificate: str = ""
    """A file with a certificate for `*.<domain>` and its chain; with `key` the gateway speaks TLS."""
    key: str = ""


class RequesterSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a requester shops and pays: providers asked at once, waiting time of an order, smallest deposit."""

    ask: Annotated[int, whole(1, 16)] = 3
    top_up: Price = "1.0"
    sandboxes: Annotated[int, whole(1, 64)] = 2
    """Sandboxes that one standing lease for code has."""
    code_cap: Price = "0.2"
    """The most that such a lease may cost in an hour."""
    credits: Annotated[int, whole(0, 10**9, " runs")] = 200
    """Runs of code that a new user may do for nothing..."""
    run_price: Price = "0.001"
    """...and what a run costs him after that; "0" = nothing runs without credits."""
    low_balance: Price = "1.0"
    """A user who sets nothing else is told (`billing.low_balance`) when he has less to spend; "0" = never."""
    least_payout: Price = "1.0"
    """Less is not paid out to a user's wallet, for the node pays the gas; "0" = whatever he has."""
    build_price: Price = "1.0"
    """The most that a build may cost, when its order does not say it."""
    build_timeout: Annotated[int, whole(60, 86_400, " seconds")] = 1800
    build_cpu: Annotated[int, whole(100, 1_024_000, " thousandths of a core")] = 1000
    build_memory: Annotated[int, whole(64, 2**20, " MiB")] = 2048
    build_disk: Annotated[int, whole(64, 2**22, " MiB")] = 4096
    """What the image and the repository of such a build may have."""
    build_egress: Annotated[str, Meta(pattern="^(none|web)$", description='"none" or "web"')] = "web"
    """Where the steps of a build may connect to: the clone always reaches its repository, and nothing else."""
    pod_price: Price = "1.0"
    """The most that a pod of a built image may cost an hour."""
    pod_memory: Annotated[int, whole(16, 2**20, " MiB")] = 1024
    service_log: Annotated[int, whole(1, 1_048_576, " MiB")] = 64
    """The newest lines that are kept of a replica of a service, in MiB..."""
    service_log_days: Days = 14
    """...and how old they may become."""
    log_days: Days = 30
    """How long the output of what has ended is kept."""
    code_days: Days = 7
    """How long a run of code is known, with its output, after it was asked for."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a node can be told; `roles` are "provider" and "requester"."""

    data_dir: File
    roles: Roles
    name: Name = "node"
    region: Region = "local"
    api: ApiSettings = ApiSettings()
    network: NetworkSettings = NetworkSettings()
    chain: ChainSettings = ChainSettings()
    storage: StorageSettings = StorageSettings()
    provider: ProviderSettings = ProviderSettings()
    requester: RequesterSettings = RequesterSettings()
    gateway: GatewaySettings = GatewaySettings()
    files: FileSettings = FileSettings()

    @property
    def folder(self) -> Path:
        """The data directory."""
        return Path(self.data_dir).expanduser()


def load_config(path: Path) -> Config:
    """The settings in `path`; ConfigError names the file, the key and what is allowed there."""
    try:
        text = path.read_text()
        raw = tomllib.loads(text)
        config = msgspec.convert(raw, Config)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}{_advice(error)}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: this is no text in UTF-8", file=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_no_toml(path, str(error)), file=str(path)) from error
    except msgspec.ValidationError as error:
        raise ConfigError(complain(path, text, raw, str(error), Config), file=str(path)) from error
    return msgspec.structs.replace(config, data_dir=str((path.parent / config.folder).resolve()))


def checked(config: Config) -> Config:
    """The same settings, made by a program; ConfigError when a file with them would be refused."""
    raw = msgspec.to_builtins(config)
    try:
        return msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(complain(Path("settings"), "", raw, str(error), Config)) from error


def digest_of_settings(config: Config) -> str:
    """The same for the same settings: SHA-256 (hex); without the database's URL, which may have a password."""
    settings = msgspec.json.encode(msgspec.structs.replace(config, storage=StorageSettings()), order="deterministic")
    return hashlib.sha256(settings).hexdigest()


def write_config(config: Config, path: Path) -> None:
    """The settings as TOML, readable by their owner alone."""
    lines = _table(msgspec.to_builtins(config), "")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


def password_from(folder: Path) -> str:
    """The keystore's password: the file `password` in the data directory, else NEUGRID_PASSWORD."""
    file = folder / "password"
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: the keystore's password can not be read: {error}", file=str(file)) from error
    found = os.environ.get("NEUGRID_PASSWORD")
    if found is None:
        raise ConfigError(f"no keystore password: write it to {file} (mode 0600) or set NEUGRID_PASSWORD")
    return found


def database_password() -> str:
    """The password of the database; "" where its URL has it, or none is needed."""
    return os.environ.get("NEUGRID_DATABASE_PASSWORD", "")


def _advice(error: OSError) -> str:
    return "; `neugrid init` makes a node" if isinstance(error, FileNotFoundError) else ""


def _no_toml(path: Path, problem: str) -> str:
    """TOML's own complaint, with the line where editors look for it."""
    match = re.match(r"(.*) \(at line (\d+), column (\d+)\)$", problem)
    return f"{path}:{match[2]}:{match[3]}: no valid TOML: {match[1].lower()}" if match else f"{path}: {problem}"


def _table(table: Mapping[str, object], name: str) -> list[str]:
    """The lines of a table, those of its own tables behind them."""
    lines = [f"{key} = {_toml(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            inner = f"{name}.{key}" if name else key
            lines += ["", f"[{inner}]", *_table(value, inner)]
    return lines


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return msgspec.json.encode(value).decode()
