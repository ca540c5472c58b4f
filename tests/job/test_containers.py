"""What an engine is told, and how a run ends without one; ``tests/containers`` asks a real one."""

import os
from pathlib import Path

import pytest

from worker.job import containers
from worker.job.answers import Image
from worker.job.containers import (
    Container,
    Inside,
    Mount,
    UserMissing,
    create_arguments,
    hand_over,
    inside,
    needs_passwd,
)
from worker.job.environment import Given, compose
from worker.job.lifecycle import Cause
from worker.job.process import Identity, NotStarted
from worker.job.runner import run
from worker.spec.values import User

IMAGE = Image("debian", "4bfd", "sha256:4bfd")
FIRST = ("create", "--name=n")
ALWAYS = ("--pull=never", "--init", "--log-driver=none", "--interactive")


def a_container(**changes) -> Container:
    return Container(**{"name": "n", "image": IMAGE, "argv": ("sh",), **changes})


# --- the arguments that make a container ----------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, (*FIRST, *ALWAYS, "--network=host", "--entrypoint=sh", "4bfd"), id="bare"),
        pytest.param(
            {"argv": ("sh", "-c", "exit 1")},
            (*FIRST, *ALWAYS, "--network=host", "--entrypoint=sh", "4bfd", "-c", "exit 1"),
            id="the image's entrypoint does not count, as in Pachyderm",
        ),
        pytest.param(
            {"labels": {"worker.job": "1"}, "user": "7:8", "directory": Path("/w")},
            (
                *FIRST,
                "--label=worker.job=1",
                *ALWAYS,
                "--network=host",
                "--user=7:8",
                "--workdir=/w",
                "--entrypoint=sh",
                "4bfd",
            ),
            id="labels, a user and a working directory",
        ),
        pytest.param(
            {"mounts": (Mount(Path("/a"), Path("/pfs")),), "terminal": True},
            (
                *FIRST,
                *ALWAYS,
                "--tty",
                "--network=host",
                "--mount=type=bind,source=/a,target=/pfs,ro",
                "--entrypoint=sh",
                "4bfd",
            ),
            id="a mount and a terminal",
        ),
        pytest.param(
            {"env_file": Path("/s/e"), "inherited": ("KEY",), "options": ("--memory=1g",)},
            (
                *FIRST,
                *ALWAYS,
                "--network=host",
                "--env-file=/s/e",
                "--env=KEY",
                "--memory=1g",
                "--entrypoint=sh",
                "4bfd",
            ),
            id="variables without their values, and what the configuration adds",
        ),
        pytest.param(
            {"options": ("--network=bridge",)},
            (*FIRST, *ALWAYS, "--network=bridge", "--entrypoint=sh", "4bfd"),
            id="a network that was chosen replaces ours",
        ),
        pytest.param(
            {"options": ("--net", "bridge")},
            (*FIRST, *ALWAYS, "--net", "bridge", "--entrypoint=sh", "4bfd"),
            id="in any spelling",
        ),
    ],
)
def test_the_arguments_that_make_a_container(changes, expected):
    """Both engines take the same ones."""
    assert expected == create_arguments(a_container(**changes))


@pytest.mark.parametrize(
    ("source", "writable", "expected"),
    [
        pytest.param("/a b", False, "type=bind,source=/a b,target=/pfs,ro", id="read-only"),
        pytest.param("/a", True, "type=bind,source=/a,target=/pfs", id="writable"),
        pytest.param('/a,b"c', True, 'type=bind,"source=/a,b""c",target=/pfs', id="odd names"),
    ],
)
def test_a_mount_is_a_row_of_csv(source, writable, expected):
    """A comma in a path adds no option."""
    assert expected == str(Mount(Path(source), Path("/pfs"), writable=writable))


# --- variables ------------------------------------------------------------------------------------


