"""Attacks by the command's user on the mounts of secrets, which a worker of root makes.

The user may own a folder above a ``mountPath``, such as its home, and everything in it.
"""

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from builders import an_input
from hostile_runs import COPY, a_checked_site, run

from worker.supervisor import namespace
from worker.supervisor.mounts import Mount, refused_mounts

USER = 4001
SECRET = {"WORKER_SECRET_LAB_PASSWORD": "hush-hush-hush"}
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount for another user")


@pytest.fixture
def site(public_path):
    """A machine with a worker of root, the home of the user, and a closed folder of root."""
    with a_checked_site(public_path) as site:
        site.more.update(SECRET)
        for name in ("home", "closed/open"):
            (site.root / name).mkdir(parents=True)
        (site.root / "closed" / "open" / "file").write_text("of root")
        (site.root / "closed").chmod(0o700)
        os.chown(site.root / "home", USER, USER)
        if refused := refused_mounts([Mount(site.root / "home", site.root / "closed")]):
            pytest.skip(f"needs private mounts: {refused}")
        yield site


def run_with_secret(site, path, *script: str, tries: int = 1):
    """Run a command of the user with a secret at *path*."""
    secrets = [{"name": "lab", "mountPath": str(path)}]
    transform = {"user": str(USER), "secrets": secrets}
    return run(site, *script, transform=transform, datumTries=tries)


@pytest.mark.parametrize("replaced", ["/in", "/in/it"])
def test_a_command_cannot_choose_what_is_mounted(site, replaced):
    """It replaces a folder of its secret by a link, which its next try would be mounted from."""
    path = site.root / "home" / "in" / "it"
    secrets = f"$WORKER_SECRETS_ROOT{site.root}/home"
    found = run_with_secret(
        site,
        path,
        f"if mv {secrets}{replaced} {secrets}/old; then",
        f"  ln -s {site.root}/closed/open {secrets}{replaced}; exit 7",
        "fi",
        f"cat {path}/file && exit 8",
        f"cat {path}/password > $PFS_ROOT/out/password",
        tries=2,
    )

    assert (0, "success", "published") == found.outcome, found.result["reason"]


def test_a_command_finds_and_reads_its_secret(site):
    """It gets the files, and not the folders above them."""
    path = site.root / "home" / "lab"
    secret = f"$WORKER_SECRETS_ROOT{path}/password"
    found = run_with_secret(
        site,
        path,
        f"test $(ls {path}) = password && test $(cat {path}/password) = hush-hush-hush",
        f"if touch $(dirname {secret})/new; then exit 9; fi",
    )

    assert 0 == found.code, found.result["reason"]


@pytest.mark.parametrize(
    ("path", "target"), [("lab", "closed/open"), ("in/lab", "closed"), ("lab", "closed/none")]
)
def test_a_link_of_the_user_leads_no_mount_elsewhere(site, path, target):
    """What is mounted there would be trusted, as in ``/etc``; and a folder would be created."""
    link = site.root / "home" / path.partition("/")[0]
    link.symlink_to(site.root / target)
    os.lchown(link, USER, USER)
    found = run_with_secret(
        site,
        site.root / "home" / path,
        f"test -s $WORKER_SECRETS_ROOT{site.root}/home/{path}/password",
        f"if test -e {site.root}/home/{path}/password; then exit 8; fi",
    )

    assert 0 == found.code, found.result["reason"]
    (warning,) = [text for text in found.result["warnings"] if "mountPath" in text]
    assert f"are in $WORKER_SECRETS_ROOT{site.root}/home/{path} only" in warning
    assert f"{link}: it is a link of another user" in warning
    assert ["open"] == os.listdir(site.root / "closed")


def test_a_link_of_root_is_followed(site):
    (site.root / "link").symlink_to(site.root / "home")
    found = run_with_secret(site, site.root / "link" / "lab", f"cat {site.root}/home/lab/password")

    assert 0 == found.code, found.result["reason"]


