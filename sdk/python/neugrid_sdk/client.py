"""The two clients of a node: one that blocks and one that is awaited, with the same resources."""

from typing import Any, Final

import httpx

from neugrid_sdk.drivers import AsyncDriver, SyncDriver
from neugrid_sdk.effects import Program
from neugrid_sdk.errors import InvalidParameters
from neugrid_sdk.requests import get
from neugrid_sdk.resource import D, Resource, operation
from neugrid_sdk.resources.account import Files, Keys, Projects, Wallet
from neugrid_sdk.resources.billing import Billing
from neugrid_sdk.resources.jobs import Jobs
from neugrid_sdk.resources.market import Market, Providers
from neugrid_sdk.resources.runner import Runner
from neugrid_sdk.resources.services import Agents, Deployments, Pods, Templates
from neugrid_sdk.resources.users import Users
from neugrid_sdk.resources.webhooks import Webhooks
from neugrid_sdk.retries import Retries
from neugrid_sdk.views.account import Health, Version

HERE: Final = "http://127.0.0.1:8080"
"""A node on this machine, as it listens by default."""
TIMEOUT: Final = 30.0
RETRIES: Final = Retries()


class Node(Resource[D]):
    """A node: its resources, and the node itself."""

    def __init__(self, driver: D, retries: Retries) -> None:
        super().__init__(driver, retries)
        self.jobs = Jobs(driver, retries)
        self.runner = Runner(driver, retries)
        self.deployments = Deployments(driver, retries)
        self.agents = Agents(driver, retries)
        self.pods = Pods(driver, retries)
        self.templates = Templates(driver, retries)
        self.projects = Projects(driver, retries)
        self.files = Files(driver, retries)
        self.providers = Providers(driver, retries)
        self.market = Market(driver, retries)
        self.wallet = Wallet(driver, retries)
        self.keys = Keys(driver, retries)
        self.users = Users(driver, retries)
        self.billing = Billing(driver, retries)
        self.webhooks = Webhooks(driver, retries)

    @operation
    def health(self) -> Program[Health]:
        """How the node is."""
        return self._ask(get("/v1/health"), Health)

    @operation
    def version(self) -> Program[Version]:
        """Which program answers."""
        return self._ask(get("/v1/version"), Version)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={str(self._driver.http.base_url)!r})"


class Client(Node[SyncDriver]):
    """A node, blocking: `Client(token).agents.list()`. Close it, or use it in a `with`; threads may share it.

    `timeout` are seconds for connecting, sending, and silence of the node. Raises errors of `neugrid_sdk.errors`.
    """

    def __init__(
        self,
        token: str,
        base_url: str = HERE,
        *,
        timeout: float = TIMEOUT,
        retries: Retries = RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        http = httpx.Client(**_settings(token, base_url, timeout), transport=transport)
        super().__init__(SyncDriver(http), retries)

    def close(self) -> None:
        """Close the connections."""
        self._driver.http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Node[AsyncDriver]):
    """A node, awaited: `await AsyncClient(token).jobs.get(id)`. Close it, or use it in an `async with`.

    `timeout` are seconds for connecting, sending, and silence of the node. Raises errors of `neugrid_sdk.errors`.
    """

    def __init__(
        self,
        token: str,
        base_url: str = HERE,
        *,
        timeout: float = TIMEOUT,
        retries: Retries = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        http = httpx.AsyncClient(**_settings(token, base_url, timeout), transport=transport)
        super().__init__(AsyncDriver(http), retries)

    async def close(self) -> None:
        """Close the connections."""
        await self._driver.http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _settings(token: str, base_url: str, timeout: float) -> dict[str, Any]:
    """Of both clients of httpx. Raises InvalidParameters for what can be no address or no token."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidParameters("the token must be a key of the node, without spaces", details={"field": "token"})
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "neugrid-sdk"}
    return {"base_url": _address(base_url), "headers": headers, "timeout": timeout}


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise InvalidParameters(
            f"base_url must be the address of a node, such as {HERE}", details={"field": "base_url"}
        )
    return url
