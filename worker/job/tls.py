"""TLS of a job's gateway: a certificate, and trust stores for its clients."""

import re
import ssl
import warnings
from collections.abc import Iterable
from pathlib import Path

import attrs
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PKCS12Certificate,
    serialize_java_truststore,
)

from worker.gateway.messages import Certificate

JAVA_TRUST_STORE = ".p12"
"""The suffix of the trust store for Java, beside the one in PEM."""
SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
"""Matches a certificate; the Base64 in it has no hyphen, so a start without an end costs little."""


@attrs.frozen
class IssuedCertificate:
    """A certificate of the gateway, and the trust store that clients need to verify it."""

    certificate: Certificate
    trust_store: Path
    """The certificate authority of the job, and those that this machine trusts, as PEM.

    The same certificates are beside it as a trust store for Java.
    """


def issue_certificate(folder: Path, names: Iterable[str]) -> IssuedCertificate:
    """Issue a certificate for *names*, hosts or addresses, in *folder*. This one blocks.

    The authority exists for this job alone: its key is never written.
    """
    folder.mkdir(mode=0o711)
    authority = trustme.CA(organization_name="worker", organization_unit_name="one job")
    issued = authority.issue_cert(*names)
    key, chain = folder / "gateway.key", folder / "gateway.pem"
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    # The command may connect to other hosts as well, so the system's authorities are included.
    trusted = _system_bundle() + authority.cert_pem.bytes()
    pem = folder / "trusted.pem"
    pem.write_bytes(trusted)
    pem.chmod(0o644)
    java = pem.with_suffix(JAVA_TRUST_STORE)
    java.write_bytes(java_trust_store(trusted))
    java.chmod(0o644)
    return IssuedCertificate(Certificate(chain, key), pem)


def java_trust_store(pem: bytes) -> bytes:
    """Return the certificates of *pem* as a PKCS #12 trust store without a password.

    Java cannot read PEM. Certificates that cannot be parsed are left out.
    """
    certificates: list[PKCS12Certificate] = []
    for block in _PEM.findall(pem):
        # Authorities of the system that violate RFC 5280 are warned about, or not parsed at all.
        try:
            with warnings.catch_warnings(action="ignore"):
                certificate = x509.load_pem_x509_certificate(block)
        except ValueError:
            continue
        alias = b"trusted-%d" % len(certificates)
        certificates.append(PKCS12Certificate(certificate, alias))
    return serialize_java_truststore(certificates, NoEncryption())


def _system_bundle() -> bytes:
    for name in (ssl.get_default_verify_paths().cafile, *SYSTEM_BUNDLES):
        if name and Path(name).is_file():
            return Path(name).read_bytes() + b"\n"
    return b""
