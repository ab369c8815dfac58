"""The demo: two real jobs through a market of three nodes, from order to withdrawn earnings, and every unit adds up."""

import asyncio
import base64
import secrets
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from cli.client import Client
from cli.cluster import Cluster
from cli.witness import Witness
from cli.workplace import workplace
from market.errors import NeugridError, Unavailable
from market.signing import Signer
from market.units import Address, format_amount, parse_address, parse_amount
from node.adapters.base_images import ensure_base_images

LICENSES: Final = Path("/usr/share/common-licenses")
RESULT: Final = Path("build/demo.json")
WITHIN: Final = 120.0
TIMEOUT: Final = 600
PRICES: Final = ("7.2", "9.0")
"""What the two providers ask for a core, in tokens per hour."""
SHOWN: Final = ("status", "phase", "provider", "pricePerSecond", "bids")


def run(console: Console | None = None) -> int:
    """Play the demo; 0 when every job ended well and every unit of money is accounted for."""
    out = console or Console()
    begun = time.monotonic()
    RESULT.unlink(missing_ok=True)  # a report of an earlier demo says nothing about this one
    with workplace("demo") as folder:
        cluster = Cluster(folder, prices=PRICES)
        try:
            asyncio.run(ensure_base_images())
            cluster.start(lambda line: out.print(f"[dim]{time.monotonic() - begun:5.1f} s[/] {line}"))
            return _play(cluster, out)
        except NeugridError as error:
            out.print(f"[red]{error.message}[/]")
            return 1
        finally:
            cluster.stop()


def _play(cluster: Cluster, out: Console) -> int:
    buyer = _client(cluster, "requester")
    asked = _wait_for_offers(buyer, len(cluster.providers))
    out.print(f"{len(asked)} offers in the book, from {min(asked)} to {max(asked)} tokens an hour for a core")
    hello = _follow(buyer, buyer.submit(_hello()), out)
    counted = _follow(buyer, buyer.submit(_word_count(asked)), out)
    words = int(buyer.download(counted["id"], "words"))
    out.print(f"the text has [bold]{words}[/] words, says the provider")
    jobs = [_paid(buyer, job["id"]) for job in (hello, counted)]
    money = _settle(cluster, buyer, out)
    transactions = [item for name in cluster.made for item in _client(cluster, name).transactions()]
    report = _report([_job_line(job) for job in jobs], money, transactions)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    owed = sum(parse_amount(job["cost"]) for job in jobs)
    return verdict(report, money, owed, words == len(_text().split()), out)


def _hello() -> dict[str, Any]:
    return {
        "image": "python:3.11-slim",
        "command": ["python", "-c", "print('Hello')"],
        "resources": {"cpu": 0.5, "memory": "128Mi"},
        "maxPrice": "1.0",
        "timeout": "10m",
    }


def _word_count(asked: list[float]) -> dict[str, Any]:
    """Priced under every standing offer, and above what the providers' floors allow: only a bid can take it."""
    cap = min(asked) * 0.5 * 0.92 * TIMEOUT / 3600
    return {
        "image": "busybox",
        "command": ["sh", "-c", "wc -w < /input/text > /output/words"],
        "resources": {"cpu": 0.5, "memory": "64Mi"},
        "maxPrice": f"{cap:.6f}",
        "timeout": TIMEOUT,
        "inputs": [{"path": "text", "content": base64.b64encode(_text()).decode()}],
        "outputs": ["words"],
        "bidWindow": 1000,
    }


def _text() -> bytes:
    return next(LICENSES.joinpath(name) for name in ("GPL-3", "GPL-2", "GPL")).read_bytes()


def _client(cluster: Cluster, name: str) -> Client:
    contact = cluster.contact(name)
    return Client(contact.url, contact.key)


def _wait_for_offers(buyer: Client, count: int) -> list[float]:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        providers = buyer.providers()
        if len(providers) >= count:
            return [float(provider["prices"]["cpu"]) for provider in providers]
        time.sleep(0.1)
    raise Unavailable("the providers' offers did not come")


def _follow(buyer: Client, job: dict[str, Any], out: Console) -> dict[str, Any]:
    """Print each change of a job until it ends."""
    shown: tuple[Any, ...] = ()
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        job = buyer.job(job["id"])
        now = tuple(job[field] for field in SHOWN)
        if now != shown:
            shown = now
            out.print(_line(job), highlight=False, soft_wrap=True)
        if job["finishedAt"]:
            _print_end(buyer, job, out)
            return job
        time.sleep(0.05)
    raise Unavailable(f"{job['id']} did not end in time")


