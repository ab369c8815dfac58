"""Registries before a pull: what is admitted, what is refused, and by which limit, whatever the registry says."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from market.errors import ImageNotFound, ImageRefused, NeugridError, RateLimited
from node.adapters.images import registry
from node.adapters.images.limits import ImageLimits
from node.adapters.images.references import parse_reference
from node.adapters.images.registry import Registries, Resolved
from node.adapters.images.wire import RegistryAway
from tests.node.adapters.images.doubles import (
    INDEX,
    LAYER,
    MANIFEST,
    Double,
    a_config,
    a_double,
    a_layer,
    a_manifest,
    an_index,
    described,
    digest_of,
    reply,
)

pytestmark = pytest.mark.anyio
PATIENCE = 10.0


@pytest.fixture
def double() -> Iterator[Double]:
    with a_double() as double:
        yield double


async def look(double: Double, image: str = "a/b:1", patience: float = PATIENCE, **limits: Any) -> Resolved:
    given = ImageLimits(**({"registries": (double.host,)} | limits))
    return await Registries(given, patience).resolve(parse_reference(f"{double.host}/{image}"), "amd64")


async def refusal(double: Double, **given: Any) -> ImageRefused:
    with pytest.raises(ImageRefused) as refused:
        await look(double, **given)
    assert all(str(refused.value.details[key])[:120] in refused.value.message for key in ("expected", "got"))
    return refused.value


# --- what is admitted ----------------------------------------------------------------------------------------------


async def test_an_image_is_pinned_to_its_content_with_the_sizes_of_its_layers(double: Double) -> None:
    layers = (a_layer("one"), a_layer("two", b"2" * 5000))
    pinned = double.image(*layers)
    found = await look(double)
    assert found.pinned == f"{double.host}/a/b@{pinned}"
    assert found.config == digest_of(a_config(*layers))
    assert found.sizes == {digest_of(layer): len(layer) for layer in layers}


async def test_an_image_is_found_by_its_digest(double: Double) -> None:
    pinned = double.image(a_layer())
    assert (await look(double, f"a/b@{pinned}")).pinned == f"{double.host}/a/b@{pinned}"


async def test_of_an_index_the_manifest_for_this_machine_is_taken(double: Double) -> None:
    pinned = double.image(a_layer())
    mine, other = a_manifest(a_config(a_layer()), a_layer()), a_manifest(a_config(), annotations={"not": "mine"})
    double.manifest(an_index((other, "linux/arm64"), (other, "windows/amd64"), (mine, "linux/amd64")), kind=INDEX)
    assert (await look(double)).pinned == f"{double.host}/a/b@{pinned}"


async def test_a_token_for_nobody_is_fetched_where_one_is_asked_for(double: Double) -> None:
    double.image(a_layer())
    realm = double.url("/token")
    guarded = {path: answer for path, answer in double.answers.items() if path.startswith("/v2/")}
    for path, answer in guarded.items():
        double.answers[path] = _asks_for_token(answer, f'Bearer realm="{realm}",service="s",scope="x"')
    double.say("/token", json.dumps({"token": "t0ken"}).encode())
    await look(double)
    assert [path for path in double.paths() if "token" in path] == [
        "/token?scope=repository%3Aa%2Fb%3Apull&service=s",
    ]
    assert {authorization for path, authorization in double.asked if "token" in path} == {""}


def _asks_for_token(answer: Callable[[BaseHTTPRequestHandler], None], challenge: str) -> Any:
    def guarded(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Authorization") == "Bearer t0ken":
            return answer(handler)
        return reply(handler, 401, b"", {"WWW-Authenticate": challenge})

    return guarded


async def test_a_redirect_is_followed_and_the_token_stays_behind(double: Double) -> None:
    layer = a_layer()
    double.image(layer)
    config = a_config(layer)
    with a_double() as elsewhere:
        elsewhere.say("/blob", config)
        double.say(f"/v2/a/b/blobs/{digest_of(config)}", status=307, Location=elsewhere.url("/blob"))
        for path, answer in list(double.answers.items()):
            double.answers[path] = _asks_for_token(answer, f'Bearer realm="{double.url("/token")}"')
        double.say("/token", b'{"access_token": "t0ken"}')
        await look(double)
        assert elsewhere.asked == [("/blob", "")]


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("registries", "image"),
    [
        (("docker.io",), "ghcr.io/a/b"),
        (("*.example.org",), "example.org/a"),
        (("docker.io",), "127.0.0.1:5000/a"),
        (("*",), "localhost:5000/a"),
        (("*",), "127.0.0.1:5000/a"),
        (("*",), "[::1]:5000/a"),
        (("registry.example.org",), "registry.example.org:5000/a"),
        ((), "busybox"),
    ],
)
async def test_a_registry_that_is_not_listed_is_not_asked(registries: tuple[str, ...], image: str) -> None:
    with pytest.raises(ImageRefused) as refused:
        await Registries(ImageLimits(registries=registries), PATIENCE).resolve(parse_reference(image), "amd64")
    assert refused.value.details["limit"] == "registries"


async def test_a_pattern_admits_no_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for image in ("10.0.0.1:5000/a", "169.254.169.254/a", "192.168.1.1/a", "100.64.0.1/a"):
        with pytest.raises(ImageRefused, match="in a private network"):
            await Registries(ImageLimits(registries=("*",)), PATIENCE).resolve(parse_reference(image), "amd64")


async def test_too_large_an_image_is_refused_with_both_sizes(double: Double) -> None:
    double.image(a_layer("a", b"x" * 3000), a_layer("b", b"y" * 3000))
    refused = await refusal(double, max_size=20_000)
    assert refused.details["limit"] == "max_image_size"
    assert refused.details["expected"] == "at most 20000 bytes"


def hostile(double: Double, case: str) -> None:
    """Serve one kind of image that nobody should pull."""
    layer = a_layer()
    config = a_config(layer)
    double.blob(config)
    foreign = described(layer, f"{LAYER}".replace("layer.v1", "layer.nondistributable.v1"))
    manifests: dict[str, tuple[bytes, str]] = {
        "layers": (a_manifest(config, *[layer] * 128), MANIFEST),
        "foreign urls": (a_manifest(config, layers=[described(layer, LAYER, urls=["https://e.org/x"])]), MANIFEST),
        "foreign type": (a_manifest(config, layers=[foreign]), MANIFEST),
        "unknown layer": (a_manifest(config, layers=[described(layer, "application/x-rar")]), MANIFEST),
        "artifact": (a_manifest(config, layer, config=described(config, "application/vnd.cncf.helm")), MANIFEST),
        "schema 1": (a_manifest(config, layer), "application/vnd.docker.distribution.manifest.v1+json"),
        "web page": (b"<html>", "text/html"),
        "garbage": (bytes(range(256)), MANIFEST),
        "empty": (b"", MANIFEST),
        "deep": (b"[" * 100_000, MANIFEST),
        "deep field": (b'{"schemaVersion":2,"x":' + b"[" * 100_000, MANIFEST),
        "other type": (a_manifest(config, layer, mediaType=INDEX), MANIFEST),
        "both": (a_manifest(config, layer, manifests=[]), MANIFEST),
        "neither": (json.dumps({"schemaVersion": 2}).encode(), MANIFEST),
        "negative": (a_manifest(config, layers=[described(layer, LAYER, size=-1)]), MANIFEST),
        "no digest": (a_manifest(config, layers=[described(layer, LAYER, digest="sha256:x")]), MANIFEST),
        "float": (a_manifest(config, layers=[described(layer, LAYER, size=1e30)]), MANIFEST),
        "platform": (an_index((a_manifest(config, layer), "linux/s390x")), INDEX),
        "empty index": (an_index(), INDEX),
        "huge": (b" " * (4 * 2**20) + a_manifest(config, layer), MANIFEST),
    }
    if case in manifests:
        double.manifest(manifests[case][0], kind=manifests[case][1])
    elif case in REDIRECTS:
        double.say("/v2/a/b/manifests/1", status=302, Location=REDIRECTS[case])
    elif case in TOKENS:
        double.say("/v2/a/b/manifests/1", status=401, WWW_Authenticate=f'Bearer realm="{double.url("/token")}"')
        double.say("/token", TOKENS[case])
    else:
        contradict(double, case, layer, config)


def contradict(double: Double, case: str, layer: bytes, config: bytes) -> None:
    """Serve documents that do not fit together."""
    if case == "config platform":
        double.image(layer, architecture="riscv64")
    elif case == "config layers":
        double.image(layer, rootfs={"type": "layers", "diff_ids": []})
    elif case == "nested index":
        inner = an_index((a_manifest(config, layer), "linux/amd64"))
        double.manifest(inner, tag="inner", kind=INDEX)
        double.manifest(an_index((inner, "linux/amd64")), kind=INDEX)
    elif case == "wrong content":
        double.image(layer)
        double.say(f"/v2/a/b/blobs/{digest_of(config)}", a_config(layer, author="else"))
    elif case == "wrong header":
        double.manifest(a_manifest(config, layer), Docker_Content_Digest=digest_of(b"else"))


REDIRECTS = {
    "loop": "/v2/a/b/manifests/1",
    "to http": "http://example.org/x",
    "to a file": "file:///etc/passwd",
    "to credentials": "https://user:password@127.0.0.1/x",
    "to nowhere": "https://",
    "to rubbish": "http://[",
}
TOKENS = {"token garbage": b"\xff", "token empty": b"{}", "token header": b'{"token": "a\\r\\nX-Evil: b"}'}
CASES = {
    "layers": "layers",
    "foreign urls": "foreign_layers",
    "foreign type": "foreign_layers",
    "unknown layer": "media_type",
    "artifact": "media_type",
    "schema 1": "media_type",
    "web page": "media_type",
    "other type": "media_type",
    "platform": "platform",
    "empty index": "platform",
    "config platform": "platform",
    "wrong content": "digest",
    "wrong header": "digest",
    **dict.fromkeys(("garbage", "empty", "deep", "deep field", "both", "neither", "negative"), "manifest"),
    **dict.fromkeys(("no digest", "float", "huge", "config layers", "nested index", *TOKENS), "manifest"),
    **dict.fromkeys(REDIRECTS, "redirects"),
}


@pytest.mark.parametrize("case", CASES)
async def test_an_image_that_nobody_should_pull_is_refused_by_name(double: Double, case: str) -> None:
    hostile(double, case)
    assert (await refusal(double)).details["limit"] == CASES[case]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status": 404}, ImageNotFound),
        ({"status": 403}, ImageNotFound),
        ({"status": 401}, ImageNotFound),
        ({"status": 401, "WWW_Authenticate": 'Basic realm="x"'}, ImageNotFound),
        ({"status": 429}, RateLimited),
        ({"status": 500}, RegistryAway),
        ({"status": 418}, RegistryAway),
    ],
)
async def test_a_registry_that_gives_nothing_says_why(
    double: Double, answer: dict[str, Any], error: type[NeugridError]
) -> None:
    double.say("/v2/a/b/manifests/1", **answer)
    with pytest.raises(error) as raised:
        await look(double)
    assert type(raised.value) is error


async def test_a_token_that_does_not_help_is_asked_for_once(double: Double) -> None:
    double.say("/v2/a/b/manifests/1", status=401, WWW_Authenticate=f'Bearer realm="{double.url("/token")}"')
    double.say("/token", b'{"token": "x"}')
    with pytest.raises(ImageNotFound):
        await look(double)
    assert len(double.asked) == 3


async def test_a_registry_that_is_away_is_told_from_one_without_the_image() -> None:
    limits = ImageLimits(registries=("127.0.0.1:9", "nonesuch.invalid"))
    for host in limits.registries:
        with pytest.raises(RegistryAway, match="no registry answered"):
            await Registries(limits, PATIENCE).resolve(parse_reference(f"{host}/a"), "amd64")


async def test_a_registry_that_dribbles_is_given_up(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def dribble(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", MANIFEST)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not over.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    double.answers["/v2/a/b/manifests/1"] = dribble
    monkeypatch.setattr(registry, "WHOLE_LOOK", 1)
    try:
        with pytest.raises(RegistryAway, match="took too long"):
            await look(double, patience=0.3)
    finally:
        over.set()


async def test_a_registry_that_is_silent_is_given_up(double: Double) -> None:
    over = threading.Event()
    double.answers["/v2/a/b/manifests/1"] = lambda handler: over.wait(20) and None
    try:
        with pytest.raises(RegistryAway, match="no registry answered"):
            await look(double, patience=0.2)
    finally:
        over.set()


async def test_an_answer_that_is_packed_is_not_unpacked(double: Double) -> None:
    double.say("/v2/a/b/manifests/1", b"\x1f\x8b\x08", Content_Type=MANIFEST, Content_Encoding="gzip")
    assert (await refusal(double)).details["limit"] == "manifest"
