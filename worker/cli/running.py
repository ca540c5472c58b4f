"""What ``run`` does once its command line is read; apart, for it imports all that a job needs."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from worker import telemetry
from worker.cli import stopping
from worker.cli.requests import (
    check_folders,
    import_folders,
    parse_folders,
    read_job,
    request_for,
)
from worker.cli.results import ResultFile, report
from worker.cli.status import with_status
from worker.config import Config
from worker.job.request import Progress, Watch
from worker.job.result import Result
from worker.job.runner import run


def run_document(
    settings: Config,
    job: str,
    *,
    inputs: Sequence[str],
    result: Path | None,
    as_json: bool,
    gateway: "subprocess.Popen[bytes]",
) -> int:
    """Run the job of a document, report what it came to, and return the exit status.

    *gateway* is the gateway's first process, which was launched already.
    """
    with ResultFile(result) as file:
        spec = read_job(job)
        folders = parse_folders(inputs)
        check_folders(spec, folders)
        if folders:
            spec = import_folders(settings, spec, folders)
        request = request_for(settings, spec)

        def start(listening: Callable[[], None]) -> Result:
            async def watched(watch: Watch) -> Result:
                def note(progress: Progress) -> None:
                    listening()
                    watch(progress)

                return await run(request, log=telemetry.logger(), watch=note, gateway=gateway)

            return trio.run(with_status, watched)

        found = stopping.run_job(start)
        file.write(found)
    report(found, as_json=as_json)
    return found.exit_code
