"""Request bodies: decoded, hashed, verified and written to the stage with bounded memory."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.buckets.output import Content
from worker.concurrency import open_plain_nursery
from worker.errors import Unavailable
from worker.gateway.http import RequestBody
from worker.model import Upload
from worker.s3.aws_chunked import ChunkedDecoder
from worker.s3.digests import Digests
from worker.s3.error_codes import S3Error
from worker.s3.payload import MAX_UPLOAD, parse_payload, require_length, too_large
from worker.store.blobs import Stage

if TYPE_CHECKING:
    from worker.gateway.application import Context

T = TypeVar("T")
Piece = bytes | memoryview
Batch = list[Piece]

SMALL = 256 << 10
"""Bytes up to which objects are collected in memory and appended to a pack."""
INLINE = 16 << 10
"""Bytes up to which hashing takes less time than a call in a thread."""
SLICE = 64 << 10
"""Bytes of an aws-chunked body or a form that are decoded at once."""
MAX_DOCUMENT = 8 << 20
"""Bytes of the largest XML body that is read: 10,000 parts with their checksums need 4 MiB."""
BATCH = 1 << 20
"""Bytes that are passed to the threads at once; one batch is hashed while the next is received."""
HELD = 5.0
"""Seconds for which content is held in memory until a batch is complete."""
TINY = 1 << 10
"""Bytes of pieces that are combined: each one takes 50 bytes more than its content."""


PARSED = trio.CapacityLimiter(2)
"""Documents that are parsed at once: one takes many times its size."""


class SpoolUnavailable(Unavailable):
    """The scratch directory did not take a document."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: {error.strerror}")
        self.path = str(path)
        self.errno = error.errno


async def receive_document(context: "Context", parse: Callable[[bytes], T]) -> T:
    """Receive and verify the XML body of a request, of at most 8 MiB; return it parsed.

    What exceeds `SMALL` waits in a file, so that slow clients take disk and not memory. Raises
    S3Error and SpoolUnavailable.
    """
    payload = parse_payload(context.request, streaming_allowed=False)
    digests = Digests.of_request(context.request, payload, document=True)
    scratch = context.application.scratch
    size = 0
    try:
        with SpooledTemporaryFile(SMALL, dir=str(scratch)) as document:
            while data := await context.body.read():
                size += len(data)
                if size > MAX_DOCUMENT:
                    raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=MAX_DOCUMENT)
                if size <= SMALL:
                    document.write(data)
                else:
                    await in_thread(document.write, data)

            def finish() -> T:
                document.seek(0)
                received = document.read()
                digests.update(received)
                digests.verify()
                return parse(received)

            if size <= INLINE:
                return finish()
            return await in_thread(finish, limiter=PARSED)
    except OSError as error:
        raise SpoolUnavailable(scratch, error) from error


async def receive_content(
    context: "Context", stage: Stage, *, upload: Upload | None = None
) -> tuple[Content, Digests]:
    """Write the payload of a request to *stage*, verify it, and return it with its digests.

    *upload* is the multipart upload that the payload is a part of. A body that is incomplete or
    does not match its headers leaves nothing in the stage.
    """
    require_length(context.request)
    payload = parse_payload(context.request)
    digests = Digests.of_request(context.request, payload, upload=upload)
    decoder = ChunkedDecoder(payload, context.signed) if payload.framed else None
    if decoder is not None:
        return await store_content(_decode(context.body, decoder), digests, stage, decoder), digests
    # The common case, without a generator.
    collected: Batch = []
    size = 0
    with trio.move_on_after(HELD) as slow:
        while size <= SMALL and (data := await context.body.read()):
            collect(collected, data)
            size += len(data)
    if size <= SMALL and not slow.cancelled_caught:
        return await _store_small(collected, None, digests, stage), digests
    async with aclosing(_read(context.body)) as pieces:
        return await _store_large(collected, pieces, None, digests, stage), digests


async def store_content(
    content: AsyncGenerator[Piece, None],
    digests: Digests,
    stage: Stage,
    decoder: ChunkedDecoder | None = None,
) -> Content:
    """Write *content* to *stage*, and verify it when it has ended without an error.

    *decoder* has the trailers of content that is aws-chunked.
    """
    collected: Batch = []
    size = 0
    async with aclosing(content) as pieces:
        async for piece in pieces:
            collect(collected, piece)
            size += len(piece)
            if size > SMALL:
                return await _store_large(collected, pieces, decoder, digests, stage)
    return await _store_small(collected, decoder, digests, stage)


