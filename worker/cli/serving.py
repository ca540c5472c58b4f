"""``shell`` and ``gateway``: a job's buckets for a person, without the job's command."""

import functools
import os
import re
import shlex
import sys
from collections.abc import Mapping

import click
import trio

from worker import telemetry
from worker.cli import stopping
from worker.cli import terminal as output
from worker.cli.options import RUN, job_option, json_option, with_settings
from worker.cli.requests import read_job, request_for
from worker.cli.results import report
from worker.config import Config
from worker.job import runner

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@click.command()
@job_option
@click.option("--commit", is_flag=True, help="Commit s3://out when the shell ends with exit 0")
@click.argument("command", nargs=-1, metavar="[COMMAND...]")
@with_settings(*RUN, logs=True)
def shell(settings: Config, *, job: str, commit: bool, command: tuple[str, ...]) -> int:
    """Open a shell among a job's buckets.

    The buckets and the environment of the job, and your shell ($SHELL) or COMMAND in place of its
    command. What you write to s3://out is discarded, or becomes the job's output commit with
    --commit when the shell ends with exit 0.

    \b
    Examples:
      worker shell --job job.json
      worker shell --job job.json --commit
      worker shell --job job.json -- python -i explore.py
    """
    argv = command or (os.environ.get("SHELL") or "/bin/sh",)
    request = request_for(settings, read_job(job))
    if sys.stderr.isatty():
        click.secho(
            "Buckets: see `env | grep S3_ENDPOINT`. "
            + (
                "s3://out is committed on exit 0."
                if commit
                else "s3://out is discarded at the end."
            ),
            err=True,
            dim=True,
        )
    result = stopping.run_job(
        lambda listening: trio.run(
            functools.partial(
                runner.shell,
                request,
                argv=argv,
                commit=commit,
                log=telemetry.logger(),
                watch=lambda _: listening(),
            )
        )
    )
    report(result, as_json=False)
    return result.exit_code


@click.command()
@job_option
@json_option
@with_settings(*RUN, logs=True)
def gateway(settings: Config, *, job: str, as_json: bool) -> int:
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
            output.print_json(dict(variables))
        else:
            _print_exports(variables)
        sys.stdout.flush()

    request = request_for(settings, read_job(job))
    result = stopping.run_job(
        lambda listening: trio.run(
            functools.partial(
                runner.gateway,
                request,
                ready=ready,
                log=telemetry.logger(),
                watch=lambda _: listening(),
            )
        )
    )
    if result.exit_code:
        report(result, as_json=False)
    return result.exit_code


def _print_exports(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        # An input's name may be none that a shell can export; a program can still have it so.
        sign = "export " if SHELL_NAME.fullmatch(name) else "# not for a shell: "
        click.echo(f"{sign}{name}={shlex.quote(value)}")
    if output.on_terminal():
        output.print_line("# Serving; Ctrl-C ends it.")
