"""The connections of a gateway process: bounded, and the oldest idle one is closed for others."""

import contextlib
import io
import json
import os
import resource
import socket
from functools import partial

import pytest
import structlog
import trio
import trio.testing
from gateways import a_plan, serving

from worker import telemetry
from worker.gateway.connections import (
    LEAST_IDLE,
    MOST,
    PAUSE,
    RESERVED,
    Connections,
    Limits,
    accept_connections,
    bound,
)

GET = b"GET /labresults/a.txt HTTP/1.1\r\nhost: localhost\r\n\r\n"
HALF = b"PUT /out/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n1"


@pytest.fixture
def lines():
    """A function that returns the events of the log so far."""
    stream = io.StringIO()
    telemetry.configure("json", "info", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


@pytest.fixture
def limit_of_open_files():
    """A function that sets the limit of this process, until the end of the test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def no_free_descriptor(limit_of_open_files):
    """Leave this process no descriptor for another file."""
    taken = [os.open(os.devnull, os.O_RDONLY)]
    limit_of_open_files(max(map(int, os.listdir("/proc/self/fd"))) + 2)
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(taken[0]))
    try:
        yield
    finally:
        for each in taken:
            os.close(each)


async def answer(stream: trio.SocketStream, request: bytes) -> bytes:
    """Send *request* and return the response, empty if the connection was closed."""
    received = b""
    try:
        await stream.send_all(request)
        while not received.endswith(b"alpha"):
            data = await stream.receive_some()
            if not data:
                break
            received += data
    except trio.BrokenResourceError:
        return b""
    return received


@pytest.mark.parametrize(
    ("soft", "expected"),
    [(4096, (4096 - RESERVED) // 2), (1024, (1024 - RESERVED) // 2), (300, 75)],
)
def test_the_bound_leaves_open_files_for_the_store(limit_of_open_files, soft, expected):
    """A connection is an open file, and a request opens more."""
    limit_of_open_files(soft)

    assert expected == bound()


@pytest.mark.parametrize("soft", [2 * MOST + RESERVED, 1 << 20, resource.RLIM_INFINITY])
def test_the_bound_limits_the_memory_of_unfinished_heads(monkeypatch, soft):
    """Whatever the limit on open files is, which may be a million."""
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (soft, soft))

    assert MOST == bound()


class TestConnections:
    """The bookkeeping, in virtual time."""

    @pytest.fixture
    async def opened(self, nursery):
        """A function that opens a connection, and returns its slot and an event of its end."""

        async def hold(connections, ended, *, task_status):
            slot = connections.add()
            with connections.serving(slot):
                task_status.started(slot)
                await trio.sleep_forever()
            ended.set()

        async def open_(connections):
            ended = trio.Event()
            return await nursery.start(partial(hold, connections, ended)), ended

        return open_

    async def test_the_connection_that_is_idle_for_longest_is_closed(self, opened, autojump_clock):  # noqa: ARG002 - virtual time
        """Not the oldest one, which has had a request since."""
        connections = Connections(3)
        first, second, third = [await opened(connections) for _ in range(3)]
        await trio.sleep(1)
        first[0].set_idle(False)
        first[0].set_idle(True)
        await trio.sleep(5)

        await connections.make_room()

        assert [False, True, False] == [each[1].is_set() for each in (first, second, third)]

    async def test_a_connection_with_a_request_is_never_closed(self, opened, autojump_clock):  # noqa: ARG002 - virtual time
        """A further connection waits until one is idle."""
        connections = Connections(2)
        busy, later = await opened(connections), await opened(connections)
        busy[0].set_idle(False)
        later[0].set_idle(False)
        with trio.move_on_after(1000) as waiting:
            await connections.make_room()
        assert waiting.cancelled_caught

        later[0].set_idle(True)
        await connections.make_room()

        assert (False, True) == (busy[1].is_set(), later[1].is_set())

    async def test_a_new_connection_has_time_for_its_first_request(self, opened, autojump_clock):  # noqa: ARG002 - virtual time
        """It is idle, but its request may be on its way."""
        connections = Connections(1)
        await opened(connections)
        before = trio.current_time()

        await connections.make_room()

        assert LEAST_IDLE <= trio.current_time() - before < 2 * LEAST_IDLE

    async def test_a_connection_that_ends_makes_room(self, opened, autojump_clock):  # noqa: ARG002 - virtual time
        """No other one is closed."""
        connections = Connections(2)
        kept, ends = await opened(connections), await opened(connections)
        ends[0].scope.cancel()

        await connections.make_room()

        assert (False, True) == (kept[1].is_set(), ends[1].is_set())


@pytest.mark.parametrize("count", [3, 8])
async def test_more_clients_than_connections_are_all_served(tmp_path, nursery, count, lines):
    """Each client gets its response; idle connections are closed for those that wait."""
    running = await serving(a_plan(tmp_path), nursery, limits=Limits(connections=2))
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", running.port))
            for _ in range(count)
        ]
        with trio.fail_after(60):
            responses = [await answer(stream, GET) for stream in streams]
    running.index.close()

    assert [b"200"] * count == [response.split(b" ", 2)[1] for response in responses]
    assert ["gateway.connections_full"] == [line["event"] for line in lines()]
    assert 2 == lines()[0]["limit"]


async def test_a_request_in_flight_is_not_cut_off_by_new_connections(tmp_path, nursery, lines):
    """Its connection is the oldest one."""
    running = await serving(a_plan(tmp_path), nursery, limits=Limits(connections=2))
    async with contextlib.AsyncExitStack() as stack:
        writer, *readers = [
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", running.port))
            for _ in range(4)
        ]
        await writer.send_all(HALF)
        with trio.fail_after(60):
            for reader in readers:
                assert (await answer(reader, GET)).endswith(b"alpha")
            await writer.send_all(b"2")
            assert b"200" == (await writer.receive_some()).split(b" ", 2)[1]
    assert 2 == running.index.get("k").size
    running.index.close()
    assert 1 == len(lines())


async def test_errors_of_accept_are_one_line_a_minute(
    autojump_clock,  # noqa: ARG001 - virtual time
    lines,
    limit_of_open_files,
    capsys,
):
    """A process without a free descriptor reports it without a traceback, and serves later."""
    served = trio.Event()

    async def handle(_stream, _slot):
        served.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(server.dup()))
        client = socket.create_connection(server.getsockname())
        async with listener, trio.open_nursery() as tasks:
            with client, no_free_descriptor(limit_of_open_files):
                tasks.start_soon(
                    accept_connections, listener, lambda s, _: s, Connections(99), handle, tasks
                )
                await trio.sleep(150)
                assert not served.is_set()
            with trio.fail_after(10 * PAUSE):
                await served.wait()
            tasks.cancel_scope.cancel()

    found = lines()
    assert [("gateway.accept_failed", "warning")] * 3 == [
        (each["event"], each["level"]) for each in found
    ]
    assert all("exception" not in each and "ulimit" in each["remedy"] for each in found)
    assert found[0]["times"] == 1 < found[1]["times"]
    assert "" == capsys.readouterr().err
