"""The torture set of supervision: whatever a command does, it ends, and nothing of it is left."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import trio

from worker.redaction import Redactor
from worker.supervisor.command import CommandExit, GracePeriod, OutputHandler, run_command
from worker.supervisor.tree import CommandSpec, Identity, NotStarted, ShimDied, Usage, adopt_orphans


class Ear:
    """Hears a command and what it used."""

    def __init__(self, *secrets: bytes) -> None:
        self.said: list[tuple[str, str]] = []
        self.used = Usage()
        self.listener = OutputHandler(lambda *line: self.said.append(line), Redactor(secrets))

    def account(self, usage: Usage) -> None:
        self.used = self.used + usage

    @property
    def lines(self) -> list[str]:
        return [line for _, line in self.said]


async def sh(
    script: str,
    *,
    ear: Ear | None = None,
    stdin: bytes = b"",
    grace_period: GracePeriod | None = None,
    identity: Identity | None = None,
    directory: Path | None = None,
) -> CommandExit:
    ear = ear or Ear()
    return await run_command(
        CommandSpec(("sh", "-c", script), {"PATH": os.environ["PATH"]}, directory, identity),
        stdin=stdin,
        grace_period=grace_period or GracePeriod(5),
        handler=ear.listener,
        record_usage=ear.account,
    )


def running(mark: str) -> list[str]:
    """Return the command lines of the processes of this machine that contain *mark*."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if mark in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", CommandExit(0, None)),
        ("exit 3", CommandExit(3, None)),
        ("kill -TERM $$", CommandExit(None, signal.SIGTERM)),
        ("kill -KILL $$", CommandExit(None, signal.SIGKILL)),
    ],
    ids=["success", "code", "signal", "kill"],
)
async def test_how_a_command_ended_is_told(script, expected):
    """A code is a code, and a signal is a signal."""
    assert expected == await sh(script)


async def test_what_it_says_is_heard_line_by_line():
    """Both streams are heard, the last line without an end too."""
    ear = Ear()
    await sh("echo out; echo err >&2; printf last", ear=ear)

    assert {("stdout", "out"), ("stderr", "err"), ("stdout", "last")} == set(ear.said)


async def test_it_reads_its_standard_input():
    """The lines of stdin come in, and then the end of file."""
    ear = Ear()
    await sh("cat", stdin=b"one\ntwo\n", ear=ear)

    assert ["one", "two"] == ear.lines


async def test_not_reading_its_standard_input_is_fine():
    """A command that closes its input early does nothing wrong."""
    assert CommandExit(0, None) == await sh("exec 0<&-; exit 0", stdin=b"x" * 10_000_000)


async def test_secrets_do_not_reach_the_log():
    """What a command prints of a secret is replaced, wherever the pieces are cut."""
    ear = Ear(b"hunter22")
    await sh("printf 'a hunt'; sleep 0.1; printf 'er22 b'", ear=ear)

    assert ["a *** b"] == ear.lines


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("no-such-command",), "no-such-command: command not found in PATH=/usr/bin:/bin"),
        (("/no/such/command",), "/no/such/command: command not found"),
        (("/etc/passwd",), "/etc/passwd: not executable: it lacks the x permission (chmod +x)"),
        (("/tmp",), "/tmp: not executable: it is a folder"),
    ],
    ids=["not in PATH", "not there", "not executable", "folder"],
)
async def test_a_command_that_cannot_be_started_says_why(argv, reason):
    """Not found and not executable are told apart."""
    ear = Ear()
    with pytest.raises(NotStarted) as caught:
        await run_command(
            CommandSpec(argv, {"PATH": "/usr/bin:/bin"}),
            stdin=b"",
            grace_period=GracePeriod(1),
            handler=ear.listener,
            record_usage=ear.account,
        )

    assert reason == str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("#!/no/such/interpreter\n", "the interpreter in its first line does not exist"),
        ("echo no shebang\n", "and no #! line"),
    ],
    ids=["no interpreter", "no shebang"],
)
async def test_a_script_that_cannot_be_started_says_why(tmp_path, content, reason):
    """A script is as good as its first line."""
    script = tmp_path / "script"
    script.write_text(content)
    script.chmod(0o755)
    ear = Ear()
    with pytest.raises(NotStarted, match=reason):
        await run_command(
            CommandSpec((str(script),), {}),
            stdin=b"",
            grace_period=GracePeriod(1),
            handler=ear.listener,
            record_usage=ear.account,
        )


