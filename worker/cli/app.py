"""The ``worker`` command itself: which commands there are, and how every one of them ends."""

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import click

from worker import __version__
from worker.cli import exits, stopping, streams
from worker.errors import Cause

# Name, module, and the line of `worker --help`. Modules are imported when a command is called.
SECTIONS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Jobs",
        (
            ("run", "run", "Run a job and commit what it wrote"),
            ("validate", "documents", "Check a job document and name every mistake"),
            ("plan", "plan", "Show what a run would do, and run nothing"),
            ("shell", "serving", "Open a shell among a job's buckets"),
            ("gateway", "serving", "Serve a job's buckets until Ctrl-C"),
            ("schema", "documents", "Print the JSON Schema of the job document"),
        ),
    ),
    (
        "Repos",
        (
            ("put", "transfer", "Commit a folder to a branch"),
            ("get", "transfer", "Write a commit's files to a folder or a tar"),
            ("ls", "browse", "List files"),
            ("cat", "browse", "Write one file to standard output"),
            ("log", "history", "List the commits of a branch"),
            ("show", "history", "Show a commit and where it comes from"),
            ("repos", "history", "List repos and their branches"),
        ),
    ),
    (
        "Upkeep",
        (
            ("verify", "upkeep", "Read everything again and check every digest"),
            ("gc", "upkeep", "Remove what no commit reaches"),
        ),
    ),
)


class ReaderLeft(Exception):
    """Whoever read our output has closed it; click would take a BrokenPipeError for its own."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def invoke(self, ctx: click.Context) -> object:
        """Call the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderLeft from error

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table."""
        return [name for _, rows in SECTIONS for name, _, _ in rows]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of *cmd_name* and return the command."""
        for _, rows in SECTIONS:
            for name, module, _ in rows:
                if name == cmd_name:
                    found = getattr(importlib.import_module(f"worker.cli.{module}"), name)
                    assert isinstance(found, click.Command)
                    return found
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands from the table, so that help imports none of them."""
        for title, rows in SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, _, line in rows], col_max=12)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="worker %(version)s")
def root() -> None:
    """Run data-pipeline jobs whose code speaks S3.

    Every S3 input of a job is a read-only bucket, its output is the bucket `out`, and what the
    command left there becomes one commit, or nothing at all.

    \b
    Examples:
      worker run --job job.json --input labresults=./results
      worker ls s3_protocol_enabled_pipeline
      worker get s3_protocol_enabled_pipeline ./output

    `worker COMMAND --help` says more about each.
    """


def call(arguments: Sequence[str], *, decided: Callable[[], None] = lambda: None) -> int:
    """Run one command line and return its exit status; every error has been reported then.

    *decided* is called as soon as nothing changes that status any more.
    """
    # Looked for by hand: an error can come before the options of a command are known.
    debug = "--debug" in arguments
    try:
        try:
            status = root.main(list(arguments), prog_name="worker", standalone_mode=False)
            sys.stdout.flush()
        finally:
            decided()
        return status if isinstance(status, int) else exits.OK
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        exits.say(shown.getvalue().rstrip())
        return Cause.INVALID.exit_status
    except (click.Abort, KeyboardInterrupt):
        exits.say("worker: stopped")
        return Cause.STOPPED.exit_status
    except (ReaderLeft, BrokenPipeError):
        # They have seen enough. What is still buffered would be complained about at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exits.READER_LEFT
    except Exception as error:
        exits.report(error, debug=debug)
        return exits.cause_of(error).exit_status


def main() -> NoReturn:
    """Run the command line of this process and leave with its exit status."""
    stopping.install()
    # A job has its own way to end in order.
    if sys.argv[1:2] not in (["run"], ["shell"], ["gateway"]):
        stopping.insist()
    if reason := streams.working_directory():
        exits.say(f"worker: {reason}")
        sys.exit(Cause.UNRUNNABLE.exit_status)
    sys.exit(call(sys.argv[1:], decided=stopping.too_late))
