"""Messages between the agent, the gateway's parent process and its children."""

import os
from collections.abc import Mapping
from pathlib import Path

import attrs
import msgspec

from worker.config import GatewayConfig, LogConfig
from worker.model import OUT, CommitName

HEARTBEAT = 1.0
"""Seconds between two heartbeats of a process that drains."""
SILENCE = 30.0
"""Seconds without a heartbeat after which a process counts as hanging; a busy machine delays them
by less."""


@attrs.frozen
class KeyPair:
    """The credentials of one job's gateway."""

    access: str
    secret: str = attrs.field(repr=False)


@attrs.frozen
class Certificate:
    """The files of the certificate chain and the private key for TLS, in PEM."""

    certfile: Path
    keyfile: Path


@attrs.frozen
class ServedInput:
    """An input commit that is served as a read-only bucket."""

    name: str
    """The name of the bucket."""
    commit: CommitName
    root: str
    """The address of the commit's tree."""


@attrs.frozen
class GatewayPlan:
    """What a gateway serves, and its configuration."""

    store: str
    """The store, as a path or URL."""
    scratch: Path
    """The job's scratch directory."""
    job: str
    stage: str
    """The id of the stage that payload is written to."""
    inputs: tuple[ServedInput, ...] = ()
    output: bool = True
    """Whether there is an output bucket."""
    keys: KeyPair | None = None
    """If set, every request must be signed with them."""
    certificate: Certificate | None = None
    """If set, the gateway serves https."""
    hosts: tuple[str, ...] = ()
    """Its host names and addresses besides those of loopback; a wildcard stands for all addresses.
    """
    store_options: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    secrets: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    """Values that are redacted from the log: the secrets of the job and of the store."""
    gateway: GatewayConfig = attrs.field(factory=GatewayConfig)
    log: LogConfig = attrs.field(factory=LogConfig)

    @property
    def index(self) -> Path:
        """The index of the output bucket, created by the job and opened by each process."""
        return self.scratch / "out.sqlite"

    @property
    def store_full(self) -> Path:
        """An empty file that is created when the disk of the store was full.

        What could not be written is deleted, so afterwards the disk may have space again.
        """
        return self.scratch / "store-full"

    @property
    def scratch_full(self) -> Path:
        """An empty file that is created when the disk of the scratch directory was full."""
        return self.scratch / "scratch-full"

    @property
    def failure_report(self) -> Path:
        """The file of the first failure of the store or the gateway that a request met."""
        return self.scratch / "gateway-failure"

    @property
    def buckets(self) -> tuple[str, ...]:
        """The names of all buckets, sorted."""
        return tuple(sorted([*(each.name for each in self.inputs), *([OUT] * self.output)]))


@attrs.frozen
class Endpoint:
    """The address of a gateway."""

    host: str
    port: int
    url: str


@attrs.frozen
class BucketStatistics:
    """The traffic of one bucket."""

    reads: int = 0
    """Requests that read."""
    writes: int = 0
    """Requests that change something."""
    refused: int = 0
    """Requests of either kind that were answered with an error."""
    bytes_read: int = 0
    """Payload bytes sent to clients."""
    bytes_written: int = 0
    """Payload bytes received from clients by requests that succeeded."""
    get_requests: int = 0
    """GetObject requests that succeeded: an object that is read in ranges counts for each range."""
    objects_written: int = 0
    """Objects created or replaced, by a PUT, a copy or the completion of a multipart upload."""


@attrs.frozen
class Statistics:
    """The traffic of a gateway by bucket."""

    buckets: Mapping[str, BucketStatistics] = attrs.field(factory=dict)


class Serve(msgspec.Struct, tag=True, frozen=True):
    """Request of the agent to the parent: serve this plan."""

    id: int
    """Chosen by the agent and repeated in the reply."""
    plan: GatewayPlan


class Serving(msgspec.Struct, tag=True, frozen=True):
    """Reply of the parent: every child accepts connections at this address."""

    id: int
    host: str
    port: int


class Count(msgspec.Struct, tag=True, frozen=True):
    """Request of the agent to the parent: the statistics so far."""

    id: int


class Counted(msgspec.Struct, tag=True, frozen=True):
    """Reply of the parent: the statistics; the gateway continues to serve."""

    id: int
    statistics: Statistics


class Drain(msgspec.Struct, tag=True, frozen=True):
    """Request of the agent to the parent, and of the parent to its children: finish and exit."""

    id: int
    deadline: float
    """Seconds for requests in flight to finish."""
    silence: float = SILENCE
    """Seconds without a heartbeat after which a process counts as hanging."""


class Drained(msgspec.Struct, tag=True, frozen=True):
    """Reply of the parent: every child has flushed; the final statistics."""

    id: int
    statistics: Statistics
    cut_off: tuple[str, ...] = ()
    """Writes that had not ended at the deadline, each as operation and key."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Event of a child: it accepts connections."""


class Flushed(msgspec.Struct, tag=True, frozen=True):
    """Event of a child: no request is in flight, and all that it wrote is durable."""

    cut_off: tuple[str, ...] = ()
    """Writes that had not ended at the deadline, each as operation and key."""


class Heartbeat(msgspec.Struct, tag=True, frozen=True):
    """Event of a process that drains, which may take long."""


class Failed(msgspec.Struct, tag=True, frozen=True):
    """Event of a child or the parent: it is about to exit with an error."""

    reason: str
    errno: int | None = None


Reply = Counted | Serving | Drained
Message = Serve | Drain | Count | Reply | Ready | Flushed | Heartbeat | Failed


def encode(message: Message) -> bytes:
    """Return *message* as one line."""
    return msgspec.json.encode(message, enc_hook=os.fspath) + b"\n"


def _decode_path(_type: type, text: str) -> Path:
    return Path(text)


decode = msgspec.json.Decoder(Message, dec_hook=_decode_path).decode
"""Return the message that was encoded as a line."""
