"""What a client of a node does around its user: sign-in, money, keys, webhooks; and users, for administrators."""

import secrets
from typing import Any
from urllib.parse import quote

from cli.wire import Json, Wire


class AccountClient:
    """The routes around accounts. Raises the errors of `market.errors` by the code that the node answers."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    # --- sign-in ----------------------------------------------------------------------------------------------------

    def start_login(self, name: str, scopes: tuple[str, ...] = ()) -> Json:
        """Ask to be let in (RFC 8628): `user_code` is for the user, `device_code` for `collect_key`."""
        return self._wire.json("POST", "/v1/auth/device", json={"client_name": name, "scope": " ".join(scopes)})

    def collect_key(self, device_code: str) -> str:
        """The key of who was let in, told once; until then an error whose code is RFC 8628's."""
        found = self._wire.once("POST", "/v1/auth/device/token", json={"device_code": device_code})
        return str(found["access_token"])

    def sign_out(self) -> Json:
        """End the credential that this client has."""
        return self._wire.once("POST", "/v1/auth/logout")

    def me(self) -> Json:
        """Who the node takes this client for."""
        return self._wire.json("GET", "/v1/auth/me")

    # --- wallet -----------------------------------------------------------------------------------------------------

    def balance(self) -> Json:
        """What the node's wallet holds."""
        return self._wire.json("GET", "/v1/wallet/balance")

    def earnings(self) -> Json:
        """What the node earned."""
        return self._wire.json("GET", "/v1/wallet/earnings")

    def withdraw(self, to: str = "", amount: str = "", idempotency_key: str = "") -> Json:
        """Claim and withdraw earnings; sent again under one key until an answer comes, and paid once."""
        body = {name: value for name, value in (("to", to), ("amount", amount)) if value}
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        return self._wire.json("POST", "/v1/wallet/withdraw", json=body, headers=headers)

    def withdrawals(self, limit: int = 100) -> list[Json]:
        """What was withdrawn, newest first, over as many pages as it takes."""
        return list(self._wire.pages("/v1/wallet/withdraw", "withdrawals", limit, {}))

    def withdrawal(self, id: str) -> Json:
        """How a withdrawal stands."""
        return self._wire.json("GET", f"/v1/wallet/withdraw/{quoted(id)}")

    def transactions(self, limit: int = 10_000) -> list[Json]:
        """What moved the balance, or what the node's wallet sent to the chain, newest first."""
        return list(self._wire.pages("/v1/wallet/transactions", "transactions", limit, {}))

    def refund(self) -> list[Json]:
        """Take unused deposits back; one entry a channel."""
        found: list[Json] = self._wire.json("POST", "/v1/wallet/refund")["refunds"]
        return found

    # --- keys -------------------------------------------------------------------------------------------------------

    def keys(self) -> list[Json]:
        """The account's keys, without their secrets."""
        found: list[Json] = self._wire.json("GET", "/v1/keys")["keys"]
        return found

    def create_key(self, name: str, expires_in: str | None = None) -> Json:
        """A new key; `key` in the answer is its secret, shown once."""
        return self._wire.once("POST", "/v1/keys", json={"name": name, "expiresIn": expires_in})

    def revoke_key(self, id: str) -> Json:
        """Revoke a key."""
        return self._wire.once("DELETE", f"/v1/keys/{quoted(id)}")

    # --- users ------------------------------------------------------------------------------------------------------

    def users(self, limit: int = 100) -> list[Json]:
        """The users of the node, oldest first, over as many pages as it takes."""
        return list(self._wire.pages("/v1/users", "users", limit, {}))

    def user(self, id: str) -> Json:
        """One user."""
        return self._wire.json("GET", f"/v1/users/{quoted(id)}")

    def create_user(self, email: str, password: str, **fields: Any) -> Json:
        """A user who signs in with email and password; fields are `name`, `role` and `tier`."""
        return self._wire.once("POST", "/v1/users", json={"email": email, "password": password, **fields})

    def change_user(self, id: str, **changes: Any) -> Json:
        """Change what is named; the rest stays."""
        return self._wire.json("PATCH", f"/v1/users/{quoted(id)}", json=changes)

    def delete_user(self, id: str) -> Json:
        """End an account for good."""
        return self._wire.once("DELETE", f"/v1/users/{quoted(id)}")

    def give_credits(self, id: str, amount: int, idempotency_key: str = "") -> Json:
        """Give a user credits; sent again under one key until an answer comes, and given once."""
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        return self._wire.json("POST", f"/v1/users/{quoted(id)}/credits", json={"amount": amount}, headers=headers)

    # --- billing ----------------------------------------------------------------------------------------------------

    def usage(self, period: str) -> Json:
        """What was used in a month: `current`, `last_month`, or one such as 2026-11."""
        return self._wire.json("GET", "/v1/billing/usage", params={"period": period})

    def invoices(self, limit: int = 100) -> list[Json]:
        """Months that are over, newest first."""
        return list(self._wire.pages("/v1/billing/invoices", "invoices", limit, {}))

    def invoice(self, id: str) -> Json:
        """One of them."""
        return self._wire.json("GET", f"/v1/billing/invoices/{quoted(id)}")

    # --- webhooks ---------------------------------------------------------------------------------------------------

    def webhooks(self) -> list[Json]:
        """The account's webhooks, without their secrets."""
        found: list[Json] = self._wire.json("GET", "/v1/webhooks")["webhooks"]
        return found

    def webhook(self, id: str) -> Json:
        """One of them."""
        return self._wire.json("GET", f"/v1/webhooks/{quoted(id)}")

    def add_webhook(self, url: str, events: tuple[str, ...]) -> Json:
        """Be told at this address; `secret` in the answer is shown once."""
        return self._wire.once("POST", "/v1/webhooks", json={"url": url, "events": events})

    def change_webhook(self, id: str, **changes: Any) -> Json:
        """Change what is named; the rest stays."""
        return self._wire.json("PATCH", f"/v1/webhooks/{quoted(id)}", json=changes)

    def remove_webhook(self, id: str) -> Json:
        """Be told there no more."""
        return self._wire.once("DELETE", f"/v1/webhooks/{quoted(id)}")

    def test_webhook(self, id: str) -> Json:
        """Have `webhook.test` delivered."""
        return self._wire.once("POST", f"/v1/webhooks/{quoted(id)}/test")

    def rotate_webhook(self, id: str) -> Json:
        """A new secret, shown once."""
        return self._wire.once("POST", f"/v1/webhooks/{quoted(id)}/rotate")

    def deliveries(self, id: str, limit: int = 20) -> list[Json]:
        """What it was told, newest first."""
        return list(self._wire.pages(f"/v1/webhooks/{quoted(id)}/deliveries", "deliveries", limit, {}))

    def retry_delivery(self, id: str) -> Json:
        """Try a delivery once more."""
        return self._wire.once("POST", f"/v1/webhooks/deliveries/{quoted(id)}/retry")


def quoted(id: str) -> str:
    """The id as one segment of a path."""
    return quote(id, safe="")
