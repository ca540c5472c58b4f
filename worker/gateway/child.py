"""A process of the gateway that serves requests, from its fork to its exit."""

import os
import signal
import socket
import sys
from typing import NoReturn

import trio
from trio.to_thread import run_sync as in_thread

from worker import jsonlines, telemetry
from worker.errors import WorkerError
from worker.gateway.application import S3Application, open_application
from worker.gateway.counters import Counters
from worker.gateway.messages import (
    HEARTBEAT,
    Drain,
    Failed,
    Flushed,
    GatewayPlan,
    Heartbeat,
    Message,
    Ready,
    decode,
    encode,
)
from worker.gateway.server import Draining, serve

STALLED_TIMEOUT = 1.0
"""Seconds for requests that the deadline of a drain cancelled to end, before they are abandoned."""


def run(
    plan: GatewayPlan,
    listener: socket.socket,
    control: socket.socket,
    *,
    number: int,
    counters: Counters,
) -> NoReturn:
    """Serve until drained, flush, and exit the process; exit at once if the parent has."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        application = open_application(plan, number=number, counters=counters)
        trio.run(_serve, application, plan, listener, control)
    except BaseException as error:
        if not isinstance(error, WorkerError | OSError):
            telemetry.logger().error("gateway.fault", exc_info=error)
        control.setblocking(True)
        control.sendall(encode(Failed(str(error) or repr(error), getattr(error, "errno", None))))
    finally:
        _exit(1)


async def _serve(
    application: S3Application, plan: GatewayPlan, listener: socket.socket, control: socket.socket
) -> None:
    channel = trio.SocketStream(trio.socket.from_stdlib_socket(control))
    draining, served = Draining(), trio.Event()

    async def accept(*, task_status: trio.TaskStatus[None]) -> None:
        await serve(application, listener, plan.certificate, draining, task_status=task_status)
        served.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, channel, draining)
            await nursery.start(accept)
            await channel.send_all(encode(Ready()))
            await draining.wait()
            async with trio.open_nursery() as flushing:
                flushing.start_soon(_send_heartbeats, channel)
                # A client that stalls may hold the server beyond the deadline; it is abandoned.
                with trio.move_on_after(draining.deadline + STALLED_TIMEOUT):
                    await served.wait()
                await in_thread(application.flush)
                flushing.cancel_scope.cancel()
            await channel.send_all(encode(Flushed()))
            _exit(0)
    except BaseExceptionGroup as group:
        # Only the first error is reported; the others follow from it.
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group


async def _send_heartbeats(channel: trio.SocketStream) -> None:
    """Send heartbeats while requests finish and a thread flushes the stage."""
    while True:
        await channel.send_all(encode(Heartbeat()))
        await trio.sleep(HEARTBEAT)


async def _obey(channel: trio.SocketStream, draining: Draining) -> None:
    """Drain when the parent requests it; exit when the parent has exited."""
    decoder = jsonlines.Decoder[Message](decode)
    async for data in channel:
        for message in decoder.feed(bytes(data)):
            if isinstance(message, Drain):
                draining.start(message.deadline)
    _exit(1)


def _exit(status: int) -> NoReturn:
    # Not by unwinding: the stack of the parent, from which this process was forked, is above this
    # frame, and neither a thread nor a stalled client may delay the exit.
    sys.stderr.flush()
    os._exit(status)
