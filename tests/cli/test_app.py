"""The ``worker`` command itself: its help, its start, and how every command line ends."""

import json
import subprocess
import sys

import pytest

from worker import errors
from worker.cli import app, exits
from worker.config import InvalidConfig

NAMES = [name for _, rows in app.SECTIONS for name, _, _ in rows]


def worker_process(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself_with_examples(worker, name):
    """`worker COMMAND --help` has a first line and at least one example to copy."""
    said = worker(name, "--help")

    assert "Examples:" in said.out
    assert f"worker {name}" in said.out.partition("Examples:")[2]
    assert 0 == said.status


def test_help_names_every_command(worker):
    """`worker --help` lists the commands with a line each."""
    said = worker("--help")

    assert [] == [name for name in NAMES if f"  {name} " not in said.out]


def test_help_imports_nothing_heavy():
    """Help is quick: neither the store, nor trio, nor the libraries for people are loaded."""
    script = (
        "import sys; from worker.cli.app import call; call(['--help']);"
        "print(sorted({'trio', 'rich', 'structlog', 'msgspec', 'worker.store', 'worker.job'}"
        " & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "[]\n" == found.stderr


def test_run_does_not_load_what_it_does_not_use():
    """A job on a directory loads no object-store client, and no web server in the agent."""
    script = (
        "import sys, worker.cli.run;"
        "print(sorted({'obstore', 'quart', 'hypercorn'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "[]\n" == found.stdout


@pytest.mark.parametrize(
    "arguments",
    [["runn"], ["ls"], ["ls", "--nothing", "x"], ["log", "-n", "0", "x"]],
    ids=["no such command", "no argument", "no such option", "not a number"],
)
def test_a_wrong_command_line_says_how_it_goes(worker, arguments):
    """The usage goes to standard error, and the status is 64."""
    said = worker(*arguments)

    assert "Usage: worker" in said.err
    assert (64, "") == (said.status, said.out)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidConfig(["x"]), 78),
        (errors.Invalid("x"), 64),
        (errors.NotFound("x"), 66),
        (errors.Unavailable("x"), 69),
        (errors.Denied("x"), 69),
        (errors.Conflict("x"), 73),
        (errors.CommandFailed("x"), 10),
        (errors.Interrupted("x"), 75),
        (KeyboardInterrupt(), 75),
        (FileNotFoundError(2, "No such file", "x"), 66),
        (OSError(28, "No space left on device"), 73),
        (OSError(5, "Input/output error"), 69),
        (KeyError("x"), 70),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_has_an_exit_status_by_its_meaning(error, status):
    """The statuses are those of the reference, by the meaning of the error."""
    assert status == exits.cause_of(error).exit_status


def test_a_wrong_configuration_is_status_78(worker, place):
    """An unknown key is named with its file, and nothing is done."""
    file = place.parent / "worker.toml"
    file.write_text("stor = 'x'")

    said = worker("repos")

    assert f"worker: {file}: stor: no such setting; did you mean store?" in said.err
    assert (78, "") == (said.status, said.out)


@pytest.fixture
def fault(monkeypatch):
    """Let `worker repos` run into a fault of our own."""
    from worker.store.repository import Store

    def broken(_self):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Store, "repos", broken)


@pytest.mark.usefixtures("fault")
def test_a_fault_of_our_own_is_a_short_report(worker):
    """No traceback: the fault, its place, the versions, and how to see more; status 70."""
    said = worker("repos")

    assert "a fault of worker's own: ZeroDivisionError: division by zero" in said.err
    assert "worker/cli/history.py:" in said.err
    assert "Traceback" not in said.err
    assert (70, "") == (said.status, said.out)


@pytest.mark.usefixtures("fault")
def test_debug_shows_the_traceback(worker):
    """With --debug the traceback comes before the report."""
    said = worker("repos", "--debug")

    assert "Traceback" in said.err
    assert 70 == said.status


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("run", "--job", "a\x1b]0;t\x07"), id="command-line"),
        pytest.param(("put", "lab", "a\x1b]0;t\x07"), id="path"),
        pytest.param(("a\x9b31m",), id="command"),
    ],
)
def test_a_name_in_an_error_does_not_drive_the_terminal(worker, arguments):
    """Control characters of what somebody called something are written out."""
    said = worker(*arguments)

    assert 0 != said.status
    assert not set("\x1b\x07\x9b") & set(said.err)


def test_an_error_is_an_event_where_json_is_asked_for(worker):
    """With --log-format json standard error holds nothing but JSON lines."""
    said = worker("ls", "nothing", "--log-format", "json")

    event = json.loads(said.err)
    assert ("worker.failed", 66) == (event["event"], event["exit_code"])
    assert "nothing: the store has no such repo" == event["reason"]


def test_a_reader_who_leaves_is_no_error(place):
    """`worker … | head` ends quietly, as if SIGPIPE had ended it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=place.parent,
    )
    process.stdout.close()

    assert b"" == process.stderr.read()
    assert exits.READER_LEFT == process.wait()
    process.stderr.close()


def test_python_dash_m_is_the_same_command(place):
    """`python -m worker` works without an installed script."""
    found = worker_process("--version", cwd=place.parent)

    assert (0, "worker 0.1.0\n") == (found.returncode, found.stdout)
