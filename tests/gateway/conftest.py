"""Fixtures: gateways in the process of the test, and a certificate."""

import datetime
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gateways import Running, a_plan, serving

from worker.gateway.messages import Certificate, KeyPair


@pytest.fixture
async def gateway(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Running]:
    """A gateway without authentication, with the input ``labresults`` and an empty ``out``."""
    running = await serving(a_plan(tmp_path), nursery)
    yield running
    running.index.close()


@pytest.fixture
async def locked(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Running]:
    """The same with authentication, by the key pair ``AKIAJOB`` and ``secret``."""
    running = await serving(a_plan(tmp_path, keys=KeyPair("AKIAJOB", "secret")), nursery)
    yield running
    running.index.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """A certificate for 127.0.0.1 signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    found = Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    found.certfile.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    found.keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return found
