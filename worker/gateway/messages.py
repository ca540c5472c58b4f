"""What a gateway is told to serve and what it says of it: values that go through a pipe."""

import os
from collections.abc import Mapping
from pathlib import Path

import attrs
import msgspec

from worker.model import OUT, CommitName

ALIVE_EVERY = 1.0
"""Seconds between two signs of life of a process that drains."""
SILENCE = 30.0
"""Seconds without one after which it hangs. A busy machine delays them by less than that."""


@attrs.frozen
class KeyPair:
    """The credentials of one job's gateway."""

    access: str
    secret: str = attrs.field(repr=False)


@attrs.frozen
class Certificate:
    """Where the certificate chain and the key for TLS lie, both as PEM."""

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
    """Everything that gateway processes need to know."""

    store: str
    """The store, as a path or URL."""
    scratch: Path
    """The job's scratch directory; the index of the out bucket lies in it."""
    job: str
    stage: str
    """The id of the stage that receives what is written."""
    inputs: tuple[ServedInput, ...] = ()
    out: bool = True
    """Whether there is a bucket ``out``."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 for any that is free."""
    processes: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    auth: KeyPair | None = None
    """Where a key pair is given, each request must be signed with it."""
    tls: Certificate | None = None
    options: Mapping[str, str] = attrs.field(factory=dict)
    """Options for the client of a remote store, as ``open_store`` takes them."""
    secrets: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    """Values that the processes redact from their log: the job's secrets."""
    log_style: str = "auto"
    log_level: str = "info"
    """How the processes log to standard error, as ``telemetry.configure`` takes it."""

    @property
    def index(self) -> Path:
        """Where the index of the out bucket is: made by the job, opened by each process."""
        return self.scratch / "out.sqlite"

    @property
    def store_full(self) -> Path:
        """An empty file that is made when the store's disk was full.

        What could not be written is dropped, so afterwards the disk need not be full any more.
        """
        return self.scratch / "store-full"

    @property
    def scratch_full(self) -> Path:
        """An empty file that is made when the disk of the scratch directory was full."""
        return self.scratch / "scratch-full"

    @property
    def buckets(self) -> tuple[str, ...]:
        """The names of all buckets, in order."""
        return tuple(sorted([i.name for i in self.inputs] + ([OUT] if self.out else [])))


@attrs.frozen
class Endpoint:
    """Where a gateway can be reached."""

    host: str
    port: int
    url: str


@attrs.frozen
class BucketStatistics:
    """What went through one bucket."""

    reads: int = 0
    """Requests that asked for something."""
    writes: int = 0
    """Requests that changed something."""
    refused: int = 0
    """Requests of either kind that were answered with an error."""
    bytes_read: int = 0
    """Payload bytes sent to clients."""
    bytes_written: int = 0
    """Payload bytes received from clients, of requests that succeeded."""


@attrs.frozen
class Statistics:
    """What went through a gateway, bucket by bucket."""

    buckets: Mapping[str, BucketStatistics] = attrs.field(factory=dict)


class Serve(msgspec.Struct, tag=True, frozen=True):
    """Request to a parent: serve this plan."""

    id: int
    """Chosen by the agent; the reply repeats it."""
    plan: GatewayPlan


class Drain(msgspec.Struct, tag=True, frozen=True):
    """Request to a parent, and by it to its children: stop accepting, finish, settle, exit."""

    id: int
    deadline: float
    """Seconds that requests in flight have left."""
    silence: float = SILENCE
    """Seconds without a sign of life after which a process counts as hanging."""


class Count(msgspec.Struct, tag=True, frozen=True):
    """Request to a parent: the statistics so far."""

    id: int


class Counted(msgspec.Struct, tag=True, frozen=True):
    """Reply of a parent that goes on serving: the statistics."""

    id: int
    statistics: Statistics


class Serving(msgspec.Struct, tag=True, frozen=True):
    """Reply of a parent: every process accepts connections there."""

    id: int
    host: str
    port: int


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Told by a child: it accepts connections."""


class Settled(msgspec.Struct, tag=True, frozen=True):
    """Told by a child: nothing is in flight and all it wrote is durable."""


class Drained(msgspec.Struct, tag=True, frozen=True):
    """Reply of a parent: every child has settled; the final statistics."""

    id: int
    statistics: Statistics


class Alive(msgspec.Struct, tag=True, frozen=True):
    """Sign of life of a process that drains; settling may take long, silence is a fault."""


class Failed(msgspec.Struct, tag=True, frozen=True):
    """Told by a child or a parent that is about to end for a reason nobody asked for."""

    reason: str
    errno: int | None = None
    """The system's error number, where it was the system that refused."""


Reply = Counted | Serving | Drained
Message = Serve | Drain | Count | Reply | Ready | Settled | Alive | Failed


def encode(message: Message) -> bytes:
    """Return *message* as one line."""
    return msgspec.json.encode(message, enc_hook=os.fspath) + b"\n"


def decode(line: bytes) -> Message:
    """Return the message that was encoded as *line*."""
    return _DECODER.decode(line)


def _path(_type: type, text: str) -> Path:
    return Path(text)


_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message, dec_hook=_path)
