"""The family of gateway processes: starts, serves, drains, and dies with whoever needs it."""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import attrs
import psutil
import pytest
import trio
import trio.testing
from gateways import a_plan, open_gateway
from trio.to_thread import run_sync as in_thread

from worker.gateway.launch import launched
from worker.gateway.messages import GatewayPlan, Serve, encode
from worker.gateway.pool import GatewayDied, open_pool

AGENT = """
import sys, trio
from pathlib import Path
from worker.gateway.messages import decode
from worker.gateway.messages import GatewayPlan, Serve, encode
from worker.gateway.launch import launched
from worker.gateway.pool import open_pool

async def main():
    with launched() as process:
      async with open_pool(process) as parent:
        endpoint = await parent.serve(decode(sys.stdin.buffer.readline()).plan)
        print(parent.pid, endpoint.port, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def family(pid: int) -> list[psutil.Process]:
    """Return the parent with this id and its children."""
    parent = psutil.Process(pid)
    return [parent, *parent.children()]


async def gone(processes: list[psutil.Process]) -> None:
    """Return when none of *processes* is left."""
    with trio.fail_after(20):
        await in_thread(psutil.wait_procs, processes, 20)
    assert not [each for each in processes if each.is_running()]


async def put(port: int, key: str, data: bytes) -> bytes:
    """Put an object and return the answer."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(
            b"PUT /out/%s HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (key.encode(), len(data), data)
        )
        answer = b""
        async for received in stream:
            answer += received
        return answer


async def test_several_processes_share_one_socket_and_one_output(tmp_path):
    """What any of them took is counted once, and what went through is said at the end."""
    plan = a_plan(tmp_path, processes=2)
    async with open_gateway() as parent:
        endpoint = await parent.serve(plan)
        answers = [await put(endpoint.port, f"k{n}", b"data") for n in range(20)]
        children = family(parent.pid)
        statistics = await parent.drain(5)
    out = statistics.buckets["out"]

    assert 3 == len(children)
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert (20, 80, 0) == (out.writes, out.bytes_written, out.refused)
    await gone(children)


async def test_what_went_through_is_said_while_it_serves(tmp_path):
    """As often as it is asked for; the gateway goes on."""
    async with open_gateway() as parent:
        endpoint = await parent.serve(a_plan(tmp_path, processes=2))
        found = [await parent.count()]
        for number in range(2):
            await put(endpoint.port, f"k{number}", b"data")
            found.append(await parent.count())
        found.append(await parent.drain(5))

    assert [0, 4, 8, 8] == [each.buckets["out"].bytes_written for each in found]


async def test_a_drained_gateway_accepts_nothing(tmp_path):
    """After a drain the port is closed, and the blobs lie in the store."""
    plan = a_plan(tmp_path)
    async with open_gateway() as parent:
        endpoint = await parent.serve(plan)
        await put(endpoint.port, "k", b"data")
        await parent.drain(5)

        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("127.0.0.1", endpoint.port)


async def test_a_drain_waits_for_requests_in_flight(tmp_path):
    """A body that is still coming when the drain begins is taken to its end."""
    plan = a_plan(tmp_path)
    async with open_gateway() as parent:
        endpoint = await parent.serve(plan)
        async with await trio.open_tcp_stream("127.0.0.1", endpoint.port) as stream:
            await stream.send_all(
                b"PUT /out/k HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n"
                b"expect: 100-continue\r\n\r\n"
            )
            # The answer to Expect says that the request has begun.
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(parent.drain, 20)
                await refused(endpoint.port)
                await stream.send_all(b"complete")
                answer = await stream.receive_some()

    assert answer.startswith(b"HTTP/1.1 200 ")


async def refused(port: int) -> None:
    """Return when nothing accepts on *port* any more."""
    with trio.fail_after(20):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                return
            await stream.aclose()


