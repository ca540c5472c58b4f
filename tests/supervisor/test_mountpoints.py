"""Mount points: created where they are missing, and removed by their last user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.supervisor import mountpoints
from worker.supervisor.mountpoints import MountPoints


@pytest.fixture(autouse=True)
def _marks(tmp_path):
    try:
        os.setxattr(tmp_path, "user.test", b"")
    except OSError:
        pytest.skip("this file system has no marks")


def test_a_missing_folder_is_created_for_all_users_and_removed_with_those_above_it(tmp_path):
    points = MountPoints()
    umask = os.umask(0o077)
    try:
        points.acquire(f"{tmp_path}/a/b/c")
    finally:
        os.umask(umask)

    assert 0o755 == (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777
    points.release()
    assert [] == os.listdir(tmp_path)


def test_an_existing_folder_is_kept(tmp_path):
    (tmp_path / "a").mkdir()
    points = MountPoints()
    points.acquire(f"{tmp_path}/a")
    points.release()

    assert ["a"] == os.listdir(tmp_path)


@pytest.mark.parametrize("first", [0, 1])
def test_the_last_of_several_users_removes_a_folder(tmp_path, first):
    """In whichever order they end: removing it earlier would detach the mounts of the others."""
    users = [MountPoints(), MountPoints()]
    for user in users:
        user.acquire(f"{tmp_path}/a")
    users[first].release()

    assert ["a"] == os.listdir(tmp_path)
    users[1 - first].release()
    assert [] == os.listdir(tmp_path)


def test_one_user_removes_several_folders_beside_and_in_each_other(tmp_path):
    points = MountPoints()
    for path in ("a/b", "a/c", "d", "a/b/e"):
        points.acquire(f"{tmp_path}/{path}")
    points.release()

    assert [] == os.listdir(tmp_path)


def test_a_new_folder_is_in_use_before_its_worker_has_marked_it(tmp_path):
    """The worker that has created it does not remove it as long as the other one uses it."""
    (tmp_path / "a").mkdir()
    other = MountPoints()
    other.acquire(f"{tmp_path}/a")
    os.setxattr(tmp_path / "a", mountpoints.MARK, b"")
    points = MountPoints()
    points.acquire(f"{tmp_path}/a")
    points.release()

    assert ["a"] == os.listdir(tmp_path)
    other.release()
    assert [] == os.listdir(tmp_path)


def test_a_folder_with_files_is_kept(tmp_path):
    points = MountPoints()
    points.acquire(f"{tmp_path}/a")
    (tmp_path / "a" / "file").touch()
    points.release()

    assert ["file"] == os.listdir(tmp_path / "a")


def test_the_next_user_removes_the_folder_of_a_worker_that_was_killed(tmp_path):
    """Its locks are gone, and its mark is there."""
    killed = MountPoints()
    killed.acquire(f"{tmp_path}/a/b")
    for lock in killed._locks.values():
        os.close(lock)
    points = MountPoints()
    points.acquire(f"{tmp_path}/a/b")
    points.release()

    assert [] == os.listdir(tmp_path)


def test_a_folder_that_cannot_have_a_mark_is_kept(tmp_path, monkeypatch):
    """Another worker could not know that it may be removed, and would not protect its mount."""

    def refuse(*_arguments):
        raise OSError

    monkeypatch.setattr(os, "setxattr", refuse)
    points = MountPoints()
    points.acquire(f"{tmp_path}/a")
    points.release()

    assert ["a"] == os.listdir(tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_no_worker_removes_is_not_locked(tmp_path, monkeypatch, exists):
    """Another worker that has created a folder beside it need not wait."""
    monkeypatch.setattr(mountpoints, "YOUNG", -1.0)
    if exists:
        (tmp_path / "a").mkdir()
    else:
        (tmp_path / "a").touch()
    points, other = MountPoints(), MountPoints()
    other.acquire(f"{tmp_path}/b")
    try:
        points.acquire(f"{tmp_path}/a")
    except OSError:
        assert not exists
    other.release()

    assert ["a"] == os.listdir(tmp_path)


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_path_at_or_below_a_file_is_an_error(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"exists|directory"):
        MountPoints().acquire(f"{tmp_path}/{path}")


def test_a_folder_that_is_removed_meanwhile_is_created_again(tmp_path, monkeypatch):
    """Another worker may remove the parent between its creation and the lock."""
    lock, calls = MountPoints._lock, []

    def remove_first(self, folder):
        calls.append(folder)
        if len(calls) == 1:
            os.rmdir(folder)
        return lock(self, folder)

    monkeypatch.setattr(MountPoints, "_lock", remove_first)
    monkeypatch.setattr(mountpoints, "INTERVAL", 0)
    points = MountPoints()
    points.acquire(f"{tmp_path}/a/b")

    assert (tmp_path / "a" / "b").is_dir()
    points.release()
    assert [] == os.listdir(tmp_path)


USER_OF_FOLDERS = """
import os, sys
sys.path.append(sys.argv[1])
from worker.supervisor.mountpoints import MountPoints
for _ in range(60):
    points = MountPoints()
    paths = [f"{sys.argv[2]}/{name}" for name in ("a/b", "a/c/d")]
    for path in paths:
        points.acquire(path)
    for _ in range(3):
        assert all(map(os.path.isdir, paths))
    points.release()
"""


def test_no_user_loses_its_folder_to_others_that_end(tmp_path):
    """Each of several processes creates and removes the same folders, many times."""
    root = str(Path(mountpoints.__file__).parents[2])
    command = [sys.executable, "-I", "-S", "-c", USER_OF_FOLDERS, root, str(tmp_path)]
    users = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    errors = [user.communicate()[1] for user in users]

    assert [""] * 6 == errors
    assert [] == os.listdir(tmp_path)
