"""The queue between the connection of a request and the application that reads its body."""

import pytest
import trio
import trio.testing

from worker.gateway.http import ClientDisconnected
from worker.gateway.receive_queue import QUEUED, ReceiveQueue


async def test_queued_pieces_are_read_at_once():
    """A read returns all bytes since the last one; an empty one is the end."""
    queue = ReceiveQueue()
    for byte in b"abc":
        await queue.put(bytes([byte]))

    assert b"abc" == await queue.read()

    await queue.put(b"d")
    queue.end()

    assert b"d" == await queue.read()
    assert b"" == await queue.read()
    assert b"" == await queue.read()


async def test_a_full_queue_applies_backpressure(nursery):
    """A piece that does not fit waits until the application has read."""
    queue, put = ReceiveQueue(), []

    async def put_all():
        for _ in range(4):
            await queue.put(bytes(QUEUED))
            put.append(QUEUED)

    nursery.start_soon(put_all)
    await trio.testing.wait_all_tasks_blocked()

    assert 1 == len(put)
    for _ in range(4):
        assert QUEUED == len(await queue.read())


async def test_a_disconnect_is_raised_after_the_queued_bytes():
    """A body that is incomplete raises; a complete one does not."""
    queue = ReceiveQueue()
    await queue.put(b"part")
    queue.disconnect()

    assert b"part" == await queue.read()
    with pytest.raises(ClientDisconnected):
        await queue.read()

    complete = ReceiveQueue()
    await complete.put(b"all")
    complete.end()
    complete.disconnect()

    assert b"all" == await complete.read()
    assert b"" == await complete.read()


async def test_a_closed_queue_drops_pieces_and_holds_no_task(nursery):
    """A task that waits for space continues when the application has finished."""
    queue = ReceiveQueue()
    await queue.put(bytes(QUEUED))
    nursery.start_soon(queue.put, b"late")
    await trio.testing.wait_all_tasks_blocked()

    queue.close()

    await trio.testing.wait_all_tasks_blocked()
    assert not nursery.child_tasks - {trio.lowlevel.current_task()}
    for _ in range(3):
        await queue.put(bytes(QUEUED))


async def test_other_tasks_run_between_many_pieces(nursery):
    """A body of single bytes does not occupy the event loop."""
    queue, turns = ReceiveQueue(), []

    async def take_turns():
        while True:
            turns.append(None)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(take_turns)
    for _ in range(10_000):
        await queue.put(b"x")
    nursery.cancel_scope.cancel()

    assert 10 < len(turns)
