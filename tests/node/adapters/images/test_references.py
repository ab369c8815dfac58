"""Image references: every spelling of a name is one name, and what could be read in two ways is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import ImageNotFound
from node.adapters.images.references import is_image_id, is_loopback, parse_reference

D = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("a/b__c.d-e---f", "docker.io/a/b__c.d-e---f:latest", "a/b__c.d-e---f:latest"),
        ("ghcr.io/a/b/c:T_1.x-y", "ghcr.io/a/b/c:T_1.x-y", "ghcr.io/a/b/c:T_1.x-y"),
        ("GHCR.io/a/b", "ghcr.io/a/b:latest", "ghcr.io/a/b:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        (f"busybox@{D}", f"docker.io/library/busybox@{D}", f"busybox@{D}"),
        (f"quay.io/a/b:tag@{D}", f"quay.io/a/b@{D}", f"quay.io/a/b@{D}"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("sha256", "docker.io/library/sha256:latest", "sha256:latest"),
    ],
)
def test_a_reference_is_written_in_full_and_as_people_write_it(text: str, full: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert parse_reference(full) == parse_reference(familiar) == reference


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "Not An Image", "Busybox", "a/B", "/a", "a/", "a//b", "a:", ":a", "a@", f"@{D}", "a@sha256:12",
        f"a@{D.upper()}", f"a@{D}@{D}", "a:b:c", "a:-x", "a:" + "x" * 129, "-a", "a-", "a..b", ".a/b", "a.-b/c",
        "ab" * 32, "host:0/a", "host:65536/a", "host:x/a", "host:123456/a", "http://host/a", "a\n", "a:b\n", "a b",
        "a\x00", "../a", "a/../b", "a/./b", "user:pass@host/a", "a?b", "ä", "a:ä", "x" * 256, "a" * 600, "[::1/a",
        "host.tld/", "docker.io/", "a\u0661",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_not_found(text: str) -> None:
    with pytest.raises(ImageNotFound, match="is not an image reference"):
        parse_reference(text)


@given(st.text(alphabet="abAB01./:@-_[] sha256", max_size=40))
def test_what_is_taken_reads_the_same_when_it_is_written_in_full(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ImageNotFound:
        return
    assert parse_reference(str(reference)) == reference == parse_reference(reference.familiar)


def test_an_id_is_told_from_a_name_by_its_whole_length() -> None:
    assert is_image_id(D)
    assert not any(map(is_image_id, (D[:-1], D + "0", D + "\n", D[7:], "sha256:latest", "")))


def test_only_this_machine_is_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:80")))
    assert not any(map(is_loopback, ("docker.io", "127.example.org", "10.0.0.1:5000", "localhost.example.org", "")))
