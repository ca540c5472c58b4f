"""Where the commands of a run are run: right here, or each in a container of its own."""

from collections.abc import Callable
from typing import Protocol

from worker.supervisor.command import Ended, Listener, Patience, run_command, run_on_terminal
from worker.supervisor.tree import Order
from worker.supervisor.usage import Usage


class Runtime(Protocol):
    """What runs a command, and whatever comes of it, to its end.

    Both promises are those of :mod:`worker.supervisor.command`: when cancelled, everything gets
    SIGTERM and after the patience SIGKILL; nothing is left; raises NotStarted.
    """

    @property
    def shares_environment(self) -> bool:
        """Whether a person's shell there may have all of the agent's own environment."""
        ...

    async def run(
        self,
        order: Order,
        *,
        stdin: bytes,
        patience: Patience,
        listener: Listener,
        account: Callable[[Usage], None],
    ) -> Ended:
        """Run a command that is listened to."""
        ...

    async def on_terminal(
        self, order: Order, *, patience: Patience, account: Callable[[Usage], None]
    ) -> Ended:
        """Run a command on the agent's own terminal."""
        ...


class Here:
    """Runs commands as processes of this machine."""

    shares_environment = True
    run = staticmethod(run_command)
    on_terminal = staticmethod(run_on_terminal)
