"""Trust stores of the clients of a self-signed gateway."""

import re
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from worker.job.tls import issue_certificate, java_trust_store

PROGRAM = """
import javax.net.ssl.*;
import java.security.KeyStore;

public class Trusted {
    public static void main(String[] arguments) throws Exception {
        TrustManagerFactory factory =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init((KeyStore) null);
        X509TrustManager manager = (X509TrustManager) factory.getTrustManagers()[0];
        System.out.println(manager.getAcceptedIssuers().length);
    }
}
"""


@pytest.fixture
def pem(tmp_path):
    """Two certificates."""
    issued = [issue_certificate(tmp_path / name, ["localhost"]) for name in ("one", "two")]
    return b"".join(each.certificate.certfile.read_bytes() for each in issued)


def test_a_java_trust_store_contains_every_certificate(pem):
    """In the order of the PEM, without what is not a certificate."""
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    found = load_pkcs12(java_trust_store(broken + pem), None)

    assert len(re.findall(b"BEGIN CERTIFICATE", pem)) == len(found.additional_certs)


@pytest.mark.skipif(shutil.which("java") is None, reason="requires Java")
def test_java_trusts_the_certificates_without_a_password(tmp_path, pem):
    """Java opens the trust store when it is named by its system property alone."""
    path, program = tmp_path / "trusted.p12", tmp_path / "Trusted.java"
    path.write_bytes(java_trust_store(pem))
    program.write_text(PROGRAM)
    found = subprocess.run(
        ["java", f"-Djavax.net.ssl.trustStore={path}", program],
        check=True,
        capture_output=True,
        text=True,
    )

    assert "2" == found.stdout.strip()
