"""Early start of the gateway's parent process, before the agent has imported what a job needs.

Importing the web server takes longer than everything else that a short job does, so the two run at
the same time. This module imports little.
"""

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import worker

Process = subprocess.Popen[bytes]

# Not "-m", which would put the current directory, the user's, first on the path. Imported modules
# stay, so collecting garbage meanwhile would cost a tenth of the time and free nothing. The process
# has the agent's environment, which other programs of the same user must not read.
PROGRAM = """
import gc, sys
gc.disable()
sys.path.append(sys.argv[1])
from worker.system import keep_private
keep_private()
from worker.gateway.forkserver import main
main()
"""

EXIT_TIMEOUT = 5.0
"""Seconds for a killed process to exit; then it is left to the kernel."""

_early: list[Process] = []


def start_early() -> None:
    """Start the process that the next `launched` uses; otherwise it is killed at exit."""
    if not _early:
        _early.append(_start())
        atexit.register(stop_early)


def stop_early() -> None:
    """Kill the process that was started early and is not used."""
    while _early:
        _kill(_early.pop())


@contextmanager
def launched() -> Iterator[Process]:
    """Provide the parent process of a gateway, started early or now; kill it at the end."""
    process = _early.pop() if _early else _start()
    try:
        yield process
    finally:
        _kill(process)


def _kill(process: Process) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(EXIT_TIMEOUT)


def _start() -> Process:
    root = str(Path(worker.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C on the terminal is for the agent, which ends the gateway in order.
        start_new_session=True,
    )
