"""Writes in flight when the command exits."""

from collections.abc import Callable
from urllib.parse import urlsplit

import attrs
import pytest
import trio
from builders import a_commit, a_job

from worker.errors import Cause
from worker.job.run import run_job
from worker.model import BranchName, Repo

COPY = BranchName(Repo("default", "copy"))
HEAD = (
    b"PUT /out/late HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\nconnection: close\r\n"
    b"content-length: 4\r\n\r\n"
)


class Run:
    """A run whose command exits once it is told to; a client outside of it uses the gateway."""

    def __init__(self, request, log, logged):
        self.request, self.log, self.logged = request, log, logged
        self.steps = {"command": trio.Event(), "drain": trio.Event()}
        self.result = None

    async def run(self) -> None:
        def watch(progress):
            if progress.step in self.steps:
                self.steps[progress.step].set()

        self.result = await run_job(self.request, log=self.log, watch=watch)

    async def connect(self) -> trio.SocketStream:
        """Return a connection whose PUT has begun and has sent no data."""
        await self.steps["command"].wait()
        stream = await self.send(HEAD)
        # The request has begun: a body is invited when it is read.
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        return stream

    async def send(self, head: bytes) -> trio.SocketStream:
        """Return a new connection to the gateway on which *head* was sent."""
        ready = next(each for each in self.logged.entries if each["event"] == "gateway.ready")
        port = urlsplit(ready["url"]).port
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(head)
        return stream


@pytest.fixture
def a_run(store, a_request, log, logged, tmp_path):
    """Return a run, and a function that lets its command exit."""
    a_commit(store, {"a": b"1"})

    def make(drain: float, *, code: int = 0, **settings):
        go = tmp_path / "go"
        job = a_job(
            f"while [ ! -e {go} ]; do sleep 0.02; done; exit {code}",
            datumTries=1,
        )
        request = a_request(job, **settings)
        gateway = attrs.evolve(request.config.gateway, drain=drain)
        request = attrs.evolve(request, config=attrs.evolve(request.config, gateway=gateway))
        return Run(request, log, logged), go.touch

    return make


async def put_during_drain(run: Run, let_it_exit: Callable[[], None]) -> trio.SocketStream:
    """Return a connection whose PUT is in flight while the gateway drains."""
    stream = await run.connect()
    let_it_exit()
    await run.steps["drain"].wait()
    return stream


async def received(stream: trio.SocketStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


async def test_a_put_in_flight_may_finish_after_the_command(a_run, store):
    """It is part of the output."""
    run, let_it_exit = a_run(drain=60.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run)
        stream = await put_during_drain(run, let_it_exit)
        await stream.send_all(b"data")
        response = await received(stream)

    assert response.startswith(b"HTTP/1.1 200 ")
    assert (Cause.PUBLISHED, ()) == (run.result.cause, run.result.warnings)
    tree = store.tree(store.commit(store.head(COPY).commit))
    assert ["late"] == [entry.key for entry in tree.entries()]


async def test_a_put_after_the_command_is_told_that_the_job_has_ended(a_run, store):
    """Although another one is still in flight."""
    run, let_it_exit = a_run(drain=60.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run)
        stream = await put_during_drain(run, let_it_exit)
        refused = await received(await run.send(HEAD.replace(b"/late", b"/later") + b"data"))
        await stream.send_all(b"data")
        await received(stream)

    assert refused.startswith(b"HTTP/1.1 403 ")
    assert b"<Message>The job has ended: its command has exited" in refused
    tree = store.tree(store.commit(store.head(COPY).commit))
    assert ["late"] == [entry.key for entry in tree.entries()]


@pytest.mark.parametrize(
    ("code", "settings", "cause"),
    [(0, {}, Cause.PUBLISHED), (3, {"keep_failed": True}, Cause.COMMAND_FAILED)],
    ids=["published", "kept"],
)
async def test_a_put_that_is_cut_off_is_named(a_run, code, settings, cause):
    """The client gets an error, the result a warning; the rest is committed."""
    run, let_it_exit = a_run(drain=0.1, code=code, **settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run)
        stream = await run.connect()
        let_it_exit()
        response = await received(stream)

    assert cause is run.result.cause
    warning, *_ = run.result.warnings  # An empty output is the other one.
    assert warning == (
        "writes were still in flight 0.1 s (gateway.drain) after the command had exited, and were "
        "discarded: PutObject late"
    )
    assert response.startswith(b"HTTP/1.1 403 ")
    assert b"<Message>The job has ended: " in response
