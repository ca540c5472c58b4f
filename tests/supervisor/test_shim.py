"""The shim alone, with the test as the agent at the other end of its socket."""

import os
import socket
import subprocess
import time

import psutil
import pytest
from machines import a_machine

from worker import jsonlines
from worker.supervisor.tree import SHIM, CommandSpec


@pytest.fixture
def agent():
    """The agent's end of a socket, and the shim at the other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        shim = subprocess.Popen(
            [*SHIM, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        yield ours, shim
        ours.close()
        shim.wait(10)


def start(channel: socket.socket, script: str, **options) -> None:
    command = CommandSpec(("sh", "-c", script), {"PATH": os.environ["PATH"]}, **options)
    channel.sendall(jsonlines.encode(command.to_json()))


def running(mark: str) -> list[str]:
    lines = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    return [line for line in lines if mark in line]


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(65536, id="after it has received everything"),
        # The kernel then reports the end of the socket as ECONNRESET.
        pytest.param(1, id="with a reply that it has not received"),
    ],
)
def test_when_the_agent_dies_the_tree_is_killed_and_the_cleanup_command_runs(
    agent, tmp_path, received
):
    channel, shim = agent
    cleaned = tmp_path / "cleaned"
    start(
        channel,
        "setsid sleep 4310 & sleep 4310",
        cleanup_command=("touch", str(cleaned)),
        forwards_signals=True,  # so that there is no cgroup, which would kill the tree as well
    )
    assert channel.recv(received)
    channel.close()

    assert 0 == shim.wait(10)
    assert [] == running("sleep 4310")
    assert cleaned.exists()


def test_a_shim_without_an_agent_exits_at_once(agent):
    channel, shim = agent
    channel.close()

    assert 0 == shim.wait(10)


def test_a_message_may_arrive_in_pieces(agent):
    channel, shim = agent
    message = jsonlines.encode(CommandSpec(("true",), {"PATH": os.environ["PATH"]}).to_json())
    for piece in (message[:5], message[5:]):
        channel.sendall(piece)
        time.sleep(0.05)
    replies: list = []
    decoder: jsonlines.Decoder = jsonlines.Decoder()
    while data := channel.recv(65536):
        replies += decoder.feed(data)

    assert ["started", "exited", "done"] == [next(iter(reply)) for reply in replies]
    assert 0 == shim.wait(10)


NOBODY = 65534
LOOK = """
for each in environ mem maps; do
    (exec < /proc/$PPID/$each && head -c 1) > /dev/null 2>&1 && echo $each
done
ls /proc/$PPID/fd 2> /dev/null && echo fd
echo done
"""
"""Prints the files of the shim that are open to the command."""


def test_a_command_of_the_same_user_has_no_access_to_the_shim(tmp_path):
    """With the socket, it could report an exit status, or that no process is left."""
    shared = tmp_path / "shared"
    shared.mkdir()
    ours, theirs = socket.socketpair()
    with ours, theirs, a_machine(tmp_path / "machine", shared) as machine:
        shim = subprocess.Popen(
            machine.command(*SHIM, str(theirs.fileno()), uid=NOBODY),
            pass_fds=(theirs.fileno(),),
            stdout=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        start(ours, LOOK)
        printed, _ = shim.communicate(timeout=60)

    assert ["done"] == printed.split()
