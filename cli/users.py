"""`neugrid users`: who uses the node, for its administrators. A user is named by his id or his email."""

import secrets
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from cli.remote import LOCAL, Remote, connected, print_json, print_object, print_table
from market.errors import InvalidParameters, NotFound

if TYPE_CHECKING:
    from cli.client import Client

app = App(name="users", help="Users of the node, for its administrators.")
ALL = 1_000_000
RANDOM = 12
"""Bytes of a password that is made here."""
PasswordStdin = Annotated[
    bool, Parameter(negative="", help="Read the password from the input; else one is made and shown once.")
]


@app.command(name="list")
def list_(*, limit: int = 100, remote: Remote = LOCAL) -> None:
    """All users, oldest first."""
    with connected(remote) as client:
        found = client.users(limit)
    if remote.json:
        print_json(found)
        return
    names = ("id", "email", "name", "role", "tier", "status", "wallet")
    print_table(names, [[user[name] for name in names] for user in found], "no users")


@app.command
def show(user: str, /, *, remote: Remote = LOCAL) -> None:
    """One user."""
    with connected(remote) as client:
        print_object(client.user(_id(client, user)), remote.json)


@app.command
def create(
    email: str,
    /,
    *,
    name: str = "",
    role: Annotated[str, Parameter(help="developer or admin.")] = "developer",
    tier: Annotated[str, Parameter(help="free, pro or enterprise.")] = "free",
    password_stdin: PasswordStdin = False,
    remote: Remote = LOCAL,
) -> None:
    """A new user, who signs in with email and password."""
    password = _password(password_stdin)
    fields = {"role": role, "tier": tier, **({"name": name} if name else {})}
    with connected(remote) as client:
        made = client.create_user(email, password, **fields)
    print_object(made if password_stdin else {**made, "password": password}, remote.json)


@app.command
def role(user: str, role: str, /, *, remote: Remote = LOCAL) -> None:
    """What a user may: developer or admin."""
    _change(remote, user, role=role)


@app.command
def tier(user: str, tier: str, /, *, remote: Remote = LOCAL) -> None:
    """How often a user may call: free, pro or enterprise."""
    _change(remote, user, tier=tier)


@app.command
def email(user: str, email: str, /, *, remote: Remote = LOCAL) -> None:
    """The email that a user signs in with."""
    _change(remote, user, email=email)


@app.command
def password(user: str, /, *, password_stdin: PasswordStdin = False, remote: Remote = LOCAL) -> None:
    """A new password; the user's sessions end, his keys stay."""
    new = _password(password_stdin)
    with connected(remote) as client:
        changed = client.change_user(_id(client, user), password=new)
    print_object(changed if password_stdin else {**changed, "password": new}, remote.json)


@app.command
def disable(user: str, /, *, remote: Remote = LOCAL) -> None:
    """Let a user in no more: his keys and sessions are refused at once."""
    _change(remote, user, isBlocked=True)


@app.command
def enable(user: str, /, *, remote: Remote = LOCAL) -> None:
    """Let a user in again."""
    _change(remote, user, isBlocked=False)


@app.command
def credits(
    user: str,
    amount: int,
    /,
    *,
    idempotency_key: Annotated[str, Parameter(help="Repeat safely under this key.")] = "",
    remote: Remote = LOCAL,
) -> None:
    """Give a user credits: so many more runs of code are free for him."""
    with connected(remote) as client:
        print_object(client.give_credits(_id(client, user), amount, idempotency_key), remote.json)


@app.command
def delete(user: str, /, *, remote: Remote = LOCAL) -> None:
    """End an account for good; refused while something of it runs."""
    with connected(remote) as client:
        done = client.delete_user(_id(client, user))
    print_json(done) if remote.json else print(f"{user} is deleted")


def _change(remote: Remote, user: str, **changes: Any) -> None:
    with connected(remote) as client:
        print_object(client.change_user(_id(client, user), **changes), remote.json)


def _id(client: "Client", user: str) -> str:
    """The id of a user; NotFound for an email that nobody has."""
    if "@" not in user:
        return user
    for each in client.users(ALL):
        if (each["email"] or "").lower() == user.lower():
            return str(each["id"])
    raise NotFound(f"no user has the email {user}", email=user)


def _password(is_given: bool) -> str:
    """The first line of the input, or one that is made here."""
    if not is_given:
        return secrets.token_urlsafe(RANDOM)
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise InvalidParameters(
            "--password-stdin takes the password from the first line of the input", field="password"
        )
    return password
