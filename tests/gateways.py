"""Gateways for tests: in the process of the test on a free port, or in processes of their own."""

import datetime
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import boto3
import botocore.client
import botocore.config
import trio
from builders import a_commit
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from trio.to_thread import run_sync as in_thread

from worker.buckets.index import Index
from worker.config import GatewayConfig
from worker.gateway.application import open_application
from worker.gateway.connections import Limits
from worker.gateway.counters import Counters
from worker.gateway.launch import launched
from worker.gateway.messages import Certificate, GatewayPlan, ServedInput, Statistics
from worker.gateway.pool import GatewayPool, open_pool
from worker.gateway.server import Draining, serve
from worker.store.opening import open_store

FILES = {
    "a.txt": b"alpha",
    "nested/b.txt": b"beta",
    "nested/deep/ü.txt": b"umlaut",
    "two words.txt": b"space",
}


@attrs.frozen
class Running:
    """A gateway that serves in the process of the test."""

    port: int
    plan: GatewayPlan
    index: Index
    counters: Counters
    draining: Draining
    finished: trio.Event
    """Set when the server has returned."""

    @property
    def url(self) -> str:
        """The address of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, **config: Any) -> botocore.client.BaseClient:
        """Return a boto3 client of the gateway that makes one attempt; *config* is botocore's."""
        access, secret = config.pop("keys", ("default", "default"))
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=botocore.config.Config(retries={"total_max_attempts": 1}, **config),
        )

    async def send_request(self, *pieces: bytes) -> bytes:
        """Send *pieces* over a new connection; return what is received until it is closed."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            for piece in pieces:
                await stream.send_all(piece)
            with trio.fail_after(30):
                return b"".join([data async for data in stream])

    def statistics(self) -> Statistics:
        """Return the traffic so far."""
        return self.counters.total()


def a_plan(tmp_path: Path, *, processes: int = 1, port: int = 0, **changes: Any) -> GatewayPlan:
    """Return the plan of a job with the input ``labresults``, and create its index."""
    store = open_store(tmp_path / "store")
    commit = a_commit(store, FILES)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    plan = GatewayPlan(
        store=str(tmp_path / "store"),
        scratch=scratch,
        job="f" * 32,
        stage="job-1",
        inputs=(ServedInput("labresults", commit.name, commit.root),),
        gateway=GatewayConfig(processes=processes, port=port),
        **changes,
    )
    Index.create(plan.index).close()
    return plan


async def serving(
    plan: GatewayPlan, nursery: trio.Nursery, *, limits: Limits | None = None
) -> Running:
    """Serve *plan* in *nursery* with *limits*, as one process of a gateway does."""
    counters = Counters(plan.buckets, 1)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    port = listener.getsockname()[1]
    draining, finished = Draining(), trio.Event()
    application = await in_thread(partial(open_application, plan, number=0, counters=counters))

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await serve(
            application,
            listener,
            plan.certificate,
            draining,
            limits=limits,
            task_status=task_status,
        )
        finished.set()

    await nursery.start(run)
    return Running(port, plan, Index(plan.index), counters, draining, finished)


def self_signed(folder: Path) -> Certificate:
    """Make a certificate for 127.0.0.1 signed by itself in *folder*."""
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
    found = Certificate(folder / "cert.pem", folder / "key.pem")
    found.certfile.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    found.keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return found


@asynccontextmanager
async def open_gateway() -> AsyncIterator[GatewayPool]:
    """Start the processes of a gateway, which serve nothing yet."""
    with launched() as process:
        async with open_pool(process) as pool:
            yield pool
