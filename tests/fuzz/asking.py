"""Asks for one case over a socket, reads a bounded part of the answer, and holds it against the document."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from msgspec import Struct, field
from schemathesis import Case
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

PATIENCE = 20
"""Seconds until an answer must have begun."""
BUSY = 503
_VALUE = re.compile(r"^.* (?=is not )")
"""What was found in place of what is documented, which differs from case to case."""
_WHOLE = re.compile(r"^-?\d+(\.0+|(\.0+)?[eE]\+?\d+)$")
"""What JSON Schema takes for an integer, and so do we: `2.0` and `1e2`, too. The check knows digits alone."""
SHOWN = 3
"""Examples of one kind of finding."""


class Finding(Struct):
    """What went wrong in one way at one operation: how often, and how to see it again."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


class Tally:
    """What was asked and answered, and what was wrong with it."""

    def __init__(self) -> None:
        self.answers: dict[str, Counter[int]] = defaultdict(Counter)
        self.styles: Counter[str] = Counter()
        self.findings: dict[tuple[str, str], Finding] = defaultdict(Finding)

    def note(self, operation: str, what: str, example: str) -> None:
        finding = self.findings[operation, what]
        finding.count += 1
        if len(finding.examples) < SHOWN:
            finding.examples.append(example)

    @property
    def cases(self) -> int:
        return sum(counts.total() for counts in self.answers.values())


def ask(session: requests.Session, url: str, case: Case) -> Response:
    """The answer; of a stream of events what comes first, for it does not end by itself."""
    sent = case.as_transport_kwargs(base_url=url)
    with session.request(**sent, stream=True, timeout=PATIENCE, allow_redirects=False) as answer:
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        content = next(answer.iter_content(None), b"") if is_stream else answer.content
        return Response(
            status_code=answer.status_code,
            headers={name: answer.raw.headers.getlist(name) for name in answer.raw.headers},
            content=content,
            request=answer.request,
            elapsed=answer.elapsed.total_seconds(),
            verify=False,
            message=answer.reason or "",
            encoding=answer.encoding,
            stream_cut_short=is_stream,
        )


def faults(case: Case, response: Response, *, is_negative: bool) -> Iterable[str]:
    """What is wrong with the answer, by the document."""
    if response.status_code >= 500 and response.status_code != BUSY:
        yield f"server error {response.status_code}"
    checks: list[Any] = [
        status_code_conformance,
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
    ]
    if is_negative and not _says_an_integer(response):
        checks.append(negative_data_rejection)
    try:
        case.validate_response(response, checks=checks)
    except FailureGroup as group:
        for failure in group.exceptions:
            yield _sentence(failure)


def _says_an_integer(response: Response) -> bool:
    """Whether what was drawn as no integer was sent as one, as `[[2.0]]` is, which becomes `2.0`."""
    sent = [text for _, text in parse_qsl(urlsplit(response.request.url or "").query)]
    return any(map(_WHOLE.match, sent))


def _sentence(failure: Any) -> str:
    assert isinstance(failure, Failure)
    lines = [line for line in (failure.message or "").splitlines() if line.strip()]
    return f"{failure.title}: {_VALUE.sub('...', ' | '.join(lines[:3]))[:300]}"
