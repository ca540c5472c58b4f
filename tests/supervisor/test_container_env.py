"""Variables of a container: lines of a file, and a script that a shell executes."""

import os
import subprocess

import pytest

from worker.supervisor.container_env import container_environment
from worker.supervisor.tree import NotStarted


def test_variables_are_lines_and_not_in_the_repr():
    found = container_environment({"A": "# 'x'  ", "EMPTY": ""})

    assert b"A=# 'x'  \nEMPTY=\n" == found.file
    assert () == found.shell
    assert "'x'" not in repr(found)


@pytest.mark.parametrize(
    "name", ["STORE_KEY\nB", "A\rB", "#A", "", "A=B", "A B", "A\x00", "\ufeffA"]
)
def test_a_name_that_is_not_one_line_of_the_file_does_not_start_the_command(name):
    """A line without an equals sign passes the variable of the client: of the worker itself."""
    with pytest.raises(NotStarted, match="cannot be passed to a container"):
        container_environment({name: "x"})


def test_a_name_that_no_shell_can_set_needs_a_value_of_one_line():
    with pytest.raises(NotStarted, match="one line of UTF-8"):
        container_environment({"a.b": "x\ny"})


def in_container(variables: dict[str, str], *command: str) -> str:
    """Return what *command* prints with the environment that an engine reads from the file."""
    found = container_environment(variables)
    assert all(len(line) < 65536 for line in found.file.splitlines())
    read = dict(line.decode().partition("=")[::2] for line in found.file.split(b"\n") if line)
    printed = subprocess.run([*found.shell, *command], env=read, capture_output=True, check=True)
    return os.fsdecode(printed.stdout)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("-----BEGIN\nX\n", id="several lines"),
        pytest.param("a\rb", id="a carriage return"),
        pytest.param("x" * 65536, id="longer than the engines' buffer for a line"),
        pytest.param("\n" * 60_000, id="a script of several pieces"),
        pytest.param("\udcff\n\n", id="not UTF-8"),
        pytest.param("$(id) `id` ${HOME} \\0101 '\"\n%s", id="characters of a shell"),
    ],
)
def test_a_value_that_no_line_can_hold_reaches_the_command_unchanged(value):
    """The shell keeps the other variables as they are, and adds none of its own for this."""
    program = 'test "$A" = 1 && printf %s "$KEY"'
    variables = {"A": "1", "KEY": value, "PATH": os.environ["PATH"]}

    assert value == in_container(variables, "sh", "-c", program)
    shown = in_container(variables, "sh", "-c", "env | grep -c ^WORKER_ || :")
    assert "0\n" == shown


def test_a_variable_of_the_job_with_the_name_of_a_carrier_is_kept():
    variables = {"WORKER_ENVIRONMENT_0": "mine", "KEY": "a\nb"}

    assert "mine" == in_container(variables, "/bin/sh", "-c", 'printf %s "$WORKER_ENVIRONMENT_0"')


def test_the_command_line_of_the_shell_has_no_value_and_no_name():
    found = container_environment({"KEY": "hush\nhush"})

    assert "hush" not in " ".join(found.shell)
    assert ("KEY",) == found.set_by_shell
