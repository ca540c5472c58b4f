"""``shell`` and ``gateway``: the buckets of a job without its command."""

import functools
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import click
import trio

from worker import telemetry
from worker.cli import failures
from worker.cli import terminal as output
from worker.cli.interrupts import handing_over_signals
from worker.cli.options import (
    RUN,
    STORE,
    given_options,
    job_option,
    json_option,
    read_job,
    with_settings,
)
from worker.cli.results import print_result
from worker.cli.summary import NextCommands
from worker.config import Config
from worker.job.result import Result
from worker.job.run import RunRequest, run_gateway, run_shell
from worker.spec.variables import is_of_shell, is_variable
from worker.text import escape_controls, export_line, shows_colors


@click.command()
@job_option
@click.option("--commit", is_flag=True, help="Commit s3://out if the shell exits with 0")
@click.argument("command", nargs=-1, metavar="[COMMAND...]")
@with_settings(*RUN, logs=True)
def shell(settings: Config, *, job: str, commit: bool, command: tuple[str, ...]) -> int:
    """Open a shell with a job's buckets and environment.

    Runs your shell ($SHELL) or COMMAND instead of the command of the job. The content of s3://out
    is discarded. With --commit it becomes the output commit of the job if the shell exits with 0.

    \b
    Examples:
      worker shell --job job.json
      worker shell --job job.json --commit
      worker shell --job job.json -- python -i explore.py
    """
    argv = command or (os.environ.get("SHELL") or "/bin/sh",)
    request = RunRequest(read_job(job), settings, dict(os.environ))
    if sys.stderr.isatty():
        end = "committed on exit 0" if commit else "discarded at the end"
        text = f"The endpoint of the buckets is $S3_ENDPOINT. s3://out is {end}."
        click.secho(text, err=True, dim=shows_colors(os.environ) or None)
    result = _run(run_shell, request, argv=argv, commit=commit)
    print_result(result, settings, next_commands=NextCommands(given_options(STORE)))
    return result.exit_code


@click.command()
@job_option
@json_option
@with_settings(*RUN, logs=True)
def gateway(settings: Config, *, job: str, as_json: bool) -> int:
    """Serve a job's buckets until a signal, such as Ctrl-C.

    The inputs are read-only. s3://out is empty at first, writable, and discarded at the end. Prints
    the variables of the job's command, in a form that a shell can source, but for those that change
    how a shell works, such as PATH.

    \b
    Examples:
      worker gateway --job job.json
      worker gateway --job job.json --port 9000
      worker gateway --job job.json --json | head -1
    """

    def ready(variables: Mapping[str, str]) -> None:
        if as_json:
            output.print_json(dict(variables))
        else:
            _print_exports(variables)
        sys.stdout.flush()

    request = RunRequest(read_job(job), settings, dict(os.environ))
    result = _run(run_gateway, request, ready=ready)
    if result.exit_code:
        print_result(result, settings, next_commands=NextCommands(given_options(STORE)))
    return result.exit_code


def _run(start: Callable[..., Awaitable[Result]], request: RunRequest, **arguments: Any) -> Result:
    """Run *start*, which handles signals itself once it reports progress."""

    def run(ready: Callable[[], None]) -> Result:
        watched = functools.partial(
            start, request, log=telemetry.logger(), watch=lambda _: ready(), **arguments
        )
        return trio.run(watched)

    return handing_over_signals(run)


def _print_exports(variables: Mapping[str, str]) -> None:
    """Print what a shell can source, and report what it must not take from a document."""
    exported = {
        name: value
        for name, value in variables.items()
        if is_variable(name) and not is_of_shell(name)
    }
    for name, value in exported.items():
        output.print_line(export_line(name, value))
    if others := variables.keys() - exported.keys():
        failures.print_error(
            "worker: not exported, since they change how a shell works: "
            f"{escape_controls(', '.join(sorted(others)), keep='')}; --json prints them"
        )
    if output.on_terminal():
        output.print_line("# The gateway is running; Ctrl-C stops it.")
