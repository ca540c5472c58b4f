"""Runs a job in a process of its own that can be struck at a chosen moment; for tests.

    python driver.py STORE FOLDER DOCUMENT [SIGNAL MOMENT]

The moment is ``step:NAME`` (when that step of the run begins) or ``write:N`` (before the agent's
Nth write to the store). The command finds the agent's pid as ``AGENT_PID``. Prints the result.
"""

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import structlog
import trio

from worker.config import Address, Config, GatewayConfig, Seconds
from worker.job.run import RunRequest, run_job
from worker.job.state import Progress
from worker.spec.parse import parse
from worker.store.backends.local import LocalBackend


def strike(number: int) -> None:
    os.kill(os.getpid(), number)


def strike_before_write(number: int, count: int) -> None:
    """Send the signal before the write number *count*, whichever verb it is."""
    left = [count]

    def struck(method: Any) -> Any:
        @functools.wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                strike(number)
            return method(*arguments, **named)

        return call

    for verb in ("put", "put_new", "create", "sync", "delete"):
        setattr(LocalBackend, verb, struck(getattr(LocalBackend, verb)))


def main() -> None:
    store, folder, document, *blow = sys.argv[1:]
    number = signal.Signals[blow[0]] if blow else signal.SIGTERM
    kind, _, moment = (blow[1] if blow else "").partition(":")

    def watch(progress: Progress) -> None:
        if kind == "step" and progress.step == moment:
            strike(number)

    if kind == "write":
        strike_before_write(number, int(moment))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    request = RunRequest(
        spec=parse(Path(document).read_bytes()),
        environment={**os.environ, "AGENT_PID": str(os.getpid())},
        config=Config(
            store=Address(store),
            scratch=Path(folder) / "scratch",
            gateway=GatewayConfig(processes=1),
            grace=Seconds(float(os.environ.get("DRIVER_GRACE", "2"))),
            pfs_root=Path(folder) / "pfs",
            pass_environment=("AGENT_PID", "DRIVER_MARK"),
        ),
    )
    result = trio.run(functools.partial(run_job, request, log=structlog.get_logger(), watch=watch))
    print(result.to_text())
    sys.exit(result.exit_code)


if __name__ == "__main__":
    main()
