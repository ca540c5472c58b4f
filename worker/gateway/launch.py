"""The first moment of a gateway: its parent process is begun before anybody can talk to it.

To import the server takes longer than all else that a short job does. So the process begins while
the agent itself still imports what it needs, and this module imports next to nothing.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import worker

# Not "-m": that would put the current directory, which is the user's, before everything else.
# What is imported stays, so that to look for garbage in it meanwhile costs a tenth and finds none.
PROGRAM = """
import gc, sys
gc.disable()
sys.path.append(sys.argv[1])
from worker.gateway.forkserver import main
main()
"""


_begun: list["subprocess.Popen[bytes]"] = []


def begin() -> None:
    """Begin a process that the next ``launched`` takes; without one, it ends with this process."""
    _begun.append(_start())


@contextmanager
def launched() -> Iterator["subprocess.Popen[bytes]"]:
    """Run the parent of a gateway for as long as the block lasts, for ``start_parent`` to take."""
    process = _begun.pop() if _begun else _start()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _start() -> "subprocess.Popen[bytes]":
    root = str(Path(worker.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A Ctrl-C at the terminal is for the agent, which then ends the family in its own order.
        start_new_session=True,
    )
