"""``run``: one job, from its document to its output commit."""

from collections.abc import Sequence
from pathlib import Path

import click

from worker.cli.options import RUN, job_option, json_option, with_settings
from worker.config import Config
from worker.gateway.launch import launched


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
    settings: Config, *, job: str, inputs: Sequence[str], result: Path | None, as_json: bool
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
    # The gateway begins before this process has imported what a job needs: that takes as long.
    with launched() as gateway:
        from worker.cli.running import run_document

        return run_document(
            settings,
            job,
            inputs=inputs,
            result=result,
            as_json=as_json,
            gateway=gateway,
        )
