"""Calls of a container engine, docker or podman: find it, pull an image, and resolve its user."""

import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from tarfile import TarError
from tarfile import open as open_tar
from typing import Literal

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from worker.concurrency import open_plain_nursery
from worker.spec.pipeline import User
from worker.supervisor import procfs
from worker.supervisor.container import ContainerUser, needs_passwd, resolve_container_user
from worker.supervisor.engine_output import (
    AGENT_LABEL,
    CREATE_ERRORS,
    JOB_LABEL,
    PULL_ERRORS,
    AgentId,
    EngineFailed,
    EngineMissing,
    Image,
    ImageMissing,
    TooMuchOutput,
    classify_error,
    container_name,
    is_abandoned,
    last_line,
    parse_containers,
    parse_image,
)

CALL_TIMEOUT = 300.0
"""Seconds for one call of the engine, except to pull an image."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
REMOVE = ("rm", "--force", "--volumes", "--")
"""The words before the name of a container that remove it, also while it runs."""
MAX_OUTPUT = 16 << 20
"""Bytes that a call of the engine may print: an image determines the size of its description."""
MAX_PASSWD = 1 << 20
"""Bytes of the archive with an image's passwd."""
CLIENT_VARIABLES = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_*",
    "TZ",
    "TERM",
    "TMPDIR",
    "XDG_*",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "DOCKER_*",
    "CONTAINER_*",
    "CONTAINERS_*",
    "_CONTAINERS_*",
    "PODMAN_*",
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
)
"""Variables of the agent that the engine's client gets, as names or patterns.

An allow-list, because the agent's environment also contains its credentials for the store, and the
client and what it starts stay visible to other programs while a container runs.
"""


