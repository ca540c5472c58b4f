"""The file reader: files are opened with the rights of the command's user, and no more."""

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest

from worker.directories import open_directory
from worker.errors import Unavailable
from worker.supervisor import file_reader
from worker.supervisor.file_reader import FileReader, FileSystems, NotReadable, open_regular
from worker.supervisor.users import Identity

USER, GROUP = 4001, 4002
COMMAND = Identity(USER, USER, (USER, GROUP))
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
linux = pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="the rules of Linux")


@pytest.fixture
def reader(public_path):
    with FileReader(open_directory(public_path), COMMAND if os.geteuid() == 0 else None) as reader:
        yield reader


def content(reader: FileReader, path: object) -> bytes:
    with open(reader.open(str(path)), "rb") as file:
        return file.read()


def process_of(reader: FileReader) -> psutil.Process:
    assert reader._process is not None
    return psutil.Process(reader._process.pid)


def test_files_are_found_by_absolute_and_by_relative_paths(reader, public_path):
    (public_path / "a").write_bytes(b"1")
    (public_path / "Ünï\udcff").write_bytes(b"2")

    assert b"1" == content(reader, public_path / "a")
    assert b"1" == content(reader, "a")
    assert b"2" == content(reader, "Ünï\udcff")


def test_chains_of_links_are_followed(reader, public_path):
    (public_path / "file").write_bytes(b"1")
    (public_path / "second").symlink_to(public_path / "file")
    (public_path / "first").symlink_to("second")

    assert b"1" == content(reader, "first")


def test_the_process_is_started_by_the_first_file(public_path):
    with FileReader(open_directory(public_path), None) as reader:
        assert reader._process is None


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


def a_circle(path: Path) -> None:
    path.symlink_to("other")
    (path.parent / "other").symlink_to(path.name)


def a_long_chain(path: Path) -> None:
    (path.parent / "0").touch()
    for number in range(1, 45):
        (path.parent / str(number)).symlink_to(str(number - 1))
    path.symlink_to("44")


def a_link(target: object):
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda _path: None, "leads to nothing", id="nothing"),
        pytest.param(a_link("/nosuch"), "leads to nothing", id="dangling"),
        pytest.param(a_link("/etc/passwd/x"), "leads to nothing", id="below a file"),
        pytest.param(a_circle, "in a circle", id="circle"),
        pytest.param(a_long_chain, "more than 40", id="long chain"),
        pytest.param(Path.mkdir, "leads to a folder", id="folder"),
        pytest.param(a_link("/"), "leads to a folder", id="link to a folder"),
        pytest.param(a_pipe, "leads to a pipe", id="pipe"),
        pytest.param(a_socket, "leads to a socket", id="socket"),
        pytest.param(a_link("/dev/zero"), "leads to a device", id="device"),
        pytest.param(a_link("/" + "x" * 300), "File name too long", id="long name"),
        pytest.param(a_link("/proc/self/environ"), "(proc)", id="proc", marks=linux),
        pytest.param(a_link("/proc/1/cmdline"), "(proc)", id="other process", marks=linux),
        pytest.param(a_link("/sys/kernel/notes"), "(sysfs)", id="sys", marks=linux),
        pytest.param(a_link("/proc/self/exe"), "link of the kernel", id="program", marks=linux),
        pytest.param(a_link("/proc/self/cwd/file"), "link of the kernel", id="cwd", marks=linux),
        pytest.param(a_link("/proc/self/root/etc/passwd"), "of the kernel", id="top", marks=linux),
        pytest.param(a_link("/dev/stdin"), "link of the kernel", id="stdin", marks=linux),
    ],
)
def test_everything_else_is_refused_with_the_reason(reader, public_path, make, reason):
    (public_path / "file").touch()
    make(public_path / "x")

    with pytest.raises(NotReadable) as caught:
        reader.open("x")

    assert reason in caught.value.reason
    (public_path / "x2").write_bytes(b"2")
    assert b"2" == content(reader, "x2")


