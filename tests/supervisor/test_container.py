"""Specification of a container; ``tests/containers`` runs the same with a real engine."""

from pathlib import Path

import pytest

from worker.spec.pipeline import User
from worker.supervisor.container import (
    Container,
    ContainerUser,
    UserMissing,
    create_arguments,
    needs_passwd,
    resolve_container_user,
    split_environment,
)
from worker.supervisor.engine_output import Image
from worker.supervisor.mounts import Mount
from worker.supervisor.tree import NotStarted
from worker.supervisor.users import Identity

IMAGE = Image("debian", "4bfd", "sha256:4bfd")
NAME = ("create", "--name=n")
ALWAYS = ("--pull=never", "--init", "--log-driver=none", "--interactive")


def a_container(**changes) -> Container:
    return Container(**{"name": "n", "image": IMAGE, "argv": ("sh",), **changes})


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {}, (*NAME, *ALWAYS, "--network=host", "--entrypoint=sh", "4bfd"), id="minimal"
        ),
        pytest.param(
            {"argv": ("sh", "-c", "exit 1")},
            (*NAME, *ALWAYS, "--network=host", "--entrypoint=sh", "4bfd", "-c", "exit 1"),
            id="the command replaces the image's entrypoint, as in Pachyderm",
        ),
        pytest.param(
            {"labels": {"worker.job": "1"}, "user": "7:8", "directory": Path("/w")},
            (
                *NAME,
                "--label=worker.job=1",
                *ALWAYS,
                "--network=host",
                "--user=7:8",
                "--workdir=/w",
                "--entrypoint=sh",
                "4bfd",
            ),
            id="labels, user and working directory",
        ),
        pytest.param(
            {"mounts": (Mount(Path("/a"), Path("/pfs")),), "terminal": True},
            (
                *NAME,
                *ALWAYS,
                "--tty",
                "--network=host",
                "--mount=type=bind,source=/a,target=/pfs,ro",
                "--entrypoint=sh",
                "4bfd",
            ),
            id="mount and terminal",
        ),
        pytest.param(
            {"env_file": Path("/s/e"), "inherited": ("KEY",), "options": ("--memory=1g",)},
            (
                *NAME,
                *ALWAYS,
                "--network=host",
                "--env-file=/s/e",
                "--env=KEY",
                "--memory=1g",
                "--entrypoint=sh",
                "4bfd",
            ),
            id="variables without values, and options of the configuration",
        ),
        pytest.param(
            {"options": ("--network=bridge",)},
            (*NAME, *ALWAYS, "--network=bridge", "--entrypoint=sh", "4bfd"),
            id="a configured network replaces the default",
        ),
        pytest.param(
            {"options": ("--net", "bridge")},
            (*NAME, *ALWAYS, "--net", "bridge", "--entrypoint=sh", "4bfd"),
            id="a configured network in the short form",
        ),
    ],
)
def test_a_container_is_created_by_arguments_that_both_engines_accept(changes, expected):
    assert expected == create_arguments(a_container(**changes))


@pytest.mark.parametrize(
    ("source", "writable", "expected"),
    [
        pytest.param("/a b", False, "type=bind,source=/a b,target=/pfs,ro", id="read-only"),
        pytest.param("/a", True, "type=bind,source=/a,target=/pfs", id="writable"),
        pytest.param(
            '/a,b"c', True, 'type=bind,"source=/a,b""c",target=/pfs', id="comma and quote"
        ),
    ],
)
def test_a_mount_is_a_row_of_csv_so_a_comma_in_a_path_adds_no_option(source, writable, expected):
    assert expected == str(Mount(Path(source), Path("/pfs"), writable=writable))


# --- environment ----------------------------------------------------------------------------------


def test_variables_are_passed_in_a_file_and_not_in_the_repr():
    found = split_environment({"A": "# 'x'  ", "EMPTY": ""}, {})

    assert "A=# 'x'  \nEMPTY=\n" == found.env_file
    assert {} == found.inherited
    assert "'x'" not in repr(found)


@pytest.mark.parametrize("name", ["STORE_KEY\nB", "A\rB", "#A", "", "A=B", "A B", "A\x00"])
def test_a_name_that_is_not_one_line_of_the_file_does_not_start_the_command(name):
    """A line without an equals sign passes the variable of the client: of the worker itself."""
    with pytest.raises(NotStarted, match="cannot be passed to a container"):
        split_environment({name: "x"}, {})


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("-----BEGIN\nX", id="several lines"),
        pytest.param("a\rb", id="a carriage return"),
        pytest.param("x" * 65536, id="longer than the engines' buffer for a line"),
    ],
)
def test_a_value_that_no_line_of_a_file_can_hold_is_passed_through_the_client(value):
    found = split_environment({"A": "1", "KEY": value}, {"PATH": "/bin"})

    assert ("A=1\n", {"KEY": value}) == (found.env_file, found.inherited)


@pytest.mark.parametrize("name", ["PATH", "DOCKER_HOST", "LD_PRELOAD", "CONTAINERS_CONF"])
def test_a_variable_that_would_change_the_engine_is_rejected(name):
    with pytest.raises(NotStarted, match=f"^{name}: a value with several lines"):
        split_environment({name: "a\nb"}, {"PATH": "/bin"})


# --- users ----------------------------------------------------------------------------------------

PASSWD = "root:x:0:0:root:/root:/bin/sh\nlab:x:1000:50:,,,:/home/lab:/bin/sh\nbroken\n"


@pytest.mark.parametrize(
    ("user", "of_image", "expected"),
    [
        pytest.param(None, "", ("", None), id="no user at all"),
        pytest.param(None, "lab", ("", (1000, 50)), id="name of the image"),
        pytest.param(None, "77:88", ("", (77, 88)), id="uid and gid of the image"),
        pytest.param(User(name="lab"), "", ("lab", (1000, 50)), id="name"),
        pytest.param(User(uid=1000), "lab", ("1000:50", (1000, 50)), id="uid in passwd"),
        pytest.param(User(uid=77), "", ("77:77", (77, 77)), id="uid without root's group"),
        pytest.param(User(uid=77, gid=0), "", ("77:0", (77, 0)), id="uid with root's group"),
        pytest.param(User(name="root"), "lab", ("root", None), id="root owns files anyway"),
    ],
)
def test_the_user_of_a_command_has_a_name_for_the_engine_and_an_owner_for_files(
    user, of_image, expected
):
    found = resolve_container_user(user, Image("i", "1", "d", of_image), PASSWD)
    name, numbers = expected

    assert ContainerUser(name, numbers and Identity(numbers[0], numbers[1], numbers[1:])) == found


def test_a_user_that_the_image_does_not_have_is_rejected():
    with pytest.raises(UserMissing, match="'bob': the image debian has no such user"):
        resolve_container_user(User(name="bob"), IMAGE, PASSWD)


@pytest.mark.parametrize(
    ("user", "of_image", "expected"),
    [
        pytest.param(None, "", False, id="no user"),
        pytest.param(None, "1:2", False, id="uid and gid of the image"),
        pytest.param(None, "lab", True, id="name of the image"),
        pytest.param(User(uid=1, gid=2), "lab", False, id="uid and gid"),
        pytest.param(User(uid=1), "", True, id="uid"),
        pytest.param(User(name="lab"), "", True, id="name"),
    ],
)
def test_the_image_s_passwd_is_read_only_if_needed(user, of_image, expected):
    """Reading it takes a container."""
    assert expected == needs_passwd(user, Image("i", "1", "d", of_image))
