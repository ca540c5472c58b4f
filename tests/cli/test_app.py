"""The ``worker`` command: help, imports, and the exit status of each kind of error."""

import json
import os
import subprocess
import sys

import click
import pytest

from worker import errors
from worker.cli import app, failures
from worker.config import InvalidConfig

NAMES = [row.name for _, rows in app.SECTIONS for row in rows]


def worker_process(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example(worker, name):
    """An example can be copied from ``worker COMMAND --help``."""
    done = worker(name, "--help")

    assert "Examples:" in done.out
    assert f"worker {name}" in done.out.partition("Examples:")[2]
    assert 0 == done.status


def test_help_lists_every_command(worker):
    """Each command has a line in ``worker --help``."""
    done = worker("--help")

    assert [] == [name for name in NAMES if f"  {name} " not in done.out]


def test_help_imports_no_large_module():
    """Help does not import the store, trio, or the libraries for terminals."""
    script = (
        "import sys; from worker.cli.app import call; call(['--help']);"
        "print(sorted({'trio', 'tqdm', 'structlog', 'msgspec', 'worker.store', 'worker.job'}"
        " & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "[]\n" == found.stderr


def test_run_imports_neither_object_store_client_nor_web_server():
    """The agent of a job on a directory needs neither. The gateway's processes import a server."""
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
def test_a_wrong_command_line_prints_the_usage(worker, arguments):
    """The usage is printed on standard error, and the exit status is 64."""
    done = worker(*arguments)

    assert "Usage: worker" in done.err
    assert (64, "") == (done.status, done.out)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidConfig(["x"]), 78),
        (click.UsageError("x"), 64),
        (errors.Unavailable("x"), 69),
        (KeyboardInterrupt(), 75),
        (FileNotFoundError(2, "No such file", "x"), 66),
        (NotADirectoryError(20, "Not a directory", "x"), 66),
        (PermissionError(13, "Permission denied", "x"), 66),
        (OSError(28, "No space left on device"), 73),
        (OSError(5, "Input/output error"), 69),
        (KeyError("x"), 70),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_outside_a_run_has_an_exit_status(error, status):
    """A path error is about a path that the user has named. Others are as in the table."""
    assert status == failures.cause_of(error).exit_status


def test_an_invalid_configuration_exits_with_78(worker, place):
    """An unknown key is reported with its file."""
    file = place.parent / "worker.toml"
    file.write_text("stor = 'x'")

    done = worker("repos")

    assert f"worker: {file}: stor: no such setting; did you mean store?" in done.err
    assert (78, "") == (done.status, done.out)


@pytest.fixture
def internal_error(monkeypatch):
    """Let ``worker repos`` fail with an internal error."""
    from worker.store.repository import Store

    def broken(_self):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Store, "repos", broken)


@pytest.mark.usefixtures("internal_error")
def test_an_internal_error_is_a_short_report(worker):
    """The report has the error, its place and the versions, and no traceback."""
    done = worker("repos")

    assert "internal error: ZeroDivisionError: division by zero" in done.err
    assert "worker/cli/history.py:" in done.err
    assert "Traceback" not in done.err
    assert (70, "") == (done.status, done.out)


@pytest.mark.usefixtures("internal_error")
def test_debug_prints_the_traceback(worker):
    """With ``--debug``, the traceback precedes the report."""
    done = worker("repos", "--debug")

    assert "Traceback" in done.err
    assert 70 == done.status


def test_debug_after_two_dashes_belongs_to_the_program(monkeypatch, capsys):
    """``worker shell … -- PROGRAM --debug`` prints no traceback."""

    def broken(*_arguments, **_options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(app.root, "main", broken)
    status = app.call(["shell", "--job", "job.json", "--", "program", "--debug"])

    err = capsys.readouterr().err
    assert "internal error: ZeroDivisionError" in err
    assert "Traceback" not in err
    assert 70 == status


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("run", "--job", "a\x1b]0;t\x07"), id="command-line"),
        pytest.param(("put", "lab", "a\x1b]0;t\x07"), id="path"),
        pytest.param(("a\x9b31m",), id="command"),
    ],
)
def test_a_name_in_an_error_cannot_drive_the_terminal(worker, arguments):
    """Control characters in names are escaped."""
    done = worker(*arguments)

    assert 0 != done.status
    assert not set("\x1b\x07\x9b") & set(done.err)


