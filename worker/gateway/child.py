"""What one forked process of the gateway does, from its first moment to its end."""

import os
import signal
import socket
import sys
from typing import NoReturn

import trio
from trio.to_thread import run_sync as in_thread

from worker.errors import WorkerError
from worker.gateway import server as web
from worker.gateway.application import Service, open_service
from worker.gateway.counters import Counters
from worker.gateway.messages import (
    ALIVE_EVERY,
    Alive,
    Drain,
    Failed,
    GatewayPlan,
    Ready,
    Settled,
    decode,
    encode,
)

STALLED_GRACE = 1.0
"""Seconds for what a drain's deadline broke off to be cleared away, before it is left behind."""


def run(
    plan: GatewayPlan,
    listener: socket.socket,
    control: socket.socket,
    *,
    number: int,
    counters: Counters,
) -> NoReturn:
    """Serve until told to drain, settle, and end the process; end at once if the parent is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        service = open_service(plan, number=number, counters=counters)
        trio.run(_live, service, plan, listener, control)
    except BaseException as error:
        if not isinstance(error, WorkerError | OSError):
            sys.excepthook(*sys.exc_info())
        control.setblocking(True)
        control.sendall(encode(Failed(str(error) or repr(error), getattr(error, "errno", None))))
    finally:
        _exit(1)


async def _live(
    service: Service, plan: GatewayPlan, listener: socket.socket, control: socket.socket
) -> None:
    line = trio.SocketStream(trio.socket.from_stdlib_socket(control))
    draining, served = web.Draining(), trio.Event()

    async def serve(*, task_status: trio.TaskStatus[list[str]]) -> None:
        await web.serve(service, listener, tls=plan.tls, draining=draining, task_status=task_status)
        served.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, line, draining)
            await nursery.start(serve)
            await line.send_all(encode(Ready()))
            await draining.wait()
            async with trio.open_nursery() as settling:
                settling.start_soon(_show_life, line)
                # What holds the server beyond the deadline has stalled, and is left behind.
                with trio.move_on_after(draining.deadline + STALLED_GRACE):
                    await served.wait()
                await in_thread(service.settle)
                settling.cancel_scope.cancel()
            await line.send_all(encode(Settled()))
            _exit(0)
    except BaseExceptionGroup as group:
        # One reason is told; what else happened on the way out follows from it.
        raise _first(group) from group


async def _show_life(line: trio.SocketStream) -> None:
    """Send signs of life while requests finish and a thread settles the stage."""
    while True:
        await line.send_all(encode(Alive()))
        await trio.sleep(ALIVE_EVERY)


async def _obey(line: trio.SocketStream, draining: web.Draining) -> None:
    """Carry out what the parent says; end when it is gone, and with it all reason to be here."""
    received = b""
    async for data in line:
        *lines, received = (received + data).split(b"\n")
        for message in map(decode, lines):
            if isinstance(message, Drain):
                draining.begin(message.deadline)
    _exit(1)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _exit(status: int) -> NoReturn:
    # Not by unwinding: above stands the stack of the parent, which this process was forked from,
    # and neither a thread nor a client that has stalled must keep it.
    sys.stderr.flush()
    os._exit(status)
