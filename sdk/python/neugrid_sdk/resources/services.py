"""Services that stay up, as deployments and as agents; their pods; templates."""

from typing import Unpack

from msgspec.structs import replace

from neugrid_sdk.bodies import AgentBody, AgentChanges, DeploymentBody, DeploymentChanges
from neugrid_sdk.effects import Program, Request
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import delete, get, paid, patch, post, quoted
from neugrid_sdk.resource import D, Resource, listing, operation
from neugrid_sdk.resources.output import Running
from neugrid_sdk.views.market import Explanation
from neugrid_sdk.views.services import Agent, Deployment, Pod, Template
from neugrid_sdk.views.view import Deleted, View


class WrappedDeployment(View, frozen=True, kw_only=True):
    """The documented envelope."""

    deployment: Deployment
    estimated_hourly_cost: float | None = None


class Deployments(Running[D]):
    """Services from a template or an image, with as many pods as you want."""

    PLACE = "/v1/deployments"

    @operation
    def create(self, *, idempotency_key: str = "", **deployment: Unpack[DeploymentBody]) -> Program[Deployment]:
        """Bring up a template or an image; it is created once, however often it is sent."""
        return self._one(paid(self.PLACE, deployment, idempotency_key))

    @listing
    def list(self, *, status: str = "", limit: int = 100) -> Listing[Deployment]:
        """Your deployments and agents, newest first, `limit` a page; `status` may name several."""
        return Listing(request=get(self.PLACE, status=status, limit=limit), plural="deployments", shape=Deployment)

    @operation
    def get(self, id: str) -> Program[Deployment]:
        """One deployment with its pods, its endpoints and what it has cost so far."""
        return self._one(get(self._path(id)))

    @operation
    def update(self, id: str, **changes: Unpack[DeploymentChanges]) -> Program[Deployment]:
        """Change what is named; pods are replaced one after the other when what they run changes."""
        return self._one(patch(self._path(id), changes))

    @operation
    def delete(self, id: str) -> Program[Deleted]:
        """End it for good; what its pods used until then is paid."""
        return self._ask(delete(self._path(id)), Deleted)

    @operation
    def start(self, id: str) -> Program[Deployment]:
        """Bring it up again, in its old places."""
        return self._one(post(self._path(id, "/start"), is_repeatable=True))

    @operation
    def stop(self, id: str) -> Program[Deployment]:
        """Take it down; everything that was set stays."""
        return self._one(post(self._path(id, "/stop"), is_repeatable=True))

    @operation
    def restart(self, id: str, *, idempotency_key: str = "") -> Program[Deployment]:
        """Replace every pod by a new one, one after the other; once, however often it is sent."""
        return self._one(paid(self._path(id, "/restart"), None, idempotency_key))

    @operation
    def scale(self, id: str, replicas: int) -> Program[Deployment]:
        """Keep so many pods up."""
        return self._one(post(self._path(id, "/scale"), {"replicas": replicas}, is_repeatable=True))

    @operation
    def explain(self, id: str) -> Program[Explanation]:
        """How the live offers stand to one more pod, and what would find providers."""
        return self._ask(get(self._path(id, "/explain")), Explanation)

    def _one(self, request: Request) -> Program[Deployment]:
        found = yield from self._ask(request, WrappedDeployment)
        return replace(found.deployment, estimated_hourly_cost=found.estimated_hourly_cost)


class Agents(Running[D]):
    """The same services as agents: programs or images under a runtime."""

    PLACE = "/v1/agents"

    @operation
    def create(self, *, idempotency_key: str = "", **agent: Unpack[AgentBody]) -> Program[Agent]:
        """Bring up an agent; it is created once, however often it is sent."""
        return self._ask(paid(self.PLACE, agent, idempotency_key), Agent)

    @listing
    def list(
        self, *, status: str = "", region: str = "", sort: str = "created_at:desc", limit: int = 100
    ) -> Listing[Agent]:
        """Your agents, `limit` a page; `sort` is `<field>:asc` or `<field>:desc`."""
        request = get(self.PLACE, status=status, region=region, sort=sort, limit=limit)
        return Listing(request=request, plural="agents", shape=Agent)

    @operation
    def get(self, id: str) -> Program[Agent]:
        """One agent."""
        return self._ask(get(self._path(id)), Agent)

    @operation
    def update(self, id: str, **changes: Unpack[AgentChanges]) -> Program[Agent]:
        """Change what is named; the rest stays."""
        return self._ask(patch(self._path(id), changes), Agent)

    @operation
    def delete(self, id: str) -> Program[Deleted]:
        """End it for good; what it used until then is paid."""
        return self._ask(delete(self._path(id)), Deleted)

    @operation
    def start(self, id: str) -> Program[Agent]:
        """Bring it up again."""
        return self._ask(post(self._path(id, "/start"), is_repeatable=True), Agent)

    @operation
    def stop(self, id: str) -> Program[Agent]:
        """Take it down; everything that was set stays."""
        return self._ask(post(self._path(id, "/stop"), is_repeatable=True), Agent)

    @operation
    def restart(self, id: str, *, idempotency_key: str = "") -> Program[Agent]:
        """Replace its pods by new ones, one after the other; once, however often it is sent."""
        return self._ask(paid(self._path(id, "/restart"), None, idempotency_key), Agent)

    @operation
    def scale(self, id: str, replicas: int) -> Program[Agent]:
        """Keep so many pods up."""
        return self._ask(post(self._path(id, "/scale"), {"replicas": replicas}, is_repeatable=True), Agent)


class Pods(Running[D]):
    """Single instances of services."""

    PLACE = "/v1/pods"

    @listing
    def list(self, *, status: str = "", limit: int = 100) -> Listing[Pod]:
        """All your pods, those that run and those that are stopped."""
        return Listing(request=get(self.PLACE, status=status, limit=limit), plural="pods", shape=Pod)

    @operation
    def get(self, id: str) -> Program[Pod]:
        """One pod."""
        return self._ask(get(self._path(id)), Pod)

    @operation
    def start(self, id: str) -> Program[Pod]:
        """Bring one pod up again; of a stopped service it starts alone."""
        return self._ask(post(self._path(id, "/start"), is_repeatable=True), Pod)

    @operation
    def stop(self, id: str) -> Program[Pod]:
        """Take one pod down; its place and its volumes stay."""
        return self._ask(post(self._path(id, "/stop"), is_repeatable=True), Pod)

    @operation
    def delete(self, id: str) -> Program[Deleted]:
        """Take one pod away for good: its service wants one less from now on."""
        return self._ask(delete(self._path(id)), Deleted)


class Templates(Resource[D]):
    """What a deployment can be made of."""

    @listing
    def list(self) -> Listing[Template]:
        """All templates of the node."""
        return Listing(request=get("/v1/templates"), plural="templates", shape=Template)

    @operation
    def get(self, id: str) -> Program[Template]:
        """One template."""
        return self._ask(get(f"/v1/templates/{quoted(id)}"), Template)
