"""A gateway of several processes for synchronous tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import attrs
import psutil
import trio
from builders import a_commit
from gateways import open_gateway

from worker.buckets.index import Index
from worker.config import GatewayConfig, LogConfig
from worker.gateway.messages import GatewayPlan, ServedInput
from worker.store.opening import open_store

FILES = {
    "a.txt": b"alpha",
    "nested/b.txt": b"beta",
    "nested/deep/ü.txt": b"umlaut",
    "two words.txt": b"space",
    "empty": b"",
    "part": bytes(range(256)) * (5 << 12),  # as large as a part must be
}


@attrs.frozen
class RunningGateway:
    """A running gateway: its endpoint and its processes."""

    port: int
    plan: GatewayPlan
    index: Index
    pid: int

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def children(self) -> list[psutil.Process]:
        """Return the processes that serve."""
        return psutil.Process(self.pid).children()

    def rss(self) -> int:
        """Return the sum of their resident memory in bytes; shared pages count for each."""
        return sum(each.memory_info().rss for each in self.children())


@contextmanager
def serving(folder: Path, **changes: Any) -> Iterator[RunningGateway]:
    """Serve ``labresults`` and an empty ``out`` while the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    store = open_store(changes.pop("store", folder / "store"))
    commit = a_commit(store, FILES)
    scratch = changes.pop("scratch", folder / "scratch")
    scratch.mkdir()
    plan = GatewayPlan(
        store=str(changes.pop("store_url", folder / "store")),
        scratch=scratch,
        job="f" * 32,
        stage="job-1",
        inputs=(ServedInput("labresults", commit.name, commit.root),),
        gateway=GatewayConfig(processes=changes.pop("processes", 2)),
        log=LogConfig(level="error"),
        **changes,
    )
    Index.create(plan.index).close()
    sent: SimpleQueue[Any] = SimpleQueue()
    thread = threading.Thread(target=trio.run, args=(_run, plan, sent))
    thread.start()
    started = sent.get()
    if isinstance(started, BaseException):
        thread.join()
        raise started
    port, pid, stop = started
    index = Index(plan.index)
    try:
        yield RunningGateway(port, plan, index, pid)
    finally:
        stop()
        thread.join()
        index.close()
    ended = sent.get()
    if ended is not None:
        raise ended


async def _run(plan: GatewayPlan, sent: "SimpleQueue[Any]") -> None:
    try:
        async with open_gateway() as parent:
            endpoint = await parent.serve(plan)
            stopped, token = trio.Event(), trio.lowlevel.current_trio_token()
            sent.put((endpoint.port, parent.pid, lambda: _stop(stopped, token)))
            await stopped.wait()
    except Exception as error:  # it is the waiting thread that has to hear of it
        sent.put(error)
    else:
        sent.put(None)


def _stop(stopped: trio.Event, token: trio.lowlevel.TrioToken) -> None:
    # If the gateway has died, the event loop has already ended.
    try:
        token.run_sync_soon(stopped.set)
    except trio.RunFinishedError:
        return
