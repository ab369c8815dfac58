"""Routes of use over time: of jobs, and of deployments, agents and pods, all in the documented shape."""

from collections.abc import Sequence
from typing import Annotated

from litestar import Response, get
from litestar.params import FromPath, QueryParameter

from node.api.agents import agent_of
from node.api.auth import SECURITY, signed_in
from node.api.envelopes import FlatProblem
from node.api.errors import problems
from node.api.metric_views import AGENTS, PLAIN, MetricsView, Units, metrics_view
from node.api.replies import reply
from node.api.services import Call

Period = Annotated[str, QueryParameter(max_length=8)]
MetricName = Annotated[str, QueryParameter(max_length=16)]


@get("/jobs/{job_id:str}/metrics", guards=[signed_in], tags=["Jobs"], security=SECURITY, responses=problems(404))
async def show_job_metrics(
    request: Call, job_id: FromPath[str], period: Period = "1h", metric: MetricName = ""
) -> Response[MetricsView]:
    """What the job used in the last `1h`, `24h` or `7d`; `metric` is cpu, memory, network or gpu, all without it."""
    return _shown(request, request.services.jobs.lease_ids(request.account, job_id), period, metric)


@get(
    "/deployments/{deployment_id:str}/metrics",
    guards=[signed_in],
    tags=["Deployments"],
    security=SECURITY,
    responses=problems(404),
)
async def show_deployment_metrics(
    request: Call, deployment_id: FromPath[str], period: Period = "1h", metric: MetricName = ""
) -> Response[MetricsView]:
    """What all pods used together in the last `1h`, `24h` or `7d`; `metric` is cpu, memory, network or gpu."""
    return _shown(request, request.services.hosting.lease_ids(request.account, deployment_id), period, metric)


@get("/agents/{agent_id:str}/metrics", guards=[signed_in], tags=["Agents"], security=SECURITY, responses=problems(404))
async def show_agent_metrics(
    request: Call, agent_id: FromPath[str], period: Period = "1h", metric: MetricName = ""
) -> Response[MetricsView]:
    """What all pods used together in the last `1h`, `24h` or `7d`; `metric` is cpu, memory, network or gpu.

    Here alone the CPU is in percent of a core, and the memory in MiB.
    """
    agent = agent_of(request, agent_id)
    return _shown(request, request.services.hosting.lease_ids(request.account, agent.id), period, metric, AGENTS)


@get(
    "/pods/{pod_id:str}/metrics",
    guards=[signed_in],
    tags=["Pods"],
    security=SECURITY,
    responses=problems(404, shape=FlatProblem),
)
async def show_pod_metrics(
    request: Call, pod_id: FromPath[str], period: Period = "1h", metric: MetricName = ""
) -> Response[MetricsView]:
    """What the pod has used since its present start, in the last `1h`, `24h` or `7d`."""
    _, pod = request.services.hosting.pod(request.account, pod_id)
    return _shown(request, (pod.lease,) if pod.lease else (), period, metric)


def _shown(
    request: Call, leases: Sequence[str], period: str, metric: str, units: Units = PLAIN
) -> Response[MetricsView]:
    return reply(metrics_view(request.services.series.metrics(leases, period, metric), period, units))
