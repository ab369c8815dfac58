"""A registry of a test's own, on loopback: it says what the test wants, true or not, and notes what it was asked."""

import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OCI = "application/vnd.oci.image"
MANIFEST, INDEX, CONFIG = f"{OCI}.manifest.v1+json", f"{OCI}.index.v1+json", f"{OCI}.config.v1+json"
LAYER = f"{OCI}.layer.v1.tar"
Answer = Callable[[BaseHTTPRequestHandler], None]


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def a_layer(name: str = "hello", content: bytes = b"hello\n") -> bytes:
    """A tar with one file."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def a_config(*layers: bytes, **changes: Any) -> bytes:
    """The config of an image with these layers, for Linux on amd64."""
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}
    return json.dumps({"os": "linux", "architecture": "amd64", "config": {}, "rootfs": rootfs} | changes).encode()


def described(body: bytes, media_type: str, **changes: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(body), "size": len(body)} | changes


def a_manifest(config: bytes, /, *layers: bytes, **changes: Any) -> bytes:
    fields = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(config, CONFIG),
        "layers": [described(layer, LAYER) for layer in layers],
    }
    return json.dumps(fields | changes).encode()


def an_index(*manifests: tuple[bytes, str], **changes: Any) -> bytes:
    """An index of (manifest, "os/architecture")."""
    entries = []
    for body, platform in manifests:
        os, _, architecture = platform.partition("/")
        entries.append(described(body, MANIFEST, platform={"os": os, "architecture": architecture}))
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries} | changes).encode()


class Double:
    """The registry; `answers` maps a path to what is said there, `asked` are (path, Authorization)."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str]] = []
        self.hosts: list[str] = []

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def say(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = lambda handler: reply(handler, status, body, named)

    def manifest(self, body: bytes, name: str = "a/b", tag: str = "1", kind: str = MANIFEST, **headers: str) -> str:
        """Serve a manifest by tag and by digest; its digest."""
        for end in (tag, digest_of(body)):
            self.say(f"/v2/{name}/manifests/{end}", body, Content_Type=kind, **headers)
        return digest_of(body)

    def blob(self, body: bytes, name: str = "a/b") -> str:
        self.say(f"/v2/{name}/blobs/{digest_of(body)}", body)
        return digest_of(body)

    def image(self, *layers: bytes, name: str = "a/b", tag: str = "1", **config: Any) -> str:
        """Serve a whole image; the digest of its manifest."""
        body = a_config(*layers, **config)
        for blob in (body, *layers):
            self.blob(blob, name)
        return self.manifest(a_manifest(body, *layers), name, tag)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(body)


@contextmanager
def a_double(tls: ssl.SSLContext | None = None) -> Iterator[Double]:
    """A registry that is gone at the end, even if somebody still waits for its answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            double.hosts.append(self.headers.get("Host", ""))
            double.asked.append((self.path, self.headers.get("Authorization", "")))
            answer = double.answers.get(self.path.partition("?")[0])
            if self.path.rstrip("/") == "/v2" and answer is None:
                return reply(self, 200, b"{}", {})
            return answer(self) if answer else reply(self, 404, b"", {})

        do_HEAD = do_GET  # noqa: N815 (the server's name)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  (who hangs up is what is tested)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    double = Double(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
