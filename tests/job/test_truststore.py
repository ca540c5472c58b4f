"""Certificates as a Java key store."""

import hashlib
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.job.certificates import make_certificate
from worker.job.truststore import key_store


@pytest.fixture
def pem(tmp_path: Path) -> str:
    """Two certificates that a gateway has shown."""
    made = [make_certificate(tmp_path / name, ["localhost"]) for name in ("one", "two")]
    return "".join(each.certificate.certfile.read_text() for each in made)


def certificates(store: bytes) -> Iterator[bytes]:
    """Yield what lies in a key store, in the way of Java's own reader."""
    at = 12
    for _ in range(int.from_bytes(store[8:12], "big")):
        alias = int.from_bytes(store[at + 4 : at + 6], "big")
        at += 4 + 2 + alias + 8 + 2 + len("X.509")
        size = int.from_bytes(store[at : at + 4], "big")
        yield store[at + 4 : at + 4 + size]
        at += 4 + size


def test_holds_every_certificate(pem):
    """Each block of the PEM is an entry, in its order, and the seal fits."""
    blocks = re.findall(r"-----BEGIN.+?END CERTIFICATE-----", pem, re.DOTALL)
    store = key_store(pem, now=0)

    assert [ssl.PEM_cert_to_DER_cert(block) for block in blocks] == list(certificates(store))
    seal = hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + store[:-20])
    assert seal.digest() == store[-20:]


@pytest.mark.skipif(shutil.which("keytool") is None, reason="needs a Java")
def test_java_reads_it(tmp_path, pem):
    """Java's own tool lists the entries as certificates that are trusted."""
    path = tmp_path / "trusted.jks"
    path.write_bytes(key_store(pem, now=0))
    said = subprocess.run(
        ["keytool", "-list", "-keystore", path, "-storepass", "changeit"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert 2 == said.stdout.count("trustedCertEntry")
