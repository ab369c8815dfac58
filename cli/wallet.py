"""`neugrid wallet`: balance, earnings, withdraw, withdrawals, refund, transactions."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli.remote import LOCAL, Remote, connected, print_json, print_object, print_table

app = App(name="wallet", help="The node's money.")


@app.command
def balance(*, remote: Remote = LOCAL) -> None:
    """What the wallet holds, and what lies in channels."""
    with connected(remote) as client:
        print_object(client.balance(), remote.json)


@app.command
def earnings(*, remote: Remote = LOCAL) -> None:
    """What this provider earned."""
    with connected(remote) as client:
        print_object(client.earnings(), remote.json)


@app.command
def withdraw(
    *,
    to: Annotated[str, Parameter(help="Chain address; default is the node's own.")] = "",
    amount: Annotated[str, Parameter(help="Tokens; default is everything.")] = "",
    idempotency_key: Annotated[str, Parameter(help="Repeat safely under this key.")] = "",
    remote: Remote = LOCAL,
) -> None:
    """Claim all vouchers in one batch and withdraw the earnings."""
    with connected(remote) as client:
        print_object(client.withdraw(to, amount, idempotency_key), remote.json)


@app.command
def withdrawals(*, limit: int = 100, remote: Remote = LOCAL) -> None:
    """What you withdrew, newest first, and how each withdrawal stands."""
    with connected(remote) as client:
        print_withdrawals(client.withdrawals(limit), "nothing was withdrawn yet", remote.json)


@app.command
def refund(*, remote: Remote = LOCAL) -> None:
    """Take unused deposits back."""
    with connected(remote) as client:
        found = client.refund()
    if remote.json:
        print_json(found)
        return
    rows = [(item["provider"], item["amount"], item["transaction"], item["problem"]) for item in found]
    print_table(("provider", "amount", "transaction", "problem"), rows, "no deposit is unused")


@app.command
def transactions(*, remote: Remote = LOCAL) -> None:
    """What the wallet sent to the chain."""
    with connected(remote) as client:
        found = client.transactions()
    if remote.json:
        print_json(found)
        return
    columns = list(dict.fromkeys(name for item in found for name in item))
    print_table(columns, [[item.get(name) for name in columns] for item in found], "nothing was sent yet")


def print_withdrawals(found: Sequence[Mapping[str, Any]], empty: str, as_json: bool) -> None:
    """One line for each, with what it became on the chain."""
    if as_json:
        print_json(found)
        return
    names = ("id", "status", "amount", "currency", "createdAt", "transaction")
    rows = [[each[name] for name in names] for each in found]
    print_table(("withdrawal", "status", "amount", "currency", "created", "transaction"), rows, empty)
