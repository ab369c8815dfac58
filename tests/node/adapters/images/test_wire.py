"""HTTPS to a registry: the connection goes to the address that was checked, and the certificate is that of the name."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from market.errors import ImageRefused
from node.adapters.images import wire
from node.adapters.images.limits import ImageLimits
from node.adapters.images.references import parse_reference
from node.adapters.images.registry import Registries
from node.adapters.images.wire import RegistryAway
from tests.node.adapters.images.doubles import Double, a_double, a_layer

pytestmark = pytest.mark.anyio
NAME = "registry.example.org"


def a_certificate(folder: Path, name: str) -> Path:
    """A key and its own certificate for `name`, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / f"{name}.pem"
    file.write_bytes(key.private_bytes(*forms) + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return a_certificate(tmp_path, NAME)


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """A registry that speaks TLS as NAME, which is on loopback in DNS."""

    async def on_loopback(host: str, port: int) -> tuple[str, ...]:
        return ("127.0.0.1",)

    monkeypatch.setattr(wire, "addresses_of", on_loopback)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with a_double(context) as double:
        double.image(a_layer())
        yield double


def registries(double: Double, certificate: Path, *listed: str) -> tuple[Registries, str]:
    """Registries that trust the certificate, and the registry's host and port."""
    port = double.host.partition(":")[2]
    found = Registries(ImageLimits(registries=tuple(f"{host}:{port}" for host in listed)), 2.0)
    found._tls = ssl.create_default_context(cafile=str(certificate))
    return found, port


async def test_a_name_is_asked_at_the_address_that_was_checked(secure: Double, certificate: Path) -> None:
    found, port = registries(secure, certificate, NAME)
    resolved = await found.resolve(parse_reference(f"{NAME}:{port}/a/b:1"), "amd64")
    assert resolved.pinned.startswith(f"{NAME}:{port}/a/b@sha256:")
    assert set(secure.hosts) == {f"{NAME}:{port}"}


async def test_a_certificate_of_another_name_is_none(secure: Double, certificate: Path) -> None:
    found, port = registries(secure, certificate, "other.example.org")
    with pytest.raises(RegistryAway, match="CERTIFICATE_VERIFY_FAILED"):
        await found.resolve(parse_reference(f"other.example.org:{port}/a/b:1"), "amd64")
    assert secure.asked == []


async def test_a_public_name_with_a_private_address_needs_to_be_listed_by_name(
    secure: Double, certificate: Path
) -> None:
    found, port = registries(secure, certificate, "*.example.org")
    with pytest.raises(ImageRefused, match="in a private network"):
        await found.resolve(parse_reference(f"{NAME}:{port}/a/b:1"), "amd64")
    assert secure.asked == []
