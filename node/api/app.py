"""The HTTP API of a node as one ASGI application."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Litestar, Router
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.handlers.base import BaseRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler

from node.api import (
    agents,
    asks,
    audit,
    billing,
    consoles,
    deployments,
    device_page,
    files,
    jobs,
    keys,
    logs,
    news,
    parts,
    pods,
    projects,
    providers,
    runner,
    series,
    sign_in,
    system,
    templates,
    users,
    wallet,
    webhooks,
)
from node.api.docs import openapi_config
from node.api.edge import JSON_LIMIT, Edge
from node.api.ended import EndedJobs
from node.api.errors import HANDLERS
from node.api.forwarding import Forwarding, NodeDoor
from node.api.limit_file import FILE, load_limits
from node.api.limits import Limiter, Rules
from node.api.log_queries import log_query_of
from node.api.metrics import Metrics
from node.api.replies import before_handling, idempotency_key, page_of
from node.api.services import Call, Services
from node.api.streams import Closing, Followers
from node.config_api import ApiSettings
from node.ports import Calls

COMPRESSED_FROM: Final = 1024
"""Bytes; less is not worth it."""
STREAMS: Final = ["/events$", "/results/", "/files$"]
"""What is sent as it comes, or is a file of its own kind."""
EXPOSED: Final = [
    "ETag",
    "Location",
    "Retry-After",
    "X-Request-Id",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "RateLimit",
    "RateLimit-Policy",
    "Idempotent-Replayed",
]
ROUTES: Final[list[ControllerRouterHandler]] = [
    jobs.submit_job,
    jobs.list_jobs,
    jobs.show_job,
    jobs.cancel_job,
    jobs.list_results,
    jobs.download_result,
    jobs.list_bids,
    jobs.explain_job,
    series.show_job_metrics,
    series.show_deployment_metrics,
    series.show_agent_metrics,
    series.show_pod_metrics,
    logs.read_logs,
    logs.follow_events,
    deployments.create_deployment,
    deployments.list_deployments,
    deployments.show_deployment,
    deployments.replace_deployment,
    deployments.update_deployment,
    deployments.delete_deployment,
    deployments.start_deployment,
    deployments.stop_deployment,
    deployments.restart_deployment,
    deployments.scale_deployment,
    deployments.read_deployment_logs,
    deployments.explain_deployment,
    agents.create_agent,
    agents.list_agents,
    agents.show_agent,
    agents.replace_agent,
    agents.update_agent,
    agents.delete_agent,
    agents.start_agent,
    agents.stop_agent,
    agents.restart_agent,
    agents.scale_agent,
    agents.read_agent_logs,
    pods.list_pods,
    pods.show_pod,
    pods.start_pod,
    pods.stop_pod,
    pods.delete_pod,
    pods.read_pod_logs,
    templates.list_templates,
    templates.show_template,
    files.store_file,
    files.list_files,
    files.delete_file,
    consoles.read_files,
    consoles.write_files,
    projects.list_projects,
    projects.create_project,
    projects.show_project,
    projects.delete_project,
    providers.list_providers,
    providers.show_provider,
    providers.list_offers,
    providers.list_nodes,
    providers.show_node,
    providers.show_book,
    providers.show_prices,
    providers.show_stats,
    asks.list_asks,
    asks.post_ask,
    asks.withdraw_ask,
    billing.show_usage,
    billing.list_invoices,
    billing.show_invoice,
    wallet.show_balance,
    wallet.show_earnings,
    wallet.withdraw,
    wallet.list_withdrawals,
    wallet.show_withdrawal,
    wallet.list_transactions,
    wallet.refund,
    sign_in.give_token,
    sign_in.sign_out,
    sign_in.give_nonce,
    sign_in.sign_in_with_wallet,
    sign_in.link_wallet,
    sign_in.start_device,
    sign_in.collect_device_token,
    sign_in.show_device,
    sign_in.decide_device,
    sign_in.show_me,
    users.list_users,
    users.create_user,
    users.show_user,
    users.replace_user,
    users.update_user,
    users.delete_user,
    users.give_credits,
    keys.list_keys,
    keys.create_key,
    keys.revoke_key,
    runner.list_languages,
    webhooks.list_webhooks,
    webhooks.create_webhook,
    webhooks.show_webhook,
    webhooks.replace_webhook,
    webhooks.update_webhook,
    webhooks.delete_webhook,
    webhooks.test_webhook,
    webhooks.rotate_webhook,
    webhooks.list_deliveries,
    webhooks.retry_delivery,
    audit.list_entries,
    news.follow_account,
    parts.list_services,
    parts.show_service_status,
    system.show_health,
    system.show_readiness,
    system.show_version,
]


SOCKETS: Final[list[ControllerRouterHandler]] = [consoles.execute, news.converse]
"""WebSockets, which OpenAPI has no words for."""
RUNNER_ROUTES: Final[list[ControllerRouterHandler]] = [runner.submit_code, runner.show_result]
"""Under /api/v1/runner, where the documented runner has them."""


AT_NODE: Final[list[BaseRouteHandler]] = [
    jobs.explain_job,
    deployments.create_deployment,
    deployments.replace_deployment,
    deployments.update_deployment,
    deployments.explain_deployment,
    agents.create_agent,
    agents.replace_agent,
    agents.update_agent,
    consoles.execute,
    consoles.read_files,
    consoles.write_files,
    providers.list_providers,
    providers.show_provider,
    providers.list_offers,
    providers.list_nodes,
    providers.show_node,
    providers.show_book,
    providers.show_prices,
    providers.show_stats,
    wallet.withdraw,
    wallet.refund,
    runner.submit_code,
    runner.list_languages,
]
"""What needs the node's own book, network or chain: an API process beside it hands these on..."""
RATHER_AT_NODE: Final[list[BaseRouteHandler]] = [
    wallet.show_balance,
    wallet.show_earnings,
    wallet.list_withdrawals,
    wallet.show_withdrawal,
    wallet.list_transactions,
    runner.show_result,
    news.converse,
    parts.list_services,
    parts.show_service_status,
    system.show_health,
    system.show_readiness,
]
"""...and these while the node is there: the node knows more of them than is stored."""


