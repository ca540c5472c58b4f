"""``/pfs/.env``; ``tests/scenarios/test_literal_paths.py`` sources it in commands."""

import os
import stat
import subprocess

import pytest

from worker.directories import open_directory
from worker.job.env_file import EnvFile, assignments

VALUES = [
    "",
    "plain",
    "a b",
    "it's",
    '"$HOME" `id` \\',
    "two\nlines\n",
    "é\udcff",
    "#!~*?[x]",
    "-n",
]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_every_value_can_be_sourced(tmp_path, shell):
    variables = {f"V{number}": value for number, value in enumerate(VALUES)}
    EnvFile(open_directory(tmp_path)).write(variables)
    script = "".join(f'printf "%s\\0" "${name}"\n' for name in variables)
    done = subprocess.run(
        [shell, "-euc", f". {tmp_path}/.env\n{script}"], capture_output=True, check=True, env={}
    )

    assert VALUES == [os.fsdecode(value) for value in done.stdout.split(b"\0")[:-1]]


def test_variables_that_a_shell_cannot_assign_are_left_out():
    names = ("lab-results", "1st", "a.b", "UID", "PPID", "SHELLOPTS", "x;id", "two\nlines")

    assert b"GOOD=1\n" == assignments({"GOOD": "1", **dict.fromkeys(names, "v")})


def test_only_the_owner_can_read_the_file(tmp_path):
    """Whatever the umask is, and whatever the command has put in its place."""
    target = tmp_path / "target"
    target.write_text("untouched")
    file = EnvFile(open_directory(tmp_path))
    umask = os.umask(0)
    try:
        for replace in (
            os.fspath,
            lambda path: path.symlink_to(target),
            lambda path: path.mkdir(),
            lambda path: path.touch(0o666),
        ):
            (tmp_path / ".env").unlink(missing_ok=True)
            replace(tmp_path / ".env")
            assert file.write({"A": "1"})
            found = (tmp_path / ".env").lstat()
            assert (stat.S_IFREG | 0o400) == found.st_mode
    finally:
        os.umask(umask)

    assert "untouched" == target.read_text()


def test_without_the_right_to_give_it_away_there_is_no_file(tmp_path, monkeypatch):
    """A worker that is not root, and a container whose user is another one."""

    def refuse(*_arguments):
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)

    assert not EnvFile(open_directory(tmp_path), owner=(4005, 4006)).write({"A": "1"})
    assert [] == os.listdir(tmp_path)
