"""The commands that run a node or look after one; each imports the server only when it is called."""

import sys
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from cli.remote import HOME, print_fields, print_json, print_table
from node.version import API_VERSION, VERSION

DataDir = Annotated[Path, Parameter(env_var="NEUGRID_DATA_DIR", help="Data directory of the node.")]
ConfigFile = Annotated[Path | None, Parameter(help="Settings; default is node.toml in the data directory.")]
Flag = Parameter(negative="")


def version(*, json: Annotated[bool, Flag] = False) -> None:
    """The version of this program."""
    found = {"version": VERSION, "api": API_VERSION, "python": sys.version.split()[0]}
    print_json(found) if json else print(f"neugrid {VERSION}")


def init(
    *,
    role: Literal["provider", "requester", "both"],
    data_dir: DataDir = HOME,
    port: Annotated[int, Parameter(help="Port of the API; 0 takes a free one.")] = 8080,
    rpc: Annotated[str, Parameter(help="The chain's RPC endpoint.")] = "http://127.0.0.1:8545",
    network: Annotated[Path | None, Parameter(help="Network file of the market; default is that of a devnet.")] = None,
    bootstrap: Annotated[tuple[str, ...], Flag, Parameter(help="Multiaddr of a peer to meet first.")] = (),
    json: Annotated[bool, Flag] = False,
) -> None:
    """Make a node: data directory, keys, settings."""
    from node.config import ChainSettings, Config, NetworkSettings
    from node.config_api import ApiSettings
    from node.setup import init as make

    config = Config(
        data_dir=str(data_dir.expanduser().absolute()),
        roles=("provider", "requester") if role == "both" else (role,),
        api=ApiSettings(port=port),
        network=NetworkSettings(bootstrap=bootstrap),
        chain=ChainSettings(rpc=rpc, deployment="network.toml"),
    )
    made = make(config, network)
    fields = [("config", str(made.config)), ("wallet", made.wallet), ("identity", made.identity), ("peer", made.peer)]
    print_json(dict(fields)) if json else print_fields(fields)


def up(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = HOME,
    json: Annotated[bool, Flag, Parameter(help="Print url, peer and wallet as JSON.")] = False,
) -> None:
    """Run a node until Ctrl-C."""
    from concurrent.futures import ThreadPoolExecutor

    from node.config import load_config
    from node.setup import unlock

    settings = load_config(settings_file(config, data_dir))  # what is wrong there is said at once
    with ThreadPoolExecutor(1) as beside:
        keys = beside.submit(unlock, settings.folder)  # as slow as the imports, and on another core

        import uvloop

        from node.app import Contact, run_node

    def ready(contact: Contact) -> None:
        fields = {"url": contact.url, "peer": contact.peer, "wallet": contact.wallet, "addresses": contact.addresses}
        print_json(fields) if json else print_fields([*list(fields.items())[:3], ("docs", f"{contact.url}/docs")])

    uvloop.run(run_node(settings, keys.result(), ready))


def api(
    *,
    port: Annotated[int, Parameter(help="Where to listen; several processes may have one port.")],
    host: Annotated[str, Parameter(help="The address to listen on.")] = "127.0.0.1",
    config: ConfigFile = None,
    data_dir: DataDir = HOME,
    json: Annotated[bool, Flag, Parameter(help="Print the url as JSON.")] = False,
) -> None:
    """Answer a node's API from one more process, on the same PostgreSQL.

    Start as many as are needed, on the machine of the node and with its
    settings. They go on while the node is away; what only the node can do
    is answered with 503 then.
    """
    from node.config import load_config

    settings = load_config(settings_file(config, data_dir))

    import uvloop

    from node.front import run_front

    def ready(url: str) -> None:
        print_json({"url": url}) if json else print_fields([("url", url), ("docs", f"{url}/docs")])

    uvloop.run(run_front(settings, host, port, ready))


def devnet(
    *,
    data: Annotated[Path, Parameter(help="Where the chain is kept.")] = HOME / "devnet",
    port: int = 8545,
    block_time: Annotated[float, Parameter(help="Seconds between blocks; 0 = a block a transaction.")] = 0,
    fund: Annotated[tuple[str, ...], Flag, Parameter(help="Address that gets tokens and gas; repeatable.")] = (),
    json: Annotated[bool, Flag, Parameter(help="Print url and network file as JSON.")] = False,
) -> None:
    """Run a development chain on loopback, with the market's contracts on it."""
    import asyncio

    from cli.devnet import Settings, run

    def ready(url: str, network: Path) -> None:
        print_json({"url": url, "network": str(network)}) if json else print(f"{url}\n{network}", flush=True)

    asyncio.run(run(Settings(data=data.expanduser(), port=port, block_time=block_time, fund=fund), ready))


def dev(
    *,
    port: Annotated[int, Parameter(help="Port of the API; 0 takes a free one.")] = 0,
    json: Annotated[bool, Flag, Parameter(help="Print url, key and rpc as JSON.")] = False,
) -> int:
    """A whole market on this machine that stays up: chain, requester, two providers."""
    from cli.dev import run

    return run(port, as_json=json)


def demo() -> int:
    """Two priced jobs through a market of three nodes, from order to withdrawn earnings."""
    from cli.demo import run

    return run()


def doctor(*, config: ConfigFile = None, data_dir: DataDir = HOME, json: Annotated[bool, Flag] = False) -> int:
    """Look at a node and the machine it is on, and say what is missing."""
    import asyncio

    from node.config import load_config
    from node.doctor import examine

    found = asyncio.run(examine(load_config(settings_file(config, data_dir))))
    if json:
        print_json([{"check": item.check, "status": item.status, "message": item.message} for item in found])
    else:
        print_table(("check", "status", "finding"), [(item.check, item.status, item.message) for item in found], "")
    return 1 if any(item.status == "failed" for item in found) else 0


def settings_file(config: Path | None, data_dir: Path) -> Path:
    """Where the settings are: what was named, or `node.toml` in the data directory."""
    return config or data_dir.expanduser() / "node.toml"


VERBS: Final = (version, init, up, api, devnet, dev, demo, doctor)