def create_app(
    services: Services,
    settings: ApiSettings,
    limits: Rules | None = None,
    *,
    calls: Calls | None = None,
    node: NodeDoor | None = None,
) -> Edge:
    """The API over the actions of a node; nothing is opened or started by it.

    Without `limits` those of the settings' file hold; ConfigError when it is none. `calls` are counted there, or in
    this process. With `node` this is a process beside it, which hands on what it can not do itself.
    """
    metrics = Metrics(lambda: {} if node else _gauges(services))
    state = {
        "services": services,
        "node": node,
        "is_needed": {handler.fn: handler in AT_NODE for handler in (*AT_NODE, *RATHER_AT_NODE)},
        "settings": settings,
        "metrics": metrics,
        "closing": Closing(),
        "followers": Followers(settings.streams_per_account),
        "ended": EndedJobs(),
        "limiter": Limiter(limits or load_limits(Path(settings.limits or FILE)), calls),
    }
    app = Litestar(
        route_handlers=[_routes(), _runner(), system.show_metrics, device_page.show_device_page],
        middleware=[Forwarding] if node else [],
        request_class=Call,
        before_request=before_handling,
        exception_handlers=HANDLERS,
        state=State(state),
        openapi_config=openapi_config(),
        compression_config=CompressionConfig(backend="gzip", minimum_size=COMPRESSED_FROM, exclude=STREAMS),
        cors_config=_cors(settings),
        logging_config=None,
        request_max_body_size=min(JSON_LIMIT, settings.body_limit),
    )
    _guard_directly(app)
    return Edge(app, metrics, settings.body_limit, settings.body_within)


def _guard_directly(app: Litestar) -> None:
    """The framework copies the whole handler for each guard of each request: a twentieth of a GET, and for nothing."""
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if handler.guards:
                handler.authorize_connection = partial(_authorize, handler)  # type: ignore[method-assign]


async def _authorize(handler: HTTPRouteHandler, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    for guard in handler.resolve_guards():
        await guard(connection, handler)  # type: ignore[misc]


def _cors(settings: ApiSettings) -> CORSConfig | None:
    """Pages of the settings' origins may call the API and read its headers; by default there are none."""
    if not settings.origins:
        return None
    return CORSConfig(allow_origins=list(settings.origins), allow_headers=["*"], expose_headers=EXPOSED)


def _routes() -> Router:
    dependencies = {
        "wanted": Provide(page_of, sync_to_thread=False),
        "lines": Provide(log_query_of, sync_to_thread=False),
        **_repeats(),
    }
    return Router("/v1", route_handlers=[*ROUTES, *SOCKETS], dependencies=dependencies)


def _runner() -> Router:
    return Router("/api/v1/runner", route_handlers=RUNNER_ROUTES, dependencies=_repeats())


def _repeats() -> dict[str, Provide]:
    return {"key": Provide(idempotency_key, sync_to_thread=False)}


def _gauges(services: Services) -> Mapping[str, Any]:
    stats: Mapping[str, Any] = msgspec.to_builtins(services.market.stats())
    return stats
