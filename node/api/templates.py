"""Routes of templates."""

from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath

from market.errors import NotFound
from node.api.auth import SECURITY, signed_in
from node.api.errors import problems
from node.api.replies import Page, cut, page_of_hundred, pagination_of, reply
from node.api.service_present import template_view
from node.api.service_views import TemplateList, TemplateView
from node.api.services import Call

TAGS: Final = ["Templates"]


@get(
    "/templates",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_templates(request: Call, wanted: NamedDependency[Page]) -> Response[TemplateList]:
    """What `templateId` of a deployment may name, by name."""
    found = sorted(request.services.templates.values(), key=lambda template: template.id)
    shown, following = cut(found, wanted, lambda template: (template.id,))
    pagination = pagination_of(wanted, len(found), len(shown), following)
    return reply(TemplateList(templates=tuple(map(template_view, shown)), pagination=pagination))


@get("/templates/{template_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_template(request: Call, template_id: FromPath[str]) -> Response[TemplateView]:
    """One template: image, command, ports, environment, probe, resources, volumes."""
    template = request.services.templates.get(template_id)
    if template is None:
        raise NotFound("no such template", id=template_id[:80])
    return reply(template_view(template))
