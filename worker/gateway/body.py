"""The body of a request: unframed, digested, checked and laid down, in bounded memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing

import trio
from trio.to_thread import run_sync as in_thread

from worker.concurrency import open_plain_nursery
from worker.gateway.exchange import Incoming
from worker.model import Extent
from worker.s3.chunked import ChunkedDecoder
from worker.s3.digests import Digests
from worker.s3.errors import S3Error
from worker.s3.payload import Payload
from worker.s3.sigv4 import Signed
from worker.store.blobs import Stage

Piece = bytes | memoryview
Batch = list[Piece]

SMALL = 256 << 10
"""Objects up to this size are gathered in memory and appended to a pack."""
INLINE = 16 << 10
"""Up to this size, hashing takes less than the trip to a thread that would hash meanwhile."""
SLICE = 64 << 10
SMALL_SLICE = 4 << 10
"""How much of a framed body is taken apart at once, in large chunks and in tiny ones."""
PIECES = 16
"""In how many pieces it may then be handed on."""
BATCH = 1 << 20
"""How much is handed to the threads at once; one batch is hashed while the next is received."""


class Content:
    """What a request's body holds once its framing is off; to be read once, then ``trailers``."""

    def __init__(self, incoming: Incoming, payload: Payload, signed: Signed | None) -> None:
        self._incoming = incoming
        self._decoder = ChunkedDecoder(payload, signed) if payload.framed else None

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Yield the content as it arrives; raises for framing that is broken or not complete."""
        decoder = self._decoder
        step = SLICE
        while data := await self._incoming.read():
            if decoder is None:
                yield data
                continue
            start = 0
            while start < len(data):
                pieces = decoder.feed(data[start : start + step])
                start += step
                step = SLICE
                if len(pieces) > PIECES:
                    # Of chunks of a byte, the views would weigh hundreds of times what they show,
                    # and taking them apart would keep the loop from its other clients.
                    pieces = [memoryview(b"".join(pieces))]
                    step = SMALL_SLICE
                    await trio.lowlevel.checkpoint()
                for piece in pieces:
                    yield piece
        if decoder is not None:
            decoder.finish()

    @property
    def trailers(self) -> Mapping[str, str]:
        """The trailers that came after the content, by lower-case name."""
        return {} if self._decoder is None else self._decoder.trailers


async def read_document(content: Content, digests: Digests, *, limit: int) -> bytes:
    """Return the whole of a small body, once it is what its headers say; refuse a larger one."""
    gathered = bytearray()
    async with aclosing(content.pieces()) as pieces:
        async for piece in pieces:
            gathered += piece
            if len(gathered) > limit:
                raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=limit)
    document = bytes(gathered)
    digests.update(document)
    digests.verify(content.trailers)
    return document


async def store(content: Content, digests: Digests, stage: Stage) -> tuple[Extent, ...]:
    """Lay the content down in *stage*, and return where, once it is what its headers say.

    What breaks off, or is not what the client says it is, leaves nothing behind.
    """
    gathered: Batch = []
    size = 0
    async with aclosing(content.pieces()) as pieces:
        async for piece in pieces:
            gathered.append(piece)
            size += len(piece)
            if size > SMALL:
                return await _store_large(gathered, pieces, content, digests, stage)
    data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
    if size <= INLINE:
        digests.update(data)
    else:
        await in_thread(digests.update, data)
    digests.verify(content.trailers)
    return (stage.append(bytes(data), sha256=digests.sha256),) if size else ()


async def _store_large(
    gathered: Batch,
    pieces: AsyncIterator[Piece],
    content: Content,
    digests: Digests,
    stage: Stage,
) -> tuple[Extent, ...]:
    writer = await in_thread(stage.open)

    def lay_down(piece: Piece) -> None:
        digests.update_others(piece)
        writer.write(piece)

    try:
        # MD5 takes longer than all the rest together, and so has a thread to itself.
        async with (
            open_plain_nursery() as nursery,
            _worker(nursery, digests.update_md5) as hashing,
            _worker(nursery, lay_down) as writing,
        ):
            async for batch in _batches(gathered, pieces):
                await hashing.send(batch)
                await writing.send(batch)
        digests.verify(content.trailers)
        return (await in_thread(writer.seal, digests.sha256),)
    except BaseException:
        with trio.CancelScope(shield=True):
            await in_thread(writer.discard)
        raise


async def _batches(gathered: Batch, pieces: AsyncIterator[Piece]) -> AsyncIterator[Batch]:
    size = sum(map(len, gathered))
    async for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= BATCH:
            yield gathered
            gathered, size = [], 0
    yield gathered


def _worker(nursery: trio.Nursery, work: Callable[[Piece], None]) -> trio.MemorySendChannel[Batch]:
    """Start a task that does *work* on each piece sent to it, in a thread; return its channel."""
    # One batch waits, so that the thread finds its next when it comes back.
    send, receive = trio.open_memory_channel[Batch](1)

    def work_on(batch: Batch) -> None:
        for piece in batch:
            work(piece)

    async def run() -> None:
        # Not closed on the way out: an error here cancels the sender, which must not hear of a
        # broken channel first.
        async for batch in receive:
            await in_thread(work_on, batch)

    nursery.start_soon(run)
    return send