def test_an_error_is_an_event_in_the_json_log(worker, place):
    """With ``--log-format json``, standard error has nothing but JSON lines."""
    done = worker("ls", "nothing", "--log-format", "json")

    event = json.loads(done.err)
    assert ("worker.failed", 66) == (event["event"], event["exit_code"])
    assert f"nothing: the store {place} has no such repo: it does not exist" == event["reason"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(("run", "--job", "missing.json"), 64, id="missing document"),
        pytest.param(("get", "nothing", "target"), 66, id="missing repo"),
        pytest.param(("get", "x@y@z", "target"), 64, id="invalid reference"),
    ],
)
def test_every_error_of_a_command_is_an_event_in_the_json_log(worker, arguments, status):
    """No line is raw text, such as the usage."""
    done = worker(*arguments, "--log-format", "json")

    events = [json.loads(line) for line in done.err.splitlines()]
    assert [("worker.failed", status)] == [(e["event"], e["exit_code"]) for e in events]
    assert status == done.status


def test_a_closed_pipe_is_no_error(place):
    """``worker … | head`` prints no error and exits as if SIGPIPE had terminated it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=place.parent,
    )
    process.stdout.close()

    assert b"" == process.stderr.read()
    assert failures.BROKEN_PIPE == process.wait()
    process.stderr.close()


def test_python_m_worker_is_the_worker_command(place):
    """``python -m worker`` works without an installed script."""
    found = worker_process("--version", cwd=place.parent)

    assert (0, "worker 0.1.0\n") == (found.returncode, found.stdout)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("rn", "Did you mean 'run'?"),
        ("verfiy", "Did you mean 'verify'?"),
        ("xyzzy", "Commands: run,"),
    ],
)
def test_an_unknown_command_gets_a_suggestion(name, suggestion):
    done = subprocess.run(
        [sys.executable, "-m", "worker", name], capture_output=True, text=True, check=False
    )

    assert 64 == done.returncode
    assert suggestion in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--jbo", "job.json"), "--job"),
        (("gc", "--olderthan", "0s"), "--older-than"),
        (("--store", "./lake", "repos"), "Options follow the command: worker COMMAND --store …"),
    ],
    ids=["run", "gc", "before the command"],
)
def test_an_unknown_option_gets_a_suggestion(place, arguments, says):
    done = worker_process(*arguments, cwd=place.parent)

    assert (64, "") == (done.returncode, done.stdout)
    assert says in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "status"),
    [
        pytest.param(("ls", "--nope", "--log-format", "json"), {}, 64, id="flag"),
        pytest.param(("ls", "--nope", "--log-format=json"), {}, 64, id="flag with ="),
        pytest.param(("ls",), {"WORKER_LOG_FORMAT": "json"}, 64, id="variable"),
        pytest.param(("nope", "--log-format", "json"), {}, 64, id="unknown command"),
        pytest.param(("run", "--nope"), {}, 64, id="automatic"),
        pytest.param(("run", "--job", "x"), {"WORKER_GRACE": "x"}, 78, id="setting"),
        pytest.param(("run", "--job", "x", "--config", "none"), {}, 78, id="configuration file"),
        pytest.param(("run", "--job", "x", "--result", "none/r"), {}, 66, id="result file"),
    ],
)
def test_an_error_before_the_log_is_configured_is_an_event_in_the_json_log(
    place, arguments, environment, status
):
    """Such as one of the options and settings that choose the format."""
    environment = {"WORKER_LOG_FORMAT": "auto", **environment}
    done = worker_process(*arguments, cwd=place.parent, env={**os.environ, **environment})

    (event,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert "worker.failed" == event["event"]
    assert (status, status) == (event["exit_code"], done.returncode)


def test_an_invalid_command_line_is_text_where_the_log_is(place):
    arguments = ("run", "--nope", "--log-format", "console")
    done = worker_process(*arguments, cwd=place.parent)

    assert done.stderr.startswith("Usage: worker run")
