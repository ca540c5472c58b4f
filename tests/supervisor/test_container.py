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
)
from worker.supervisor.engine_output import Image
from worker.supervisor.mounts import Mount
from worker.supervisor.users import Identity

IMAGE = Image("debian", "4bfd", "sha256:4bfd")
NAME = ("create", "--name=n")
ALWAYS = ("--pull=never", "--init", "--log-driver=none", "--no-healthcheck", "--interactive")
ENV = "--env-file=/dev/stdin"
COMMAND = ("--entrypoint=", "--", "4bfd")


def a_container(**changes) -> Container:
    return Container(**{"name": "n", "image": IMAGE, "argv": ("sh",), **changes})


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, (*NAME, *ALWAYS, "--network=host", ENV, *COMMAND, "sh"), id="minimal"),
        pytest.param(
            {"argv": ("sh", "-c", "exit 1")},
            (*NAME, *ALWAYS, "--network=host", ENV, *COMMAND, "sh", "-c", "exit 1"),
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
                ENV,
                *COMMAND,
                "sh",
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
                ENV,
                *COMMAND,
                "sh",
            ),
            id="mount and terminal",
        ),
        pytest.param(
            {"options": ("--memory=1g",)},
            (
                *NAME,
                *ALWAYS,
                "--network=host",
                ENV,
                "--memory=1g",
                *COMMAND,
                "sh",
            ),
            id="options of the configuration follow the worker's own",
        ),
        pytest.param(
            {"options": ("--network=bridge",)},
            (*NAME, *ALWAYS, ENV, "--network=bridge", *COMMAND, "sh"),
            id="a configured network replaces the default",
        ),
        pytest.param(
            {"options": ("--net", "bridge")},
            (*NAME, *ALWAYS, ENV, "--net", "bridge", *COMMAND, "sh"),
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
    assert expected == Mount(Path(source), Path("/pfs"), writable=writable).option()


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
    "passwd", ["lab:x:1:z:::\n", "lab:x:-1:1:::\n", f"lab:x:{2**32 - 1}:1:::\n"]
)
def test_an_entry_of_an_image_s_passwd_without_valid_ids_is_ignored(passwd):
    """chown would fail, or leave the owner unchanged."""
    assert ContainerUser("", None) == resolve_container_user(
        None, Image("i", "1", "d", "lab"), passwd
    )


@pytest.mark.parametrize("user", ["²", "٣", "99999999999", f"{2**32 - 1}:1", "-1", "--privileged"])
def test_a_user_of_an_image_that_is_no_uid_owns_no_files(user):
    """The engine reports it, when it starts the command."""
    assert ContainerUser("", None) == resolve_container_user(
        None, Image("i", "1", "d", user), PASSWD
    )


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
