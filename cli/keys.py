"""`neugrid keys`: list, create, revoke."""

from typing import Annotated

from cyclopts import App, Parameter

from cli.remote import LOCAL, Remote, connected, print_json, print_table

app = App(name="keys", help="API keys of your account.")


@app.command(name="list")
def list_(*, remote: Remote = LOCAL) -> None:
    """Your keys; secrets are not shown again."""
    with connected(remote) as client:
        found = client.keys()
    if remote.json:
        print_json(found)
        return
    rows = [(key["id"], key["name"], key["createdAt"], key["expiresAt"] or "never") for key in found]
    print_table(("id", "name", "created", "expires"), rows, "no keys")


@app.command
def create(
    name: str,
    /,
    *,
    expires_in: Annotated[str | None, Parameter(help="30d, 90d, 1y; default never.")] = None,
    remote: Remote = LOCAL,
) -> None:
    """A new key, shown only now."""
    with connected(remote) as client:
        made = client.create_key(name, expires_in)
    print_json(made) if remote.json else print(made["key"])


@app.command
def revoke(id: str, /, *, remote: Remote = LOCAL) -> None:
    """Revoke a key at once."""
    with connected(remote) as client:
        done = client.revoke_key(id)
    print_json(done) if remote.json else print(f"{id} is revoked")
