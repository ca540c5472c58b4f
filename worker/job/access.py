"""The gateway of a run: what it is told to serve, and how the command gets at it."""

import secrets
import socket
import string
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import attrs
from trio.to_thread import run_sync as in_thread

from worker.config import Config, GatewayConfig
from worker.gateway.pool import (
    Certificate,
    Endpoint,
    GatewayPlan,
    KeyPair,
    Parent,
    ServedInput,
)
from worker.job.environment import ANYONE, Access
from worker.job.plan import Plan

ANYWHERE = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}
# Addresses that are in no network (RFC 5737, RFC 3849): a route to them leads the way out.
OUTSIDE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
LETTERS = string.ascii_uppercase + string.digits


def new_keys() -> KeyPair:
    """Return credentials that nobody can guess, in the form of those of AWS."""
    return KeyPair(
        "WK" + "".join(secrets.choice(LETTERS) for _ in range(18)), secrets.token_urlsafe(30)
    )


def gateway_plan(
    config: Config,
    plan: Plan,
    *,
    store: str,
    scratch: Path,
    stage: str,
    secrets: tuple[bytes, ...],
) -> GatewayPlan:
    """Return what the gateway of a run serves, without keys and certificates.

    *secrets* are redacted from the log of its processes.
    """
    return GatewayPlan(
        store=store,
        scratch=scratch,
        job=plan.job,
        stage=stage,
        inputs=tuple(
            ServedInput(each.name, each.commit.name, each.commit.root)
            for each in plan.inputs
            if each.spec.s3
        ),
        out=plan.spec.s3_out,
        host=config.gateway.host,
        port=config.gateway.port,
        processes=config.gateway.processes,
        options=dict(config.store_options),
        secrets=secrets,
        log_style=config.log.format,
        log_level=config.log.level,
    )


async def serve(parent: Parent, serving: GatewayConfig, wanted: GatewayPlan) -> Access:
    """Have *wanted* served, and return how the command gets at it once it answers."""
    keys = new_keys() if serving.authenticated else None
    tls: Certificate | None = None
    trusted: Path | None = None
    if serving.tls == "self-signed":
        # Imported here, since what makes certificates takes long to load and few jobs need it.
        from worker.job.certificates import make_certificate

        names = names_of(serving.host, wanted.buckets)
        made = await in_thread(make_certificate, wanted.scratch / "tls", names)
        tls, trusted = made.certificate, made.authority
    elif serving.tls == "certificate" and serving.certificate and serving.key:
        tls = Certificate(serving.certificate, serving.key)
    endpoint = await parent.serve(attrs.evolve(wanted, auth=keys, tls=tls))
    return Access(
        endpoint=reachable(endpoint),
        keys=keys or ANYONE,
        authority=trusted,
    )


def names_of(host: str, buckets: Iterable[str]) -> tuple[str, ...]:
    """Return the names under which a gateway on *host* may be asked for, in both styles."""
    hosts = dict.fromkeys(("localhost", "127.0.0.1", _outward(host), socket.gethostname()))
    styles = [f"{bucket}.localhost" for bucket in buckets]
    return (*hosts, *styles)


def reachable(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with an address that others can connect to, if it is bound to all."""
    host = _outward(endpoint.host)
    if host == endpoint.host:
        return endpoint
    scheme = endpoint.url.partition("://")[0]
    shown = f"[{host}]" if ":" in host else host
    return Endpoint(host, endpoint.port, f"{scheme}://{shown}:{endpoint.port}")


def _outward(host: str) -> str:
    """Return this machine's own address in the direction of others, for what means all of them."""
    if host not in ANYWHERE:
        return host
    family = ANYWHERE[host]
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect((OUTSIDE[family], 9))  # Nothing is sent; the kernel picks the address.
        except OSError:
            return "127.0.0.1" if family == socket.AF_INET else "::1"
        return str(probe.getsockname()[0])
