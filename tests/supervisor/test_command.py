"""A command exits or is terminated, whatever it does, and leaves no process."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import trio

from worker.redaction import Redactor
from worker.supervisor import tree
from worker.supervisor.command import CommandExit, CommandSignals, run_command
from worker.supervisor.output import OutputHandler
from worker.supervisor.tree import CommandSpec, NotStarted, ShimDied, Usage
from worker.supervisor.users import Identity
from worker.system import become_subreaper


class Recorder:
    """Records the lines that a command prints, and its resource usage."""

    def __init__(self, *secrets: bytes) -> None:
        self.output: list[tuple[str, str]] = []
        self.usage = Usage()
        self.handler = OutputHandler(self._add, Redactor(secrets))

    def _add(self, stream: str, lines: list[str]) -> None:
        self.output.extend((stream, line) for line in lines)

    @property
    def lines(self) -> list[str]:
        return [line for _, line in self.output]

    async def run(
        self,
        command: CommandSpec,
        *,
        stdin: bytes = b"",
        command_signals: CommandSignals | None = None,
    ) -> CommandExit:
        def add(usage: Usage) -> None:
            self.usage = self.usage + usage

        return await run_command(
            command,
            stdin=stdin,
            command_signals=command_signals or CommandSignals(5),
            output=self.handler,
            on_usage=add,
        )


async def sh(
    script: str,
    *,
    recorder: Recorder | None = None,
    stdin: bytes = b"",
    command_signals: CommandSignals | None = None,
    identity: Identity | None = None,
    directory: Path | None = None,
) -> CommandExit:
    command = CommandSpec(("sh", "-c", script), {"PATH": os.environ["PATH"]}, directory, identity)
    return await (recorder or Recorder()).run(command, stdin=stdin, command_signals=command_signals)


def running(mark: str) -> list[str]:
    """Return the command lines of this machine's processes that contain *mark*."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if mark in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


# --- exit, streams and environment ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected", "text"),
    [
        pytest.param("exit 0", CommandExit(0, None), "exited with code 0", id="success"),
        pytest.param("exit 3", CommandExit(3, None), "exited with code 3", id="code"),
        pytest.param(
            "kill -TERM $$",
            CommandExit(None, signal.SIGTERM),
            "was killed by SIGTERM",
            id="SIGTERM",
        ),
        pytest.param(
            "kill -KILL $$",
            CommandExit(None, signal.SIGKILL),
            "was killed by SIGKILL",
            id="SIGKILL",
        ),
    ],
)
async def test_an_exit_has_a_code_or_a_signal(script, expected, text):
    result = await sh(script)

    assert (expected, text) == (result, str(result))


async def test_both_streams_are_handled_line_by_line_with_an_incomplete_last_line(recorder):
    await sh("echo out; echo err >&2; printf last", recorder=recorder)

    assert {("stdout", "out"), ("stderr", "err"), ("stdout", "last")} == set(recorder.output)


async def test_standard_input_has_the_given_bytes_and_an_end_of_file(recorder):
    await sh("cat", stdin=b"one\ntwo\n", recorder=recorder)

    assert ["one", "two"] == recorder.lines


async def test_a_command_is_allowed_to_close_its_standard_input():
    assert CommandExit(0, None) == await sh("exec 0<&-; exit 0", stdin=b"x" * 10_000_000)


async def test_secrets_are_redacted_wherever_the_output_is_split():
    recorder = Recorder(b"hunter22")
    await sh("printf 'a hunt'; sleep 0.1; printf 'er22 b'", recorder=recorder)

    assert ["a *** b"] == recorder.lines


async def test_bytes_that_are_not_text_are_escaped(recorder):
    await sh("printf '\\377\\000\\n'", recorder=recorder)

    assert ["\\xff\x00"] == recorder.lines


async def test_a_command_starts_in_its_working_directory(recorder, tmp_path):
    await sh("pwd", recorder=recorder, directory=tmp_path)

    assert [str(tmp_path)] == recorder.lines


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")
async def test_another_user_has_none_of_the_groups_of_root(recorder):
    await sh("id -u; id -g; id -G", recorder=recorder, identity=Identity(1234, 2345, (2345,)))

    assert ["1234", "2345", "2345"] == recorder.lines


async def test_a_command_leads_a_session_and_a_process_group_of_its_own(recorder):
    """A signal to the foreground group of the terminal does not reach it."""
    await sh("ps -o pid=,pgid=,sid= -p $$", recorder=recorder)
    pid, group, session = recorder.lines[0].split()

    assert (pid, pid) == (group, session)
    assert str(os.getsid(0)) != session


