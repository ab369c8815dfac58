"""Which headers go on to the service, and which come back from it: what concerns one connection stays on it."""

import re
from typing import Final

from node.proxy.heads import Headers, RequestHead, connection_names

_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
_ABOUT_CLIENT: Final = (b"x-forwarded-", b"x-real-ip", b"forwarded")
"""What the gateway alone may say; servers that read `_` as `-` would take the other spelling for the same."""

_DOMAIN: Final = re.compile(rb";[\s]*domain[\s]*(=[^;]*)?(?=;|$)", re.IGNORECASE)
"""The attribute by which a cookie goes to other hosts too: all services are neighbours under one domain."""


def to_service(head: RequestHead, client: str, scheme: str) -> Headers:
    """The headers of the request as the service gets them."""
    kept = [(name, value) for name, value in _end_to_end(head.headers) if not _is_about_client(name)]
    own = [
        (b"x-forwarded-for", client.encode()),
        (b"x-forwarded-proto", scheme.encode()),
        (b"x-forwarded-host", head.authority.encode("latin-1")),
    ]
    if head.is_chunked:
        own.append((b"transfer-encoding", b"chunked"))
    if head.upgrade:
        own += [(b"connection", b"upgrade"), (b"upgrade", head.upgrade)]
    return kept + own


def to_client(headers: Headers) -> Headers:
    """The headers of the answer as the client gets them; how the body is framed is settled anew.

    Cookies stay with their own host: one service sets none for the others, or for the gateway itself.
    """
    return [(name, _own_cookie(value) if name == b"set-cookie" else value) for name, value in _end_to_end(headers)]


def to_client_upgraded(headers: Headers) -> Headers:
    """The headers of a 101."""
    chosen = [value for name, value in headers if name == b"upgrade"][:1]
    return [*to_client(headers), (b"connection", b"upgrade"), *((b"upgrade", value) for value in chosen)]


def _end_to_end(headers: Headers) -> Headers:
    dropped = _HOP | connection_names(headers)
    return [(name, value) for name, value in headers if name not in dropped]


def _own_cookie(value: bytes) -> bytes:
    return _DOMAIN.sub(b"", value)


def _is_about_client(name: bytes) -> bool:
    return name.replace(b"_", b"-").startswith(_ABOUT_CLIENT)
