"""The processes of a gateway: start, traffic, drain, and the death of each of them."""

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

from worker.buckets.index import Index
from worker.gateway.launch import launched
from worker.gateway.messages import GatewayPlan, Serve, encode
from worker.gateway.pool import GatewayDied, open_pool

AGENT = """
import sys, trio
from worker.gateway.launch import launched
from worker.gateway.messages import decode
from worker.gateway.pool import open_pool

async def main():
    with launched() as process:
        async with open_pool(process) as pool:
            endpoint = await pool.serve(decode(sys.stdin.buffer.readline()).plan)
            print(pool.pid, endpoint.port, flush=True)
            await trio.sleep_forever()

trio.run(main)
"""


def processes_of(pid: int) -> list[psutil.Process]:
    """Return the gateway's parent, whose id is *pid*, and its children."""
    parent = psutil.Process(pid)
    return [parent, *parent.children()]


async def wait_until_exited(processes: list[psutil.Process]) -> None:
    """Return when all *processes* have exited."""
    with trio.fail_after(20):
        await in_thread(psutil.wait_procs, processes, 20)
    assert not [each for each in processes if each.is_running()]


async def wait_until_refused(port: int) -> None:
    """Return when connections to *port* are refused."""
    with trio.fail_after(20):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                return
            await stream.aclose()


async def wait_until_read(pipe) -> None:
    """Return when all data in *pipe* have been read."""
    with trio.fail_after(20):
        while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))) != (0,):
            await trio.sleep(0.01)


async def put_until_refused(port: int) -> bytes:
    """Put objects until one is refused; return the response."""
    with trio.fail_after(20):
        while True:
            response = await put(port, "late", b"data")
            if not response.startswith(b"HTTP/1.1 200 "):
                return response


async def put(port: int, key: str, data: bytes) -> bytes:
    """Put an object and return the response."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(
            b"PUT /out/%s HTTP/1.1\r\nhost: localhost\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (key.encode(), len(data), data)
        )
        return b"".join([received async for received in stream])


# Start and statistics.


async def test_processes_share_one_socket_and_one_output(tmp_path):
    """Each request is counted once, by whichever process serves it."""
    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path, processes=2))
        responses = [await put(endpoint.port, f"k{n}", b"data") for n in range(20)]
        processes = processes_of(pool.pid)
        drained = await pool.drain(5)
    out = drained.statistics.buckets["out"]

    assert 3 == len(processes)
    assert all(response.startswith(b"HTTP/1.1 200 ") for response in responses)
    assert (20, 80, 0) == (out.writes, out.bytes_written, out.refused)
    await wait_until_exited(processes)


async def test_statistics_are_available_while_the_gateway_serves(tmp_path):
    """A count includes every request that has been answered."""
    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path, processes=2))
        found = [await pool.count()]
        for number in range(2):
            await put(endpoint.port, f"k{number}", b"data")
            found.append(await pool.count())
        found.append((await pool.drain(5)).statistics)

    assert [0, 4, 8, 8] == [each.buckets["out"].bytes_written for each in found]


async def test_an_address_in_use_is_named_in_the_error(tmp_path):
    """The error has the address and the reason of the system."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plan = a_plan(tmp_path, port=port)

        with pytest.raises(GatewayDied, match=f"cannot listen on 127.0.0.1:{port}: Address"):
            async with open_gateway() as pool:
                await pool.serve(plan)


async def test_an_error_of_a_child_that_starts_is_an_error_of_serve(tmp_path):
    """An endpoint is returned only if every process serves."""
    broken = attrs.evolve(a_plan(tmp_path), store=str(tmp_path / "nowhere"))

    with pytest.raises(GatewayDied, match="no such commit"):
        async with open_gateway() as pool:
            await pool.serve(broken)


async def test_the_parent_has_one_thread_when_it_forks(tmp_path):
    """The locks that another thread holds would stay locked in the children."""
    async with open_gateway() as pool:
        await pool.serve(a_plan(tmp_path))

        assert 1 == psutil.Process(pool.pid).num_threads()


# Requests to the parent.


async def test_a_late_reply_is_not_taken_for_another(tmp_path):
    """An agent that has cancelled a count drains, and receives the final statistics."""
    with launched() as process, open(os.dup(process.stdin.fileno()), "wb") as requests:
        async with open_pool(process) as pool:
            endpoint = await pool.serve(a_plan(tmp_path))
            os.kill(pool.pid, signal.SIGSTOP)
            with trio.move_on_after(0.05) as counting:
                await pool.count()
            os.kill(pool.pid, signal.SIGCONT)
            # The parent replies to the count before it reads the drain.
            await wait_until_read(requests)
            requests.close()
            await put(endpoint.port, "a", b"12")
            statistics = (await pool.drain(10)).statistics

    assert counting.cancelled_caught
    assert (1, 2) == (statistics.buckets["out"].writes, statistics.buckets["out"].bytes_written)


