"""The folders of a run."""

import os
from contextlib import ExitStack

import pytest

from worker.directories import remove_tree
from worker.errors import Cause, cause_of
from worker.job import scratch as folders
from worker.job.scratch import (
    RootUnavailable,
    check_root,
    claimed_root,
    scratch_folder,
)


def test_the_scratch_folder_is_removed_on_every_path(tmp_path):
    """Including read-only folders."""

    def use() -> None:
        with scratch_folder(tmp_path) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "file").touch(0o400)
            (folder / "sub").chmod(0o500)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        use()

    assert [] == os.listdir(tmp_path)


def test_the_scratch_folder_of_a_killed_worker_is_removed(tmp_path):
    """Its lock is free."""
    abandoned = tmp_path / "worker-job-abandoned"
    abandoned.mkdir()
    (abandoned / "lock").touch()
    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        assert {first.name, second.name} == set(os.listdir(tmp_path))


def test_a_folder_without_a_lock_is_kept(tmp_path):
    (tmp_path / "worker-job-mine").mkdir()
    with scratch_folder(tmp_path):
        pass

    assert ["worker-job-mine"] == os.listdir(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_kept(tmp_path):
    """A pipe as lock does not block the run."""
    theirs = tmp_path / "worker-job-theirs"
    theirs.mkdir()
    os.mkfifo(theirs / "lock")
    os.chown(theirs, 65534, 65534)
    (tmp_path / "worker-job-link").symlink_to(tmp_path / "elsewhere")
    with scratch_folder(tmp_path):
        pass

    assert {"worker-job-theirs", "worker-job-link"} == set(os.listdir(tmp_path))


def test_a_new_root_is_created_and_removed(tmp_path):
    """With the folders above it that did not exist."""
    with claimed_root(tmp_path / "a" / "pfs") as root:
        (root / "in").mkdir(0o500)

        assert tmp_path / "a" / "pfs" == root
    assert [] == os.listdir(tmp_path)


def test_an_existing_root_is_kept_and_emptied(tmp_path):
    """It may be a volume of a pod."""
    (tmp_path / "pfs").mkdir()
    with claimed_root(tmp_path / "pfs") as root:
        (root / "file").touch()

    assert [] == os.listdir(root)


def _in_use(folder, stack):
    stack.enter_context(claimed_root(folder))


def _with_a_file(folder, _stack):
    folder.mkdir()
    (folder / "mine").touch()


def _a_file(folder, _stack):
    folder.touch()


def _below_a_file(folder, _stack):
    folder.parent.rmdir()
    folder.parent.touch()


@pytest.mark.parametrize("check", [claimed_root, check_root], ids=["claim", "check"])
@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        pytest.param(_in_use, "another job uses it", id="of another job"),
        pytest.param(_with_a_file, "it is not empty", id="with a file"),
        pytest.param(_a_file, "it cannot be", id="a file"),
        pytest.param(_below_a_file, "it cannot be created", id="below a file"),
    ],
)
def test_a_root_that_cannot_be_used_is_a_configuration_error(tmp_path, arrange, reason, check):
    """The message names the setting, the folder, the reason and the flag. Nothing is changed."""
    folder = tmp_path / "below" / "pfs"
    folder.parent.mkdir()
    with ExitStack() as stack:
        arrange(folder, stack)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(RootUnavailable) as raised:
            stack.enter_context(check(folder))

        assert before == sorted(tmp_path.rglob("*"))
        assert Cause.CONFIGURATION is cause_of(raised.value)
        assert str(raised.value).startswith(f"pfs_root: {folder}: {reason}")
        assert "--pfs-root" in str(raised.value)


@pytest.mark.parametrize("exists", [True, False], ids=["existing", "new"])
def test_a_check_of_a_root_changes_nothing(tmp_path, exists):
    folder = tmp_path / "below" / "pfs"
    if exists:
        folder.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    check_root(folder)

    assert before == sorted(tmp_path.rglob("*"))
    assert not exists or [] == os.listxattr(folder)


def test_the_root_of_a_killed_worker_is_emptied(tmp_path):
    """It has the mark of a worker. A check leaves it as it is."""
    (tmp_path / "pfs" / "in").mkdir(parents=True)
    try:
        os.setxattr(tmp_path / "pfs", folders.MARK, b"")
    except OSError:
        pytest.skip("this file system has no marks")
    check_root(tmp_path / "pfs")

    assert ["in"] == os.listdir(tmp_path / "pfs")
    with claimed_root(tmp_path / "pfs") as root:
        assert ([], tmp_path / "pfs") == (os.listdir(root), root)

    assert [] == os.listxattr(tmp_path / "pfs")


def test_links_are_removed_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir(0o500)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(outside)
    remove_tree(tmp_path / "folder")

    assert 0o500 == outside.stat().st_mode & 0o777
