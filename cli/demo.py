"""The demo: two real jobs through a market of three nodes, from order to withdrawn earnings, and every unit adds up."""

import asyncio
import base64
import hashlib
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from cli.client import Client
from cli.cluster import Cluster
from market.errors import NeugridError, Unavailable
from market.signing import Signer
from market.units import format_amount, parse_amount
from node.adapters.base_images import ensure_base_images

LICENSES: Final = Path("/usr/share/common-licenses")
RESULT: Final = Path("build/demo.json")
WITHIN: Final = 120.0
TIMEOUT: Final = 600
SHOWN: Final = ("status", "phase", "progress", "provider", "pricePerSecond")


def run(console: Console | None = None) -> int:
    """Play the demo; 0 when every job ended well and every unit of money is accounted for."""
    out = console or Console()
    folder = Path(tempfile.mkdtemp(prefix="neugrid-demo-"))
    cluster = Cluster(folder)
    begun = time.monotonic()
    try:
        asyncio.run(ensure_base_images())
        cluster.start(lambda line: out.print(f"[dim]{time.monotonic() - begun:5.1f} s[/] {line}"))
        return _play(cluster, out)
    except NeugridError as error:
        out.print(f"[red]{error.message}[/]")
        return 1
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _play(cluster: Cluster, out: Console) -> int:
    buyer = _client(cluster, "requester")
    asked = _wait_for_offers(buyer, len(cluster.providers))
    out.print(f"{len(asked)} offers in the book, from {min(asked):.4f} to {max(asked):.4f} tokens an hour a core")
    hello = _follow(buyer, buyer.submit(_hello()), out)
    counted = _follow(buyer, buyer.submit(_word_count(asked)), out)
    words = buyer.download(counted["id"], "words").decode().strip()
    out.print(f"the text has [bold]{words}[/] words, says the provider")
    jobs = [_paid(buyer, job["id"]) for job in (hello, counted)]
    claimed = [_withdraw(cluster, name, out) for name in cluster.providers]
    refunds = buyer.refund()
    report = _report(cluster, buyer, jobs, [item for item in claimed if item], refunds)
    report["outputMatches"] = int(words) == len(_text().split())
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    return _settle(report, out)


def _hello() -> dict[str, Any]:
    return {
        "image": "python:3.11-slim",
        "command": ["python", "-c", "print('Hello')"],
        "resources": {"cpu": 0.5, "memory": "128Mi"},
        "maxPrice": "0.05",
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
            provider = f" at {job['provider'][:15]}..., {job['pricePerSecond']} a second" if job["provider"] else ""
            out.print(f"[cyan]{job['id']}[/] {job['phase']:<9} {job['progress']:3d} %{provider}")
        if job["finishedAt"]:
            _print_end(buyer, job, out)
            return job
        time.sleep(0.05)
    raise Unavailable(f"{job['id']} did not end in time")


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


def _withdraw(cluster: Cluster, name: str, out: Console) -> dict[str, Any] | None:
    """Claim a provider's vouchers in one batch and send the earnings to an address made just now."""
    provider = _client(cluster, name)
    earned = provider.earnings()
    if parse_amount(earned["total"]) == 0:
        out.print(f"{name} earned nothing this time")
        return None
    fresh = Signer(secrets.token_bytes(32)).address
    made: dict[str, Any] = provider.withdraw(fresh)
    out.print(f"{name} withdrew {made['amount']} to {fresh}")
    return made


def _report(
    cluster: Cluster, buyer: Client, jobs: list[dict[str, Any]], withdrawals: list[dict[str, Any]], refunds: Any
) -> dict[str, Any]:
    earnings = [_client(cluster, name).earnings() for name in cluster.providers]
    transactions = [
        item for name in ("requester", *cluster.providers) for item in _client(cluster, name).transactions()
    ]
    balance = buyer.balance()
    return {
        "jobs": [_job_line(buyer, job) for job in jobs],
        "deposit": format_amount(
            sum(_sum(item["amount"] for item in refunds) for _ in (0,)) + _spent(balance, refunds)
        ),
        "paid": format_amount(_sum(item["amount"] for item in withdrawals)),
        "fees": format_amount(_sum(item["fees"] for item in earnings)),
        "withdrawn": format_amount(_sum(item["amount"] for item in withdrawals)),
        "refund": format_amount(_sum(item["amount"] for item in refunds)),
        "transactions": len(transactions),
        "gas": sum(int(item.get("gas") or 0) for item in transactions),
    }


def _job_line(buyer: Client, job: dict[str, Any]) -> dict[str, Any]:
    files = buyer.results(job["id"])
    listing = "".join(sorted(f"{file['path']}:{file['digest']}" for file in files))
    return {
        "id": job["id"],
        "provider": job["provider"],
        "exitCode": job["exitCode"],
        "outputDigest": job.get("outputDigest") or hashlib.sha256(listing.encode()).hexdigest(),
        "pricePerSecond": job["pricePerSecond"],
        "seconds": job["seconds"],
        "cost": job["cost"],
        "timings": job["timings"],
    }


def _sum(amounts: Any) -> int:
    return sum(parse_amount(amount) for amount in amounts)


def _spent(balance: dict[str, Any], refunds: Any) -> int:
    return parse_amount(balance["deposited"])


def _settle(report: dict[str, Any], out: Console) -> int:
    """Print the table; 1 when deposit = paid + fee + refund does not hold to the last unit."""
    table = Table(title="where the money went (tokens)")
    for column in ("", "amount"):
        table.add_column(column, justify="right" if column else "left")
    for name in ("deposit", "paid", "fees", "refund"):
        table.add_row(name, report[name])
    parts = _sum(report[name] for name in ("paid", "fees", "refund"))
    adds_up = parse_amount(report["deposit"]) == parts and report["paid"] == report["withdrawn"]
    table.add_row("deposit - paid - fees - refund", format_amount(parse_amount(report["deposit"]) - parts))
    out.print(table)
    out.print(f"{report['transactions']} transactions, {report['gas']} gas, {len(report['jobs'])} jobs")
    if not (adds_up and report["outputMatches"]):
        out.print("[red]the books do not balance[/]")
        return 1
    return 0