async def test_a_count_and_a_drain_that_arrive_together_are_both_answered(tmp_path):
    """Requests that the parent reads at once are each carried out."""
    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path))
        await put(endpoint.port, "a", b"12")
        os.kill(pool.pid, signal.SIGSTOP)
        found = {}

        async def note(name, request):
            found[name] = await request

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, "drained", pool.drain(10))
            nursery.start_soon(note, "counted", pool.count())
            # Both requests are in the pipe before the parent continues.
            await trio.testing.wait_all_tasks_blocked(0.05)
            os.kill(pool.pid, signal.SIGCONT)

    assert found["counted"] == found["drained"].statistics


async def test_a_stopped_parent_does_not_block_a_request(tmp_path, monkeypatch):
    """A request that does not fit into the pipe, and is not read, is an error."""
    monkeypatch.setattr("worker.gateway.pool.SILENCE", 1.0)
    plan = attrs.evolve(a_plan(tmp_path), store_options={"key": "x" * 1_000_000})
    processes = []

    async def serve() -> None:
        async with open_gateway() as pool:
            processes.extend(processes_of(pool.pid))
            os.kill(pool.pid, signal.SIGSTOP)
            await pool.serve(plan)

    with pytest.raises(GatewayDied, match="reads no requests"):
        await serve()
    await wait_until_exited(processes)


async def test_a_gateway_that_does_not_serve_is_an_error(tmp_path, monkeypatch):
    """The parent is stopped before it forks."""
    monkeypatch.setattr("worker.gateway.pool.SERVE_TIMEOUT", 1.0)
    processes = []

    async def serve() -> None:
        async with open_gateway() as pool:
            processes.extend(processes_of(pool.pid))
            os.kill(pool.pid, signal.SIGSTOP)
            await pool.serve(a_plan(tmp_path))

    with pytest.raises(GatewayDied, match="does not serve after 1 s"):
        await serve()
    await wait_until_exited(processes)


# Drain.


async def test_a_drained_gateway_refuses_connections(tmp_path):
    """After a drain no process listens on the port."""
    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path))
        await put(endpoint.port, "k", b"data")
        await pool.drain(5)

        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("127.0.0.1", endpoint.port)


async def test_a_drain_finishes_requests_in_flight(tmp_path):
    """A body that is not complete is received and stored; later writes are told why not."""
    async with open_gateway() as pool:
        plan = a_plan(tmp_path)
        endpoint = await pool.serve(plan)
        async with await trio.open_tcp_stream("127.0.0.1", endpoint.port) as stream:
            await stream.send_all(
                b"PUT /out/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 8\r\n"
                b"expect: 100-continue\r\n\r\n"
            )
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            # The request has begun: another one of the same process has been answered since.
            await put(endpoint.port, "other", b"data")
            async with trio.open_nursery() as nursery:
                Index(plan.index).refuse_new()
                nursery.start_soon(pool.drain, 20)
                # Some of these arrive when the drain has reached the process.
                for _ in range(20):
                    late = await put_until_refused(endpoint.port)
                    assert b"<Message>The job has ended: " in late
                    await trio.sleep(0.02)
                await stream.send_all(b"complete")
                response = await stream.receive_some()

    assert response.startswith(b"HTTP/1.1 200 ")


async def test_stalled_clients_do_not_extend_the_deadline(tmp_path):
    """A client that does not read, and one that does not send the rest, are disconnected."""
    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path))
        size = 32 << 20
        await put(endpoint.port, "large", bytes(size))
        reader = await trio.open_tcp_stream("127.0.0.1", endpoint.port)
        await reader.send_all(b"GET /out/large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        writer = await trio.open_tcp_stream("127.0.0.1", endpoint.port)
        await writer.send_all(
            b"PUT /out/half HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n"
            b"expect: 100-continue\r\n\r\n"
        )
        assert (await writer.receive_some()).startswith(b"HTTP/1.1 100 ")
        await writer.send_all(b"123")
        await reader.receive_some(10)
        with trio.fail_after(20):
            drained = await pool.drain(0.2)
        await reader.aclose()
        await writer.aclose()

    assert size == drained.statistics.buckets["out"].bytes_written
    assert ("PutObject half",) == drained.cut_off


async def test_a_form_that_is_cut_off_is_named_by_its_key(tmp_path):
    """One whose key is not received yet is not a write."""
    form = (
        b"--b\r\ncontent-disposition: form-data; name=key\r\n\r\nhalf\r\n"
        b"--b\r\ncontent-disposition: form-data; name=file\r\n\r\n123"
    )
    head = (
        b"POST /out HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: multipart/form-data; boundary=b\r\n"
        b"content-length: 999\r\n\r\n"
    )
    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path))
        early = await trio.open_tcp_stream("127.0.0.1", endpoint.port)
        await early.send_all(head + form[:20])
        late = await trio.open_tcp_stream("127.0.0.1", endpoint.port)
        await late.send_all(head + form)
        # Both requests have begun: another one of the same process has been answered since.
        await put(endpoint.port, "other", b"data")
        with trio.fail_after(20):
            drained = await pool.drain(0.2)
        await early.aclose()
        await late.aclose()

    assert ("PostObject half",) == drained.cut_off