async def test_a_working_directory_must_be_there(tmp_path):
    """A folder that is not there is named."""
    with pytest.raises(NotStarted, match=f"workingDir {tmp_path / 'none'}: No such file"):
        await sh("true", directory=tmp_path / "none")


async def test_it_starts_in_its_working_directory(tmp_path):
    """workingDir is where the command is."""
    ear = Ear()
    await sh("pwd", ear=ear, directory=tmp_path)

    assert [str(tmp_path)] == ear.lines


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_it_runs_as_another_user_with_no_group_of_roots():
    """The uid, the gid and the groups are that user's alone."""
    ear = Ear()
    await sh("id -u; id -g; id -G", ear=ear, identity=Identity(1234, 2345, (2345,)))

    assert ["1234", "2345", "2345"] == ear.lines


async def test_it_has_a_session_and_a_group_of_its_own():
    """A signal to the terminal's group does not reach it."""
    ear = Ear()
    await sh("ps -o pid=,pgid=,sid= -p $$", ear=ear)
    pid, group, session = ear.lines[0].split()

    assert (pid, pid) == (group, session)
    assert str(os.getsid(0)) != session


async def test_the_environment_is_what_was_ordered_and_nothing_else():
    """Nothing of the agent's environment comes along by itself."""
    ear = Ear()
    await run_command(
        CommandSpec(("/usr/bin/env",), {"A": "1", "B": "two\nlines"}),
        stdin=b"",
        grace_period=GracePeriod(1),
        handler=ear.listener,
        record_usage=ear.account,
    )

    assert ["A=1", "B=two", "lines"] == ear.lines


async def test_who_ignores_sigterm_is_killed_after_the_grace():
    """SIGTERM, the grace, SIGKILL."""
    ear = Ear()
    began = time.monotonic()
    with trio.move_on_after(0.5):
        await sh(
            "trap '' TERM; echo up; sleep 4242 & wait; sleep 4242",
            ear=ear,
            grace_period=GracePeriod(0.5),
        )

    assert 0.9 < time.monotonic() - began < 4
    assert [] == running("sleep 4242")


async def test_last_words_are_heard():
    """What a command says while it is being ended is in the log."""
    ear = Ear()
    with trio.move_on_after(0.5):
        await sh("trap 'echo bye; exit' TERM; while :; do sleep 0.05; done", ear=ear)

    assert "bye" in ear.lines


async def test_a_second_signal_is_faster():
    """Once grace_period is over, the grace is not waited for."""
    grace_period = GracePeriod(60)
    began = time.monotonic()
    async with trio.open_nursery() as nursery:

        async def hurry() -> None:
            await trio.sleep(0.3)
            nursery.cancel_scope.cancel()
            grace_period.skip.set()

        nursery.start_soon(hurry)
        await sh("trap '' TERM; sleep 4243 & wait; sleep 4243", grace_period=grace_period)

    assert time.monotonic() - began < 5
    assert [] == running("sleep 4243")


async def test_who_left_the_session_is_found_named_and_ended():
    """A double fork with setsid does not escape."""
    ended = await sh("(setsid sleep 4244 &) ; exit 0")

    assert CommandExit(0, None) == CommandExit(ended.code, ended.signal)
    assert ["sleep 4244"] == [left.command for left in ended.leftovers]
    assert [] == running("sleep 4244")


async def test_who_left_and_ignores_sigterm_is_killed():
    """What is left gets the grace, and no more."""
    await sh(
        "(setsid sh -c 'trap \"\" TERM; sleep 4245; sleep 4245' &) ; exit 0",
        grace_period=GracePeriod(0.3),
    )

    assert [] == running("sleep 4245")