async def test_the_environment_is_exactly_the_specified_one(recorder):
    await recorder.run(CommandSpec(("/usr/bin/env",), {"A": "1", "B": "two\nlines"}))

    assert ["A=1", "B=two", "lines"] == recorder.lines


async def test_usage_covers_the_whole_process_tree(recorder):
    python = (
        "x = bytearray(80_000_000)\nfor i in range(3_000_000): pass\nimport time; time.sleep(0.3)"
    )
    await sh(
        f"(python3 -c '{python}'); dd if=/dev/zero of=/dev/null bs=1M count=10 2>/dev/null",
        recorder=recorder,
    )

    assert recorder.usage.cpu_seconds > 0.05
    assert recorder.usage.peak_memory > 80_000_000


# --- commands that cannot be started --------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        pytest.param(
            ("no-such-command",),
            "no-such-command: command not found in PATH=/usr/bin:/bin",
            id="not in PATH",
        ),
        pytest.param(
            ("/no/such/command",), "/no/such/command: command not found", id="no such path"
        ),
        pytest.param(
            ("/etc/passwd",),
            "/etc/passwd: not executable: it lacks the x permission (chmod +x)",
            id="not executable",
        ),
        pytest.param(("/tmp",), "/tmp: not executable: it is a directory", id="a directory"),
        pytest.param(("true", "a\0b"), "true: embedded null byte", id="a NUL byte"),
    ],
)
async def test_a_command_that_cannot_start_is_an_error_with_the_reason(recorder, argv, reason):
    with pytest.raises(NotStarted) as caught:
        await recorder.run(CommandSpec(argv, {"PATH": "/usr/bin:/bin"}))

    assert reason == str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(
            "#!/no/such/interpreter\n",
            "the interpreter in its first line does not exist",
            id="no interpreter",
        ),
        pytest.param("echo no shebang\n", "nor a script with #!", id="no shebang"),
    ],
)
async def test_a_script_that_cannot_start_is_an_error_with_the_reason(
    recorder, tmp_path, content, reason
):
    script = tmp_path / "script"
    script.write_text(content)
    script.chmod(0o755)
    with pytest.raises(NotStarted, match=reason):
        await recorder.run(CommandSpec((str(script),), {}))


async def test_a_missing_working_directory_is_an_error_with_its_path(tmp_path):
    with pytest.raises(NotStarted, match=f"workingDir {tmp_path / 'none'}: No such file"):
        await sh("true", directory=tmp_path / "none")


# --- termination ----------------------------------------------------------------------------------


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace_period(recorder):
    start = time.monotonic()
    with trio.move_on_after(0.5):
        await sh(
            "trap '' TERM; echo up; sleep 4242 & wait; sleep 4242",
            recorder=recorder,
            command_signals=CommandSignals(0.5),
        )

    assert 0.9 < time.monotonic() - start < 10
    assert [] == running("sleep 4242")


async def test_output_during_the_termination_is_handled(recorder):
    with trio.move_on_after(0.5):
        await sh("trap 'echo bye; exit' TERM; while :; do sleep 0.05; done", recorder=recorder)

    assert "bye" in recorder.lines


async def test_a_grace_period_that_is_cut_short_ends_at_once():
    command_signals = CommandSignals(60)
    start = time.monotonic()
    async with trio.open_nursery() as nursery:

        async def cut_short() -> None:
            await trio.sleep(0.3)
            nursery.cancel_scope.cancel()
            command_signals.cut_short.set()

        nursery.start_soon(cut_short)
        await sh("trap '' TERM; sleep 4243 & wait; sleep 4243", command_signals=command_signals)

    assert time.monotonic() - start < 30
    assert [] == running("sleep 4243")


async def test_a_daemon_that_left_the_session_is_reported_and_terminated():
    result = await sh("(setsid sleep 4244 &) ; exit 0")

    assert CommandExit(0, None) == CommandExit(result.code, result.signal)
    assert ["sleep 4244"] == [each.command for each in result.leftovers]
    assert [] == running("sleep 4244")


async def test_a_leftover_process_that_ignores_sigterm_is_killed_after_the_grace_period():
    await sh(
        "(setsid sh -c 'trap \"\" TERM; sleep 4245; sleep 4245' &) ; exit 0",
        command_signals=CommandSignals(0.3),
    )

    assert [] == running("sleep 4245")


async def test_a_process_that_exits_shortly_after_the_command_is_not_a_leftover(recorder):
    """As in ``> >(tee log)``."""
    result = await sh("(sleep 0.3; echo late) & exit 0", recorder=recorder)

    assert () == result.leftovers
    assert ["late"] == recorder.lines


async def test_a_descendant_that_holds_standard_output_does_not_delay_the_result():
    start = time.monotonic()
    result = await sh("sleep 4246 & exit 5", command_signals=CommandSignals(60))

    assert 5 == result.code
    assert time.monotonic() - start < 30