@pytest.mark.parametrize(("has_secret", "expected"), [(True, "1"), (False, "0")])
def test_a_command_with_a_secret_in_a_folder_of_the_machine_gains_no_rights(
    site, has_secret, expected
):
    """A secret in ``/etc`` hides what setuid programs such as su rely on."""
    script = f"test $(awk '/NoNewPrivs/ {{print $2}}' /proc/self/status) = {expected}"
    if has_secret:
        found = run_with_secret(site, "/etc/ssl", script)
    else:
        found = run(site, script, transform={"user": str(USER)})

    assert 0 == found.code, found.result["reason"]
    assert site.open().head(COPY) is not None


@pytest.mark.parametrize("has_files", [True, False], ids=["files in a chosen folder", "buckets"])
def test_a_mount_of_the_user_ends_with_its_command(site, has_files):
    """Otherwise, one that fusermount made below the output would remain after the job."""
    own = os.readlink("/proc/self/ns/mnt")
    script = f"test $(readlink /proc/self/ns/mnt) != {own} && test -d {site.root}/home"
    options: dict[str, Any] = {} if has_files else {"inputs": (an_input(),), "s3Out": True}
    found = run(site, script, transform={"user": str(USER)}, **options)

    assert 0 == found.code, found.result["reason"]


# --- races ----------------------------------------------------------------------------------------


class _Striker:
    """Calls a function before the system call with a given number, in a process that exits."""

    def __init__(self, at: int, strike: Callable[[], None]) -> None:
        self.calls = 0
        self._at, self._strike = at, strike
        sys.addaudithook(self._before)

    def _before(self, event: str, _arguments: tuple[object, ...]) -> None:
        # A mount is made by a function that is looked up in the C library.
        if event.startswith(("open", "os.")) or event == "ctypes.dlsym":
            self.calls += 1
            if self.calls == self._at:
                self._strike()


def _mount_while_struck(folder: Path, source: Path, path: str, at: int) -> bytes:
    """Mount in a child process while *path* becomes a link; return what is wrong, or its calls."""
    target, elsewhere = folder / "theirs" / "a" / "b", folder / "elsewhere"

    def strike() -> None:
        # What is a mount point already cannot be moved.
        with suppress(OSError):
            os.rename(folder / "theirs" / path, folder / "moved")
            (folder / "theirs" / path).symlink_to(elsewhere)
            os.lchown(folder / "theirs" / path, USER, USER)

    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        answer = b"failed"
        try:
            mounts = [(str(source), str(target), False)]
            namespace.enter()
            striker = _Striker(at, strike)
            resolved, refused = namespace.resolve(mounts)
            refused |= namespace.mount(resolved)
            calls = striker.calls
            mounted = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
            wrong = [line for line in mounted if str(elsewhere) in line.split()[4]]
            answer = repr(wrong).encode() if wrong else b"%d" % calls
        finally:
            os.write(write_fd, answer)
            os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


@pytest.mark.parametrize(
    ("path", "exists"),
    [("a", True), ("a", False), ("a/b", True)],
    ids=["above", "above what is created", "itself"],
)
def test_no_mount_is_made_elsewhere_whenever_a_part_of_its_path_becomes_a_link(
    tmp_path, path, exists
):
    at, calls = 0, 1
    while at < calls:
        at += 1
        folder = tmp_path / str(at)
        for name in ("elsewhere/b", "theirs/a/b" if exists else "theirs/a", "source"):
            (folder / name).mkdir(parents=True)
        (folder / "theirs" / "a" / "file").touch()
        before = _modes(folder / "elsewhere")
        answer = _mount_while_struck(folder, folder / "source", path, at)

        assert answer.isdigit(), (at, answer)
        assert (at, before) == (at, _modes(folder / "elsewhere"))
        calls = int(answer)
    assert at > 3


def _modes(folder: Path) -> dict[str, str]:
    return {str(path): stat.filemode(path.stat().st_mode) for path in folder.rglob("*")}
