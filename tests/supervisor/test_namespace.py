"""Private mounts of a command; ``tests/scenarios`` has whole jobs, as root and as other users."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from worker.redaction import Redactor
from worker.supervisor import mounts
from worker.supervisor.command import CommandSignals, run_command
from worker.supervisor.mounts import Mount, refused_mounts
from worker.supervisor.output import OutputHandler
from worker.supervisor.tree import CommandSpec, MountsRefused


@pytest.fixture
def source(tmp_path):
    """A folder with a file; the test is skipped where nothing can be mounted."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_text("from the source\n")
    (tmp_path / "trial").mkdir()
    if refused := refused_mounts([Mount(folder, tmp_path / "trial")]):
        pytest.skip(f"needs private mounts: {refused}")
    return folder


async def sh(script: str, *mounted: Mount, directory: Path | None = None) -> list[str]:
    """Run a script with mounts and return the lines that it prints."""
    lines: list[str] = []
    environment = {"PATH": os.environ["PATH"]}
    result = await run_command(
        CommandSpec(("sh", "-c", script), environment, directory, mounts=mounted),
        stdin=b"",
        command_signals=CommandSignals(5),
        output=OutputHandler(lambda _, more: lines.extend(more), Redactor(())),
        on_usage=lambda _: None,
    )
    assert 0 == result.code, lines
    return lines


async def test_a_command_sees_a_folder_at_another_path_and_no_other_process_does(source, tmp_path):
    target = tmp_path / "a" / "target"
    async with trio.open_nursery() as nursery:
        seen = []

        async def look() -> None:
            while not (source / "ready").exists():
                await trio.sleep(0.01)
            seen.append(sorted(path.name for path in target.iterdir()))
            (source / "seen").touch()

        nursery.start_soon(look)
        script = f"cat {target}/file; touch {target}/ready; until test -e {source}/seen; do :; done"
        lines = await sh(script, Mount(source, target, writable=True))

    assert (["from the source"], [[]]) == (lines, seen)
    assert not target.parent.exists()
    assert str(target) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("writable", [True, False])
async def test_a_mount_is_read_only_unless_it_is_writable(source, tmp_path, writable):
    script = f"touch {tmp_path}/target/new 2>&- && echo written || echo not written"
    lines = await sh(script, Mount(source, tmp_path / "target", writable))

    assert ["written" if writable else "not written"] == lines


async def test_the_directory_of_a_command_may_be_in_a_mount(source, tmp_path):
    mount = Mount(source, tmp_path / "target")

    assert ["from the source"] == await sh("cat file", mount, directory=tmp_path / "target")


async def test_a_command_in_a_covered_directory_sees_what_covers_it(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "trial")

    assert ["file"] == await sh("ls", Mount(source, tmp_path / "trial"))


async def test_a_mount_may_be_in_another_mount_and_in_a_folder_with_a_link(source, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "trial")
    lines = await sh(
        f"cat {tmp_path}/trial/file {tmp_path}/link/in/file",
        Mount(source, tmp_path / "link" / "in"),
        Mount(source, tmp_path / "trial", writable=True),
    )

    assert ["from the source"] * 2 == lines


@pytest.mark.parametrize(
    ("target", "reason"),
    [("source/file", "not a folder"), ("source/file/below", "not a folder")],
)
async def test_a_mount_that_is_impossible_is_refused(source, tmp_path, target, reason):
    """Before a run, with the reason by target; a command does not start without its mounts."""
    mount, other = Mount(source, tmp_path / target), Mount(source, tmp_path / "other")

    refused = refused_mounts([mount, other])
    assert [mount.target] == list(refused)
    assert reason in refused[mount.target]
    with pytest.raises(MountsRefused, match=reason):
        await sh("touch started", mount, directory=tmp_path)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        pytest.param(signal.SIGKILL, "the trial exited with -9", id="killed"),
        pytest.param(signal.SIGSTOP, "the trial did not exit within 1 s", id="stopped"),
    ],
)
def test_a_trial_without_a_result_refuses_every_mount(tmp_path, monkeypatch, number, reason):
    """Filters of system calls may kill a process that tries; a file system may block it."""
    trial = (sys.executable, "-c", f"import os; os.kill(os.getpid(), {number:d})")
    monkeypatch.setattr(mounts, "TRIAL", trial)
    monkeypatch.setattr(mounts, "TRIAL_TIMEOUT", 1.0)

    refused = refused_mounts([Mount(tmp_path, tmp_path / "a"), Mount(tmp_path, tmp_path / "b")])
    assert {tmp_path / "a": reason, tmp_path / "b": reason} == refused


LIMITED = 'echo 0 > /proc/sys/user/max_mnt_namespaces || exit 99; exec "$@"'
TRY = (
    "import sys; from pathlib import Path; from worker.supervisor.mounts import *; "
    "print(refused_mounts([Mount(Path(sys.argv[1]), Path(sys.argv[1]))]))"
)


def test_a_limit_of_namespaces_is_named(tmp_path):
    """The kernel reports it as a disk without space."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    limited = ("unshare", "--user", "--map-root-user", "sh", "-c", LIMITED, "sh")
    done = subprocess.run(
        [*limited, sys.executable, "-c", TRY, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in (1, 99):
        pytest.skip(f"needs a user namespace: {done.stderr}")

    assert "limit of namespaces is reached (max_user_namespaces" in done.stdout, done.stderr