def test_variables_go_in_a_file():
    """Spaces, quotes and signs are kept; nothing of it is on a command line."""
    found = hand_over({"A": "# 'x'  ", "EMPTY": ""}, {})

    assert "A=# 'x'  \nEMPTY=\n" == found.lines
    assert {} == found.inherited
    assert "'x'" not in repr(found)


def test_a_value_of_several_lines_goes_through_the_client():
    """An env-file has a line for each variable."""
    found = hand_over({"A": "1", "KEY": "-----BEGIN\nX"}, {"PATH": "/bin"})

    assert ("A=1\n", {"KEY": "-----BEGIN\nX"}) == (found.lines, found.inherited)


def test_a_very_long_value_goes_through_the_client():
    """The engines read such files by lines of 64 KiB."""
    assert {"A": "x" * 65536} == hand_over({"A": "x" * 65536}, {}).inherited


@pytest.mark.parametrize("name", ["PATH", "DOCKER_HOST", "LD_PRELOAD", "CONTAINERS_CONF"])
def test_no_variable_of_a_job_changes_the_engine(name):
    """A value of several lines for what the client reads itself is refused."""
    with pytest.raises(NotStarted, match=f"^{name}: its value has several lines"):
        hand_over({name: "a\nb"}, {"PATH": "/bin"})


def test_the_image_keeps_its_own_path_and_home():
    """Of the agent's environment nothing gets in that speaks of this machine's files."""
    base = {"PATH": "/x", "HOME": "/h", "PYTHONPATH": "/p", "LD_LIBRARY_PATH": "/l", "TZ": "UTC"}
    given = Given(base, job="j", pipeline="p", project="d", allowed=containers.PASSED)
    found = compose(given, datum="d")

    assert "UTC" == found["TZ"]
    assert set() == {"PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH"} & set(found)


# --- users ----------------------------------------------------------------------------------------

PASSWD = "root:x:0:0:root:/root:/bin/sh\nlab:x:1000:50:,,,:/home/lab:/bin/sh\nbroken\n"


@pytest.mark.parametrize(
    ("user", "of_image", "expected"),
    [
        pytest.param(None, "", ("", None), id="nobody said anything"),
        pytest.param(None, "lab", ("", (1000, 50)), id="the image's own user"),
        pytest.param(None, "77:88", ("", (77, 88)), id="the image's own numbers"),
        pytest.param(User(name="lab"), "", ("lab", (1000, 50)), id="a name"),
        pytest.param(User(uid=1000), "lab", ("1000:50", (1000, 50)), id="a uid of passwd"),
        pytest.param(User(uid=77), "", ("77:77", (77, 77)), id="any uid, never with root's group"),
        pytest.param(User(uid=77, gid=0), "", ("77:0", (77, 0)), id="unless that is asked for"),
        pytest.param(User(name="root"), "lab", ("root", None), id="root needs no other owner"),
    ],
)
def test_whom_the_command_runs_as(user, of_image, expected):
    """As the engine is told, and as files are owned on this machine."""
    found = inside(user, Image("i", "1", "d", of_image), PASSWD)
    name, numbers = expected

    assert Inside(name, numbers and Identity(*numbers, numbers[1:])) == found


def test_a_user_that_the_image_does_not_know_is_named():
    """The image's passwd counts, not this machine's."""
    with pytest.raises(UserMissing, match="'bob': the image debian has no such user"):
        inside(User(name="bob"), IMAGE, PASSWD)


@pytest.mark.parametrize(
    ("user", "of_image", "expected"),
    [
        (None, "", False),
        (None, "1:2", False),
        (None, "lab", True),
        (User(uid=1, gid=2), "lab", False),
        (User(uid=1), "", True),
        (User(name="lab"), "", True),
    ],
)
def test_passwd_is_read_only_when_it_matters(user, of_image, expected):
    """Reading it out of an image takes a container."""
    assert expected == needs_passwd(user, Image("i", "1", "d", of_image))


# --- a run without an engine that works -----------------------------------------------------------

