import os

import pytest

from worker.job import scratch as folders
from worker.job.scratch import pfs_folder, remove_tree, scratch_folder


def test_scratch_is_removed_on_every_path(tmp_path):
    """With all that is in it, read-only or not."""

    def use() -> None:
        with scratch_folder(tmp_path) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "file").touch(0o400)
            (folder / "sub").chmod(0o500)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        use()

    assert [] == os.listdir(tmp_path)


def test_what_a_killed_worker_left_is_removed_by_the_next(tmp_path):
    """Its lock is free; that of a worker that runs is not."""
    abandoned = tmp_path / "worker-job-abandoned"
    abandoned.mkdir()
    (abandoned / "lock").touch()
    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        assert {first.name, second.name} == set(os.listdir(tmp_path))


def test_what_is_no_scratch_of_ours_is_left_alone(tmp_path):
    """A folder without a lock is somebody else's."""
    (tmp_path / "worker-job-mine").mkdir()
    with scratch_folder(tmp_path):
        pass

    assert ["worker-job-mine"] == os.listdir(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    """Where everybody can make folders, a pipe for a lock does not hold the next run for ever."""
    theirs = tmp_path / "worker-job-theirs"
    theirs.mkdir()
    os.mkfifo(theirs / "lock")
    os.chown(theirs, 65534, 65534)
    (tmp_path / "worker-job-link").symlink_to(tmp_path / "elsewhere")
    with scratch_folder(tmp_path):
        pass

    assert {"worker-job-theirs", "worker-job-link"} == set(os.listdir(tmp_path))


def test_a_chosen_root_is_made_and_removed(tmp_path):
    """Nothing of it is left."""
    with pfs_folder(tmp_path / "a" / "pfs", tmp_path) as root:
        (root / "in").mkdir(0o500)

        assert tmp_path / "a" / "pfs" == root
    assert not root.exists()


def test_a_root_that_was_there_stays_and_is_emptied(tmp_path):
    """A pod's volume is no folder to remove."""
    (tmp_path / "pfs").mkdir()
    with pfs_folder(tmp_path / "pfs", tmp_path) as root:
        (root / "file").touch()

    assert [] == os.listdir(root)


def test_a_root_that_another_job_has_is_not_shared(tmp_path):
    """The second gets a folder in its scratch."""
    (tmp_path / "scratch").mkdir()
    with (
        pfs_folder(tmp_path / "pfs", tmp_path) as first,
        pfs_folder(tmp_path / "pfs", tmp_path / "scratch") as second,
    ):
        assert tmp_path / "scratch" / "pfs" == second != first


def test_a_root_with_files_in_it_is_not_touched(tmp_path):
    """Whoever put them there wants them."""
    (tmp_path / "pfs").mkdir()
    (tmp_path / "pfs" / "mine").touch()
    (tmp_path / "scratch").mkdir()
    with pfs_folder(tmp_path / "pfs", tmp_path / "scratch") as root:
        assert tmp_path / "scratch" / "pfs" == root

    assert ["mine"] == os.listdir(tmp_path / "pfs")


def test_what_a_killed_worker_left_in_its_root_is_removed(tmp_path):
    """It had marked the folder; a folder without the mark is somebody else's."""
    (tmp_path / "pfs" / "in").mkdir(parents=True)
    try:
        os.setxattr(tmp_path / "pfs", folders.MARK, b"")
    except OSError:
        pytest.skip("this file system has no marks")
    with pfs_folder(tmp_path / "pfs", tmp_path) as root:
        assert ([], tmp_path / "pfs") == (os.listdir(root), root)

    assert [] == os.listxattr(tmp_path / "pfs")


def test_links_are_removed_and_not_followed(tmp_path):
    """What a link in a folder leads to stays as it is."""
    outside = tmp_path / "outside"
    outside.mkdir(0o500)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(outside)
    remove_tree(tmp_path / "folder")

    assert 0o500 == outside.stat().st_mode & 0o777
