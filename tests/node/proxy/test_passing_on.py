"""What of an answer does not reach the client as the service said it."""

import pytest

from node.proxy.passing_on import to_client, to_client_upgraded


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"a=1; Domain=localhost; Path=/", b"a=1; Path=/"),
        (b"a=1;domain=.example.org", b"a=1"),
        (b"a=1; Secure; DOMAIN = example.org ;HttpOnly; domain=x; domain", b"a=1; Secure;HttpOnly"),
        (b"domain=1; Path=/", b"domain=1; Path=/"),
        (b"a=1; Path=/; Domains=x", b"a=1; Path=/; Domains=x"),
    ],
)
def test_a_service_sets_cookies_for_no_host_but_its_own(said: bytes, kept: bytes) -> None:
    headers = [(b"set-cookie", said), (b"x-domain", b"a; domain=b")]
    assert to_client(headers) == [(b"set-cookie", kept), headers[1]]
    assert (b"set-cookie", kept) in to_client_upgraded(headers)