JOB = {
    "pipeline": {"name": "copy"},
    "input": {"pfs": {"repo": "in", "glob": "/"}},
    "transform": {"cmd": ["sh"], "image": "debian"},
}


def an_engine(folder: Path, script: str) -> None:
    """Put a program called podman there, which answers as *script* does."""
    folder.mkdir(exist_ok=True)
    (folder / "podman").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "podman").chmod(0o755)


async def a_run(a_request, log, folder: Path, document=None):
    from attrs import evolve

    request = a_request(document or JOB, runtime="podman")
    path = f"{folder}{os.pathsep}/usr/bin:/bin" if folder.exists() else str(folder)
    return await run(evolve(request, environment={"PATH": path}), log=log)


@pytest.fixture
def _input_commit(store):
    from builders import a_commit

    a_commit(store, {"a": b"1"}, repo="in")


@pytest.mark.usefixtures("_input_commit")
async def test_an_engine_that_is_not_there_is_a_wrong_configuration(a_request, log, tmp_path):
    """Exit 78, and the reason names what was looked for."""
    result = await a_run(a_request, log, tmp_path / "nothing")

    assert (Cause.CONFIGURATION, 78) == (result.cause, result.exit_code)
    assert "--runtime podman: there is no podman in PATH=" in result.reason


@pytest.mark.usefixtures("_input_commit")
@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        pytest.param(
            'case $1 in ps) ;; *) echo "Error: manifest unknown" >&2; exit 125;; esac',
            64,
            "transform.image debian: it can't be had: manifest unknown",
            id="an image that nobody has",
        ),
        pytest.param(
            'case $1 in ps) ;; *) echo "Error: unauthorized" >&2; exit 125;; esac',
            78,
            "transform.image debian: it can't be had: unauthorized",
            id="an image that is not for us",
        ),
        pytest.param(
            'echo "Cannot connect to the Docker daemon at x" >&2; exit 1',
            69,
            "Cannot connect to the Docker daemon at x",
            id="an engine that does not answer",
        ),
        pytest.param(
            'case $1 in ps|rm) ;; image) echo \'[{"Id": "1"}]\';; '
            "*) echo 'unknown flag: --x' >&2; exit 125;; esac",
            78,
            "a container of debian: unknown flag: --x",
            id="an option that the engine does not know",
        ),
        pytest.param(
            'case $1 in ps|rm|create) ;; image) echo \'[{"Id": "1"}]\';; '
            "start) echo out of inodes >&2; exit 125;; container) echo "
            '\'[{"State": {"StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 125}}]\';; esac',
            69,
            "sh: it could not be started: out of inodes",
            id="125 of the engine, which is no exit code of the command",
        ),
        pytest.param(
            'case $1 in ps|rm|create) ;; image) echo \'[{"Id": "1"}]\';; '
            "start) exit 125;; container) echo "
            '\'[{"State": {"StartedAt": "2026-11-22T20:53:46Z", "ExitCode": 125}}]\';; esac',
            10,
            "the command exited with code 125",
            id="125 of the command",
        ),
    ],
)
async def test_what_goes_wrong_with_an_engine_is_told(
    a_request, log, tmp_path, script, code, reason
):
    """Each has its exit code; whether another try may help depends on it."""
    an_engine(tmp_path / "bin", script)
    document = {**JOB, "datumTries": 1}
    result = await a_run(a_request, log, tmp_path / "bin", document)

    assert (code, True) == (result.exit_code, reason in result.reason), result.reason


@pytest.mark.usefixtures("_input_commit")
async def test_a_job_without_an_image_has_nothing_to_run_in(a_request, log, tmp_path):
    """Exit 64, by the name of the field."""
    an_engine(tmp_path / "bin", "exit 0")
    document = {**JOB, "transform": {"cmd": ["sh"]}}
    result = await a_run(a_request, log, tmp_path / "bin", document)

    assert 64 == result.exit_code
    assert "transform.image: a job without an image can't be run in one" == result.reason
