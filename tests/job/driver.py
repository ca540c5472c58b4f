"""Run a job in a process that sends itself a signal at a chosen moment; for tests.

    python driver.py STORE FOLDER DOCUMENT [SIGNAL MOMENT]

The moment is ``step:NAME`` (when a step of the run starts) or ``write:N`` (before the agent's Nth
write to the store). The command has the agent's pid as ``AGENT_PID``. Prints the result.
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


def send_signal(number: int) -> None:
    os.kill(os.getpid(), number)


def signal_before_write(number: int, count: int) -> None:
    """Send the signal before write number *count* of any kind."""
    left = [count]

    def counted(method: Any) -> Any:
        @functools.wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                send_signal(number)
            return method(*arguments, **named)

        return call

    for verb in ("put", "put_new", "create", "sync", "delete"):
        setattr(LocalBackend, verb, counted(getattr(LocalBackend, verb)))


def main() -> None:
    store, folder, document, *arguments = sys.argv[1:]
    number = signal.Signals[arguments[0]] if arguments else signal.SIGTERM
    kind, _, moment = (arguments[1] if arguments else "").partition(":")

    def watch(progress: Progress) -> None:
        if kind == "step" and progress.step == moment:
            send_signal(number)

    if kind == "write":
        signal_before_write(number, int(moment))
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
