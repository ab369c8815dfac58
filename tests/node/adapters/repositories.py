"""A git server on loopback with a certificate of its own authority, and repositories in it."""

import datetime
import http.server
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "git.example.org"
BACKEND = Path("/usr/lib/git-core/git-http-backend")


class Repositories:
    """The server: `authorities` signs its certificate, `listed` is how an operator lists it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.authorities = folder / "ca.pem"
        self.listed = f"{HOST}:{port}=127.0.0.1"
        self.asked: list[str] = []
        self._folder = folder
        self._port = port

    def url(self, name: str) -> str:
        return f"https://{HOST}:{self._port}/{name}"

    def add(self, name: str, files: Mapping[str, str | bytes], *extra: str) -> str:
        """A repository with one commit of these files, and of what the shell lines `extra` make; its URL."""
        work, bare = self._folder / f"{name}.work", self._folder / name
        work.mkdir()
        for path, content in files.items():
            target = work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        for command in ("git init -q -b main", *extra, "git add -A", "git commit -q -m first --allow-empty"):
            _run(command, work)
        _run(f"git clone -q --bare . {bare}", work)
        shutil.rmtree(work)
        return self.url(name)

    def commit(self, name: str, command: str) -> None:
        """One more commit, of what the shell line makes."""
        work = self._folder / f"{name}.work"
        _run(f"git clone -q {self._folder / name} {work}", self._folder)
        for each in (command, "git add -A", "git commit -q -m more", "git push -q"):
            _run(each, work)
        shutil.rmtree(work)


def _run(command: str, folder: Path) -> str:
    who = {f"GIT_{role}_{what}": "nobody@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@contextmanager
def a_git_server(folder: Path) -> Iterator[Repositories]:
    """A running one; skips where git's own server is not installed."""
    if not BACKEND.exists():
        pytest.skip("no git server: git-http-backend is not installed")
    folder.mkdir(parents=True)
    _certify(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found = Repositories(folder, server.server_address[1])
    _Handler.places[found._port] = found
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Git's smart HTTP, by git's own program (gitprotocol-http(5))."""

    places: ClassVar[dict[int, Repositories]] = {}

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            self._serve(b"".join(iter(self._chunk, b"")))
        else:
            self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def log_message(self, *_: object) -> None:
        pass

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        content = self.rfile.read(size)
        self.rfile.readline()
        return content

    def _serve(self, body: bytes) -> None:
        found = self.places[self.server.server_address[1]]  # type: ignore[index]
        found.asked.append(self.path)
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(found._folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        done = subprocess.run([BACKEND], input=body, env=env, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        self.send_response(HTTPStatus(status))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _certify(folder: Path) -> None:
    """An authority, and a certificate of it for HOST together with its key."""
    now = datetime.datetime.now(datetime.UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])

    def certificate(name: x509.Name, public: ec.EllipticCurvePublicKey, is_root: bool) -> x509.Certificate:
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        )
        if not is_root:
            built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        return built.sign(root_key, hashes.SHA256())

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    (folder / "ca.pem").write_bytes(_pem(certificate(root_name, root_key.public_key(), True)))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(_pem(certificate(name, key.public_key(), False)) + secret)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
