"""What an engine is told, and how a run ends without one; ``tests/containers`` asks a real one."""

from pathlib import Path

import pytest

from worker.spec.pipeline import User
from worker.supervisor.container import (
    Container,
    Inside,
    Mount,
    UserMissing,
    create_arguments,
    hand_over,
    inside,
    needs_passwd,
)
from worker.supervisor.engine_output import Image
from worker.supervisor.tree import Identity, NotStarted

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

    assert Inside(name, numbers and Identity(numbers[0], numbers[1], numbers[1:])) == found


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
