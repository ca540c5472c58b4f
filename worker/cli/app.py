"""The ``worker`` command: its subcommands, and the exit status of every outcome."""

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import attrs
import click

from worker import __version__
from worker.cli import failures, signals
from worker.errors import Cause, cause_of
from worker.gateway import launch
from worker.text import escape_control


@attrs.frozen
class Command:
    """A subcommand; its module is imported when it is called."""

    name: str
    module: str
    summary: str
    """The line of ``worker --help``."""
    serves_buckets: bool = False
    """Whether it runs a gateway, which is started early, and handles signals as a job does."""


SECTIONS: tuple[tuple[str, tuple[Command, ...]], ...] = (
    (
        "Jobs",
        (
            Command("run", "run", "Run a job and commit its output", serves_buckets=True),
            Command("validate", "documents", "Check a job document and list all errors"),
            Command("plan", "plan", "Show what a run would do, and run nothing"),
            Command("shell", "run", "Open a shell with a job's buckets", serves_buckets=True),
            Command("gateway", "run", "Serve a job's buckets until Ctrl-C", serves_buckets=True),
            Command("schema", "documents", "Print the JSON Schema of the job document"),
        ),
    ),
    (
        "Repos",
        (
            Command("put", "transfer", "Commit a folder to a branch"),
            Command("get", "transfer", "Write a commit's files to a folder or a tar"),
            Command("ls", "browse", "List files"),
            Command("cat", "browse", "Write one file to standard output"),
            Command("log", "history", "List the commits of a branch"),
            Command("show", "history", "Show a commit and its provenance"),
            Command("repos", "history", "List repos and their branches"),
        ),
    ),
    (
        "Upkeep",
        (
            Command("verify", "upkeep", "Read all data and check every digest"),
            Command("gc", "upkeep", "Remove data that no commit references"),
        ),
    ),
)


class OutputClosed(Exception):
    """The reader of standard output closed it; click handles BrokenPipeError itself."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def invoke(self, ctx: click.Context) -> object:
        """Call the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputClosed from error

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return [command.name for command in _commands()]

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Return a command; start the processes that it needs before importing its module."""
        command = next((each for each in _commands() if each.name == name), None)
        if command is None:
            return None
        if command.serves_buckets:
            # The parent of the gateway imports the server while this process imports the job.
            launch.start_early()
        else:
            signals.exit_after_grace_period()
        found = getattr(importlib.import_module(f"worker.cli.{command.module}"), name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands from the table, so that help imports none of them."""
        for title, commands in SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(each.name, each.summary) for each in commands], col_max=12)


def _commands() -> Iterator[Command]:
    for _, commands in SECTIONS:
        yield from commands


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="worker %(version)s")
def root() -> None:
    """Run data-pipeline jobs whose code speaks S3.

    Every S3 input of a job is a read-only bucket, its output is the bucket `out`, and the content
    of that bucket becomes one commit if the command succeeds.

    \b
    Examples:
      worker run --job job.json --input labresults=./results
      worker ls s3_protocol_enabled_pipeline
      worker get s3_protocol_enabled_pipeline ./output

    `worker COMMAND --help` describes each command.
    """


def call(arguments: Sequence[str], *, decided: Callable[[], None] = lambda: None) -> int:
    """Run one command line and return its exit status; every error has been reported.

    *decided* is called as soon as the status cannot change any more.
    """
    # Not an option of click: an error can occur before the options of a command are parsed.
    debug = "--debug" in arguments
    try:
        try:
            status = root.main(list(arguments), prog_name="worker", standalone_mode=False)
            sys.stdout.flush()
        finally:
            decided()
        return status if isinstance(status, int) else failures.OK
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        failures.say(escape_control(shown.getvalue().rstrip(), lines=True))
        return Cause.INVALID.exit_code
    except (click.Abort, KeyboardInterrupt):
        failures.say("worker: stopped")
        return Cause.STOPPED.exit_code
    except (OutputClosed, BrokenPipeError):
        # Python would complain at exit about what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return failures.BROKEN_PIPE
    except Exception as error:
        failures.report(error, debug=debug)
        return cause_of(error).exit_code


def main() -> NoReturn:
    """Run the command line of this process and exit with its status."""
    open_standard_streams()
    signals.install()
    try:
        os.getcwd()
    except OSError as error:
        failures.say(
            f"worker: the working directory: {error.strerror} (was it removed?); "
            "change to one that exists"
        )
        sys.exit(Cause.UNRUNNABLE.exit_code)
    sys.exit(call(sys.argv[1:], decided=signals.ignore))


def open_standard_streams() -> None:
    """Open standard streams that are closed on the null device, and make any text printable.

    The number of a closed stream would be assigned to the next file that is opened, such as an
    object of the store, and output would be written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 - open until the process exits
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115 - open until the process exits
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115 - open until the process exits
    # Keys are Unicode, and the encoding of a terminal or a pipe may not be.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