@attrs.frozen
class EngineResult:
    """Exit code and output of one call of the engine."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode("utf-8", "replace")


@attrs.frozen
class Engine:
    """A container engine: its program, its global arguments, and its environment."""

    program: str
    arguments: tuple[str, ...]
    """Global ones, which precede the engine's command."""
    environment: Mapping[str, str] = attrs.field(repr=False)

    def command_line(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line for one of the engine's commands."""
        return (self.program, *self.arguments, *arguments)

    @property
    def mount_flags(self) -> tuple[str, ...]:
        """The flags of a bind mount that no program in it has a setuid bit, and no file a device.

        Docker has no option for them.
        """
        return ("nosuid", "nodev") if Path(self.program).name == "podman" else ()

    async def call(
        self,
        *arguments: str,
        stdin: bytes = b"",
        limit: int = MAX_OUTPUT,
        timeout: float | None = None,  # noqa: ASYNC109 - an engine that hangs is an error of its own
    ) -> EngineResult:
        """Run one of the engine's commands and return its result.

        Raises EngineMissing if the program cannot be executed, TooMuchOutput if it prints more than
        *limit* bytes, and EngineFailed if it takes longer than *timeout* seconds, which is
        CALL_TIMEOUT by default.
        """
        seconds = CALL_TIMEOUT if timeout is None else timeout
        with trio.move_on_after(seconds):
            return await self._call(arguments, stdin, limit)
        raise EngineFailed(
            f"{self.program} {arguments[0]}: no result after {seconds:g} s (stopped, or hanging)"
        )

    async def _call(self, arguments: tuple[str, ...], stdin: bytes, limit: int) -> EngineResult:
        async with open_plain_nursery() as nursery:
            try:
                process = await nursery.start(
                    partial(
                        trio.run_process,
                        list(self.command_line(*arguments)),
                        stdin=stdin,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        check=False,
                        env=self.environment,
                    )
                )
            except OSError as error:
                raise EngineMissing(f"{self.program}: {error.strerror}") from error
            out, err = bytearray(), bytearray()
            async with open_plain_nursery() as readers:
                for stream, found in ((process.stdout, out), (process.stderr, err)):
                    readers.start_soon(_read, stream, found, limit, arguments[0])
        return EngineResult(process.returncode, bytes(out), err.decode("utf-8", "replace"))


async def _read(stream: trio.abc.ReceiveStream, found: bytearray, limit: int, call: str) -> None:
    async for data in stream:
        found += data
        if len(found) > limit:
            raise TooMuchOutput(f"the engine printed more than {limit:,} bytes for {call!r}")


@attrs.frozen
class PreparedImage:
    """An engine with the image and the user that a job's commands need."""

    engine: Engine
    image: Image
    user: ContainerUser


def find_engine(
    name: Literal["docker", "podman"], arguments: tuple[str, ...], environment: Mapping[str, str]
) -> Engine:
    """Return the engine that ``--runtime`` names; raises EngineMissing."""
    program = shutil.which(name, path=environment.get("PATH"))
    if program is None:
        raise EngineMissing(
            f"--runtime {name}: there is no {name} in PATH={environment.get('PATH', '')}"
        )
    return Engine(program, arguments, environment)


async def prepare_image(
    engine: Engine, image: str, user: User | None, *, job: str, log: FilteringBoundLogger
) -> PreparedImage:
    """Pull an image unless it is present, and resolve the user in it.

    Removes abandoned containers first, since those of a previous attempt at *job* may still run.
    """
    await remove_abandoned(engine, job, log)
    found = await find_image(engine, image, log)
    return PreparedImage(engine, found, await find_user(engine, user, found, job=job))


async def find_image(engine: Engine, name: str, log: FilteringBoundLogger) -> Image:
    """Return an image, pulled unless it is present.

    Raises ImageMissing, ImageDenied and EngineFailed.
    """
    if not name:
        raise ImageMissing(
            "transform.image: found none; a job needs an image to run in a container"
        )
    result = await engine.call("image", "inspect", "--", name)
    if result.code:
        log.info("image.pulling", image=name)
        pulled = await engine.call("pull", "--quiet", "--", name, timeout=math.inf)
        if pulled.code:
            raise classify_error(
                PULL_ERRORS, pulled.err, f"transform.image {name}: it cannot be pulled"
            )
        result = await engine.call("image", "inspect", "--", name)
    if result.code:
        raise EngineFailed(f"image {name}: {last_line(result.err)}")
    return parse_image(name, result.text)


async def find_user(engine: Engine, user: User | None, image: Image, *, job: str) -> ContainerUser:
    """Return the user that commands run as in the image."""
    passwd = ""
    if needs_passwd(user, image):
        # A container that is never started shows the image's files and needs no program in it.
        agent = str(current_agent())
        labels = (f"--label={JOB_LABEL}={job}", f"--label={AGENT_LABEL}={agent}")
        never = ("--pull=never", "--network=none", "--entrypoint=/")
        name = f"--name={container_name(job, agent)}"
        created = await engine.call("create", name, *labels, *never, "--", image.id)
        if created.code:
            raise EngineFailed(f"image {image.name}: {last_line(created.err)}")
        container = created.text.strip()
        try:
            found = await engine.call("cp", "--", f"{container}:/etc/passwd", "-", limit=MAX_PASSWD)
            passwd = _read_single_file(found.out)
        finally:
            with trio.CancelScope(shield=True):
                await engine.call(*REMOVE, container)
    resolved = resolve_container_user(user, image, passwd)
    # A rootless engine maps uids, so the same number is another user there.
    return resolved if os.geteuid() == 0 else attrs.evolve(resolved, identity=None)


def _read_single_file(archive: bytes) -> str:
    """Return the first file of a tar archive as text; empty if there is none.

    An image may have a link there, which docker does not follow.
    """
    # Not compressed, and read in order: nothing in the archive leads to another part of it.
    with suppress(TarError), open_tar(fileobj=BytesIO(archive), mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is not None:
                return file.read().decode("utf-8", "replace")
    return ""


# --- abandoned containers -------------------------------------------------------------------------


def current_agent() -> AgentId:
    """Return the identity of this process, for the labels of its containers."""
    return AgentId(machine_id(), os.getpid(), procfs.start_time(os.getpid()))


def machine_id() -> str:
    """Return an id of this boot of this machine and this PID namespace."""
    with suppress(OSError):
        return f"{BOOT_ID.read_text().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    return os.uname().nodename


async def remove_abandoned(engine: Engine, job: str, log: FilteringBoundLogger) -> None:
    """Remove the containers of workers that were killed before they could do it."""
    listed = await engine.call(
        "ps", "--all", "--quiet", "--no-trunc", f"--filter=label={AGENT_LABEL}"
    )
    if listed.code:
        raise classify_error(CREATE_ERRORS, listed.err, engine.program)
    if not (ids := listed.text.split()):
        return
    # If one was removed meanwhile, this call fails, but still describes the others.
    result = await engine.call("container", "inspect", "--", *ids)
    machine, start_times = machine_id(), procfs.start_times()
    for container in parse_containers(result.text):
        if is_abandoned(container, job=job, machine=machine, start_times=start_times):
            log.warning("container.abandoned", container=container.id[:12], job_of_it=container.job)
            await engine.call(*REMOVE, container.id)
