"""The ``worker`` command: its subcommands, and the exit status of a command line."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import click

from worker import __version__, hooks
from worker.cli import failures, interrupts
from worker.errors import Cause
from worker.gateway import launch


class Row(NamedTuple):
    """A command in the table of commands."""

    name: str
    module: str
    """The module of `worker.cli`, imported when the command is called: help starts quickly."""
    summary: str
    """The line in ``worker --help``."""
    serves_buckets: bool = False
    """Whether the command runs a gateway, which starts early, and handles signals as a run does."""


SECTIONS: tuple[tuple[str, tuple[Row, ...]], ...] = (
    (
        "Jobs",
        (
            Row("run", "run", "Run a job and commit its output", serves_buckets=True),
            Row("validate", "documents", "Check a job document and report all errors"),
            Row("plan", "plan", "Show what a run would do, without running it"),
            Row("shell", "serving", "Open a shell with a job's buckets", serves_buckets=True),
            Row("gateway", "serving", "Serve a job's buckets until Ctrl-C", serves_buckets=True),
            Row("schema", "documents", "Print the JSON Schema of the job document"),
        ),
    ),
    (
        "Repos",
        (
            Row("put", "transfer", "Commit a directory to a branch"),
            Row("get", "transfer", "Write the files of a commit to a directory or a tar"),
            Row("ls", "browse", "List files"),
            Row("cat", "browse", "Write one file to standard output"),
            Row("log", "history", "List the commits of a branch"),
            Row("show", "history", "Show a commit with its provenance"),
            Row("repos", "history", "List repos and their branches"),
        ),
    ),
    (
        "Maintenance",
        (
            Row("verify", "maintenance", "Read the whole store and check every digest"),
            Row("gc", "maintenance", "Remove objects that no commit reaches"),
        ),
    ),
)


class OutputClosed(Exception):
    """The reader of standard output has closed it. click handles a BrokenPipeError itself."""


class LazyGroup(click.Group):
    """A group that lists its commands from the table and imports a command when it is called."""

    def invoke(self, ctx: click.Context) -> object:
        """Call the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputClosed from error

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command; the error for another one tells where it goes."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"{error.format_message()} Options follow the command: worker COMMAND "
                f"{error.option_name} …",
                ctx,
            ) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of *args*; the error for an unknown one suggests a known one."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0][:64], names, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Commands: {', '.join(names)}."
            raise click.UsageError(f"No such command {args[0][:64]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return [row.name for _, rows in SECTIONS for row in rows]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the module of *cmd_name* and return the command."""
        row = next((row for _, rows in SECTIONS for row in rows if row.name == cmd_name), None)
        if row is None:
            return None
        if row.serves_buckets:
            # The gateway starts while this process imports the rest, which takes as long.
            launch.start_early()
        else:
            interrupts.enforce()
        found = getattr(importlib.import_module(f"worker.cli.{row.module}"), row.name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the table, without importing a command."""
        for title, rows in SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(row.name, row.summary) for row in rows], col_max=12)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="worker %(version)s")
def root() -> None:
    """Run data-pipeline jobs whose code uses S3.

    Each S3 input of a job is a read-only bucket, and its output is the bucket `out`. If the command
    succeeds, the content of `out` becomes one commit, atomically.

    \b
    Examples:
      worker run --job job.json --input labresults=./results
      worker ls s3_protocol_enabled_pipeline
      worker get s3_protocol_enabled_pipeline ./output

    `worker COMMAND --help` describes a command.
    """


def call(arguments: Sequence[str], *, decided: Callable[[], None] = lambda: None) -> int:
    """Run one command line and return its exit status. Errors are reported on standard error.

    *decided* is called as soon as the exit status cannot change any more.
    """
    # Not from click, since an error can occur before the options of the command are known.
    # What follows `--` are arguments of another program.
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in own
    try:
        try:
            status = root.main(list(arguments), prog_name="worker", standalone_mode=False)
            _flush_standard_output()
        finally:
            decided()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        _configure_log(own)
        failures.report_usage(error)
        return failures.cause_of(error).exit_status
    except (click.Abort, KeyboardInterrupt):
        failures.report_stop()
        return Cause.STOPPED.exit_status
    except (OutputClosed, BrokenPipeError):
        _drop_unwritten_output()
        return failures.BROKEN_PIPE
    except Exception as error:
        _drop_unwritten_output()
        _configure_log(own)
        failures.report_error(error, debug=debug)
        return failures.cause_of(error).exit_status


def _flush_standard_output() -> None:
    """Write what is buffered; an OSError names the stream."""
    try:
        sys.stdout.flush()
    except OSError as error:
        error.filename = "standard output"
        raise


def _drop_unwritten_output() -> None:
    """Write what is buffered, or drop it: else Python tries again at exit, and fails with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _configure_log(arguments: Sequence[str]) -> None:
    """Configure the log for an error of what configures it, or of a file that is opened before."""
    loaded = sys.modules.get("worker.telemetry")
    if (loaded is None or not loaded.is_configured()) and _logs_json(arguments):
        from worker import telemetry

        telemetry.configure("json")


def _logs_json(arguments: Sequence[str]) -> bool:
    """Whether a command line that may be invalid asks for a log in JSON, or would get one."""
    found = os.environ.get("WORKER_LOG_FORMAT", "auto")
    for number, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag == "--log-format":
            found = value if equals else "".join(arguments[number + 1 : number + 2])
    if found != "auto":
        return found == "json"
    rows = [row for _, rows in SECTIONS for row in rows if row.name in arguments[:1]]
    return any(row.serves_buckets for row in rows) and not sys.stderr.isatty()


def open_standard_streams() -> None:
    """Open closed standard streams on /dev/null, and make every text printable on them.

    Otherwise the next file that is opened, such as a file of the store, gets the descriptor of a
    closed stream, and output is written into that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        # As standard streams are: the processes that this one starts would find it closed.
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # They stay open as long as the process runs.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 - see above
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115 - see above
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115 - see above
    # Keys are Unicode. The encoding of a terminal or pipe may not have all of it.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def main() -> NoReturn:
    """Run the command line of this process and exit with its status."""
    open_standard_streams()
    interrupts.install()
    hooks.install()
    try:
        os.getcwd()
    except OSError as error:
        _configure_log(sys.argv[1:])
        failures.print_error(
            f"worker: the working directory: {error.strerror}; cd to an existing directory"
        )
        sys.exit(Cause.UNRUNNABLE.exit_status)
    status = call(sys.argv[1:], decided=interrupts.ignore)
    interrupts.exit_at_signal(status)
    if not failures.flush(status):
        # Python would wait for the thread that still writes.
        os._exit(status)
    # Of a signal with a handler, Python restores the default before it has exited.
    interrupts.ignore()
    sys.exit(status)
