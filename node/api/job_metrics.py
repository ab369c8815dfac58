"""The route of what a job used over time."""

from typing import Annotated

from litestar import Response, get
from litestar.params import FromPath, QueryParameter

from node.api.auth import SECURITY, signed_in
from node.api.errors import problems
from node.api.metric_views import MetricsView, metrics_view
from node.api.replies import reply
from node.api.services import Call

Period = Annotated[str, QueryParameter(max_length=8)]
MetricName = Annotated[str, QueryParameter(max_length=16)]


@get("/jobs/{job_id:str}/metrics", guards=[signed_in], tags=["Jobs"], security=SECURITY, responses=problems(404))
async def show_job_metrics(
    request: Call, job_id: FromPath[str], period: Period = "1h", metric: MetricName = ""
) -> Response[MetricsView]:
    """What the job used in the last `1h`, `24h` or `7d`; `metric` is cpu, memory, network or gpu, all without it."""
    leases = request.services.jobs.lease_ids(request.account, job_id)
    return reply(metrics_view(request.services.series.metrics(leases, period, metric), period))
