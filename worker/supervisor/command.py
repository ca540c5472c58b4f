"""The user's command: started, fed, listened to, waited for, and ended with all that it began."""

import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from worker.concurrency import open_plain_nursery
from worker.redaction import Redactor
from worker.supervisor.lines import Lines
from worker.supervisor.memory import memory_kills
from worker.supervisor.tree import UNKILLABLE, Left, Order, Tree, start
from worker.supervisor.usage import Usage

# A pipe is read in pieces from which a bounded number of lines can come, so that a command that
# prints as fast as it can leaves the agent time for everything else.
PIECE = 16 * 1024
LINGER = 1.0
"""Seconds for what ends by itself a moment after the command, such as ``> >(tee log)``."""
PIPES = 1.0
"""Seconds for the pipes to close after the tree has ended: somebody else may hold them open."""
TAIL = 20
TAIL_LINE = 2000


class Patience:
    """How long a command has between SIGTERM and SIGKILL; a second signal makes it nothing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.over = trio.Event()


class Listener:
    """Hears what a command says: passes each line on, redacted, and remembers the last."""

    def __init__(self, output: Callable[[str, str], None], redactor: Redactor) -> None:
        self._output = output
        self.redactor = redactor
        self.last: deque[str] = deque(maxlen=TAIL)
        """The last lines of both streams."""
        self.errors: deque[str] = deque(maxlen=TAIL)
        """The last lines of standard error."""

    def hear(self, stream: str, line: str) -> None:
        """Take in one line of ``stdout`` or ``stderr``."""
        self._output(stream, line)
        self.last.append(line[:TAIL_LINE])
        if stream == "stderr":
            self.errors.append(line[:TAIL_LINE])

    @property
    def tail(self) -> tuple[str, ...]:
        """What best tells why a command failed: the end of its errors, or of all it said."""
        return tuple(self.errors or self.last)


@attrs.frozen
class Ended:
    """How a command ended, with all that it began."""

    code: int | None
    """None if a signal ended it."""
    signal: int | None
    left: tuple[Left, ...] = ()
    """What it left running, and what therefore was ended for it."""
    out_of_memory: bool = False
    """Whether the kernel killed a process of this cgroup for memory meanwhile."""

    def succeeded(self, accepted: tuple[int, ...]) -> bool:
        """Whether its exit code counts as success; a signal never does."""
        return self.code is not None and (self.code == 0 or self.code in accepted)

    def __str__(self) -> str:
        if self.signal is not None:
            with suppress(ValueError):
                return f"ended by {signal.Signals(self.signal).name}"
            return f"ended by signal {self.signal}"
        return f"exited with code {self.code}"


async def run_command(
    order: Order,
    *,
    stdin: bytes,
    patience: Patience,
    listener: Listener,
    account: Callable[[Usage], None],
) -> Ended:
    """Run a command to its end, and end whatever it left behind.

    When cancelled, the whole tree gets SIGTERM, and SIGKILL when *patience* is over. *account* is
    told what the tree used on every path. Raises NotStarted.
    """
    kills = memory_kills()
    inputs, outputs, errors = os.pipe(), os.pipe(), os.pipe()
    feeding = trio.lowlevel.FdStream(inputs[1])
    pumps = [
        _Pump("stdout", trio.lowlevel.FdStream(outputs[0]), listener),
        _Pump("stderr", trio.lowlevel.FdStream(errors[0]), listener),
    ]
    theirs = [inputs[0], outputs[1], errors[1]]
    async with feeding, pumps[0].stream, pumps[1].stream, open_plain_nursery() as nursery:
        try:
            async with start(order, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2]) as tree:
                _close(theirs)
                nursery.start_soon(_feed, feeding, stdin)
                for pump in pumps:
                    nursery.start_soon(pump.run)
                ended = await _wait(tree, patience, account)
        finally:
            _close(theirs)
            for pump in pumps:
                await pump.finish()
            nursery.cancel_scope.cancel()
    return attrs.evolve(ended, out_of_memory=ended.out_of_memory or memory_kills() > kills)


async def run_on_terminal(
    order: Order, *, patience: Patience, account: Callable[[Usage], None]
) -> Ended:
    """Run a command on the agent's own terminal, as a shell would."""
    order = attrs.evolve(order, session=False)
    async with start(order, stdin=None, stdout=None, stderr=None) as tree:
        return await _wait(tree, patience, account)


async def _wait(tree: Tree, patience: Patience, account: Callable[[Usage], None]) -> Ended:
    left: tuple[Left, ...] = ()
    try:
        found = await tree.exited()
        if found.left:
            with trio.move_on_after(LINGER):
                await tree.ended()
            # By now they are what they became: a child was its shell when it was seen, and a
            # daemon had still to leave its parents.
            left = await tree.left()
    finally:
        with trio.CancelScope(shield=True):
            await _end(tree, patience)
            with trio.move_on_after(UNKILLABLE):
                account(await tree.ended())
    return Ended(
        None if found.signal else found.code,
        found.signal,
        left,
        out_of_memory=tree.memory_kills > 0,
    )


async def _end(tree: Tree, patience: Patience) -> None:
    """End the tree: ask with SIGTERM, wait as long as there is patience, then kill."""
    await tree.signal(signal.SIGTERM)
    with trio.move_on_after(patience.seconds):
        async with trio.open_nursery() as nursery:

            async def hurry() -> None:
                await patience.over.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(hurry)
            await tree.ended()
            nursery.cancel_scope.cancel()
    await tree.kill()


async def _feed(stream: trio.lowlevel.FdStream, data: bytes) -> None:
    # A command that does not read its input, or stops reading, does nothing wrong.
    async with stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)


class _Pump:
    """Carries one stream of a command to its listener, until the end or until it is cancelled.

    It is shielded: a command that is being ended must be able to say its last words, and one whose
    pipe is full would not even end.
    """

    def __init__(self, name: str, stream: trio.lowlevel.FdStream, listener: Listener) -> None:
        self.stream = stream
        self._scope = trio.CancelScope(shield=True)
        self._started = False
        self._finished = trio.Event()
        self._name = name
        self._listener = listener

    async def run(self) -> None:
        self._started = True
        lines, redactor = Lines(), self._listener.redactor.new_stream()
        with self._scope:
            while data := await self.stream.receive_some(PIECE):
                for line in lines.feed(redactor.feed(data)):
                    self._listener.hear(self._name, line)
        for line in (*lines.feed(redactor.finish()), *lines.finish()):
            self._listener.hear(self._name, line)
        self._finished.set()

    async def finish(self) -> None:
        """Give the stream a moment to end; a process that is not of the tree may hold it open."""
        if self._started:
            with trio.move_on_after(PIPES, shield=True):
                await self._finished.wait()
        self._scope.cancel()


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
