"""The three ways to have a job's buckets: a run, a shell among them, or nothing but the buckets.

This is the way in, and it imports little: the gateway's first process begins, and while that
imports the server, the rest of this room is imported here.
"""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from structlog.typing import FilteringBoundLogger

from worker.gateway.launch import launched
from worker.job.request import RunRequest, Watch, unwatched
from worker.job.result import Result


async def run(
    request: RunRequest,
    *,
    log: FilteringBoundLogger,
    watch: Watch = unwatched,
    gateway: "subprocess.Popen[bytes] | None" = None,
) -> Result:
    """Run a job to its end and return what it came to; every error of the run is in the result.

    *gateway* is what ``launched`` gave, if that was called even earlier.
    """
    with _begun(request, gateway) as process:
        from worker.job import works

        return await works.run(request, launched=process, log=log, watch=watch)


async def shell(
    request: RunRequest,
    *,
    argv: tuple[str, ...],
    commit: bool,
    log: FilteringBoundLogger,
    watch: Watch = unwatched,
) -> Result:
    """Run *argv* on the caller's terminal among the job's buckets, in place of its command.

    It sees the first datum. What it wrote is committed if it exits with 0 and *commit* says so,
    and dropped otherwise.
    """
    with _begun(request) as process:
        from worker.job import works

        return await works.shell(
            request, argv=argv, commit=commit, launched=process, log=log, watch=watch
        )


async def gateway(
    request: RunRequest,
    *,
    ready: Callable[[Mapping[str, str]], None],
    log: FilteringBoundLogger,
    watch: Watch = unwatched,
) -> Result:
    """Serve the job's buckets until a signal, and commit nothing.

    *ready* is called with the variables by which clients find the buckets, once they answer.
    """
    with _begun(request) as process:
        from worker.job import works

        return await works.gateway(request, ready=ready, launched=process, log=log, watch=watch)


def _begun(
    request: RunRequest, early: "subprocess.Popen[bytes] | None" = None
) -> "AbstractContextManager[subprocess.Popen[bytes] | None]":
    if request.spec.serves_s3:
        return launched() if early is None else nullcontext(early)
    if early is not None:
        early.kill()
    return nullcontext()
