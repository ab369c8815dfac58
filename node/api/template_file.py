"""Templates: images with the settings that make them services, as data in one file."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from market.errors import ConfigError, NeugridError
from market.workloads import Workload
from node.api.bodies import read_body
from node.api.service_bodies import Asked, ImageText, ServiceFields, Variables, blank_workload, over
from node.api.submissions import ResourcesBody

FILE: Final = Path(__file__).parents[2] / "configs" / "templates.toml"


class Template(Struct, frozen=True, kw_only=True):
    """A workload under a name that orders may use."""

    id: str
    description: str
    workload: Workload


class TemplateEntry(ServiceFields, frozen=True, kw_only=True):
    """A template as the file has it: like an order, with a description."""

    description: Annotated[str, Meta(min_length=1, max_length=256)]
    image: ImageText
    env: Variables | None = None
    resources: ResourcesBody


def load_templates(path: Path = FILE) -> Mapping[str, Template]:
    """The templates in the file, by id; ConfigError names the file, the template and what is wrong."""
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", file=str(path)) from error
    return {id: _template(path, id, table) for id, table in tables.items()}


def _template(path: Path, id: str, table: object) -> Template:
    try:
        entry = read_body(msgspec.json.encode(table), "", TemplateEntry)
        asked = Asked(fields=entry, env=entry.env, resources=entry.resources)
        workload = over(blank_workload(entry.image, "image"), asked)
    except NeugridError as error:
        raise ConfigError(f"{path}: template {id}: {error.message}", file=str(path), template=id) from error
    return Template(id=id, description=entry.description, workload=workload)
