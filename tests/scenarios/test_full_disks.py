"""Full disks: the reason names the disk by its role, with a remedy; exit status 73."""

import json
import os
import subprocess

import attrs
import pytest
from builders import a_commit, a_job, an_input
from faults import servers

from worker.store.opening import open_store


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be made here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def leave(folder, size: int) -> None:
    """Fill the disk of *folder* except for *size* bytes, in whole blocks."""
    found = os.statvfs(folder)
    (folder / "filling").write_bytes(b"1" * (found.f_bavail * found.f_frsize - size))


MANY_SMALL = (
    "head -c 200000 /dev/urandom > part.tmp",
    "for n in $(seq 30); do curl -sf -T part.tmp $S3_ENDPOINT/out/$n; done",
)
IN_THE_WAY = "the disk of the scratch directory {0} is full"


def failed(done) -> str:
    """Return the reason of a run that ended with 73."""
    result = json.loads(done.out)
    assert (73, 73) == (done.status, result["exit_code"]), done.err[-2000:]
    return result["reason"]


@pytest.mark.parametrize("tries", [1, 2])
def test_scratch_is_full_of_packs(site, small_disk, tries):
    """With a remote store, small objects are spooled in scratch."""
    with servers.serving("moto") as server:
        url = f"s3://{servers.BUCKET}/prefix"
        a_commit(open_store(url, servers.options(server.endpoint)), {"a": b"1"})
        remote = attrs.evolve(
            site,
            store=url,
            more={**servers.environment(server.endpoint), "WORKER_SCRATCH": str(small_disk)},
        )
        job = remote.job(a_job(*MANY_SMALL, datumTries=tries))
        reason = failed(remote.worker("run", "--job", job, "--json"))

    assert IN_THE_WAY.format(small_disk) in reason
    assert "--scratch" in reason
    assert url not in reason


def test_scratch_is_full_of_file_inputs(site, small_disk):
    a_commit(site.open(), {"a": b"1" * (4 << 20)})
    job = a_job("true", inputs=(an_input(s3=False),), s3Out=False)
    environment = {"WORKER_SCRATCH": str(small_disk), "WORKER_PFS_ROOT": str(small_disk / "pfs")}
    reason = failed(site.worker("run", "--job", site.job(job), "--json", **environment))

    assert IN_THE_WAY.format(small_disk) in reason


@pytest.mark.parametrize("left", [0, 4096, 16384, 65536])
def test_scratch_is_full_before_the_run(site, small_disk, left):
    a_commit(site.open(), {"a": b"1"})
    leave(small_disk, left)
    job = site.job(a_job("true"))
    reason = failed(site.worker("run", "--job", job, "--json", WORKER_SCRATCH=str(small_disk)))

    assert IN_THE_WAY.format(small_disk) in reason
    assert site.store not in reason


def test_scratch_has_no_free_inodes(site, small_disk):
    a_commit(site.open(), {"a": b"1"})
    remount = ["mount", "-o", "remount,nr_inodes=1", "tmpfs", str(small_disk)]
    subprocess.run(remount, check=True)
    job = site.job(a_job("true"))
    reason = failed(site.worker("run", "--job", job, "--json", WORKER_SCRATCH=str(small_disk)))

    assert IN_THE_WAY.format(small_disk) in reason


def test_a_command_uses_all_inodes_of_scratch(site, small_disk):
    a_commit(site.open(), {"a": b"1"})
    remount = ["mount", "-o", "remount,nr_inodes=100", "tmpfs", str(small_disk)]
    subprocess.run(remount, check=True)
    command = "for n in $(seq 200); do : > $PFS_ROOT/out/$n || exit 1; done"
    job = a_job(command, inputs=(an_input(s3=False),), s3Out=False, datumTries=1)
    environment = {"WORKER_SCRATCH": str(small_disk), "WORKER_PFS_ROOT": str(small_disk / "pfs")}
    reason = failed(site.worker("run", "--job", site.job(job), "--json", **environment))

    assert IN_THE_WAY.format(small_disk) in reason


def test_a_full_disk_ends_a_job_of_several_datums(site, small_disk):
    """Without a second try, also if a datum failed before for another reason."""
    a_commit(site.open(), {"1": b"1", "2": b"2", "3": b"3"})
    fill = "head -c 8000000 /dev/zero > $PFS_ROOT/out/big || exit 1"
    job = a_job(
        f"case $labresults in */1) exit 3;; */2) {fill};; esac",
        inputs=(an_input(s3=False, glob="/*"),),
        s3Out=False,
        datumTries=2,
    )
    environment = {"WORKER_SCRATCH": str(small_disk), "WORKER_PFS_ROOT": str(small_disk / "pfs")}
    done = site.worker("run", "--job", site.job(job), "--json", **environment)
    head, first, second = failed(done).split("\n")

    assert "2 of 3 datums failed (0 processed, 0 recovered, 1 not completed):" == head
    assert first.startswith("datum 2 (labresults:/2)")
    assert IN_THE_WAY.format(small_disk) in first
    assert "datum 1 (labresults:/1)" in second
    assert second.endswith("exited with code 3 (try 2)")
    assert [2, 1] == [each["tries"] for each in json.loads(done.out)["datums"]]


def test_an_error_command_does_not_recover_from_a_full_disk(site, small_disk):
    """The output would be empty, although the command was not at fault."""
    a_commit(site.open(), {"a": b"1"})
    job = a_job(
        "head -c 8000000 /dev/zero > $PFS_ROOT/out/big", inputs=(an_input(s3=False),), s3Out=False
    )
    job["transform"]["errCmd"] = ["sh", "-c", "rm $PFS_ROOT/out/big"]
    environment = {"WORKER_SCRATCH": str(small_disk), "WORKER_PFS_ROOT": str(small_disk / "pfs")}
    done = site.worker("run", "--job", site.job(job), "--json", **environment)

    assert IN_THE_WAY.format(small_disk) in failed(done)


def test_a_full_store_in_the_scratch_directory_is_not_taken_for_that(site, small_disk):
    """It is a disk of its own, and another scratch directory would not help."""
    small = attrs.evolve(site, store=str(small_disk / "store"))
    a_commit(small.open(), {"a": b"1"})
    leave(small_disk, 0)
    job = small.job(a_job("true"))
    scratch = {"WORKER_SCRATCH": str(small_disk.parent)}
    reason = failed(small.worker("run", "--job", job, "--json", **scratch))

    assert small.store in reason
    assert "--scratch" not in reason


def test_the_store_is_full(site, small_disk):
    small = attrs.evolve(site, store=str(small_disk / "store"))
    a_commit(small.open(), {"a": b"1"})
    job = small.job(a_job(*MANY_SMALL, datumTries=1))
    reason = failed(small.worker("run", "--job", job, "--json"))

    assert f"the disk of the store {small.store} is full" in reason
    left = [listed.name for listed in small.open().backend.list_from("blobs/")]
    assert 1 == len(left)