@pytest.mark.parametrize("how", ["reset", "closed"])
@pytest.mark.parametrize("size", [1_000, 5_000_000])
async def test_a_client_that_has_disconnected_does_not_delay_a_drain(tmp_path, size, how):
    """It has sent 500 requests ahead and has read no response."""
    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path))
        await put(endpoint.port, "big", b"x" * size)
        with socket.create_connection(("127.0.0.1", endpoint.port)) as client:
            client.sendall(b"GET /out/big HTTP/1.1\r\nhost: localhost\r\n\r\n" * 500)
            client.recv(1)
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Longer than the timeout of a test.
        await pool.drain(1000)


async def test_a_drain_drops_requests_that_were_sent_ahead(tmp_path):
    """Of 500 pipelined requests, only the one in flight is answered."""
    size = 20_000_000
    async with open_gateway() as pool:
        endpoint = await pool.serve(a_plan(tmp_path))
        await put(endpoint.port, "big", b"x" * size)
        async with await trio.open_tcp_stream("127.0.0.1", endpoint.port) as client:
            await client.send_all(b"GET /out/big HTTP/1.1\r\nhost: localhost\r\n\r\n" * 500)
            received = len(await client.receive_some(1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.drain, 1000)
                await wait_until_refused(endpoint.port)
                with suppress(trio.BrokenResourceError):
                    async for data in client:
                        received += len(data)

    assert size < received < 2 * size


@pytest.mark.parametrize("stopped", ["a child", "the parent"])
async def test_a_drain_fails_when_a_process_sends_no_heartbeat(tmp_path, stopped):
    """The error names the process that hangs."""
    processes = []

    async def drain() -> None:
        async with open_gateway() as pool:
            await pool.serve(a_plan(tmp_path))
            processes.extend(processes_of(pool.pid))
            number = 0 if stopped == "the parent" else 1
            os.kill(processes[number].pid, signal.SIGSTOP)
            await pool.drain(300, silence=1.0)

    with pytest.raises(GatewayDied, match="no heartbeat") as caught:
        await drain()
    number = 0 if stopped == "the parent" else 1
    assert f"process {processes[number].pid} " in caught.value.reason
    await wait_until_exited(processes)


# The end of the block, and of processes.


async def test_leaving_the_block_ends_every_process(tmp_path):
    """A gateway that was not drained is killed."""
    async with open_gateway() as pool:
        await pool.serve(a_plan(tmp_path, processes=2))
        processes = processes_of(pool.pid)

    await wait_until_exited(processes)


async def test_an_error_in_the_block_is_raised_unchanged():
    """It is not wrapped in an exception group."""
    with pytest.raises(LookupError):
        async with open_gateway():
            raise LookupError


async def serve_and_kill(plan: GatewayPlan, processes: list, *, victim: int) -> None:
    """Serve *plan*, add the gateway's processes to *processes*, and kill one of them."""
    async with open_gateway() as pool:
        await pool.serve(plan)
        processes += processes_of(pool.pid)
        processes[victim].kill()
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("victim", "reason"),
    [(1, r"process \d+ was killed by SIGKILL"), (0, "parent process")],
    ids=["a child", "the parent"],
)
async def test_the_death_of_a_process_is_raised_from_the_block(tmp_path, victim, reason):
    """The block is cancelled, the error says which process exited, and the others exit too."""
    processes = []
    with pytest.raises(GatewayDied, match=reason):
        await serve_and_kill(a_plan(tmp_path, processes=2), processes, victim=victim)

    await wait_until_exited(processes)


async def test_the_death_of_the_agent_ends_every_process(tmp_path):
    """An agent that is killed leaves no process of its gateway."""
    plan = a_plan(tmp_path, processes=2)
    with subprocess.Popen(
        [sys.executable, "-c", AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        agent.stdin.write(encode(Serve(1, plan)))
        agent.stdin.flush()
        parent, _port = (await in_thread(agent.stdout.readline)).split()
        processes = processes_of(int(parent))
        os.kill(agent.pid, signal.SIGKILL)
        agent.stdin.close()

    await wait_until_exited(processes)
