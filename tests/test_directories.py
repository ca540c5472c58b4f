"""Directories by descriptor; ``tests/attacks/test_path_races.py`` replaces what is below them."""

import errno
import os
import resource
import stat

import pytest

from worker.directories import (
    LINKS,
    open_directory,
    open_real_directory,
    real_path,
    remove_tree,
    trusted_path,
)

NOT_A_PART = ["", ".", "..", "a/b", "/etc", "a/"]


@pytest.fixture
def tree(tmp_path):
    """A folder with a file, a link to it, a folder, and a link to that."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_bytes(b"x")
    (folder / "sub" / "file").write_bytes(b"y")
    (folder / "link").symlink_to("file")
    (folder / "sub_link").symlink_to("sub")
    return folder


def test_what_a_link_leads_to_is_not_opened(tree):
    root = open_directory(tree)

    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        root.open("link")
    with pytest.raises(NotADirectoryError):
        root.directory("sub_link")
    with pytest.raises(NotADirectoryError):
        root.descend(["sub_link"])
    with pytest.raises(FileExistsError):
        root.create("link", 0o600)
    with pytest.raises(FileExistsError):
        root.make("sub_link")


@pytest.mark.parametrize("name", NOT_A_PART)
def test_a_name_is_one_part_of_a_path(tree, name):
    root = open_directory(tree)
    for call in (
        root.open,
        root.directory,
        root.make,
        root.status,
        root.remove,
        lambda each: root.create(each, 0o600),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            call(name)
    assert b"y" == (tree / "sub" / "file").read_bytes()


def test_a_folder_that_was_moved_is_still_the_one_that_was_opened(tree):
    sub = open_directory(tree).directory("sub")
    (tree / "sub").rename(tree / "moved")
    (tree / "sub").mkdir()
    os.close(sub.create("new", 0o600))

    assert {"file", "new"} == set(os.listdir(tree / "moved"))
    assert [] == os.listdir(tree / "sub")


def test_the_umask_does_not_change_the_mode_of_a_new_folder(tmp_path):
    umask = os.umask(0o077)
    try:
        open_directory(tmp_path).make("new", 0o711)
    finally:
        os.umask(umask)

    assert 0o711 == stat.S_IMODE((tmp_path / "new").stat().st_mode)


def test_folders_come_after_those_below_them(tree):
    (tree / "sub" / "below").mkdir()
    paths = [each.path for each in open_directory(tree).directories()]

    assert [str(tree / "sub" / "below"), str(tree / "sub"), str(tree)] == paths


def test_a_real_path_has_no_links(tree):
    assert str(tree / "sub") == open_real_directory(tree / "sub").path
    with pytest.raises(NotADirectoryError):
        open_real_directory(tree / "sub_link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_parent_need_not_be_readable(public_path):
    (public_path / "closed" / "open").mkdir(parents=True)
    (public_path / "closed").chmod(0o711)
    os.seteuid(4001)
    try:
        open_real_directory(public_path / "closed" / "open")
    finally:
        os.seteuid(0)


def test_a_tree_is_removed_whatever_the_modes_of_its_folders(tree, tmp_path):
    """What a link leads to stays as it is."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    (tree / "sub" / "link").symlink_to(outside)
    (tree / "sub" / "below" / "deeper").mkdir(parents=True)
    for mode, name in ((0, "sub/below/deeper"), (0o100, "sub/below"), (0o500, "sub"), (0, "")):
        (tree / name).chmod(mode)
    remove_tree(tree)

    assert ["outside"] == os.listdir(tmp_path)
    assert 0o500 == stat.S_IMODE(outside.stat().st_mode)


def test_a_file_a_link_and_nothing_are_removed(tree):
    for name in ("file", "link", "sub_link", "missing"):
        remove_tree(tree / name)

    assert ["sub"] == os.listdir(tree)


def test_a_tree_deeper_than_descriptors_and_paths_allow_is_removed(tmp_path):
    """A command can make one: each folder relative to its parent."""
    depth = 3000
    path = tmp_path / "deep"
    path.mkdir()
    fd = os.open(path, os.O_RDONLY)
    for number in range(depth):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open(f"file{number}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, limits[1]))
    try:
        remove_tree(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert [] == os.listdir(tmp_path)


def test_a_process_that_writes_all_the_time_does_not_prevent_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.directories.PASSES", 10)
    (tmp_path / "tree").mkdir()
    real = os.listdir

    def and_write(path):
        names = real(path)
        (tmp_path / "tree" / f"new{len(real(tmp_path / 'tree'))}").mkdir(exist_ok=True)
        return [*names, *real(path)]

    monkeypatch.setattr("worker.directories.os.listdir", and_write)

    with pytest.raises(OSError, match="still writes to the folder"):
        remove_tree(tmp_path / "tree")


# --- paths without links --------------------------------------------------------------------------


@pytest.mark.parametrize("function", [real_path, trusted_path])
@pytest.mark.parametrize(
    "path",
    [
        *("file", "link", "sub_link/file", "sub/../sub_link/../link", "none", "none/below", "up"),
        *("sub_link/none/../file", "file/below", "absolute/file", ".", "", "..", "dangling/x"),
    ],
)
def test_a_path_without_links_is_that_of_the_library(tree, monkeypatch, path, function):
    (tree / "absolute").symlink_to(tree / "sub_link")
    (tree / "up").symlink_to("../tree/link")
    (tree / "dangling").symlink_to("none/../gone")
    monkeypatch.chdir(tree)

    assert os.path.realpath(path) == function(path)
    assert os.path.realpath(tree / path) == function(tree / path)


@pytest.mark.parametrize("function", [real_path, trusted_path])
def test_an_absolute_path_does_not_depend_on_the_working_directory(tree, monkeypatch, function):
    """It may have been removed while the worker ran."""
    (tree / "gone").mkdir()
    monkeypatch.chdir(tree / "gone")
    (tree / "gone").rmdir()

    assert str(tree / "file") == function(tree / "link")


@pytest.mark.parametrize("links", [LINKS, LINKS + 1, 5000])
def test_as_many_links_are_followed_as_the_kernel_follows(tmp_path, monkeypatch, links):
    """More cost no time and no stack."""
    (tmp_path / "0").touch()
    for number in range(links):
        (tmp_path / str(number + 1)).symlink_to(str(number))
    calls: list[str] = []
    readlink = os.readlink

    def count(path: str) -> str:
        calls.append(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", count)
    last = tmp_path / str(links)

    assert str(tmp_path / str(max(0, links - LINKS))) == real_path(last)
    assert len(calls) < LINKS + 20
    monkeypatch.undo()
    if links > LINKS:
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            trusted_path(last)
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            os.stat(last)
    else:
        assert str(tmp_path / "0") == trusted_path(last)
        os.stat(last)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links away")
@pytest.mark.parametrize("path", ["link", "sub_link/file", "sub/in"])
def test_a_link_of_another_user_is_not_trusted(tree, path):
    (tree / "sub" / "in").symlink_to("../file")
    for link in ("link", "sub_link", "sub/in"):
        os.lchown(tree / link, 4001, 4001)

    with pytest.raises(PermissionError, match="it is a link of another user"):
        trusted_path(tree / path)
