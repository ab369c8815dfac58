"""`neugrid market` and `neugrid providers`: who offers what, at which price."""

from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from cli.remote import LOCAL, Remote, connected, print_fields, print_json, print_table
from market.units import parse_size

app = App(name="market", help="Prices and size of the market.")
providers = App(name="providers", help="Providers with a live offer.")

PRICED: Final = ("cpu", "memory", "disk", "gpu")
_AMOUNTS: Final = ("total", "free")


@providers.default
def list_providers(
    id: Annotated[str, Parameter(help="One provider instead of all.")] = "",
    /,
    *,
    gpu: Annotated[bool | None, Parameter(help="Only with, or only without, GPUs.")] = None,
    min_reputation: int = 0,
    region: str = "",
    remote: Remote = LOCAL,
) -> None:
    """Providers with a live offer, or all offers of one."""
    with connected(remote) as client:
        found = [client.provider(id)] if id else client.providers(gpu=gpu, minReputation=min_reputation, region=region)
    if remote.json:
        print_json(found[0] if id else found)
        return
    print_table(
        ("provider", "reputation", "region", "cpu", "memory", "gpu", "cpu/h", "memory/h", "gpu/h", "risks"),
        [_row(provider) for provider in found],
        "no provider offers anything now",
    )


@app.command
def prices(*, remote: Remote = LOCAL) -> None:
    """What is asked, per hour in tokens."""
    with connected(remote) as client:
        found = client.prices()
    if remote.json:
        print_json(found)
        return
    named = [("cpu (core)", found["cpu"]), ("memory (GiB)", found["memory"]), *found["gpu"].items()]
    rows = [(name, *(_price(asked[kind]) for kind in ("min", "avg", "max"))) for name, asked in named]
    print_table((f"{found['currency']} an hour", "min", "avg", "max"), rows, "nobody offers anything now")


@app.command
def stats(*, remote: Remote = LOCAL) -> None:
    """How much market there is."""
    with connected(remote) as client:
        found = client.stats()
    if remote.json:
        print_json(found)
        return
    print_fields([(name, _amount(value) if name in _AMOUNTS else _flat(value)) for name, value in found.items()])


@app.command
def asks(*, remote: Remote = LOCAL) -> None:
    """The price that was set by hand for this node's machine, if there is one."""
    with connected(remote) as client:
        found = client.asks()
    if remote.json:
        print_json(found)
        return
    rows = [(ask["id"], *_asked(ask["prices"]), ask["expiresAt"] or "withdrawn") for ask in found]
    print_table(("id", *PRICED, "until"), rows, "the machine is offered at the prices of its policy")


@app.command
def ask(
    *,
    cpu: Annotated[str, Parameter(help="A core for an hour.")],
    memory: Annotated[str, Parameter(help="A GiB of memory for an hour.")],
    disk: Annotated[str, Parameter(help="A GiB of disk for an hour.")] = "0",
    gpu: Annotated[str, Parameter(help="A GPU for an hour.")] = "0",
    expires_in: Annotated[str | None, Parameter(help="For how long: 30m, 8h; without end when not given.")] = None,
    remote: Remote = LOCAL,
) -> None:
    """Offer this node's machine at these prices, in tokens, whatever its load."""
    with connected(remote) as client:
        posted = client.post_ask({"cpu": cpu, "memory": memory, "disk": disk, "gpu": gpu}, expires_in)
    print_json(posted) if remote.json else print(posted["id"])


@app.command
def withdraw_ask(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Take an ask back: the prices of the policy hold again."""
    with connected(remote) as client:
        done = client.withdraw_ask(id)
    print_json(done) if remote.json else print("the ask is withdrawn")


def _asked(prices: dict[str, Any]) -> list[str | None]:
    return [_price(prices[name]) for name in PRICED]


def _row(provider: dict[str, Any]) -> tuple[Any, ...]:
    free, asked, gpu = provider["free"], provider["prices"], provider["free"]["gpu"]
    gpus = f"{gpu['count']} x {gpu['model']}" if gpu["count"] else None
    price = asked["gpu"] if gpus else None
    return (
        provider["id"],
        provider["reputation"],
        provider["region"],
        free["cpu"],
        _gib(parse_size(free["memory"])),
        gpus,
        _price(asked["cpu"]),
        _price(asked["memory"]),
        _price(price),
        ", ".join(provider.get("risks", ())) or None,
    )


def _price(value: float | None) -> str | None:
    """Up to nine digits: rates are whole numbers a second, and an hour shows their rounding."""
    return None if value is None else f"{value:.9f}".rstrip("0").rstrip(".")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}Gi"


def _amount(found: dict[str, Any]) -> str:
    """Resources of the whole market: cores, sizes, GPUs by model."""
    shown = [f"{found['cpu'] / 1000:g} cores", f"{_gib(found['memory'])} memory", f"{_gib(found['disk'])} disk"]
    return ", ".join([*shown, *(f"{count} {model}" for model, count in found.get("gpus", {}).items())])


def _flat(value: Any) -> str:
    return ", ".join(f"{name} {_flat(item)}" for name, item in value.items()) if isinstance(value, dict) else str(value)
