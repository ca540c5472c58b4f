"""What an application hears of its request: all of it, in order, and never for want of a hearer."""

import trio
import trio.testing

from worker.gateway.inbox import DISCONNECT, WAITING, Inbox


def a_piece(body: bytes, *, more: bool = True):
    """Return the event of a piece of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


async def test_pieces_that_wait_are_put_together():
    """What came since the last time is heard at once, and whether that was all."""
    inbox = Inbox()
    for byte in b"abc":
        await inbox.tell(a_piece(bytes([byte])))

    assert a_piece(b"abc") == await inbox.hear()

    await inbox.tell(a_piece(b"d"))
    await inbox.tell(a_piece(b"", more=False))

    assert a_piece(b"d", more=False) == await inbox.hear()


async def test_who_brings_too_much_waits(nursery):
    """A body waits with whoever sends it, and not in memory."""
    inbox, told = Inbox(), []

    async def tell_all():
        for _ in range(4):
            await inbox.tell(a_piece(bytes(WAITING)))
            told.append(WAITING)

    nursery.start_soon(tell_all)
    await trio.testing.wait_all_tasks_blocked()

    assert 1 == len(told)
    for _ in range(4):
        assert WAITING == len((await inbox.hear())["body"])


async def test_what_was_sent_is_heard_before_that_the_client_left():
    """A client may say all it has to say and leave; only an end that is missing is one."""
    inbox = Inbox()
    await inbox.tell(a_piece(b"all", more=False))
    await inbox.tell(DISCONNECT)

    assert a_piece(b"all", more=False) == await inbox.hear()
    assert DISCONNECT == await inbox.hear()
    assert DISCONNECT == await inbox.hear()


async def test_nobody_waits_for_an_application_that_has_ended(nursery):
    """Who is waiting for room is let go, and who comes later does not begin to wait."""
    inbox = Inbox()
    await inbox.tell(a_piece(bytes(WAITING)))
    nursery.start_soon(inbox.tell, a_piece(b"late"))
    await trio.testing.wait_all_tasks_blocked()

    inbox.close()

    await trio.testing.wait_all_tasks_blocked()
    assert not nursery.child_tasks - {trio.lowlevel.current_task()}
    for _ in range(3):
        await inbox.tell(a_piece(bytes(WAITING)))


async def test_others_have_their_turn_between_many_pieces(nursery):
    """A body of bytes does not keep the loop."""
    inbox, turns = Inbox(), []

    async def take_turns():
        while True:
            turns.append(None)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(take_turns)
    for _ in range(10_000):
        await inbox.tell(a_piece(b"x"))
    nursery.cancel_scope.cancel()

    assert 10 < len(turns)