def _line(job: dict[str, Any]) -> str:
    head = f"[cyan]{job['id']}[/] {job['phase']:<9} {job['progress']:3d} %"
    if job["provider"]:
        return f"{head}  {job['provider'][:13]}  {float(job['pricePerSecond']) * 3600:.4f} tokens an hour"
    bids = ", ".join(f"{bid['provider'][:13]} {float(bid['pricePerSecond']) * 3600:.4f}" for bid in job["bids"])
    return f"{head}  bids: {bids}" if bids else head


def _print_end(buyer: Client, job: dict[str, Any], out: Console) -> None:
    for record in buyer.logs(job["id"]):
        out.print(f"  [green]{record['message']}[/]")
    if job["status"] != "success":
        raise Unavailable(f"{job['id']} ended as {job['status']}: {job['error']}")


def _paid(buyer: Client, id: str) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        job = buyer.job(id)
        if job["timings"]["paid"] and job["paid"] == job["cost"]:
            return job
        time.sleep(0.05)
    raise Unavailable(f"{id} was not paid in time")


class Money(Struct, frozen=True, kw_only=True):
    """Where every base unit of the deposits went, as the chain says."""

    deposit: int
    paid: int
    fees: int
    withdrawn: int
    refund: int


def _settle(cluster: Cluster, buyer: Client, out: Console) -> Money:
    """Providers claim in a batch and withdraw to addresses made just now; the requester takes the rest back."""
    chain = Witness(cluster.rpc, cluster.folder / "network.toml")
    wallet = parse_address(buyer.balance()["address"])
    deposit = chain.deposited()
    fresh = [_withdraw(cluster, name, out) for name in cluster.providers]
    withdrawn = sum(chain.balance(address) for address in fresh if address)
    earnings = [_client(cluster, name).earnings() for name in cluster.providers]
    before = chain.balance(wallet)
    buyer.refund()
    return Money(
        deposit=deposit,
        paid=sum(parse_amount(item["withdrawn"]) for item in earnings),
        fees=chain.fees(),
        withdrawn=withdrawn,
        refund=chain.balance(wallet) - before,
    )


def _withdraw(cluster: Cluster, name: str, out: Console) -> Address | None:
    provider = _client(cluster, name)
    if parse_amount(provider.earnings()["total"]) == 0:
        out.print(f"{name} earned nothing this time")
        return None
    fresh = Signer(secrets.token_bytes(32)).address
    made = provider.withdraw(fresh)
    out.print(f"{name} claimed its vouchers and withdrew {made['amount']} to {fresh}")
    return fresh


def _report(jobs: list[dict[str, Any]], money: "Money", transactions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "jobs": jobs,
        "deposit": format_amount(money.deposit),
        "paid": format_amount(money.paid),
        "fees": format_amount(money.fees),
        "withdrawn": format_amount(money.withdrawn),
        "refund": format_amount(money.refund),
        "transactions": len(transactions),
        "gas": sum(int(item.get("gas") or 0) for item in transactions),
    }


def _job_line(job: dict[str, Any]) -> dict[str, Any]:
    fields = ("id", "provider", "exitCode", "outputDigest", "pricePerSecond", "seconds", "cost", "timings")
    return {field: job[field] for field in fields}


def verdict(report: dict[str, Any], money: Money, owed: int, is_right: bool, out: Console) -> int:
    """Print the table; 1 when deposit = paid + fee + refund does not hold to the last unit."""
    table = Table(title="where the money went, in tokens, read from the chain")
    table.add_column("")
    table.add_column("amount", justify="right")
    for name in ("deposit", "paid", "fees", "refund"):
        table.add_row(name, report[name])
    rest = money.deposit - money.paid - money.fees - money.refund
    table.add_row("deposit - paid - fees - refund", format_amount(rest))
    out.print(table)
    out.print(f"{len(report['jobs'])} jobs, {report['transactions']} transactions, {report['gas']} gas; {RESULT}")
    problems = {
        "money is missing": rest != 0,
        "withdrawn is not what was paid": money.withdrawn != money.paid,
        "the bill is not what was paid": owed != money.paid + money.fees,
        "the words were counted wrongly": not is_right,
    }
    for problem in (text for text, is_so in problems.items() if is_so):
        out.print(f"[red]{problem}[/]")
    return 1 if any(problems.values()) else 0
