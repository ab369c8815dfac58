"""The two casings of the API's JSON."""

from msgspec import Struct


class View(Struct, frozen=True, kw_only=True, rename="camel"):
    """camelCase in JSON."""


class SnakeView(Struct, frozen=True, kw_only=True):
    """snake_case in JSON, as agents, pods and projects are documented."""


class Fault(View, frozen=True, kw_only=True):
    """Why something did not succeed."""

    code: str
    message: str


class Deleted(View, frozen=True, kw_only=True):
    """What is gone."""

    id: str
    message: str
