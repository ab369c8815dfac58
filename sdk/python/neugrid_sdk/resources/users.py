"""Who uses the node: oneself, and for administrators everybody."""

from typing import Unpack

from neugrid_sdk.bodies import UserBody, UserChanges
from neugrid_sdk.effects import Program
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import delete, get, paid, patch, post, quoted
from neugrid_sdk.resource import D, Resource, listing, operation
from neugrid_sdk.views.users import Credits, Me, User
from neugrid_sdk.views.view import Deleted


class Users(Resource[D]):
    """Users; all but `me`, and what concerns oneself, is for administrators."""

    @operation
    def me(self) -> Program[Me]:
        """Who this client's token is, and what it may."""
        return self._ask(get("/v1/auth/me"), Me)

    @listing
    def list(self, *, limit: int = 100) -> Listing[User]:
        """All users, oldest first, `limit` a page."""
        return Listing(request=get("/v1/users", limit=limit), plural="users", shape=User)

    @operation
    def create(self, **user: Unpack[UserBody]) -> Program[User]:
        """A new user, who signs in with email and password."""
        return self._ask(post("/v1/users", user), User)

    @operation
    def get(self, id: str) -> Program[User]:
        """One user."""
        return self._ask(get(f"/v1/users/{quoted(id)}"), User)

    @operation
    def update(self, id: str, **changes: Unpack[UserChanges]) -> Program[User]:
        """Change what is named; role, tier and `is_blocked` are for administrators."""
        return self._ask(patch(f"/v1/users/{quoted(id)}", changes), User)

    @operation
    def give_credits(self, id: str, amount: int, *, idempotency_key: str = "") -> Program[Credits]:
        """So many more runs of code that the user does not pay for; given once, however often it is sent."""
        return self._ask(paid(f"/v1/users/{quoted(id)}/credits", {"amount": amount}, idempotency_key), Credits)

    @operation
    def delete(self, id: str) -> Program[Deleted]:
        """End the account: its keys and sessions go. Conflict while something of it runs."""
        return self._ask(delete(f"/v1/users/{quoted(id)}"), Deleted)