async def _store_small(
    collected: Batch, decoder: ChunkedDecoder | None, digests: Digests, stage: Stage
) -> Content:
    content = collected[0] if len(collected) == 1 else b"".join(collected)
    if len(content) <= INLINE:
        digests.update(content)
    else:
        await in_thread(digests.update, content)
    digests.verify(None if decoder is None else decoder.trailers)
    extents = (stage.append(bytes(content), sha256=digests.sha256),) if content else ()
    return Content(extents, digests.size, digests.etag, digests.checksum)


async def _read(body: RequestBody) -> AsyncGenerator[Piece, None]:
    while data := await body.read():
        yield data


async def _decode(body: RequestBody, decoder: ChunkedDecoder) -> AsyncGenerator[Piece, None]:
    """Yield the content of an aws-chunked body as it arrives; raises for invalid framing."""
    while data := await body.read():
        for start in range(0, len(data), SLICE):
            for piece in decoder.feed(data[start : start + SLICE]):
                yield piece
    decoder.finish()


async def _store_large(
    collected: Batch,
    pieces: AsyncIterator[Piece],
    decoder: ChunkedDecoder | None,
    digests: Digests,
    stage: Stage,
) -> Content:
    writer = await in_thread(stage.open)

    def write(piece: Piece) -> None:
        digests.update_others(piece)
        writer.write(piece)

    try:
        # MD5 takes longer than all the rest together, so it has a thread of its own.
        async with (
            open_plain_nursery() as nursery,
            _start_worker(nursery, digests.update_md5) as hashing,
            _start_worker(nursery, write) as writing,
        ):
            received = 0
            collector = Collector(collected)
            nursery.start_soon(collector.fill, pieces)
            async for batch in collector.batches():
                # A body without a length is limited as it arrives.
                received += sum(map(len, batch))
                if received > MAX_UPLOAD:
                    raise too_large(received)
                await hashing.send(batch)
                await writing.send(batch)
        digests.verify(None if decoder is None else decoder.trailers)
        extent = await in_thread(writer.seal, digests.sha256)
        return Content((extent,), digests.size, digests.etag, digests.checksum)
    except BaseException:
        with trio.CancelScope(shield=True):
            await in_thread(writer.discard)
        raise


def collect(collected: Batch, piece: Piece) -> None:
    """Append *piece* to *collected*; tiny pieces are combined, since a body may have many."""
    if collected and len(piece) < TINY and len(collected[-1]) < TINY:
        collected[-1] = b"".join((collected[-1], piece))
    else:
        collected.append(piece)


@attrs.define(eq=False)
class Collector:
    """Pieces of a body that become batches: of `BATCH` bytes, or of what came in `HELD` seconds."""

    _collected: Batch
    _size: int = attrs.field(init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def __attrs_post_init__(self) -> None:
        self._size = sum(map(len, self._collected))

    async def fill(self, pieces: AsyncIterator[Piece]) -> None:
        """Collect *pieces*, as fast as batches are taken."""
        async for piece in pieces:
            collect(self._collected, piece)
            self._size += len(piece)
            self._changed.unpark_all()
            while self._size >= BATCH:
                await self._changed.park()
        self._ended = True
        self._changed.unpark_all()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches until the pieces have ended."""
        while self._collected or not self._ended:
            if not self._collected:
                await self._changed.park()
                continue
            with trio.move_on_after(HELD):
                while self._size < BATCH and not self._ended:
                    await self._changed.park()
            batch, self._collected, self._size = self._collected, [], 0
            self._changed.unpark_all()
            yield batch


def _start_worker(
    nursery: trio.Nursery, work: Callable[[Piece], None]
) -> trio.MemorySendChannel[Batch]:
    """Start a task that calls *work* with each piece of a batch in a thread; return its channel."""
    # One batch is queued, so that the thread finds the next one when it returns.
    send, receive = trio.open_memory_channel[Batch](1)

    def work_on(batch: Batch) -> None:
        for piece in batch:
            work(piece)

    async def run() -> None:
        # The channel is not closed on an error: the error cancels the sender, which must not see a
        # broken channel first.
        async for batch in receive:
            await in_thread(work_on, batch)

    nursery.start_soon(run)
    return send