async def test_a_drain_leaves_behind_what_has_stalled(tmp_path):
    """A client that neither sends nor reads does not keep the gateway beyond the deadline."""
    plan = a_plan(tmp_path)
    async with open_gateway() as parent:
        endpoint = await parent.serve(plan)
        size = 32 << 20
        await put(endpoint.port, "large", bytes(size))
        reader = await trio.open_tcp_stream("127.0.0.1", endpoint.port)
        await reader.send_all(b"GET /out/large HTTP/1.1\r\nhost: a\r\n\r\n")
        writer = await trio.open_tcp_stream("127.0.0.1", endpoint.port)
        await writer.send_all(b"PUT /out/half HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123")
        await reader.receive_some(10)
        with trio.fail_after(10):
            statistics = await parent.drain(0.2)
        await reader.aclose()
        await writer.aclose()

    assert size == statistics.buckets["out"].bytes_written


async def test_leaving_the_block_leaves_nothing_running(tmp_path):
    """A gateway that was not drained is ended with the block."""
    plan = a_plan(tmp_path, processes=2)
    async with open_gateway() as parent:
        await parent.serve(plan)
        processes = family(parent.pid)

    await gone(processes)


async def serve_until_killed(plan: GatewayPlan, processes: list, *, victim: int) -> None:
    """Serve, note the processes, and kill one of them."""
    async with open_gateway() as parent:
        await parent.serve(plan)
        processes += family(parent.pid)
        processes[victim].kill()
        await trio.sleep_forever()


async def test_the_death_of_a_child_is_an_error_for_the_job(tmp_path):
    """The block is cancelled and says which process died, and how."""
    plan = a_plan(tmp_path, processes=2)
    processes = []
    with pytest.raises(GatewayDied, match=r"process \d+ was killed by SIGKILL"):
        await serve_until_killed(plan, processes, victim=1)

    await gone(processes)


async def test_the_death_of_the_parent_is_an_error_for_the_job(tmp_path):
    """The children of a parent that is gone go too."""
    plan = a_plan(tmp_path, processes=2)
    processes = []
    with pytest.raises(GatewayDied, match="parent process"):
        await serve_until_killed(plan, processes, victim=0)

    await gone(processes)


