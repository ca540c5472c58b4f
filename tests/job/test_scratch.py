"""The folders of a run."""

import os

import pytest

from worker.job import scratch as folders
from worker.job.scratch import pfs_folder, remove_tree, scratch_folder


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
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


def test_a_chosen_root_is_created_and_removed(tmp_path):
    with pfs_folder(tmp_path / "a" / "pfs", tmp_path) as root:
        (root / "in").mkdir(0o500)

        assert tmp_path / "a" / "pfs" == root
    assert not root.exists()


def test_an_existing_root_is_kept_and_emptied(tmp_path):
    """It may be a volume of a pod."""
    (tmp_path / "pfs").mkdir()
    with pfs_folder(tmp_path / "pfs", tmp_path) as root:
        (root / "file").touch()

    assert [] == os.listdir(root)


def test_a_root_of_another_job_is_not_used(tmp_path):
    """The second job uses its scratch folder."""
    (tmp_path / "scratch").mkdir()
    with (
        pfs_folder(tmp_path / "pfs", tmp_path) as first,
        pfs_folder(tmp_path / "pfs", tmp_path / "scratch") as second,
    ):
        assert tmp_path / "scratch" / "pfs" == second != first


def test_a_root_with_files_is_not_used(tmp_path):
    (tmp_path / "pfs").mkdir()
    (tmp_path / "pfs" / "mine").touch()
    (tmp_path / "scratch").mkdir()
    with pfs_folder(tmp_path / "pfs", tmp_path / "scratch") as root:
        assert tmp_path / "scratch" / "pfs" == root

    assert ["mine"] == os.listdir(tmp_path / "pfs")


def test_the_root_of_a_killed_worker_is_emptied(tmp_path):
    """It has the mark of a worker."""
    (tmp_path / "pfs" / "in").mkdir(parents=True)
    try:
        os.setxattr(tmp_path / "pfs", folders.MARK, b"")
    except OSError:
        pytest.skip("this file system has no marks")
    with pfs_folder(tmp_path / "pfs", tmp_path) as root:
        assert ([], tmp_path / "pfs") == (os.listdir(root), root)

    assert [] == os.listxattr(tmp_path / "pfs")


def test_links_are_removed_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir(0o500)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(outside)
    remove_tree(tmp_path / "folder")

    assert 0o500 == outside.stat().st_mode & 0o777
