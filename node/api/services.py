"""What the routes call: the actions of this node, and the request that carries them."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.response import Stream

from market.errors import InvalidParameters
from node.actions.access import Caller
from node.actions.answers import Answers
from node.actions.asks import Asks
from node.actions.billing import Billing
from node.actions.binaries import Binaries
from node.actions.build_steps import BuildSteps
from node.actions.consoles import Consoles
from node.actions.happenings import News
from node.actions.health import Health
from node.actions.holdings import Holdings
from node.actions.jobs import Jobs
from node.actions.market import Market
from node.actions.people import People
from node.actions.projects import Projects
from node.actions.runner import Runner
from node.actions.series import Series
from node.actions.service_logs import Output
from node.actions.services import Hosting
from node.actions.treasury import Treasury
from node.actions.wallets import Wallets
from node.actions.webhooks import Webhooks
from node.api.bodies import FORM, as_sent, is_form, read_body, read_form
from node.api.envelopes import is_snake
from node.api.errors import NAMING
from node.api.streams import LEAVE, Closing, Followers, Frame, Watched, event_stream
from node.api.template_file import Template
from node.ports import Clock
from node.records import Account


def no_gateway(service: str, port: int) -> str:
    """A node without a gateway reaches no service by address."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Services:
    """The actions, the clock, and the symbol of the token that prices are in.

    `endpoint_url` gives the address under which this node's gateway serves a service, by its id and port; 0 is its
    first port that speaks HTTP. "" = none.
    """

    jobs: Jobs
    hosting: Hosting
    output: Output
    projects: Projects
    steps: BuildSteps
    binaries: Binaries
    runner: Runner
    series: Series
    consoles: Consoles
    files: Holdings
    market: Market
    asks: Asks
    wallets: Wallets
    treasury: Treasury
    billing: Billing
    news: News
    webhooks: Webhooks
    health: Health
    people: People
    answers: Answers
    clock: Clock
    templates: Mapping[str, Template]
    endpoint_url: Callable[[str, int], str] = no_gateway
    currency: str = "TUSD"


class Call(Request[Account, Caller, State]):
    """A request: who asks (after a guard let it in), and the actions. Bodies are decoded once, into their struct."""

    @property
    def services(self) -> Services:
        """The actions of this node."""
        services: Services = self.app.state.services
        return services

    @property
    def closing(self) -> Closing:
        """Set when the server stops: open streams end then."""
        closing: Closing = self.app.state.closing
        return closing

    def follow(self, frames: AsyncIterator[Frame]) -> Stream:
        """The frames as server-sent events; RateLimited when the account follows as much as it may."""
        followers: Followers = self.app.state.followers
        self.scope[LEAVE] = followers.enter(self.account)  # type: ignore[typeddict-unknown-key]
        return event_stream(frames, self.closing, self.watched)

    @property
    def watched(self) -> Watched:
        """Over a stream: says when whoever asked for it may no longer."""
        return partial(self.services.people.watch.over, self.caller)

    @property
    def account(self) -> Account:
        """Who asks; only on routes with the guard `signed_in`."""
        account: Account = self.scope["user"]
        return account

    @property
    def caller(self) -> Caller:
        """Who asks, and what the credential that came allows; only on routes with a guard that demands one."""
        caller: Caller = self.scope["auth"]
        return caller

    @property
    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.services.clock.now()

    async def body(self) -> bytes:
        """The body; where one is read and none came, the one without any field."""
        return await super().body() or (b"{}" if self.route_handler.parsed_data_field else b"")

    async def json(self) -> Any:
        """The body as the struct that the handler declares; refusals name the field."""
        body = await self.body()
        field = self.route_handler.parsed_data_field
        if field is None:
            raise InvalidParameters("this route takes no body", field="body")
        media_type, kind = self.headers.get("content-type", ""), field.annotation
        self.scope[NAMING] = partial(as_sent, body, kind, is_snake(self.scope["path"]))  # type: ignore[typeddict-unknown-key]
        is_read_as_form = is_form(media_type) and FORM in self.route_handler.opt
        return read_form(body, kind) if is_read_as_form else read_body(body, media_type, kind)
