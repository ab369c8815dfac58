"""Code: run in a fresh sandbox of some provider."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from neugrid_sdk.effects import Program
from neugrid_sdk.paging import Listing
from neugrid_sdk.requests import get, paid, quoted
from neugrid_sdk.resource import D, Resource, listing, operation
from neugrid_sdk.views.jobs import Language, Run, SubmittedRun
from neugrid_sdk.waiting import ended

PLACE = "/api/v1/runner"
T = TypeVar("T")


class Wrapped(Struct, Generic[T], frozen=True):
    """The documented envelope."""

    data: T


class Runner(Resource[D]):
    """Submit code, and read what came of it."""

    @operation
    def run(
        self,
        code: str,
        language: str,
        input: str = "",
        *,
        inputs: Sequence[str] = (),
        timeout: float | None = None,
        idempotency_key: str = "",
    ) -> Program[Run]:
        """Run code with `input`, or once for each of `inputs` instead; what came of it. Raises TimedOut."""
        submitted = yield from self._submitted(_body(code, language, input, inputs), idempotency_key)
        return (yield from ended(lambda wait: self._result(submitted.job_id, wait), timeout))

    @operation
    def submit(
        self, code: str, language: str, input: str = "", *, inputs: Sequence[str] = (), idempotency_key: str = ""
    ) -> Program[SubmittedRun]:
        """Run code, and do not wait for it."""
        return self._submitted(_body(code, language, input, inputs), idempotency_key)

    @operation
    def result(self, id: str) -> Program[Run]:
        """A run as it stands."""
        return self._result(id, 0)

    @listing
    def languages(self) -> Listing[Language]:
        """The languages that code can be run in now."""
        return Listing(request=get("/v1/languages"), plural="languages", shape=Language)

    def _submitted(self, body: dict[str, Any], key: str) -> Program[SubmittedRun]:
        """Not repeated once it may have arrived: a node that does not know the key would run it twice."""
        found = yield from self._ask(paid(f"{PLACE}/submit", body, key, is_repeatable=False), Wrapped[SubmittedRun])
        return found.data

    def _result(self, id: str, wait: float) -> Program[Run]:
        found = yield from self._ask(get(f"{PLACE}/{quoted(id)}/result", wait=wait), Wrapped[Run])
        return found.data


def _body(code: str, language: str, input: str, inputs: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {"inputs": inputs} if inputs else {"input": input}
    return {"code": code, "language": language, **given}
