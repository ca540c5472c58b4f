"""A certificate for one job's gateway, from an authority that exists for this job alone."""

import ssl
import time
from collections.abc import Iterable
from pathlib import Path

import attrs
import trustme

from worker.gateway.messages import Certificate
from worker.job.truststore import KEY_STORE, key_store

SYSTEM = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@attrs.frozen
class MadeCertificate:
    """What the gateway shows, and what clients must trust to believe it."""

    certificate: Certificate
    authority: Path
    """The certificate authority of the job, behind those that this machine trusts anyway, as PEM.

    Beside it lies the same for Java, with the suffix ``.jks``.
    """


def make_certificate(folder: Path, names: Iterable[str]) -> MadeCertificate:
    """Make a certificate for *names*, hosts or addresses, in *folder*. This one blocks.

    Its key never leaves *folder*, and the key of the authority is never written at all.
    """
    folder.mkdir(mode=0o711)
    authority = trustme.CA(organization_name="worker", organization_unit_name="one job")
    issued = authority.issue_cert(*names)
    key, chain = folder / "gateway.key", folder / "gateway.pem"
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    trusted = folder / "trusted.pem"
    # The command may talk to the rest of the world too, so what it trusts gets longer, not shorter.
    trusted.write_bytes(_trusted_here() + authority.cert_pem.bytes())
    trusted.chmod(0o644)
    java = trusted.with_suffix(KEY_STORE)
    java.write_bytes(key_store(trusted.read_text("latin-1"), now=int(time.time() * 1000)))
    java.chmod(0o644)
    return MadeCertificate(Certificate(chain, key), trusted)


def _trusted_here() -> bytes:
    for name in (ssl.get_default_verify_paths().cafile, *SYSTEM):
        if name and Path(name).is_file():
            return Path(name).read_bytes() + b"\n"
    return b""