async def test_what_ends_by_itself_a_moment_later_is_not_left_running():
    """`> >(tee log)` is no crime."""
    ear = Ear()
    ended = await sh("(sleep 0.3; echo late) & exit 0", ear=ear)

    assert () == ended.leftovers
    assert ["late"] == ear.lines


async def test_a_grandchild_that_holds_standard_output_does_not_block_the_end():
    """The pipe is not waited for longer than the tree."""
    began = time.monotonic()
    ended = await sh("sleep 4246 & exit 5")

    assert 5 == ended.code
    assert time.monotonic() - began < 4


async def test_somebody_else_who_holds_the_pipe_does_not_block_the_end():
    """A process that is not of the tree may have standard output open; the log goes on without."""
    ear = Ear()
    holder: list[int] = []
    async with trio.open_nursery() as nursery:

        async def hold() -> None:
            with trio.fail_after(5):
                while not ear.lines:
                    await trio.sleep(0.01)
            holder.append(os.open(f"/proc/{ear.lines[0]}/fd/1", os.O_WRONLY))

        nursery.start_soon(hold)
        with trio.fail_after(10):
            ended = await sh("echo $$; sleep 0.5; exit 0", ear=ear)
    os.close(holder[0])

    assert CommandExit(0, None) == ended


async def test_a_fork_bomb_ends():
    """Processes that fork faster than they are found are stopped first, and then killed."""
    if os.geteuid() != 0:
        pytest.skip("a limit for another user bounds the bomb")
    # bash says -u and dash says -p; without a bound the bomb must not go off.
    limit = "ulimit -u 60 2>/dev/null || ulimit -p 60 || exit 9"
    bomb = """import os
while True:
    try:
        os.fork()
    except OSError:
        pass"""
    script = f"{limit}; python3 -c '{bomb}'"
    with trio.move_on_after(1):
        await sh(script, identity=Identity(61234, 61234, (61234,)), grace_period=GracePeriod(0.3))

    assert [] == [p for p in psutil.process_iter(["uids"]) if p.info["uids"].real == 61234]


async def test_a_line_without_an_end_does_not_hurt():
    """300 MB without a newline are one line, of which the beginning is shown."""
    before = psutil.Process().memory_info().rss
    ear = Ear()
    await sh("head -c 300000000 /dev/zero | tr '\\0' x", ear=ear)

    assert 1 == len(ear.lines)
    assert ear.lines[0].endswith(" more bytes)")
    assert psutil.Process().memory_info().rss - before < 32 << 20


async def test_a_hundred_thousand_lines_are_all_heard():
    """Fast output is heard whole, and timers go on meanwhile."""
    ear = Ear()
    gaps = [0.0]
    async with trio.open_nursery() as nursery:

        async def tick() -> None:
            while True:
                began = trio.current_time()
                await trio.sleep(0.01)
                gaps.append(trio.current_time() - began)

        nursery.start_soon(tick)
        await sh("seq 1 100000", ear=ear)
        nursery.cancel_scope.cancel()

    assert 100_000 == len(ear.lines)
    assert max(gaps) < 0.5


async def test_binary_output_is_shown_in_escapes():
    """Bytes that are no text do no harm."""
    ear = Ear()
    await sh("printf '\\377\\000\\n'", ear=ear)

    assert ["\\xff\x00"] == ear.lines


async def test_a_command_that_kills_its_shim_goes_with_it():
    """Even then nothing is left, and it is said that nobody knows how the command ended."""
    adopt_orphans()
    with pytest.raises(ShimDied):
        await sh("sleep 4248 & setsid sleep 4248 & sleep 0.2; kill -9 $PPID; sleep 4248")

    assert [] == running("sleep 4248")


async def test_what_the_whole_tree_used_is_counted():
    """Processor time, memory and I/O of children and grandchildren count."""
    ear = Ear()
    python = (
        "x = bytearray(80_000_000)\nfor i in range(3_000_000): pass\nimport time; time.sleep(0.3)"
    )
    await sh(
        f"(python3 -c '{python}'); dd if=/dev/zero of=/dev/null bs=1M count=10 2>/dev/null", ear=ear
    )

    assert ear.used.cpu_seconds > 0.05
    assert ear.used.peak_memory > 80_000_000
