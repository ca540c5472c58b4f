"""Runtimes: a command runs as a process of this machine, or in a container of its own."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from worker.supervisor.cgroup import machine_oom_kills
from worker.supervisor.command import (
    CommandExit,
    CommandSignals,
    run_command,
    run_on_terminal,
)
from worker.supervisor.container import Container, create_arguments
from worker.supervisor.container_env import SHELL, ContainerEnvironment, container_environment
from worker.supervisor.engine import REMOVE, PreparedImage, current_agent
from worker.supervisor.engine_output import (
    AGENT_LABEL,
    CREATE_ERRORS,
    JOB_LABEL,
    START_ERRORS,
    ContainerState,
    EngineFailed,
    classify_error,
    container_name,
    init_error,
    last_line,
    parse_state,
)
from worker.supervisor.mounts import Mount
from worker.supervisor.output import OutputHandler
from worker.supervisor.tree import CommandSpec, NotStarted, Usage
from worker.text import shell_line

REMOVE_TIMEOUT = 30.0
"""Seconds for the engine to remove a container; on timeout, the log names the container."""
KILLED = 128 + 9
"""Exit code of a container whose command was killed by SIGKILL."""


class Runtime(Protocol):
    """An environment that runs commands.

    The guarantees are those of :func:`worker.supervisor.command.run_command`: on cancellation, the
    process tree receives SIGTERM, and SIGKILL after the grace period; no process is left.
    """

    @property
    def shares_environment(self) -> bool:
        """Whether an interactive shell may inherit the environment of the worker."""
        ...

    @property
    def shares_files(self) -> bool:
        """Whether paths and users are the same for a command and for the worker."""
        ...

    async def run(
        self,
        command: CommandSpec,
        *,
        stdin: bytes,
        command_signals: CommandSignals,
        output: OutputHandler,
        on_usage: Callable[[Usage], None],
    ) -> CommandExit:
        """Run a command and handle its output; raises NotStarted."""
        ...

    async def run_on_terminal(
        self,
        command: CommandSpec,
        *,
        command_signals: CommandSignals,
        on_usage: Callable[[Usage], None],
    ) -> CommandExit:
        """Run a command on the worker's own terminal; raises NotStarted."""
        ...


class ProcessRuntime:
    """The runtime whose commands are processes of this machine."""

    shares_environment = True
    shares_files = True
    run = staticmethod(run_command)
    run_on_terminal = staticmethod(run_on_terminal)


@attrs.frozen
class ContainerRuntime:
    """The runtime that creates a container for each command, and removes it afterwards."""

    prepared: PreparedImage
    job: str
    mounts: tuple[Mount, ...]
    options: tuple[str, ...]
    log: FilteringBoundLogger
    shares_environment: bool = False
    shares_files: bool = False

    async def run(
        self,
        command: CommandSpec,
        *,
        stdin: bytes,
        command_signals: CommandSignals,
        output: OutputHandler,
        on_usage: Callable[[Usage], None],
    ) -> CommandExit:
        """Run a command in a container and handle its output."""
        client = partial(
            run_command,
            stdin=stdin,
            command_signals=command_signals,
            output=output,
            on_usage=on_usage,
        )
        return await self._run(command, client, lambda: list(output.errors), terminal=False)

    async def run_on_terminal(
        self,
        command: CommandSpec,
        *,
        command_signals: CommandSignals,
        on_usage: Callable[[Usage], None],
    ) -> CommandExit:
        """Run a command in a container on the worker's own terminal."""
        client = partial(run_on_terminal, command_signals=command_signals, on_usage=on_usage)
        return await self._run(command, client, list, terminal=os.isatty(0))

    async def _run(
        self,
        command: CommandSpec,
        run_client: Callable[[CommandSpec], Awaitable[CommandExit]],
        last_errors: Callable[[], Sequence[str]],
        *,
        terminal: bool,
    ) -> CommandExit:
        engine, oom_kills = self.prepared.engine, machine_oom_kills()
        environment = container_environment(command.environment)
        async with self._container(command, environment, terminal=terminal) as name:
            client = await run_client(
                CommandSpec(
                    argv=engine.command_line("start", "--attach", "--interactive", "--", name),
                    environment=engine.environment,
                    forwards_signals=True,
                    cleanup_command=engine.command_line(*REMOVE, name),
                )
            )
            result = await engine.call("container", "inspect", "--", name)
            if result.code:
                raise EngineFailed(f"the command's container is gone: {last_line(result.err)}")
            state = parse_state(result.text)
        _check_started(state, last_errors(), command, environment)
        killed = state.out_of_memory or (
            # Podman may miss a memory kill. The counter covers the whole machine, so it counts
            # only for a command that got SIGKILL, and that the worker did not kill.
            state.code == KILLED and machine_oom_kills() > oom_kills
        )
        return CommandExit(state.code, None, out_of_memory=client.out_of_memory or killed)

    @asynccontextmanager
    async def _container(
        self, command: CommandSpec, environment: ContainerEnvironment, *, terminal: bool
    ) -> AsyncIterator[str]:
        """Create a container, yield its name, and remove it on every path.

        Raises EngineFailed if the command may still run, since it may change the output.
        """
        engine, image = self.prepared.engine, self.prepared.image
        agent = str(current_agent())
        name = container_name(self.job, agent)
        container = Container(
            name=name,
            image=image,
            argv=(*environment.shell, *command.argv),
            labels={JOB_LABEL: self.job, AGENT_LABEL: agent},
            mounts=self.mounts,
            mount_flags=engine.mount_flags,
            user=self.prepared.user.user,
            directory=command.directory,
            options=self.options,
            terminal=terminal,
        )
        may_run = False
        try:
            created = await engine.call(*create_arguments(container), stdin=environment.file)
            if created.code:
                raise classify_error(CREATE_ERRORS, created.err, f"a container of {image.name}")
            may_run = True
            yield name
            # The block ends with the state of the container.
            may_run = False
        finally:
            with trio.CancelScope(shield=True):
                is_removed = await self._remove(name)
            if may_run and not is_removed:
                raise EngineFailed(
                    f"the command's container {name} may still run, as it cannot be removed. "
                    "Nothing is committed, since the command may change the output"
                )

    async def _remove(self, name: str) -> bool:
        """Remove a container with its processes, and return whether it is removed."""
        with trio.move_on_after(REMOVE_TIMEOUT):
            result = await self.prepared.engine.call(*REMOVE, name)
            if not result.code or "no such container" in result.err.lower():
                return True
        command = self.prepared.engine.command_line(*REMOVE, name)
        self.log.error("container.not_removed", container=name, remedy=shell_line(command))
        return False


def _check_started(
    state: ContainerState,
    errors: Sequence[str],
    command: CommandSpec,
    environment: ContainerEnvironment,
) -> None:
    """Raise the error for a command that did not start, or that still runs.

    *errors* are the last lines of standard error.
    """
    context = f"{command.argv[0]}: it could not be started"
    if environment.shell:
        names = ", ".join(environment.set_by_shell)
        context += f" by {SHELL}, which the image needs to set {names}"
    if state.running:
        raise EngineFailed("the engine's client exited while the command was still running")
    if not state.started:
        raise classify_error(START_ERRORS, state.error or "\n".join(errors), context)
    if (reason := init_error(state.code, errors)) is not None:
        raise NotStarted(f"{context} in the image: {reason}")
