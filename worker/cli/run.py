"""``run``: one job, from its document to its output commit."""

from collections.abc import Sequence
from pathlib import Path

import click
import trio

from worker import telemetry
from worker.cli.options import RUN, job_option, json_option, with_settings
from worker.cli.requests import (
    check_folders,
    import_folders,
    parse_folders,
    read_job,
    request_for,
)
from worker.cli.results import ResultFile, report
from worker.cli.status import with_status
from worker.job.request import Watch
from worker.job.result import Result
from worker.job.runner import run as run_job
from worker.settings import Settings


@click.command()
@job_option
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=DIRECTORY",
    help="Commit this folder to the input's repo first; unchanged content makes no new commit",
)
@click.option(
    "--result",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what the run came to as JSON, also when it fails",
)
@json_option
@with_settings(*RUN, logs=True)
def run(
    settings: Settings, *, job: str, inputs: Sequence[str], result: Path | None, as_json: bool
) -> int:
    """Run a job and commit what it wrote.

    Its inputs become commits, its buckets are served, its command is run, and what it left in
    s3://out becomes the output commit, whose name is printed. If anything fails there is no output
    commit, and the exit status says whether another try may help.

    \b
    Examples:
      worker run --job job.json
      worker run --job job.json --input labresults=./results
      worker run --job - --store s3://bucket/prefix --result result.json < job.yaml
      worker run --job job.json --runtime podman --keep-failed
    """
    with ResultFile(result) as file:
        spec = read_job(job)
        folders = parse_folders(inputs)
        check_folders(spec, folders)
        if folders:
            spec = import_folders(settings, spec, folders)
        request = request_for(settings, spec)

        async def watched(watch: Watch) -> Result:
            return await run_job(request, log=telemetry.logger(), watch=watch)

        found = trio.run(with_status, watched)
        file.write(found)
    report(found, as_json=as_json)
    return found.exit_code