async def test_the_death_of_the_agent_ends_everything(tmp_path):
    """When the agent is killed with no chance to say anything, no process of its gateway stays."""
    plan = a_plan(tmp_path, processes=2)
    with subprocess.Popen(
        [sys.executable, "-c", AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        agent.stdin.write(encode(Serve(1, plan)))
        agent.stdin.flush()
        parent, _port = (await in_thread(agent.stdout.readline)).split()
        processes = family(int(parent))
        os.kill(agent.pid, signal.SIGKILL)
        agent.stdin.close()

    await gone(processes)


async def test_an_error_in_the_block_comes_out_as_itself():
    """What the job raises while a gateway runs is not wrapped in a group."""
    with pytest.raises(LookupError):
        async with open_gateway():
            raise LookupError


async def test_an_address_in_use_is_named(tmp_path):
    """A port that cannot be had is an error that says which, and why."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plan = a_plan(tmp_path, port=port)

        with pytest.raises(GatewayDied, match=f"cannot listen on 127.0.0.1:{port}: Address"):
            async with open_gateway() as parent:
                await parent.serve(plan)


async def test_a_missing_index_is_an_error_of_the_start(tmp_path):
    """Whatever keeps the processes from serving is told before anyone could have relied on it."""
    plan = a_plan(tmp_path)
    broken = attrs.evolve(plan, store=str(tmp_path / "nowhere"))

    with pytest.raises(GatewayDied, match="no such commit"):
        async with open_gateway() as parent:
            await parent.serve(broken)


async def test_the_parent_has_one_thread_when_it_forks(tmp_path):
    """A thread would be lost in the children together with the locks it holds."""
    async with open_gateway() as parent:
        await parent.serve(a_plan(tmp_path))

        assert 1 == psutil.Process(parent.pid).num_threads()


async def test_a_late_reply_is_not_taken_for_another(tmp_path):
    """An agent that gave up waiting for a count drains: it gets the final statistics."""
    with launched() as process, open(os.dup(process.stdin.fileno()), "wb") as requests:
        async with open_pool(process) as parent:
            endpoint = await parent.serve(a_plan(tmp_path))
            os.kill(parent.pid, signal.SIGSTOP)
            with trio.move_on_after(0.05) as given_up:
                await parent.count()
            os.kill(parent.pid, signal.SIGCONT)
            # The parent replies to the count on its own, before it sees the drain.
            await taken(requests)
            requests.close()
            await put(endpoint.port, "a", b"12")
            statistics = await parent.drain(10)

    assert given_up.cancelled_caught
    assert (1, 2) == (statistics.buckets["out"].writes, statistics.buckets["out"].bytes_written)


async def taken(pipe) -> None:
    """Return when the reader of *pipe* has taken all that was written to it."""
    with trio.fail_after(20):
        while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))) != (0,):
            await trio.sleep(0.01)


async def test_a_count_and_a_drain_that_arrive_together_are_both_answered(tmp_path):
    """Requests that the parent reads at once are each carried out."""
    async with open_gateway() as parent:
        endpoint = await parent.serve(a_plan(tmp_path))
        await put(endpoint.port, "a", b"12")
        os.kill(parent.pid, signal.SIGSTOP)
        found = {}

        async def ask(name, request):
            found[name] = await request

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "drained", parent.drain(10))
            nursery.start_soon(ask, "counted", parent.count())
            # Both requests are in the pipe before the parent goes on.
            await trio.testing.wait_all_tasks_blocked(0.05)
            os.kill(parent.pid, signal.SIGCONT)

    assert found["counted"] == found["drained"]


@pytest.mark.parametrize("stopped", ["a child", "the parent"])
async def test_a_stopped_process_does_not_hold_a_drain(tmp_path, stopped):
    """A process that gives no sign of life ends the drain with an error that names it."""
    everybody = []

    async def drain() -> None:
        async with open_gateway() as parent:
            await parent.serve(a_plan(tmp_path))
            everybody.extend(family(parent.pid))
            number = 0 if stopped == "the parent" else 1
            os.kill(everybody[number].pid, signal.SIGSTOP)
            await parent.drain(300, silence=1.0)

    with pytest.raises(GatewayDied, match="no heartbeat"):
        await drain()
    await gone(everybody)


async def test_a_stopped_parent_does_not_hold_a_request(tmp_path, monkeypatch):
    """A request that does not fit into the pipe, and that nobody reads, is an error."""
    monkeypatch.setattr("worker.gateway.pool.SILENCE", 1.0)
    plan = attrs.evolve(a_plan(tmp_path), store_options={"key": "x" * 1_000_000})
    everybody = []

    async def serve() -> None:
        async with open_gateway() as parent:
            everybody.extend(family(parent.pid))
            os.kill(parent.pid, signal.SIGSTOP)
            await parent.serve(plan)

    with pytest.raises(GatewayDied, match="reads no requests"):
        await serve()
    await gone(everybody)


@pytest.mark.parametrize("how", ["reset", "closed"])
@pytest.mark.parametrize("size", [1_000, 5_000_000])
async def test_a_dead_client_does_not_hold_a_drain(tmp_path, size, how):
    """A client that sent 500 requests ahead, read nothing and died is gone at once."""
    async with open_gateway() as parent:
        endpoint = await parent.serve(a_plan(tmp_path))
        await put(endpoint.port, "big", b"x" * size)
        with socket.create_connection(("127.0.0.1", endpoint.port)) as client:
            client.sendall(b"GET /out/big HTTP/1.1\r\nhost: a\r\n\r\n" * 500)
            client.recv(1)
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Longer than a test may take.
        await parent.drain(1000)


async def test_a_drain_drops_requests_that_have_not_begun(tmp_path):
    """A client that sent 500 requests ahead and reads on gets the answer that had begun."""
    size = 20_000_000
    async with open_gateway() as parent:
        endpoint = await parent.serve(a_plan(tmp_path))
        await put(endpoint.port, "big", b"x" * size)
        async with await trio.open_tcp_stream("127.0.0.1", endpoint.port) as client:
            await client.send_all(b"GET /out/big HTTP/1.1\r\nhost: a\r\n\r\n" * 500)
            received = len(await client.receive_some(1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(parent.drain, 1000)
                await refused(endpoint.port)
                with suppress(trio.BrokenResourceError):
                    async for data in client:
                        received += len(data)

    assert size < received < 2 * size
