"""Structured concurrency: errors and resources in cancelled scopes."""

import trio
import trio.testing

from worker.concurrency import closing


async def test_a_resource_that_is_closed_in_a_cancelled_scope_hides_no_error():
    """A scope swallows Cancelled, and with it the error that Cancelled has replaced."""
    stream, other = trio.testing.memory_stream_pair()
    caught = None
    with trio.CancelScope() as scope:
        try:
            async with closing(stream):
                scope.cancel()
                raise LookupError
        except LookupError as error:
            caught = error

    assert caught is not None
    assert b"" == await other.receive_some()