async def test_a_foreign_process_that_holds_standard_output_does_not_block_the_result(recorder):
    holder: list[int] = []
    async with trio.open_nursery() as nursery:

        async def hold() -> None:
            with trio.fail_after(30):
                while not recorder.lines:
                    await trio.sleep(0.01)
            holder.append(os.open(f"/proc/{recorder.lines[0]}/fd/1", os.O_WRONLY))

        nursery.start_soon(hold)
        with trio.fail_after(30):
            result = await sh("echo $$; sleep 0.5; exit 0", recorder=recorder)
    os.close(holder[0])

    assert CommandExit(0, None) == result


@pytest.mark.skipif(os.geteuid() != 0, reason="only another user's process limit bounds the bomb")
async def test_a_fork_bomb_is_stopped_and_killed():
    # bash has -u and dash has -p; without a limit the bomb must not start.
    limit = "ulimit -u 60 2>/dev/null || ulimit -p 60 || exit 9"
    bomb = """import os
while True:
    try:
        os.fork()
    except OSError:
        pass"""
    script = f"{limit}; python3 -c '{bomb}'"
    with trio.move_on_after(1):
        await sh(
            script, identity=Identity(61234, 61234, (61234,)), command_signals=CommandSignals(0.3)
        )

    assert [] == [p for p in psutil.process_iter(["uids"]) if p.info["uids"].real == 61234]


async def test_a_command_that_kills_its_shim_is_killed_and_its_exit_status_is_unknown():
    become_subreaper()
    with pytest.raises(ShimDied):
        await sh("sleep 4248 & setsid sleep 4248 & sleep 0.2; kill -9 $PPID; sleep 4248")

    assert [] == running("sleep 4248")


async def test_a_shim_that_is_stopped_before_it_has_started_the_command_is_continued(monkeypatch):
    """A command may stop it before it reports the start."""
    stopped = ("sh", "-c", 'kill -STOP $$; exec "$@"', "sh", *tree.SHIM)
    monkeypatch.setattr(tree, "SHIM", stopped)
    monkeypatch.setattr(tree, "PING_INTERVAL", 0.1)

    assert CommandExit(5, None) == await sh("exit 5")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("while :; do sleep 4249; done", id="ignores messages"),
        pytest.param("trap '' TERM; exec <&-; setsid sleep 4249 & wait", id="starts another"),
        pytest.param("while :; do kill -STOP $$; done", id="is stopped again and again"),
    ],
)
async def test_a_shim_that_starts_no_command_is_killed_with_what_it_started(monkeypatch, script):
    become_subreaper()
    monkeypatch.setattr(tree, "SHIM", ("sh", "-c", script, "4249"))
    monkeypatch.setattr(tree, "PING_INTERVAL", 0.2)
    for name in ("START_TIMEOUT", "KILL_TIMEOUT"):
        monkeypatch.setattr(tree, name, 1.0)

    with pytest.raises(ShimDied, match="did not start within 1 s"):
        await sh("exit 5")

    assert [] == running("4249")


async def test_a_killed_shim_that_was_reaped_by_another_task_is_noticed(monkeypatch):
    """Then its exit status is unknown, and `subprocess` reports 0."""
    become_subreaper()

    def reap_shim(process: trio.Process, _number: int) -> None:
        with suppress(ChildProcessError):
            os.waitpid(process.pid, 0)

    monkeypatch.setattr(trio.Process, "send_signal", reap_shim)
    with pytest.raises(ShimDied):
        await sh("setsid sleep 4250 & sleep 0.2; kill -9 $PPID; sleep 4250")

    assert [] == running("sleep 4250")


# --- bounded memory and time ----------------------------------------------------------------------


async def test_a_line_of_300_megabytes_needs_bounded_memory(recorder):
    before = psutil.Process().memory_info().rss
    await sh("head -c 300000000 /dev/zero | tr '\\0' x", recorder=recorder)

    assert 1 == len(recorder.lines)
    assert recorder.lines[0].endswith(" bytes more)")
    assert psutil.Process().memory_info().rss - before < 32 << 20


async def test_fast_output_is_handled_completely_and_does_not_block_the_event_loop(recorder):
    gaps = [0.0]
    async with trio.open_nursery() as nursery:

        async def tick() -> None:
            while True:
                start = trio.current_time()
                await trio.sleep(0.01)
                gaps.append(trio.current_time() - start)

        nursery.start_soon(tick)
        await sh("seq 1 100000", recorder=recorder)
        nursery.cancel_scope.cancel()

    assert 100_000 == len(recorder.lines)
    assert max(gaps) < 0.5
