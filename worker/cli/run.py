"""``run``: run a job, from its document to its output commit."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import click
import trio

from worker import telemetry
from worker.cli.interrupts import handing_over_signals, publishing_step
from worker.cli.options import (
    RUN,
    STORE,
    given_options,
    job_document,
    json_option,
    read_job,
    with_settings,
)
from worker.cli.result_file import Report, with_result_files
from worker.cli.results import print_result
from worker.cli.status import traffic_interval, with_status
from worker.cli.summary import NextCommands
from worker.cli.terminal import transfer_progress
from worker.config import Config
from worker.job.plan import open_job_store
from worker.job.run import RunRequest, run_job
from worker.model import BranchName, Commit, Repo
from worker.spec.pipeline import CrossInput, Input, JobSpec, PfsInput
from worker.store.checkin import put_directory
from worker.text import shell_line


@click.command()
@job_document
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=DIRECTORY",
    help="Commit this directory to the repo of the input first, unless its content is unchanged",
)
@with_result_files
@json_option
@with_settings(*RUN, logs=True)
def run(settings: Config, *, job: str, inputs: Sequence[str], report: Report, as_json: bool) -> int:
    """Run a job and commit its output.

    Resolves the inputs to commits, serves the buckets, runs the command, and commits the content of
    s3://out as the output commit, whose name is printed. If anything fails there is no output
    commit, and the exit status tells whether a retry may succeed.

    \b
    Examples:
      worker run --job job.json
      worker run --job job.json --input labresults=./results
      worker run --job - --store s3://bucket/prefix --result result.json < job.yaml
      worker run --job job.json --runtime podman --keep-failed
    """
    spec = read_job(job)
    next_commands = _next_commands(settings, job)
    folders = _parse_folders(inputs, spec)
    if folders:
        spec = _import_folders(settings, spec, folders)
    environment = dict(os.environ)
    request = RunRequest(spec, settings, environment, traffic_interval=traffic_interval())
    start = partial(run_job, request, log=telemetry.logger())
    found = handing_over_signals(partial(trio.run, with_status, start))
    report(found)
    print_result(found, settings, next_commands=next_commands, as_json=as_json)
    return found.exit_code


def _next_commands(settings: Config, job: str) -> NextCommands:
    """Return the command lines that continue this one, with its options."""
    document = ["--job", "FILE" if job == "-" else job]
    names = [name for name in RUN if name != "keep_failed"]
    shell = ["worker", "shell", *document, *given_options(names)]
    again = ["worker", "run", *document, *given_options(names, others=True), "--keep-failed"]
    return NextCommands(
        given_options(STORE),
        shell=shell_line(shell),
        again="" if settings.keep_failed else shell_line(again),
    )


# --- folders as inputs ----------------------------------------------------------------------------


def _parse_folders(texts: Sequence[str], spec: JobSpec) -> dict[str, Path]:
    """Return the folders of ``--input NAME=DIRECTORY`` by input name.

    Raises BadParameter for an input that the job does not have, or that is pinned to a commit.
    """
    inputs = {each.name: each for each in spec.inputs}
    folders: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            problem = f"expected NAME=DIRECTORY, found {text!r}"
        elif name in folders:
            problem = f"the input {name!r} is given twice"
        elif not Path(path).is_dir():
            problem = f"{path}: " + (
                "not a directory" if Path(path).exists() else "no such directory"
            )
        elif name not in inputs:
            problem = f"the job has no input {name!r}; its inputs are {', '.join(sorted(inputs))}"
        elif (commit := inputs[name].commit) is not None:
            problem = f"the job pins the input {name!r} to commit {commit}"
        else:
            folders[name] = Path(path)
            continue
        raise click.BadParameter(problem, param_hint="--input")
    return folders


def _import_folders(settings: Config, spec: JobSpec, folders: Mapping[str, Path]) -> JobSpec:
    """Commit each folder to the branch of its input, and return the job pinned to these commits.

    It is pinned because another commit may arrive on the branch before the inputs are resolved.
    """
    store = open_job_store(settings, spec)
    inputs = {each.name: each for each in spec.inputs}
    commits: dict[str, Commit] = {}
    for name, folder in folders.items():
        branch = BranchName(Repo(inputs[name].project, inputs[name].repo), inputs[name].branch)
        before = store.head(branch)
        with transfer_progress(f"{name} from {folder}") as progress:
            commit = commits[name] = put_directory(
                store, branch, folder, progress=progress, publishing=publishing_step
            )
        telemetry.logger().info(
            "input.committed",
            input=name,
            commit=str(commit.name),
            files=commit.files,
            size=commit.size,
            changed=before is None or before.commit != commit.name,
        )
    return attrs.evolve(spec, input=_pinned(spec.input, commits))


def _pinned(node: Input, commits: Mapping[str, Commit]) -> Input:
    if isinstance(node, CrossInput):
        return CrossInput(tuple(_pinned(part, commits) for part in node.parts))
    assert isinstance(node, PfsInput)
    commit = commits.get(node.name)
    return node if commit is None else attrs.evolve(node, commit=commit.name.id)
