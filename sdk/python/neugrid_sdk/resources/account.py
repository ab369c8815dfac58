"""The wallet, the keys, uploads, and projects to build."""

from typing import Any, Unpack

from msgspec import Struct

from neugrid_sdk.bodies import Amount, ProjectBody
from neugrid_sdk.effects import Program
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import delete, get, paid, post, put, quoted
from neugrid_sdk.resource import D, Resource, listing, operation
from neugrid_sdk.views.account import Balance, Earnings, Key, NewKey, Refund, Withdrawal
from neugrid_sdk.views.jobs import HeldFile, StoredFile
from neugrid_sdk.views.services import Project
from neugrid_sdk.views.view import Deleted


class Refunds(Struct, frozen=True):
    """The documented envelope."""

    refunds: tuple[Refund, ...]


class Wallet(Resource[D]):
    """The node's money."""

    @operation
    def balance(self) -> Program[Balance]:
        """What the node's wallet holds, and what lies in channels."""
        return self._ask(get("/v1/wallet/balance"), Balance)

    @operation
    def earnings(self) -> Program[Earnings]:
        """What this provider earned, and how far it has come to hand."""
        return self._ask(get("/v1/wallet/earnings"), Earnings)

    @operation
    def withdraw(
        self, *, to: str | None = None, amount: Amount | None = None, idempotency_key: str = ""
    ) -> Program[Withdrawal]:
        """Claim and withdraw: all, to the node's own address, unless said otherwise; once, however often it is sent."""
        body = {name: value for name, value in (("to", to), ("amount", amount)) if value is not None}
        return self._ask(paid("/v1/wallet/withdraw", body, idempotency_key), Withdrawal)

    @listing
    def withdrawals(self, *, limit: int = 100) -> Listing[Withdrawal]:
        """What was withdrawn, newest first, `limit` a page."""
        return Listing(request=get("/v1/wallet/withdraw", limit=limit), plural="withdrawals", shape=Withdrawal)

    @operation
    def withdrawal(self, id: str) -> Program[Withdrawal]:
        """How a withdrawal stands."""
        return self._ask(get(f"/v1/wallet/withdraw/{quoted(id)}"), Withdrawal)

    @listing
    def transactions(self) -> Listing[dict[str, Any]]:
        """What the wallet sent to the chain."""
        return Listing(request=get("/v1/wallet/transactions"), plural="transactions", shape=dict[str, Any])

    @operation
    def refund(self, *, idempotency_key: str = "") -> Program[tuple[Refund, ...]]:
        """Take unused deposits back, once, however often it is sent; one entry a channel."""
        found = yield from self._ask(paid("/v1/wallet/refund", None, idempotency_key), Refunds)
        return found.refunds


class Keys(Resource[D]):
    """Who may call."""

    @listing
    def list(self) -> Listing[Key]:
        """Your keys, without their secrets."""
        return Listing(request=get("/v1/keys"), plural="keys", shape=Key)

    @operation
    def create(self, name: str, expires_in: str | None = None) -> Program[NewKey]:
        """A new key, which lives so long ("30d", "90d", "1y"; None = for ever); `key` is its secret, told once."""
        return self._ask(post("/v1/keys", {"name": name, "expiresIn": expires_in}), NewKey)

    @operation
    def revoke(self, id: str) -> Program[Deleted]:
        """Revoke a key; it is refused from now on."""
        return self._ask(delete(f"/v1/keys/{quoted(id)}"), Deleted)


class Files(Resource[D]):
    """Inputs by content."""

    @operation
    def upload(self, content: bytes) -> Program[StoredFile]:
        """Leave a file with the node; its `digest` names it in `inputs` of jobs."""
        return self._ask(put("/v1/files", content), StoredFile)

    @listing
    def list(self, *, limit: int = 100) -> Listing[HeldFile]:
        """What you have there, uploads and outputs, those used last first, `limit` a page."""
        return Listing(request=get("/v1/files", limit=limit), plural="files", shape=HeldFile)

    @operation
    def delete(self, digest: str) -> Program[Deleted]:
        """Let go of a file; Conflict while what has not ended works with it."""
        return self._ask(delete(f"/v1/files/{quoted(digest)}"), Deleted)


class Projects(Resource[D]):
    """Repositories that images are built of."""

    @operation
    def create(self, **project: Unpack[ProjectBody]) -> Program[Project]:
        """A project of a repository; `jobs.submit(project_id=...)` builds it."""
        return self._ask(post("/v1/projects", project), Project)

    @listing
    def list(self, *, limit: int = 100) -> Listing[Project]:
        """Your projects, newest first, `limit` a page."""
        return Listing(request=get("/v1/projects", limit=limit), plural="projects", shape=Project)

    @operation
    def get(self, id: str) -> Program[Project]:
        """One project."""
        return self._ask(get(f"/v1/projects/{quoted(id)}"), Project)

    @operation
    def delete(self, id: str) -> Program[Deleted]:
        """Forget a project; its jobs, and the pods that run its image, stay."""
        return self._ask(delete(f"/v1/projects/{quoted(id)}"), Deleted)