def test_a_pipe_is_not_opened(reader, public_path):
    """A process that waits to write into it would go on."""
    os.mkfifo(public_path / "pipe")
    with pytest.raises(NotReadable):
        reader.open("pipe")

    with pytest.raises(OSError, match="No such device"):
        os.open(public_path / "pipe", os.O_WRONLY | os.O_NONBLOCK)


@root
@pytest.mark.parametrize(
    ("owner", "mode", "is_readable"),
    [
        pytest.param((0, 0), 0o600, False, id="of root"),
        pytest.param((0, 0), 0o640, False, id="of the group of root"),
        pytest.param((0, 0), 0o644, True, id="of root, readable"),
        pytest.param((USER, USER), 0o600, True, id="own"),
        pytest.param((USER, USER), 0o000, False, id="own, closed"),
        pytest.param((0, GROUP), 0o640, True, id="of a supplementary group"),
        pytest.param((0, USER), 0o604, False, id="of the own group, closed"),
    ],
)
def test_a_file_is_readable_exactly_if_the_user_may_read_it(
    reader, public_path, owner, mode, is_readable
):
    path = public_path / "file"
    path.write_bytes(b"1")
    os.chown(path, *owner)
    path.chmod(mode)
    (public_path / "link").symlink_to(path)

    if is_readable:
        assert b"1" == content(reader, "link")
    else:
        with pytest.raises(NotReadable, match="may not read it"):
            reader.open("link")


@root
def test_a_file_in_a_closed_folder_is_not_readable(reader, public_path):
    closed = public_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").touch(mode=0o644)
    (public_path / "link").symlink_to(closed / "file")

    with pytest.raises(NotReadable, match="may not read it"):
        reader.open("link")


@root
def test_relative_paths_need_no_way_to_the_folder(tmp_path):
    """The folder of the output is a mount for the command, and closed where the agent has it."""
    closed = tmp_path / "closed"
    (closed / "out").mkdir(parents=True)
    (closed / "out" / "file").write_bytes(b"1")
    closed.chmod(0o700)

    with FileReader(open_directory(closed / "out"), COMMAND) as reader:
        assert b"1" == content(reader, "file")


@root
def test_the_process_has_the_rights_of_the_command_only(reader, public_path):
    (public_path / "a").touch()
    os.close(reader.open("a"))
    with pytest.raises(NotReadable):
        reader.open("nosuch")  # It has closed the first file then.
    process = process_of(reader)
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    descriptors = [os.readlink(each) for each in Path(f"/proc/{process.pid}/fd").iterdir()]

    assert [str(USER)] * 4 == fields["Uid"].split()
    assert [str(USER)] * 4 == fields["Gid"].split()
    assert [str(USER), str(GROUP)] == fields["Groups"].split()
    assert "0" * 16 == fields["CapEff"] == fields["CapPrm"] == fields["CapInh"]
    assert ["/dev/null"] * 3 == sorted(descriptors)[:3]
    assert sorted(descriptors)[3].startswith("socket:")
    assert 4 == len(descriptors)


@root
@pytest.mark.timeout(60)
def test_a_link_that_changes_all_the_time_never_leads_to_a_closed_file(reader, public_path):
    """The check and the open concern the same file."""
    (public_path / "open").write_bytes(b"open")
    (public_path / "closed").write_bytes(b"secret")
    (public_path / "closed").chmod(0o600)
    os.mkfifo(public_path / "pipe")
    (public_path / "link").symlink_to("open")
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            for target in ("closed", "open", "pipe", "/proc/self/exe", "open"):
                (public_path / "new").symlink_to(target)
                (public_path / "new").rename(public_path / "link")

    swapping = threading.Thread(target=swap)
    swapping.start()
    found: set[bytes | str] = set()
    try:
        for _ in range(2000):
            try:
                found.add(content(reader, "link"))
            except NotReadable as error:
                found.add(error.reason)
    finally:
        ended.set()
        swapping.join()

    assert b"open" in found
    assert not {each for each in found if isinstance(each, bytes)} - {b"open"}


