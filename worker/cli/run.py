"""``run``, ``shell`` and ``gateway``: commands that serve the buckets of a job."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import click
import trio

from worker import telemetry
from worker.cli import signals, terminal
from worker.cli.options import RUN, job_option, json_option, read_document, with_settings
from worker.cli.progress import show_status, transfer_progress
from worker.cli.results import ResultFile, report
from worker.config import Config
from worker.job import run as job_run
from worker.job.result import Result
from worker.job.run import RunRequest
from worker.job.state import Progress, Watch
from worker.model import BranchName, Repo
from worker.spec.parse import parse
from worker.spec.pipeline import CrossInput, Input, JobSpec, PfsInput
from worker.store.checkin import put_directory
from worker.store.opening import open_store

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
    help="Write the result as JSON, also of a failed run",
)
@json_option
@with_settings(*RUN, logs=True)
def run(
    config: Config, *, job: str, inputs: Sequence[str], result: Path | None, as_json: bool
) -> int:
    """Run a job and commit its output.

    Resolves the inputs to commits, serves the buckets, runs the command, and commits the content
    of s3://out. The name of the output commit is printed. If anything fails there is no output
    commit, and the exit status says whether a retry may succeed.

    \b
    Examples:
      worker run --job job.json
      worker run --job job.json --input labresults=./results
      worker run --job - --store s3://bucket/prefix --result result.json < job.yaml
      worker run --job job.json --runtime podman --keep-failed
    """
    with ResultFile(result) as file:
        text, source = read_document(job)
        spec = parse(text, source=source)
        if inputs:
            spec = commit_folders(config, spec, parse_folders(spec, inputs))
        request = RunRequest(spec, config, dict(os.environ))

        def start(handles_signals: Callable[[], None]) -> Result:
            async def watched(watch: Watch) -> Result:
                def note(progress: Progress) -> None:
                    handles_signals()
                    watch(progress)

                return await job_run.run(request, log=telemetry.logger(), watch=note)

            return trio.run(show_status, watched)

        found = signals.run_job(start)
        file.write(found)
    report(found, as_json=as_json)
    return found.exit_code


def parse_folders(spec: JobSpec, arguments: Sequence[str]) -> dict[str, Path]:
    """Return the folders of ``--input NAME=DIRECTORY`` by input; raise click.BadParameter."""
    inputs = {each.name: each for each in spec.inputs}
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        problem = None
        if not equals or not name or not path:
            problem = f"expected NAME=DIRECTORY, found {argument!r}"
        elif name in folders:
            problem = f"{name} is given twice"
        elif not Path(path).is_dir():
            problem = f"{path} is not a directory"
        elif name not in inputs:
            problem = f"the job has no input {name!r}; it has {', '.join(sorted(inputs))}"
        elif inputs[name].commit is not None:
            problem = (
                f"the job pins {name} to commit {inputs[name].commit}, "
                "so a folder cannot take its place"
            )
        if problem is not None:
            raise click.BadParameter(problem, param_hint="--input")
        folders[name] = Path(path)
    return folders


def commit_folders(config: Config, spec: JobSpec, folders: Mapping[str, Path]) -> JobSpec:
    """Commit each folder to the branch of its input and return the job pinned to these commits.

    Pinned, because another commit may be put on the branch before the job resolves it.
    """
    store = open_store(config.store, config.store_options)
    inputs = {each.name: each for each in spec.inputs}
    commits: dict[str, str] = {}
    for name, folder in folders.items():
        target = inputs[name]
        branch = BranchName(Repo(target.project, target.repo), target.branch)
        with transfer_progress(f"{name} from {folder}") as progress:
            commit = put_directory(
                store, branch, folder, progress=progress, publishing=signals.deferring_signals
            )
        commits[name] = commit.name.id
    signals.raising_signals()

    def pinned(node: Input) -> Input:
        if isinstance(node, CrossInput):
            return CrossInput(tuple(pinned(part) for part in node.parts))
        assert isinstance(node, PfsInput)
        return attrs.evolve(node, commit=commits.get(node.name, node.commit))

    return attrs.evolve(spec, input=pinned(spec.input))


@click.command()
@job_option
@click.option("--commit", is_flag=True, help="Commit s3://out if the shell exits with status 0")
@click.argument("command", nargs=-1, metavar="[COMMAND...]")
@with_settings(*RUN, logs=True)
def shell(config: Config, *, job: str, commit: bool, command: tuple[str, ...]) -> int:
    """Open a shell with a job's buckets.

    Runs your shell ($SHELL) or COMMAND in place of the job's command, with the job's buckets and
    environment. The content of s3://out is discarded, or becomes the job's output commit with
    --commit if the shell exits with status 0.

    \b
    Examples:
      worker shell --job job.json
      worker shell --job job.json --commit
      worker shell --job job.json -- python -i explore.py
    """
    argv = command or (os.environ.get("SHELL") or "/bin/sh",)
    text, source = read_document(job)
    request = RunRequest(parse(text, source=source), config, dict(os.environ))
    if sys.stderr.isatty():
        fate = "committed on exit status 0" if commit else "discarded at the end"
        click.secho(
            f"The buckets are at $S3_ENDPOINT. s3://out is {fate}.",
            err=True,
            dim=True,
        )
    result = signals.run_job(
        lambda handles_signals: trio.run(
            partial(
                job_run.shell,
                request,
                argv=argv,
                commit=commit,
                log=telemetry.logger(),
                watch=lambda _: handles_signals(),
            )
        )
    )
    report(result, as_json=False)
    return result.exit_code


@click.command()
@job_option
@json_option
@with_settings(*RUN, logs=True)
def gateway(config: Config, *, job: str, as_json: bool) -> int:
    """Serve a job's buckets until Ctrl-C.

    The inputs are read-only; s3://out is empty at first, writable, and discarded at the end. The
    variables that S3 clients need are printed, ready for `export`.

    \b
    Examples:
      worker gateway --job job.json
      worker gateway --job job.json --port 9000
      worker gateway --job job.json --json | head -1
    """

    def ready(variables: Mapping[str, str]) -> None:
        if as_json:
            terminal.print_json(dict(variables))
        else:
            _print_exports(variables)
        sys.stdout.flush()

    text, source = read_document(job)
    request = RunRequest(parse(text, source=source), config, dict(os.environ))
    result = signals.run_job(
        lambda handles_signals: trio.run(
            partial(
                job_run.gateway,
                request,
                ready=ready,
                log=telemetry.logger(),
                watch=lambda _: handles_signals(),
            )
        )
    )
    if result.exit_code:
        report(result, as_json=False)
    return result.exit_code


def _print_exports(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        # The name of an input may be no name that a shell can export; other programs can use it.
        prefix = "export " if SHELL_NAME.fullmatch(name) else "# not for a shell: "
        click.echo(f"{prefix}{name}={shlex.quote(value)}")
    if terminal.is_terminal():
        terminal.print_line("# Serving until Ctrl-C.")
