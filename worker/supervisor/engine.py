"""Calling docker or podman: an image is got ready, a command is run in it, and nothing is left."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from tarfile import TarError
from tarfile import open as open_tar
from typing import Literal
from uuid import uuid4

import attrs
import trio
from structlog.typing import FilteringBoundLogger
from trio.to_thread import run_sync as in_thread

from worker.spec.pipeline import Transform, User
from worker.supervisor import container, engine_output
from worker.supervisor.cgroup import machine_oom_kills
from worker.supervisor.command import (
    CommandExit,
    GracePeriod,
    OutputHandler,
    run_command,
    run_on_terminal,
)
from worker.supervisor.container import Container, ContainerUser, Mount
from worker.supervisor.engine_output import (
    Agent,
    EngineFailed,
    EngineMissing,
    Image,
    ImageMissing,
    State,
)
from worker.supervisor.tree import CommandSpec, NotStarted, Usage, start_time

REMOVAL = 30.0
"""Seconds for the engine to remove a container; then it is named in the log and left."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
KILLED = 128 + 9


@attrs.frozen
class EngineOutput:
    """What the engine answered."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Its answer, as text."""
        return self.out.decode("utf-8", "replace")


@attrs.frozen
class Engine:
    """A container engine, and how it is called."""

    program: str
    arguments: tuple[str, ...]
    """Global ones, before the engine's own commands."""
    environment: Mapping[str, str] = attrs.field(repr=False)

    def line(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line for one of the engine's commands."""
        return (self.program, *self.arguments, *arguments)

    async def call(self, *arguments: str, more: Mapping[str, str] | None = None) -> EngineOutput:
        """Have the engine do something, with *more* variables, and return what it answered."""
        try:
            found = await trio.run_process(
                list(self.line(*arguments)),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                stdin=subprocess.DEVNULL,
                env={**self.environment, **(more or {})},
            )
        except OSError as error:
            raise EngineMissing(f"{self.program}: {error.strerror}") from error
        return EngineOutput(found.returncode, found.stdout, found.stderr.decode("utf-8", "replace"))


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


async def find_image(engine: Engine, name: str, log: FilteringBoundLogger) -> Image:
    """Return the image of a job, fetched if it isn't here yet."""
    if not name:
        raise ImageMissing("transform.image: a job without an image can't be run in one")
    output = await engine.call("image", "inspect", name)
    if output.code:
        log.info("image.pulling", image=name)
        pulled = await engine.call("pull", "--quiet", name)
        if pulled.code:
            raise engine_output.error_of(
                engine_output.OF_PULL, pulled.err, f"transform.image {name}: it can't be had"
            )
        output = await engine.call("image", "inspect", name)
    if output.code:
        raise EngineFailed(f"image {name}: {engine_output.brief(output.err)}")
    return engine_output.read_image(name, output.text)


async def find_user(engine: Engine, user: User | None, image: Image) -> ContainerUser:
    """Return whom the command runs as in the image."""
    passwd = ""
    if container.needs_passwd(user, image):
        # A container that is never started shows the image's files, and needs no program in it.
        made = await engine.call(
            "create", "--pull=never", "--network=none", "--entrypoint=/", image.id
        )
        if made.code:
            raise EngineFailed(f"image {image.name}: {engine_output.brief(made.err)}")
        try:
            passwd = _only_file(
                (await engine.call("cp", f"{made.text.strip()}:/etc/passwd", "-")).out
            )
        finally:
            with trio.CancelScope(shield=True):
                await engine.call("rm", "--force", made.text.strip())
    found = container.resolve_user(user, image, passwd)
    # Another uid means something else to an engine that is not root's.
    return found if os.geteuid() == 0 else attrs.evolve(found, identity=None)


def _only_file(archive: bytes) -> str:
    with suppress(TarError), open_tar(fileobj=BytesIO(archive)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                return file.read().decode("utf-8", "replace")
    return ""


def this_agent() -> Agent:
    """Return the name of this process, for the labels of its container."""
    return Agent(machine(), os.getpid(), start_time(os.getpid()))


def machine() -> str:
    """Return what tells this boot of this machine, and this PID namespace, from all others."""
    with suppress(OSError):
        return f"{BOOT.read_text().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    return os.uname().nodename


async def remove_abandoned(engine: Engine, job: str, log: FilteringBoundLogger) -> None:
    """Remove the containers of workers that were killed and could not tidy up."""
    listed = await engine.call(
        "ps", "--all", "--quiet", "--no-trunc", f"--filter=label={engine_output.AGENT_LABEL}"
    )
    if listed.code:
        raise engine_output.error_of(engine_output.OF_CREATE, listed.err, engine.program)
    if not (names := listed.text.split()):
        return
    # One that is removed meanwhile makes this fail, and says so of the others all the same.
    output = await engine.call("container", "inspect", *names)
    here = machine()
    start_times = {int(name): start_time(int(name)) for name in _processes()}
    for seen in engine_output.read_containers(output.text):
        if engine_output.abandoned(seen, job=job, machine=here, start_times=start_times):
            log.warning("container.abandoned", container=seen.id[:12], job_of_it=seen.job)
            await engine.call("rm", "--force", "--volumes", seen.id)


def _processes() -> list[str]:
    with suppress(OSError):
        return [name for name in os.listdir("/proc") if name.isdigit()]
    return []


@attrs.frozen
class PreparedEngine:
    """An engine with the image and the user that a job's commands need."""

    engine: Engine
    image: Image
    user: ContainerUser


async def prepare_engine(
    engine: Engine, transform: Transform, *, job: str, log: FilteringBoundLogger
) -> PreparedEngine:
    """Tidy up after workers that were killed, and see to it that the image of a job is here."""
    await remove_abandoned(engine, job, log)
    image = await find_image(engine, transform.image, log)
    return PreparedEngine(engine, image, await find_user(engine, transform.user, image))


@attrs.frozen
class ContainerRuntime:
    """The runtime that gives each command a container of its own; see :class:`Runtime`."""

    prepared: PreparedEngine
    job: str
    scratch: Path
    mounts: tuple[Mount, ...]
    options: tuple[str, ...]
    log: FilteringBoundLogger
    shares_environment: bool = False

    @property
    def engine(self) -> Engine:
        """The engine that is called."""
        return self.prepared.engine

    async def run(
        self,
        spec: CommandSpec,
        *,
        stdin: bytes,
        grace_period: GracePeriod,
        handler: OutputHandler,
        record_usage: Callable[[Usage], None],
    ) -> CommandExit:
        """Run a command in a container, and listen to it."""
        client = partial(
            run_command,
            stdin=stdin,
            grace_period=grace_period,
            handler=handler,
            record_usage=record_usage,
        )
        return await self._run(spec, client, handler.errors, terminal=False)

    async def run_on_terminal(
        self, spec: CommandSpec, *, grace_period: GracePeriod, record_usage: Callable[[Usage], None]
    ) -> CommandExit:
        """Run a command in a container on the agent's own terminal."""
        client = partial(run_on_terminal, grace_period=grace_period, record_usage=record_usage)
        return await self._run(spec, client, (), terminal=os.isatty(0))

    async def _run(
        self,
        spec: CommandSpec,
        client: Callable[[CommandSpec], Awaitable[CommandExit]],
        errors: Collection[str],
        *,
        terminal: bool,
    ) -> CommandExit:
        kills = machine_oom_kills()
        async with self._made(spec, terminal=terminal) as name:
            ended = await client(
                CommandSpec(
                    argv=self.engine.line("start", "--attach", "--interactive", name),
                    environment=self.engine.environment,
                    forwards_signals=True,
                    cleanup_command=self._removal(name),
                )
            )
            output = await self.engine.call("container", "inspect", name)
            if output.code:
                raise EngineFailed(
                    f"the command's container is gone: {engine_output.brief(output.err)}"
                )
            state = engine_output.read_state(output.text)
        last = list(errors)
        _check_started(state, last, spec)
        killed = state.out_of_memory or (
            # Podman may miss it. The counter is the whole machine's, so it counts as a reason only
            # for a command that was killed and that nobody here killed.
            state.code == KILLED and machine_oom_kills() > kills
        )
        return CommandExit(state.code, None, out_of_memory=ended.out_of_memory or killed)

    @asynccontextmanager
    async def _made(self, spec: CommandSpec, *, terminal: bool) -> AsyncIterator[str]:
        """Make a container, and remove it whatever happens; yield its name."""
        name = f"worker-{self.job[:12]}-{uuid4().hex[:8]}"
        given = container.split_variables(spec.environment, self.engine.environment)
        env_file = self.scratch / f"{name}.env"
        specification = Container(
            name=name,
            image=self.prepared.image,
            argv=spec.argv,
            labels={
                engine_output.JOB_LABEL: self.job,
                engine_output.AGENT_LABEL: str(this_agent()),
            },
            mounts=self.mounts,
            user=self.prepared.user.name,
            directory=spec.directory,
            env_file=env_file,
            inherited=tuple(given.inherited),
            options=self.options,
            terminal=terminal,
        )
        try:
            await in_thread(_write_private, env_file, given.lines)
            try:
                made = await self.engine.call(
                    *container.create_arguments(specification), more=given.inherited
                )
            finally:
                env_file.unlink(missing_ok=True)
            if made.code:
                raise engine_output.error_of(
                    engine_output.OF_CREATE, made.err, f"a container of {self.prepared.image.name}"
                )
            yield name
        finally:
            with trio.CancelScope(shield=True):
                await self._remove(name)

    async def _remove(self, name: str) -> None:
        line = self._removal(name)
        with trio.move_on_after(REMOVAL):
            output = await self.engine.call(*line[1 + len(self.engine.arguments) :])
            if not output.code or "no such container" in output.err.lower():
                return
        self.log.error("container.left", container=name, remove_it_by=" ".join(line))

    def _removal(self, name: str) -> tuple[str, ...]:
        return self.engine.line("rm", "--force", "--volumes", name)


def _check_started(state: State, output: list[str], spec: CommandSpec) -> None:
    """Raise what a command that never began, or has not ended, means."""
    command = spec.argv[0]
    if state.running:
        raise EngineFailed("the engine's client ended while the command was still running")
    if not state.started:
        why = state.error or "\n".join(output)
        raise engine_output.error_of(
            engine_output.OF_START, why, f"{command}: it could not be started"
        )
    if (refusal := engine_output.refused_by_init(state.code, output)) is not None:
        raise NotStarted(f"{command}: it could not be started in the image: {refusal}")


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