def test_a_killed_process_is_unavailable_and_no_fault_of_the_command(reader, public_path):
    (public_path / "a").touch()
    os.close(reader.open("a"))
    process_of(reader).kill()

    with pytest.raises(Unavailable, match="was killed"):
        reader.open("a")


def test_a_file_system_that_blocks_can_be_left(public_path):
    """The caller's check is called while the process does not answer."""
    (public_path / "a").touch()

    class Stop(Exception):
        pass

    def check() -> None:
        raise Stop

    with FileReader(open_directory(public_path), None, check=check) as reader:
        with contextlib.suppress(Stop):
            os.close(reader.open("a"))
        process = process_of(reader)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(Stop):
            reader.open("a")

    assert not process.is_running()


def test_a_file_system_that_never_responds_is_left(public_path, monkeypatch):
    """The next file is opened by another process."""
    (public_path / "a").write_bytes(b"1")
    with FileReader(open_directory(public_path), None) as reader:
        os.close(reader.open("a"))
        blocked = process_of(reader)
        blocked.send_signal(signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(file_reader, "OPEN_TIMEOUT", 0.0)
            with pytest.raises(NotReadable, match="does not respond"):
                reader.open("a")

        assert not blocked.is_running()
        assert b"1" == content(reader, "a")


@linux
def test_a_kernel_without_openat2_opens_the_same_files(public_path, monkeypatch):
    """A file that only a link of the kernel leads to has no path that the user may take."""
    monkeypatch.setattr(file_reader, "OPENAT2", 100_000)
    file_systems = FileSystems(os.geteuid())

    def opened(path: Path) -> bytes:
        with open(open_regular(bytes(path), file_systems), "rb") as file:
            return file.read()

    (public_path / "file").write_bytes(b"1")
    (public_path / "link").symlink_to("file")
    a_circle(public_path / "circle")
    with open(public_path / "unlinked", "w+b") as unlinked:
        (public_path / "unlinked").unlink()
        (public_path / "kernel").symlink_to(f"/proc/self/fd/{unlinked.fileno()}")
        (public_path / "device").symlink_to("/dev/null")

        assert b"1" == opened(public_path / "link") == opened(public_path / "file")
        for name in ("circle", "kernel", "device", "nosuch"):
            with pytest.raises(NotReadable):
                opened(public_path / name)


def test_descriptors_are_not_inherited_by_commands(reader, public_path):
    (public_path / "a").touch()
    fd = reader.open("a")
    try:
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


MOUNTS = b"""\
21 1 0:20 / /proc rw,nosuid - proc proc rw
22 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw,errors=remount-ro
23 1 0:41 / /home/a/remote rw - fuse.sshfs a@host:/ rw,user_id=1000,group_id=1000
24 1 0:42 / /data rw - fuse.s3fs s3fs rw,user_id=0,group_id=0,allow_other
25 1 0:43 / /dev rw - devtmpfs udev rw,size=1k
26 1 0:44 / /dev/shm rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("device", "agent", "objection"),
    [
        pytest.param((0, 20), 0, "pseudo file system of the kernel (proc)", id="proc"),
        pytest.param((0, 43), 0, "pseudo file system of the kernel (devtmpfs)", id="devices"),
        pytest.param((8, 1), 0, "", id="disk"),
        pytest.param((0, 44), 0, "", id="memory"),
        pytest.param((0, 42), 1000, "", id="FUSE of root"),
        pytest.param((0, 41), 1000, "", id="FUSE of the agent's user"),
        pytest.param((0, 41), 0, "file system of another user (fuse.sshfs)", id="other FUSE"),
        pytest.param((0, 99), 0, "", id="not in the list, as of a btrfs subvolume"),
    ],
)
def test_file_systems_that_can_block_or_are_the_kernels_are_refused(
    tmp_path, device, agent, objection
):
    """A user's own file system is a process of this user, which need not answer."""
    (tmp_path / "mountinfo").write_bytes(MOUNTS)
    file_systems = FileSystems(agent, str(tmp_path / "mountinfo"))
    found = file_systems.objection(os.makedev(*device))

    assert objection in found
    assert bool(objection) == bool(found)
