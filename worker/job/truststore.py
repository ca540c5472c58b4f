"""Certificates as a Java key store, since no Java reads PEM for what it trusts."""

import hashlib
import re
import ssl
import struct
from collections.abc import Iterator

KEY_STORE = ".jks"
"""The suffix of a key store of this kind."""
KEY_STORE = ".jks"
"""The suffix of a key store that lies beside a file of certificates."""

MAGIC, VERSION = 0xFEEDFEED, 2
TRUSTED_CERTIFICATE = 2
PASSWORD = "changeit"
"""What everybody's has: these are public certificates, and there is no secret to keep."""
_WHITENER = b"Mighty Aphrodite"
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def key_store(pem: str, *, now: int) -> bytes:
    """Return the certificates of *pem* as a key store of the kind JKS, made at *now* (ms).

    Java opens it without being told a password.
    """
    entries = list(_entries(pem, now))
    data = struct.pack(">III", MAGIC, VERSION, len(entries)) + b"".join(entries)
    digest = hashlib.sha1(PASSWORD.encode("utf-16-be") + _WHITENER + data, usedforsecurity=False)
    return data + digest.digest()


def _entries(pem: str, now: int) -> Iterator[bytes]:
    for number, block in enumerate(_BLOCK.findall(pem)):
        certificate = ssl.PEM_cert_to_DER_cert(block)
        yield b"".join(
            (
                struct.pack(">I", TRUSTED_CERTIFICATE),
                _text(f"trusted-{number}"),
                struct.pack(">Q", now),
                _text("X.509"),
                struct.pack(">I", len(certificate)),
                certificate,
            )
        )


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode("ascii")
