"""A certificate for one job's gateway, from an authority that exists for this job alone."""

import ipaddress
import shutil
import ssl
from collections.abc import Iterable
from pathlib import Path

import attrs
import trio

from worker.errors import Invalid
from worker.gateway.plan import Certificate

DAYS = "30"
SYSTEM = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


class NoCertificate(Invalid):
    """A certificate could not be made here."""


@attrs.frozen
class MadeCertificate:
    """What the gateway shows, and what clients must trust to believe it."""

    certificate: Certificate
    authority: Path
    """The certificate authority of the job, behind those that this machine trusts anyway."""


async def make_certificate(folder: Path, names: Iterable[str]) -> MadeCertificate:
    """Make a certificate for *names*, hosts or addresses, in *folder*; its key never leaves it."""
    if shutil.which("openssl") is None:
        raise NoCertificate(
            'gateway.tls = "self-signed" needs the program openssl; with tls = "certificate" '
            "you can bring your own"
        )
    folder.mkdir(mode=0o711)
    alternatives = ",".join(f"{_kind(name)}:{name}" for name in names)
    extensions = folder / "extensions"
    extensions.write_text(
        f"subjectAltName={alternatives}\nbasicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
    )
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    await _openssl(
        folder,
        *("req", "-x509", *key, "-keyout", "authority.key", "-out", "authority.pem"),
        *("-days", DAYS, "-subj", "/CN=worker job", "-addext", "keyUsage=critical,keyCertSign"),
    )
    await _openssl(
        folder,
        *("req", *key, "-keyout", "gateway.key", "-out", "gateway.csr", "-subj", "/CN=gateway"),
    )
    await _openssl(
        folder,
        *("x509", "-req", "-in", "gateway.csr", "-CA", "authority.pem", "-CAkey", "authority.key"),
        *("-CAcreateserial", "-days", DAYS, "-extfile", "extensions", "-out", "gateway.pem"),
    )
    (folder / "authority.key").unlink()
    trusted = folder / "trusted.pem"
    # The command may talk to the rest of the world too, so what it trusts gets longer, not shorter.
    trusted.write_bytes(_trusted_here() + (folder / "authority.pem").read_bytes())
    trusted.chmod(0o644)
    return MadeCertificate(Certificate(folder / "gateway.pem", folder / "gateway.key"), trusted)


def _kind(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "DNS"
    return "IP"


def _trusted_here() -> bytes:
    for name in (ssl.get_default_verify_paths().cafile, *SYSTEM):
        if name and Path(name).is_file():
            return Path(name).read_bytes() + b"\n"
    return b""


async def _openssl(folder: Path, *arguments: str) -> None:
    done = await trio.run_process(
        ["openssl", *arguments], cwd=folder, capture_stdout=True, capture_stderr=True, check=False
    )
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise NoCertificate(f"openssl {arguments[0]} failed: {''.join(last)}")
