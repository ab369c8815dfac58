"""`neugrid webhooks`: where you are told of what happens, and how that went."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from cli.remote import LOCAL, Remote, connected, print_json, print_object, print_table

app = App(name="webhooks", help="Addresses that are told of what happens to what is yours.")


@app.command(name="list")
def list_(*, remote: Remote = LOCAL) -> None:
    """Your webhooks; secrets are not shown again."""
    with connected(remote) as client:
        found = client.webhooks()
    if remote.json:
        print_json(found)
        return
    rows = [(hook["id"], hook["url"], _events(hook), hook["status"], hook["failures"]) for hook in found]
    print_table(("id", "url", "events", "status", "failures"), rows, "no webhooks")


@app.command
def add(
    url: str,
    /,
    *,
    event: Annotated[
        tuple[str, ...], Parameter(negative="", help="agent.created, job.*, ...; repeatable, default all.")
    ] = (),
    remote: Remote = LOCAL,
) -> None:
    """Be told of events at an https address; the secret that signs them is shown only now."""
    with connected(remote) as client:
        _print(client.add_webhook(url, event), remote)


@app.command
def show(id: str, /, *, remote: Remote = LOCAL) -> None:
    """One webhook."""
    with connected(remote) as client:
        _print(client.webhook(id), remote)


@app.command(name="test")
def send_test(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Send it the event webhook.test now; `deliveries` says how that went."""
    with connected(remote) as client:
        made = client.test_webhook(id)
    print_json(made) if remote.json else print(f"{made['id']} is on its way")


@app.command
def rotate(id: str, /, *, remote: Remote = LOCAL) -> None:
    """A new secret, shown only now; for a day the one before signs too."""
    with connected(remote) as client:
        made = client.rotate_webhook(id)
    print_json(made) if remote.json else print(made["secret"])


@app.command
def enable(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Tell it again, after it was disabled or failed too often."""
    _set(id, True, remote)


@app.command
def disable(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Tell it nothing until it is enabled."""
    _set(id, False, remote)


@app.command
def remove(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Be told there no more."""
    with connected(remote) as client:
        done = client.remove_webhook(id)
    print_json(done) if remote.json else print(f"{id} is removed")


@app.command
def deliveries(id: str, /, *, limit: int = 20, remote: Remote = LOCAL) -> None:
    """What it was told, newest first, and what it answered."""
    with connected(remote) as client:
        found = client.deliveries(id, limit)
    if remote.json:
        print_json(found)
        return
    rows = [(each["id"], each["event"], each["status"], each["attempts"], _last(each)) for each in found]
    print_table(("id", "event", "status", "attempts", "answer"), rows, "nothing was sent yet")


@app.command
def retry(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Try a delivery once more, from the beginning."""
    with connected(remote) as client:
        made = client.retry_delivery(id)
    print_json(made) if remote.json else print(f"{id} is on its way")


def _set(id: str, is_active: bool, remote: Remote) -> None:
    with connected(remote) as client:
        _print(client.change_webhook(id, isActive=is_active), remote)


def _print(hook: dict[str, Any], remote: Remote) -> None:
    print_object(hook if remote.json else {**hook, "events": _events(hook)}, remote.json)


def _events(hook: dict[str, Any]) -> str:
    return " ".join(hook["events"]) or "all"


def _last(delivery: dict[str, Any]) -> str:
    """The status of the last answer, or why there was none."""
    tries = delivery["tries"]
    return str(tries[-1]["status"] or tries[-1]["problem"]) if tries else ""
