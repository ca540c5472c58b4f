"""The runtime of a run's commands: as processes of this machine, or in containers."""

from collections.abc import Callable
from typing import Protocol

from worker.supervisor.command import (
    CommandExit,
    GracePeriod,
    OutputHandler,
    run_command,
    run_on_terminal,
)
from worker.supervisor.tree import CommandSpec, Usage


class Runtime(Protocol):
    """Runs commands to their exit and ends their process trees.

    When cancelled, the tree receives SIGTERM, and SIGKILL after the grace period; no process is
    left. Raises NotStarted.
    """

    @property
    def shares_environment(self) -> bool:
        """Whether a shell there may use the agent's whole environment."""
        ...

    async def run(
        self,
        spec: CommandSpec,
        *,
        stdin: bytes,
        grace_period: GracePeriod,
        handler: OutputHandler,
        record_usage: Callable[[Usage], None],
    ) -> CommandExit:
        """Run a command and handle its output."""
        ...

    async def run_on_terminal(
        self,
        spec: CommandSpec,
        *,
        grace_period: GracePeriod,
        record_usage: Callable[[Usage], None],
    ) -> CommandExit:
        """Run a command on the agent's own terminal."""
        ...


class ProcessRuntime:
    """Runs commands as processes of this machine."""

    shares_environment = True
    run = staticmethod(run_command)
    run_on_terminal = staticmethod(run_on_terminal)
