"""Access to the gateway of a run: keys, endpoint and certificate."""

import secrets
import socket
import string
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import attrs
from trio.to_thread import run_sync as in_thread

from worker.config import Config
from worker.gateway.messages import Certificate, Endpoint, GatewayPlan, KeyPair, ServedInput
from worker.gateway.pool import GatewayPool
from worker.job.plan import Plan

WILDCARDS = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}
# Addresses reserved for documentation (RFC 5737, RFC 3849): a route to them leads to the outside.
OUTSIDE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
KEY_ALPHABET = string.ascii_uppercase + string.digits
ANONYMOUS = KeyPair("default", "default")
"""The keys of a gateway without authentication; most clients require some."""


@attrs.frozen
class Access:
    """How clients reach the buckets."""

    endpoint: Endpoint
    keys: KeyPair = ANONYMOUS
    trust_store: Path | None = None
    """Certificate authorities in PEM that clients must trust, for a self-signed certificate."""


def new_keys() -> KeyPair:
    """Return random credentials in the form of AWS credentials."""
    access_key = "WK" + "".join(secrets.choice(KEY_ALPHABET) for _ in range(18))
    return KeyPair(access_key, secrets.token_urlsafe(30))


def gateway_plan(
    config: Config, plan: Plan, *, scratch: Path, stage: str, secrets: Iterable[bytes]
) -> GatewayPlan:
    """Return what the gateway of a run serves, without keys and certificate.

    *secrets* are redacted from the log of its processes.
    """
    return GatewayPlan(
        store=config.store,
        store_options=config.store_options,
        scratch=scratch,
        job=plan.job,
        stage=stage,
        inputs=tuple(
            ServedInput(each.spec.name, each.commit.name, each.commit.root)
            for each in plan.inputs
            if each.spec.s3
        ),
        output=plan.spec.s3_out,
        hosts=own_hosts(config.gateway.host),
        secrets=tuple(secrets),
        gateway=config.gateway,
        log=config.log,
    )


async def serve(pool: GatewayPool, plan: GatewayPlan) -> Access:
    """Start serving the buckets of *plan* and return the access to them."""
    config = plan.gateway
    keys = new_keys() if config.authenticated else None
    certificate: Certificate | None = None
    trust_store: Path | None = None
    if config.tls == "self-signed":
        # Few jobs use TLS, and the library takes long to import.
        from worker.job.tls import issue_certificate

        names = certificate_names(config.host, plan.buckets)
        issued = await in_thread(issue_certificate, plan.scratch / "tls", names)
        certificate, trust_store = issued.certificate, issued.trust_store
    elif config.tls == "certificate" and config.certificate and config.key:
        certificate = Certificate(config.certificate, config.key)
    endpoint = await pool.serve(attrs.evolve(plan, keys=keys, certificate=certificate))
    return Access(advertised(endpoint), keys or ANONYMOUS, trust_store)


def certificate_names(host: str, buckets: Iterable[str]) -> tuple[str, ...]:
    """Return the host names of a gateway on *host*, in path style and virtual-hosted style."""
    hosts = dict.fromkeys(("localhost", "127.0.0.1", own_address(host), socket.gethostname()))
    return (*hosts, *(f"{bucket}.localhost" for bucket in buckets))


def own_hosts(host: str) -> tuple[str, ...]:
    """Return the names and addresses of a gateway that listens on *host*."""
    return (host, socket.gethostname()) if host in WILDCARDS else (host,)


def advertised(endpoint: Endpoint) -> Endpoint:
    """Return *endpoint* with this machine's address, if it listens on all addresses."""
    host = own_address(endpoint.host)
    if host == endpoint.host:
        return endpoint
    scheme = endpoint.url.partition("://")[0]
    authority = f"[{host}]" if ":" in host else host
    return Endpoint(host, endpoint.port, f"{scheme}://{authority}:{endpoint.port}")


def own_address(host: str) -> str:
    """Return *host*; for a wildcard address, this machine's address towards other machines."""
    if host not in WILDCARDS:
        return host
    family = WILDCARDS[host]
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect((OUTSIDE[family], 9))  # Sends nothing; the kernel chooses an address.
        except OSError:
            return "127.0.0.1" if family == socket.AF_INET else "::1"
        return str(probe.getsockname()[0])
